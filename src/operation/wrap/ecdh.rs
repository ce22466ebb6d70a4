//! Wrapping for who has the private half of a key that agrees (PKCS#11 6.3.20 to 6.3.22): a pair is made
//! for one use on the curve of the wrapping key, what the two agree on is the key of AES Key Wrap with
//! padding, and before the wrapped key stands the public half of that pair.

use super::super::{ephemeral, renamed};
use crate::attribute::Attributes;
use crate::crypto::engine;
use crate::crypto::kdf::{self, EcKdf};
use crate::error::{Error, Result};
use crate::key;
use crate::mechanism::{Parameter, Plan};
use crate::memory::{self, Secret};
use crate::object::Object;
use crate::token::Token;
use cryptoki_sys::*;

/// What mechanism and parameter say.
pub struct Agreement<'a> {
    /// The point is written as a DER OCTET STRING.
    der: bool,
    /// Length of the key that is agreed on, in bytes.
    len: usize,
    kdf: EcKdf,
    shared: &'a [u8],
}

impl<'a> Agreement<'a> {
    /// `None` for another mechanism.
    pub fn of(plan: Plan, parameter: &'a Parameter) -> Option<Self> {
        match (plan, parameter) {
            (Plan::EcdhAesKeyWrap { der }, Parameter::EcdhAesKeyWrap { len, kdf, shared }) => {
                Some(Self {
                    der,
                    len: *len,
                    kdf: *kdf,
                    shared,
                })
            }
            _ => None,
        }
    }

    /// What C_WrapKey gives for `kek`. The key that is agreed on is wiped.
    pub fn seal(&self, kek: &Object, material: &[u8]) -> Result<Vec<u8>> {
        let (ours, secret) = ephemeral::agree(kek)?;
        let wrapped = engine::key_wrap(true, &self.key_of(&secret)?, None, material)?;
        let point = written(self.der, &ours)?;
        let mut sealed = memory::buffer(point.len() + wrapped.len())?;
        sealed.extend_from_slice(&point);
        sealed.extend_from_slice(&wrapped);
        Ok(sealed)
    }

    /// What C_UnwrapKey finds for `kek`, whose chip may be the one to agree.
    pub fn open(&self, kek: &Object, token: &dyn Token, wrapped: &[u8]) -> Result<Secret> {
        let at = point_len(self.der, kek.attributes())?;
        let (point, rest) = wrapped
            .split_at_checked(at)
            .ok_or_else(|| Error::new(CKR_WRAPPED_KEY_LEN_RANGE, "shorter than a public key"))?;
        let secret = key::peer_point(kek.attributes(), point)
            .and_then(|peer| kek.private_key(token)?.agree(&peer))
            .map_err(renamed(
                CKR_ATTRIBUTE_VALUE_INVALID,
                CKR_WRAPPED_KEY_INVALID,
            ))?;
        engine::key_unwrap(true, &self.key_of(&secret)?, None, rest)
    }

    /// "The first ulAESKeyBits bits of the derived key" (6.3.20): with CKD_NULL, where what is derived is
    /// the secret itself, those are not the ones that a shorter CKA_VALUE_LEN would leave (6.3.17).
    fn key_of(&self, secret: &[u8]) -> Result<Secret> {
        match (self.kdf, secret.get(..self.len)) {
            (EcKdf::Null, Some(first)) => Secret::copy_of(first),
            (kdf, _) => kdf::of_agreement(kdf, secret, self.shared, self.len),
        }
    }
}

/// Length of the public key before what is wrapped for `kek`: that of the same curve, and of no other
/// form, since points are uncompressed here.
pub fn point_len(der: bool, kek: &Attributes) -> Result<usize> {
    let public = key::public_parts(kek)?;
    Ok(written(der, key::agreeing_point(&public)?)?.len())
}

fn written(der: bool, point: &[u8]) -> Result<Vec<u8>> {
    match der {
        true => key::octet_string(point),
        false => memory::copy(point),
    }
}
