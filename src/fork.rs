//! What a fork must not cut in two: the handlers around it, and the gate before the store.
//!
//! POSIX lets a child of a process with threads call only async-signal-safe functions; callers
//! do more all the same. The child is whole if, at the instant of the fork, no other thread held
//! a lock of this library: the handlers see to that for the arenas of secret memory and for
//! SQLite's global state. They do not run for vfork, posix_spawn, _Fork or a bare clone, whose
//! children are not expected to use the module; [`ForkCell`] sees these too.

mod cell;

pub use cell::ForkCell;
pub(crate) use cell::{address, leak, leaked};

use crate::error::{Result, fail};
use crate::memory;
use cryptoki_sys::{CKR_GENERAL_ERROR, CKR_HOST_MEMORY};
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a fork waits for calls that are inside the gate.
const PATIENCE: Duration = Duration::from_secs(2);

static INSTALLED: AtomicBool = AtomicBool::new(false);
static GATE: Gate = Gate::new();
static HELD: Held<MutexGuard<'static, State>> = Held::new();

thread_local! {
    /// How many passes this thread holds.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

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

/// Lets the caller into code that keeps process-wide locks of its own (SQLite). Passes may be
/// held by several threads, and several by one. While a fork waits, newcomers do too.
///
/// A pass is held for one bounded call. Refused with `CKR_GENERAL_ERROR` in a child that was
/// forked while another thread was inside for longer than the fork could wait.
pub(crate) fn gate() -> Result<Pass> {
    let depth = DEPTH.get();
    let mut state = GATE.lock();
    // A thread that is inside already is one that the fork waits for.
    if depth == 0 {
        state = GATE.settled(state);
    }
    if state.torn {
        return fail!(
            CKR_GENERAL_ERROR,
            "this process was forked while another thread was using the store; exec the program \
             anew, or fork while no call is running"
        );
    }
    state.inside += 1;
    DEPTH.set(depth + 1);
    Ok(Pass(PhantomData))
}

/// A stay inside the gate; ends when dropped, on the thread that entered.
pub(crate) struct Pass(PhantomData<*const ()>);

impl Drop for Pass {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        let mut state = GATE.lock();
        state.inside = state.inside.saturating_sub(1);
        if state.forks != 0 {
            GATE.changed.notify_all();
        }
    }
}

struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Passes in use.
    inside: usize,
    /// Threads that fork or wait to.
    forks: usize,
    /// A thread that does not exist in this process was inside when it was forked.
    torn: bool,
}

impl Gate {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                inside: 0,
                forks: 0,
                torn: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no thread is forking.
    fn settled<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait_while(state, |state| state.forks != 0)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps newcomers out and waits for those inside, but not for this thread's own passes (a
    /// fork from inside a call goes on in the child with that call's locks), nor for ever.
    fn close(&self) -> MutexGuard<'_, State> {
        let own = DEPTH.get();
        let mut state = self.lock();
        state.forks += 1;
        self.changed
            .wait_timeout_while(state, PATIENCE, |state| state.inside > own)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn open(&self, mut state: MutexGuard<'_, State>, in_child: bool) {
        if in_child {
            let own = DEPTH.get();
            state.torn |= state.inside > own;
            state.inside = own;
            state.forks = 0;
        } else {
            state.forks = state.forks.saturating_sub(1);
        }
        drop(state);
        self.changed.notify_all();
    }
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
