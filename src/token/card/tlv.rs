//! Data objects of cards: BER-TLV as ISO 7816-4, 5.2.2 takes it from ISO/IEC 8825-1.
//!
//! A value is handed over as it is: some tags of PIV say "constructed" and hold what is no TLV.

use super::apdu::{Failure, Result, refuse};
use crate::error::Error;
use cryptoki_sys::CKR_DEVICE_ERROR;

/// A tag as its bytes read as a number (`0x7f49`, `0x5fc102`).
pub(super) type Tag = u32;

/// The first data object of `bytes`, and what follows it.
pub(super) fn split(bytes: &[u8]) -> Result<(Tag, &[u8], &[u8])> {
    first(bytes).ok_or_else(|| {
        Failure::from(Error::new(
            CKR_DEVICE_ERROR,
            "a data object of the card is malformed",
        ))
    })
}

fn first(bytes: &[u8]) -> Option<(Tag, &[u8], &[u8])> {
    let (&head, mut rest) = bytes.split_first()?;
    let mut tag = Tag::from(head);
    if head & 0x1f == 0x1f {
        loop {
            let (&next, after) = rest.split_first()?;
            // No application has tags of more than three bytes.
            if tag > 0xffff {
                return None;
            }
            tag = tag << 8 | Tag::from(next);
            rest = after;
            if next & 0x80 == 0 {
                break;
            }
        }
    }
    let (&short, rest) = rest.split_first()?;
    let (len, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x83 => {
            let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let len = long
                .iter()
                .fold(0, |len, &byte| len << 8 | usize::from(byte));
            (len, rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((tag, value, rest))
}

/// The value of the one object that `bytes` are, which must have this tag. Bytes after it are let
/// be: some cards fill up with zeros.
pub(super) fn value_of(bytes: &[u8], tag: Tag) -> Result<&[u8]> {
    match split(bytes)? {
        (found, value, _) if found == tag => Ok(value),
        (found, ..) => refuse!(
            CKR_DEVICE_ERROR,
            "the card sent data object {found:X} in the place of {tag:X}"
        ),
    }
}

/// The data objects that stand side by side in `bytes`.
pub(super) fn all(mut bytes: &[u8]) -> Result<Vec<(Tag, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, value, rest) = split(bytes)?;
        found.push((tag, value));
        bytes = rest;
    }
    Ok(found)
}

/// The first with a tag.
pub(super) fn find<'a>(objects: &[(Tag, &'a [u8])], tag: Tag) -> Option<&'a [u8]> {
    objects
        .iter()
        .find(|object| object.0 == tag)
        .map(|object| object.1)
}

/// Appends a data object of less than 16 MiB.
pub(super) fn push(to: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    let tag = tag.to_be_bytes();
    to.extend(tag.iter().skip_while(|byte| **byte == 0));
    let len = value.len() as u32;
    let [_, high, middle, low] = len.to_be_bytes();
    match len {
        0..=0x7f => to.push(low),
        0x80..=0xff => to.extend([0x81, low]),
        0x100..=0xffff => to.extend([0x82, middle, low]),
        _ => to.extend([0x83, high, middle, low]),
    }
    to.extend_from_slice(value);
}

/// One data object.
pub(super) fn object(tag: Tag, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 7);
    push(&mut bytes, tag, value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_pushed_is_split(tag in prop::sample::select(vec![0x53u32, 0x7e, 0x7f49, 0x5fc102]), value: Vec<u8>, after: Vec<u8>) {
            let mut bytes = object(tag, &value);
            bytes.extend(&after);
            let (found, back, rest) = split(&bytes).unwrap();
            prop_assert_eq!((found, back, rest), (tag, &value[..], &after[..]));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(objects) = all(&bytes) {
                let len: usize = objects.iter().map(|object| object.1.len()).sum();
                prop_assert!(len <= bytes.len());
            }
        }
    }

    #[test]
    fn a_long_value_comes_back() {
        for len in [0xffff, 0x10000, 0x20001] {
            let bytes = object(0x53, &vec![7; len]);
            assert_eq!(value_of(&bytes, 0x53).unwrap().len(), len);
        }
    }

    #[test]
    fn lengths_in_every_form_and_no_other() {
        for (bytes, value) in [
            (&[0x53, 1, 7][..], &[7][..]),
            (&[0x53, 0x81, 1, 7], &[7]),
            (&[0x53, 0x82, 0, 1, 7], &[7]),
            (&[0x53, 0], &[]),
        ] {
            assert_eq!(value_of(bytes, 0x53).unwrap(), value);
        }
        for wrong in [
            &[][..],
            &[0x53],
            &[0x53, 2, 7],
            &[0x53, 0x80, 0, 0],
            &[0x53, 0x84, 0, 0, 0, 1, 7],
            &[0x53, 0x83, 0xff, 0xff, 0xff, 7],
            &[0x5f, 0xff, 0xff, 0xff, 1, 0],
            &[0x54, 0],
        ] {
            assert!(value_of(wrong, 0x53).is_err(), "{wrong:x?}");
        }
    }
}
