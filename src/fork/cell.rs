//! A number that a forked child finds to be zero.

use crate::error::{Error, Result};
use cryptoki_sys::CKR_HOST_MEMORY;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// A `u64` of this process: zero at first, and zero again in every child, however it was made,
/// as long as it has its own copy of the memory (not after vfork). Reading is one load and no
/// system call where the kernel wipes pages on fork (Linux 4.14), else one getpid.
pub struct ForkCell {
    page: AtomicPtr<Page>,
}

/// The beginning of a page that the kernel wipes in a child or, where it refuses to, that says
/// whose it is.
#[derive(Debug)]
struct Page {
    value: AtomicU64,
    /// The owner's process id; 0 on a page that the kernel wipes.
    owner: AtomicU32,
}

impl ForkCell {
    /// Zero.
    pub const fn new() -> Self {
        Self {
            page: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The number; 0 if it was never set in this process.
    pub fn get(&self) -> u64 {
        self.current()
            .map_or(0, |page| page.value.load(Ordering::Acquire))
    }

    /// Sets the number for this process. `CKR_HOST_MEMORY` when there is no page.
    pub fn set(&self, value: u64) -> Result<()> {
        self.own(true)?.value.store(value, Ordering::Release);
        Ok(())
    }

    /// Sets the number to `new` if it is `current`, and tells whether it was. `CKR_HOST_MEMORY`
    /// when there is no page.
    pub fn compare_exchange(&self, current: u64, new: u64) -> Result<bool> {
        let value = &self.own(true)?.value;
        let exchanged = value.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
        Ok(exchanged.is_ok())
    }

    /// This process's page, if it has one.
    fn current(&self) -> Option<&'static Page> {
        // SAFETY: a page is whole before its address is stored here, and is never unmapped after.
        let page = unsafe { self.page.load(Ordering::Acquire).as_ref() }?;
        page.is_own().then_some(page)
    }

    /// This process's page, made now if there is none; `wiped` by the kernel if it can.
    fn own(&self, wiped: bool) -> Result<&'static Page> {
        let before = self.page.load(Ordering::Acquire);
        if let Some(page) = self.current() {
            return Ok(page);
        }
        let page = Page::map(wiped)
            .ok_or_else(|| Error::new(CKR_HOST_MEMORY, "no memory for the mark of this process"))?;
        let stored =
            self.page
                .compare_exchange(before, page.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: the page that was stored, by this thread or by a faster one of the same process,
        // stays mapped; this thread's own one, if it lost, is known to nobody else.
        unsafe {
            match stored {
                Ok(_) => Ok(page.as_ref()),
                Err(other) => {
                    libc::munmap(page.as_ptr().cast(), size_of::<Page>());
                    Ok(&*other)
                }
            }
        }
    }
}

impl Default for ForkCell {
    fn default() -> Self {
        Self::new()
    }
}

impl Page {
    /// A new page with the value 0. `None` when there is no memory.
    fn map(wiped: bool) -> Option<NonNull<Page>> {
        // SAFETY: a new anonymous mapping touches no other memory; it is zeroed, which is a valid
        // Page, and nobody else knows it yet.
        unsafe {
            let start = libc::mmap(
                ptr::null_mut(),
                size_of::<Page>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if start == libc::MAP_FAILED {
                return None;
            }
            let wiped =
                wiped && libc::madvise(start, size_of::<Page>(), libc::MADV_WIPEONFORK) == 0;
            let page = NonNull::new(start.cast::<Page>())?;
            if !wiped {
                page.as_ref()
                    .owner
                    .store(std::process::id(), Ordering::Relaxed);
            }
            Some(page)
        }
    }

    fn is_own(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner == 0 || owner == std::process::id()
    }
}

/// Moves a value to where it stays for the life of the process.
pub(crate) fn leak<T: Sync>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Where a leaked value is, for [`leaked`].
pub(crate) fn address<T: Sync>(value: &'static T) -> u64 {
    std::ptr::from_ref(value).expose_provenance() as u64
}

/// The value that [`leak`] put at an address; zero is none.
pub(crate) fn leaked<T: Sync>(address: u64) -> Option<&'static T> {
    let pointer = std::ptr::with_exposed_provenance::<T>(address as usize);
    // SAFETY: an address is zero or comes from `address`, whose value is never moved nor freed. The
    // one caller keeps addresses of one type.
    unsafe { pointer.as_ref() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::fork::tests::in_child;

    #[test]
    fn a_child_reads_zero_and_spoils_nothing() {
        for wiped in [true, false] {
            let cell = ForkCell::new();
            assert_eq!(cell.get(), 0);
            cell.own(wiped).unwrap();
            cell.set(7).unwrap();
            assert_eq!(cell.get(), 7);
            in_child(|| {
                cell.get() == 0
                    && !cell.compare_exchange(7, 8).unwrap()
                    && cell.compare_exchange(0, 9).unwrap()
                    && cell.get() == 9
            });
            assert_eq!(cell.get(), 7, "wiped by the kernel: {wiped}");
        }
    }

    #[test]
    fn one_of_many_threads_wins() {
        for _ in 0..200 {
            let cell = ForkCell::new();
            let wins = std::thread::scope(|scope| {
                let racers = [(); 4].map(|()| scope.spawn(|| cell.compare_exchange(0, 5).unwrap()));
                racers.map(|racer| usize::from(racer.join().unwrap()))
            });
            let wins: usize = wins.iter().sum();
            assert_eq!((wins, cell.get()), (1, 5));
        }
    }
}
