//! AWS-LC's memory functions (crypto/mem.c) over the arena.

use super::arena;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

static ADOPTED: AtomicBool = AtomicBool::new(false);

/// Sets the functions, once. `false` when AWS-LC refused them, because the process overrides
/// `OPENSSL_memory_alloc`.
pub(super) fn adopt() -> bool {
    if ADOPTED.load(Ordering::Acquire) {
        return true;
    }
    arena::unforked(|| {
        if ADOPTED.load(Ordering::Acquire) {
            return true;
        }
        // SAFETY: the three functions keep the contracts of malloc, realloc and free; the arena's
        // lock keeps other callers out.
        let set = unsafe {
            aws_lc_sys::CRYPTO_set_mem_functions(Some(malloc), Some(realloc), Some(free))
        } == 1;
        ADOPTED.store(set, Ordering::Release);
        set
    })
}

unsafe extern "C" fn malloc(size: usize, _file: *const c_char, _line: c_int) -> *mut c_void {
    arena::allocate(size).map_or(ptr::null_mut(), |block| block.as_ptr().cast())
}

unsafe extern "C" fn realloc(
    old: *mut c_void,
    size: usize,
    _file: *const c_char,
    _line: c_int,
) -> *mut c_void {
    // OPENSSL_realloc passes no null pointer.
    let Some(old) = NonNull::new(old.cast::<u8>()) else {
        return ptr::null_mut();
    };
    // SAFETY: AWS-LC gives back only what `malloc` and this function gave it.
    let had = unsafe { arena::len_of(old) };
    if size <= had {
        return old.as_ptr().cast();
    }
    let Some(new) = arena::allocate(size) else {
        return ptr::null_mut();
    };
    // SAFETY: the old block has `had` bytes and the new one more; they are two blocks. AWS-LC does
    // not use the old one after this.
    unsafe {
        old.copy_to_nonoverlapping(new, had);
        arena::free(old);
    }
    new.as_ptr().cast()
}

unsafe extern "C" fn free(block: *mut c_void, _file: *const c_char, _line: c_int) {
    if let Some(block) = NonNull::new(block.cast()) {
        // SAFETY: AWS-LC frees only what `malloc` and `realloc` gave it, once.
        unsafe { arena::free(block) };
    }
}
