//! A private key on a card: hashing and padding are done here, the private operation there.

use super::application::Operation;
use super::card::Card;
use crate::crypto::{CryptScheme, Hash, PublicParts, SignScheme, engine, left_pad};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use crate::token::{ObjectId, PrivateKey};
use cryptoki_sys::*;
use der::asn1::UintRef;
use der::{Decode, Sequence};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// A key, ready to sign.
pub(super) struct Key {
    card: Arc<Card>,
    id: ObjectId,
    parts: PublicParts,
    public: engine::PublicKey,
    rejection_key: OnceLock<Secret>,
    /// The card takes padded blocks; else it pads PKCS #1 itself and does nothing else.
    padded: bool,
}

/// Ecdsa-Sig-Value (RFC 3279 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl Key {
    pub(super) fn new(
        card: Arc<Card>,
        id: ObjectId,
        parts: PublicParts,
        padded: bool,
    ) -> Result<Self> {
        Ok(Self {
            card,
            id,
            public: engine::PublicKey::from_parts(&parts)?,
            parts,
            rejection_key: OnceLock::new(),
            padded,
        })
    }

    fn operate(&self, operation: &Operation<'_>) -> Result<Zeroizing<Vec<u8>>> {
        self.card.visit(&mut |talk, application, login| {
            application.operate(talk, login, &self.id, operation)
        })
    }

    /// From this messages for bad paddings are derived (see [`crate::crypto::pkcs1`]): it must be a
    /// secret, and the same for ever. What the key itself makes of a block that is no ciphertext is.
    fn rejection_key(&self) -> Result<&Secret> {
        if let Some(known) = self.rejection_key.get() {
            return Ok(known);
        }
        let mut block = vec![0; self.parts.output_len()];
        for (to, from) in block
            .iter_mut()
            .skip(1)
            .zip(b"implicit rejection".iter().cycle())
        {
            *to = *from;
        }
        let made = self.raw(&block, CKR_DEVICE_ERROR)?;
        let digest = Zeroizing::new(engine::digest(Hash::Sha256, &made));
        let key = Secret::copy_of(&digest)?;
        Ok(self.rejection_key.get_or_init(|| key))
    }

    /// The raw RSA operation, as long as the modulus. What the card gives is checked by the public
    /// operation, which costs a hundredth.
    fn raw(&self, block: &[u8], refused: CK_RV) -> Result<Secret> {
        self.parts.check_below_modulus(block, refused)?;
        if !self.padded {
            return fail!(
                CKR_MECHANISM_INVALID,
                "this card makes PKCS #1 v1.5 signatures and nothing else"
            );
        }
        let result = self.operate(&Operation::Rsa(block))?;
        let result = left_pad(&result, self.parts.output_len()).map_err(wrong)?;
        match self.public.encrypt(&CryptScheme::RsaRaw, &result) {
            Ok(back) if back == block => Ok(result),
            _ => Err(wrong_key()),
        }
    }

    fn rsa(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        let block = self.public.pad_to_sign(scheme, input)?;
        if self.padded || *scheme != SignScheme::RsaPkcs1 {
            return Ok(self.raw(&block, CKR_DATA_INVALID)?.to_vec());
        }
        let signature = self.operate(&Operation::RsaPkcs1(input))?;
        self.checked(scheme, input, signature.to_vec())
    }

    /// ECDSA (FIPS 186-5 6.4): a digest is cut to the order's length or filled up to it.
    fn ecdsa(&self, len: usize, input: &[u8]) -> Result<Vec<u8>> {
        if input.is_empty() {
            return fail!(CKR_DATA_LEN_RANGE, "ECDSA takes a digest, not nothing");
        }
        let digest = left_pad_bytes(input.get(..len).unwrap_or(input), len);
        let answer = self.operate(&Operation::Ecdsa(&digest))?;
        let signature = EcdsaSignature::from_der(&answer).map_err(|_| wrong_key())?;
        let mut both = Vec::with_capacity(2 * len);
        for half in [signature.r, signature.s] {
            both.extend_from_slice(&left_pad(half.as_bytes(), len).map_err(wrong)?);
        }
        self.checked(&SignScheme::Ecdsa, input, both)
    }

    fn checked(&self, scheme: &SignScheme, input: &[u8], signature: Vec<u8>) -> Result<Vec<u8>> {
        match self.public.verify(scheme, input, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(wrong_key()),
        }
    }
}

/// A digest with zeros before it: the same integer.
fn left_pad_bytes(digest: &[u8], len: usize) -> Vec<u8> {
    let mut padded = vec![0; len.saturating_sub(digest.len())];
    padded.extend_from_slice(digest);
    padded
}

fn wrong(_: Error) -> Error {
    wrong_key()
}

fn wrong_key() -> Error {
    Error::new(
        CKR_DEVICE_ERROR,
        "the card's answer is not of the key that its certificate names, and was withheld",
    )
}

impl PrivateKey for Key {
    fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        let signed = match (&self.parts, scheme) {
            (PublicParts::Ec { curve, .. }, SignScheme::Ecdsa) => self.ecdsa(curve.len(), input),
            (PublicParts::Rsa { .. }, scheme) => self.rsa(scheme, input),
            (
                PublicParts::Ed25519(_),
                SignScheme::EdDsa {
                    prehash: false,
                    context: None,
                },
            ) => {
                let signature = self.operate(&Operation::Ed25519(input))?;
                self.checked(scheme, input, signature.to_vec())
            }
            (PublicParts::Ed25519(_), SignScheme::EdDsa { .. }) => fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "a card makes plain Ed25519 signatures, without prehash and context"
            ),
            _ => fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "this type of key does not sign so"
            ),
        };
        self.card.forget_confirmation();
        signed
    }

    fn decrypt(&self, scheme: &CryptScheme, input: &[u8]) -> Result<Secret> {
        self.parts.check_ciphertext(input)?;
        let decrypted = self.rejection_key().and_then(|rejection_key| {
            let block = self.raw(input, CKR_ENCRYPTED_DATA_INVALID)?;
            self.public
                .unpad_decrypted(scheme, &block, input, rejection_key)
        });
        self.card.forget_confirmation();
        decrypted
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret> {
        let PublicParts::Ec { curve, .. } = self.parts else {
            return fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "this type of key agrees on no secrets"
            );
        };
        let made = self.operate(&Operation::Agree(peer));
        self.card.forget_confirmation();
        let secret = made?;
        // Who has not the private half cannot check more of it.
        if secret.len() != curve.len() {
            return fail!(
                CKR_DEVICE_ERROR,
                "the card's shared secret has {} bytes, not {}, and was withheld",
                secret.len(),
                curve.len()
            );
        }
        Secret::copy_of(&secret)
    }
}
