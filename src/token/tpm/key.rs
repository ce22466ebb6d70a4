//! A private key that lives in a TPM: hashing and padding are done here, the private operation there.

use super::chip::Chip;
use super::object::{self, Wrapped};
use super::root::Root;
use crate::crypto::{CryptScheme, Curve, Hash, PublicParts, SignScheme, engine, left_pad};
use crate::error::{Result, fail};
use crate::memory::Secret;
use crate::token::PrivateKey;
use cryptoki_sys::*;
use std::sync::Arc;
use tpm2_protocol::data::TpmAlgId;
use zeroize::Zeroizing;

/// A key, ready to sign.
pub(super) struct Key {
    chip: Arc<Chip>,
    root: Root,
    wrapped: Wrapped,
    parts: PublicParts,
    public: engine::PublicKey,
    /// From this messages for bad paddings are derived (see [`crate::crypto::pkcs1`]).
    rejection_key: Secret,
}

impl Key {
    /// Of a key under this root.
    pub(super) fn new(chip: Arc<Chip>, root: Root, wrapped: Wrapped) -> Result<Self> {
        let parts = object::public_parts(&object::public_of(&wrapped.public)?)?;
        let mut hmac = engine::Hmac::new(Hash::Sha256, &wrapped.auth)?;
        hmac.update(b"implicit rejection");
        let rejection_key = Zeroizing::new(hmac.finish());
        Ok(Self {
            chip,
            root,
            public: engine::PublicKey::from_parts(&parts)?,
            parts,
            rejection_key: Secret::copy_of(&rejection_key)?,
            wrapped,
        })
    }

    /// The raw RSA operation, as long as the modulus. What the chip gives is checked by the public
    /// operation, which costs a hundredth.
    fn raw(&self, block: &[u8], refused: CK_RV) -> Result<Secret> {
        self.parts.check_below_modulus(block, refused)?;
        let result = self
            .chip
            .visit(|visit| visit.rsa(&self.root, &self.wrapped, block))?;
        let result = left_pad(&result, self.parts.output_len())?;
        if self.public.encrypt(&CryptScheme::RsaRaw, &result)? != block {
            return fail!(
                CKR_DEVICE_ERROR,
                "the TPM's RSA operation gave a wrong result, which was withheld"
            );
        }
        Ok(result)
    }

    /// ECDSA (FIPS 186-5 6.4): a digest is cut to the order's length or filled up to it, which
    /// leaves the integer what it is, so that a TPM takes a digest of any length.
    fn ecdsa(&self, curve: Curve, input: &[u8]) -> Result<Vec<u8>> {
        if input.is_empty() {
            return fail!(CKR_DATA_LEN_RANGE, "ECDSA takes a digest, not nothing");
        }
        let (hash, len) = match curve {
            Curve::P256 => (TpmAlgId::Sha256, Hash::Sha256.len()),
            Curve::P384 => (TpmAlgId::Sha384, Hash::Sha384.len()),
            Curve::P521 => (TpmAlgId::Sha512, Hash::Sha512.len()),
        };
        let cut = input.get(..len).unwrap_or(input);
        let digest = left_pad(cut, len)?;
        let signature = self
            .chip
            .visit(|visit| visit.sign(&self.root, &self.wrapped, hash, &digest))?;
        let mut both = Vec::with_capacity(2 * curve.len());
        for half in [&signature.signature_r, &signature.signature_s] {
            both.extend_from_slice(&left_pad(half, curve.len())?);
        }
        if let Err(error) = self.public.verify(&SignScheme::Ecdsa, input, &both) {
            return fail!(
                CKR_DEVICE_ERROR,
                "the TPM made a wrong signature, which was withheld: {error}"
            );
        }
        Ok(both)
    }
}

impl PrivateKey for Key {
    fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        match (&self.parts, scheme) {
            (PublicParts::Ec { curve, .. }, SignScheme::Ecdsa) => self.ecdsa(*curve, input),
            (PublicParts::Rsa { .. }, scheme) => {
                // Padded here, also PSS: TPMs disagree about its salt (Part 1, B.7).
                let block = self.public.pad_to_sign(scheme, input)?;
                Ok(self.raw(&block, CKR_DATA_INVALID)?.to_vec())
            }
            _ => fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "this type of key does not sign so"
            ),
        }
    }

    fn decrypt(&self, scheme: &CryptScheme, input: &[u8]) -> Result<Secret> {
        self.parts.check_ciphertext(input)?;
        let block = self.raw(input, CKR_ENCRYPTED_DATA_INVALID)?;
        self.public
            .unpad_decrypted(scheme, &block, input, &self.rejection_key)
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret> {
        let PublicParts::Ec { curve, .. } = self.parts else {
            return fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "this type of key agrees on no secrets"
            );
        };
        let coordinates = peer.get(1..).unwrap_or_default();
        let point = coordinates.split_at(coordinates.len() / 2);
        let (x, y) = self
            .chip
            .visit(|visit| visit.ecdh(&self.root, &self.wrapped, point))?;
        let (x, y) = (left_pad(&x, curve.len())?, left_pad(&y, curve.len())?);
        // Who has not the private half cannot tell more than this: a wrong product is hardly ever on
        // the curve.
        let product = Zeroizing::new([&[4], &*x, &*y].concat());
        let parts = PublicParts::Ec {
            curve,
            point: product.to_vec(),
        };
        if engine::PublicKey::from_parts(&parts).is_err() {
            return fail!(
                CKR_DEVICE_ERROR,
                "the TPM gave no point of the key's curve, and it was withheld"
            );
        }
        Ok(x)
    }
}
