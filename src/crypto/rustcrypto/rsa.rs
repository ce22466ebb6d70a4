//! RSA (RFC 8017). The `rsa` crate does the arithmetic: the raw operations, blinded and with the
//! result checked, and key generation. The paddings are ours, since the crate's PSS knows only one
//! hash function for message and mask.

use super::{check_signature_len, inconsistent, padding};
use crate::crypto::{
    Crt, CryptScheme, Hash, PrivateParts, PublicParts, SecretParts, SignScheme, left_pad, pkcs1,
    trim,
};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use ::rsa::hazmat::{rsa_decrypt_and_check, rsa_encrypt};
use ::rsa::traits::{PrivateKeyParts, PublicKeyParts};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, ConcatenatingMul, Gcd, Integer, Resize};
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_GENERAL_ERROR, CKR_SIGNATURE_INVALID,
    CKR_TEMPLATE_INCONSISTENT,
};
use getrandom::SysRng;
use std::borrow::Cow;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Modulus lengths in bits of keys that are made here.
const GENERATED_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;

/// Makes a key with all its CRT values.
pub fn generate(bits: usize, exponent: &[u8]) -> Result<PrivateParts> {
    let e = trim(exponent);
    if !GENERATED_BITS.contains(&bits) || !bits.is_multiple_of(8) {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an RSA modulus of {} bits; 1024 to 4096 in steps of 8 can be made",
            bits
        );
    }
    if e.len() > 5 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
        return fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "the public exponent is odd, 3 or more, and has at most 33 bits"
        );
    }
    let key =
        ::rsa::PrivateKey::new_with_exp(&mut SysRng, bits, BoxedUint::from_be_slice_vartime(e))
            .map_err(|error| match error {
                ::rsa::Error::Rng => {
                    Error::new(CKR_GENERAL_ERROR, "no random bytes for an RSA key")
                }
                error => Error::new(
                    CKR_ATTRIBUTE_VALUE_INVALID,
                    format!("no RSA key can be made: {error}"),
                ),
            })?;
    let ([p, q], Some(dp), Some(dq), Some(qinv)) = (key.primes(), key.dp(), key.dq(), key.qinv())
    else {
        return fail!(
            CKR_GENERAL_ERROR,
            "an RSA key was made without its CRT values"
        );
    };
    let half = bits.div_ceil(16);
    Ok(PrivateParts {
        public: PublicParts::Rsa {
            n: key.n_bytes().into_vec(),
            e: e.to_vec(),
        },
        secret: SecretParts::Rsa {
            d: octets(key.d(), bits / 8)?,
            crt: Some(Crt {
                p: octets(p, half)?,
                q: octets(q, half)?,
                dp: octets(dp, half)?,
                dq: octets(dq, half)?,
                qinv: octets(&Zeroizing::new(qinv.retrieve()), half)?,
            }),
        },
    })
}

/// An RSA public key.
pub struct PublicKey(::rsa::PublicKey);

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the modulus is odd and of 1024 to 8192 bits, and the
    /// exponent odd, at least 3 and of at most 33 bits.
    pub fn new(n: &[u8], e: &[u8]) -> Result<Self> {
        let (n, e) = (trim(n), trim(e));
        if 8 * n.len() > ::rsa::PublicKey::MAX_SIZE || e.len() > n.len() {
            return unusable("RSA modulus or public exponent");
        }
        let [n, e] = [n, e].map(BoxedUint::from_be_slice_vartime);
        match ::rsa::PublicKey::new(n, e) {
            Ok(key) => Ok(Self(key)),
            Err(_) => unusable("RSA modulus or public exponent"),
        }
    }

    pub fn verify_pkcs1(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        check_signature_len(signature, self.0.size())?;
        let expected = pkcs1::pad_type1(input, self.0.size())?;
        self.check(signature, |block| Ok(*block == expected))
    }

    pub fn verify_pss(
        &self,
        hash: Hash,
        mgf: Hash,
        salt: usize,
        input: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        check_signature_len(signature, self.0.size())?;
        let bits = pss_bits(&self.0);
        self.check(signature, |block| {
            // A byte more than the encoding has when the modulus begins with a byte 01.
            let (surplus, encoded) = block
                .split_at_checked(block.len() - bits.div_ceil(8))
                .unwrap_or_default();
            Ok(padding::pss_holds(hash, mgf, salt, input, encoded, bits)?
                && surplus.iter().all(|byte| *byte == 0))
        })
    }

    pub fn verify_raw(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        check_signature_len(signature, self.0.size())?;
        check_len(input, &self.0, CKR_DATA_LEN_RANGE)?;
        self.check(signature, |block| Ok(block == input))
    }

    /// Opens a signature and asks whether the block is the right one.
    fn check(&self, signature: &[u8], holds: impl Fn(&[u8]) -> Result<bool>) -> Result<()> {
        let block = match representative(&self.0, signature) {
            Some(signature) => Some(public_operation(&self.0, &signature)?),
            None => None,
        };
        if !block.map_or(Ok(false), |block| holds(&block))? {
            return fail!(
                CKR_SIGNATURE_INVALID,
                "the RSA signature does not fit the key and the input"
            );
        }
        Ok(())
    }

    pub fn pad_to_sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        Ok(pad_to_sign(&self.0, scheme, input)?.into_owned())
    }

    pub fn unpad_decrypted(
        &self,
        scheme: &CryptScheme,
        block: &[u8],
        ciphertext: &[u8],
        rejection_key: &[u8],
    ) -> Result<Secret> {
        check_len(block, &self.0, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
        check_len(ciphertext, &self.0, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
        scheme.unpad(Secret::copy_of(block)?, ciphertext, rejection_key)
    }

    pub fn encrypt_pkcs1(&self, plaintext: &[u8]) -> Result<Vec<u8>> {
        self.encrypt_raw(&padding::pad_type2(plaintext, self.0.size())?)
    }

    pub fn encrypt_oaep(
        &self,
        hash: Hash,
        mgf: Hash,
        label: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        let block = padding::oaep_encode(hash, mgf, label, plaintext, self.0.size())?;
        self.encrypt_raw(&block)
    }

    pub fn encrypt_raw(&self, block: &[u8]) -> Result<Vec<u8>> {
        check_len(block, &self.0, CKR_DATA_LEN_RANGE)?;
        match representative(&self.0, block) {
            Some(block) => public_operation(&self.0, &block),
            None => not_below_modulus(CKR_DATA_INVALID),
        }
    }
}

/// An RSA private key with its CRT values.
pub struct PrivateKey {
    key: ::rsa::PrivateKey,
    rejection_key: Secret,
}

impl PrivateKey {
    /// Checks that `p·q = n`, that `d·e ≡ 1` modulo `p - 1` and `q - 1`, that `d < n`, and that
    /// the CRT values are those of `d`. Without CRT values the primes are found from `d`.
    ///
    /// One operation shows that the factors are primes enough for RSA.
    ///
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where any of that does not hold.
    pub fn new(n: &[u8], e: &[u8], d: &[u8], crt: Option<&Crt>) -> Result<Self> {
        let PublicKey(public) = PublicKey::new(n, e)?;
        let integer = |value| from_secret(value, &public);
        let d_integer = integer(d)?;
        let primes = match crt {
            Some(crt) => vec![integer(&crt.p)?, integer(&crt.q)?],
            None => match find_primes(public.n_params(), public.e(), &d_integer) {
                Some((p, q)) => vec![p, q],
                None => return unusable("RSA private exponent"),
            },
        };
        let Ok(key) = ::rsa::PrivateKey::from_components(
            public.n().as_ref().clone(),
            public.e().clone(),
            d_integer,
            primes,
        ) else {
            return unusable("RSA private key");
        };
        if let Some(crt) = crt {
            check_crt(&key, crt)?;
        }
        let rejection_key = pkcs1::rejection_key(d, key.size())?;
        let key = Self { key, rejection_key };
        let two = BoxedUint::from(2u64).resize_unchecked(public.n_bits_precision());
        key.private_operation(&two)
            .map_err(|error| error.with_rv(CKR_ATTRIBUTE_VALUE_INVALID))?;
        Ok(key)
    }

    pub fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        let block = pad_to_sign(&self.key, scheme, input)?;
        match representative(&self.key, &block) {
            Some(block) => Ok(self.private_operation(&block)?.to_vec()),
            None => not_below_modulus(CKR_DATA_INVALID),
        }
    }

    pub fn decrypt(&self, scheme: &CryptScheme, ciphertext: &[u8]) -> Result<Secret> {
        check_len(ciphertext, &self.key, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
        let block = match representative(&self.key, ciphertext) {
            Some(ciphertext) => self.private_operation(&ciphertext)?,
            None => return not_below_modulus(CKR_ENCRYPTED_DATA_INVALID),
        };
        scheme.unpad(block, ciphertext, &self.rejection_key)
    }

    /// RSASP1 and RSADP (5.1.2, 5.2.1), blinded, and checked with the public key before the result
    /// leaves: a fault in a CRT half would give the primes away.
    fn private_operation(&self, input: &BoxedUint) -> Result<Secret> {
        let result = rsa_decrypt_and_check(&self.key, Some(&mut SysRng), input)
            .map(Zeroizing::new)
            .map_err(|error| {
                Error::new(
                    CKR_GENERAL_ERROR,
                    format!("the RSA operation failed: {error}"),
                )
            })?;
        octets(&result, self.key.size())
    }
}

/// The block to which the raw private operation is applied to sign `input`, as long as the modulus.
fn pad_to_sign<'a>(
    key: &impl PublicKeyParts,
    scheme: &SignScheme,
    input: &'a [u8],
) -> Result<Cow<'a, [u8]>> {
    match scheme {
        SignScheme::RsaPkcs1 => Ok(pkcs1::pad_type1(input, key.size())?.into()),
        SignScheme::RsaPss { hash, mgf, salt } => {
            let encoded = padding::pss_encode(*hash, *mgf, *salt, input, pss_bits(key))?;
            // A byte less than the modulus has when that begins with a byte 01.
            let mut block = vec![0; key.size() - encoded.len()];
            block.extend(encoded);
            Ok(block.into())
        }
        SignScheme::RsaRaw => {
            check_len(input, key, CKR_DATA_LEN_RANGE)?;
            Ok(input.into())
        }
        _ => inconsistent(),
    }
}

/// RSAEP and RSAVP1 (5.1.1, 5.2.2), as long as the modulus.
fn public_operation(key: &::rsa::PublicKey, input: &BoxedUint) -> Result<Vec<u8>> {
    let result = rsa_encrypt(key, input).map_err(|error| {
        Error::new(
            CKR_GENERAL_ERROR,
            format!("the RSA operation failed: {error}"),
        )
    })?;
    Ok(octets(&result, key.size())?.to_vec())
}

/// The integer of a block, if it is below the modulus.
fn representative(key: &impl PublicKeyParts, block: &[u8]) -> Option<Zeroizing<BoxedUint>> {
    BoxedUint::from_be_slice(block, key.n_bits_precision())
        .ok()
        .map(Zeroizing::new)
        .filter(|integer| **integer < **key.n())
}

/// Length in bits of a PSS encoding: one less than the modulus has (9.1.1).
fn pss_bits(key: &impl PublicKeyParts) -> usize {
    key.n().bit_width() as usize - 1
}

/// The primes of `n` from a pair of exponents (SP 800-56B appendix C.1), with small bases instead
/// of random ones: of a valid key, half of all bases serve, whichever they are.
fn find_primes(
    n: &BoxedMontyParams,
    e: &BoxedUint,
    d: &BoxedUint,
) -> Option<(BoxedUint, BoxedUint)> {
    let bits = n.bits_precision();
    let one = BoxedMontyForm::one(n);
    let minus_one = -one.clone();
    let product = Zeroizing::new(d.concatenating_mul(e));
    if product.is_even().into() || d.is_zero().into() {
        return None;
    }
    // d·e - 1 = 2^twos · odd, and every base to that power is 1.
    let even = Zeroizing::new(product.wrapping_sub(BoxedUint::one()));
    let twos = even.trailing_zeros();
    let odd = Zeroizing::new(even.overflowing_shr(twos).into_option()?);

    (2u64..100).find_map(|base| {
        let base = BoxedUint::from(base).resize_unchecked(bits);
        let mut root = BoxedMontyForm::new(base, n).pow(&odd);
        for _ in 0..twos {
            let square = root.square();
            if square == one && root != one && root != minus_one {
                // A square root of 1 that is neither 1 nor -1 lies one off a multiple of a prime.
                let off = Zeroizing::new((root - &one).retrieve());
                let p = off.gcd(n.modulus().as_ref());
                let q = n.modulus().as_ref() / p.to_nz().into_option()?;
                return Some((p, q));
            }
            root = square;
        }
        None
    })
}

/// `CKR_ATTRIBUTE_VALUE_INVALID` unless the given CRT values are those that follow from `d`.
fn check_crt(key: &::rsa::PrivateKey, crt: &Crt) -> Result<()> {
    let (Some(dp), Some(dq), Some(qinv)) = (key.dp(), key.dq(), key.qinv()) else {
        return fail!(CKR_GENERAL_ERROR, "an RSA key is without its CRT values");
    };
    let qinv = Zeroizing::new(qinv.retrieve());
    for (given, computed) in [(&crt.dp, dp), (&crt.dq, dq), (&crt.qinv, &qinv)] {
        let computed = Zeroizing::new(computed.to_be_bytes());
        let given = left_pad(given, computed.len())?;
        if !bool::from(given.ct_eq(&computed)) {
            return unusable("RSA CRT value");
        }
    }
    Ok(())
}

fn from_secret(value: &[u8], public: &::rsa::PublicKey) -> Result<BoxedUint> {
    let bits = public.n_bits_precision();
    let padded = left_pad(value, bits as usize / 8)?;
    BoxedUint::from_be_slice(&padded, bits)
        .map_err(|_| Error::new(CKR_ATTRIBUTE_VALUE_INVALID, "an RSA value is too long"))
}

/// The last `len` bytes of an integer that is known to fit them; no branch looks at its value.
fn octets(value: &BoxedUint, len: usize) -> Result<Secret> {
    let bytes = Zeroizing::new(value.to_be_bytes());
    match bytes.len().checked_sub(len).and_then(|at| bytes.get(at..)) {
        Some(bytes) => Secret::copy_of(bytes),
        None => fail!(
            CKR_GENERAL_ERROR,
            "an RSA integer is shorter than its field"
        ),
    }
}

fn check_len(block: &[u8], key: &impl PublicKeyParts, rv: cryptoki_sys::CK_RV) -> Result<()> {
    if block.len() == key.size() {
        return Ok(());
    }
    fail!(
        rv,
        "{} bytes for an RSA modulus of {}",
        block.len(),
        key.size()
    )
}

fn unusable<T>(what: &str) -> Result<T> {
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "an {} is out of range or does not belong to the rest of the key",
        what
    )
}

fn not_below_modulus<T>(rv: cryptoki_sys::CK_RV) -> Result<T> {
    fail!(rv, "the integer is not below the RSA modulus")
}
