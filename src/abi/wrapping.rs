//! The parameters of wrapping mechanisms: those of encryption, and for AEAD the structures in which the
//! token gives its nonce and its tag back (6.13.3: CK_GCM_WRAP_PARAMS, CK_GCM_MESSAGE_PARAMS).

use super::input;
use super::output;
use super::parameter::{Given, LONGEST_NONCE, gcm_tag, given_mechanism, invalid, nested};
use crate::crypto::engine;
use crate::error::{Error, Result};
use crate::mechanism::Parameter;
use crate::memory;
use crate::operation::Answer;
use crate::operation::wrap::Wrapping;
use cryptoki_sys::*;
use std::ptr::null_mut;

/// Where the caller has room for what the token makes besides the wrapped key.
pub struct Back {
    /// Null where the nonce is the caller's.
    nonce: *mut CK_BYTE,
    /// Null where the tag is part of the wrapped key.
    tag: *mut CK_BYTE,
    tag_len: usize,
}

impl Back {
    const NOTHING: Self = Self {
        nonce: null_mut(),
        tag: null_mut(),
        tag_len: 0,
    };

    /// Length of the tag that does not belong to the wrapped key.
    pub fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Gives the nonce that the token made out, beside an answer that is whole.
    ///
    /// # Safety
    /// The caller's nonce is writable.
    pub unsafe fn give_nonce(&self, how: &Wrapping, answer: &Answer) -> Result<()> {
        match (&how.parameter, answer) {
            (Parameter::Gcm { iv, .. }, Answer::Bytes(_)) if !self.nonce.is_null() => {
                output::range(self.nonce, iv.len() as CK_ULONG)?;
                // SAFETY: it had this length when it was read; writable by the caller's word.
                unsafe { output::elements(iv, self.nonce) };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Gives the tag out; none with an answer that is not whole.
    ///
    /// # Safety
    /// The caller's tag is writable.
    pub unsafe fn give_tag(&self, tag: &[u8]) -> Result<()> {
        input::check_nested(self.tag, self.tag_len as CK_ULONG)?;
        // SAFETY: as long as `ulTagBits` says; writable by the caller's word.
        unsafe { output::elements(tag, self.tag) };
        Ok(())
    }
}

/// The mechanism of C_WrapKey; with `associated`, of C_WrapKeyAuthenticated.
///
/// # Safety
/// Pointer, parameter and what it points to are readable.
pub unsafe fn wrapping(
    pointer: *const CK_MECHANISM,
    associated: Option<&[u8]>,
) -> Result<(Wrapping, Back)> {
    // SAFETY: the caller's word.
    unsafe { read(pointer, associated, true) }
}

/// The mechanism of C_UnwrapKey; with `associated`, of C_UnwrapKeyAuthenticated. Its nonce is the
/// one that was given out.
///
/// # Safety
/// As [`wrapping`].
pub unsafe fn unwrapping(
    pointer: *const CK_MECHANISM,
    associated: Option<&[u8]>,
) -> Result<Wrapping> {
    // SAFETY: the caller's word.
    let (mut how, _) = unsafe { read(pointer, associated, false) }?;
    how.own_nonce |= matches!(how.parameter, Parameter::Gcm { .. });
    Ok(how)
}

/// The tag of C_UnwrapKeyAuthenticated.
///
/// # Safety
/// As [`wrapping`].
pub unsafe fn tag(pointer: *const CK_MECHANISM) -> Result<Vec<u8>> {
    // SAFETY: the caller's word.
    unsafe {
        let given: CK_GCM_MESSAGE_PARAMS = Given(input::structure(pointer)?).read()?;
        let len = gcm_tag(given.ulTagBits)?;
        nested(given.pTag, len as CK_ULONG, 16)
    }
}

/// # Safety
/// As [`wrapping`].
unsafe fn read(
    pointer: *const CK_MECHANISM,
    associated: Option<&[u8]>,
    makes: bool,
) -> Result<(Wrapping, Back)> {
    // SAFETY: the caller's word, for each arm.
    unsafe {
        let given = input::structure(pointer)?;
        let form = Given(given);
        let wraps_so = given.ulParameterLen == size_of::<CK_GCM_WRAP_PARAMS>() as CK_ULONG;
        match (given.mechanism, associated) {
            (CKM_AES_GCM, Some(associated)) => {
                let given: CK_GCM_MESSAGE_PARAMS = form.read()?;
                let nonce = Nonce {
                    pointer: given.pIv,
                    len: given.ulIvLen,
                    fixed_bits: given.ulIvFixedBits,
                    generator: given.ivGenerator,
                };
                let tag = gcm_tag(given.ulTagBits)?;
                input::check_nested(given.pTag, tag as CK_ULONG)
                    .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
                let (how, back) = nonce.gcm(memory::copy(associated)?, tag, makes)?;
                let (tag, tag_len) = (given.pTag, tag);
                Ok((
                    how,
                    Back {
                        tag,
                        tag_len,
                        ..back
                    },
                ))
            }
            (CKM_AES_GCM, None) if wraps_so => {
                let given: CK_GCM_WRAP_PARAMS = form.read()?;
                let nonce = Nonce {
                    pointer: given.pIv,
                    len: given.ulIvLen,
                    fixed_bits: given.ulIvFixedBits,
                    generator: given.ivGenerator,
                };
                let aad = nested(given.pAAD, given.ulAADLen, CK_ULONG::MAX)?;
                nonce.gcm(aad, gcm_tag(given.ulTagBits)?, makes)
            }
            (_, Some(_)) => Err(Error::new(
                CKR_MECHANISM_INVALID,
                "this mechanism wraps with no associated data: C_WrapKey",
            )),
            (_, None) => {
                let (mechanism, parameter) = given_mechanism(pointer)?;
                let how = Wrapping {
                    mechanism,
                    own_nonce: !matches!(parameter, Parameter::Gcm { .. }),
                    parameter,
                };
                Ok((how, Back::NOTHING))
            }
        }
    }
}

/// A nonce of the caller's, or room for one of the token's.
struct Nonce {
    pointer: *mut CK_BYTE,
    len: CK_ULONG,
    fixed_bits: CK_ULONG,
    generator: CK_GENERATOR_FUNCTION,
}

impl Nonce {
    /// The parameter of AES-GCM. Where the token makes a nonce, its bits after the fixed ones are
    /// random: a counter would begin anew with each call.
    ///
    /// # Safety
    /// The nonce is readable.
    unsafe fn gcm(self, aad: Vec<u8>, tag: usize, makes: bool) -> Result<(Wrapping, Back)> {
        if self.len == 0 {
            return Err(invalid("the nonce is empty"));
        }
        // SAFETY: the caller's word.
        let mut iv = unsafe { nested(self.pointer, self.len, LONGEST_NONCE) }?;
        let generated = match self.generator {
            _ if !makes => false,
            CKG_NO_GENERATE => false,
            CKG_GENERATE | CKG_GENERATE_RANDOM => true,
            _ => {
                return Err(invalid(
                    "ivGenerator is not CKG_NO_GENERATE, CKG_GENERATE or CKG_GENERATE_RANDOM",
                ));
            }
        };
        if generated {
            let fixed = usize::try_from(self.fixed_bits / 8).unwrap_or(usize::MAX);
            let free = iv.get_mut(fixed..).unwrap_or_default();
            if !self.fixed_bits.is_multiple_of(8) || free.len() < 8 {
                return Err(invalid(
                    "ulIvFixedBits leaves no whole 8 bytes of the nonce free",
                ));
            }
            engine::random(free)?;
        }
        let how = Wrapping {
            mechanism: CKM_AES_GCM,
            own_nonce: generated && self.fixed_bits == 0 && iv.len() >= 12,
            parameter: Parameter::Gcm { iv, aad, tag },
        };
        let nonce = if generated { self.pointer } else { null_mut() };
        Ok((
            how,
            Back {
                nonce,
                ..Back::NOTHING
            },
        ))
    }
}
