//! What the whole module sees of the environment: nothing where the process has gained privileges by
//! being executed (set-uid, set-gid, file capabilities), for then it is somebody else's.

use std::ffi::c_char;

unsafe extern "C" {
    fn secure_getenv(name: *const c_char) -> *mut c_char;
}

/// What every call of getenv in the shared library is linked to (`--wrap` in `src/build.rs`): SQLite,
/// the standard library, and the engine's constructor ask without looking at privileges.
///
/// # Safety
/// As getenv(3): `name` is a C string, and no other thread changes the environment.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_getenv(name: *const c_char) -> *mut c_char {
    // SAFETY: the caller's word.
    unsafe { secure_getenv(name) }
}

// Rust exports what has a name for the linker. Of all the mentions of a symbol the most hidden one
// holds (ELF gABI, "Symbol Visibility").
std::arch::global_asm!(".globl __wrap_getenv", ".hidden __wrap_getenv");
