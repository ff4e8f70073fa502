use std::fmt;

/// What a task does, as the letter in `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskState(char);

/// Linux's `TASK_…` and `EXIT_…` bits that are reported, with the letter of each.
const LETTERS: [(u64, char); 7] = [
    (0x40, 'P'),
    (0x20, 'Z'),
    (0x10, 'X'),
    (0x08, 't'),
    (0x04, 'T'),
    (0x02, 'D'),
    (0x01, 'S'),
];
/// `TASK_IDLE`: uninterruptible, and not counted as load.
const IDLE: u64 = 0x402;
/// `TASK_RTLOCK_WAIT` and `TASK_FROZEN`, reported as uninterruptible.
const LIKE_UNINTERRUPTIBLE: u64 = 0x1000 | 0x8000;

impl TaskState {
    /// From the task's `__state` and its `exit_state`.
    pub(crate) fn new(state: u64, exit_state: u64) -> Self {
        if state & IDLE == IDLE {
            return Self('I');
        }
        if state & LIKE_UNINTERRUPTIBLE != 0 {
            return Self('D');
        }
        let bits = state | exit_state;
        let highest = LETTERS.iter().find(|(bit, _)| bits & bit != 0);
        Self(highest.map_or('R', |(_, letter)| *letter))
    }

    /// `R` running, `S` sleeping, `D` sleeping without being interrupted, `T` stopped, `t` traced, `Z` and
    /// `X` ended, `P` parked, `I` idle.
    #[must_use]
    pub fn letter(self) -> char {
        self.0
    }
}

/// Running.
impl Default for TaskState {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_letters_of_proc() {
        for (state, exit_state, letter) in [
            (0, 0, 'R'),
            (1, 0, 'S'),
            (0x2001, 0, 'S'),
            (2, 0, 'D'),
            (0x102, 0, 'D'),
            (0x402, 0, 'I'),
            (0x8000, 0, 'D'),
            (0x104, 0, 'T'),
            (8, 0, 't'),
            (0x80, 0x20, 'Z'),
            (0x80, 0x10, 'X'),
            (0x40, 0, 'P'),
        ] {
            assert_eq!(TaskState::new(state, exit_state).letter(), letter);
        }
    }
}
