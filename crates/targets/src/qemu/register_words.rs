//! Registers by name, out of what QEMU's human monitor prints.

/// What `info registers` prints of one processor: words such as `RAX=0000000000000001`,
/// `R8 =0000000000000000` and, with the base as the next word, `CS =0010 0000000000000000 ffffffff 00af9b00`
/// or `GDT=     fffffe0000001000 0000007f`. There are few enough to look through them for each register.
pub(super) struct RegisterWords(Vec<String>);

impl RegisterWords {
    pub(super) fn of(text: &str) -> Self {
        // Padding stands before the sign or behind it.
        let text = text.replace(" =", "=");
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    /// The number behind `name=`.
    pub(super) fn value(&self, name: &str) -> Option<u64> {
        let (_, number) = self.find(name)?;
        hexadecimal(number)
    }

    /// A register by its name in 64-bit code, or in 32-bit code, of which only the lower half counts.
    pub(super) fn general(&self, name: &str, name_in_32_bit_code: &str) -> Option<u64> {
        self.value(name).or_else(|| self.value(name_in_32_bit_code))
    }

    /// A register that is not shown in 32-bit code, where it has no meaning.
    pub(super) fn upper(&self, name: &str) -> u64 {
        self.value(name).unwrap_or_default()
    }

    /// The base of a segment or a table: the word behind.
    pub(super) fn base(&self, name: &str) -> Option<u64> {
        let (at, _) = self.find(name)?;
        hexadecimal(self.0.get(at.checked_add(1)?)?)
    }

    fn find(&self, name: &str) -> Option<(usize, &str)> {
        let numbers = self.0.iter().map(|word| {
            let (key, number) = word.split_once('=')?;
            (key == name).then_some(number)
        });
        let found = numbers.enumerate();
        found.filter_map(|(at, number)| Some((at, number?))).next()
    }
}

fn hexadecimal(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}
