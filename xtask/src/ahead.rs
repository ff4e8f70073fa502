//! Compiling what later steps need while an earlier one runs, which leaves a processor idle most of the time.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks at a command that runs.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes a command when its turn comes.
pub(crate) type Make = Box<dyn FnOnce() -> anyhow::Result<Command> + Send>;

/// Commands that run one after another, in the background and with the least priority. What they say is not shown,
/// and their failures are nobody's: the step that they are for runs into them again, and tells.
///
/// Dropping it ends them.
pub(crate) struct Ahead {
    turn: Arc<Mutex<Turn>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Turn {
    child: Option<Child>,
    ended: bool,
}

impl Ahead {
    pub(crate) fn start(commands: Vec<Make>) -> Self {
        let turn = Arc::new(Mutex::new(Turn::default()));
        let shared = Arc::clone(&turn);
        let thread = thread::spawn(move || {
            for make in commands {
                let Ok(command) = make() else { continue };
                if !run(&shared, &command) {
                    return;
                }
            }
        });
        Self {
            turn,
            thread: Some(thread),
        }
    }

    /// Waits until all is done.
    pub(crate) fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.ended = true;
        if let Some(child) = &mut turn.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs one command; false when no other shall come.
fn run(turn: &Mutex<Turn>, command: &Command) -> bool {
    let mut nice = nice(command);
    let lock = || turn.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut turn = lock();
        if turn.ended {
            return false;
        }
        turn.child = nice.spawn().ok();
    }
    let runs = || {
        let mut turn = lock();
        let child = turn.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    };
    // Without the lock, so that another thread may end it.
    while runs() {
        thread::sleep(PAUSE);
    }
    !lock().ended
}

/// The same command with the least priority, and without a word.
fn nice(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    nice.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    nice
}
