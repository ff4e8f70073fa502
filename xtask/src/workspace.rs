//! Where our own source is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cargo_metadata::{Metadata, MetadataCommand};

/// Root of the workspace that this program was built in.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The workspace as cargo sees it, without packages of others.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).no_deps();
    command.exec().context("cargo metadata")
}

/// A Rust source file of ours.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the workspace's root, with `/` between.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

/// All Rust sources below `crates`, `embed-check`, `fuzz` and `xtask`, sorted by path.
pub(crate) fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = ["crates", "fuzz", "xtask"]
        .map(|name| root.join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path);
                let text = text.with_context(|| path.display().to_string())?;
                let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}
