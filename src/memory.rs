//! Memory for secrets: pages that are locked, kept out of core dumps, and wiped on release. And for
//! everything else: what holds when there is none left ([`ballast`]).

mod arena;
mod ballast;
#[cfg(feature = "aws-lc")]
mod engine;
mod pages;

pub use arena::ran_out;
pub(crate) use arena::{after_fork, before_fork};
pub use ballast::{afford, ballast, pieces};
pub use pages::locked;

use crate::error::{Error, Result};
use cryptoki_sys::CKR_HOST_MEMORY;
use std::collections::TryReserveError;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

/// Gives the engine's own allocations (keys, scratch integers, random generators) this memory.
///
/// To be called before the engine is used for anything at all: it would hand blocks from before
/// to the new memory to be freed. Later calls change nothing. `false` when the engine refused,
/// because something else in the process already manages its memory.
pub fn adopt_engine() -> bool {
    #[cfg(feature = "aws-lc")]
    return engine::adopt();
    #[cfg(not(feature = "aws-lc"))]
    return true;
}

/// Room for `len` bytes that a caller or a stored object has made many. `CKR_HOST_MEMORY`.
pub fn buffer(len: usize) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(short)?;
    Ok(buffer)
}

/// A copy of such bytes. `CKR_HOST_MEMORY`.
pub fn copy(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = buffer(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// What an iterator gives, where it may be much. `CKR_HOST_MEMORY`.
pub fn gather<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut gathered = Vec::new();
    for item in items {
        gathered.try_reserve(1).map_err(short)?;
        gathered.push(item);
    }
    Ok(gathered)
}

/// `CKR_HOST_MEMORY` for a table that cannot grow.
pub fn short(_: TryReserveError) -> Error {
    Error::new(CKR_HOST_MEMORY, "there is not enough memory for this")
}

/// Bytes of a key or a PIN. Wiped when dropped; never printed.
pub struct Secret {
    bytes: NonNull<u8>,
    len: usize,
}

// SAFETY: the block belongs to this value alone, and the arena takes it back from any thread.
unsafe impl Send for Secret {}
// SAFETY: a shared Secret only lends its bytes for reading.
unsafe impl Sync for Secret {}

impl Secret {
    /// `len` zero bytes. `CKR_HOST_MEMORY` when there is no memory.
    pub fn zeroed(len: usize) -> Result<Self> {
        let secret = Self::dirty(len)?;
        // SAFETY: the block has `len` bytes.
        unsafe { secret.bytes.write_bytes(0, len) };
        Ok(secret)
    }

    /// A copy of `bytes`. `CKR_HOST_MEMORY` when there is no memory.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let secret = Self::dirty(bytes.len())?;
        // SAFETY: the block has `bytes.len()` bytes and is new, so that the two do not overlap.
        unsafe {
            secret
                .bytes
                .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        Ok(secret)
    }

    /// A block of `len` bytes, to be filled before anyone sees it.
    fn dirty(len: usize) -> Result<Self> {
        let bytes = arena::allocate(len)
            .ok_or_else(|| Error::new(CKR_HOST_MEMORY, "no memory for a secret"))?;
        Ok(Self { bytes, len })
    }
}

impl Deref for Secret {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the block has `len` bytes, filled at creation, and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for Secret {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // SAFETY: the block came from `arena::allocate` and is not used after this.
        unsafe { arena::free(self.bytes) };
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests;
