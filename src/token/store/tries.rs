//! Which tries of a PIN are under way: each holds a lock on a byte of the stamp, which the system
//! lets go when the process is done with the try or dies of it.

use super::files::Files;
use super::stamp::Stamp;
use crate::error::Result;
use crate::lock::byte;

/// The bytes behind what is written in the stamp.
const FIRST: u32 = 1 << 16;
/// How many tries, one after the other, have a byte of their own.
const BYTES: u64 = 1 << 30;

/// One opening of the stamp; the tries that it holds end when it is dropped.
pub(super) struct Tries(Stamp);

impl Tries {
    /// Of a store that is there.
    pub(super) fn open(files: &Files) -> Result<Self> {
        Stamp::open_or_create(files).map(Self)
    }

    /// Marks a try as under way. On a file system without such locks the try's age has to do.
    pub(super) fn hold(&self, number: u64) {
        let _ = byte::lock(&self.0.file, at(number));
    }

    /// Whether somebody else's try is still under way. Where the system cannot tell, it is.
    pub(super) fn holds(&self, number: u64) -> bool {
        byte::is_locked(&self.0.file, at(number)).unwrap_or(true)
    }
}

fn at(number: u64) -> u32 {
    FIRST + (number % BYTES) as u32
}
