//! The log: one switch, one line a failure.
//!
//! `NODETOKEN_LOG` (or `log` in the configuration) is a level, `off`, `error` (default), `info` or
//! `debug`, and after a colon a file to append to, standard error without one: `debug:/tmp/p11.log`.
//! A line is written with one write(2), so that lines of several processes do not mix. The file is
//! open from C_Initialize to C_Finalize.

use crate::error::{Error, rv_name};
use cryptoki_sys::*;
use std::fs::{File, OpenOptions, symlink_metadata};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::signal;

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
/// Locked for a moment only: in a forked child whoever held it may not exist.
static FILE: RwLock<Option<Arc<File>>> = RwLock::new(None);

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
        Some(path) => Some(open(path).map_err(|reason| format!("log file {path:?}: {reason}"))?),
        None => None,
    };
    replace(file)?;
    LEVEL.store(level as u8, Ordering::Relaxed);
    Ok(())
}

/// Never waits, for the reader of a pipe or for a terminal, and makes no terminal the process's own.
fn open(path: &str) -> Result<File, String> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let found = match &file {
        Ok(file) => file.metadata(),
        Err(_) => symlink_metadata(path),
    };
    match (file, found.map(|found| found.file_type())) {
        (_, Ok(kind)) if kind.is_symlink() => Err(
            "it is a symbolic link, which is not followed: name the file itself, or no file for \
             standard error"
                .into(),
        ),
        (_, Ok(kind)) if !kind.is_file() && !kind.is_char_device() => {
            Err("it is neither a regular file nor a character device".into())
        }
        (Ok(_), Err(error)) | (Err(error), _) => Err(error.to_string()),
        (Ok(file), Ok(_)) => Ok(file),
    }
}

/// Closes the file; from now on it is as before the first C_Initialize.
pub fn close() {
    LEVEL.store(Level::Error as u8, Ordering::Relaxed);
    // A process that cannot has lost a thread in a fork; it keeps the file until it ends.
    let _ = replace(None);
}

fn replace(file: Option<File>) -> Result<(), String> {
    let file = file.map(Arc::new);
    for _ in 0..100 {
        if let Ok(mut place) = FILE.try_write() {
            *place = file;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("the log is in use by a thread that this process has lost in a fork: exec it anew".into())
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
    let file = FILE.try_read().ok().and_then(|file| file.clone());
    let _ = signal::withheld(|| match file {
        Some(file) => rustix::io::write(&*file, line.as_bytes()),
        None => rustix::io::write(rustix::stdio::stderr(), line.as_bytes()),
    });
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
