//! Words on standard error.

/// Says a line on standard error, as `eprintln!` does; but where nobody listens any more, it is lost and
/// what was being done goes on.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
