//! Preloaded into pcscd: it looks into its slots all 20 ms rather than all 400 ms, so that tests that
//! start it, or insert and pull cards, do not wait for it most of their time.

/// PCSCLITE_STATUS_POLL_RATE and what becomes of it.
const POLL: libc::c_long = 400_000_000;
const FASTER: libc::c_long = 20_000_000;

/// `nanosleep` of the C library.
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nanosleep(
    time: *const libc::timespec,
    left: *mut libc::timespec,
) -> libc::c_int {
    let asked = unsafe { *time };
    let mut time = asked;
    if (asked.tv_sec, asked.tv_nsec) == (0, POLL) {
        time.tv_nsec = FASTER;
    }
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, left) as libc::c_int }
}
