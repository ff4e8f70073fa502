//! The workspace's lints bind only the packages that say so.

use anyhow::Context as _;
use cargo_metadata::Metadata;

use super::Finding;

/// Name and manifest text of every package of ours.
pub(super) fn manifests(metadata: &Metadata) -> anyhow::Result<Vec<(String, String)>> {
    let manifests = metadata.workspace_packages().into_iter().map(|package| {
        let path = &package.manifest_path;
        let text = std::fs::read_to_string(path).with_context(|| path.to_string())?;
        Ok((package.name.to_string(), text))
    });
    manifests.collect()
}

pub(super) fn check(manifests: &[(String, String)]) -> Vec<Finding> {
    let deaf = manifests.iter().filter(|(_, text)| !takes_part(text));
    let say = |(name, _): &(String, String)| {
        Finding::Error(format!(
            "{name}'s manifest does not say [lints] workspace = true"
        ))
    };
    deaf.map(say).collect()
}

fn takes_part(manifest: &str) -> bool {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    let mut section = lines.by_ref().take_while(|line| !line.starts_with('['));
    section.any(|line| line.replace(' ', "") == "workspace=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str) -> usize {
        check(&[("a".to_owned(), manifest.to_owned())]).len()
    }

    #[test]
    fn finds_a_package_without_the_lints() {
        assert_eq!(
            found("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"),
            0
        );
        assert_eq!(found("[package]\nname = \"a\"\n"), 1);
        assert_eq!(found("[lints]\n\n[features]\nworkspace = true\n"), 1);
    }
}
