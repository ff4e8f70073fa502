//! What needs guests of its own: how they start and how they end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vread_guests::{Backend, Guest, GuestConfig, GuestError, Kaslr, KernelRelease, wait_until};

use crate::VICTIM;

/// A name and the test.
type Test = (&'static str, fn());

pub(crate) const TESTS: [Test; 8] = [
    ("two_guests_at_once", two_guests_at_once),
    ("no_kaslr_and_four_levels", no_kaslr_and_four_levels),
    ("memory_in_a_memfd", memory_in_a_memfd),
    ("memory_above_4_gib", memory_above_4_gib),
    ("a_panic_is_told", a_panic_is_told),
    ("a_deadline_is_kept", a_deadline_is_kept),
    ("a_silent_guest_is_given_up", a_silent_guest_is_given_up),
    ("a_killed_test_leaves_no_qemu", a_killed_test_leaves_no_qemu),
];

const RELEASE: KernelRelease = KernelRelease::V6_12;
const DEADLINE: Duration = Duration::from_secs(20);

fn two_guests_at_once() {
    let a = Guest::boot(&GuestConfig::new(RELEASE).qmp_sockets(2)).unwrap();
    let b = Guest::boot(&GuestConfig::new(RELEASE)).unwrap();
    assert_ne!(a.pid(), b.pid());
    assert_eq!((a.qmp_paths().len(), b.qmp_paths().len()), (2, 1));
    for path in a.qmp_paths().iter().chain(b.qmp_paths()) {
        let mut greeting = String::new();
        let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        BufReader::new(stream).read_line(&mut greeting).unwrap();
        assert!(greeting.starts_with("{\"QMP\""), "{greeting}");
    }
    a.write("/proc/sys/kernel/hostname", "a").unwrap();
    b.write("/proc/sys/kernel/hostname", "b").unwrap();
    assert_eq!(a.read("/proc/sys/kernel/hostname").unwrap(), b"a\n");
    let (runtime, pid) = (a.qmp_path().parent().unwrap().to_owned(), a.pid());
    a.power_off(DEADLINE).unwrap();
    assert!(!runtime.exists(), "{} is left behind", runtime.display());
    assert!(!runs(pid));
    let pid = b.pid();
    drop(b);
    assert!(!runs(pid));
}

fn no_kaslr_and_four_levels() {
    let config = GuestConfig::new(RELEASE)
        .kaslr(Kaslr::Off)
        .cpu_model("max,la57=off");
    let guest = Guest::boot(&config).unwrap();
    let symbols = guest.read_text("/proc/kallsyms").unwrap();
    // Link-time address of the kernel's text, documented as the default of CONFIG_PHYSICAL_START.
    assert!(symbols.contains("ffffffff81000000 T _text\n"));
    let info = guest.read_text("/proc/cpuinfo").unwrap();
    assert!(!info.contains("la57"));
}

fn memory_in_a_memfd() {
    let guest = Guest::boot(&GuestConfig::new(RELEASE).backend(Backend::Memfd)).unwrap();
    assert_eq!(guest.memory_file(), None);
    let maps = fs::read_to_string(format!("/proc/{}/maps", guest.pid())).unwrap();
    assert!(
        maps.lines()
            .any(|line| line.contains("rw-s") && line.contains("memfd")),
        "{maps}"
    );
}

fn memory_above_4_gib() {
    let guest = Guest::boot(&GuestConfig::new(RELEASE).memory_mib(4096)).unwrap();
    let iomem = guest.read_text("/proc/iomem").unwrap();
    let high = |line: &str| line.starts_with("100000000-") && line.ends_with("System RAM");
    assert!(iomem.lines().any(high), "{iomem}");
}

fn a_panic_is_told() {
    let config = GuestConfig::new(RELEASE).kernel_args(["rdinit=/no/such/program"]);
    let error = Guest::boot(&config).unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, GuestError::Boot { .. }), "{told}");
    assert!(
        told.contains("Kernel panic") && told.contains("QEMU ended"),
        "{told}"
    );
}

fn a_deadline_is_kept() {
    let deadline = Duration::from_millis(50);
    let started = Instant::now();
    let error = Guest::boot(&GuestConfig::new(RELEASE).boot_deadline(deadline)).unwrap_err();
    assert!(matches!(error, GuestError::Boot { .. }), "{error}");
    assert!(started.elapsed() < DEADLINE);
}

/// A late answer must not be taken for that of a later request.
fn a_silent_guest_is_given_up() {
    let config = GuestConfig::new(RELEASE).answer_deadline(Duration::from_millis(300));
    let guest = Guest::boot(&config).unwrap();
    let silent = guest.run(&["/bin/busybox", "sleep", "1"]).unwrap_err();
    assert!(matches!(silent, GuestError::Wire { .. }), "{silent}");
    assert!(
        silent.to_string().contains("silent for too long"),
        "{silent}"
    );
    let later = guest.read("/proc/version").unwrap_err();
    assert!(later.to_string().contains("earlier request"), "{later}");
}

/// A test run that is killed cannot clean up; the kernel does it for us.
fn a_killed_test_leaves_no_qemu() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .arg(VICTIM)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(victim.stdout.take().unwrap()).lines();
    let pid: u32 = told.next().unwrap().unwrap().parse().unwrap();
    let runtime = told.next().unwrap().unwrap();
    assert!(runs(pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("QEMU to end with its test", DEADLINE, || {
        (!runs(pid)).then_some(())
    })
    .unwrap();
    // Nobody was left to remove its folder, so the next guest does.
    assert!(Path::new(&runtime).exists());
    drop(Guest::boot(&GuestConfig::new(RELEASE)).unwrap());
    assert!(!Path::new(&runtime).exists(), "{runtime} is left behind");
}

pub(crate) fn boot_and_wait() -> ! {
    let guest = Guest::boot(&GuestConfig::new(RELEASE)).unwrap();
    println!(
        "{}\n{}",
        guest.pid(),
        guest.qmp_path().parent().unwrap().display()
    );
    loop {
        std::thread::park();
    }
}

/// A process that has ended but was not waited for by its new parent does not run.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" Z"))
    })
}
