use std::str::FromStr;

use thiserror::Error;
use vread_addr::VirtAddr;

/// The longest path that is taken.
const MAX_LEN: usize = 4096;
/// How deep parentheses and stars may stand in one another.
const MAX_DEPTH: usize = 64;

/// A path from a symbol or an address to a value, as C writes it: `init_task.cred->uid.val`,
/// `((struct task_struct *)0xffff888003d38000)->comm`, `*(u64 *)jiffies_64`, `modules.next[0]`.
///
/// A dot goes through a pointer as an arrow does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// Where it begins.
    pub base: Base,
    /// What is done from there, one after another.
    pub steps: Vec<Step>,
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// At a symbol, or so many bytes behind it.
    Symbol(String, u64),
    /// At an address.
    Address(VirtAddr),
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To a member, through a pointer if there is one: `.name` or `->name`.
    Member(String),
    /// To an element of an array, or of what a pointer leads to: `[7]`.
    Index(u64),
    /// To what a pointer leads to: `*`.
    Dereference,
    /// Back to the address: `&`.
    AddressOf,
    /// To the same as another type: `(struct page *)`.
    Cast(String),
}

/// What is wrong with the text of a path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("in `{text}` at character {}: {expected}", at.saturating_add(1))]
pub struct GrammarError {
    text: String,
    at: usize,
    expected: &'static str,
}

impl Expression {
    /// Whether `text` is more than a symbol or an address with an offset.
    #[must_use]
    pub fn is_path(text: &str) -> bool {
        text.contains(['.', '(', '[', '*', '&']) || text.contains("->")
    }
}

impl FromStr for Expression {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let mut parser = Parser {
            text,
            at: 0,
            steps: Vec::new(),
        };
        if text.len() > MAX_LEN {
            return Err(parser.error("a shorter path"));
        }
        let base = parser.unary(0)?;
        parser.skip_spaces();
        if parser.at < text.len() {
            return Err(parser.error("`.member`, `->member`, `[index]` or the end"));
        }
        Ok(Self {
            base,
            steps: parser.steps,
        })
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    steps: Vec<Step>,
}

impl<'t> Parser<'t> {
    fn error(&self, expected: &'static str) -> GrammarError {
        GrammarError {
            text: self.text.to_owned(),
            at: self.at,
            expected,
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        let spaces = rest.len().saturating_sub(rest.trim_start().len());
        self.at = self.at.saturating_add(spaces);
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(token);
        if found {
            self.at = self.at.saturating_add(token.len());
        }
        found
    }

    fn word(&mut self) -> &'t str {
        self.skip_spaces();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$');
        let (word, _) = rest.split_at(end.unwrap_or(rest.len()));
        self.at = self.at.saturating_add(word.len());
        word
    }

    /// Prefixes apply behind what follows them.
    fn unary(&mut self, depth: usize) -> Result<Base, GrammarError> {
        if depth > MAX_DEPTH {
            return Err(self.error("fewer parentheses and stars"));
        }
        let below = depth.saturating_add(1);
        if self.eat("*") {
            let base = self.unary(below)?;
            self.steps.push(Step::Dereference);
            return Ok(base);
        }
        if self.eat("&") {
            let base = self.unary(below)?;
            self.steps.push(Step::AddressOf);
            return Ok(base);
        }
        if let Some(of) = self.cast() {
            let base = self.unary(below)?;
            self.steps.push(Step::Cast(of));
            return Ok(base);
        }
        let base = match self.eat("(") {
            true => {
                let base = self.unary(below)?;
                if !self.eat(")") {
                    return Err(self.error("`)`"));
                }
                base
            }
            false => self.primary()?,
        };
        self.postfixes()?;
        Ok(base)
    }

    /// The type of a cast, if one stands here: what is in parentheses is a type if a value follows them.
    fn cast(&mut self) -> Option<String> {
        self.skip_spaces();
        let inside = self.rest().strip_prefix('(')?;
        let (of, behind) = inside.split_once(')')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '*');
        let begins_value =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '(' | '*' | '&');
        let is_cast = !of.trim().is_empty()
            && of.chars().all(is_name)
            && behind.trim_start().starts_with(begins_value);
        if !is_cast {
            return None;
        }
        self.at = self.at.saturating_add(of.len()).saturating_add(2);
        Some(of.trim().to_owned())
    }

    fn primary(&mut self) -> Result<Base, GrammarError> {
        let start = self.at;
        let word = self.word();
        if let Some(hex) = word.strip_prefix("0x") {
            let addr = u64::from_str_radix(hex, 16).map_err(|_| self.error("an address"))?;
            let offset = self.offset()?;
            let addr = addr.checked_add(offset);
            let addr = addr.ok_or(self.error("an address within 64 bits"))?;
            return Ok(Base::Address(VirtAddr::new(addr)));
        }
        if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
            self.at = start;
            return Err(self.error("a symbol, or an address that begins with 0x"));
        }
        let offset = self.offset()?;
        Ok(Base::Symbol(word.to_owned(), offset))
    }

    /// `+16` or `+0x10`.
    fn offset(&mut self) -> Result<u64, GrammarError> {
        match self.eat("+") {
            true => self.number(),
            false => Ok(0),
        }
    }

    fn number(&mut self) -> Result<u64, GrammarError> {
        let word = self.word();
        let number = match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        };
        number.ok_or(self.error("a number, such as 16 or 0x10"))
    }

    fn postfixes(&mut self) -> Result<(), GrammarError> {
        loop {
            if self.eat("->") || self.eat(".") {
                let member = self.word();
                if member.is_empty() {
                    return Err(self.error("the name of a member"));
                }
                self.steps.push(Step::Member(member.to_owned()));
            } else if self.eat("[") {
                let index = self.number()?;
                if !self.eat("]") {
                    return Err(self.error("`]`"));
                }
                self.steps.push(Step::Index(index));
            } else {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Base, Vec<Step>) {
        let Expression { base, steps } = text.parse().unwrap();
        (base, steps)
    }

    fn member(name: &str) -> Step {
        Step::Member(name.to_owned())
    }

    #[test]
    fn reads_paths_as_c_writes_them() {
        let task = || Base::Symbol("init_task".to_owned(), 0);
        let cast = |of: &str| Step::Cast(of.to_owned());
        let at = |addr| Base::Address(VirtAddr::new(addr));
        assert_eq!(parse("init_task"), (task(), vec![]));
        assert_eq!(
            parse("init_task.cred->uid.val"),
            (task(), vec![member("cred"), member("uid"), member("val")])
        );
        assert_eq!(
            parse("((struct task_struct *)0x10)->comm"),
            (at(16), vec![cast("struct task_struct *"), member("comm")])
        );
        assert_eq!(
            parse(" * ( u64 * ) init_task + 0x8 "),
            (
                Base::Symbol("init_task".to_owned(), 8),
                vec![cast("u64 *"), Step::Dereference]
            )
        );
        // A cast binds less than a member does.
        assert_eq!(
            parse("(struct page *)init_task.mm[0x10].pgd"),
            (
                task(),
                vec![
                    member("mm"),
                    Step::Index(16),
                    member("pgd"),
                    cast("struct page *")
                ]
            )
        );
        assert_eq!(
            parse("&(init_task.mm)"),
            (task(), vec![member("mm"), Step::AddressOf])
        );
    }

    #[test]
    fn says_where_a_path_is_wrong() {
        for (text, at, expected) in [
            ("", 0, "a symbol"),
            ("a.", 2, "member"),
            ("a->", 3, "member"),
            ("a[x]", 3, "number"),
            ("a[1", 3, "]"),
            ("(a", 2, ")"),
            ("a b", 2, "end"),
            ("12", 0, "0x"),
            ("0xzz", 4, "address"),
            ("a+", 2, "number"),
            ("()a", 1, "a symbol"),
        ] {
            let error = text.parse::<Expression>().unwrap_err();
            assert_eq!(error.at, at, "{text:?}: {error}");
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
        let deep = "(".repeat(1000) + "a" + &")".repeat(1000);
        assert!(deep.parse::<Expression>().is_err());
        assert!("*".repeat(5000).parse::<Expression>().is_err());
    }
}
