//! Patterns for names: `*` stands for any characters, `?` for one.

/// Whether the whole of `name` matches `pattern`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_pattern) = (0_usize, 0_usize);
    // Where to go on when what follows the last star does not match: one character later.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(in_pattern), name.get(at)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                in_pattern = in_pattern.saturating_add(1);
                retry = Some((in_pattern, at));
            }
            (Some(b'?'), Some(_)) => {
                in_pattern = in_pattern.saturating_add(1);
                at = at.saturating_add(1);
            }
            (Some(wanted), Some(got)) if wanted == got => {
                in_pattern = in_pattern.saturating_add(1);
                at = at.saturating_add(1);
            }
            _ => match retry {
                Some((star, from)) if from < name.len() => {
                    in_pattern = star;
                    at = from.saturating_add(1);
                    retry = Some((star, at));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_whole_names() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "x"),
            ("vm*", "vmalloc"),
            ("*alloc", "vmalloc"),
            ("v*l*c", "vmalloc"),
            ("??alloc", "vmalloc"),
            ("*a*a*", "abca"),
            ("", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("vm", "vmalloc"),
            ("?", ""),
            ("?alloc", "vmalloc"),
            ("*allocs", "vmalloc"),
            ("*a*a*a*", "abca"),
            ("", "x"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
