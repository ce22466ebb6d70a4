//! Locks on single bytes of a file, held by whoever has it open: the system lets them go when a
//! process ends, however it ends.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;

/// Locks the byte at `at`, which need not exist, until `file` is closed (fcntl(2), "Open file
/// description locks"). Fails where somebody else holds it.
pub fn lock(file: &File, at: u32) -> Result<()> {
    control(file, libc::F_OFD_SETLK, &mut exclusive(at))
}

/// Whether somebody holds the byte at `at` through another opening of the file.
pub fn is_locked(file: &File, at: u32) -> Result<bool> {
    let mut found = exclusive(at);
    control(file, libc::F_OFD_GETLK, &mut found)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

fn exclusive(at: u32) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::from(at),
        l_len: 1,
        l_pid: 0,
    }
}

fn control(file: &File, command: libc::c_int, lock: &mut libc::flock) -> Result<()> {
    // SAFETY: the descriptor is open, and both commands read and write one flock.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_byte_is_held_until_its_file_is_closed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        lock(&one, 7).unwrap();
        lock(&one, 8).unwrap();
        assert!(is_locked(&other, 7).unwrap() && !is_locked(&other, 9).unwrap());
        assert!(lock(&other, 7).is_err());
        drop(one);
        assert!(!is_locked(&other, 7).unwrap());
        lock(&other, 7).unwrap();
    }
}
