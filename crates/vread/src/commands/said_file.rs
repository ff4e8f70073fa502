use std::{
    error::Error,
    fmt::{Display, Write as _},
    io::Write as _,
    sync::Arc,
};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{IovIter, Progress};
use vread_kcore_fuse::{Content, OpenFile, ServedFile};
use vread_linux::{Kernel, log::RecordEnd};
use vread_nofault::UserBuf;
use vread_targets::Target;

use crate::printable::PrintableLines;

/// What a kernel says about itself, as a file of the mount that is called as its own one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The text of the VMCOREINFO note.
    Vmcoreinfo,
    Kallsyms,
    Iomem,
    Vmallocinfo,
    Modules,
    /// The whole log, again for each opener.
    Kmsg,
    Cmdline,
    Version,
    /// The types, as `/sys/kernel/btf/vmlinux` has them.
    Btf,
}

impl Said {
    pub(super) const ALL: [Self; 9] = [
        Self::Vmcoreinfo,
        Self::Kallsyms,
        Self::Iomem,
        Self::Vmallocinfo,
        Self::Modules,
        Self::Kmsg,
        Self::Cmdline,
        Self::Version,
        Self::Btf,
    ];
}

/// One of them, made when it is opened.
#[derive(Debug)]
pub(super) struct SaidFile {
    target: Arc<Target>,
    what: Said,
}

/// What one opener has.
#[derive(Debug)]
struct OpenSaid(Vec<u8>);

/// The name of each of them and what it holds now.
pub(crate) fn read_all(target: &Arc<Target>) -> Vec<(String, anyhow::Result<Vec<u8>>)> {
    let file = |what| SaidFile::new(Arc::clone(target), what);
    let files = Said::ALL.into_iter().map(file);
    files
        .map(|file| (file.name().to_owned(), file.make()))
        .collect()
}

impl SaidFile {
    pub(super) fn new(target: Arc<Target>, what: Said) -> Self {
        Self { target, what }
    }

    fn make(&self) -> anyhow::Result<Vec<u8>> {
        let target = &self.target;
        // The guest's words may be shown on a terminal: what it would obey is escaped, as everywhere.
        Ok(match self.what {
            Said::Vmcoreinfo => {
                harmless(target.ask_kernel(|kernel| Ok(kernel.vmcoreinfo().text().to_owned()))?)?
            }
            Said::Kallsyms => lines(target.symbols()?)?,
            Said::Iomem => harmless(target.ask_kernel(Kernel::iomem)?.to_string())?,
            Said::Vmallocinfo => lines(target.vmallocinfo()?)?,
            Said::Modules => lines(target.ask_kernel(Kernel::module_lines)?)?,
            Said::Kmsg => {
                let log = target.ask_kernel(Kernel::log)?;
                let mut text = String::new();
                for record in log.records.iter().filter(|r| r.end == RecordEnd::Final) {
                    write!(text, "{}", log.syslog(record))?;
                }
                harmless(text)?
            }
            Said::Cmdline => lines([target.ask_kernel(Kernel::saved_command_line)?])?,
            Said::Version => harmless(target.ask_kernel(Kernel::version)?)?,
            Said::Btf => target.ask_kernel(|kernel| Ok(btf(kernel).to_vec()))?,
        })
    }
}

/// The bytes of the kernel's types; none where it has none.
fn btf(kernel: &Kernel) -> &[u8] {
    kernel.btf().map(|btf| btf.bytes()).unwrap_or_default()
}

fn lines(items: impl IntoIterator<Item = impl Display>) -> anyhow::Result<Vec<u8>> {
    let mut text = String::new();
    for item in items {
        writeln!(text, "{item}")?;
    }
    harmless(text)
}

fn harmless(text: String) -> anyhow::Result<Vec<u8>> {
    // Nearly always there is nothing to escape, and a symbol table is long.
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
    {
        return Ok(text.into_bytes());
    }
    let mut bytes = Vec::new();
    PrintableLines(&mut bytes).write_all(text.as_bytes())?;
    Ok(bytes)
}

impl ServedFile for SaidFile {
    fn name(&self) -> &str {
        match self.what {
            Said::Vmcoreinfo => "vmcoreinfo",
            Said::Kallsyms => "kallsyms",
            Said::Iomem => "iomem",
            Said::Vmallocinfo => "vmallocinfo",
            Said::Modules => "modules",
            Said::Kmsg => "kmsg",
            Said::Cmdline => "cmdline",
            Said::Version => "version",
            Said::Btf => "btf",
        }
    }

    /// The size is known where it does not move: readers of types ask for it before they read.
    fn size(&self) -> ByteLen {
        let size = self.target.ask_kernel(|kernel| {
            Ok(match self.what {
                Said::Vmcoreinfo => kernel.vmcoreinfo().text().len(),
                Said::Btf => btf(kernel).len(),
                _ => 0,
            })
        });
        ByteLen::from_usize(size.unwrap_or_default())
    }

    fn content(&self) -> Content {
        Content::MadeAtOpen
    }

    fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
        let bytes = self.make().map_err(|error| format!("{error:#}"))?;
        Ok(Box::new(OpenSaid(bytes)))
    }
}

impl OpenFile for OpenSaid {
    fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
        let from = usize::try_from(at.get()).unwrap_or(usize::MAX);
        let rest = self.0.get(from..).unwrap_or_default();
        let part = rest.get(..iter.count().min(rest.len())).unwrap_or_default();
        let copied = iter.copy_to_iter(part);
        Progress::copied(ByteLen::from_usize(copied))
    }
}
