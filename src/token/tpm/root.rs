//! The storage root: the one key of ours that stays in the TPM. Its public half is pinned when a
//! token is made, and says ever after which chip the token belongs to.

use super::fault::{Code, Fault};
use super::frame::split_2b;
use super::kdf::{kdfa, kdfe};
use super::object::{self, STORAGE};
use crate::crypto::{Curve, Direction, Hash, KeySpec, PublicParts, SecretParts, engine};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_TOKEN_NOT_RECOGNIZED};
use tpm2_protocol::data::*;

/// Length of seeds and salts: that of the root's name algorithm, SHA-256.
const SEED: usize = 32;

/// A storage root as it was pinned.
pub(super) struct Root {
    /// Where it is in the TPM.
    pub(super) handle: u32,
    /// Its name.
    pub(super) name: Vec<u8>,
    public: Vec<u8>,
    point: Vec<u8>,
    /// Key length in bytes of the AES that wraps what is under it.
    aes_key: usize,
}

impl Root {
    /// Of the public area at a handle, where it is fit to be a root: restricted decryption on P-256,
    /// made in this TPM and bound to it.
    pub(super) fn of(handle: u32, public: &TpmtPublic) -> std::result::Result<Option<Self>, Fault> {
        let fit = public.name_alg == TpmAlgId::Sha256
            && STORAGE
                .into_iter()
                .all(|attribute| public.object_attributes.contains(attribute));
        let (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(at), true) =
            (&public.parameters, &public.unique, fit)
        else {
            return Ok(None);
        };
        let (TpmEccCurve::NistP256, TpmuSymKeyBits::Aes(bits), TpmuSymMode::Aes(TpmAlgId::Cfb)) = (
            parameters.curve_id,
            parameters.symmetric.key_bits,
            parameters.symmetric.mode,
        ) else {
            return Ok(None);
        };
        let bytes = object::to_bytes(public)?;
        Ok(Some(Self {
            handle,
            name: object::name(&bytes),
            point: object::point(Curve::P256, at)?,
            public: bytes,
            aes_key: usize::from(u16::from(bits)) / 8,
        }))
    }

    /// What is stored with a token: the handle and a TPM2B_PUBLIC.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.handle.to_be_bytes().to_vec();
        bytes.extend((self.public.len() as u16).to_be_bytes());
        bytes.extend(&self.public);
        bytes
    }

    /// From what was stored.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return fail!(
                CKR_TOKEN_NOT_RECOGNIZED,
                "the token is not initialized: C_InitToken, or `nodetoken init`"
            );
        }
        let parsed = bytes.split_first_chunk().and_then(|(handle, rest)| {
            let (public, []) = split_2b(rest)? else {
                return None;
            };
            let public = object::public_of(public).ok()?;
            Self::of(u32::from_be_bytes(*handle), &public).ok()?
        });
        parsed.ok_or_else(|| {
            Error::new(
                CKR_DEVICE_ERROR,
                "the token's record of its TPM is damaged: restore a backup",
            )
        })
    }

    /// A fresh secret for this root alone, and what tells it to the TPM (Part 1, C.6.1 and C.6.4):
    /// an ephemeral public key. `label` is what the secret is for.
    pub(super) fn secret(
        &self,
        label: &[u8],
    ) -> std::result::Result<(Secret, Tpm2bEncryptedSecret), Fault> {
        let ephemeral = engine::generate(&KeySpec::Ec(Curve::P256))?;
        let (PublicParts::Ec { point, .. }, SecretParts::Ec { d }) =
            (&ephemeral.public, &ephemeral.secret)
        else {
            return Err(Error::new(CKR_GENERAL_ERROR, "the engine made another key").into());
        };
        let z = engine::agree(Curve::P256, d, &self.point)?;
        let secret = kdfe(&z, label, x_of(point), x_of(&self.point), SEED)?;
        let mut encrypted = Vec::with_capacity(point.len() + 4);
        for coordinate in point.get(1..).unwrap_or_default().chunks(Curve::P256.len()) {
            encrypted.extend((coordinate.len() as u16).to_be_bytes());
            encrypted.extend(coordinate);
        }
        Ok((
            secret,
            Tpm2bEncryptedSecret::try_from(encrypted.as_slice())?,
        ))
    }

    /// Wraps a TPM2B_SENSITIVE for this root (Part 1, 23.3.2.4, outer wrap without an inner one): the
    /// value of a TPM2B_PRIVATE for TPM2_Import, and the seed that goes with it. `name` is that of
    /// the object.
    pub(super) fn wrap(
        &self,
        sensitive: &[u8],
        name: &[u8],
    ) -> std::result::Result<(Tpm2bPrivate, Tpm2bEncryptedSecret), Fault> {
        let (seed, encrypted_seed) = self.secret(b"DUPLICATE")?;
        let key = kdfa(&seed, b"STORAGE", name, &[], self.aes_key)?;
        let mut wrapped = Secret::copy_of(sensitive)?;
        engine::cfb(Direction::Encrypt, &key, &[0; 16], &mut wrapped)?;
        let mac_key = kdfa(&seed, b"INTEGRITY", &[], &[], SEED)?;
        let mut mac = engine::Hmac::new(Hash::Sha256, &mac_key)?;
        mac.update(&wrapped);
        mac.update(name);
        let mac = mac.finish();
        let mut duplicate = (mac.len() as u16).to_be_bytes().to_vec();
        duplicate.extend(mac);
        duplicate.extend_from_slice(&wrapped);
        Ok((
            Tpm2bPrivate::try_from(duplicate.as_slice())?,
            encrypted_seed,
        ))
    }

    /// What a refusal of the first command under this root means: there is no such key, or the chip
    /// did not learn the salt of the session, because its key is another one.
    pub(super) fn judge(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Code(code) if is_foreign(code) => Fault::Error(self.not_authentic(code)),
            other => other,
        }
    }

    fn not_authentic(&self, code: Code) -> Error {
        Error::new(
            CKR_DEVICE_ERROR,
            format!(
                "token not authentic: this TPM is not the one that the token was made on, or has \
                 been cleared; the storage root at {:#x} is not the pinned one ({code})",
                self.handle
            ),
        )
    }
}

fn is_foreign(code: Code) -> bool {
    code.says_wrong_auth()
        || code.says_no_such_handle()
        || matches!(
            code.base(),
            Some(TpmRcBase::Key | TpmRcBase::EccPoint | TpmRcBase::Type | TpmRcBase::Attributes)
        )
}

fn x_of(point: &[u8]) -> &[u8] {
    point.get(1..=Curve::P256.len()).unwrap_or_default()
}

/// Refuses a persistent handle that a storage root of the owner cannot have (Part 2, 7.4).
pub(super) fn check_handle(handle: u32) -> Result<()> {
    if (0x8100_0000..=0x817f_ffff).contains(&handle) {
        return Ok(());
    }
    fail!(
        CKR_GENERAL_ERROR,
        "tpm.storage_root {handle:#x} is no persistent handle of the owner (0x81000000 to 0x817fffff)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tpm2_protocol::TpmUnmarshal;

    fn public() -> TpmtPublic {
        let mut public = object::storage_root().unwrap();
        let ephemeral = engine::generate(&KeySpec::Ec(Curve::P256)).unwrap();
        let PublicParts::Ec { point, .. } = ephemeral.public else {
            panic!("another key");
        };
        let half = |at: std::ops::Range<usize>| Tpm2bEccParameter::try_from(&point[at]).unwrap();
        let (x, y) = (half(1..33), half(33..65));
        public.unique = TpmuPublicId::Ecc(TpmsEccPoint { x, y });
        public
    }

    #[test]
    fn a_root_is_what_was_stored() {
        let root = Root::of(0x8100_0001, &public()).unwrap().unwrap();
        let again = Root::from_bytes(&root.to_bytes()).unwrap();
        assert_eq!((again.handle, &again.name), (root.handle, &root.name));
        let bytes = root.to_bytes();
        for len in 0..bytes.len() {
            assert!(Root::from_bytes(&bytes[..len]).is_err());
        }
    }

    /// Every attribute is needed: without NO_DA a locked chip would stop all that is under the root.
    #[test]
    fn other_keys_are_no_roots() {
        for missing in STORAGE {
            let mut other = public();
            let left = other.object_attributes.bits() & !missing.bits();
            let bytes = left.to_be_bytes();
            (other.object_attributes, _) = TpmaObject::unmarshal(&bytes).unwrap();
            assert!(Root::of(0x8100_0001, &other).unwrap().is_none());
        }
        let rsa = KeySpec::Rsa {
            bits: 2048,
            exponent: vec![1, 0, 1],
        };
        let rsa = object::new_key(&rsa).unwrap();
        assert!(Root::of(0x8100_0001, &rsa).unwrap().is_none());
    }
}
