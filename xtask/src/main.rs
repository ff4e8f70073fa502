//! What a developer of vread runs, as `cargo xtask COMMAND`; continuous integration runs the same.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "runs on our own source and on guests of our own making, never in the product"
)]

mod ahead;
mod bench;
mod cargo;
mod compare;
mod demo;
mod fuzz;
mod guest;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer of vread runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure vread beside its rivals, on a real guest and alone
    Bench(bench::Arguments),
    /// Compare two debug files: layouts of types, addresses of symbols
    Compare(compare::Arguments),
    /// Show the main job on a real guest
    Demo,
    /// Feed random operations and bytes to what must stand them
    Fuzz(fuzz::Arguments),
    /// Boot a test guest and keep it until Ctrl-C
    Guest(guest::Arguments),
    /// Run everything that must pass: format, lints, house rules, all tests
    Test(test::Arguments),
    /// Check the house rules that no compiler knows
    Tidy,
}

fn main() -> ExitCode {
    // Not the error itself: with RUST_BACKTRACE set that would print our own call stack.
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Bench(arguments) => bench::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Demo => demo::run(),
        Command::Fuzz(arguments) => fuzz::run(arguments),
        Command::Guest(arguments) => guest::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Tidy => tidy::run(),
    }
}
