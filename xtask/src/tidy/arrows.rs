//! Which package may depend on which: the arrows of `ARCHITECTURE.md` against `cargo metadata`.
//!
//! An arrow that is not there fails, so that a new one is a decision and not an accident.
//! Dependencies of tests alone are exempt: a test may reach for a guest or for another room.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;

/// The document; its arrows are the fenced block after the line that starts with [`HEADING`].
pub(super) const LIST: &str = "ARCHITECTURE.md";
const HEADING: &str = "Arrows (";

/// What `all` does not mean: the rooms that are not of the product.
const NOT_PRODUCT: [&str; 5] = ["forging", "guests", "guest-helper", "layouts", "xtask"];

/// Packages of ours, without their prefix, and the arrows between them, those of tests left out.
#[derive(Debug)]
pub(super) struct Drawn {
    rooms: BTreeSet<String>,
    arrows: BTreeSet<(String, String)>,
}

impl Drawn {
    /// As the manifests have it.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let members = metadata.workspace_packages();
        let rooms: BTreeSet<String> = members.iter().map(|member| room(&member.name)).collect();
        let mut arrows = BTreeSet::new();
        for member in members {
            for dependency in &member.dependencies {
                let to = room(&dependency.name);
                if dependency.kind != DependencyKind::Development && rooms.contains(&to) {
                    arrows.insert((room(&member.name), to));
                }
            }
        }
        Self { rooms, arrows }
    }
}

/// `vread-addr` is the room `addr`; the command line is the room `vread`.
fn room(package: &str) -> String {
    package.strip_prefix("vread-").unwrap_or(package).to_owned()
}

pub(super) fn check(drawn: &Drawn, document: &str) -> Vec<Finding> {
    let allowed = allowed(document);
    let placed: BTreeSet<&str> = allowed
        .iter()
        .flat_map(|(from, to)| to.iter().chain([from]))
        .copied()
        .collect();
    let mut findings = Vec::new();
    for room in drawn
        .rooms
        .iter()
        .filter(|room| !placed.contains(room.as_str()))
    {
        findings.push(Finding::Error(format!(
            "{room} has no place among the arrows of {LIST}"
        )));
    }
    for (from, to) in &drawn.arrows {
        let targets = allowed.get(from.as_str());
        let named = targets.is_some_and(|targets| targets.contains(to.as_str()));
        let all = targets.is_some_and(|targets| targets.contains("all"));
        if !(named || all && !NOT_PRODUCT.contains(&to.as_str())) {
            findings.push(Finding::Error(format!(
                "{from} → {to} is not an arrow of {LIST}"
            )));
        }
    }
    findings
}

/// `a, b → c, d` with two or more spaces, or a line's end, after each.
fn allowed(document: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let after = document
        .lines()
        .skip_while(|line| !line.starts_with(HEADING));
    let block = after.skip_while(|line| !line.starts_with("```")).skip(1);
    let block = block.take_while(|line| !line.starts_with("```"));
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in block
        .flat_map(|line| line.split("  "))
        .filter_map(|one| one.split_once('→'))
    {
        for from in names(from) {
            arrows.entry(from).or_default().extend(names(to));
        }
    }
    arrows
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "x → y\n\nArrows (so and so:\n\n```text\nb → a     c, d → b, a\n\
                            vread → all\nxtask → guests\n```\n\na → xtask\n";

    fn found(rooms: &[&str], arrows: &[(&str, &str)]) -> Vec<Finding> {
        let rooms = rooms.iter().map(|name| (*name).to_owned()).collect();
        let arrows = arrows
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        check(&Drawn { rooms, arrows }, DOCUMENT)
    }

    #[test]
    fn passes_what_is_drawn() {
        let arrows = [
            ("b", "a"),
            ("c", "b"),
            ("d", "a"),
            ("vread", "c"),
            ("xtask", "guests"),
        ];
        assert_eq!(
            found(&["a", "b", "c", "d", "guests", "vread", "xtask"], &arrows),
            []
        );
    }

    #[test]
    fn finds_an_arrow_the_wrong_way() {
        let expected = Finding::Error("a → b is not an arrow of ARCHITECTURE.md".to_owned());
        assert_eq!(found(&["a", "b"], &[("a", "b")]), [expected]);
    }

    #[test]
    fn all_is_the_product_alone() {
        assert_eq!(found(&[], &[("vread", "guests")]).len(), 1);
        assert_eq!(found(&[], &[("vread", "guest-helper")]).len(), 1);
    }

    #[test]
    fn an_arrow_outside_the_block_does_not_count() {
        assert_eq!(found(&[], &[("a", "xtask"), ("x", "y")]).len(), 2);
    }

    #[test]
    fn finds_a_room_that_nobody_placed() {
        assert_eq!(found(&["new"], &[]).len(), 1);
    }

    #[test]
    fn sees_the_arrows_of_this_workspace_but_not_those_of_tests() {
        let metadata = crate::workspace::metadata(crate::workspace::root()).unwrap();
        let drawn = Drawn::of(&metadata);
        let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert!(drawn.arrows.contains(&arrow("xtask", "guests")));
        // Its tests use itself with another feature.
        assert!(!drawn.arrows.contains(&arrow("iov-iter", "iov-iter")));
    }
}
