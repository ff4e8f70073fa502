//! `vread dmesg`

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;
use vread_linux::{
    Kernel,
    log::{Log, LogRecord, RecordEnd},
};
use vread_targets::Target;

use crate::{
    Outcome,
    arguments::{Color, DmesgArguments},
    json,
    printable::Printable,
};

/// A record in JSON.
#[derive(Debug, Serialize)]
struct JsonRecord<'a> {
    seq: u64,
    time_ns: u64,
    level: u8,
    facility: u8,
    caller: String,
    subsystem: Option<&'a str>,
    device: Option<&'a str>,
    text: &'a str,
    /// Whether its writer may still add to it.
    open: bool,
}

/// What a terminal is told before a piece of a line, and after it.
struct Paint {
    time: &'static str,
    subject: &'static str,
    text: &'static str,
    end: &'static str,
}

pub(crate) fn run(
    target: &Target,
    arguments: &DmesgArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let log = target.ask_kernel(Kernel::log)?;
    let least = arguments.level.map_or(u8::MAX, |level| level.number());
    let chosen = log.records.iter().filter(|record| record.level <= least);
    if arguments.listing.json {
        json::array(out, chosen.map(JsonRecord::from))?;
    } else {
        let colored = match arguments.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        for record in chosen {
            match arguments.raw {
                true if record.end == RecordEnd::Open => {}
                true => print_raw(out, &log, record)?,
                false => print_record(out, record, colored)?,
            }
        }
    }
    Ok(tell_gaps(&log))
}

/// The lines of `/proc/kmsg`.
fn print_raw(out: &mut dyn Write, log: &Log, record: &LogRecord) -> io::Result<()> {
    for line in log.syslog(record).to_string().lines() {
        writeln!(out, "{}", Printable(line))?;
    }
    Ok(())
}

fn print_record(out: &mut dyn Write, record: &LogRecord, colored: bool) -> io::Result<()> {
    let paint = match colored {
        true => Paint::of_level(record.level),
        false => Paint::NONE,
    };
    let Paint {
        time,
        subject,
        text,
        end,
    } = paint;
    for line in record.text.split('\n') {
        write!(out, "{time}[{}]{end} ", record.seconds())?;
        // As dmesg does: what stands before the first colon says what the line is about.
        let about = match line.find(": ") {
            Some(colon) => line.split_at(colon.saturating_add(1)),
            None => ("", line),
        };
        if !about.0.is_empty() {
            write!(out, "{subject}{}{end}", Printable(about.0))?;
        }
        writeln!(out, "{text}{}{end}", Printable(about.1))?;
    }
    Ok(())
}

/// Says on standard error what is not there.
fn tell_gaps(log: &Log) -> Outcome {
    if log.lost != 0 {
        tell!(
            "vread: records that have lost their text to newer ones: {}",
            log.lost
        );
    }
    if log.unfinished != 0 {
        tell!(
            "vread: records that are still being written: {}",
            log.unfinished
        );
    }
    for at in &log.torn {
        tell!("vread: the record at {at} contradicts itself and was left out; try again");
    }
    match log.torn.is_empty() {
        true => Outcome::All,
        false => Outcome::SomeMissing,
    }
}

impl Paint {
    const NONE: Self = Self {
        time: "",
        subject: "",
        text: "",
        end: "",
    };

    fn of_level(level: u8) -> Self {
        Self {
            time: "\x1b[32m",
            subject: "\x1b[33m",
            text: match level {
                0..=2 => "\x1b[1;31m",
                3 => "\x1b[31m",
                4 => "\x1b[1m",
                _ => "",
            },
            end: "\x1b[0m",
        }
    }
}

impl<'a> From<&'a LogRecord> for JsonRecord<'a> {
    fn from(record: &'a LogRecord) -> Self {
        let (subsystem, device) = &record.device;
        let unless_empty = |text: &'a String| (!text.is_empty()).then_some(text.as_str());
        Self {
            seq: record.seq,
            time_ns: record.time_ns,
            level: record.level,
            facility: record.facility,
            caller: record.caller.to_string(),
            subsystem: unless_empty(subsystem),
            device: unless_empty(device),
            text: &record.text,
            open: record.end == RecordEnd::Open,
        }
    }
}
