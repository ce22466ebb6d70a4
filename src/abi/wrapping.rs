//! The parameters of wrapping mechanisms: those of encryption, and for AEAD the structures in which the
//! token gives its nonce and its tag back (6.13.3, 6.13.5: CK_GCM_WRAP_PARAMS, CK_CCM_MESSAGE_PARAMS, …).

use super::input;
use super::output;
use super::parameter::{Given, LONGEST_NONCE, ccm_tag, gcm_tag, given_mechanism, invalid, nested};
use crate::crypto::engine;
use crate::error::{Error, Result};
use crate::mechanism::Parameter;
use crate::memory;
use crate::operation::Answer;
use crate::operation::wrap::Wrapping;
use cryptoki_sys::*;
use std::ptr::null_mut;

/// The nonce of a structure for AES-GCM; the two have it under the same names.
macro_rules! gcm_nonce {
    ($given:ident) => {
        Nonce {
            mechanism: CKM_AES_GCM,
            pointer: $given.pIv,
            len: $given.ulIvLen,
            fixed_bits: $given.ulIvFixedBits,
            generator: $given.ivGenerator,
        }
    };
}

/// The same for AES-CCM.
macro_rules! ccm_nonce {
    ($given:ident) => {
        Nonce {
            mechanism: CKM_AES_CCM,
            pointer: $given.pNonce,
            len: $given.ulNonceLen,
            fixed_bits: $given.ulNonceFixedBits,
            generator: $given.nonceGenerator,
        }
    };
}

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
        match (nonce_of(&how.parameter), answer) {
            (Some(nonce), Answer::Bytes(_)) if !self.nonce.is_null() => {
                output::range(self.nonce, nonce.len() as CK_ULONG)?;
                // SAFETY: it had this length when it was read; writable by the caller's word.
                unsafe { output::elements(nonce, self.nonce) };
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
    how.own_nonce |= nonce_of(&how.parameter).is_some();
    Ok(how)
}

/// The tag of C_UnwrapKeyAuthenticated.
///
/// # Safety
/// As [`wrapping`].
pub unsafe fn tag(pointer: *const CK_MECHANISM) -> Result<Vec<u8>> {
    // SAFETY: the caller's word.
    unsafe {
        let given = input::structure(pointer)?;
        let (tag, len) = match given.mechanism {
            CKM_AES_CCM => {
                let given: CK_CCM_MESSAGE_PARAMS = Given(given).read()?;
                (given.pMAC, ccm_tag(given.ulMACLen)?)
            }
            _ => {
                let given: CK_GCM_MESSAGE_PARAMS = Given(given).read()?;
                (given.pTag, gcm_tag(given.ulTagBits)?)
            }
        };
        nested(tag, len as CK_ULONG, 16)
    }
}

/// The nonce that a caller chooses, or the token for it.
fn nonce_of(parameter: &Parameter) -> Option<&[u8]> {
    match parameter {
        Parameter::Gcm { iv, .. } => Some(iv),
        Parameter::Ccm { nonce, .. } => Some(nonce),
        _ => None,
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
        let is = |size: usize| given.ulParameterLen == size as CK_ULONG;
        match (given.mechanism, associated) {
            (CKM_AES_GCM, Some(aad)) => {
                let given: CK_GCM_MESSAGE_PARAMS = form.read()?;
                let (nonce, made) = gcm_nonce!(given).read(makes)?;
                let tag = gcm_tag(given.ulTagBits)?;
                let back = made.back().with_tag(given.pTag, tag)?;
                Ok((made.wrapping(gcm(nonce, aad, tag)?), back))
            }
            (CKM_AES_GCM, None) if is(size_of::<CK_GCM_WRAP_PARAMS>()) => {
                let given: CK_GCM_WRAP_PARAMS = form.read()?;
                let (nonce, made) = gcm_nonce!(given).read(makes)?;
                let aad = input::nested(given.pAAD, given.ulAADLen)
                    .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
                let parameter = gcm(nonce, aad, gcm_tag(given.ulTagBits)?)?;
                Ok((made.wrapping(parameter), made.back()))
            }
            (CKM_AES_CCM, Some(aad)) => {
                let given: CK_CCM_MESSAGE_PARAMS = form.read()?;
                let (nonce, made) = ccm_nonce!(given).read(makes)?;
                let tag = ccm_tag(given.ulMACLen)?;
                let back = made.back().with_tag(given.pMAC, tag)?;
                Ok((made.wrapping(ccm(nonce, aad, tag)?), back))
            }
            (CKM_AES_CCM, None) if is(size_of::<CK_CCM_WRAP_PARAMS>()) => {
                let given: CK_CCM_WRAP_PARAMS = form.read()?;
                let (nonce, made) = ccm_nonce!(given).read(makes)?;
                let aad = input::nested(given.pAAD, given.ulAADLen)
                    .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
                let parameter = ccm(nonce, aad, ccm_tag(given.ulMACLen)?)?;
                Ok((made.wrapping(parameter), made.back()))
            }
            (_, Some(_)) => Err(Error::new(
                CKR_MECHANISM_INVALID,
                "this mechanism wraps with no associated data: C_WrapKey",
            )),
            (_, None) => {
                let (mechanism, parameter) = given_mechanism(pointer)?;
                let chosen =
                    nonce_of(&parameter).is_some() || matches!(parameter, Parameter::Iv(_));
                let how = Wrapping {
                    mechanism,
                    own_nonce: !chosen,
                    parameter,
                };
                Ok((how, Back::NOTHING))
            }
        }
    }
}

fn gcm(iv: Vec<u8>, aad: &[u8], tag: usize) -> Result<Parameter> {
    let aad = memory::copy(aad)?;
    Ok(Parameter::Gcm { iv, aad, tag })
}

/// The parameter of AES-CCM. The key itself says how long it is.
fn ccm(nonce: Vec<u8>, aad: &[u8], tag: usize) -> Result<Parameter> {
    if !(7..=13).contains(&nonce.len()) {
        return Err(invalid("ulNonceLen is not between 7 and 13"));
    }
    Ok(Parameter::Ccm {
        len: 0,
        nonce,
        aad: memory::copy(aad)?,
        tag,
    })
}

/// A nonce of the caller's, or room for one of the token's.
struct Nonce {
    mechanism: CK_MECHANISM_TYPE,
    pointer: *mut CK_BYTE,
    len: CK_ULONG,
    fixed_bits: CK_ULONG,
    generator: CK_GENERATOR_FUNCTION,
}

/// Where a nonce came from.
struct Made {
    mechanism: CK_MECHANISM_TYPE,
    /// All of it is the token's, and long enough not to come twice.
    own: bool,
    to: *mut CK_BYTE,
}

impl Made {
    fn wrapping(&self, parameter: Parameter) -> Wrapping {
        Wrapping {
            mechanism: self.mechanism,
            parameter,
            own_nonce: self.own,
        }
    }

    fn back(&self) -> Back {
        Back {
            nonce: self.to,
            ..Back::NOTHING
        }
    }
}

impl Back {
    fn with_tag(self, tag: *mut CK_BYTE, tag_len: usize) -> Result<Self> {
        input::check_nested(tag, tag_len as CK_ULONG)
            .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
        Ok(Self {
            tag,
            tag_len,
            ..self
        })
    }
}

impl Nonce {
    /// The nonce. Where the token makes it, its bits after the fixed ones are random: a counter would
    /// begin anew with each call.
    ///
    /// # Safety
    /// The nonce is readable.
    unsafe fn read(self, makes: bool) -> Result<(Vec<u8>, Made)> {
        if self.len == 0 {
            return Err(invalid("the nonce is empty"));
        }
        // SAFETY: the caller's word.
        let mut nonce = unsafe { nested(self.pointer, self.len, LONGEST_NONCE) }?;
        let generated = match self.generator {
            _ if !makes => false,
            CKG_NO_GENERATE => false,
            CKG_GENERATE | CKG_GENERATE_RANDOM => true,
            _ => {
                return Err(invalid(
                    "the generator is not CKG_NO_GENERATE, CKG_GENERATE or CKG_GENERATE_RANDOM",
                ));
            }
        };
        if generated {
            let fixed = usize::try_from(self.fixed_bits / 8).unwrap_or(usize::MAX);
            let free = nonce.get_mut(fixed..).unwrap_or_default();
            if !self.fixed_bits.is_multiple_of(8) || free.len() < 7 {
                return Err(invalid(
                    "the fixed bits leave less than 7 bytes of the nonce free",
                ));
            }
            engine::random(free)?;
        }
        let made = Made {
            mechanism: self.mechanism,
            own: generated && self.fixed_bits == 0 && nonce.len() >= 12,
            to: if generated { self.pointer } else { null_mut() },
        };
        Ok((nonce, made))
    }
}
