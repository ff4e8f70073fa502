//! `vread vmallocinfo`

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;
use vread_targets::{AreaLine, Target};

use crate::{Outcome, arguments::VmallocinfoArguments, json, printable::Printable};

/// An area in JSON.
#[derive(Debug, Serialize)]
struct JsonArea<'a> {
    start: String,
    end: String,
    size: u64,
    /// What follows on the line: caller, pages, kind.
    description: &'a str,
}

/// What one caller has, in all its areas.
#[derive(Debug, Serialize)]
struct CallerTotal<'a> {
    caller: &'a str,
    areas: u64,
    /// The bytes of the areas, guard pages included.
    size: u64,
    /// The pages that were allocated for them.
    pages: u64,
}

pub(crate) fn run(
    target: &Target,
    arguments: &VmallocinfoArguments,
    out: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let areas = target.vmallocinfo()?;
    match (arguments.totals, arguments.json) {
        (false, false) => {
            for area in &areas {
                writeln!(out, "{}", Printable(&area.to_string()))?;
            }
        }
        (false, true) => json::array(out, areas.iter().map(JsonArea::from))?,
        (true, false) => {
            writeln!(
                out,
                "{:>14} {:>10} {:>7}  CALLER",
                "BYTES", "PAGES", "AREAS"
            )?;
            for total in totals(&areas) {
                let CallerTotal {
                    caller,
                    areas,
                    size,
                    pages,
                } = total;
                let caller = Printable(caller);
                writeln!(out, "{size:>14} {pages:>10} {areas:>7}  {caller}")?;
            }
        }
        (true, true) => json::array(out, totals(&areas))?,
    }
    Ok(Outcome::All)
}

impl<'a> From<&'a AreaLine> for JsonArea<'a> {
    fn from(area: &'a AreaLine) -> Self {
        Self {
            start: format!("{:#x}", area.range().start()),
            end: format!("{:#x}", area.range().end()),
            size: area.range().len().get(),
            description: area.description(),
        }
    }
}

/// The totals of each caller, the largest first.
fn totals(areas: &[AreaLine]) -> Vec<CallerTotal<'_>> {
    let mut by_caller = BTreeMap::new();
    for area in areas {
        let caller = caller(area.description());
        let total = by_caller.entry(caller).or_insert(CallerTotal {
            caller,
            areas: 0,
            size: 0,
            pages: 0,
        });
        total.areas = total.areas.saturating_add(1);
        total.size = total.size.saturating_add(area.range().len().get());
        total.pages = total.pages.saturating_add(pages(area.description()));
    }
    let mut totals: Vec<_> = by_caller.into_values().collect();
    totals.sort_by_key(|total| std::cmp::Reverse(total.size));
    totals
}

/// The words of a description that say who allocated the area: `name+0x10/0x80`, and the module.
fn caller(description: &str) -> &str {
    if !description.contains("+0x") && !description.starts_with("0x") {
        // `vm_map_ram` and `unpurged vm_area` have no caller; what they are stands for it.
        return description;
    }
    let first = description.find(' ').unwrap_or(description.len());
    let (name, rest) = description.split_at(first);
    match rest.strip_prefix(" [").and_then(|rest| rest.find(']')) {
        Some(close) => {
            let end = name.len().saturating_add(close).saturating_add(3);
            description.get(..end).unwrap_or(name)
        }
        None => name,
    }
}

fn pages(description: &str) -> u64 {
    let mut words = description.split(' ');
    let pages = words.find_map(|word| word.strip_prefix("pages="));
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_caller_from_the_rest() {
        for (description, who, how_many) in [
            (
                "load+0x1/0x2 [m] pages=1 vmalloc N0=1",
                "load+0x1/0x2 [m]",
                1,
            ),
            ("load+0x1/0x2 pages=12 vmalloc", "load+0x1/0x2", 12),
            ("load+0x1/0x2", "load+0x1/0x2", 0),
            ("load+0x1/0x2 [m]", "load+0x1/0x2 [m]", 0),
            (
                "0xffffffff81000000 phys=0x0 ioremap",
                "0xffffffff81000000",
                0,
            ),
            ("vm_map_ram", "vm_map_ram", 0),
            ("unpurged vm_area", "unpurged vm_area", 0),
            ("", "", 0),
        ] {
            assert_eq!((caller(description), pages(description)), (who, how_many));
        }
    }
}
