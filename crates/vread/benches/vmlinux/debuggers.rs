//! From the start of a debugger to its first answer.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vread_guests::{
    Guest, KernelRelease, UnpackedPackage, ensure_debug_vmlinux, ensure_drgn, ensure_packages,
};

use crate::mounted::Mounted;
use crate::rounds::{Side, medians};

const ROUNDS: usize = 5;

const DRGN: &str = "\
import drgn, sys
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
prog.load_debug_info([sys.argv[2]])
print(prog['init_task'].comm, prog.type('struct sk_buff'))
";

/// gdb, drgn and crash, each with both files.
pub(crate) fn bench(guest: &Guest, recovered: &Path) {
    ensure_packages(&["gdb"]).unwrap();
    let real = ensure_debug_vmlinux(guest.kernel()).unwrap();
    let python = ensure_drgn().unwrap();
    let crash = UnpackedPackage::ensure_newest_crash().unwrap();
    let mounted = Mounted::new(guest);
    let core = mounted.vmcore();
    let live = core.with_file_name("vmcore.live");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("quit");
    fs::write(&script, "quit\n").unwrap();

    compare(
        "gdb: load the file, print a member",
        recovered,
        &real,
        |file| {
            let mut gdb = Command::new("gdb");
            gdb.args(["--nx", "--batch", "-ex", "print init_task.comm"]);
            gdb.arg(file);
            expect(gdb, "swapper")
        },
    );
    compare(
        "drgn: load it, a member and a type",
        recovered,
        &real,
        |file| {
            let mut drgn = Command::new(&python);
            drgn.args(["-c", DRGN]).arg(&core).arg(file);
            expect(drgn, "struct sk_buff {")
        },
    );
    compare("crash: start and quit", recovered, &real, |file| {
        let mut run = crash.command("crash");
        // What it says of modules of 7.2 it says with both files, and ends.
        if guest.kernel().release() == KernelRelease::V7_2 {
            run.arg("--no_modules");
        }
        run.args(["-i"]).arg(&script).arg(file).arg(&live);
        run.env("HOME", folder.path()).current_dir(folder.path());
        expect(run, "RELEASE:")
    });
}

fn compare(what: &str, recovered: &Path, real: &Path, run: impl Fn(&Path) -> Duration) {
    let (mut ours, mut theirs) = (|| run(recovered), || run(real));
    let mut sides = [
        Side {
            name: "recovered",
            round: &mut ours,
        },
        Side {
            name: "distribution's",
            round: &mut theirs,
        },
    ];
    let times = medians(ROUNDS, &mut sides);
    let [ours, theirs] = [times[0], times[1]].map(|time| time.as_secs_f64());
    println!(
        "{what:<36} {ours:>6.2} s   distribution's file {theirs:>6.2} s   ratio {:.2} (medians of {ROUNDS})",
        ours / theirs
    );
}

/// How long it took to an answer with `word` in it.
fn expect(mut command: Command, word: &str) -> Duration {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let time = begin.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(word),
        "{command:?}: {said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    time
}
