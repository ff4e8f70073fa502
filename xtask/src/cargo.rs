//! Runs of cargo.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::workspace;

/// One run of cargo, in the workspace's root.
#[derive(Debug, Clone)]
pub(crate) struct Cargo {
    toolchain: Option<&'static str>,
    words: Vec<String>,
    /// Words for the tests themselves.
    for_tests: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Cargo {
    /// By the toolchain that runs us.
    pub(crate) fn new(words: &[&str]) -> Self {
        Self {
            toolchain: None,
            words: words.iter().map(|word| String::from(*word)).collect(),
            for_tests: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// By the nightly one.
    pub(crate) fn nightly(mut self) -> Self {
        self.toolchain = Some("nightly");
        self
    }

    /// With more words.
    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).into()));
        self
    }

    /// With words for the tests, which do not matter for compiling.
    pub(crate) fn for_tests(mut self, words: &[&str]) -> Self {
        self.for_tests
            .extend(words.iter().map(|word| (*word).into()));
        self
    }

    /// With a variable in its environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The same, but no test is run.
    pub(crate) fn compile(mut self) -> Self {
        self.for_tests.clear();
        self.words(&["--no-run"])
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = match self.toolchain {
            // That of the compiler which runs us would win otherwise.
            Some(toolchain) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", toolchain, "cargo"]).env_remove("CARGO");
                rustup.env_remove("RUSTUP_TOOLCHAIN");
                rustup
            }
            None => Command::new(ours()),
        };
        command.current_dir(workspace::root()).args(&self.words);
        if !self.for_tests.is_empty() {
            command.arg("--").args(&self.for_tests);
        }
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let status = self.command().status().context("cargo cannot be started")?;
        let words = self.words.join(" ");
        ensure!(status.success(), "cargo {words} ended with {status}");
        Ok(())
    }
}

/// The cargo that runs us.
pub(crate) fn ours() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
