//! Just enough QMP to time what others do with it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    pub(crate) fn connect(path: &Path) -> Self {
        let mut qmp = Self {
            reader: BufReader::new(UnixStream::connect(path).unwrap()),
        };
        qmp.line();
        qmp.execute("qmp_capabilities", json!({}));
        qmp
    }

    /// Runs a command to its end; what it returned.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").unwrap();
        loop {
            let mut answer = self.line();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            // Events may come before the answer.
            if let Some(result) = answer.get_mut("return") {
                return result.take();
            }
        }
    }

    /// A command of the human monitor; what it printed.
    pub(crate) fn human(&mut self, line: &str) -> String {
        let answer = self.execute("human-monitor-command", json!({ "command-line": line }));
        answer.as_str().unwrap().to_owned()
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
