//! Medians of things measured in turns.

use std::time::Duration;

/// One side of a comparison.
pub(crate) struct Side<'a> {
    pub(crate) name: &'a str,
    /// One round; what it took.
    pub(crate) round: &'a mut dyn FnMut() -> Duration,
}

/// Lets each side run once unmeasured, then all in turns; their medians, in order.
pub(crate) fn medians(rounds: usize, sides: &mut [Side<'_>]) -> Vec<Duration> {
    let mut times = vec![Vec::new(); sides.len()];
    for side in &mut *sides {
        (side.round)();
    }
    for _ in 0..rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            times.push((side.round)());
        }
    }
    times.into_iter().map(median).collect()
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
