//! Medians as what a call takes, or how many bytes a second.

use std::time::{Duration, Instant};

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
