use core::fmt;
use core::str::FromStr;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::{Destination, Source};

/// When writes into a reader's buffer are made to fail: the attributes of Linux's fault injection
/// (`fail_usercopy`, I28), with their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultAttr {
    /// Of every so many checks that pass the other tests, one fails; 0 and 1 are every check.
    pub interval: u32,
    /// How likely such a check fails, in percent.
    pub probability: u32,
    /// So many checks pass before any can fail.
    pub space: u32,
    /// How many may fail in all; `None` for no limit.
    pub times: Option<u32>,
}

/// A word that is not `interval,probability,space,times`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultAttrError;

impl fmt::Display for FaultAttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not of the form interval,probability,space,times: four numbers, the probability up to 100, \
             times -1 for no limit",
        )
    }
}

impl core::error::Error for FaultAttrError {}

impl FromStr for FaultAttr {
    type Err = FaultAttrError;

    /// Reads `interval,probability,space,times`, the form of Linux's boot option.
    fn from_str(word: &str) -> Result<Self, FaultAttrError> {
        let mut parts = word.split(',');
        let mut next = || parts.next().ok_or(FaultAttrError);
        let number = |part: &str| part.parse().map_err(|_not_a_number| FaultAttrError);
        let attr = Self {
            interval: number(next()?)?,
            probability: number(next()?)?,
            space: number(next()?)?,
            times: match next()? {
                "-1" => None,
                times => Some(number(times)?),
            },
        };
        match parts.next().is_none() && attr.probability <= 100 {
            true => Ok(attr),
            false => Err(FaultAttrError),
        }
    }
}

/// Decides, check by check, whether a write fails. May be shared between threads.
#[derive(Debug)]
pub struct FaultInjector {
    attr: FaultAttr,
    space_left: AtomicI64,
    checks: AtomicU64,
    /// Below 0 for no limit.
    times_left: AtomicI64,
    random: AtomicU64,
    /// The check that fails whatever the attributes say, counted down; 0 for none.
    nth: AtomicI64,
}

impl FaultInjector {
    /// An injector whose random decisions follow from `seed`.
    #[must_use]
    pub fn new(attr: FaultAttr, seed: u64) -> Self {
        Self {
            attr,
            space_left: AtomicI64::new(i64::from(attr.space)),
            checks: AtomicU64::new(0),
            times_left: AtomicI64::new(attr.times.map_or(-1, i64::from)),
            random: AtomicU64::new(seed | 1),
            nth: AtomicI64::new(0),
        }
    }

    /// Lets the `nth` check from now on fail, and no other until then (Linux's `fail-nth`).
    #[must_use]
    pub fn fail_nth(nth: u32) -> Self {
        let never = FaultAttr {
            interval: 1,
            probability: 0,
            space: 0,
            times: None,
        };
        let injector = Self::new(never, 1);
        injector.nth.store(i64::from(nth), Ordering::Relaxed);
        injector
    }

    /// Whether this write is to fail. Every call counts as one of size 1.
    pub fn should_fail(&self) -> bool {
        if self.nth.load(Ordering::Relaxed) > 0 {
            return self.nth.fetch_sub(1, Ordering::Relaxed) == 1;
        }
        if self.times_left.load(Ordering::Relaxed) == 0 {
            return false;
        }
        if self.space_left.load(Ordering::Relaxed) > 0 {
            self.space_left.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if self.attr.interval > 1 {
            let checks = self.checks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if !checks.is_multiple_of(u64::from(self.attr.interval)) {
                return false;
            }
        }
        if self.next_percent() >= u64::from(self.attr.probability) {
            return false;
        }
        if self.times_left.load(Ordering::Relaxed) > 0 {
            self.times_left.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// 0 to 99, from a fixed sequence (xorshift).
    fn next_percent(&self) -> u64 {
        let mut value = self.random.load(Ordering::Relaxed);
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        self.random.store(value, Ordering::Relaxed);
        value.checked_rem(100).unwrap_or(0)
    }
}

/// A segment whose writes fail when an injector says so: nothing is written then, and the whole piece
/// counts as not done (I22, I23, I28). Making it resident never fails for that reason.
///
/// A buffer that is not wrapped pays nothing.
#[derive(Debug)]
pub struct FailUsercopy<'f, D> {
    segment: D,
    faults: &'f FaultInjector,
}

impl<'f, D> FailUsercopy<'f, D> {
    /// `segment`, with the faults that `faults` injects.
    pub fn new(segment: D, faults: &'f FaultInjector) -> Self {
        Self { segment, faults }
    }
}

impl<D: Destination> Destination for FailUsercopy<'_, D> {
    fn len(&self) -> usize {
        self.segment.len()
    }

    fn offset_in_page(&self) -> usize {
        self.segment.offset_in_page()
    }

    fn copy_nofault(&mut self, at: usize, src: &[u8]) -> usize {
        match self.faults.should_fail() {
            true => 0,
            false => self.segment.copy_nofault(at, src),
        }
    }

    fn zero_nofault(&mut self, at: usize, len: usize) -> usize {
        match self.faults.should_fail() {
            true => 0,
            false => self.segment.zero_nofault(at, len),
        }
    }

    fn fault_in_writeable(&mut self, at: usize, len: usize) -> usize {
        self.segment.fault_in_writeable(at, len)
    }
}

impl<S: Source> Source for FailUsercopy<'_, S> {
    fn len(&self) -> usize {
        self.segment.len()
    }

    fn offset_in_page(&self) -> usize {
        self.segment.offset_in_page()
    }

    fn copy_from_nofault(&mut self, at: usize, dst: &mut [u8]) -> usize {
        match self.faults.should_fail() {
            true => 0,
            false => self.segment.copy_from_nofault(at, dst),
        }
    }

    fn fault_in_readable(&mut self, at: usize, len: usize) -> usize {
        self.segment.fault_in_readable(at, len)
    }
}
