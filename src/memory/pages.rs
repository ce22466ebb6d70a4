//! Pages from the kernel; those for secrets are kept out of swap and of core dumps.

use super::ballast;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the kernel refused to lock a page (`RLIMIT_MEMLOCK`), and never cleared.
static SWAPPABLE: AtomicBool = AtomicBool::new(false);

/// Whether the kernel locked every page that was asked for so far. Where it is `false` secrets
/// can reach the swap device; `RLIMIT_MEMLOCK` (`ulimit -l`) is to be raised.
pub fn locked() -> bool {
    !SWAPPABLE.load(Ordering::Relaxed)
}

/// `len` zero bytes of new pages, of no special kind. `None` when the process may have no more.
pub(super) fn reserve(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no other memory.
    let pages = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    match pages == libc::MAP_FAILED {
        true => None,
        false => NonNull::new(pages.cast()),
    }
}

/// `len` zero bytes of new pages for secrets. `None` when the process may have no more.
///
/// The pages are left to forked children, which may go on with an object that they inherited.
pub(super) fn map(len: usize) -> Option<NonNull<u8>> {
    let pages = ballast::backed(len, || reserve(len))?;
    let start = pages.as_ptr().cast();
    // SAFETY: advises on and locks the mapping made above, which is `len` bytes long.
    let refused = unsafe {
        libc::madvise(start, len, libc::MADV_DONTDUMP);
        libc::mlock(start, len) != 0
    };
    if refused {
        SWAPPABLE.store(true, Ordering::Relaxed);
    }
    Some(pages)
}

/// Locks pages again in a forked child, which does not inherit the lock (mlock(2)).
///
/// On fault, so that the child does not get a copy of every page that it never touches.
pub(super) fn relock(pages: NonNull<u8>, len: usize) {
    // SAFETY: the caller's mapping of `len` bytes; locking changes none of its content.
    if unsafe { libc::mlock2(pages.as_ptr().cast(), len, libc::MLOCK_ONFAULT) } != 0 {
        SWAPPABLE.store(true, Ordering::Relaxed);
    }
}

/// Gives pages back.
///
/// # Safety
/// `pages` and `len` are those of one call of [`reserve`] or [`map`], and nothing uses them any more.
pub(super) unsafe fn unmap(pages: NonNull<u8>, len: usize) {
    // SAFETY: by the contract above the mapping is this module's and unused.
    unsafe { libc::munmap(pages.as_ptr().cast(), len) };
}
