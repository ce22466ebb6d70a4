//! Keys agreed on by encapsulation (PKCS#11 5.18.8, 5.18.9).

use super::cipher::rsa_scheme;
use super::derive::{agreed_lengths, length};
use super::{Answer, Guard, Room, afford_object, ephemeral, renamed};
use crate::attribute::{self, Attributes, Birth, Template, nested};
use crate::complete::{complete_secret, note_birth};
use crate::crypto::kdf::{self, EcKdf};
use crate::crypto::{CryptScheme, engine};
use crate::error::{Error, Result, fail};
use crate::key;
use crate::mechanism::{Mechanism, Parameter, Plan};
use crate::memory::Secret;
use crate::object::Object;
use crate::session::Session;
use crate::token::{NewObject, Token};
use cryptoki_sys::*;

/// How a mechanism encapsulates.
enum Kem {
    /// ML-KEM (FIPS 203).
    Lattice,
    /// What a pair made for one use agrees on with the key; its public half is the ciphertext (6.3.17).
    Ecdh { kdf: EcKdf, shared: Vec<u8> },
    /// A secret that the token chooses, encrypted (6.1.8). Not with PKCS #1 v1.5: the length of what it
    /// decrypts to would tell whether a padding was right.
    Rsa(CryptScheme),
}

impl Kem {
    /// `CKR_MECHANISM_INVALID`, `CKR_MECHANISM_PARAM_INVALID`.
    fn of(row: &Mechanism, parameter: Parameter) -> Result<Self> {
        match (row.plan, parameter) {
            (Plan::MlKem, _) => Ok(Kem::Lattice),
            (Plan::Ecdh, Parameter::Ecdh { kdf, shared, peer }) if peer.is_empty() => {
                Ok(Kem::Ecdh { kdf, shared })
            }
            (Plan::Ecdh, _) => fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "pPublicData is null here: the public key goes and comes as the ciphertext"
            ),
            (plan, parameter) => match rsa_scheme(plan, &parameter) {
                Some(scheme @ CryptScheme::RsaOaep { .. }) => Ok(Kem::Rsa(scheme)),
                _ => fail!(CKR_MECHANISM_INVALID, "{} does not encapsulate", row.name),
            },
        }
    }

    fn ciphertext_len(&self, public: &Object) -> Result<usize> {
        match self {
            Kem::Lattice | Kem::Rsa(_) => Ok(public.size().1),
            Kem::Ecdh { .. } => {
                let parts = key::public_parts(public.attributes())?;
                Ok(key::agreeing_point(&parts)?.len())
            }
        }
    }

    /// Ciphertext and value of the new key.
    fn encapsulate(&self, public: &Object, new: &Attributes) -> Result<(Vec<u8>, Secret)> {
        match self {
            Kem::Lattice => {
                let (ciphertext, shared) = public.public_key()?.encapsulate()?;
                Ok((ciphertext, end_of(&shared, new)?))
            }
            Kem::Ecdh { kdf, shared } => {
                let len = agreed_len(*kdf, public, new)?;
                let (ciphertext, secret) = ephemeral::agree(public)?;
                Ok((ciphertext, kdf::of_agreement(*kdf, &secret, shared, len)?))
            }
            Kem::Rsa(scheme) => {
                let most = (public.size().1, CKR_KEY_SIZE_RANGE);
                let mut value = Secret::zeroed(length(None, most, new.key_type(), wanted(new))?)?;
                engine::random(&mut value)?;
                let ciphertext = public.public_key()?.encrypt(scheme, &value);
                Ok((
                    ciphertext.map_err(renamed(CKR_DATA_LEN_RANGE, CKR_KEY_SIZE_RANGE))?,
                    value,
                ))
            }
        }
    }

    /// The value of the new key.
    fn decapsulate(
        &self,
        private: &Object,
        token: &dyn Token,
        new: &Attributes,
        ciphertext: &[u8],
    ) -> Result<Secret> {
        match self {
            Kem::Lattice => {
                let shared = private.private_key(token)?.decapsulate(ciphertext)?;
                end_of(&shared, new)
            }
            Kem::Ecdh { kdf, shared } => {
                let len = agreed_len(*kdf, private, new)?;
                let secret = key::peer_point(private.attributes(), ciphertext)
                    .and_then(|peer| private.private_key(token)?.agree(&peer))?;
                kdf::of_agreement(*kdf, &secret, shared, len)
            }
            Kem::Rsa(scheme) => {
                let value = private.private_key(token)?.decrypt(scheme, ciphertext)?;
                match wanted(new) {
                    Some(len) if len != value.len() => fail!(
                        CKR_WRAPPED_KEY_LEN_RANGE,
                        "the key has {} bytes, and CKA_VALUE_LEN says {len}",
                        value.len()
                    ),
                    _ => Ok(value),
                }
            }
        }
    }
}

/// CKA_VALUE_LEN of a new key.
fn wanted(new: &Attributes) -> Option<usize> {
    let len = new.ulong(CKA_VALUE_LEN)?;
    Some(usize::try_from(len).unwrap_or(usize::MAX))
}

/// Length of a key that is agreed on with an EC key, as where it is derived (6.3.17).
fn agreed_len(kdf: EcKdf, key: &Object, new: &Attributes) -> Result<usize> {
    let (natural, most) = agreed_lengths(kdf, key);
    length(natural, most, new.key_type(), wanted(new))
}

/// What of a shared secret the new key is, cut as where a key is derived (6.3.17).
fn end_of(shared: &[u8], new: &Attributes) -> Result<Secret> {
    let len = wanted(new).unwrap_or(shared.len());
    kdf::of_agreement(EcKdf::Null, shared, &[], len)
        .map_err(renamed(CKR_KEY_SIZE_RANGE, CKR_TEMPLATE_INCONSISTENT))
}

impl Session {
    /// C_EncapsulateKey: the ciphertext, and the handle of the new key where there is room for that.
    pub fn encapsulate(
        &self,
        (mechanism, parameter): (CK_MECHANISM_TYPE, Parameter),
        public: CK_OBJECT_HANDLE,
        template: &Template<'_>,
        room: Room,
    ) -> Result<(Answer, Option<CK_OBJECT_HANDLE>)> {
        let era = self.slot.era();
        let (row, public) = self.key_for(CKF_ENCAPSULATE, CKA_ENCAPSULATE, mechanism, public)?;
        let kem = Kem::of(&row, parameter)?;
        let attributes = self.agreed_key(template)?;
        if !nested::matches(public.attributes(), CKA_ENCAPSULATE_TEMPLATE, &attributes)? {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "the new key is not as CKA_ENCAPSULATE_TEMPLATE of the public key has it (4.9)"
            );
        }
        let len = kem.ciphertext_len(&public)?;
        match room {
            Room::Query => return Ok((Answer::Length(len), None)),
            Room::Bytes(room) if room < len => return Ok((Answer::TooSmall(len), None)),
            Room::Bytes(_) => {}
        }
        let (ciphertext, value) = kem.encapsulate(&public, &attributes)?;
        let key = self.keep_agreed(attributes, value, era)?;
        Ok((Answer::Bytes(ciphertext), Some(key)))
    }

    /// C_DecapsulateKey: the handle of the new key.
    pub fn decapsulate(
        &self,
        (mechanism, parameter): (CK_MECHANISM_TYPE, Parameter),
        private: CK_OBJECT_HANDLE,
        template: &Template<'_>,
        ciphertext: &[u8],
    ) -> Result<CK_OBJECT_HANDLE> {
        let era = self.slot.era();
        let (row, private) = self
            .key_for(CKF_DECAPSULATE, CKA_DECAPSULATE, mechanism, private)
            .map_err(of_unwrapping)?;
        let kem = Kem::of(&row, parameter)?;
        Guard::new(&self.slot, &private).check(&self.slot)?;
        let template = template
            .clone()
            .under(private.attributes(), CKA_DECAPSULATE_TEMPLATE)?;
        let attributes = self.agreed_key(&template)?;
        let value = kem
            .decapsulate(&private, self.slot.token(), &attributes, ciphertext)
            .map_err(of_ciphertext)?;
        self.keep_agreed(attributes, value, era)
    }

    /// What the template says of the new key: a secret key, generic where it names no type, and
    /// extractable where it does not say otherwise (5.18.8).
    fn agreed_key(&self, template: &Template<'_>) -> Result<Attributes> {
        afford_object(template.size(), template.bool(CKA_TOKEN) == Some(true))?;
        let generic = match template.get(CKA_KEY_TYPE) {
            Some(_) => None,
            None => Some(CKK_GENERIC_SECRET),
        };
        let class = Some(CKO_SECRET_KEY);
        let mut attributes =
            attribute::build(Birth::Derive, template, class, generic, self.author(false))?
                .attributes;
        if template.get(CKA_EXTRACTABLE).is_none() {
            attributes.set_bool(CKA_EXTRACTABLE, true);
        }
        self.may_store(&attributes)?;
        Ok(attributes)
    }

    /// Keeps what both sides agreed on.
    fn keep_agreed(
        &self,
        mut attributes: Attributes,
        value: Secret,
        era: u64,
    ) -> Result<CK_OBJECT_HANDLE> {
        complete_secret(&mut attributes, &value)?;
        // Neither made here nor always sensitive: the other side knows it (5.18.8).
        note_birth(&mut attributes, None);
        let key = NewObject {
            attributes,
            secrets: vec![(CKA_VALUE, value)],
        };
        match self.store(vec![key], None, era)?.as_slice() {
            [key] => Ok(*key),
            _ => fail!(CKR_DEVICE_ERROR, "the new key cannot be found"),
        }
    }
}

/// What is wrong with a key is said in the words of unwrapping (5.18.9).
fn of_unwrapping(error: Error) -> Error {
    let rv = match error.rv() {
        CKR_KEY_HANDLE_INVALID => CKR_UNWRAPPING_KEY_HANDLE_INVALID,
        CKR_KEY_SIZE_RANGE => CKR_UNWRAPPING_KEY_SIZE_RANGE,
        CKR_KEY_TYPE_INCONSISTENT => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        other => other,
    };
    error.with_rv(rv)
}

/// What is wrong with a ciphertext is said in those words too (5.18.9).
fn of_ciphertext(error: Error) -> Error {
    let rv = match error.rv() {
        CKR_ENCRYPTED_DATA_INVALID | CKR_ATTRIBUTE_VALUE_INVALID => CKR_WRAPPED_KEY_INVALID,
        CKR_ENCRYPTED_DATA_LEN_RANGE => CKR_WRAPPED_KEY_LEN_RANGE,
        other => other,
    };
    error.with_rv(rv)
}
