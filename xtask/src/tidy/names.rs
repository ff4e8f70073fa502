//! A name that fits everything names nothing.

use cargo_metadata::Metadata;

use super::Finding;
use crate::workspace::Source;

const REFUSED: [&str; 6] = ["base", "common", "helpers", "misc", "util", "utils"];

/// Names of our packages, without the prefix they all have.
pub(super) fn packages(metadata: &Metadata) -> Vec<String> {
    let names = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| package.name.to_string());
    names
        .map(|name| name.trim_start_matches("vread-").to_owned())
        .collect()
}

pub(super) fn check(sources: &[Source], packages: &[String]) -> Vec<Finding> {
    let refused = |name: &str| REFUSED.contains(&name);
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| refused(package)) {
        findings.push(Finding::Error(format!(
            "a package must not be called {package}"
        )));
    }
    for source in sources {
        let mut names = source.path.trim_end_matches(".rs").split('/');
        if let Some(name) = names.find(|name| refused(name)) {
            findings.push(Finding::Error(format!(
                "{}: no module is called {name}",
                source.path
            )));
        }
        for name in source
            .text
            .lines()
            .filter_map(inline_module)
            .filter(|name| refused(name))
        {
            findings.push(Finding::Error(format!(
                "{}: no module is called {name}",
                source.path
            )));
        }
    }
    findings
}

/// The name in `mod NAME {`, whatever stands before it. A `mod NAME;` has a file of that name.
fn inline_module(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("mod ")?;
    let declares = before.trim().is_empty() || before.trim_start().starts_with("pub");
    declares
        .then(|| rest.strip_suffix('{').map(str::trim_end))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(
            &[Source {
                path: path.to_owned(),
                text: text.to_owned(),
            }],
            &[],
        )
        .len()
    }

    #[test]
    fn refuses_files_folders_and_inline_modules() {
        assert_eq!(found("crates/a/src/utils.rs", ""), 1);
        assert_eq!(found("crates/a/tests/common/mod.rs", ""), 1);
        assert_eq!(
            found("crates/a/src/lib.rs", "pub(crate) mod util {\n}\n"),
            1
        );
        assert_eq!(found("crates/a/src/lib.rs", "    mod misc {\n"), 1);
    }

    #[test]
    fn passes_names_that_say_something() {
        assert_eq!(found("crates/guest-helper/src/main.rs", "mod tests {\n"), 0);
        assert_eq!(found("crates/a/src/database.rs", "// the mod util {\n"), 0);
    }

    #[test]
    fn refuses_a_package() {
        assert_eq!(check(&[], &["common".to_owned()]).len(), 1);
        assert_eq!(check(&[], &["guest-helper".to_owned()]), []);
    }
}
