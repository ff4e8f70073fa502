//! From nothing to the first answer, against a dump and against drgn's own way into QEMU.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use vread_guests::{Guest, ensure_drgn};
use vread_targets::View;

use crate::qmp::Qmp;
use crate::rounds::{Side, medians};

const ROUNDS: usize = 7;

pub(crate) fn bench(guest: &Guest) {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    let drgn = ensure_drgn().unwrap().with_file_name("drgn");

    let mut library = || {
        let begin = Instant::now();
        let target = crate::opened::open(guest);
        let image = target.image(View::Kcore).unwrap();
        assert!(image.segments().len() > 4);
        begin.elapsed()
    };
    let mut program = || {
        let begin = Instant::now();
        let target = format!("qemu:{}", guest.qmp_path().display());
        let info = Command::new(env!("CARGO_BIN_EXE_vread"))
            .args(["info", &target])
            .output();
        assert!(info.unwrap().status.success());
        begin.elapsed()
    };
    let mut dump_guest = || {
        let mut qmp = Qmp::connect(&guest.qmp_paths()[1]);
        let protocol = format!("file:{}", dump.display());
        let begin = Instant::now();
        qmp.execute(
            "dump-guest-memory",
            json!({ "paging": false, "protocol": protocol }),
        );
        let time = begin.elapsed();
        std::fs::remove_file(&dump).unwrap();
        time
    };
    let mut drgn_qemu = || {
        let begin = Instant::now();
        let output = Command::new(&drgn)
            .arg("--qemu")
            .arg(&guest.qmp_paths()[1])
            .args(["--no-default-symbols", "-e", "0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        begin.elapsed()
    };

    println!("attach to a guest of {} MiB", crate::MEMORY_MIB);
    let mut sides = [
        Side {
            name: "vread library: opened, image laid out",
            round: &mut library,
        },
        Side {
            name: "vread info, as a program",
            round: &mut program,
        },
        Side {
            name: "QMP dump-guest-memory (guest stopped)",
            round: &mut dump_guest,
        },
        Side {
            name: "drgn --qemu -e 0, as a program",
            round: &mut drgn_qemu,
        },
    ];
    let times = medians(ROUNDS, &mut sides);
    for (side, time) in sides.iter().zip(&times) {
        println!("  {:<44} {:>8.1} ms", side.name, time.as_secs_f64() * 1e3);
    }
    println!(
        "  ratio of the dump to vread info: {:.1}, of drgn to vread info: {:.1} (medians of {ROUNDS})",
        times[2].as_secs_f64() / times[1].as_secs_f64(),
        times[3].as_secs_f64() / times[1].as_secs_f64(),
    );
}
