//! RSA: PKCS #1 v1.5, PSS, OAEP (RFC 8017) and the raw operation.

use super::super::{
    Crt, CryptScheme, Hash, PrivateParts, PublicParts, SecretParts, SignScheme, oaep, pkcs1,
};
use super::ffi::{Bignum, Rsa, check, failed_with, md, refused, secret_integer, write_integer};
use super::{internal, random, wrong_type};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::{
    CK_RV, CKR_ATTRIBUTE_VALUE_INVALID, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE,
    CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_GENERAL_ERROR,
    CKR_MECHANISM_PARAM_INVALID, CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE,
    CKR_TEMPLATE_INCONSISTENT,
};
use std::borrow::Cow;
use std::ffi::c_int;
use std::ops::RangeInclusive;
use std::ptr;
use subtle::ConstantTimeEq;

/// Modulus lengths that are made; the step is AWS-LC's.
const GENERATED_BITS: RangeInclusive<usize> = 1024..=4096;
const GENERATED_STEP: usize = 128;
/// Modulus lengths that are taken in.
const IMPORTED_BITS: RangeInclusive<usize> = 1024..=8192;

/// A public key, and what both halves can do.
pub struct PublicKey {
    rsa: Rsa,
    bits: usize,
}

/// A private key.
pub struct PrivateKey {
    key: PublicKey,
    rejection_key: Secret,
}

// SAFETY: AWS-LC allows concurrent operations on one RSA object, and locks inside it the caches
// that they write (rsa.h, "thread safety").
unsafe impl Send for PublicKey {}
// SAFETY: as above.
unsafe impl Sync for PublicKey {}

/// Makes a key pair with all the values of RFC 8017 3.2.
pub fn generate(bits: usize, exponent: &[u8]) -> Result<PrivateParts> {
    if !GENERATED_BITS.contains(&bits) || !bits.is_multiple_of(GENERATED_STEP) {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "RSA keys are made with {} to {} bits in steps of {GENERATED_STEP}, not {bits}",
            GENERATED_BITS.start(),
            GENERATED_BITS.end()
        );
    }
    let exponent = super::super::trim(exponent);
    if exponent.len() > 4 || exponent == [1] || exponent.last().is_none_or(|low| low % 2 == 0) {
        return fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "the public exponent is odd, 3 or more, and has at most 32 bits"
        );
    }
    let e = Bignum::from_bytes(exponent)?;
    let bit_count = c_int::try_from(bits).map_err(|_| internal("a modulus beyond an int"))?;
    // SAFETY: the constructor has no preconditions.
    let rsa = Rsa::own(unsafe { c::RSA_new() })?;
    // SAFETY: the key and the exponent are live; null stands for "no progress calls".
    let done =
        unsafe { c::RSA_generate_key_ex(rsa.as_ptr(), bit_count, e.as_ptr(), ptr::null_mut()) };
    check(done, CKR_GENERAL_ERROR, "AWS-LC made no RSA key pair")?;

    let (len, half) = (bits / 8, bits / 16);
    let mut n = vec![0; len];
    let key = rsa.as_ptr();
    // SAFETY: the key is live and so are its values, until it is dropped at the end.
    unsafe {
        write_integer(c::RSA_get0_n(key), &mut n)?;
        Ok(PrivateParts {
            public: PublicParts::Rsa {
                n,
                e: exponent.to_vec(),
            },
            secret: SecretParts::Rsa {
                d: secret_integer(c::RSA_get0_d(key), len)?,
                crt: Some(Crt {
                    p: secret_integer(c::RSA_get0_p(key), half)?,
                    q: secret_integer(c::RSA_get0_q(key), half)?,
                    dp: secret_integer(c::RSA_get0_dmp1(key), half)?,
                    dq: secret_integer(c::RSA_get0_dmq1(key), half)?,
                    qinv: secret_integer(c::RSA_get0_iqmp(key), half)?,
                }),
            },
        })
    }
}

/// What to answer when an operation gets a block of the wrong length, or an integer that is not
/// below the modulus.
#[derive(Clone, Copy)]
struct Refusals {
    length: CK_RV,
    value: CK_RV,
}

const DATA: Refusals = Refusals {
    length: CKR_DATA_LEN_RANGE,
    value: CKR_DATA_INVALID,
};
const CIPHERTEXT: Refusals = Refusals {
    length: CKR_ENCRYPTED_DATA_LEN_RANGE,
    value: CKR_ENCRYPTED_DATA_INVALID,
};
const SIGNATURE: Refusals = Refusals {
    length: CKR_SIGNATURE_LEN_RANGE,
    value: CKR_SIGNATURE_INVALID,
};

/// `RSA_sign_raw`, `RSA_verify_raw`, `RSA_encrypt` and `RSA_decrypt` have one shape.
type Operation =
    unsafe extern "C" fn(*mut c::RSA, *mut usize, *mut u8, usize, *const u8, usize, c_int) -> c_int;

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the modulus is odd with 1024 to 8192 bits and the
    /// exponent odd, from 3 to 33 bits (AWS-LC's limit, lest a key costs the verifier minutes).
    pub fn new(n: &[u8], e: &[u8]) -> Result<Self> {
        let (n, e) = (Bignum::from_bytes(n)?, Bignum::from_bytes(e)?);
        // SAFETY: both integers are live; AWS-LC copies and checks them.
        Self::own(unsafe { c::RSA_new_public_key(n.as_ptr(), e.as_ptr()) })
    }

    fn own(rsa: *mut c::RSA) -> Result<Self> {
        if rsa.is_null() {
            return Err(invalid_key());
        }
        let rsa = Rsa::own(rsa)?;
        // SAFETY: the key is live and has a modulus.
        let bits = unsafe { c::RSA_bits(rsa.as_ptr()) } as usize;
        if !IMPORTED_BITS.contains(&bits) {
            return fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "an RSA modulus has {} to {} bits, not {bits}",
                IMPORTED_BITS.start(),
                IMPORTED_BITS.end()
            );
        }
        Ok(Self { rsa, bits })
    }

    fn len(&self) -> usize {
        self.bits.div_ceil(8)
    }

    /// `rv` unless `block` is as long as the modulus.
    fn check_len(&self, block: &[u8], rv: CK_RV) -> Result<()> {
        if block.len() != self.len() {
            return fail!(
                rv,
                "{} bytes for an RSA modulus of {}",
                block.len(),
                self.len()
            );
        }
        Ok(())
    }

    /// One RSA operation without padding, from `block` into `out`, both as long as the modulus.
    fn transform(
        &self,
        operation: Operation,
        block: &[u8],
        out: &mut [u8],
        refusals: Refusals,
    ) -> Result<()> {
        self.check_len(block, refusals.length)?;
        self.check_len(out, CKR_GENERAL_ERROR)?;
        let mut written = 0;
        // SAFETY: the key is live, and AWS-LC locks what the operation writes in it; both buffers
        // are as long as the modulus.
        let done = unsafe {
            operation(
                self.rsa.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                block.as_ptr(),
                block.len(),
                c::RSA_NO_PADDING,
            )
        };
        if done == 1 && written == out.len() {
            Ok(())
        } else if failed_with(c::RSA_R_DATA_TOO_LARGE_FOR_MODULUS) {
            // The private operation also gives this for 0, 1 and n - 1, which it would not change.
            Err(refused(
                refusals.value,
                "the integer is not in the range of the modulus",
            ))
        } else {
            Err(internal("AWS-LC broke off an RSA operation"))
        }
    }

    /// The block that `signature` holds.
    fn recover(&self, signature: &[u8]) -> Result<Vec<u8>> {
        let mut block = vec![0; self.len()];
        self.transform(c::RSA_verify_raw, signature, &mut block, SIGNATURE)?;
        Ok(block)
    }

    /// Checks RSASSA-PKCS1-v1_5 by comparing whole blocks, so that no second form of a padding
    /// passes (RFC 8017 8.2.2).
    pub fn verify_pkcs1(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        let expected = pkcs1::pad_type1(input, self.len())?;
        same(&self.recover(signature)?, &expected)
    }

    /// Checks that the RSA operation makes `input` of `signature`.
    pub fn verify_raw(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        self.check_len(input, CKR_DATA_LEN_RANGE)?;
        same(&self.recover(signature)?, input)
    }

    /// Checks RSASSA-PSS.
    pub fn verify_pss(
        &self,
        hash: Hash,
        mgf: Hash,
        salt: usize,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let salt = self.pss_salt(hash, salt, digest)?;
        let block = self.recover(signature)?;
        // SAFETY: the key is live; the digest has the length of its hash function and the block
        // that of the modulus, which is what the call reads.
        let done = unsafe {
            c::RSA_verify_PKCS1_PSS_mgf1(
                self.rsa.as_ptr(),
                digest.as_ptr(),
                md(hash),
                md(mgf),
                block.as_ptr(),
                salt,
            )
        };
        check(
            done,
            CKR_SIGNATURE_INVALID,
            "the RSASSA-PSS signature does not hold",
        )
    }

    /// The block to which the raw private operation is applied to sign `input`.
    pub fn pad_to_sign<'a>(&self, scheme: &SignScheme, input: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        match scheme {
            // RFC 8017 8.2.1 step 1, without the hash.
            SignScheme::RsaPkcs1 => Ok(pkcs1::pad_type1(input, self.len())?.into()),
            SignScheme::RsaPss { hash, mgf, salt } => {
                Ok(self.pad_pss(*hash, *mgf, *salt, input)?.into())
            }
            SignScheme::RsaRaw => {
                self.check_len(input, CKR_DATA_LEN_RANGE)?;
                Ok(input.into())
            }
            _ => Err(wrong_type()),
        }
    }

    /// EMSA-PSS over a digest (RFC 8017 9.1.1).
    fn pad_pss(&self, hash: Hash, mgf: Hash, salt: usize, digest: &[u8]) -> Result<Vec<u8>> {
        let salt = self.pss_salt(hash, salt, digest)?;
        let mut block = vec![0; self.len()];
        // SAFETY: the key is live; the digest has the length of its hash function and the block
        // that of the modulus, which is what the call reads and writes.
        let done = unsafe {
            c::RSA_padding_add_PKCS1_PSS_mgf1(
                self.rsa.as_ptr(),
                block.as_mut_ptr(),
                digest.as_ptr(),
                md(hash),
                md(mgf),
                salt,
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC gave no PSS padding")?;
        Ok(block)
    }

    /// The message in the block that the raw private operation made of `ciphertext`.
    pub fn unpad_decrypted(
        &self,
        scheme: &CryptScheme,
        block: &[u8],
        ciphertext: &[u8],
        rejection_key: &[u8],
    ) -> Result<Secret> {
        self.check_len(block, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
        self.check_len(ciphertext, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
        scheme.unpad(Secret::copy_of(block)?, ciphertext, rejection_key)
    }

    /// The salt length as AWS-LC takes it, after RFC 8017 9.1.1 steps 2 and 3.
    fn pss_salt(&self, hash: Hash, salt: usize, digest: &[u8]) -> Result<c_int> {
        if digest.len() != hash.len() {
            return fail!(
                CKR_DATA_LEN_RANGE,
                "RSASSA-PSS takes a digest of {} bytes here, not {}",
                hash.len(),
                digest.len()
            );
        }
        let room = (self.bits - 1).div_ceil(8).checked_sub(hash.len() + 2);
        match (room, c_int::try_from(salt)) {
            (Some(room), Ok(salt_len)) if salt <= room => Ok(salt_len),
            _ => fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "a salt of {salt} bytes does not fit an RSA modulus of {} bits",
                self.bits
            ),
        }
    }

    /// Encrypts `plaintext`.
    pub fn encrypt(&self, scheme: &CryptScheme, plaintext: &[u8]) -> Result<Vec<u8>> {
        let block = match scheme {
            CryptScheme::RsaRaw => Secret::copy_of(plaintext)?,
            CryptScheme::RsaPkcs1 => self.pad_type2(plaintext)?,
            CryptScheme::RsaOaep { hash, mgf, label } => {
                self.pad_oaep(*hash, *mgf, label, plaintext)?
            }
        };
        let mut ciphertext = vec![0; self.len()];
        self.transform(c::RSA_encrypt, &block, &mut ciphertext, DATA)?;
        Ok(ciphertext)
    }

    fn check_room(&self, plaintext: &[u8], overhead: usize) -> Result<()> {
        match self.len().checked_sub(overhead) {
            Some(room) if plaintext.len() <= room => Ok(()),
            _ => fail!(
                CKR_DATA_LEN_RANGE,
                "{} bytes do not fit an RSA modulus of {} with a padding of {overhead}",
                plaintext.len(),
                self.len()
            ),
        }
    }

    /// `00 02 ‖ random bytes that are not zero ‖ 00 ‖ plaintext` (RFC 8017 7.2.1).
    fn pad_type2(&self, plaintext: &[u8]) -> Result<Secret> {
        self.check_room(plaintext, pkcs1::OVERHEAD)?;
        let mut block = Secret::zeroed(self.len())?;
        let (padding, message) = block.split_at_mut(self.len() - plaintext.len());
        message.copy_from_slice(plaintext);
        if let [_, two, padding @ .., _] = padding {
            *two = 2;
            random(padding)?;
            for byte in padding {
                while *byte == 0 {
                    random(std::slice::from_mut(byte))?;
                }
            }
        }
        Ok(block)
    }

    fn pad_oaep(&self, hash: Hash, mgf: Hash, label: &[u8], plaintext: &[u8]) -> Result<Secret> {
        self.check_room(plaintext, oaep::overhead(hash))?;
        let mut block = Secret::zeroed(self.len())?;
        // SAFETY: every buffer is readable or writable for its length.
        let done = unsafe {
            c::RSA_padding_add_PKCS1_OAEP_mgf1(
                block.as_mut_ptr(),
                block.len(),
                plaintext.as_ptr(),
                plaintext.len(),
                label.as_ptr(),
                label.len(),
                md(hash),
                md(mgf),
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC gave no OAEP padding")?;
        Ok(block)
    }
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the values belong together, with the limits of
    /// [`PublicKey::new`]. One operation proves `d` where the primes are not there, and fills
    /// AWS-LC's caches for the next in any case.
    pub fn new(n: &[u8], e: &[u8], d: &[u8], crt: Option<&Crt>) -> Result<Self> {
        let public = PublicKey::new(n, e)?;
        let (n, e) = (Bignum::from_bytes(n)?, Bignum::from_bytes(e)?);
        let exponent = Bignum::from_bytes(d)?;
        let rsa = match crt {
            None => {
                // SAFETY: the integers are live; AWS-LC copies and checks them.
                unsafe { c::RSA_new_private_key_no_crt(n.as_ptr(), e.as_ptr(), exponent.as_ptr()) }
            }
            Some(crt) => {
                let (p, q) = (Bignum::from_bytes(&crt.p)?, Bignum::from_bytes(&crt.q)?);
                let (dp, dq) = (Bignum::from_bytes(&crt.dp)?, Bignum::from_bytes(&crt.dq)?);
                let qinv = Bignum::from_bytes(&crt.qinv)?;
                // SAFETY: the integers are live; AWS-LC copies them and checks that they multiply
                // out.
                unsafe {
                    c::RSA_new_private_key(
                        n.as_ptr(),
                        e.as_ptr(),
                        exponent.as_ptr(),
                        p.as_ptr(),
                        q.as_ptr(),
                        dp.as_ptr(),
                        dq.as_ptr(),
                        qinv.as_ptr(),
                    )
                }
            }
        };
        let key = PublicKey::own(rsa)?;
        let rejection_key = pkcs1::rejection_key(d, key.len())?;
        let key = Self { key, rejection_key };
        key.prove(&public)?;
        Ok(key)
    }

    /// Encrypts a random integer and decrypts it again.
    fn prove(&self, public: &PublicKey) -> Result<()> {
        let mut integer = Secret::zeroed(public.len())?;
        // The first byte stays 0, and so the integer below the modulus.
        random(integer.get_mut(1..).unwrap_or_default())?;
        let ciphertext = public.encrypt(&CryptScheme::RsaRaw, &integer)?;
        match self.raw(c::RSA_decrypt, &ciphertext, CIPHERTEXT) {
            Ok(decrypted) if bool::from(decrypted.ct_eq(&integer)) => Ok(()),
            _ => Err(invalid_key()),
        }
    }

    fn raw(&self, operation: Operation, block: &[u8], refusals: Refusals) -> Result<Secret> {
        let mut out = Secret::zeroed(self.key.len())?;
        self.key.transform(operation, block, &mut out, refusals)?;
        Ok(out)
    }

    /// Signs `input`.
    pub fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        let block = self.key.pad_to_sign(scheme, input)?;
        let mut signature = vec![0; self.key.len()];
        self.key
            .transform(c::RSA_sign_raw, &block, &mut signature, DATA)?;
        Ok(signature)
    }

    /// Decrypts `ciphertext`.
    pub fn decrypt(&self, scheme: &CryptScheme, ciphertext: &[u8]) -> Result<Secret> {
        let block = self.raw(c::RSA_decrypt, ciphertext, CIPHERTEXT)?;
        scheme.unpad(block, ciphertext, &self.rejection_key)
    }
}

fn same(recovered: &[u8], expected: &[u8]) -> Result<()> {
    if recovered != expected {
        return fail!(CKR_SIGNATURE_INVALID, "the RSA signature does not hold");
    }
    Ok(())
}

fn invalid_key() -> Error {
    refused(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "the values of the RSA key do not belong together",
    )
}
