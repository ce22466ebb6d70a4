//! AES Key Wrap: KW (RFC 3394) and KWP, with padding (RFC 5649), over an engine's AES of one block.
//!
//! The engines' libraries know the initial values of the RFCs alone; PKCS#11 leaves them to the
//! caller (CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_KWP).

use crate::error::{Error, Result, fail};
use crate::memory::{self, Secret};
use cryptoki_sys::{
    CK_RV, CKR_DATA_LEN_RANGE, CKR_MECHANISM_PARAM_INVALID, CKR_WRAPPED_KEY_INVALID,
    CKR_WRAPPED_KEY_LEN_RANGE,
};
use subtle::{Choice, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};
use zeroize::Zeroizing;

const SEMIBLOCK: usize = 8;
type Semiblock = [u8; SEMIBLOCK];

/// RFC 3394 2.2.3.1.
const IV: Semiblock = [0xa6; SEMIBLOCK];
/// RFC 5649 3, before the length.
const PREFIX: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

/// Wraps `data`, with the initial value `iv` (KW: 8 bytes, KWP: the 4 before the length) or that of
/// the RFC. `cipher` encrypts one block in place.
///
/// `CKR_DATA_LEN_RANGE` unless there are two semiblocks or more of `data` (KWP: 1 to 2^32 - 1 bytes);
/// `CKR_MECHANISM_PARAM_INVALID` for an `iv` of another length.
pub fn wrap(
    cipher: impl FnMut(&mut [u8]) -> Result<()>,
    padded: bool,
    iv: Option<&[u8]>,
    data: &[u8],
) -> Result<Vec<u8>> {
    let first = if padded {
        let Some(len) = u32::try_from(data.len()).ok().filter(|len| *len > 0) else {
            return length(CKR_DATA_LEN_RANGE, data.len());
        };
        with_length(initial(iv, PREFIX)?, len)
    } else {
        if data.len() < 2 * SEMIBLOCK || !data.len().is_multiple_of(SEMIBLOCK) {
            return length(CKR_DATA_LEN_RANGE, data.len());
        }
        initial(iv, IV)?
    };
    let len = SEMIBLOCK + data.len().next_multiple_of(SEMIBLOCK);
    let mut wrapped = memory::buffer(len)?;
    wrapped.extend_from_slice(&first);
    wrapped.extend_from_slice(data);
    wrapped.resize(len, 0);
    let (first, rest) = semiblocks(&mut wrapped)?;
    encrypt(cipher, first, rest)?;
    Ok(wrapped)
}

/// What [`wrap`] was given. `cipher` decrypts one block in place.
///
/// `CKR_WRAPPED_KEY_LEN_RANGE` for a length that no wrapped key has, `CKR_WRAPPED_KEY_INVALID` when
/// the initial value, the length or the padding is not there, with no word of which.
pub fn unwrap(
    cipher: impl FnMut(&mut [u8]) -> Result<()>,
    padded: bool,
    iv: Option<&[u8]>,
    wrapped: &[u8],
) -> Result<Secret> {
    let expected = if padded {
        with_length(initial(iv, PREFIX)?, 0)
    } else {
        initial(iv, IV)?
    };
    let shortest = if padded { 2 } else { 3 };
    if wrapped.len() < shortest * SEMIBLOCK || !wrapped.len().is_multiple_of(SEMIBLOCK) {
        return length(CKR_WRAPPED_KEY_LEN_RANGE, wrapped.len());
    }
    let mut whole = Secret::copy_of(wrapped)?;
    let (first, rest) = semiblocks(&mut whole)?;
    decrypt(cipher, first, rest)?;
    let data = rest.as_flattened();
    let (holds, len) = if padded {
        padding_holds(*first, expected, data)
    } else {
        (first.ct_eq(&expected), data.len())
    };
    match data.get(..len) {
        Some(data) if bool::from(holds) => Secret::copy_of(data),
        _ => fail!(
            CKR_WRAPPED_KEY_INVALID,
            "the wrapped key does not belong to this wrapping key, or was changed"
        ),
    }
}

/// RFC 5649 3: whether `first` is the expected prefix and a length that ends in the last semiblock of
/// `data`, after which there are zeros; and the length.
fn padding_holds(first: Semiblock, expected: Semiblock, data: &[u8]) -> (Choice, usize) {
    let [_, _, _, _, length @ ..] = first;
    let len = u32::from_be_bytes(length);
    // A longer one than 2^32 has no length that fits.
    let whole = u32::try_from(data.len()).unwrap_or(0);
    let mut holds = with_length(first, 0).ct_eq(&expected);
    holds &= len.ct_gt(&whole.saturating_sub(SEMIBLOCK as u32)) & !len.ct_gt(&whole);
    for (position, byte) in (0u32..).zip(data) {
        holds &= position.ct_lt(&len) | byte.ct_eq(&0);
    }
    (holds, len as usize)
}

/// W (SP 800-38F 6.1; RFC 3394 2.2.1), and of two semiblocks one encryption (RFC 5649 4.1).
fn encrypt(
    mut cipher: impl FnMut(&mut [u8]) -> Result<()>,
    first: &mut Semiblock,
    rest: &mut [Semiblock],
) -> Result<()> {
    if let [only] = rest {
        return on_both(&mut cipher, first, only);
    }
    let mut step = 0u64;
    for _ in 0..6 {
        for semiblock in &mut *rest {
            step += 1;
            on_both(&mut cipher, first, semiblock)?;
            count(first, step);
        }
    }
    Ok(())
}

/// The inverse of [`encrypt`] (RFC 3394 2.2.2, RFC 5649 4.2).
fn decrypt(
    mut cipher: impl FnMut(&mut [u8]) -> Result<()>,
    first: &mut Semiblock,
    rest: &mut [Semiblock],
) -> Result<()> {
    if let [only] = rest {
        return on_both(&mut cipher, first, only);
    }
    let mut step = 6 * rest.len() as u64;
    for _ in 0..6 {
        for semiblock in rest.iter_mut().rev() {
            count(first, step);
            on_both(&mut cipher, first, semiblock)?;
            step -= 1;
        }
    }
    Ok(())
}

/// One block of AES over both semiblocks.
fn on_both(
    cipher: &mut impl FnMut(&mut [u8]) -> Result<()>,
    first: &mut Semiblock,
    second: &mut Semiblock,
) -> Result<()> {
    let mut block = Zeroizing::new([*first, *second]);
    cipher(block.as_flattened_mut())?;
    [*first, *second] = *block;
    Ok(())
}

fn count(first: &mut Semiblock, step: u64) {
    *first = (u64::from_be_bytes(*first) ^ step).to_be_bytes();
}

fn semiblocks(bytes: &mut [u8]) -> Result<(&mut Semiblock, &mut [Semiblock])> {
    match bytes.as_chunks_mut::<SEMIBLOCK>().0.split_first_mut() {
        Some(parts) => Ok(parts),
        None => length(CKR_DATA_LEN_RANGE, 0),
    }
}

/// The initial value: the caller's or the RFC's.
fn initial<const LEN: usize>(iv: Option<&[u8]>, usual: [u8; LEN]) -> Result<[u8; LEN]> {
    let Some(iv) = iv else {
        return Ok(usual);
    };
    iv.try_into().map_err(|_| {
        Error::new(
            CKR_MECHANISM_PARAM_INVALID,
            format!("an initial value of {} bytes, not {LEN}", iv.len()),
        )
    })
}

/// The first four bytes of a semiblock, and a length.
fn with_length<const LEN: usize>(prefix: [u8; LEN], len: u32) -> Semiblock {
    let mut semiblock = [0; SEMIBLOCK];
    let bytes = prefix.iter().take(4).copied().chain(len.to_be_bytes());
    for (to, from) in semiblock.iter_mut().zip(bytes) {
        *to = from;
    }
    semiblock
}

fn length<T>(rv: CK_RV, len: usize) -> Result<T> {
    fail!(
        rv,
        "{len} bytes cannot be wrapped or unwrapped by AES Key Wrap"
    )
}
