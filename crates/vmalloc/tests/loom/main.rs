//! Publishing, reading and freeing an area, in every order that the memory model allows.
//!
//! Built and run with `RUSTFLAGS="--cfg loom"`; elsewhere there is nothing in it.
#![cfg(loom)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "small numbers of the tests' own; a failure fails it"
)]

mod lock;

use std::sync::Mutex;

use lock::LoomLock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use vread_addr::{ByteLen, PageCount, Pfn, PhysAddr, VirtAddr, VirtRange};
use vread_iov_iter::{Destination, IovIter, PageSource, Plain, Progress, SourceFailure};
use vread_vmalloc::{Arena, ArenaError, FrameProvider, vread_iter};

const BASE: u64 = 0xffff_c900_0000_0000;

/// How often a thread may be interrupted where it does not wait: what two interruptions do not break, more
/// seldom do, and all orders are too many.
const PREEMPTIONS: usize = 2;

/// Frames that show nothing but who has them: the number of the allocation, counted from 1, or 0.
struct Owners {
    owners: Vec<AtomicU64>,
    free: Mutex<(Vec<u64>, u64)>,
}

impl Owners {
    fn new(count: u64) -> Self {
        Self {
            owners: (0..count).map(|_| AtomicU64::new(0)).collect(),
            free: Mutex::new(((0..count).rev().collect(), 0)),
        }
    }

    fn owner(&self, frame: u64) -> &AtomicU64 {
        &self.owners[usize::try_from(frame).unwrap()]
    }
}

impl FrameProvider for Owners {
    fn total(&self) -> PageCount {
        PageCount::new(self.owners.len() as u64)
    }
    fn alloc_frame(&self) -> Option<Pfn> {
        let (frame, owner) = {
            let mut free = self.free.lock().unwrap();
            let frame = free.0.pop()?;
            free.1 += 1;
            (frame, free.1)
        };
        self.owner(frame).store(owner, Ordering::Relaxed);
        Some(Pfn::new(frame))
    }
    fn free_frame(&self, frame: Pfn) {
        self.owner(frame.get()).store(0, Ordering::Relaxed);
        self.free.lock().unwrap().0.push(frame.get());
    }
    fn write_frame(&self, _: Pfn, _: ByteLen, _: &[u8]) -> Result<(), SourceFailure> {
        Err(SourceFailure::Gone)
    }
}

impl<D: Destination> PageSource<D> for Owners {
    fn copy_run_to_iter_nofault(
        &self,
        start: PhysAddr,
        len: ByteLen,
        iter: &mut IovIter<'_, D>,
    ) -> Progress {
        // A byte a page is enough; a run has as many pages as lie one after another.
        let mut total = Progress::default();
        for page in 0..len.get() / 4096 {
            let owner = self
                .owner(Pfn::containing(start).get() + page)
                .load(Ordering::Relaxed);
            let bytes = [u8::try_from(owner).unwrap(); 4096];
            let done = iter.copy_to_iter_nofault(&bytes);
            total = total.then(Progress::copied(ByteLen::from_usize(done)));
        }
        total
    }
}

type LoomArena = Arena<Owners, LoomLock>;

fn at(page: u64) -> VirtAddr {
    VirtAddr::new(BASE + page * 4096)
}

fn bytes(pages: u64) -> ByteLen {
    ByteLen::new(pages * 4096)
}

/// An arena in which all that is made on first use is made: loom does not know the `Once` that orders it.
fn arena(frames: u64) -> Arc<LoomArena> {
    let window = VirtRange::from_len(at(0), bytes(16)).unwrap();
    let arena = Arena::new(window, Owners::new(frames)).unwrap();
    let everywhere = [(); 8].map(|()| arena.vmap(&[Pfn::new(0)]).unwrap());
    for mapping in everywhere {
        arena.vunmap(mapping).unwrap();
    }
    arena.purge_vmap_area_lazy();
    Arc::new(arena)
}

/// Who owns each page from `first` on, by a read of all: 0 is a hole. Whether a byte was copied at all is
/// told apart from a frame that nobody has.
fn read<const PAGES: usize>(arena: &LoomArena, first: u64) -> [Option<u8>; PAGES] {
    let mut buffer = vec![0xff; PAGES * 4096];
    let mut segment = Plain::new(&mut buffer);
    let mut iter = IovIter::ubuf(&mut segment);
    let progress = vread_iter(arena, &mut iter, at(first), bytes(PAGES as u64));
    assert_eq!(progress.advanced(), bytes(PAGES as u64));
    let copied = progress.copied.get() / 4096;
    let owners = std::array::from_fn(|page| Some(buffer[page * 4096]).filter(|owner| *owner != 0));
    let seen = owners.iter().flatten().count() as u64;
    assert_eq!(seen, copied, "a frame that nobody had was read");
    owners
}

/// Somebody who frees a sparse area and makes a short one in its place.
fn replaces(arena: &Arc<LoomArena>, gone: VirtAddr) -> thread::JoinHandle<VirtAddr> {
    let writer = Arc::clone(arena);
    thread::spawn(move || {
        writer.free_vm_area(gone).unwrap();
        writer.purge_vmap_area_lazy();
        writer.get_vm_area_sparse(bytes(1)).unwrap()
    })
}

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(run);
}

#[test]
fn an_area_is_there_as_a_whole_or_not_at_all() {
    // V9, R8: to a reader who holds it.
    model(|| {
        let arena = arena(2);
        let maker = Arc::clone(&arena);
        let making = thread::spawn(move || maker.vmalloc(bytes(2)).unwrap());
        let seen = read::<3>(&arena, 0);
        assert!(
            matches!(seen, [None, None, None] | [Some(1), Some(2), None]),
            "{seen:?}"
        );
        assert_eq!(making.join().unwrap(), at(0));
        assert_eq!(read::<3>(&arena, 0), [Some(1), Some(2), None]);
    });
}

#[test]
fn a_freed_page_shows_old_bytes_or_zeros_and_never_its_next_owners() {
    // R22, R28, V16: there is one frame, which goes from one area to the next while somebody reads both.
    model(|| {
        let arena = arena(1);
        let first = arena.vmalloc(bytes(1)).unwrap();
        let writer = Arc::clone(&arena);
        let writing = thread::spawn(move || {
            writer.vfree(first).unwrap();
            writer.vmalloc(bytes(1)).unwrap()
        });
        let [before, _guard, after, _] = read::<4>(&arena, 0);
        assert!(matches!(before, None | Some(1)), "{before:?}");
        assert!(matches!(after, None | Some(2)), "{after:?}");
        assert_eq!(writing.join().unwrap(), at(2));
        assert_eq!(read::<4>(&arena, 0), [None, None, Some(2), None]);
    });
}

#[test]
fn a_tail_that_is_cut_off_never_shows_its_next_owners() {
    // V10, R13
    model(|| {
        let arena = arena(2);
        let area = arena.vmalloc(bytes(2)).unwrap();
        let writer = Arc::clone(&arena);
        let writing = thread::spawn(move || {
            assert_eq!(writer.vrealloc(area, bytes(1)), Ok(area));
            writer.vmalloc(bytes(1)).unwrap()
        });
        let [head, tail, _guard, next] = read::<4>(&arena, 0);
        assert_eq!(head, Some(1), "the head stays");
        assert!(matches!(tail, None | Some(2)), "{tail:?}");
        assert!(matches!(next, None | Some(3)), "{next:?}");
        assert_eq!(writing.join().unwrap(), at(3));
    });
}

#[test]
fn pages_that_move_are_in_the_old_place_or_the_new_one() {
    model(|| {
        let arena = arena(2);
        let area = arena.vmalloc(bytes(1)).unwrap();
        let writer = Arc::clone(&arena);
        let writing = thread::spawn(move || writer.vrealloc(area, bytes(2)).unwrap());
        let [old, _guard, moved, new] = read::<4>(&arena, 0);
        assert!(matches!(old, None | Some(1)), "{old:?}");
        assert!(
            matches!((moved, new), (None, None) | (Some(1), Some(2))),
            "{moved:?} {new:?}"
        );
        assert_eq!(writing.join().unwrap(), at(2));
    });
}

#[test]
fn an_area_that_stays_is_always_found_among_those_that_come_and_go() {
    // R3, V19: the search takes no lock, and misses nothing for it.
    model(|| {
        let arena = arena(2);
        let gone = arena.get_vm_area_sparse(bytes(3)).unwrap();
        let stays = arena.vmalloc(bytes(1)).unwrap();
        assert_eq!(stays, at(4));
        let writing = replaces(&arena, gone);
        assert_eq!(read::<5>(&arena, 1)[3], Some(1));
        assert_eq!(read::<2>(&arena, 4), [Some(1), None]);
        assert_eq!(writing.join().unwrap(), at(0));
    });
}

#[test]
fn an_area_is_found_as_it_was_at_one_instant() {
    // One goes, and a shorter one takes its place.
    model(|| {
        let arena = arena(1);
        let long = arena.get_vm_area_sparse(bytes(3)).unwrap();
        let writing = replaces(&arena, long);
        let long = VirtRange::from_len(at(0), bytes(4));
        let short = VirtRange::from_len(at(0), bytes(2));
        let found = arena.find_vmap_area(at(1));
        assert!([None, long, short].contains(&found), "{found:?}");
        let found = arena.find_vmap_area(at(2));
        assert!([None, long].contains(&found), "{found:?}");
        assert_eq!(writing.join().unwrap(), at(0));
        assert_eq!(arena.find_vmap_area(at(1)), short);
        assert_eq!(arena.find_vmap_area(at(2)), None);
    });
}

#[test]
fn of_two_who_free_an_area_one_does() {
    model(|| {
        let arena = arena(1);
        let area = arena.vmalloc(bytes(1)).unwrap();
        let other = Arc::clone(&arena);
        let freeing = thread::spawn(move || other.vfree(area));
        let both = [arena.vfree(area), freeing.join().unwrap()];
        let refused = Err(ArenaError::NotAnArea { addr: area });
        assert!(
            both == [Ok(()), refused] || both == [refused, Ok(())],
            "{both:?}"
        );
        assert_eq!(
            arena.frames().free.lock().unwrap().0,
            [0],
            "given back once"
        );
    });
}
