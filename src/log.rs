//! The log: one switch, one line a failure.
//!
//! `NODETOKEN_LOG` (or `log` in the configuration) is a level, `off`, `error` (default), `info` or
//! `debug`, and after a colon a file to append to, standard error without one: `debug:/tmp/p11.log`.
//! A line is written with one write(2), so that lines of several processes do not mix.

use crate::error::{Error, rv_name};
use cryptoki_sys::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::lock::Shared;

/// How much is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    Off,
    /// What went wrong: damage, refusals by the system, wrong configuration.
    Error,
    /// Also every call that is refused.
    Info,
    /// Also every call.
    Debug,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Error as u8);
static FILE: RwLock<Option<File>> = RwLock::new(None);

/// Sets level and destination from the value of the switch. The reason why not, in words.
pub fn configure(switch: &str) -> Result<(), String> {
    let (level, path) = match switch.split_once(':') {
        Some((level, path)) => (level, Some(path)),
        None => (switch, None),
    };
    let level = match level {
        "off" => Level::Off,
        "" | "error" => Level::Error,
        "info" => Level::Info,
        "debug" => Level::Debug,
        other => {
            return Err(format!(
                "log level {other:?} is none of off, error, info, debug"
            ));
        }
    };
    let file = match path {
        Some(path) => Some(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| format!("log file {path:?}: {error}"))?,
        ),
        None => None,
    };
    *FILE.writing() = file;
    LEVEL.store(level as u8, Ordering::Relaxed);
    Ok(())
}

/// Whether lines of that level are written.
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line. What cannot be written is lost: a log must not be a reason to fail.
pub fn write(level: Level, text: &str) {
    if !enabled(level) {
        return;
    }
    // Text from outside (paths, messages of libraries) must not forge a second line.
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line = format!("nodetoken[{}]: {line}\n", std::process::id());
    // No lock is waited for: in a forked child its holder may not exist.
    let file = FILE.try_read();
    let _ = match file.as_deref() {
        Ok(Some(file)) => rustix::io::write(file, line.as_bytes()),
        _ => rustix::io::write(rustix::stdio::stderr(), line.as_bytes()),
    };
}

/// The line of a call that was refused: function, return code, reason.
pub fn refusal(function: &str, error: &Error) {
    let level = severity(error.rv());
    if enabled(level) {
        let text = format!("{function}: {}: {}", rv_name(error.rv()), error.reason());
        write(level, &text);
    }
}

/// Faults of the system are errors; what a caller asked wrongly is information.
fn severity(rv: CK_RV) -> Level {
    match rv {
        CKR_GENERAL_ERROR
        | CKR_HOST_MEMORY
        | CKR_FUNCTION_FAILED
        | CKR_DEVICE_ERROR
        | CKR_DEVICE_MEMORY
        | CKR_DEVICE_REMOVED
        | CKR_TOKEN_NOT_RECOGNIZED
        | CKR_TOKEN_WRITE_PROTECTED
        | CKR_PIN_LOCKED
        | CKR_PIN_INCORRECT
        | CKR_CANT_LOCK => Level::Error,
        _ => Level::Info,
    }
}
