use vread_linux::LinuxError;

/// Why there is no symbol table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsfError {
    /// The kernel was built without BTF, or it was not found.
    #[error(
        "a symbol table for Volatility needs the kernel's types, and its BTF is not in its memory; \
         `vread info` says why"
    )]
    NoTypes,
    /// The symbols, or the banner by which an image is recognised, cannot be read.
    #[error("a symbol table for Volatility needs {what}: {source}")]
    Kernel {
        /// What cannot be had.
        what: &'static str,
        /// Why.
        source: LinuxError,
    },
}
