//! Attributes and sealed values as bytes: DER, so that one value has one form.

use crate::attribute::Attributes;
use crate::error::{Error, Result, fail};
use crate::memory;
use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED};
use der::asn1::{OctetString, OctetStringRef};
use der::{Decode, DecodeOwned, Encode, Sequence};

/// The attributes of an object. They are not a SEQUENCE each: ten thousand objects are read when a
/// process starts, and that would be most of the time it takes.
#[derive(Sequence)]
struct Body<'a> {
    /// For each attribute its type and its length, in [`ENTRY_LEN`] bytes.
    index: &'a OctetStringRef,
    /// The values, one after the other.
    values: &'a OctetStringRef,
}

/// Type and length in 4 bytes each, big-endian.
const ENTRY_LEN: usize = 8;

/// One secret value of an object, sealed for itself.
#[derive(Debug, Sequence)]
pub(super) struct Sealed {
    /// CKA_….
    pub(super) kind: CK_ATTRIBUTE_TYPE,
    /// As [`super::seal`] makes it.
    pub(super) value: OctetString,
}

/// The body of an object.
pub(super) fn encode_attributes(attributes: &Attributes) -> Result<Vec<u8>> {
    let mut index = Vec::new();
    let mut values = memory::buffer(attributes.size())?;
    for (kind, value) in attributes.iter() {
        let (Ok(kind), Ok(len)) = (u32::try_from(kind), u32::try_from(value.len())) else {
            return fail!(CKR_FUNCTION_FAILED, "an attribute is too large to store");
        };
        index.extend(kind.to_be_bytes());
        index.extend(len.to_be_bytes());
        values.extend(value);
    }
    encode(&Body {
        index: OctetStringRef::new(&index).map_err(unfit)?,
        values: OctetStringRef::new(&values).map_err(unfit)?,
    })
}

/// The attributes of a body.
pub(super) fn decode_attributes(body: &[u8]) -> Result<Attributes> {
    let body = Body::from_der(body).map_err(malformed)?;
    let (index, []) = body.index.as_bytes().as_chunks::<ENTRY_LEN>() else {
        return Err(inconsistent());
    };
    let mut rest = body.values.as_bytes();
    let mut next = |entry: &[u8; ENTRY_LEN]| {
        let (kind, len) = entry.split_first_chunk()?;
        let len = u32::from_be_bytes(*len.first_chunk()?);
        let (value, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        rest = after;
        let kind = CK_ATTRIBUTE_TYPE::from(u32::from_be_bytes(*kind));
        Some((kind, Box::from(value)))
    };
    let mut all = Vec::with_capacity(index.len());
    for entry in index {
        all.push(next(entry).ok_or_else(inconsistent)?);
    }
    if rest.is_empty() {
        Ok(all.into_iter().collect())
    } else {
        Err(inconsistent())
    }
}

/// Any of the store's records.
pub(super) fn encode<T: Encode>(record: &T) -> Result<Vec<u8>> {
    let len = usize::try_from(record.encoded_len().map_err(unfit)?).map_err(unfit)?;
    let mut der = memory::buffer(len)?;
    der.resize(len, 0);
    record.encode_to_slice(&mut der).map_err(unfit)?;
    Ok(der)
}

/// Any of the store's records.
pub(super) fn decode<T: DecodeOwned<Error = der::Error>>(bytes: &[u8]) -> Result<T> {
    T::from_der(bytes).map_err(malformed)
}

/// Bytes of a record.
pub(super) fn octets(bytes: impl Into<Box<[u8]>>) -> Result<OctetString> {
    OctetString::new(bytes).map_err(unfit)
}

fn unfit(error: der::Error) -> Error {
    Error::new(
        CKR_FUNCTION_FAILED,
        format!("too large for the store: {error}"),
    )
}

fn inconsistent() -> Error {
    malformed(der::ErrorKind::Failed.into())
}

fn malformed(error: der::Error) -> Error {
    Error::new(
        CKR_DEVICE_ERROR,
        format!("a record of the store is malformed: {error}"),
    )
}
