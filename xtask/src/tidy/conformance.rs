//! Every fact of the read path has its proof, or a reason why it needs none; and the proofs exist.

use std::ops::RangeInclusive;

use super::Finding;
use crate::workspace::Source;

/// The table.
pub(super) const LIST: &str = "docs/conformance.md";

/// The facts of the specification's sections A to E.
const FACTS: [(char, RangeInclusive<u32>); 8] = [
    ('I', 1..=42),
    ('V', 1..=35),
    ('R', 1..=30),
    ('K', 1..=20),
    ('K', 30..=38),
    ('K', 40..=49),
    ('K', 60..=64),
    ('E', 1..=24),
];

pub(super) fn check(table: &str, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut complain = |text: String| findings.push(Finding::Error(format!("{LIST}: {text}")));
    let rows: Vec<(&str, &str)> = table.lines().filter_map(row).collect();
    let facts = FACTS.into_iter();
    for fact in facts.flat_map(|(letter, numbers)| numbers.map(move |n| format!("{letter}{n}"))) {
        match rows.iter().filter(|(id, _)| *id == fact).count() {
            0 => complain(format!("{fact} has neither a test nor a reason")),
            1 => {}
            _ => complain(format!("{fact} stands there more than once")),
        }
    }
    let (facts, proved) = proved(table);
    for said in table
        .lines()
        .filter_map(|line| line.split_once(" of 175 are proved"))
    {
        let said = said.0.rsplit(' ').next().unwrap_or_default();
        if said != proved.to_string() {
            complain(format!(
                "it says {said}, and {proved} of {facts} are proved by a test"
            ));
        }
    }
    for (id, proof) in &rows {
        if proof.is_empty() {
            complain(format!("{id} has neither a test nor a reason"));
        }
        for (path, test) in tests(proof) {
            let declared = format!("fn {test}(");
            let source = sources.iter().find(|source| source.path == path);
            if !source.is_some_and(|source| source.text.contains(&declared)) {
                complain(format!("{id}: there is no {test} in {path}"));
            }
        }
    }
    findings
}

/// How many facts there are, and how many of them a test proves.
pub(super) fn proved(table: &str) -> (usize, usize) {
    let facts = FACTS.into_iter().map(|(_, numbers)| numbers.count()).sum();
    let rows = table.lines().filter_map(row);
    let proved = rows.filter(|(_, proof)| tests(proof).next().is_some());
    (facts, proved.count())
}

/// The id and the proof of a row such as `| I1 | … |`; none for the head of the table and for prose.
fn row(line: &str) -> Option<(&str, &str)> {
    let (id, proof) = line.strip_prefix("| ")?.split_once(" |")?;
    let number = id.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
    number.parse::<u32>().ok()?;
    Some((id, proof.trim_end_matches('|').trim()))
}

/// What stands between backquotes as `path::test`.
fn tests(proof: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = proof.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| {
        let (path, test) = name.split_once(".rs::")?;
        let test = test.rsplit("::").next().unwrap_or(test);
        Some((&name[..path.len() + ".rs".len()], test))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(table: &str) -> Vec<Finding> {
        let sources = [Source {
            path: "crates/x/tests/a.rs".to_owned(),
            text: "#[test]\nfn proves() {}\n".to_owned(),
        }];
        check(table, &sources)
    }

    fn whole() -> String {
        let facts = FACTS.into_iter();
        let ids = facts.flat_map(|(letter, numbers)| numbers.map(move |n| format!("{letter}{n}")));
        ids.map(|id| format!("| {id} | It does not apply. |\n"))
            .collect()
    }

    #[test]
    fn accepts_a_reason_or_a_test_that_exists() {
        assert_eq!(complaints(&whole()), []);
        let proved = whole().replace(
            "| I7 | It does not apply. |",
            "| I7 | `crates/x/tests/a.rs::proves` |",
        );
        assert_eq!(complaints(&proved), []);
    }

    #[test]
    fn refuses_a_fact_without_a_row_or_with_an_empty_one() {
        assert_eq!(complaints(&whole().replace("| K36 |", "| K99 |")).len(), 1);
        assert_eq!(
            complaints(&whole().replace("| I7 | It does not apply. |", "| I7 | |")).len(),
            1
        );
    }

    #[test]
    fn counts_what_a_test_proves() {
        let (facts, none) = proved(&whole());
        assert_eq!((facts, none), (175, 0));
        let one = whole().replace("| I7 | It does not apply. |", "| I7 | `a.rs::proves` |");
        assert_eq!(proved(&one), (facts, 1));
    }

    #[test]
    fn refuses_a_table_that_counts_otherwise() {
        let table = format!("3 of 175 are proved\n{}", whole());
        assert_eq!(complaints(&table).len(), 1);
        let table = format!("0 of 175 are proved\n{}", whole());
        assert_eq!(complaints(&table), []);
    }

    #[test]
    fn refuses_a_test_that_does_not_exist() {
        for proof in [
            "`crates/x/tests/a.rs::prove`",
            "`crates/x/tests/b.rs::proves`",
        ] {
            let row = format!("| I7 | {proof} |");
            let table = whole().replace("| I7 | It does not apply. |", &row);
            assert_eq!(complaints(&table).len(), 1, "{proof}");
        }
    }
}
