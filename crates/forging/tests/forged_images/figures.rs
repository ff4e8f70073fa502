//! What all images of a worker took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many steps are named as those that took the most time.
const SHARES: usize = 10;

/// The figures of all images.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) time: Duration,
    pub(crate) time_of: String,
    pub(crate) memory: usize,
    pub(crate) memory_of: String,
    /// How many images could be opened.
    pub(crate) opened: u64,
    /// How many steps gave something, and how many an error.
    pub(crate) good: u64,
    pub(crate) bad: u64,
    /// The processor time of each step, of all images together.
    pub(crate) steps: BTreeMap<String, Duration>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            time,
            time_of,
            memory,
            memory_of,
            opened,
            good,
            bad,
            ..
        } = self;
        let memory = memory >> 20;
        write!(
            f,
            "{opened} with a kernel in them; {good} steps answered, {bad} refused; most time {time:.2?} \
             ({time_of}), most memory {memory} MiB ({memory_of})"
        )
    }
}

impl Figures {
    /// Where the time went: the steps that took the most.
    pub(crate) fn shares(&self) -> String {
        let total: Duration = self.steps.values().sum();
        let mut steps: Vec<_> = self.steps.iter().collect();
        steps.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let share = |time: &Duration| 100.0 * time.as_secs_f64() / total.as_secs_f64();
        let first = steps.into_iter().take(SHARES);
        let first: Vec<_> = first
            .map(|(step, time)| format!("{step} {:.0} %", share(time)))
            .collect();
        format!("processor time {total:.1?}: {}, …", first.join(", "))
    }
}
