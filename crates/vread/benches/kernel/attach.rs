//! From a socket to a kernel that answers, step by step.

use std::time::{Duration, Instant};

use vread_guests::Guest;
use vread_targets::View;

use crate::opened::open;
use crate::rounds::median;
use crate::{ROUNDS, ms, print_limit};

const LIMIT: Duration = Duration::from_millis(300);

pub(crate) fn bench(guest: &Guest) {
    let mut whole = Vec::new();
    let mut steps: Vec<(&str, Vec<Duration>)> = Vec::new();
    let mut found_by = String::new();
    // The first round is not counted.
    for round in 0..=ROUNDS {
        let begin = Instant::now();
        let target = open(guest);
        let opened = begin.elapsed();
        let info = target.info();
        assert!(info.missing.is_empty(), "{:?}", info.missing);
        assert!(target.image(View::Kcore).unwrap().segments().len() > 4);
        if round == 0 {
            found_by = info.kernel.unwrap().found_by;
            continue;
        }
        whole.push(opened);
        for step in info.steps {
            match steps.iter_mut().find(|(name, _)| *name == step.step) {
                Some((_, times)) => times.push(step.time),
                None => steps.push((step.step, vec![step.time])),
            }
        }
    }
    println!("\nkernel {}", guest.hello().release);
    print_limit("attach, from the socket on", median(whole), LIMIT);
    println!("    found by {found_by}");
    for (name, times) in steps {
        println!("    {name:<50} {:>8.2} ms", ms(median(times)));
    }
}
