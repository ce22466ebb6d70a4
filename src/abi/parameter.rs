//! Reading the parameters of mechanisms: structures that point to more of the caller's memory.

use super::input;
use crate::crypto::lattice::LONGEST_CONTEXT;
use crate::crypto::{CryptScheme, Hash};
use crate::error::{Error, Result, fail};
use crate::mechanism::{self, Parameter, ParameterForm};
use crate::memory;
use cryptoki_sys::*;
use std::ffi::c_void;

mod derivation;

pub use super::wrapping::{tag, unwrapping, wrapping};
pub use derivation::additional_keys;

/// Longest OAEP label and GCM nonce; longer ones serve nobody.
const LONGEST_LABEL: CK_ULONG = 1 << 16;
pub(super) const LONGEST_NONCE: CK_ULONG = 256;

pub(super) fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(CKR_MECHANISM_PARAM_INVALID, reason)
}

/// A mechanism and its parameter, copied. `None` where the pointer is null, which from 3.0 on asks
/// to end the operation (5.9.1 ff.).
///
/// # Safety
/// Pointer, parameter and what it points to are readable.
pub unsafe fn mechanism(
    pointer: *const CK_MECHANISM,
) -> Result<Option<(CK_MECHANISM_TYPE, Parameter)>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's word.
    let given = unsafe { input::structure(pointer) }?;
    let Some(row) = mechanism::row(given.mechanism) else {
        return fail!(
            CKR_MECHANISM_INVALID,
            "mechanism {:#x} is not known",
            given.mechanism
        );
    };
    let form = Given(given);
    // SAFETY: the caller's word.
    let parameter = unsafe { form.parameter(row.parameter) }?;
    Ok(Some((given.mechanism, parameter)))
}

/// A mechanism where none is no choice.
///
/// # Safety
/// As [`mechanism`].
pub unsafe fn given_mechanism(
    pointer: *const CK_MECHANISM,
) -> Result<(CK_MECHANISM_TYPE, Parameter)> {
    // SAFETY: the caller's word.
    unsafe { mechanism(pointer) }?
        .ok_or_else(|| Error::new(CKR_ARGUMENTS_BAD, "the mechanism is null"))
}

pub(super) struct Given(pub(super) CK_MECHANISM);

impl Given {
    fn is_absent(&self) -> bool {
        self.0.pParameter.is_null() && self.0.ulParameterLen == 0
    }

    /// The parameter as the structure that it must be.
    ///
    /// # Safety
    /// The parameter is readable.
    pub(super) unsafe fn read<T: Copy>(&self) -> Result<T> {
        // SAFETY: the caller's word.
        unsafe { structure(self.0.pParameter, self.0.ulParameterLen) }
    }

    /// # Safety
    /// The parameter and what it points to are readable.
    unsafe fn parameter(&self, form: ParameterForm) -> Result<Parameter> {
        // SAFETY: the caller's word, for each arm.
        unsafe {
            match form {
                // A pointer with no length is what some clients leave there.
                ParameterForm::None if self.0.ulParameterLen == 0 => Ok(Parameter::None),
                ParameterForm::None => Err(invalid("this mechanism takes no parameter")),
                ParameterForm::Iv => Ok(Parameter::Iv(self.read::<[u8; 16]>()?.to_vec())),
                ParameterForm::Length => {
                    let len: CK_MAC_GENERAL_PARAMS = self.read()?;
                    Ok(Parameter::Length(len.try_into().unwrap_or(usize::MAX)))
                }
                ParameterForm::Ctr => {
                    let ctr: CK_AES_CTR_PARAMS = self.read()?;
                    match u32::try_from(ctr.ulCounterBits) {
                        Ok(bits @ 1..=128) => Ok(Parameter::Counter {
                            block: ctr.cb,
                            bits,
                        }),
                        _ => Err(invalid("ulCounterBits is not between 1 and 128")),
                    }
                }
                ParameterForm::Pss => pss(self.read()?),
                ParameterForm::Oaep => oaep(self.read()?),
                ParameterForm::Gcm => gcm(self.read()?),
                ParameterForm::Ccm => ccm(self.read()?),
                ParameterForm::ChaCha20Poly1305 => chacha20_poly1305(self.read()?),
                ParameterForm::WrapIv | ParameterForm::PaddedWrapIv if self.is_absent() => {
                    Ok(Parameter::None)
                }
                ParameterForm::WrapIv => Ok(Parameter::Iv(self.read::<[u8; 8]>()?.to_vec())),
                ParameterForm::PaddedWrapIv => Ok(Parameter::Iv(self.read::<[u8; 4]>()?.to_vec())),
                ParameterForm::RsaAesKeyWrap => rsa_aes(self.read()?),
                ParameterForm::EcdhAesKeyWrap => derivation::ecdh_aes(self.read()?),
                ParameterForm::EdDsa if self.is_absent() => Ok(Parameter::None),
                ParameterForm::EdDsa => eddsa(self.read()?),
                ParameterForm::SignContext if self.is_absent() => Ok(Parameter::None),
                ParameterForm::SignContext => {
                    let given: CK_SIGN_ADDITIONAL_CONTEXT = self.read()?;
                    sign_context(given.hedgeVariant, given.pContext, given.ulContextLen, None)
                }
                ParameterForm::HashSignContext => {
                    let given: CK_HASH_SIGN_ADDITIONAL_CONTEXT = self.read()?;
                    let hash = mechanism::hash_of(given.hash)
                        .ok_or_else(|| invalid("the hash function is not known"))?;
                    sign_context(
                        given.hedgeVariant,
                        given.pContext,
                        given.ulContextLen,
                        Some(hash),
                    )
                }
                ParameterForm::Ecdh => derivation::ecdh(self.read()?),
                ParameterForm::Hkdf => derivation::hkdf(self.read()?),
                ParameterForm::Sp800108 => derivation::sp800_108(self.0.mechanism, self.read()?),
                ParameterForm::Sp800108Feedback => {
                    derivation::feedback(self.0.mechanism, self.read()?)
                }
                ParameterForm::Pbkdf2 => derivation::pbkdf2(self.read()?),
                ParameterForm::StringData => derivation::string(self.read()?),
                ParameterForm::CbcData => derivation::cbc(self.read()?),
                ParameterForm::Key => Ok(Parameter::Key(self.read()?)),
                ParameterForm::Bit => {
                    let bit: CK_EXTRACT_PARAMS = self.read()?;
                    Ok(Parameter::Bit(bit.try_into().unwrap_or(usize::MAX)))
                }
            }
        }
    }
}

/// A parameter as the structure that it must be.
///
/// # Safety
/// The parameter is readable.
pub unsafe fn structure<T: Copy>(pointer: *const c_void, len: CK_ULONG) -> Result<T> {
    if len != size_of::<T>() as CK_ULONG {
        return Err(invalid(format!(
            "the parameter has {len} bytes, not {}",
            size_of::<T>()
        )));
    }
    let pointer = pointer.cast::<T>();
    // SAFETY: the caller's word; the length is that of the structure.
    input::check_nested(pointer, 1)
        .and_then(|_| unsafe { input::structure(pointer) })
        .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))
}

/// Bytes that a parameter points to.
///
/// # Safety
/// They are readable.
pub(super) unsafe fn nested(
    pointer: *const CK_BYTE,
    len: CK_ULONG,
    longest: CK_ULONG,
) -> Result<Vec<u8>> {
    if len > longest {
        return Err(invalid(format!(
            "a part of the parameter has {len} bytes, more than {longest}"
        )));
    }
    // SAFETY: the caller's word.
    let bytes = unsafe { input::nested(pointer, len) }
        .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
    memory::copy(bytes)
}

fn pss(given: CK_RSA_PKCS_PSS_PARAMS) -> Result<Parameter> {
    let hash = mechanism::hash_of(given.hashAlg).ok_or_else(|| invalid("hashAlg is not known"))?;
    let mgf = mechanism::hash_of_mgf(given.mgf).ok_or_else(|| invalid("mgf is not known"))?;
    let salt = given.sLen.try_into().unwrap_or(usize::MAX);
    Ok(Parameter::Pss { hash, mgf, salt })
}

/// Length in bytes of a key made for one use (ulAESKeyBits).
fn aes_key_len(bits: CK_ULONG) -> Result<usize> {
    match bits {
        128 | 192 | 256 => Ok(bits as usize / 8),
        _ => Err(invalid("ulAESKeyBits is not 128, 192 or 256")),
    }
}

/// # Safety
/// The parameters of OAEP and what they point to are readable.
unsafe fn rsa_aes(given: CK_RSA_AES_KEY_WRAP_PARAMS) -> Result<Parameter> {
    let len = aes_key_len(given.ulAESKeyBits)?;
    let pointer = given.pOAEPParams;
    // SAFETY: the caller's word; the structure is looked up first.
    let read = input::check_nested(pointer, 1).and_then(|_| unsafe { input::structure(pointer) });
    let read = read.map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
    // SAFETY: the caller's word.
    match unsafe { oaep(read) }? {
        Parameter::Oaep { hash, mgf, label } => Ok(Parameter::RsaAesKeyWrap {
            len,
            scheme: CryptScheme::RsaOaep { hash, mgf, label },
        }),
        _ => Err(invalid("pOAEPParams are no parameters of OAEP")),
    }
}

/// # Safety
/// The label is readable.
unsafe fn oaep(given: CK_RSA_PKCS_OAEP_PARAMS) -> Result<Parameter> {
    let hash = mechanism::hash_of(given.hashAlg).ok_or_else(|| invalid("hashAlg is not known"))?;
    let mgf = mechanism::hash_of_mgf(given.mgf).ok_or_else(|| invalid("mgf is not known"))?;
    // Source 0 with no label is what clients send that know no label (RFC 8017 A.2.1's default).
    let label = match given.source {
        // SAFETY: the caller's word.
        CKZ_DATA_SPECIFIED => unsafe {
            nested(
                given.pSourceData.cast(),
                given.ulSourceDataLen,
                LONGEST_LABEL,
            )
        }?,
        0 if given.ulSourceDataLen == 0 => Vec::new(),
        _ => return Err(invalid("source is not CKZ_DATA_SPECIFIED")),
    };
    Ok(Parameter::Oaep { hash, mgf, label })
}

/// Length of a tag in bytes (SP 800-38D 5.2.1.2); the shorter ones are for callers who can bear
/// forgeries.
pub(super) fn gcm_tag(bits: CK_ULONG) -> Result<usize> {
    match bits {
        96 | 104 | 112 | 120 | 128 => Ok(bits as usize / 8),
        _ => Err(invalid(
            "ulTagBits is not 96, 104, 112, 120 or 128 (SP 800-38D 5.2.1.2)",
        )),
    }
}

/// # Safety
/// Nonce and additional data are readable.
unsafe fn gcm(given: CK_GCM_PARAMS) -> Result<Parameter> {
    let tag = gcm_tag(given.ulTagBits)?;
    if given.ulIvLen == 0 {
        return Err(invalid("the nonce is empty"));
    }
    // SAFETY: the caller's word.
    let iv = unsafe { nested(given.pIv, given.ulIvLen, LONGEST_NONCE) }?;
    // SAFETY: the caller's word.
    let aad = unsafe { nested(given.pAAD, given.ulAADLen, CK_ULONG::MAX) }?;
    Ok(Parameter::Gcm { iv, aad, tag })
}

/// Length of a tag in bytes. SP 800-38C A.1 has them from 4 on, of which those under 96 bits can be
/// guessed: they are refused, as with GCM.
pub(super) fn ccm_tag(len: CK_ULONG) -> Result<usize> {
    match len {
        12 | 14 | 16 => Ok(len as usize),
        _ => Err(invalid("ulMACLen is not 12, 14 or 16")),
    }
}

/// Refuses a nonce of a length that AES-CCM does not take (SP 800-38C A.1).
pub(super) fn ccm_nonce(len: CK_ULONG) -> Result<()> {
    match (7..=13).contains(&len) {
        true => Ok(()),
        false => Err(invalid("ulNonceLen is not between 7 and 13")),
    }
}

/// # Safety
/// Nonce and additional data are readable.
unsafe fn ccm(given: CK_CCM_PARAMS) -> Result<Parameter> {
    let tag = ccm_tag(given.ulMACLen)?;
    ccm_nonce(given.ulNonceLen)?;
    // SAFETY: the caller's word.
    let nonce = unsafe { nested(given.pNonce, given.ulNonceLen, LONGEST_NONCE) }?;
    // SAFETY: the caller's word.
    let aad = unsafe { nested(given.pAAD, given.ulAADLen, CK_ULONG::MAX) }?;
    Ok(Parameter::Ccm {
        len: given.ulDataLen.try_into().unwrap_or(usize::MAX),
        nonce,
        aad,
        tag,
    })
}

/// Length in bytes of the nonce of ChaCha20-Poly1305 (RFC 8439). The standard counts bits, NSS and
/// others bytes; the two cannot be taken for each other.
pub(super) fn chacha20_nonce(len: CK_ULONG) -> Result<CK_ULONG> {
    match len {
        96 | 12 => Ok(12),
        _ => Err(invalid("the nonce has not 96 bits (RFC 8439)")),
    }
}

/// # Safety
/// Nonce and additional data are readable.
unsafe fn chacha20_poly1305(given: CK_SALSA20_CHACHA20_POLY1305_PARAMS) -> Result<Parameter> {
    let len = chacha20_nonce(given.ulNonceLen)?;
    // SAFETY: the caller's word.
    let nonce = unsafe { nested(given.pNonce, len, LONGEST_NONCE) }?;
    // SAFETY: the caller's word.
    let aad = unsafe { nested(given.pAAD, given.ulAADLen, CK_ULONG::MAX) }?;
    Ok(Parameter::ChaCha20Poly1305 { nonce, aad })
}

/// # Safety
/// The context is readable.
unsafe fn eddsa(given: CK_EDDSA_PARAMS) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let context = unsafe { nested(given.pContextData, given.ulContextDataLen, 255) }?;
    // RFC 8032 8.3: it would be Ed25519 by another name, and signatures that nobody else verifies.
    if context.is_empty() && given.phFlag != CK_TRUE {
        return Err(invalid(
            "the context of Ed25519ctx is empty; plain Ed25519 takes no parameter",
        ));
    }
    Ok(Parameter::EdDsa {
        prehash: given.phFlag == CK_TRUE,
        context,
    })
}

/// # Safety
/// The context is readable.
unsafe fn sign_context(
    hedge: CK_HEDGE_TYPE,
    context: *const CK_BYTE,
    len: CK_ULONG,
    hash: Option<Hash>,
) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let context = unsafe { nested(context, len, LONGEST_CONTEXT as CK_ULONG) }?;
    Ok(Parameter::SignContext {
        hedge,
        context,
        hash,
    })
}
