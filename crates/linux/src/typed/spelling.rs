/// The name that compilers give to one of C's own numbers, and BTF has from there: `long unsigned int` for
/// `unsigned long`. `None` for every other type.
///
/// C lets the words stand in any order and leaves `int` and `signed` out as one likes.
#[must_use]
pub fn spelled_by_compilers(words: &str) -> Option<&'static str> {
    let (mut unsigned, mut signed, mut long, mut short, mut char, mut int) = (0, 0, 0, 0, 0, 0);
    for word in words.split_whitespace() {
        let count = match word {
            "unsigned" => &mut unsigned,
            "signed" => &mut signed,
            "long" => &mut long,
            "short" => &mut short,
            "char" => &mut char,
            "int" => &mut int,
            _ => return None,
        };
        *count = u8::saturating_add(*count, 1);
        // No number has a word three times.
        if *count > 2 {
            return None;
        }
    }
    Some(match (unsigned, signed, long, short, char, int) {
        (0, 0, 0, 0, 1, 0) => "char",
        (0, 1, 0, 0, 1, 0) => "signed char",
        (1, 0, 0, 0, 1, 0) => "unsigned char",
        (0, 0 | 1, 0, 1, 0, 0 | 1) => "short int",
        (1, 0, 0, 1, 0, 0 | 1) => "short unsigned int",
        (0, 0, 0, 0, 0, 1) | (0, 1, 0, 0, 0, 0 | 1) => "int",
        (1, 0, 0, 0, 0, 0 | 1) => "unsigned int",
        (0, 0 | 1, 1, 0, 0, 0 | 1) => "long int",
        (1, 0, 1, 0, 0, 0 | 1) => "long unsigned int",
        (0, 0 | 1, 2, 0, 0, 0 | 1) => "long long int",
        (1, 0, 2, 0, 0, 0 | 1) => "long long unsigned int",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_name_in_any_order() {
        for (words, name) in [
            ("unsigned long", "long unsigned int"),
            ("long unsigned", "long unsigned int"),
            ("int unsigned long long", "long long unsigned int"),
            ("long", "long int"),
            ("signed", "int"),
            ("unsigned", "unsigned int"),
            ("short unsigned int", "short unsigned int"),
            ("signed short", "short int"),
            ("char signed", "signed char"),
            ("char", "char"),
        ] {
            assert_eq!(spelled_by_compilers(words), Some(name), "{words}");
        }
    }

    #[test]
    fn all_else_is_no_number() {
        for words in [
            "",
            "pid_t",
            "unsigned pid_t",
            "long long long",
            "unsigned signed",
            "long short",
            "long char",
            "char int",
        ] {
            assert_eq!(spelled_by_compilers(words), None, "{words}");
        }
    }
}
