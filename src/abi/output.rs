//! Writing what a caller gets.

use super::input;
use crate::error::{Error, Result};
use crate::operation::objects::Value;
use crate::operation::{Answer, Room};
use cryptoki_sys::*;

/// Writes one value.
///
/// # Safety
/// A pointer that leads to memory is writable.
pub unsafe fn put<T>(to: *mut T, value: T) -> Result<()> {
    writable(to)?;
    // SAFETY: not null; writable by the caller's word; C callers may not align it.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Refuses a result pointer that cannot be one, before anything is done for it.
pub fn writable<T>(to: *mut T) -> Result<()> {
    // Lengths and handles are on the way of every signature; the structures are not.
    match size_of::<T>() > size_of::<CK_ULONG>() {
        true => input::check_nested(to, 1),
        false => input::check(to, 1),
    }
    .map(drop)
}

/// Refuses a range of output that cannot be there.
pub fn range(to: *mut CK_BYTE, len: CK_ULONG) -> Result<()> {
    match len {
        0 => Ok(()),
        _ => input::check(to, len).map(drop),
    }
}

/// The room for an answer (5.2).
///
/// # Safety
/// A length pointer that is not null is readable.
pub unsafe fn room(buffer: *mut CK_BYTE, len: *mut CK_ULONG) -> Result<Room> {
    // SAFETY: the caller's word.
    let given = unsafe { input::structure(len) }?;
    if buffer.is_null() {
        return Ok(Room::Query);
    }
    // A buffer of no bytes need not be anywhere, and its address may be any but null.
    range(buffer, given.min(1))?;
    Ok(Room::Bytes(usize::try_from(given).unwrap_or(usize::MAX)))
}

/// Writes an answer (5.2). It has been made already, so that input and output may overlap.
///
/// # Safety
/// Buffer and length are those of [`room`].
pub unsafe fn answer(answer: Answer, buffer: *mut CK_BYTE, len: *mut CK_ULONG) -> Result<()> {
    let (needed, result) = match &answer {
        Answer::Length(needed) => (*needed, Ok(())),
        Answer::TooSmall(needed) => (*needed, Err(too_small(*needed))),
        Answer::Bytes(bytes) => (bytes.len(), Ok(())),
    };
    if let Answer::Bytes(bytes) = &answer {
        // SAFETY: the operation made no more bytes than `room` said there is room for.
        unsafe { std::ptr::copy(bytes.as_ptr(), buffer, bytes.len()) };
    }
    // SAFETY: the caller's word.
    unsafe { put(len, needed as CK_ULONG) }?;
    result
}

fn too_small(needed: usize) -> Error {
    Error::new(
        CKR_BUFFER_TOO_SMALL,
        format!("the answer needs a buffer of {needed}"),
    )
}

/// Writes a list by the same convention, counted in elements.
///
/// # Safety
/// A count that is not null is readable and writable, and a list has room for so many.
pub unsafe fn list<T: Copy>(values: &[T], to: *mut T, count: *mut CK_ULONG) -> Result<()> {
    // SAFETY: the caller's word.
    let room = unsafe { input::structure(count) }?;
    // SAFETY: the caller's word.
    unsafe { put(count, values.len() as CK_ULONG) }?;
    if to.is_null() {
        return Ok(());
    }
    if room < values.len() as CK_ULONG {
        return Err(too_small(values.len()));
    }
    input::check_nested(to, values.len() as CK_ULONG)?;
    // SAFETY: there is room for `values.len()` elements.
    unsafe { elements(values, to) };
    Ok(())
}

/// Writes elements to an array that has been found long enough.
///
/// # Safety
/// It has room for so many, or there are none.
pub unsafe fn elements<T: Copy>(values: &[T], to: *mut T) {
    for (at, value) in values.iter().enumerate() {
        // SAFETY: the caller's word; C callers may not align it.
        unsafe { to.add(at).write_unaligned(*value) };
    }
}

/// Writes the values that C_GetAttributeValue found (5.7.5): each as far as it may be read and has
/// room; the rest is marked CK_UNAVAILABLE_INFORMATION.
///
/// # Safety
/// `template` is the caller's array of `asked`, writable, its buffers as long as they say.
pub unsafe fn values(
    template: *mut CK_ATTRIBUTE,
    asked: &[CK_ATTRIBUTE],
    found: &[Value],
) -> Result<()> {
    let mut refusal = None;
    for (at, (asked, value)) in asked.iter().zip(found).enumerate() {
        // SAFETY: the caller's word.
        let len = unsafe { one_value(asked, value) }.unwrap_or_else(|(len, refused)| {
            refusal = Some(refused);
            len
        });
        // SAFETY: the array has `asked.len()` elements; only the length is written.
        unsafe { (&raw mut (*template.add(at)).ulValueLen).write_unaligned(len) };
    }
    refusal.map_or(Ok(()), Err)
}

/// Writes one value; its length, or what stands in the place of its length, and why.
///
/// # Safety
/// The buffer is as long as it says.
unsafe fn one_value(
    asked: &CK_ATTRIBUTE,
    value: &Value,
) -> std::result::Result<CK_ULONG, (CK_ULONG, Error)> {
    let refuse = |rv, reason: &'static str| {
        let name = crate::attribute::name(asked.type_);
        let refusal = Error::new(rv, format!("{name}: {reason}"));
        Err((CK_UNAVAILABLE_INFORMATION, refusal))
    };
    let bytes: &[u8] = match value {
        Value::Bytes(bytes) => bytes,
        Value::Secret(secret) => secret,
        // SAFETY: the caller's word.
        Value::Template(inner) => return unsafe { array_value(asked, inner) },
        Value::Sensitive => return refuse(CKR_ATTRIBUTE_SENSITIVE, "may not be read"),
        Value::Unknown => return refuse(CKR_ATTRIBUTE_TYPE_INVALID, "the object does not have it"),
    };
    let len = bytes.len() as CK_ULONG;
    if asked.pValue.is_null() {
        return Ok(len);
    }
    if asked.ulValueLen < len {
        return refuse(CKR_BUFFER_TOO_SMALL, "the buffer is too small");
    }
    let buffer = asked.pValue.cast::<CK_BYTE>();
    if !bytes.is_empty() {
        input::check_nested(buffer, len).map_err(|error| (CK_UNAVAILABLE_INFORMATION, error))?;
    }
    // SAFETY: the buffer is as long as it says.
    unsafe { std::ptr::copy(bytes.as_ptr(), buffer, bytes.len()) };
    Ok(len)
}

/// The same of a template (CKF_ARRAY_ATTRIBUTE): the types are written, and each value as it would be
/// alone. A null pointer in the array asks for the length of that value.
///
/// # Safety
/// As [`one_value`]; so are the buffers that the array leads to.
unsafe fn array_value(
    asked: &CK_ATTRIBUTE,
    inner: &[(CK_ATTRIBUTE_TYPE, Value)],
) -> std::result::Result<CK_ULONG, (CK_ULONG, Error)> {
    let unavailable = |error| (CK_UNAVAILABLE_INFORMATION, error);
    let len = (inner.len() * size_of::<CK_ATTRIBUTE>()) as CK_ULONG;
    if asked.pValue.is_null() || inner.is_empty() {
        return Ok(len);
    }
    if asked.ulValueLen < len {
        return Err(unavailable(too_small(inner.len())));
    }
    let array = asked.pValue.cast::<CK_ATTRIBUTE>();
    input::check_nested(array, inner.len() as CK_ULONG).map_err(unavailable)?;
    let mut refusal = None;
    for (at, (attribute, value)) in inner.iter().enumerate() {
        // SAFETY: in the array, which is as long as it says; C callers may not align it.
        unsafe {
            let element = array.add(at);
            let mut given = element.read_unaligned();
            given.type_ = *attribute;
            given.ulValueLen = one_value(&given, value).unwrap_or_else(|(len, refused)| {
                refusal = Some(refused);
                len
            });
            element.write_unaligned(given);
        }
    }
    refusal.map_or(Ok(len), |refused| Err((len, refused)))
}

/// Text in a field that is padded with blanks, not ended by a zero (5.1.1); cut between characters.
pub fn padded<const N: usize>(text: &str) -> [CK_UTF8CHAR; N] {
    let mut field = [b' '; N];
    let end = text.floor_char_boundary(N);
    for (to, from) in field.iter_mut().zip(text.as_bytes().iter().take(end)) {
        *to = *from;
    }
    field
}
