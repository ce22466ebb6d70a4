//! What a fork must not cut in two: the handlers around it.
//!
//! POSIX lets a child of a process with threads call only async-signal-safe functions; callers
//! do more all the same. The child is whole if, at the instant of the fork, no other thread held
//! a lock of this library: the handlers see to that for the arenas of secret memory and, by the
//! [gate], for the global state of SQLite, of the engine and of the smart card library. They do not
//! run for vfork, posix_spawn, _Fork or a bare clone, whose children are not expected to use the
//! module; [`ForkCell`] sees these too.

mod cell;
mod gate;

pub use cell::ForkCell;
pub(crate) use cell::{address, leak, leaked};
#[cfg(feature = "aws-lc")]
pub(crate) use gate::{Pass, enter_engine};
pub(crate) use gate::{enter_readers, enter_store};

use crate::error::{Result, fail};
use crate::memory;
use cryptoki_sys::CKR_HOST_MEMORY;
use gate::{GATE, State};
use std::cell::UnsafeCell;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

static INSTALLED: AtomicBool = AtomicBool::new(false);
static HELD: Held<MutexGuard<'static, State>> = Held::new();

/// Registers the handlers, once for the process and for its children. glibc forgets them when
/// this library is unloaded. `CKR_HOST_MEMORY` when there is no memory.
pub fn install() -> Result<()> {
    // Not a `Once`: a fork during the first call would leave the child's one running for ever.
    if INSTALLED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    // SAFETY: the three functions may run in any thread that forks.
    let refused = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } != 0;
    if refused {
        INSTALLED.store(false, Ordering::Release);
        return fail!(CKR_HOST_MEMORY, "no memory for a fork handler");
    }
    Ok(())
}

/// The order is fixed: whoever is inside the gate may still need memory to come out.
extern "C" fn prepare() {
    let state = GATE.close();
    // SAFETY: the gate's lock is held, and whoever held it before has emptied the cell.
    unsafe { HELD.put(state) };
    memory::before_fork();
}

extern "C" fn parent() {
    release(false);
}

extern "C" fn child() {
    release(true);
}

fn release(in_child: bool) {
    memory::after_fork(in_child);
    // SAFETY: `prepare` took the lock on this thread, or on the one that this one is a copy of.
    if let Some(state) = unsafe { HELD.take() } {
        GATE.open(state, in_child);
    }
}

/// Keeps lock guards from the handler before a fork to the one after it.
pub(crate) struct Held<T>(UnsafeCell<Option<T>>);

// SAFETY: whoever uses the cell holds the locks whose guards it is for; see its functions. A guard
// does not change threads: the handlers of one fork run on one thread, the child's on its copy.
unsafe impl<T> Sync for Held<T> {}

impl<T> Held<T> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// # Safety
    /// The caller has the locks that the guards are of, and the cell is empty.
    pub(crate) unsafe fn put(&self, guards: T) {
        // SAFETY: by the contract above no other thread is in the cell.
        unsafe { *self.0.get() = Some(guards) };
    }

    /// # Safety
    /// The caller is the thread that called `put`, or its copy in a child.
    pub(crate) unsafe fn take(&self) -> Option<T> {
        // SAFETY: by the contract above the locks are held, so that no other thread is in the cell.
        unsafe { (*self.0.get()).take() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
