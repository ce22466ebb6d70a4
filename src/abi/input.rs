//! Reading what a caller hands over.
//!
//! What can be checked is checked: null, the first page (a number where a pointer belongs), lengths
//! that no memory has, and ranges that are not mapped: long ones, and whatever a pointer inside a
//! structure leads to. A short argument that is not readable is not looked up: that would cost each
//! signature a system call.

use crate::attribute::{Kind, Template, kind_of, nested};
use crate::error::{Error, Result, fail};
use crate::memory;
use cryptoki_sys::*;
use std::borrow::Cow;
use std::ffi::c_void;

/// Nothing is mapped below (the kernel's default vm.mmap_min_addr).
const LOWEST_ADDRESS: usize = 65536;
/// Ranges from this length on are looked up in the memory map before they are read.
const SUSPICIOUS: usize = 4096;
/// More attributes than any class has several times over.
const MOST_ATTRIBUTES: usize = 1024;

/// A range that the caller named, checked as far as it goes.
pub fn check<T>(pointer: *const T, count: CK_ULONG) -> Result<usize> {
    check_from(SUSPICIOUS, pointer, count)
}

/// The same for what a pointer inside a structure leads to, of any length.
pub fn check_nested<T>(pointer: *const T, count: CK_ULONG) -> Result<usize> {
    check_from(0, pointer, count)
}

fn check_from<T>(suspicious: usize, pointer: *const T, count: CK_ULONG) -> Result<usize> {
    let bad = |reason: &'static str| Err(Error::new(CKR_ARGUMENTS_BAD, reason));
    if pointer.addr() < LOWEST_ADDRESS {
        return bad("a pointer is null or no pointer");
    }
    let len = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(size_of::<T>()))
        .filter(|len| isize::try_from(*len).is_ok())
        .filter(|len| pointer.addr().checked_add(*len).is_some());
    match len {
        None => bad("a length is longer than memory"),
        Some(len) if len >= suspicious && !is_mapped(pointer.addr(), len) => {
            bad("a length reaches beyond the memory that is there")
        }
        Some(_) => Ok(count as usize),
    }
}

/// Whether every page of a range is mapped: msync(2) with MS_ASYNC does nothing (Linux 2.6.19 on)
/// but answers ENOMEM for a range with holes.
fn is_mapped(address: usize, len: usize) -> bool {
    let page = 4096;
    let start = address - address % page;
    let pointer = std::ptr::without_provenance_mut::<c_void>(start);
    // SAFETY: msync with MS_ASYNC reads and writes no memory.
    let done = unsafe { libc::msync(pointer, len + (address - start), libc::MS_ASYNC) };
    done == 0
}

/// A range of bytes. Null with length zero is an empty one (5.2).
///
/// # Safety
/// The range is readable while the result lives.
pub unsafe fn bytes<'a>(pointer: *const CK_BYTE, len: CK_ULONG) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    let len = check(pointer, len)?;
    // SAFETY: not null, no longer than isize::MAX; readable by the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A range of bytes that a pointer inside a structure leads to.
///
/// # Safety
/// As [`bytes`].
pub unsafe fn nested<'a>(pointer: *const CK_BYTE, len: CK_ULONG) -> Result<&'a [u8]> {
    if len > 0 {
        check_nested(pointer, len)?;
    }
    // SAFETY: the caller's word.
    unsafe { bytes(pointer, len) }
}

/// A PIN: null is none.
///
/// # Safety
/// As [`bytes`].
pub unsafe fn pin<'a>(pointer: *const CK_UTF8CHAR, len: CK_ULONG) -> Result<Option<&'a [u8]>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's word.
    unsafe { bytes(pointer, len) }.map(Some)
}

/// A PIN that must be there.
///
/// # Safety
/// As [`bytes`].
pub unsafe fn given_pin<'a>(pointer: *const CK_UTF8CHAR, len: CK_ULONG) -> Result<&'a [u8]> {
    // SAFETY: the caller's word.
    unsafe { pin(pointer, len) }?.ok_or_else(|| Error::new(CKR_ARGUMENTS_BAD, "the PIN is null"))
}

/// One structure of the caller's, copied.
///
/// # Safety
/// It is readable.
pub unsafe fn structure<T: Copy>(pointer: *const T) -> Result<T> {
    // A mechanism and a length are on the way of every signature; the larger structures are not.
    match size_of::<T>() > size_of::<CK_MECHANISM>() {
        true => check_nested(pointer, 1)?,
        false => check(pointer, 1)?,
    };
    // SAFETY: not null; readable by the caller's word; C callers may not align it.
    Ok(unsafe { pointer.read_unaligned() })
}

/// The attributes of a template as they stand, of which there may be so many `more`.
///
/// # Safety
/// The array is readable.
unsafe fn attributes(
    more: &mut usize,
    pointer: *const CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Result<Vec<CK_ATTRIBUTE>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = check_nested(pointer, count)?;
    let Some(rest) = more.checked_sub(count) else {
        return fail!(
            CKR_ARGUMENTS_BAD,
            "a template of more than {MOST_ATTRIBUTES} attributes is longer than any object"
        );
    };
    *more = rest;
    // SAFETY: in the array by the check and the caller's word.
    Ok((0..count)
        .map(|at| unsafe { pointer.add(at).read_unaligned() })
        .collect())
}

/// A template with values.
///
/// # Safety
/// The array, its values and the templates in it are readable while the result lives.
pub unsafe fn template<'a>(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template<'a>> {
    // SAFETY: the caller's word.
    unsafe { template_in(0, &mut { MOST_ATTRIBUTES }, pointer, count) }
}

/// A template that stands in so many others. All of them share the `more` attributes: templates that lead
/// to one array over and over would otherwise be read for hours.
///
/// # Safety
/// As [`template`].
unsafe fn template_in<'a>(
    depth: usize,
    more: &mut usize,
    pointer: *const CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Result<Template<'a>> {
    // SAFETY: the caller's word.
    let attributes = unsafe { attributes(more, pointer, count) }?;
    let pairs = attributes
        .iter()
        .map(|attribute| {
            let kind = kind_of(attribute.type_);
            if kind == Some(Kind::Template) {
                // SAFETY: the caller's word.
                let inner = unsafe { inner_template(depth + 1, more, attribute) }?;
                return Ok((attribute.type_, Cow::Owned(nested::encode(&inner)?)));
            }
            // SAFETY: the caller's word.
            let value = unsafe { self::nested(attribute.pValue.cast(), attribute.ulValueLen) };
            let value = value.map_err(|error| error.with_rv(CKR_ATTRIBUTE_VALUE_INVALID))?;
            // Another thread may change the caller's memory after the rules were asked: byte arrays alone
            // decide nothing.
            let value = match kind {
                Some(Kind::Bytes) | None => Cow::Borrowed(value),
                _ => Cow::Owned(memory::copy(value)?),
            };
            Ok((attribute.type_, value))
        })
        .collect::<Result<_>>()?;
    Template::of(pairs)
}

/// The template that an attribute is. `CKR_ATTRIBUTE_VALUE_INVALID`.
///
/// # Safety
/// As [`template`].
unsafe fn inner_template<'a>(
    depth: usize,
    more: &mut usize,
    attribute: &CK_ATTRIBUTE,
) -> Result<Template<'a>> {
    let size = size_of::<CK_ATTRIBUTE>() as CK_ULONG;
    if depth > nested::DEEPEST || !attribute.ulValueLen.is_multiple_of(size) {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "{} is no array of CK_ATTRIBUTE, or stands too deep in others",
            crate::attribute::name(attribute.type_)
        );
    }
    // SAFETY: the caller's word.
    unsafe {
        template_in(
            depth,
            more,
            attribute.pValue.cast(),
            attribute.ulValueLen / size,
        )
    }
    .map_err(|error| match error.rv() {
        CKR_ARGUMENTS_BAD => error.with_rv(CKR_ATTRIBUTE_VALUE_INVALID),
        _ => error,
    })
}

/// A template that asks for values: the attributes with the caller's buffers.
///
/// # Safety
/// The array is readable.
pub unsafe fn query(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Vec<CK_ATTRIBUTE>> {
    if count == 0 {
        return fail!(CKR_ARGUMENTS_BAD, "no attribute is asked for");
    }
    // SAFETY: the caller's word.
    unsafe { attributes(&mut { MOST_ATTRIBUTES }, pointer, count) }
}

/// A string that ends with a zero byte, when every byte up to there is readable; at most 4 KiB.
/// Callers put numbers where a string belongs (pReserved of C_Initialize).
pub fn string(pointer: *const u8) -> Result<String> {
    let bad = || {
        Error::new(
            CKR_ARGUMENTS_BAD,
            "this is no readable UTF-8 string that ends with a zero byte",
        )
    };
    let mut text = Vec::new();
    let page = 64;
    loop {
        let address = pointer.wrapping_add(text.len());
        let mut piece = [0u8; 64];
        // Never across a 64-byte line, so never into a page that the string does not reach.
        let len = page - address.addr() % page;
        let local = libc::iovec {
            iov_base: piece.as_mut_ptr().cast(),
            iov_len: len,
        };
        let remote = libc::iovec {
            iov_base: address.cast_mut().cast(),
            iov_len: len,
        };
        // SAFETY: the kernel checks the remote range and writes at most `len` bytes of `piece`.
        let read = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
        let read = usize::try_from(read).map_err(|_| bad())?;
        let piece = piece.get(..read).ok_or_else(bad)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(piece.get(..end).unwrap_or_default());
            return String::from_utf8(text).map_err(|_| bad());
        }
        text.extend_from_slice(piece);
        if piece.is_empty() || text.len() > 4096 {
            return Err(bad());
        }
    }
}
