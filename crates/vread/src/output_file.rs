//! A file that is there as a whole or not at all.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

/// A file under a name of its own beside the one that it is to have. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl OutputFile {
    /// Makes the file in the folder of `path`, for its owner alone: it holds another machine's memory.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => bail!("{shown}: a folder; name a file in it"),
            Ok(found) if !found.is_file() || found.file_type().is_char_device() => {
                bail!("{shown}: not a regular file; name one, or a new one")
            }
            _ => {}
        }
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => bail!("{shown}: not the name of a file"),
        };
        let file = NamedTempFile::with_prefix_in(".vread-", folder)
            .with_context(|| format!("{shown}: cannot make a file in {}", folder.display()))?;
        Ok(Self {
            path: path.into(),
            writer: BufWriter::with_capacity(1 << 20, file),
        })
    }

    /// Gives the file its name, in place of one that has it. Until then nothing is there.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let shown = self.path.display();
        let file = self.writer.into_inner().map_err(|error| error.into_error());
        let file = file.with_context(|| cannot_write(&self.path))?;
        file.persist(&self.path)
            .map_err(|error| error.error)
            .with_context(|| format!("{shown}: cannot give the file this name"))?;
        Ok(())
    }

    /// What to say of an error in writing it.
    pub(crate) fn trouble(&self) -> String {
        cannot_write(&self.path)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn cannot_write(path: &Path) -> String {
    format!(
        "{}: cannot be written, and is left as it was",
        path.display()
    )
}
