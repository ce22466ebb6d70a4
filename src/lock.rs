//! Locks that survive a panic and a fork.
//!
//! The standard library's locks are one futex word each. Those with a process-wide table of waiting
//! threads would carry the dead threads of the parent into a forked child.

#[allow(unsafe_code)]
pub mod byte;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// `lock`, `read` and `write` without poisoning: what a panicking call left half done has been
/// taken out of the protected value before it ran (`operation::finish`), so it is whole.
pub trait Locked<T> {
    /// The guard.
    fn locked(&self) -> MutexGuard<'_, T>;
}

impl<T> Locked<T> for Mutex<T> {
    fn locked(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for readers and writers.
pub trait Shared<T> {
    /// Shared guard.
    fn reading(&self) -> RwLockReadGuard<'_, T>;
    /// Exclusive guard.
    fn writing(&self) -> RwLockWriteGuard<'_, T>;
}

impl<T> Shared<T> for RwLock<T> {
    fn reading(&self) -> RwLockReadGuard<'_, T> {
        self.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, T> {
        self.write().unwrap_or_else(PoisonError::into_inner)
    }
}
