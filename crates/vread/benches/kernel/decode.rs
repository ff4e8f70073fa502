//! The tables of the newest kernel, which has the most symbols and types.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vread_guests::Guest;
use vread_linux::Btf;

use crate::opened::open;
use crate::rounds::median;
use crate::{ROUNDS, print_limit};

const LIMIT: Duration = Duration::from_millis(50);

pub(crate) fn bench(guest: &Guest) {
    let target = open(guest);
    let kernel = target.ask_kernel(Ok).unwrap();
    let mut count = 0;
    let symbols = timed(|| {
        // Each with its name as a text of its own, modules included.
        count = 0;
        for symbol in kernel.symbols().unwrap().iter() {
            black_box(&symbol);
            count += 1;
        }
    });
    print_limit(&format!("decode all {count} symbols"), symbols, LIMIT);

    // Handed over as a copy, which is made before the clock starts.
    let bytes = kernel.btf().unwrap().bytes();
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        let copy = bytes.to_vec();
        let begin = Instant::now();
        let btf = Btf::parse(copy).unwrap();
        times.push(begin.elapsed());
        count = btf.types().count();
    }
    times.remove(0);
    let what = format!("index {count} types, {} KiB of BTF", bytes.len() >> 10);
    print_limit(&what, median(times), LIMIT);
}

fn timed(mut work: impl FnMut()) -> Duration {
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        let begin = Instant::now();
        work();
        times.push(begin.elapsed());
    }
    // The first one warms up.
    times.remove(0);
    median(times)
}
