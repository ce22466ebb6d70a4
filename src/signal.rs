//! The signals that a write raises beside its error: SIGXFSZ beyond `RLIMIT_FSIZE`, SIGPIPE where
//! nobody reads. What they do by default, ending the process, is not for a library to bring about.

use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ptr;

const RAISED: [libc::c_int; 2] = [libc::SIGXFSZ, libc::SIGPIPE];

/// Runs `job` with these signals kept from the thread, and tells whether one of its writes went
/// beyond `RLIMIT_FSIZE`. Three system calls; where the host blocks such a signal itself, four.
///
/// A signal that the host has blocked and that waits already stays (two of a kind are one): then
/// the answer is `false` whatever happened.
pub fn withheld<T>(job: impl FnOnce() -> T) -> (T, bool) {
    let held = Held::new();
    let done = job();
    let beyond = held.end();
    (done, beyond)
}

/// Since when they are blocked; as before when dropped.
struct Held {
    /// What is taken away at the end.
    ours: libc::sigset_t,
    before: libc::sigset_t,
    /// A mask is of a thread.
    thread: PhantomData<*const ()>,
}

impl Held {
    fn new() -> Self {
        let (mut ours, mut before) = (empty(), empty());
        // SAFETY: whole sets, and signals that there are: none of these calls can fail.
        unsafe {
            for signal in RAISED {
                libc::sigaddset(&mut ours, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &ours, &mut before);
            // One that was not blocked cannot have waited.
            if RAISED.map(|signal| libc::sigismember(&before, signal)) != [0; 2] {
                let mut waiting = empty();
                libc::sigpending(&mut waiting);
                for signal in RAISED {
                    if libc::sigismember(&waiting, signal) != 0 {
                        libc::sigdelset(&mut ours, signal);
                    }
                }
            }
        }
        Self {
            ours,
            before,
            thread: PhantomData,
        }
    }

    fn end(self) -> bool {
        let beyond = self.restore();
        mem::forget(self);
        beyond
    }

    fn restore(&self) -> bool {
        const NOW: libc::timespec = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut beyond = false;
        loop {
            // SAFETY: a whole set, no place for details, a time that outlives the call.
            match unsafe { libc::sigtimedwait(&self.ours, ptr::null_mut(), &NOW) } {
                libc::SIGXFSZ => beyond = true,
                libc::SIGPIPE => {}
                _ => break,
            }
        }
        // SAFETY: the set that the same thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
        beyond
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.restore();
    }
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset makes a whole set of the place it is given, and cannot fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}
