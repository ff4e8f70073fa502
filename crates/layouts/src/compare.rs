use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Display};
use std::hash::Hash;

use crate::debug_file::{Symbols, TypeName, Types};

/// The most values of the second file shown beside one that it has not.
const SHOWN: usize = 4;

/// How what one file says compares with what another says of the same names.
#[derive(Debug, Default)]
pub struct Disagreement {
    /// How many names both files have.
    pub names: usize,
    /// How many of the first file's values (layouts or addresses) the second has under that name too.
    pub equal: usize,
    /// Those that it has not, in words with what it has instead.
    pub different: Vec<String>,
    /// Names that the second file lacks.
    pub unknown: Vec<String>,
    /// How many names the first file lacks.
    pub missing: usize,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (different, unknown) = (self.different.len(), self.unknown.len());
        let examples = self.unknown.get(..unknown.min(5)).unwrap_or_default();
        write!(
            f,
            "{} names in both, {} equal, {different} different; {unknown} names only here {examples:?}, \
             {} only in the other",
            self.names, self.equal, self.missing,
        )
    }
}

impl Disagreement {
    /// The types of `ours` against those of `truth`.
    #[must_use]
    pub fn between(ours: &Types, truth: &Types) -> Self {
        let sorted: BTreeMap<&TypeName, &HashSet<String>> = ours.iter().collect();
        let mut found = Self::default();
        for (name, layouts) in sorted {
            found.add(name, layouts.iter(), truth.get(name), |layout| {
                layout.clone()
            });
        }
        found.missing = truth
            .keys()
            .filter(|name| !ours.contains_key(*name))
            .count();
        found
    }

    /// The symbols of `ours` against those of `truth`.
    #[must_use]
    pub fn between_symbols(ours: &Symbols, truth: &Symbols) -> Self {
        let mut found = Self::default();
        for (name, addresses) in ours {
            found.add(name, addresses.iter(), truth.get(name), |at| {
                format!("{at:#x}")
            });
        }
        found.missing = truth
            .keys()
            .filter(|name| !ours.contains_key(*name))
            .count();
        found
    }

    fn add<'v, V, S>(
        &mut self,
        name: &impl Display,
        values: impl Iterator<Item = &'v V>,
        truth: Option<&'v S>,
        spelled: impl Fn(&V) -> String,
    ) where
        V: 'v,
        S: Values<V>,
    {
        let Some(truth) = truth else {
            self.unknown.push(name.to_string());
            return;
        };
        self.names += 1;
        for value in values {
            if truth.has(value) {
                self.equal += 1;
                continue;
            }
            let instead: Vec<String> = truth.all().take(SHOWN).map(&spelled).collect();
            let (ours, theirs) = (spelled(value), instead.join("\nor\n"));
            self.different
                .push(format!("{name}: {ours}\ninstead of\n{theirs}"));
        }
    }
}

/// A set, however it is kept.
trait Values<V> {
    fn has(&self, value: &V) -> bool;
    fn all<'s>(&'s self) -> impl Iterator<Item = &'s V>
    where
        V: 's;
}

impl<V: Hash + Eq> Values<V> for HashSet<V> {
    fn has(&self, value: &V) -> bool {
        self.contains(value)
    }

    fn all<'s>(&'s self) -> impl Iterator<Item = &'s V>
    where
        V: 's,
    {
        self.iter()
    }
}

impl<V: Ord> Values<V> for BTreeSet<V> {
    fn has(&self, value: &V) -> bool {
        self.contains(value)
    }

    fn all<'s>(&'s self) -> impl Iterator<Item = &'s V>
    where
        V: 's,
    {
        self.iter()
    }
}
