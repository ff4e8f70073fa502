//! The kernel's log: printk's ring buffer (G63).

mod layout;
mod ring;

pub(crate) use layout::LogLayout;
pub(crate) use ring::read_log;

use std::fmt;

/// What a kernel has logged and still keeps, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// The records.
    pub records: Vec<LogRecord>,
    /// How many records are still counted, but have lost their text to newer ones, or lost it while they
    /// were read.
    pub lost: u64,
    /// How many records are being written.
    pub unfinished: u64,
    /// Where records lie that contradict themselves: not among [`records`](Self::records).
    pub torn: Vec<vread_addr::VirtAddr>,
    /// Whether the kernel puts the time before each line where it prints them (`printk.time`).
    pub with_time: bool,
    /// Whether it puts the caller there too (`CONFIG_PRINTK_CALLER`).
    pub with_caller: bool,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number, from 0 at boot.
    pub seq: u64,
    /// Nanoseconds since boot, as the kernel's clock for the log counts them.
    pub time_ns: u64,
    /// How urgent it is: 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Who wrote it: 0 for the kernel; syslog's facilities for programs.
    pub facility: u8,
    /// Which task or processor wrote it.
    pub caller: LogCaller,
    /// The device that it is about: subsystem and name, empty where there is none.
    pub device: (String, String),
    /// The text, without its last end of line; it may have several lines.
    pub text: String,
    /// Whether more may be added to it. The kernel itself shows no open record to anybody.
    pub end: RecordEnd,
}

/// Whether a record is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordEnd {
    /// It stays as it is.
    Final,
    /// Its writer ended it without an end of line, and may go on.
    Open,
}

/// Who called printk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogCaller {
    /// A task, by its thread id.
    Thread(u32),
    /// Code that runs in no task's name, by its processor.
    Cpu(u32),
}

/// A record as `/proc/kmsg` has it: each line with its level, its time and its end.
#[derive(Debug, Clone, Copy)]
pub struct SyslogLines<'l> {
    log: &'l Log,
    record: &'l LogRecord,
}

impl Log {
    /// `record` as the kernel's own `/proc/kmsg` prints it.
    #[must_use]
    pub fn syslog<'l>(&'l self, record: &'l LogRecord) -> SyslogLines<'l> {
        SyslogLines { log: self, record }
    }
}

impl LogRecord {
    /// The time as the kernel prints it: seconds and microseconds.
    pub fn seconds(&self) -> impl fmt::Display + use<> {
        let seconds = self.time_ns.checked_div(1_000_000_000).unwrap_or(0);
        let micros = self.time_ns.checked_rem(1_000_000_000).unwrap_or(0);
        let micros = micros.checked_div(1000).unwrap_or(0);
        format!("{seconds:5}.{micros:06}")
    }
}

impl LogCaller {
    /// From the number in a record: the highest bit tells processors from threads.
    pub(crate) fn from_id(id: u32) -> Self {
        match id >> 31 {
            0 => Self::Thread(id),
            _ => Self::Cpu(id & 0x7fff_ffff),
        }
    }
}

/// `T1` or `C0`.
impl fmt::Display for LogCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(id) => f.pad(&format!("T{id}")),
            Self::Cpu(cpu) => f.pad(&format!("C{cpu}")),
        }
    }
}

impl fmt::Display for SyslogLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogRecord {
            level,
            facility,
            caller,
            text,
            ..
        } = self.record;
        let priority = u32::from(*facility) << 3 | u32::from(*level);
        for line in text.split('\n') {
            write!(f, "<{priority}>")?;
            if self.log.with_time {
                write!(f, "[{}]", self.record.seconds())?;
            }
            if self.log.with_caller {
                write!(f, "[{caller:>6}]")?;
            }
            if self.log.with_time || self.log.with_caller {
                f.write_str(" ")?;
            }
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_lines_as_syslog_has_them() {
        let log = Log {
            with_time: true,
            ..Log::default()
        };
        let record = LogRecord {
            seq: 7,
            time_ns: 12_345_678_999,
            level: 6,
            facility: 1,
            caller: LogCaller::from_id(1),
            device: Default::default(),
            text: "one\ntwo".into(),
            end: RecordEnd::Final,
        };
        let lines = "<14>[   12.345678] one\n<14>[   12.345678] two\n";
        assert_eq!(log.syslog(&record).to_string(), lines);
        let log = Log {
            with_caller: true,
            ..log
        };
        let record = LogRecord {
            time_ns: 0,
            facility: 0,
            caller: LogCaller::from_id(0x8000_0003),
            text: String::new(),
            ..record
        };
        let line = "<6>[    0.000000][    C3] \n";
        assert_eq!(log.syslog(&record).to_string(), line);
    }
}
