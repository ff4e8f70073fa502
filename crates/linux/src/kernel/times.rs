use std::time::Duration;

/// How long each step of [`Kernel::attach`](crate::Kernel::attach) took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachTimes {
    steps: Vec<(&'static str, Duration)>,
}

impl AttachTimes {
    /// Each step's name and time, in the order in which they were made.
    #[must_use]
    pub fn steps(&self) -> &[(&'static str, Duration)] {
        &self.steps
    }

    /// All steps together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.steps.iter().map(|(_, time)| *time).sum()
    }

    /// Does `work` and keeps how long it took under `name`; a step that is made several times is one.
    pub(crate) fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let result = work();
        let took = start.elapsed();
        match self.steps.iter_mut().find(|(step, _)| *step == name) {
            Some((_, time)) => *time = time.saturating_add(took),
            None => self.steps.push((name, took)),
        }
        result
    }
}
