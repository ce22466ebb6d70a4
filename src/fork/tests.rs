#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Runs `check` in a forked child, where it must come true within 20 seconds.
pub(crate) fn in_child(check: impl FnOnce() -> bool) {
    // SAFETY: the child runs `check` and ends without unwinding into the test harness.
    let status = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(20);
            let check = std::panic::AssertUnwindSafe(check);
            let held = std::panic::catch_unwind(check).unwrap_or(false);
            libc::_exit(if held { 0 } else { 1 });
        }
        assert!(pid > 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        status
    };
    assert_eq!(status, 0, "the child failed or hung (wait status)");
}

/// The tests of the gate share its state.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_fork_waits_for_those_inside() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    install().unwrap();
    let (entered, inside) = mpsc::channel();
    let thread = thread::spawn(move || {
        let pass = gate().unwrap();
        entered.send(()).unwrap();
        thread::sleep(Duration::from_millis(300));
        let left = Instant::now();
        drop(pass);
        left
    });
    inside.recv().unwrap();
    in_child(|| gate().is_ok());
    let forked = Instant::now();
    assert!(thread.join().unwrap() < forked);
    drop(gate().unwrap());
}

#[test]
fn a_thread_may_enter_twice_and_fork_inside() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    let _outer = gate().unwrap();
    let _inner = gate().unwrap();
    let before = Instant::now();
    GATE.open(GATE.close(), false);
    assert!(before.elapsed() < PATIENCE);
    in_child(|| gate().is_ok());
}

#[test]
fn a_fork_does_not_wait_for_ever_and_the_child_is_told() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    let (entered, inside) = mpsc::channel();
    let (leave, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _pass = gate().unwrap();
        entered.send(()).unwrap();
        told.recv().unwrap();
    });
    inside.recv().unwrap();
    in_child(|| gate().is_err_and(|refusal| refusal.rv() == CKR_GENERAL_ERROR));
    leave.send(()).unwrap();
    thread.join().unwrap();
    drop(gate().unwrap());
}

#[test]
fn children_of_busy_threads_pass_the_gate() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(gate().unwrap());
                }
            });
        }
        // Two threads that fork at once.
        scope.spawn(|| (0..100).for_each(|_| in_child(|| gate().is_ok())));
        (0..100).for_each(|_| in_child(|| gate().is_ok()));
        stop.store(true, Ordering::Relaxed);
    });
}
