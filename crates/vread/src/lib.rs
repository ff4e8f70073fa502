//! `vread`: a running guest's kernel memory, from the host.
//!
//! Each subcommand has a module under `commands`, whose help text is its manual. Data goes to standard
//! output, words go to standard error.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | all that was asked for was there (also: the reader of a pipe had enough) |
//! | 1 | some of it was missing, such as a hole in memory or a symbol that does not exist |
//! | 2 | it could not be done |
#![forbid(unsafe_code)]

#[macro_use]
mod tell;

mod arguments;
mod commands;
mod glob;
mod hexdump;
mod json;
mod output_file;
mod paused;
mod printable;
mod scan_bar;

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;
use vread_targets::Target;

use arguments::{Arguments, Command, Pause};
use printable::{Printable, PrintableLines};

/// Whether all that was asked for was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    All,
    SomeMissing,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.verbose);
    exit_code(run(&arguments.command))
}

/// Runs the command line `words`, the program's name first, as [`main`] does.
#[must_use]
pub fn main_with<'w>(words: impl IntoIterator<Item = &'w str>) -> ExitCode {
    match Arguments::try_parse_from(words) {
        Ok(arguments) => exit_code(run(&arguments.command)),
        Err(error) => error.exit(),
    }
}

/// Runs the command line `words`, the program's name first, on a target that is open already; the one
/// that the words name is not opened. For tests that run many commands on one target.
#[must_use]
pub fn main_on<'w>(target: &Arc<Target>, words: impl IntoIterator<Item = &'w str>) -> ExitCode {
    match Arguments::try_parse_from(words) {
        Ok(arguments) => exit_code(run_on(target, &arguments.command)),
        Err(error) => error.exit(),
    }
}

/// Writes what the mount's text files hold now to standard output, and why others cannot be had to standard
/// error. For tests that judge them as they judge commands.
#[must_use]
pub fn print_mounted_texts(target: &Arc<Target>) -> ExitCode {
    let texts = commands::said_file::read_all(target).into_iter();
    let codes = texts.filter(|(name, _)| name != "btf").map(|(_, text)| {
        let printed = text.and_then(|text| Ok(io::stdout().write_all(&text)?));
        exit_code(printed.map(|()| Outcome::All))
    });
    codes.fold(ExitCode::SUCCESS, |worst, code| match code {
        ExitCode::SUCCESS => worst,
        code => code,
    })
}

fn run(command: &Command) -> anyhow::Result<Outcome> {
    // Before any thread is there that a guest's vanishing memory could hit.
    vread_nofault::install()?;
    #[cfg(feature = "fail-usercopy")]
    vread_nofault::fail_usercopy::from_env()?;
    if let Command::Mount(arguments) = command {
        commands::mount::check(arguments)?;
    }
    let target = Arc::new(command.target().open()?);
    run_on(&target, command)
}

fn run_on(target: &Arc<Target>, command: &Command) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match command.pause() {
        Pause::Never => run_into(target, command, &mut out),
        Pause::WhileReading => {
            paused::run_paused(target, &mut out, |out| run_into(target, command, out))
        }
    };
    // What was said before an error is said.
    out.flush()?;
    outcome
}

fn run_into(
    target: &Arc<Target>,
    command: &Command,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    match command {
        Command::Info(arguments) => commands::info::run(target, arguments, out),
        Command::Read(arguments) => commands::read::run(target, arguments, out),
        Command::Symbols(arguments) => commands::symbols::run(target, arguments, out),
        Command::Vmallocinfo(arguments) => commands::vmallocinfo::run(target, arguments, out),
        Command::Ps(arguments) => commands::ps::run(target, arguments, out),
        Command::Dmesg(arguments) => commands::dmesg::run(target, arguments, out),
        Command::Mounts(arguments) => commands::mounts::run(target, arguments, out),
        Command::Net(arguments) => commands::net::run(target, arguments, out),
        Command::Lsmod(arguments) => commands::lsmod::run(target, arguments, out),
        Command::Iomem(arguments) => commands::iomem::run(target, arguments, out),
        Command::Cmdline(arguments) => commands::cmdline::run(target, arguments, out),
        Command::Version(arguments) => commands::version::run(target, arguments, out),
        Command::Vmlinux(arguments) => commands::vmlinux::run(target, arguments),
        Command::Isf(arguments) => commands::isf::run(target, arguments),
        Command::Mount(arguments) => commands::mount::run(target, arguments),
    }
}

fn exit_code(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::All) => ExitCode::SUCCESS,
        Ok(Outcome::SomeMissing) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Most messages have one line; where several things were tried, each has its own.
            for (index, line) in with_causes(&error).split('\n').enumerate() {
                let start = if index == 0 { "vread: " } else { "" };
                tell!("{start}{}", Printable(line));
            }
            ExitCode::from(2)
        }
    }
}

/// The error and its causes in one line, without those that have been said already.
fn with_causes(error: &anyhow::Error) -> String {
    // All else that does input or output says what it did; what only writes is our output.
    let output = error.is::<io::Error>() || error.is::<serde_json::Error>();
    let start = match output {
        true => "cannot write the output".to_owned(),
        false => String::new(),
    };
    error.chain().fold(start, |mut said, cause| {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&cause);
        }
        said
    })
}

/// The reader of our output had enough: that is its good right.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Has what is logged said on standard error: warnings and worse, unless `RUST_LOG` or a `verbose` above 0
/// ask for more.
pub fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| PrintableLines(io::stderr()))
        // What colours a line could not be told from what a target put in it.
        .with_ansi(false)
        .without_time()
        .init();
}
