//! A long file holds a second concept: it has to answer which.

use super::Finding;
use crate::workspace::Source;

/// From here on a file is asked.
const ASK_LINES: usize = 500;

/// From here on it is refused.
const REFUSE_LINES: usize = 800;

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let judged = sources.iter().filter_map(|source| {
        let lines = source.text.lines().count();
        let found = format!(
            "{} has {lines} lines: which second thing crept in?",
            source.path
        );
        match lines {
            REFUSE_LINES.. => Some(Finding::Error(found)),
            ASK_LINES.. => Some(Finding::Warning(found)),
            _ => None,
        }
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_lines(lines: usize) -> Vec<Finding> {
        check(&[Source {
            path: "a.rs".to_owned(),
            text: "x\n".repeat(lines),
        }])
    }

    #[test]
    fn asks_at_500_and_refuses_at_800() {
        assert_eq!(of_lines(499), []);
        assert!(matches!(of_lines(500)[..], [Finding::Warning(_)]));
        assert!(matches!(of_lines(799)[..], [Finding::Warning(_)]));
        assert!(matches!(of_lines(800)[..], [Finding::Error(_)]));
    }
}
