//! Living with the handlers that others have: each case is a process of its own, and most of them die.
#![expect(
    unsafe_code,
    reason = "installs signal handlers, and reads where nothing is"
)]
#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

mod roles;

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Failed, Trial};

/// What a process may take before `SIGALRM` ends it: one that faults for ever would hang the test.
const MOST_SECONDS: u32 = 60;

/// How a process is to end.
enum End {
    Code(i32),
    Signal(i32),
}

struct Case {
    name: &'static str,
    role: fn(),
    end: End,
    /// What it is to have written to standard error.
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "stack_overflow_of_main_still_gets_rusts_message",
        role: roles::overflow_main,
        end: End::Signal(libc::SIGABRT),
        says: &["thread 'main'", "has overflowed its stack"],
    },
    Case {
        name: "stack_overflow_of_a_thread_still_gets_rusts_message",
        role: roles::overflow_thread,
        end: End::Signal(libc::SIGABRT),
        says: &["thread 'deep'", "has overflowed its stack"],
    },
    Case {
        name: "foreign_fault_under_rusts_handler_kills",
        role: roles::foreign_fault,
        end: End::Signal(libc::SIGSEGV),
        says: &["about to fault"],
    },
    Case {
        name: "foreign_fault_reaches_the_handler_before_ours",
        role: roles::previous_with_info,
        end: End::Code(42),
        says: &["previous handler: signal 11 at 0x10"],
    },
    Case {
        name: "foreign_bus_error_reaches_the_handler_before_ours",
        role: roles::previous_for_bus,
        end: End::Code(42),
        says: &["previous handler: signal 7 at the truncated page"],
    },
    Case {
        name: "foreign_fault_reaches_an_old_style_handler",
        role: roles::previous_without_info,
        end: End::Code(42),
        says: &["old handler: signal 11"],
    },
    Case {
        name: "handler_before_ours_runs_under_its_mask_and_may_copy",
        role: roles::previous_with_mask,
        end: End::Code(0),
        says: &["mask as asked, copy stopped, mask restored"],
    },
    Case {
        name: "handler_before_ours_that_bears_faults_may_have_them",
        role: roles::previous_that_copies,
        end: End::Code(42),
        says: &["copied while it handled"],
    },
    Case {
        name: "handler_before_ours_that_wanted_one_signal_gets_one",
        role: roles::previous_once,
        end: End::Signal(libc::SIGSEGV),
        says: &["one handler: signal 11"],
    },
    Case {
        name: "foreign_fault_under_the_default_action_kills",
        role: roles::default_action,
        end: End::Signal(libc::SIGSEGV),
        says: &["about to fault"],
    },
    Case {
        name: "sent_signal_under_the_default_action_kills",
        role: roles::default_action_sent,
        end: End::Signal(libc::SIGBUS),
        says: &["about to send"],
    },
    Case {
        name: "sent_signal_that_was_ignored_stays_ignored_and_a_fault_kills",
        role: roles::ignored,
        end: End::Signal(libc::SIGSEGV),
        says: &["still here"],
    },
    Case {
        name: "signal_sent_into_the_middle_of_a_copy_is_not_a_fault",
        role: roles::sent_into_copies,
        end: End::Code(0),
        says: &["every copy was whole, the previous handler saw each signal"],
    },
    Case {
        name: "handler_after_ours_is_noticed_and_the_other_backend_lives",
        role: roles::replaced,
        end: End::Code(0),
        says: &["noticed, and copied without a handler"],
    },
    Case {
        name: "copies_are_safe_before_install",
        role: roles::before_install,
        end: End::Code(0),
        says: &["stopped without a handler"],
    },
];

fn main() {
    let role = env::args().nth(1);
    if let Some(case) = CASES.iter().find(|case| role.as_deref() == Some(case.name))
        && env::args().nth(2).as_deref() == Some("as-child")
    {
        // SAFETY: nobody else sets an alarm here.
        unsafe { libc::alarm(MOST_SECONDS) };
        return (case.role)();
    }
    let trials = CASES
        .iter()
        .map(|case| Trial::test(case.name, || check(case)));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn check(case: &Case) -> Result<(), Failed> {
    let Output { status, stderr, .. } = Command::new(env::current_exe().unwrap())
        .arg(case.name)
        .arg("as-child")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    let ended = match case.end {
        End::Code(code) => status.code() == Some(code),
        End::Signal(signal) => status.signal() == Some(signal),
    };
    if ended && case.says.iter().all(|said| stderr.contains(said)) {
        return Ok(());
    }
    Err(format!("ended with {status}, said:\n{stderr}").into())
}
