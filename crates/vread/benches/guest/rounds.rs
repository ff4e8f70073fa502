//! Medians of things measured in turns.

use std::time::{Duration, Instant};

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

/// Prints the medians as throughput, and the first as a part of the others.
pub(crate) fn print_throughput(rounds: usize, bytes: u64, sides: &[&str], medians: &[Duration]) {
    let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
    for (name, time) in sides.iter().zip(medians) {
        println!("  {name:<44} {:>8.2} GB/s", rate(*time));
    }
    for (name, time) in sides.iter().zip(medians).skip(1) {
        let ratio = time.as_secs_f64() / medians[0].as_secs_f64();
        println!("  ratio to {name}: {ratio:.2} (medians of {rounds})");
    }
}

/// The time that `count` calls take, for one call.
pub(crate) fn per_call(count: u32, mut call: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..count {
        call();
    }
    begin.elapsed() / count
}
