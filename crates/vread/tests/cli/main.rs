//! The command line as a user meets it: the program is run, and judged by its output and exit code.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails loudly and computes with numbers of its own"
)]

mod arena;
mod bad_input;
mod bare_machine;
mod churn;
mod command;
