//! The Debian mirror that this machine already uses, read from its apt configuration.
//!
//! Both forms are understood: one-line entries (`*.list`) and deb822 stanzas (`*.sources`); see the
//! manual page `sources.list(5)`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::GuestError;

const CONFIGURATION: &str = "/etc/apt";

/// Suites by which Debian itself is named; derived names such as `bookworm-security` live elsewhere.
const DEBIAN_SUITES: [&str; 11] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "duke",
];

/// Where Debian packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// As apt takes it.
    pub(crate) uri: String,
    /// Keyring that the machine's entry names, if it names one.
    pub(crate) signed_by: Option<String>,
}

/// The mirror of this machine.
pub(crate) fn of_this_machine() -> Result<Mirror, GuestError> {
    let folder = Path::new(CONFIGURATION);
    let mut files = vec![folder.join("sources.list")];
    if let Ok(parts) = fs::read_dir(folder.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = parts.filter_map(|part| Some(part.ok()?.path())).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(one_line_entries(&text)),
            Some("sources") => found.extend(stanzas(&text)),
            _ => {}
        }
    }
    choose(found).ok_or_else(|| GuestError::NoMirror {
        looked_in: folder.to_owned(),
    })
}

/// Others may serve a suite of the same name; Debian's own archive is a folder called `debian`.
fn choose(found: Vec<Mirror>) -> Option<Mirror> {
    let is_archive = |mirror: &&Mirror| mirror.uri.trim_end_matches('/').ends_with("/debian");
    found.iter().find(is_archive).or(found.first()).cloned()
}

fn one_line_entries(text: &str) -> Vec<Mirror> {
    text.lines().filter_map(one_line_entry).collect()
}

/// `deb [option=value …] URI suite component…`
fn one_line_entry(line: &str) -> Option<Mirror> {
    let line = line.split('#').next()?.trim();
    let rest = line
        .strip_prefix("deb")?
        .strip_prefix([' ', '\t'])?
        .trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    if !is_debian(suite, words) {
        return None;
    }
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    Some(Mirror {
        uri: uri.to_owned(),
        signed_by: signed_by.map(str::to_owned),
    })
}

fn stanzas(text: &str) -> Vec<Mirror> {
    let mut found = Vec::new();
    let mut stanza = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            found.extend(mirror_of_stanza(&stanza));
            stanza.clear();
        } else if !line.starts_with('#') {
            stanza.push(line);
        }
    }
    found
}

fn mirror_of_stanza(lines: &[&str]) -> Option<Mirror> {
    let types = field(lines, "Types")?;
    let suites = field(lines, "Suites")?;
    let components = field(lines, "Components")?;
    let enabled = field(lines, "Enabled").is_none_or(|value| value.trim() != "no");
    let for_us = types.split_whitespace().any(|kind| kind == "deb")
        && suites
            .split_whitespace()
            .any(|suite| is_debian(suite, components.split_whitespace()));
    if !(enabled && for_us) {
        return None;
    }
    let uri = field(lines, "URIs")?.split_whitespace().next()?.to_owned();
    // A key may also stand in the stanza itself; only a keyring's path can be handed on.
    let signed_by = field(lines, "Signed-By").map(|value| value.trim().to_owned());
    Some(Mirror {
        uri,
        signed_by: signed_by.filter(|value| value.starts_with('/')),
    })
}

/// The value of a field, its continuation lines joined.
fn field(lines: &[&str], name: &str) -> Option<String> {
    let mut lines = lines.iter().skip_while(|line| {
        !line
            .split_once(':')
            .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
    });
    let first = lines.next()?.split_once(':')?.1.to_owned();
    let more = lines.take_while(|line| line.starts_with([' ', '\t']));
    Some(more.fold(first, |value, line| value + " " + line.trim()))
}

fn is_debian<'a>(suite: &str, mut components: impl Iterator<Item = &'a str>) -> bool {
    DEBIAN_SUITES.contains(&suite) && components.any(|component| component == "main")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uri: &str, signed_by: Option<&str>) -> Mirror {
        Mirror {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn reads_one_line_entries_with_and_without_options() {
        let text = "# deb http://no.example/debian sid main\n\
                    deb-src http://src.example/debian sid main\n\
                    deb http://a.example/debian bookworm main contrib # ours\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian/ sid main\n\
                    deb http://c.example/debian-security bookworm-security main\n\
                    deb http://d.example/debian bookworm stable\n";
        let expected = [
            mirror("http://a.example/debian", None),
            mirror("http://b.example/debian/", Some("/k.gpg")),
        ];
        assert_eq!(one_line_entries(text), expected);
    }

    #[test]
    fn reads_stanzas_with_comments_and_continuations() {
        let text = "Types: deb\n# a comment\nURIs: http://a.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents:\n main\n contrib\n\
                    Signed-By: /k.gpg\n\n\
                    Types: deb\nURIs: http://b.example/debian-security\n\
                    Suites: bookworm-security\nComponents: main\n\n\
                    Types: deb\nEnabled: no\nURIs: http://c.example/debian\nSuites: sid\nComponents: main\n\n\
                    Types: deb-src\nURIs: http://d.example/debian\nSuites: sid\nComponents: main\n";
        assert_eq!(
            stanzas(text),
            [mirror("http://a.example/debian", Some("/k.gpg"))]
        );
    }

    #[test]
    fn drops_a_key_that_stands_in_the_stanza() {
        let text = "Types: deb\nURIs: http://a.example/debian\nSuites: sid\nComponents: main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n";
        assert_eq!(stanzas(text), [mirror("http://a.example/debian", None)]);
    }

    #[test]
    fn prefers_the_archive_over_a_vendor_of_the_same_suite() {
        let vendor = mirror("http://vendor.example/apt", None);
        let archive = mirror("http://a.example/debian/", None);
        assert_eq!(choose(vec![vendor.clone(), archive.clone()]), Some(archive));
        assert_eq!(choose(vec![vendor.clone()]), Some(vendor));
        assert_eq!(choose(Vec::new()), None);
    }
}
