//! A process that has a machine's RAM in every way that a VMM may have it, and does what it is told.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs, io, ptr};

use rustix::fs::MemfdFlags;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use vread_addr::{ByteLen, PhysAddr, PhysRange, VirtAddr};

pub(crate) const PAGE: usize = 4096;
/// The pages of each kind of memory.
pub(crate) const PAGES: usize = 4096;
const LEN: usize = PAGES * PAGE;

/// The first argument that makes this program the VMM.
pub(crate) const ROLE: &str = "be-the-vmm";
/// The second one, if it is to have memory in huge pages.
const HUGE: &str = "huge";

/// The kinds of memory, in the order in which the VMM names their addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ram {
    /// A memfd that is mapped shared, and still open.
    Memfd,
    /// A memfd that is mapped shared, and closed: there is no name for it but the mapping.
    ClosedMemfd,
    /// Anonymous and private: what a VMM has by default.
    Anonymous,
    /// Anonymous and shared.
    SharedAnonymous,
    /// A file that is mapped privately: each page comes from the file until it is written.
    PrivateFile,
    /// A memfd of huge pages that is mapped shared.
    HugeMemfd,
    /// Anonymous and private, in huge pages.
    HugeAnonymous,
}

/// The kinds that take huge pages, which a system need not have; after the others.
pub(crate) const HUGE_KINDS: [Ram; 2] = [Ram::HugeMemfd, Ram::HugeAnonymous];

pub(crate) const KINDS: [Ram; 5] = [
    Ram::Memfd,
    Ram::ClosedMemfd,
    Ram::Anonymous,
    Ram::SharedAnonymous,
    Ram::PrivateFile,
];

/// The VMM, from its parent's side. It ends when this is dropped.
pub(crate) struct Vmm {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    addrs: Vec<u64>,
}

impl Vmm {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One that has memory in huge pages too.
    pub(crate) fn start_with_huge_pages() -> Self {
        Self::start_with(&[HUGE])
    }

    fn start_with(args: &[&str]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg(ROLE)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut vmm = Self {
            child,
            orders,
            answers,
            addrs: Vec::new(),
        };
        let addrs = vmm.answer();
        vmm.addrs = addrs.split(' ').map(|addr| addr.parse().unwrap()).collect();
        assert!(vmm.addrs.len() >= KINDS.len());
        vmm
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its memory of one kind lies in the VMM.
    pub(crate) fn addr(&self, kind: Ram) -> VirtAddr {
        let mut kinds = KINDS.iter().chain(&HUGE_KINDS);
        VirtAddr::new(self.addrs[kinds.position(|other| *other == kind).unwrap()])
    }

    /// All of the memory of one kind, from physical address 0.
    pub(crate) fn whole(&self, kind: Ram) -> [(PhysRange, VirtAddr); 1] {
        let len = ByteLen::from_usize(LEN);
        let range = PhysRange::from_len(PhysAddr::new(0), len).unwrap();
        [(range, self.addr(kind))]
    }

    /// Fills a page with a byte.
    pub(crate) fn fill(&mut self, kind: Ram, page: usize, byte: u8) {
        self.order(kind, &format!("fill {page} {byte}"));
    }

    /// Gives a page back.
    pub(crate) fn discard(&mut self, kind: Ram, page: usize) {
        self.order(kind, &format!("discard {page} 0"));
    }

    /// Advises about one page, which cuts the mapping in three.
    pub(crate) fn tear(&mut self, kind: Ram, page: usize) {
        self.order(kind, &format!("tear {page} 0"));
    }

    /// Takes the right to read a page away.
    pub(crate) fn protect(&mut self, kind: Ram, page: usize) {
        self.order(kind, &format!("protect {page} 0"));
    }

    /// Ends it, and leaves it a zombie.
    pub(crate) fn end(&mut self) {
        self.orders = None;
        // Its output closes as it ends, and nothing was left to be read.
        assert_eq!(self.answer(), "");
    }

    /// A line of `/proc/PID/status`, in KiB.
    pub(crate) fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many pages of one kind exist, whoever has touched them: what the VMM's own mincore(2) says.
    pub(crate) fn existing_pages(&mut self, kind: Ram) -> usize {
        self.ask(kind, "count 0 0").parse().unwrap()
    }

    fn order(&mut self, kind: Ram, what: &str) {
        assert_eq!(self.ask(kind, what), "done");
    }

    fn ask(&mut self, kind: Ram, what: &str) -> String {
        let addr = self.addr(kind).get();
        writeln!(self.orders.as_mut().unwrap(), "{addr} {what}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.orders = None;
        let _status = self.child.wait();
    }
}

/// What the child does: maps everything, says where, and obeys until its input ends.
pub(crate) fn be_the_vmm() {
    let backing = tempfile::tempfile().unwrap();
    backing.set_len(u64::try_from(LEN).unwrap()).unwrap();
    (&backing).write_all(&vec![0x11; PAGE]).unwrap();
    let memfd = || {
        let file = fs::File::from(rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(u64::try_from(LEN).unwrap()).unwrap();
        file
    };
    let open = memfd();
    let closed = memfd();
    let mut addrs = vec![
        map(&open, MapFlags::SHARED),
        map(&closed, MapFlags::SHARED),
        anonymous(MapFlags::PRIVATE),
        anonymous(MapFlags::SHARED),
        map(&backing, MapFlags::PRIVATE),
    ];
    drop(closed);
    if env::args().nth(2).as_deref() == Some(HUGE) {
        let huge = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
        let huge = fs::File::from(rustix::fs::memfd_create("huge", huge).unwrap());
        huge.set_len(u64::try_from(LEN).unwrap()).unwrap();
        let no_reserve = MapFlags::NORESERVE;
        addrs.push(map(&huge, MapFlags::SHARED | no_reserve));
        addrs.push(anonymous(
            MapFlags::PRIVATE | MapFlags::HUGETLB | no_reserve,
        ));
        // The mapping keeps it; the parent finds it by its descriptor all the same.
        std::mem::forget(huge);
    }
    let mut line = String::new();
    for addr in &addrs {
        write!(line, " {}", addr.addr()).unwrap();
    }
    println!("{}", line.trim_start());
    for order in io::stdin().lines() {
        let order = order.unwrap();
        let words: Vec<&str> = order.split(' ').collect();
        let [addr, verb, page, byte] = words[..] else {
            panic!("not an order: {order}")
        };
        let addr: usize = addr.parse().unwrap();
        let base = *addrs.iter().find(|base| base.addr() == addr).unwrap();
        let page = base.wrapping_add(page.parse::<usize>().unwrap() * PAGE);
        match verb {
            // SAFETY: a page of our own memory.
            "fill" => unsafe { page.write_bytes(byte.parse().unwrap(), PAGE) },
            // REMOVE punches a hole in shared memory; DONTNEED drops private memory.
            "discard" => advise(page, Advice::LinuxRemove).unwrap_or_else(|_| {
                advise(page, Advice::LinuxDontNeed).unwrap();
            }),
            "tear" => advise(page, Advice::LinuxDontDump).unwrap(),
            "protect" => {
                // SAFETY: a page of our own memory, which nobody uses any more.
                unsafe { mm::mprotect(page.cast(), PAGE, MprotectFlags::empty()) }.unwrap()
            }
            "count" => {
                println!("{}", count_existing(base));
                continue;
            }
            _ => panic!("not a verb: {verb}"),
        }
        println!("done");
    }
}

fn count_existing(base: *mut u8) -> usize {
    let mut told = vec![0_u8; PAGES];
    // SAFETY: a whole memory of ours, and a byte for each of its pages.
    let status = unsafe { libc::mincore(base.cast(), LEN, told.as_mut_ptr()) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    told.iter().filter(|page| **page & 1 == 1).count()
}

fn advise(page: *mut u8, advice: Advice) -> rustix::io::Result<()> {
    // SAFETY: a page of our own memory, to which no reference exists.
    unsafe { mm::madvise(page.cast(), PAGE, advice) }
}

fn map(file: impl AsFd, flags: MapFlags) -> *mut u8 {
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping.
    unsafe { mm::mmap(ptr::null_mut(), LEN, rights, flags, file, 0) }
        .unwrap()
        .cast()
}

fn anonymous(flags: MapFlags) -> *mut u8 {
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping.
    unsafe { mm::mmap_anonymous(ptr::null_mut(), LEN, rights, flags) }
        .unwrap()
        .cast()
}
