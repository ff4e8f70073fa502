use std::{
    error::Error,
    fs::File,
    io::{BufWriter, Write as _},
    os::unix::fs::FileExt as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use vread_addr::{ByteLen, FileOffset};
use vread_iov_iter::{IovIter, Progress, SourceFailure};
use vread_kcore_fuse::{Content, OpenFile, ServedFile};
use vread_nofault::UserBuf;
use vread_targets::{Session, Target};
use vread_vmlinux::{AddressForm, Vmlinux};

use crate::printable::Printable;

/// What `stat` says before the file has been made: an ELF header, which is what it begins with.
const HEADER_LEN: u64 = 64;

/// The most bytes that are read at once.
const PIECE: usize = 1 << 17;

/// The target's vmlinux as a file of the mount: made when it is opened for the first time, and kept in a
/// file without a name, which ends with us. A guest that restarts gets a new one.
#[derive(Debug)]
pub(super) struct RecoveredFile {
    session: Arc<Session>,
    form: AddressForm,
    made: Mutex<Option<Made>>,
    size: AtomicU64,
}

/// A file, and the target that it was made from.
#[derive(Debug)]
struct Made {
    target: Arc<Target>,
    file: Arc<File>,
}

impl RecoveredFile {
    pub(super) fn new(session: Arc<Session>, form: AddressForm) -> Self {
        Self {
            session,
            form,
            made: Mutex::new(None),
            size: AtomicU64::new(HEADER_LEN),
        }
    }

    fn make(&self, target: &Target) -> anyhow::Result<File> {
        let vmlinux = Vmlinux::recover(target.ask_kernel(Ok)?)?;
        let mut out = BufWriter::with_capacity(PIECE, tempfile::tempfile()?);
        let warnings = vmlinux.write(self.form, &mut out)?;
        out.flush()?;
        for warning in warnings {
            tell!(
                "vread: {}: {}",
                self.name(),
                Printable(&warning.to_string())
            );
        }
        Ok(out.into_inner()?)
    }
}

impl ServedFile for RecoveredFile {
    fn name(&self) -> &str {
        match self.form {
            AddressForm::LinkTime => "vmlinux",
            AddressForm::RunTime => "vmlinux.kaslr",
        }
    }

    fn size(&self) -> ByteLen {
        ByteLen::new(self.size.load(Ordering::Relaxed))
    }

    fn content(&self) -> Content {
        Content::Fixed
    }

    fn open(&self) -> Result<Box<dyn OpenFile>, Box<dyn Error + Send + Sync>> {
        // Whoever opens it meanwhile waits here for the one that makes it.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.session.current()?;
        let file = match made.as_ref() {
            Some(made) if Arc::ptr_eq(&made.target, &target) => Arc::clone(&made.file),
            _ => {
                let file = self.make(&target).map_err(|error| format!("{error:#}"))?;
                self.size.store(file.metadata()?.len(), Ordering::Relaxed);
                let file = Arc::new(file);
                Arc::clone(&made.insert(Made { target, file }).file)
            }
        };
        Ok(Box::new(OpenRecovered(file)))
    }
}

#[derive(Debug)]
struct OpenRecovered(Arc<File>);

impl OpenFile for OpenRecovered {
    fn read_at(&self, at: FileOffset, iter: &mut IovIter<'_, UserBuf<'_>>) -> Progress {
        let mut piece = vec![0; PIECE.min(iter.count())];
        let mut total = Progress::default();
        while iter.count() > 0 {
            let Some(at) = at.checked_add(total.advanced()) else {
                break;
            };
            let want = PIECE.min(iter.count());
            let read = match self
                .0
                .read_at(piece.get_mut(..want).unwrap_or_default(), at.get())
            {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(EIO);
                    return total.then(Progress::failed(SourceFailure::Os(errno)));
                }
            };
            let part = piece.get(..read).unwrap_or_default();
            let copied = iter.copy_to_iter(part);
            total = total.then(Progress::copied(ByteLen::from_usize(copied)));
            if copied < read {
                break;
            }
        }
        total
    }
}

const EIO: i32 = 5;
