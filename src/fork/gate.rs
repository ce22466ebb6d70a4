//! The gate before code with process-wide locks of its own: a fork waits until nobody is inside.

use crate::error::{Result, fail};
use cryptoki_sys::CKR_GENERAL_ERROR;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a fork waits for those who are inside.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

pub(super) static GATE: Gate = Gate::new();

thread_local! {
    /// The passes that this thread holds.
    static OWN: Cell<Stays> = const { Cell::new(Stays::NONE) };
}

/// Lets the caller into SQLite for one bounded call. Passes may be held by several threads, and
/// several by one. While a fork waits, newcomers do too.
///
/// Refused with `CKR_GENERAL_ERROR` in a child that was forked while another thread was inside for
/// longer than the fork could wait: SQLite's state is then of no use.
pub(crate) fn enter_store() -> Result<Pass> {
    let state = GATE.enter();
    if state.torn {
        return fail!(
            CKR_GENERAL_ERROR,
            "this process was forked while another thread was using the store; exec the program \
             anew, or fork while no call is running"
        );
    }
    Ok(Pass::take(state, Place::Store))
}

/// The same for what draws random numbers in the engine. AWS-LC asks under locks of its own, for
/// every number, whether it was forked; a child would find such a lock taken by a thread that it
/// does not have. A fork that cannot wait for the end (of a long key generation) hits the instant of
/// such a lock hardly ever, and is let through.
#[cfg_attr(not(feature = "aws-lc"), allow(dead_code))]
pub(crate) fn enter_engine() -> Pass {
    Pass::take(GATE.enter(), Place::Engine)
}

/// The same for short calls of the smart card library, which has locks of its own too. What waits for
/// a card or a person is not to be inside.
pub(crate) fn enter_readers() -> Pass {
    Pass::take(GATE.enter(), Place::Readers)
}

/// A stay inside the gate; ends when dropped, on the thread that entered.
pub(crate) struct Pass(Place, PhantomData<*const ()>);

impl Pass {
    fn take(mut state: MutexGuard<'_, State>, place: Place) -> Self {
        *state.inside.at(place) += 1;
        let mut own = OWN.get();
        *own.at(place) += 1;
        OWN.set(own);
        Self(place, PhantomData)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut own = OWN.get();
        own.leave(self.0);
        OWN.set(own);
        let mut state = GATE.lock();
        state.inside.leave(self.0);
        if state.forks != 0 {
            GATE.changed.notify_all();
        }
    }
}

#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "aws-lc"), allow(dead_code))]
enum Place {
    Store,
    Engine,
    Readers,
}

/// Passes in use, by place.
#[derive(Clone, Copy)]
struct Stays {
    store: usize,
    engine: usize,
    readers: usize,
}

impl Stays {
    const NONE: Self = Self {
        store: 0,
        engine: 0,
        readers: 0,
    };

    fn at(&mut self, place: Place) -> &mut usize {
        match place {
            Place::Store => &mut self.store,
            Place::Engine => &mut self.engine,
            Place::Readers => &mut self.readers,
        }
    }

    fn leave(&mut self, place: Place) {
        let stays = self.at(place);
        *stays = stays.saturating_sub(1);
    }

    fn all(self) -> usize {
        self.store + self.engine + self.readers
    }
}

pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) struct State {
    inside: Stays,
    /// Threads that fork or wait to.
    forks: usize,
    /// A thread that does not exist in this process was in the store when it was forked.
    torn: bool,
}

impl Gate {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                inside: Stays::NONE,
                forks: 0,
                torn: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no thread is forking; not where this thread is inside already, for that is what
    /// the fork waits for.
    fn enter(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        if OWN.get().all() > 0 {
            return state;
        }
        self.changed
            .wait_while(state, |state| state.forks != 0)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps newcomers out and waits for those inside, but not for this thread's own passes (a
    /// fork from inside a call goes on in the child with that call's locks), nor for ever.
    pub(super) fn close(&self) -> MutexGuard<'_, State> {
        let own = OWN.get().all();
        let mut state = self.lock();
        state.forks += 1;
        self.changed
            .wait_timeout_while(state, PATIENCE, |state| state.inside.all() > own)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    pub(super) fn open(&self, mut state: MutexGuard<'_, State>, in_child: bool) {
        if in_child {
            let own = OWN.get();
            state.torn |= state.inside.store > own.store;
            state.inside = own;
            state.forks = 0;
        } else {
            state.forks = state.forks.saturating_sub(1);
        }
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
