//! Faults on purpose (I28), chosen by the environment as a user would, in a read of a whole arena. Each case is
//! a process of its own, since faults are chosen once.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "small numbers of the test's own; without a harness clippy does not know it for one"
)]

use std::env;
use std::process::{Command, ExitCode};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};
use vread_addr::{ByteLen, PageCount, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter, Source, Stop};
use vread_kcore::{
    ElfMachine, KcoreImage, OffsetRule, ReadOptions, arena_segments, read_kcore_iter,
};
use vread_nofault::fail_usercopy::{self, VARIABLE};
use vread_nofault::{UserBuf, UserSource};
use vread_vmalloc::{Arena, HeapFrames};

/// Set in the processes that the cases are.
const ROLE: &str = "VREAD_TEST_ROLE";

const LEN: usize = 64 << 10;

/// What a process ends with when the reader's buffer refused for good.
const REFUSED: u8 = 1;
/// And when faults could not be chosen.
const MALFORMED: u8 = 2;

struct Case {
    name: &'static str,
    role: &'static str,
    faults: Option<&'static str>,
    code: u8,
    says: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        name: "no_faults_unless_asked_for",
        role: "read",
        faults: None,
        code: 0,
        says: "0 pieces failed",
    },
    Case {
        name: "read_survives_that_a_third_of_its_pieces_fail",
        role: "read",
        faults: Some("1,33,0,-1"),
        code: 0,
        says: " pieces failed",
    },
    Case {
        name: "read_survives_five_hundred_faults_in_a_row",
        role: "read",
        faults: Some("1,100,7,500"),
        code: 0,
        says: "500 pieces failed",
    },
    Case {
        name: "faults_for_ever_end_the_read",
        role: "read",
        faults: Some("1,100,0,-1"),
        code: REFUSED,
        says: "DestFault",
    },
    Case {
        name: "malformed_variable_is_named_with_the_way_out",
        role: "read",
        faults: Some("often"),
        code: MALFORMED,
        says: "VREAD_FAIL_USERCOPY=often: not of the form interval,probability,space,times: four numbers, \
               the probability up to 100, times -1 for no limit; 1,10,0,-1 lets a tenth of all pieces fail",
    },
    Case {
        name: "nth_piece_of_a_thread_fails_and_no_other",
        role: "nth",
        faults: None,
        code: 0,
        says: "",
    },
];

fn main() -> ExitCode {
    match env::var(ROLE).as_deref() {
        Ok("read") => return read(),
        Ok(_) => return nth(),
        Err(_) => {}
    }
    let trial = |case: &'static Case| Trial::test(case.name, move || run(case));
    libtest_mimic::run(&Arguments::from_args(), CASES.iter().map(trial).collect()).exit_code()
}

fn run(case: &Case) -> Result<(), Failed> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, case.role).env_remove(VARIABLE);
    command.envs(case.faults.map(|faults| (VARIABLE, faults)));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let good = output.status.code() == Some(i32::from(case.code)) && said.contains(case.says);
    let wrongly_none = case.faults.is_some() && said.contains("\n0 pieces");
    match good && !wrongly_none {
        true => Ok(()),
        false => Err(format!("{}: {said}", output.status).into()),
    }
}

/// Counts the writes of which nothing was done.
struct Counted<'c, 'b>(UserBuf<'b>, &'c std::cell::Cell<usize>);

impl Counted<'_, '_> {
    fn note(&self, asked: usize, done: usize) -> usize {
        if asked > 0 && done == 0 {
            self.1.set(self.1.get() + 1);
        }
        done
    }
}

impl Destination for Counted<'_, '_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        let done = self.0.copy_nofault(at, src);
        self.note(src.len(), done)
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        let done = self.0.zero_nofault(at, len);
        self.note(len, done)
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        self.0.fault_in_writeable(at, len)
    }
}

fn read() -> ExitCode {
    vread_nofault::install().unwrap();
    if let Err(error) = fail_usercopy::from_env() {
        eprintln!("{error}");
        return ExitCode::from(MALFORMED);
    }
    let pages = u64::try_from(LEN / 4096).unwrap();
    let start = VirtAddr::new(0xffff_c900_0000_0000);
    let window = VirtRange::from_len(start, ByteLen::new(1 << 30)).unwrap();
    let arena: Arena<HeapFrames> =
        Arena::new(window, HeapFrames::new(PageCount::new(pages))).unwrap();
    let content: Vec<u8> = (1..=251).cycle().take(LEN).collect();
    let area = arena.vmalloc(ByteLen::from_usize(LEN)).unwrap();
    arena.write(area, &content).unwrap();
    let (rule, segments) = (OffsetRule::X86_64_4_LEVEL, arena_segments(&arena));
    let image = KcoreImage::kcore(ElfMachine::X86_64, rule, &segments, &[]).unwrap();
    let at = image.offset_of(area).unwrap();
    let failed = std::cell::Cell::new(0);
    for _ in 0..50 {
        let mut buffer = vec![0xee; LEN];
        let parts = buffer.chunks_mut(700).map(UserBuf::new);
        let mut segments: Vec<_> = parts.map(|part| Counted(part, &failed)).collect();
        let mut iter = IovIter::iovec(&mut segments);
        let options = ReadOptions::default();
        let progress = read_kcore_iter(&image, &arena, &mut iter, at, options).unwrap();
        if let Some(stop) = progress.stopped {
            assert_eq!(
                (stop, progress.advanced()),
                (Stop::DestFault, ByteLen::ZERO)
            );
            eprintln!("{stop:?}");
            return ExitCode::from(REFUSED);
        }
        assert!(buffer == content, "a byte is wrong");
    }
    eprintln!("\n{} pieces failed", failed.get());
    ExitCode::SUCCESS
}

fn nth() -> ExitCode {
    vread_nofault::install().unwrap();
    let mut bytes = [0; 4];
    let mut buffer = UserBuf::new(&mut bytes);
    assert_eq!(fail_usercopy::fail_nth(3), 0);
    // Another thread's pieces do not count.
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 4];
            let mut buffer = UserBuf::new(&mut bytes);
            assert!((0..10).all(|_| buffer.copy_nofault(0, b"abcd") == 4));
        });
    });
    assert_eq!(buffer.copy_nofault(0, b"abcd"), 4);
    assert_eq!(buffer.zero_nofault(1, 2), 2);
    assert_eq!(fail_usercopy::fail_nth(1), 1, "one was left");
    assert_eq!(buffer.copy_nofault(0, b"efgh"), 0);
    assert_eq!(buffer.copy_nofault(3, b"d"), 1);
    // Making it resident is no piece, and reading from a user's memory is one.
    fail_usercopy::fail_nth(1);
    assert_eq!(buffer.fault_in_writeable(0, 4), 0);
    let mut source = UserSource::new(b"source");
    let mut got = [0; 6];
    assert_eq!(source.fault_in_readable(0, 6), 0);
    assert_eq!(source.copy_from_nofault(0, &mut got), 0);
    assert_eq!(source.copy_from_nofault(0, &mut got), 6);
    assert_eq!(&got, b"source");
    assert_eq!(bytes, *b"a\0\0d", "the failed piece was not touched");
    ExitCode::SUCCESS
}
