//! How far the search for a kernel is, for a person who waits.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vread_addr::ByteLen;
use vread_targets::ScanProgress;

/// Nobody waits for less.
const PATIENCE: Duration = Duration::from_millis(300);

/// A bar on standard error, where that is a terminal, once the scan takes a while. Gone when dropped.
#[derive(Debug)]
pub(crate) struct ScanBar {
    since: Instant,
    bar: OnceLock<ProgressBar>,
}

impl ScanBar {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            bar: OnceLock::new(),
        }
    }
}

impl ScanProgress for ScanBar {
    fn scanned(&self, done: ByteLen, total: ByteLen) {
        if self.since.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_init(|| new_bar(total));
        bar.set_position(done.get());
    }
}

impl Drop for ScanBar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(total: ByteLen) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total.get()), ProgressDrawTarget::stderr());
    let style =
        "looking for the kernel {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        // The template is ours; a bar of another look would do.
        Err(_) => bar,
    }
}
