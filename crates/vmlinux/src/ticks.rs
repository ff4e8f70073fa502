//! How many ticks of its timer a kernel has in a second (`HZ`): a number that no symbol has.

use std::ops::RangeInclusive;

use vread_linux::Kernel;

use crate::read;

const NANOSECONDS: u64 = 1_000_000_000;
/// More than any kernel is built with, on either side.
const PLAUSIBLE: RangeInclusive<u64> = 24..=10_000;

/// From the clock that counts ticks: it says how long each of them is.
pub(crate) fn per_second(kernel: &Kernel) -> Option<u32> {
    let clock = kernel.kallsyms()?.find("clocksource_jiffies")?;
    let btf = kernel.btf()?;
    let member = |path: &str| {
        let at = clock.checked_add(btf.offset_of(path)?)?;
        let mut word = [0; 4];
        let zeroed = read::fill(kernel, at, &mut word).ok()?;
        zeroed.is_zero().then(|| u32::from_le_bytes(word))
    };
    let length =
        u64::from(member("clocksource.mult")?).checked_shr(member("clocksource.shift")?)?;
    let ticks = length
        .div_ceil(2)
        .saturating_add(NANOSECONDS)
        .checked_div(length)?;
    let ticks = PLAUSIBLE.contains(&ticks).then_some(ticks)?;
    u32::try_from(ticks).ok()
}
