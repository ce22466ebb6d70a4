//! What a command says when it is done: text for people or, with `--json`, one JSON value.

use crate::failure::{Exit, Failure, Result};
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;

/// The outcome of a command.
#[derive(Debug)]
pub struct Report {
    /// For people, lines ended by `\n`.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Success, or what was found ([`Exit::Attention`]).
    pub exit: ExitCode,
}

impl Report {
    /// The report of a command that did what it was asked to.
    pub fn new(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            exit: ExitCode::SUCCESS,
        }
    }

    /// Writes the report to standard output.
    pub fn print(&self, json: bool) -> Result<()> {
        let text = match json {
            true => format!("{:#}\n", self.json),
            false => self.text.clone(),
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(
                Exit::Other,
                format!("standard output cannot be written: {error}"),
            )),
            Ok(()) => Ok(()),
        }
    }
}

/// One line on standard error that is not the end of the command.
pub fn warn(words: impl AsRef<str>) {
    say(&format!("nodetoken: warning: {}\n", words.as_ref()));
}

/// Writes to standard error. Where that fails there is nobody left to tell.
pub fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
