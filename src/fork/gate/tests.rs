#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::fork::install;
use crate::fork::tests::in_child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// The tests of the gate share its state.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_fork_waits_for_those_inside() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    install().unwrap();
    let (entered, inside) = mpsc::channel();
    let thread = thread::spawn(move || {
        let pass = enter_store().unwrap();
        entered.send(()).unwrap();
        thread::sleep(Duration::from_millis(300));
        let left = Instant::now();
        drop(pass);
        left
    });
    inside.recv().unwrap();
    in_child(|| enter_store().is_ok());
    let forked = Instant::now();
    assert!(thread.join().unwrap() < forked);
    drop(enter_store().unwrap());
}

#[test]
fn a_thread_may_enter_twice_and_fork_inside() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    let _outer = enter_store().unwrap();
    let _inner = enter_store().unwrap();
    let before = Instant::now();
    GATE.open(GATE.close(), false);
    assert!(before.elapsed() < PATIENCE);
    in_child(|| enter_store().is_ok());
}

#[test]
fn a_fork_does_not_wait_for_ever_and_the_child_is_told() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    let (entered, inside) = mpsc::channel();
    let (leave, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _pass = enter_store().unwrap();
        entered.send(()).unwrap();
        told.recv().unwrap();
    });
    inside.recv().unwrap();
    in_child(|| enter_store().is_err_and(|refusal| refusal.rv() == CKR_GENERAL_ERROR));
    leave.send(()).unwrap();
    thread.join().unwrap();
    drop(enter_store().unwrap());
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
                    drop(enter_store().unwrap());
                }
            });
        }
        // Two threads that fork at once.
        scope.spawn(|| (0..100).for_each(|_| in_child(|| enter_store().is_ok())));
        (0..100).for_each(|_| in_child(|| enter_store().is_ok()));
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_fork_waits_for_the_engine_but_does_not_lose_the_store() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    install().unwrap();
    let (entered, inside) = mpsc::channel();
    let (leave, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _pass = enter_engine();
        entered.send(()).unwrap();
        told.recv().unwrap();
    });
    inside.recv().unwrap();
    let before = Instant::now();
    in_child(|| {
        drop(enter_engine());
        enter_store().is_ok()
    });
    assert!(before.elapsed() >= PATIENCE);
    leave.send(()).unwrap();
    thread.join().unwrap();
}
