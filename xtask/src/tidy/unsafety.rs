//! Unsafe code stands in few modules, and `UNSAFE.md` lists every one of them.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::Metadata;

use super::Finding;
use crate::workspace::Source;

/// The list, at the workspace's root; an entry is an item that begins with the path in backticks.
pub(super) const LIST: &str = "UNSAFE.md";

/// Source files at which libraries and programs begin, from the workspace's root.
pub(super) fn crate_roots(metadata: &Metadata, root: &Path) -> BTreeSet<String> {
    let packages = metadata.workspace_packages();
    let targets = packages.iter().flat_map(|package| &package.targets);
    let shipped = targets.filter(|target| !(target.is_test() || target.is_bench()));
    let paths = shipped.filter_map(|target| target.src_path.strip_prefix(root).ok());
    paths.map(|path| path.to_string()).collect()
}

pub(super) fn check(
    sources: &[Source],
    list: &str,
    crate_roots: &BTreeSet<String>,
) -> Vec<Finding> {
    let listed = listed(list);
    let opened: BTreeSet<&str> = sources
        .iter()
        .filter(|source| opens(&source.text))
        .map(|s| s.path.as_str())
        .collect();
    let mut findings = Vec::new();
    for path in opened.difference(&listed) {
        findings.push(Finding::Error(format!(
            "{path} opens unsafe code and {LIST} does not list it: say there what for"
        )));
    }
    for path in listed.difference(&opened) {
        findings.push(Finding::Error(format!(
            "{LIST} lists {path}, which opens no unsafe code"
        )));
    }
    for source in sources
        .iter()
        .filter(|source| crate_roots.contains(&source.path))
    {
        let folder = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let holds_unsafe = opened
            .iter()
            .any(|path| path.starts_with(&format!("{folder}/")));
        if !holds_unsafe && !forbids(&source.text) {
            let wanted = concat!("#![forbid", "(unsafe_code)]");
            findings.push(Finding::Error(format!(
                "{} does not say {wanted}",
                source.path
            )));
        }
    }
    findings
}

/// Paths in the list.
fn listed(list: &str) -> BTreeSet<&str> {
    let items = list
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- `"));
    items.filter_map(|item| item.split('`').next()).collect()
}

/// Whether an attribute anywhere in the file lifts the workspace's ban.
fn opens(text: &str) -> bool {
    let code = without_comments_and_space(text);
    ["expect", "allow", "warn"].iter().any(|level| {
        ["#![", "#["].iter().any(|start| {
            code.split(&format!("{start}{level}("))
                .skip(1)
                .filter_map(|rest| rest.split(")]").next())
                .any(|inside| inside.split(',').any(|lint| lint == "unsafe_code"))
        })
    })
}

fn forbids(text: &str) -> bool {
    without_comments_and_space(text).contains(concat!("#![forbid", "(unsafe_code"))
}

/// Attributes may be broken over lines; comments may speak about them.
fn without_comments_and_space(text: &str) -> String {
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(str::chars)
        .filter(|letter| !letter.is_whitespace())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written in two parts, so that this file does not find itself.
    const OPEN: &str = concat!("#![expect", "(unsafe_code, reason = \"x\")]\n");
    const FORBID: &str = concat!("#![forbid", "(unsafe_code)]\n");

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn roots(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn a_listed_module_and_a_forbidding_root_pass() {
        let sources = [
            source("crates/a/src/lib.rs", FORBID),
            source("crates/b/src/lib.rs", "mod raw;\n"),
            source("crates/b/src/raw.rs", OPEN),
        ];
        let list = "# Unsafe\n\n- `crates/b/src/raw.rs`: copies\n";
        let roots = roots(&["crates/a/src/lib.rs", "crates/b/src/lib.rs"]);
        assert_eq!(check(&sources, list, &roots), []);
    }

    #[test]
    fn finds_a_module_that_is_not_listed() {
        let sources = [source("crates/b/src/raw.rs", OPEN)];
        assert_eq!(check(&sources, "", &BTreeSet::new()).len(), 1);
    }

    #[test]
    fn finds_an_entry_without_a_module() {
        assert_eq!(
            check(&[], "- `crates/b/src/gone.rs`: copies\n", &BTreeSet::new()).len(),
            1
        );
    }

    #[test]
    fn finds_a_root_that_does_not_forbid() {
        let sources = [source("crates/a/src/lib.rs", "//! Says #![forbid\n")];
        assert_eq!(
            check(&sources, "", &roots(&["crates/a/src/lib.rs"])).len(),
            1
        );
    }

    #[test]
    fn sees_an_attribute_over_several_lines_and_on_an_item() {
        assert!(opens(concat!(
            "#![allow",
            "(\n    dead_code,\n    unsafe_code,\n    reason = \"x\"\n)]"
        )));
        assert!(opens(concat!(
            "#[expect",
            "(unsafe_code, reason = \"x\")]\nfn f() {}"
        )));
        assert!(!opens(concat!("// #![expect", "(unsafe_code)]\n")));
        assert!(!opens(FORBID));
        assert!(!opens(concat!(
            "#![expect",
            "(dead_code)]\n// unsafe_code\nfn unsafe_code() {}"
        )));
    }
}
