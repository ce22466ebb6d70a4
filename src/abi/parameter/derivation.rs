//! Parameters of derivations.

use super::{Given, aes_key_len, invalid, nested};
use crate::abi::input;
use crate::attribute::Template;
use crate::crypto::kdf::{EcKdf, Format};
use crate::error::Result;
use crate::mechanism::{self, Parameter, ParameterForm, Password, PrfField, Salt};
use cryptoki_sys::*;
use zeroize::Zeroizing;

/// Longest input of a derivation; what is longer is no label, context, password or data for a key.
const LONGEST: CK_ULONG = 1 << 16;
/// Longest encoding of a public key.
const LONGEST_POINT: CK_ULONG = 256;
/// Most parts of the input, and most keys besides the first.
const MOST_PARTS: CK_ULONG = 64;
/// Most iterations of PBKDF2: a minute of one core. More would hang the program.
const MOST_ITERATIONS: CK_ULONG = 10_000_000;
/// Nothing is mapped below, so that a password's length is no pointer.
const LOWEST_ADDRESS: CK_ULONG = 1 << 16;

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn ecdh(given: CK_ECDH1_DERIVE_PARAMS) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let (kdf, shared) =
        unsafe { kdf_and_shared(given.kdf, given.pSharedData, given.ulSharedDataLen) }?;
    // SAFETY: the caller's word.
    let peer = unsafe { nested(given.pPublicData, given.ulPublicDataLen, LONGEST_POINT) }?;
    Ok(Parameter::Ecdh { kdf, shared, peer })
}

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn ecdh_aes(given: CK_ECDH_AES_KEY_WRAP_PARAMS) -> Result<Parameter> {
    let len = aes_key_len(given.ulAESKeyBits)?;
    // SAFETY: the caller's word.
    let (kdf, shared) =
        unsafe { kdf_and_shared(given.kdf, given.pSharedData, given.ulSharedDataLen) }?;
    Ok(Parameter::EcdhAesKeyWrap { len, kdf, shared })
}

/// # Safety
/// The shared data are readable.
unsafe fn kdf_and_shared(
    kdf: CK_EC_KDF_TYPE,
    shared: *const CK_BYTE,
    len: CK_ULONG,
) -> Result<(EcKdf, Vec<u8>)> {
    let kdf = mechanism::ec_kdf_of(kdf).ok_or_else(|| invalid("kdf is not known"))?;
    if kdf == EcKdf::Null && len != 0 {
        return Err(invalid("CKD_NULL takes no shared data"));
    }
    // SAFETY: the caller's word.
    Ok((kdf, unsafe { nested(shared, len, LONGEST) }?))
}

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn hkdf(given: CK_HKDF_PARAMS) -> Result<Parameter> {
    let hash = mechanism::hash_of(given.prfHashMechanism)
        .ok_or_else(|| invalid("prfHashMechanism is not known"))?;
    let (extracts, expands) = (given.bExtract != CK_FALSE, given.bExpand != CK_FALSE);
    if !extracts && !expands {
        return Err(invalid("neither bExtract nor bExpand is true"));
    }
    let salt = match given.ulSaltType {
        _ if !extracts => None,
        CKF_HKDF_SALT_NULL => Some(Salt::Bytes(Vec::new())),
        // SAFETY: the caller's word.
        CKF_HKDF_SALT_DATA => Some(Salt::Bytes(unsafe {
            nested(given.pSalt, given.ulSaltLen, LONGEST)
        }?)),
        CKF_HKDF_SALT_KEY => Some(Salt::Key(given.hSaltKey)),
        _ => return Err(invalid("ulSaltType is not known")),
    };
    let info = match expands {
        // SAFETY: the caller's word.
        true => Some(unsafe { nested(given.pInfo, given.ulInfoLen, LONGEST) }?),
        false => None,
    };
    Ok(Parameter::Hkdf {
        extract: salt,
        expand: info,
        hash,
    })
}

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn sp800_108(
    kind: CK_MECHANISM_TYPE,
    given: CK_SP800_108_KDF_PARAMS,
) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let fields = unsafe { fields(kind, given.pDataParams, given.ulNumberOfDataParams) }?;
    Ok(Parameter::Sp800108 {
        prf: given.prfType,
        fields,
        iv: Vec::new(),
    })
}

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn feedback(
    kind: CK_MECHANISM_TYPE,
    given: CK_SP800_108_FEEDBACK_KDF_PARAMS,
) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let fields = unsafe { fields(kind, given.pDataParams, given.ulNumberOfDataParams) }?;
    // SAFETY: the caller's word.
    let iv = unsafe { nested(given.pIV, given.ulIVLen, LONGEST) }?;
    Ok(Parameter::Sp800108 {
        prf: given.prfType,
        fields,
        iv,
    })
}

/// An array that a parameter points to, element by element.
///
/// # Safety
/// It is readable.
unsafe fn array<T: Copy>(pointer: *const T, count: CK_ULONG) -> Result<Vec<T>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MOST_PARTS {
        return Err(invalid(format!(
            "a part of the parameter has {count} elements, more than {MOST_PARTS}"
        )));
    }
    input::check_nested(pointer, count)
        .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
    // SAFETY: in the array by the check and the caller's word; C callers may not align it.
    Ok((0..count as usize)
        .map(|at| unsafe { pointer.add(at).read_unaligned() })
        .collect())
}

/// The structure that a part of the input points to.
///
/// # Safety
/// It is readable.
unsafe fn value<T: Copy>(part: &CK_PRF_DATA_PARAM) -> Result<T> {
    if part.ulValueLen != size_of::<T>() as CK_ULONG {
        return Err(invalid(format!(
            "a value of the parameter has {} bytes, not {}",
            part.ulValueLen,
            size_of::<T>()
        )));
    }
    // SAFETY: the caller's word.
    let mut read = unsafe { array(part.pValue.cast_const().cast::<T>(), 1) }?;
    read.pop()
        .ok_or_else(|| invalid("a value of the parameter is missing"))
}

/// What the input of the pseudorandom function is composed of, by the rules of each mode (6.42.3 to
/// 6.42.5): one iteration variable; at most one counter, none in counter mode; at most one length.
///
/// # Safety
/// The array and what it points to are readable.
unsafe fn fields(
    kind: CK_MECHANISM_TYPE,
    pointer: *const CK_PRF_DATA_PARAM,
    count: CK_ULONG,
) -> Result<Vec<PrfField>> {
    let counts = kind == CKM_SP800_108_COUNTER_KDF;
    // SAFETY: the caller's word.
    let parts = unsafe { array(pointer, count) }?;
    let of = |kind| parts.iter().filter(|part| part.type_ == kind).count();
    if of(CK_SP800_108_ITERATION_VARIABLE) != 1 {
        return Err(invalid("there is to be one iteration variable"));
    }
    if of(CK_SP800_108_COUNTER) > usize::from(!counts) {
        return Err(invalid("there are too many counters for this mode"));
    }
    if of(CK_SP800_108_DKM_LENGTH) > 1 {
        return Err(invalid("there is more than one length"));
    }
    // It is taken in for each segment anew.
    let bytes = parts
        .iter()
        .filter(|part| part.type_ == CK_SP800_108_BYTE_ARRAY)
        .fold(0, |sum: CK_ULONG, part| sum.saturating_add(part.ulValueLen));
    if bytes > LONGEST {
        return Err(invalid(format!(
            "the input has {bytes} bytes, more than {LONGEST}"
        )));
    }
    parts
        .iter()
        .map(|part| {
            // SAFETY: the caller's word, for each arm.
            unsafe {
                Ok(match part.type_ {
                    CK_SP800_108_ITERATION_VARIABLE if counts => {
                        PrfField::Iteration(Some(counter(value(part)?)?))
                    }
                    CK_SP800_108_ITERATION_VARIABLE if part.ulValueLen == 0 => {
                        PrfField::Iteration(None)
                    }
                    CK_SP800_108_ITERATION_VARIABLE => {
                        return Err(invalid("the iteration variable of this mode has no form"));
                    }
                    CK_SP800_108_COUNTER => PrfField::Counter(counter(value(part)?)?),
                    CK_SP800_108_DKM_LENGTH => {
                        let given: CK_SP800_108_DKM_LENGTH_FORMAT = value(part)?;
                        let of_segments = match given.dkmLengthMethod {
                            CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS => false,
                            CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS => true,
                            _ => return Err(invalid("dkmLengthMethod is not known")),
                        };
                        PrfField::Length {
                            of_segments,
                            format: format(given.bLittleEndian, given.ulWidthInBits, 64)?,
                        }
                    }
                    CK_SP800_108_BYTE_ARRAY if part.ulValueLen > 0 => {
                        PrfField::Bytes(nested(part.pValue.cast(), part.ulValueLen, LONGEST)?)
                    }
                    CK_SP800_108_KEY_HANDLE => PrfField::Key(value(part)?),
                    _ => return Err(invalid("a part of the input is not known, or is empty")),
                })
            }
        })
        .collect()
}

/// A counter has at most 32 bits (SP 800-108 4).
fn counter(given: CK_SP800_108_COUNTER_FORMAT) -> Result<Format> {
    format(given.bLittleEndian, given.ulWidthInBits, 32)
}

fn format(little_endian: CK_BBOOL, bits: CK_ULONG, most: CK_ULONG) -> Result<Format> {
    if bits == 0 || bits > most || !bits.is_multiple_of(8) {
        return Err(invalid(format!(
            "ulWidthInBits is {bits}, not whole bytes of at most {most} bits"
        )));
    }
    Ok(Format {
        little_endian: little_endian != CK_FALSE,
        len: bits as usize / 8,
    })
}

/// The older structure points to the length of the password, the newer one holds it; both are of one
/// size (6.37.4 and the errata of 2.40). A length is below every address.
///
/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn pbkdf2(given: CK_PKCS5_PBKD2_PARAMS2) -> Result<Parameter> {
    if given.saltSource != CKZ_SALT_SPECIFIED {
        return Err(invalid("saltSource is not CKZ_SALT_SPECIFIED"));
    }
    if given.ulPrfDataLen != 0 {
        return Err(invalid("the functions of PBKDF2 here take no pPrfData"));
    }
    let hash = mechanism::pbkdf2_hash_of(given.prf).ok_or_else(|| invalid("prf is not known"))?;
    let iterations = match u32::try_from(given.iterations) {
        Ok(iterations) if (1..=MOST_ITERATIONS).contains(&given.iterations) => iterations,
        _ => {
            return Err(invalid(format!(
                "iterations is not between 1 and {MOST_ITERATIONS}"
            )));
        }
    };
    let mut len = given.ulPasswordLen;
    if len >= LOWEST_ADDRESS {
        let pointer = std::ptr::without_provenance::<CK_ULONG>(len as usize);
        // SAFETY: the caller's word, where this is the older structure; the check, where it is not.
        len = unsafe { array(pointer, 1) }?.pop().unwrap_or(CK_ULONG::MAX);
    }
    // SAFETY: the caller's word.
    let password = Zeroizing::new(unsafe { nested(given.pPassword, len, LONGEST) }?);
    // SAFETY: the caller's word.
    let salt = unsafe {
        nested(
            given.pSaltSourceData.cast(),
            given.ulSaltSourceDataLen,
            LONGEST,
        )
    }?;
    Ok(Parameter::Pbkdf2 {
        hash,
        password: Password(password),
        salt,
        iterations,
    })
}

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn string(given: CK_KEY_DERIVATION_STRING_DATA) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let data = unsafe { nested(given.pData, given.ulLen, LONGEST) }?;
    Ok(Parameter::Data {
        iv: Vec::new(),
        data,
    })
}

/// # Safety
/// What the structure points to is readable.
pub(super) unsafe fn cbc(given: CK_AES_CBC_ENCRYPT_DATA_PARAMS) -> Result<Parameter> {
    // SAFETY: the caller's word.
    let data = unsafe { nested(given.pData, given.length, LONGEST) }?;
    Ok(Parameter::Data {
        iv: given.iv.to_vec(),
        data,
    })
}

/// The templates of the keys that SP 800-108 makes besides the first (6.42.6), and where their
/// handles go.
///
/// # Safety
/// The mechanism, its parameter and what that points to are readable while the result lives.
pub unsafe fn additional_keys<'a>(
    pointer: *const CK_MECHANISM,
) -> Result<Vec<(Template<'a>, *mut CK_OBJECT_HANDLE)>> {
    // SAFETY: the caller's word.
    let given = Given(unsafe { input::structure(pointer) }?);
    let form = mechanism::row(given.0.mechanism).map(|row| row.parameter);
    // SAFETY: the caller's word, for each arm.
    let (keys, count) = unsafe {
        match form {
            Some(ParameterForm::Sp800108) => {
                let given: CK_SP800_108_KDF_PARAMS = given.read()?;
                (given.pAdditionalDerivedKeys, given.ulAdditionalDerivedKeys)
            }
            Some(ParameterForm::Sp800108Feedback) => {
                let given: CK_SP800_108_FEEDBACK_KDF_PARAMS = given.read()?;
                (given.pAdditionalDerivedKeys, given.ulAdditionalDerivedKeys)
            }
            _ => return Ok(Vec::new()),
        }
    };
    // SAFETY: the caller's word.
    let keys = unsafe { array(keys, count) }?;
    let mut templates = Vec::with_capacity(keys.len());
    for key in keys {
        input::check_nested(key.phKey, 1)
            .map_err(|error| error.with_rv(CKR_MECHANISM_PARAM_INVALID))?;
        // SAFETY: the caller's word.
        let template = unsafe { input::template(key.pTemplate, key.ulAttributeCount) }?;
        templates.push((template, key.phKey));
    }
    Ok(templates)
}
