#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
