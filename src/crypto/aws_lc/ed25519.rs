//! Ed25519 (RFC 8032), plain, with context, and prehashed.

use super::super::{PrivateParts, PublicParts, SecretParts, edwards};
use super::ffi::{self, check};
use super::random;
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_GENERAL_ERROR, CKR_MECHANISM_PARAM_INVALID,
    CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE,
};

const SEED: usize = 32;
const PUBLIC: usize = 32;
const SIGNATURE: usize = 64;

/// A private key as AWS-LC takes it: seed and public key in a row.
pub struct PrivateKey(Secret);

/// A public key.
pub struct PublicKey([u8; PUBLIC]);

/// The variants of RFC 8032 5.1, with the context of those that have one.
enum Variant<'a> {
    Plain,
    Context(&'a [u8]),
    Prehashed(&'a [u8]),
}

impl<'a> Variant<'a> {
    /// `CKR_MECHANISM_PARAM_INVALID` for a context of more than 255 bytes, and for Ed25519ctx with
    /// an empty one (RFC 8032 8.3: it "SHOULD NOT be empty"; AWS-LC refuses it).
    fn new(prehash: bool, context: Option<&'a [u8]>) -> Result<Self> {
        let bytes = context.unwrap_or_default();
        if bytes.len() > 255 || (!prehash && context.is_some_and(<[u8]>::is_empty)) {
            return fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "the context of Ed25519ctx has 1 to 255 bytes, that of Ed25519ph at most 255; \
                 this one has {}",
                bytes.len()
            );
        }
        Ok(match (prehash, context) {
            (true, _) => Self::Prehashed(bytes),
            (false, Some(_)) => Self::Context(bytes),
            (false, None) => Self::Plain,
        })
    }
}

/// Makes a key pair.
pub fn generate() -> Result<PrivateParts> {
    let mut seed = Secret::zeroed(SEED)?;
    random(&mut seed)?;
    Ok(PrivateParts {
        public: PublicParts::Ed25519(public(&seed)?),
        secret: SecretParts::Ed25519 { seed },
    })
}

/// The public key that belongs to `seed` (RFC 8032 5.1.5); `CKR_ATTRIBUTE_VALUE_INVALID` unless the
/// seed has 32 bytes.
pub fn public(seed: &[u8]) -> Result<Vec<u8>> {
    ffi::begin();
    expand(seed).map(|(public, _)| public.to_vec())
}

fn expand(seed: &[u8]) -> Result<([u8; PUBLIC], Secret)> {
    if seed.len() != SEED {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an Ed25519 private key has {SEED} bytes, not {}",
            seed.len()
        );
    }
    let mut public = [0; PUBLIC];
    let mut private = Secret::zeroed(SEED + PUBLIC)?;
    // SAFETY: seed, public and private key have the lengths that the call reads and writes.
    unsafe {
        c::ED25519_keypair_from_seed(public.as_mut_ptr(), private.as_mut_ptr(), seed.as_ptr());
    }
    Ok((public, private))
}

impl PrivateKey {
    /// The key of `seed`; `CKR_ATTRIBUTE_VALUE_INVALID` when `public` is not its public key.
    pub fn new(public: &[u8], seed: &[u8]) -> Result<Self> {
        let (derived, private) = expand(seed)?;
        if derived != public {
            return fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "the Ed25519 public key is not the one of the private key"
            );
        }
        Ok(Self(private))
    }

    /// Signs `message`.
    pub fn sign(&self, prehash: bool, context: Option<&[u8]>, message: &[u8]) -> Result<Vec<u8>> {
        let variant = Variant::new(prehash, context)?;
        let mut signature = vec![0; SIGNATURE];
        let (out, key) = (signature.as_mut_ptr(), self.0.as_ptr());
        let (message, len) = (message.as_ptr(), message.len());
        // SAFETY: `signature` has 64 bytes and the key 64; message and context are readable for
        // their lengths.
        let done = unsafe {
            match variant {
                Variant::Plain => c::ED25519_sign(out, message, len, key),
                Variant::Context(context) => {
                    c::ED25519ctx_sign(out, message, len, key, context.as_ptr(), context.len())
                }
                Variant::Prehashed(context) => {
                    c::ED25519ph_sign(out, message, len, key, context.as_ptr(), context.len())
                }
            }
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC gave no Ed25519 signature")?;
        Ok(signature)
    }
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless `public` is a key ([`edwards::point`]).
    pub fn new(public: &[u8]) -> Result<Self> {
        edwards::point(public)?;
        public.try_into().map(Self).map_err(|_| {
            Error::new(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "an Ed25519 public key has 32 bytes",
            )
        })
    }

    /// Checks `signature` over `message`.
    pub fn verify(
        &self,
        prehash: bool,
        context: Option<&[u8]>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let variant = Variant::new(prehash, context)?;
        if signature.len() != SIGNATURE {
            return fail!(
                CKR_SIGNATURE_LEN_RANGE,
                "an Ed25519 signature has {SIGNATURE} bytes, not {}",
                signature.len()
            );
        }
        let (signature, key) = (signature.as_ptr(), self.0.as_ptr());
        let (message, len) = (message.as_ptr(), message.len());
        // SAFETY: the signature has 64 bytes and the key 32; message and context are readable for
        // their lengths.
        let done = unsafe {
            match variant {
                Variant::Plain => c::ED25519_verify(message, len, signature, key),
                Variant::Context(context) => c::ED25519ctx_verify(
                    message,
                    len,
                    signature,
                    key,
                    context.as_ptr(),
                    context.len(),
                ),
                Variant::Prehashed(context) => c::ED25519ph_verify(
                    message,
                    len,
                    signature,
                    key,
                    context.as_ptr(),
                    context.len(),
                ),
            }
        };
        check(
            done,
            CKR_SIGNATURE_INVALID,
            "the Ed25519 signature does not hold",
        )
    }
}
