//! The stamp: a number beside the database that tells without SQLite whether it has changed.
//!
//! It is twice the number of the last transaction, and odd while the next one is being committed.
//! Written before and after each commit, it costs a reader one `pread`. Since it gets even only
//! after the commit is durable, a database whose number is lower has lost transactions. A writer
//! that dies in between leaves it odd: readers then ask the database each time, until the next
//! writer. Writers hold its lock throughout; those that wait for it leave a note behind the number.

use super::files::{Files, Identity, create_file, io_trouble};
use crate::error::{Result, fail};
use cryptoki_sys::CKR_DEVICE_ERROR;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number and its complement, little-endian.
const LEN: usize = 16;
/// A waiting writer's time in nanoseconds (8 bytes) and process (4).
const NOTE_LEN: usize = 12;
/// Older notes are of writers that are gone.
const NOTE_LASTS: Duration = Duration::from_millis(5);

/// An open stamp.
#[derive(Debug)]
pub(super) struct Stamp {
    pub(super) file: File,
    path: PathBuf,
    identity: Identity,
}

/// The writers' lock; given back when dropped.
pub(super) struct Writing<'a>(&'a Stamp);

impl Stamp {
    /// Opens it for reading, and for writing where that is allowed; `None` where there is none.
    pub(super) fn open(files: &Files) -> Result<Option<Self>> {
        let path = files.beside("-stamp");
        let open = |write| {
            OpenOptions::new()
                .read(true)
                .write(write)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
        };
        match open(true).or_else(|_| open(false)) {
            Ok(file) => Self::of(file, path).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_trouble("open", &path, &error)),
        }
    }

    /// Opens it, making it where there is none.
    pub(super) fn open_or_create(files: &Files) -> Result<Self> {
        if let Some(stamp) = Self::open(files)? {
            return Ok(stamp);
        }
        let path = files.beside("-stamp");
        match create_file(&path) {
            Ok(file) => Self::of(file, path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match Self::open(files)? {
                Some(stamp) => Ok(stamp),
                None => fail!(CKR_DEVICE_ERROR, "{} comes and goes", path.display()),
            },
            Err(error) => Err(io_trouble("make", &path, &error)),
        }
    }

    fn of(file: File, path: PathBuf) -> Result<Self> {
        let metadata = file
            .metadata()
            .map_err(|error| io_trouble("look at", &path, &error))?;
        Ok(Self {
            file,
            path,
            identity: Identity::of(&metadata),
        })
    }

    /// Whether the path still leads to this file.
    pub(super) fn is_current(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| Identity::of(&metadata) == self.identity)
    }

    /// The number; `None` where it is torn or was never written.
    pub(super) fn read(&self) -> Option<u64> {
        let mut bytes = [0; LEN];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let (number, complement) = bytes.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        (complement == (!number).to_le_bytes()).then_some(number)
    }

    /// Tells whoever has the lock that this process waits for it. No more than a courtesy.
    pub(super) fn want(&self) {
        let mut note = [0; NOTE_LEN];
        let now = (now().as_nanos() as u64).to_le_bytes();
        let both = now.into_iter().chain(std::process::id().to_le_bytes());
        for (to, from) in note.iter_mut().zip(both) {
            *to = from;
        }
        let _ = self.file.write_all_at(&note, LEN as u64);
    }

    /// Whether another process waits for the lock.
    pub(super) fn is_wanted(&self) -> bool {
        let mut note = [0; NOTE_LEN];
        let read = self.file.read_exact_at(&mut note, LEN as u64);
        let Some((time, process)) = note.split_first_chunk().filter(|_| read.is_ok()) else {
            return false;
        };
        let age = now().checked_sub(Duration::from_nanos(u64::from_le_bytes(*time)));
        process != std::process::id().to_le_bytes() && age.is_some_and(|age| age < NOTE_LASTS)
    }

    /// Takes the writers' lock, or says that another process has it.
    pub(super) fn try_lock(&self) -> Result<Option<Writing<'_>>> {
        match self.file.try_lock() {
            Ok(()) => Ok(Some(Writing(self))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_trouble("lock", &self.path, &error)),
        }
    }
}

impl Writing<'_> {
    /// Writes the number. It need not be durable: it matters only while processes live.
    pub(super) fn write(&self, number: u64) -> Result<()> {
        let mut bytes = [0; LEN];
        let both = number
            .to_le_bytes()
            .into_iter()
            .chain((!number).to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(both) {
            *to = from;
        }
        self.0
            .file
            .write_all_at(&bytes, 0)
            .map_err(|error| io_trouble("write", &self.0.path, &error))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // Closing the file gives the lock back as well.
        let _ = self.0.file.unlock();
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
