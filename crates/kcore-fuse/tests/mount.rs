//! The mount, read through the kernel, over sources whose every byte is known.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "a test fails loudly and computes with numbers of its own"
)]

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_kcore_fuse::{MAX_READ, MountError, MountOptions, Mounted, OpenFile, ServedFile};
use vread_nofault::UserBuf;

const SIZE: u64 = 5_000_000;

/// Byte `at` of every file here.
fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// A file of the pattern, with something to watch or to go wrong.
#[derive(Debug, Clone)]
struct Patterned {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    opens: AtomicU64,
    longest_request: AtomicU64,
    fails_from: Option<u64>,
    meet: Option<Barrier>,
}

impl Patterned {
    fn new(state: State) -> Self {
        Self {
            state: Arc::new(state),
        }
    }

    fn mount(&self, dir: &Path) -> Mounted {
        Mounted::mount(vec![Box::new(self.clone())], dir, quiet()).unwrap()
    }
}

fn quiet() -> MountOptions {
    MountOptions {
        on_failure: Box::new(|_| {}),
    }
}

impl ServedFile for Patterned {
    fn name(&self) -> &str {
        "kcore"
    }

    fn size(&self) -> ByteLen {
        ByteLen::new(SIZE)
    }

    fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
        self.state.opens.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.clone()))
    }
}

impl OpenFile for Patterned {
    fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
        let state = &self.state;
        let asked = iter.count() as u64;
        state.longest_request.fetch_max(asked, Ordering::Relaxed);
        if let Some(meet) = &state.meet {
            meet.wait();
        }
        let start = at.get();
        let end = (start + asked)
            .min(SIZE)
            .min(state.fails_from.unwrap_or(SIZE));
        let bytes: Vec<u8> = (start..end).map(pattern).collect();
        let copied = Progress::copied(ByteLen::from_usize(iter.copy_to_iter(&bytes)));
        match state.fails_from {
            Some(from) if start + asked > from => {
                copied.then(Progress::failed(SourceFailure::Gone))
            }
            _ => copied,
        }
    }
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == dir.to_str())
}

#[test]
fn has_the_manners_that_debuggers_need() {
    let dir = tempfile::tempdir().unwrap();
    let _mounted = Patterned::new(State::default()).mount(dir.path());
    let folder = fs::metadata(dir.path()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o7777, 0o500);
    let path = dir.path().join("kcore");
    let file = fs::metadata(&path).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o400);
    assert_eq!(file.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(file.len(), SIZE);
    assert_eq!(file.blksize(), 8);
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kcore"]);
    let refused = OpenOptions::new().read(true).write(true).open(&path);
    let errno = refused.unwrap_err().raw_os_error();
    assert!(
        errno == Some(libc::EROFS) || errno == Some(libc::EACCES),
        "{errno:?}"
    );
}

#[test]
fn reads_any_piece_like_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let source = Patterned::new(State::default());
    let _mounted = source.mount(dir.path());
    let file = File::open(dir.path().join("kcore")).unwrap();
    let mut buffer = vec![0_u8; 3 << 20];
    for (at, len) in [
        (0, 1),
        (4095, 2),
        (0, 1 << 20),
        (1, 1 << 20),
        (12_345, 3 << 20),
        (SIZE - 1, 1),
    ] {
        let buffer = &mut buffer[..len];
        file.read_exact_at(buffer, at).unwrap();
        let wrong = (at..)
            .zip(&*buffer)
            .find(|(at, byte)| pattern(*at) != **byte);
        assert_eq!(wrong, None, "{len} bytes at {at}");
    }
    assert_eq!(file.read_at(&mut buffer, SIZE - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut buffer, SIZE).unwrap(), 0);
    assert_eq!(file.read_at(&mut buffer, SIZE + 4096).unwrap(), 0);
    let longest = source.state.longest_request.load(Ordering::Relaxed);
    assert_eq!(longest, u64::from(MAX_READ), "bytes in the longest request");
}

#[test]
fn gives_each_open_a_view_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let source = Patterned::new(State::default());
    let _mounted = source.mount(dir.path());
    let path = dir.path().join("kcore");
    for _ in 0..3 {
        File::open(&path).unwrap().read_at(&mut [0], 0).unwrap();
    }
    assert_eq!(source.state.opens.load(Ordering::Relaxed), 3);
}

#[test]
fn serves_two_readers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Each of the two requests is answered only once the other has arrived.
    let source = Patterned::new(State {
        meet: Some(Barrier::new(2)),
        ..State::default()
    });
    let _mounted = source.mount(dir.path());
    let (done, both) = mpsc::channel();
    for _ in 0..2 {
        let path = dir.path().join("kcore");
        let done = done.clone();
        thread::spawn(move || {
            let file = File::open(path).unwrap();
            done.send(file.read_at(&mut [0; 16], 0).unwrap()).unwrap();
        });
    }
    for _ in 0..2 {
        assert_eq!(both.recv_timeout(Duration::from_secs(10)), Ok(16));
    }
}

#[test]
fn gives_what_arrived_and_then_eio_and_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let source = Patterned::new(State {
        fails_from: Some(10_000),
        ..State::default()
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let on_failure = {
        let told = Arc::clone(&told);
        Box::new(move |words: &str| told.lock().unwrap().push(words.to_owned()))
    };
    let _mounted = Mounted::mount(
        vec![Box::new(source)],
        dir.path(),
        MountOptions { on_failure },
    )
    .unwrap();
    let file = File::open(dir.path().join("kcore")).unwrap();
    let mut buffer = vec![0xff_u8; 20_000];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 10_000);
    for _ in 0..3 {
        let error = file.read_at(&mut buffer, 10_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    assert_eq!(*told.lock().unwrap(), ["the target has ended"]);
}

#[test]
fn ends_when_unmounted_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Patterned::new(State::default()).mount(dir.path());
    let status = Command::new("fusermount3")
        .arg("-u")
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    mounted.wait().unwrap();
    assert!(!is_mounted(dir.path()));
}

#[test]
fn ends_when_asked_even_with_a_file_open() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Patterned::new(State::default()).mount(dir.path());
    let file = File::open(dir.path().join("kcore")).unwrap();
    mounted.unmounter().unmount();
    mounted.wait().unwrap();
    assert!(!is_mounted(dir.path()));
    drop(file);
}

#[test]
fn refuses_a_folder_that_is_a_mount_and_clears_up_on_drop() {
    let dir = tempfile::tempdir().unwrap();
    let source = Patterned::new(State::default());
    let mounted = source.mount(dir.path());
    let again = Mounted::mount(vec![Box::new(source.clone())], dir.path(), quiet());
    assert!(
        matches!(again, Err(MountError::AlreadyMounted { .. })),
        "{again:?}"
    );
    drop(mounted);
    assert!(!is_mounted(dir.path()));
    drop(source.mount(dir.path()));
}

#[test]
fn refuses_a_name_that_leaves_the_folder() {
    #[derive(Debug)]
    struct Named(&'static str);
    impl ServedFile for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn size(&self) -> ByteLen {
            ByteLen::new(1)
        }
        fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
            Err(io::Error::other("not to be opened").into())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["", ".", "..", "a/b"] {
        let mounted = Mounted::mount(vec![Box::new(Named(name))], dir.path(), quiet());
        assert!(matches!(mounted, Err(MountError::BadName { .. })), "{name}");
    }
}
