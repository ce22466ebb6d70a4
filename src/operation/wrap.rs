//! Wrapping and unwrapping keys (PKCS#11 5.18.3, 5.18.4, 5.18.6, 5.18.7).
//!
//! What may be wrapped under what is said in [`roles`](crate::attribute::roles); here is what the
//! standard says, and the work.

use super::cipher::{padded_to, rsa_scheme, unpadded};
use super::whole::{How, Whole};
use super::{Answer, Room, afford_object, check_usage, renamed};
use crate::attribute::{self, Attributes, Birth, Template, nested};
use crate::complete::{complete_private, complete_secret, note_birth};
use crate::crypto::{CipherMode, Direction, engine, left_pad};
use crate::error::{Error, Result, fail};
use crate::key::{self, pkcs8};
use crate::mechanism::{Mechanism, Parameter, Plan};
use crate::memory::{self, Secret};
use crate::object::Object;
use crate::session::Session;
use crate::token::NewObject;
use cryptoki_sys::*;
use ecdh::Agreement;
use std::sync::Arc;

mod ecdh;

const BLOCK: usize = 16;
/// The unit of AES Key Wrap.
const SEMIBLOCK: usize = 8;

/// A mechanism with its parameter.
#[derive(Debug)]
pub struct Wrapping {
    /// CKM_….
    pub mechanism: CK_MECHANISM_TYPE,
    /// Its parameter.
    pub parameter: Parameter,
    /// The parameter has no nonce or initial value that the caller chose.
    pub own_nonce: bool,
}

/// What a mechanism does with the length of what it wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It gives it back.
    Exact,
    /// It fills up with fewer than so many zeros behind.
    Behind(usize),
    /// It fills up with zeros in front.
    Front,
}

/// How a row wraps: which classes, and what becomes of the length.
fn fit(plan: Plan) -> Fit {
    match plan {
        Plan::RsaRaw => Fit::Front,
        Plan::Cipher {
            mode: CipherMode::Ecb | CipherMode::Cbc,
            padded: false,
        } => Fit::Behind(BLOCK),
        Plan::KeyWrap { padded: false } => Fit::Behind(SEMIBLOCK),
        _ => Fit::Exact,
    }
}

/// Whether the mechanism wraps secret keys only (tables of 6.1 and 6.10): a private key does not fit
/// into an RSA block, nor does PKCS #8 tell where padding begins.
fn takes_secret_keys_only(plan: Plan) -> bool {
    matches!(plan, Plan::RsaPkcs1(_) | Plan::RsaOaep | Plan::RsaRaw)
        || fit(plan) == Fit::Behind(BLOCK)
}

/// Bytes of a key that is to be wrapped, filled up as the mechanism asks.
fn filled(plan: Plan, material: Secret, modulus_len: usize) -> Result<Secret> {
    match fit(plan) {
        Fit::Exact => Ok(material),
        Fit::Front => {
            left_pad(&material, modulus_len).map_err(|error| error.with_rv(CKR_KEY_SIZE_RANGE))
        }
        Fit::Behind(unit) => {
            let mut padded = Secret::zeroed(material.len().next_multiple_of(unit))?;
            for (to, from) in padded.iter_mut().zip(material.iter()) {
                *to = *from;
            }
            Ok(padded)
        }
    }
}

impl Session {
    /// The key that wraps or unwraps. The codes of 5.18 name it apart from the key that is wrapped.
    fn kek(
        &self,
        function: CK_FLAGS,
        how: &Wrapping,
        handle: CK_OBJECT_HANDLE,
    ) -> Result<(Mechanism, Arc<Object>)> {
        let row = self.slot.mechanism(how.mechanism, function)?;
        let (usage, no_handle, no_type, no_size) = match function {
            CKF_WRAP => (
                CKA_WRAP,
                CKR_WRAPPING_KEY_HANDLE_INVALID,
                CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
                CKR_WRAPPING_KEY_SIZE_RANGE,
            ),
            _ => (
                CKA_UNWRAP,
                CKR_UNWRAPPING_KEY_HANDLE_INVALID,
                CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
                CKR_UNWRAPPING_KEY_SIZE_RANGE,
            ),
        };
        let kek = self
            .key(handle)
            .map_err(renamed(CKR_KEY_HANDLE_INVALID, no_handle))?;
        row.check_key(kek.attributes().key_type(), kek.size().0)
            .map_err(renamed(CKR_KEY_TYPE_INCONSISTENT, no_type))
            .map_err(renamed(CKR_KEY_SIZE_RANGE, no_size))?;
        check_usage(&kek, usage, how.mechanism)?;
        // A call that does all at once has no place for the PIN that such a key waits for (4.10).
        if kek.attributes().is(CKA_ALWAYS_AUTHENTICATE) {
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "a key with CKA_ALWAYS_AUTHENTICATE cannot unwrap: there is no moment to give the PIN"
            );
        }
        self.roles()
            .check_kek_use(kek.attributes(), how.mechanism, how.own_nonce)?;
        Ok((row, kek))
    }

    /// C_WrapKey, C_WrapKeyAuthenticated.
    pub fn wrap(
        &self,
        how: &Wrapping,
        kek: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        room: Room,
    ) -> Result<Answer> {
        let (row, kek) = self.kek(CKF_WRAP, how, kek)?;
        let key = self.key(key)?;
        self.may_leave(&row, &kek, &key)?;
        let material = filled(row.plan, self.material(&key)?, kek.size().1)?;
        let len = wrapped_len(&row, how, &kek, material.len())?;
        match room {
            Room::Query => Ok(Answer::Length(len)),
            Room::Bytes(room) if room < len => Ok(Answer::TooSmall(len)),
            Room::Bytes(_) => self.seal(&row, how, &kek, &material).map(Answer::Bytes),
        }
    }

    /// Whether a key may be wrapped at all, under this key, by this mechanism.
    fn may_leave(&self, row: &Mechanism, kek: &Object, key: &Object) -> Result<()> {
        let (kek, key) = (kek.attributes(), key.attributes());
        let private = match key.class() {
            Some(CKO_SECRET_KEY) => false,
            Some(CKO_PRIVATE_KEY) => true,
            _ => return fail!(CKR_KEY_HANDLE_INVALID, "a public key is not wrapped"),
        };
        if !key.is(CKA_EXTRACTABLE) {
            return fail!(
                CKR_KEY_UNEXTRACTABLE,
                "CKA_EXTRACTABLE of the key is not true"
            );
        }
        if key.is(CKA_WRAP_WITH_TRUSTED) && !kek.is(CKA_TRUSTED) {
            return fail!(
                CKR_KEY_NOT_WRAPPABLE,
                "the key is wrapped by keys with CKA_TRUSTED only (CKA_WRAP_WITH_TRUSTED)"
            );
        }
        if private && takes_secret_keys_only(row.plan) {
            return fail!(CKR_KEY_NOT_WRAPPABLE, "{} wraps secret keys only", row.name);
        }
        if !nested::matches(kek, CKA_WRAP_TEMPLATE, key)? {
            return fail!(
                CKR_KEY_HANDLE_INVALID,
                "the key is not as CKA_WRAP_TEMPLATE of the wrapping key has it (5.18.3)"
            );
        }
        self.roles().check_wrap(kek, key)
    }

    /// What is wrapped: the value of a secret key, PrivateKeyInfo of a private key (6.7).
    fn material(&self, key: &Object) -> Result<Secret> {
        let token = self.slot.token();
        if key.attributes().class() == Some(CKO_SECRET_KEY) {
            return Secret::copy_of(&key.secret_key(token)?);
        }
        let secret = |attribute| key.secret(token, attribute);
        let parts = key::private_parts(key.attributes(), &secret)
            .map_err(renamed(CKR_TEMPLATE_INCOMPLETE, CKR_KEY_NOT_WRAPPABLE))?;
        pkcs8::encode(&parts)
    }

    fn seal(
        &self,
        row: &Mechanism,
        how: &Wrapping,
        kek: &Object,
        material: &[u8],
    ) -> Result<Vec<u8>> {
        let token = self.slot.token();
        let sealed = match (row.plan, &how.parameter) {
            (Plan::Cipher { mode, padded }, parameter) => {
                let mut text = match padded {
                    true => padded_to(BLOCK, material)?,
                    false => memory::copy(material)?,
                };
                engine::Cipher::new(
                    mode,
                    Direction::Encrypt,
                    &kek.secret_key(token)?,
                    iv(parameter),
                )
                .and_then(|mut cipher| cipher.update(&mut text))
                .map(|()| text)
            }
            (Plan::RsaAesKeyWrap, Parameter::RsaAesKeyWrap { len, scheme }) => {
                let mut once = Secret::zeroed(*len)?;
                engine::random(&mut once)?;
                let mut sealed = kek.public_key()?.encrypt(scheme, &once)?;
                engine::key_wrap(true, &once, None, material).map(|wrapped| {
                    sealed.extend(wrapped);
                    sealed
                })
            }
            (plan @ Plan::EcdhAesKeyWrap { .. }, parameter) => Agreement::of(plan, parameter)
                .ok_or_else(|| cannot(row))
                .and_then(|agreement| agreement.seal(kek, material)),
            (plan, parameter) => match How::new(plan, parameter.clone()) {
                Some(cipher) => {
                    Whole::new(Direction::Encrypt, kek.secret_key(token)?, cipher).seal(material)
                }
                None => {
                    let scheme = rsa_scheme(plan, parameter).ok_or_else(|| cannot(row))?;
                    kek.public_key()?.encrypt(&scheme, material)
                }
            },
        };
        sealed.map_err(renamed(CKR_DATA_LEN_RANGE, CKR_KEY_SIZE_RANGE))
    }

    /// C_UnwrapKey, C_UnwrapKeyAuthenticated.
    pub fn unwrap(
        &self,
        how: &Wrapping,
        kek: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &Template<'_>,
    ) -> Result<CK_OBJECT_HANDLE> {
        let era = self.slot.era();
        let (row, kek) = self.kek(CKF_UNWRAP, how, kek)?;
        let size = template.size().saturating_add(wrapped.len());
        afford_object(size, template.bool(CKA_TOKEN) == Some(true))?;
        let attributes = self.unwrapped_attributes(&row, kek.attributes(), template)?;
        self.may_store(&attributes)?;
        let material = self.unseal(&row, how, &kek, wrapped)?;
        let mut object = recovered(row.plan, attributes, material)?;
        note_birth(&mut object.attributes, None);
        self.store_with_companion(object, era)
    }

    /// The attributes of the key that comes: the caller's, those of CKA_UNWRAP_TEMPLATE and of the
    /// policy, which must not contradict them, and the defaults.
    fn unwrapped_attributes(
        &self,
        row: &Mechanism,
        kek: &Attributes,
        template: &Template<'_>,
    ) -> Result<Attributes> {
        let mut template = template.clone().under(kek, CKA_UNWRAP_TEMPLATE)?;
        // Before the policy demands what objects of other classes do not have.
        if !matches!(
            template.ulong(CKA_CLASS),
            None | Some(CKO_SECRET_KEY | CKO_PRIVATE_KEY)
        ) {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "a secret or private key is unwrapped, nothing else"
            );
        }
        for demand in self.roles().demands(kek) {
            template = template.demand(demand, [CK_TRUE].as_slice().into())?;
        }
        // 5.18.4.
        let template = template.or([(CKA_EXTRACTABLE, [CK_TRUE].as_slice().into())]);
        let class = takes_secret_keys_only(row.plan).then_some(CKO_SECRET_KEY);
        let author = self.author(self.by_so());
        attribute::build(Birth::Unwrap, &template, class, None, author)
            .map(|built| built.attributes)
    }

    fn unseal(
        &self,
        row: &Mechanism,
        how: &Wrapping,
        kek: &Object,
        wrapped: &[u8],
    ) -> Result<Secret> {
        let token = self.slot.token();
        let opened = match (row.plan, &how.parameter) {
            (Plan::Cipher { mode, padded }, parameter) => {
                if mode != CipherMode::Ctr && !wrapped.len().is_multiple_of(BLOCK) {
                    return fail!(CKR_WRAPPED_KEY_LEN_RANGE, "no whole number of blocks");
                }
                let mut text = Secret::copy_of(wrapped)?;
                let key = kek.secret_key(token)?;
                engine::Cipher::new(mode, Direction::Decrypt, &key, iv(parameter))
                    .and_then(|mut cipher| cipher.update(&mut text))
                    .and_then(|()| match padded {
                        true => unpadded(BLOCK, &text),
                        false => Ok(text),
                    })
            }
            (Plan::RsaAesKeyWrap, Parameter::RsaAesKeyWrap { len, scheme }) => {
                // Which of the two parts is wrong is nobody's business: a length is refused before
                // the first is opened.
                let has_length = |rest: &[u8]| {
                    rest.len() >= 2 * SEMIBLOCK && rest.len().is_multiple_of(SEMIBLOCK)
                };
                let (once, rest) = wrapped
                    .split_at_checked(kek.size().1)
                    .filter(|(_, rest)| has_length(rest))
                    .ok_or_else(|| {
                        Error::new(
                            CKR_WRAPPED_KEY_LEN_RANGE,
                            "no length that CKM_RSA_AES_KEY_WRAP makes for this key",
                        )
                    })?;
                let unwrap = |once: Secret| match once.len() == *len {
                    true => engine::key_unwrap(true, &once, None, rest),
                    false => Err(Error::new(CKR_WRAPPED_KEY_INVALID, "")),
                };
                let once = kek.private_key(token)?.decrypt(scheme, once);
                once.and_then(unwrap).map_err(|error| match error.rv() {
                    CKR_ENCRYPTED_DATA_INVALID | CKR_WRAPPED_KEY_INVALID => Error::new(
                        CKR_WRAPPED_KEY_INVALID,
                        "the wrapped key is not what CKM_RSA_AES_KEY_WRAP makes for this key",
                    ),
                    _ => error,
                })
            }
            (plan @ Plan::EcdhAesKeyWrap { .. }, parameter) => Agreement::of(plan, parameter)
                .ok_or_else(|| cannot(row))
                .and_then(|agreement| agreement.open(kek, token, wrapped)),
            (plan, parameter) => match How::new(plan, parameter.clone()) {
                Some(cipher) => {
                    Whole::new(Direction::Decrypt, kek.secret_key(token)?, cipher).open(wrapped)
                }
                None => {
                    let scheme = rsa_scheme(plan, parameter).ok_or_else(|| cannot(row))?;
                    kek.private_key(token)?.decrypt(&scheme, wrapped)
                }
            },
        };
        opened
            .map_err(renamed(CKR_ENCRYPTED_DATA_INVALID, CKR_WRAPPED_KEY_INVALID))
            .map_err(renamed(
                CKR_ENCRYPTED_DATA_LEN_RANGE,
                CKR_WRAPPED_KEY_LEN_RANGE,
            ))
    }
}

fn cannot(row: &Mechanism) -> Error {
    Error::new(CKR_MECHANISM_INVALID, format!("{} does not wrap", row.name))
}

fn iv(parameter: &Parameter) -> &[u8] {
    match parameter {
        Parameter::Iv(iv) => iv,
        Parameter::Counter { block, .. } => block,
        _ => &[],
    }
}

/// Length of what wrapping so many bytes gives.
fn wrapped_len(row: &Mechanism, how: &Wrapping, kek: &Object, len: usize) -> Result<usize> {
    match (row.plan, &how.parameter) {
        (Plan::Cipher { padded: true, .. }, _) => Ok(len - len % BLOCK + BLOCK),
        (Plan::Cipher { .. }, _) => Ok(len),
        (Plan::RsaAesKeyWrap, _) => Ok(kek.size().1 + len.next_multiple_of(SEMIBLOCK) + SEMIBLOCK),
        (Plan::EcdhAesKeyWrap { der }, _) => {
            let point = ecdh::point_len(der, kek.attributes())?;
            Ok(point + len.next_multiple_of(SEMIBLOCK) + SEMIBLOCK)
        }
        (plan, parameter) => match How::new(plan, parameter.clone()) {
            Some(cipher) => Ok(cipher.sealed_len(len)),
            None => Ok(kek.size().1),
        },
    }
}

/// The key of the unwrapped bytes, with the attributes that its template gives it.
fn recovered(plan: Plan, attributes: Attributes, material: Secret) -> Result<NewObject> {
    if attributes.class() == Some(CKO_PRIVATE_KEY) {
        return recovered_private(plan, attributes, &material);
    }
    // Another class of object than was wrapped; not to be told from a secret key once it is cut.
    if pkcs8::is_private_key(&material) {
        return fail!(CKR_WRAPPED_KEY_INVALID, "the wrapped key is a private key");
    }
    let value = cut(plan, &attributes, &material)?;
    let mut attributes = attributes;
    if value.is_empty() || !fits(attributes.key_type(), value.len()) {
        return wrong_len(value.len());
    }
    complete_secret(&mut attributes, &value)?;
    Ok(NewObject {
        attributes,
        secrets: vec![(CKA_VALUE, value)],
    })
}

fn recovered_private(plan: Plan, attributes: Attributes, material: &[u8]) -> Result<NewObject> {
    let invalid = |error: Error| match error.rv() {
        CKR_HOST_MEMORY => error,
        _ => error.with_rv(CKR_WRAPPED_KEY_INVALID),
    };
    let der = match fit(plan) {
        Fit::Behind(unit) => {
            let len = pkcs8::der_len(material).unwrap_or_default();
            match material.get(..len) {
                Some(der) if material.len() - len < unit && is_zero(material, len) => der,
                _ => material,
            }
        }
        _ => material,
    };
    let (key_type, parts) = pkcs8::decode(der).map_err(invalid)?;
    if attributes.key_type() != Some(key_type) {
        return fail!(
            CKR_WRAPPED_KEY_INVALID,
            "the wrapped key is not of the CKA_KEY_TYPE that the template says"
        );
    }
    complete_private(attributes, parts).map_err(invalid)
}

fn wrong_len<T>(len: usize) -> Result<T> {
    fail!(
        CKR_WRAPPED_KEY_LEN_RANGE,
        "the wrapped key has {len} bytes, not what CKA_VALUE_LEN or CKA_KEY_TYPE says"
    )
}

fn fits(key_type: Option<CK_KEY_TYPE>, len: usize) -> bool {
    match key_type {
        Some(CKK_AES) => matches!(len, 16 | 24 | 32),
        _ => true,
    }
}

/// Whether what stands behind so many bytes is what a mechanism fills up with.
fn is_zero(material: &[u8], len: usize) -> bool {
    let behind = material.get(len..).unwrap_or_default();
    behind.iter().all(|byte| *byte == 0)
}

/// The value of a secret key, without what the mechanism filled up with (5.18.4, CKA_VALUE_LEN).
fn cut(plan: Plan, attributes: &Attributes, material: &[u8]) -> Result<Secret> {
    let wanted = attributes
        .ulong(CKA_VALUE_LEN)
        .and_then(|len| usize::try_from(len).ok());
    let (Some(len), filled) = (wanted, fit(plan)) else {
        let clear = match fit(plan) {
            Fit::Exact => true,
            Fit::Behind(_) => attributes.key_type() == Some(CKK_AES),
            Fit::Front => false,
        };
        if !clear {
            return fail!(
                CKR_TEMPLATE_INCOMPLETE,
                "CKA_VALUE_LEN is missing, and the mechanism does not tell it (5.18.4)"
            );
        }
        return Secret::copy_of(material);
    };
    let Some(more) = material.len().checked_sub(len) else {
        return wrong_len(material.len());
    };
    let value = match filled {
        Fit::Exact if more == 0 => Some(material),
        Fit::Behind(unit) if more < unit && is_zero(material, len) => material.get(..len),
        Fit::Front => material.get(more..),
        _ => None,
    };
    value.map_or_else(|| wrong_len(material.len()), Secret::copy_of)
}
