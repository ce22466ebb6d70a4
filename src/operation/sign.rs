//! Signing and verifying, MACs included (PKCS#11 5.13, 5.15).

use super::{
    Answer, Guard, Operations, Room, advance, append, check_guard, collect, finish, none_active,
    take, with_room,
};
use crate::crypto::{Hash, MlDsaScheme, SignScheme, engine, left_pad, pkcs1};
use crate::error::{Result, fail};
use crate::mechanism::{Mechanism, Parameter, Plan};
use crate::memory;
use crate::object::Object;
use crate::session::Session;
use crate::token::PrivateKey;
use cryptoki_sys::*;
use std::sync::{Arc, MutexGuard};
use subtle::ConstantTimeEq;

/// A shorter MAC could be found by trying.
const SHORTEST_MAC: usize = 4;
/// A block of AES (SP 800-38B).
const CMAC: usize = 16;

/// What is to be signed, as it comes in.
enum Message {
    /// Hashed; signed is the digest.
    Digest(engine::Digest),
    /// Hashed; signed is the DigestInfo (RFC 8017 9.2).
    DigestInfo(Hash, engine::Digest),
    /// Signed as it is.
    Whole(Vec<u8>),
    /// A digest, signed as it is and in no parts (CKM_HASH_ML_DSA: "single-part operations only").
    Digested,
    /// Signed as an integer of so many bytes (CKM_RSA_X_509).
    Integer(usize, Vec<u8>),
    /// The MAC is the signature.
    Mac(Box<Mac>),
}

/// A message authentication code under way.
enum Mac {
    Hmac(engine::Hmac),
    Cmac(engine::Cmac),
}

impl Mac {
    fn update(&mut self, data: &[u8]) {
        match self {
            Mac::Hmac(mac) => mac.update(data),
            Mac::Cmac(mac) => mac.update(data),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Mac::Hmac(mac) => mac.finish(),
            Mac::Cmac(mac) => mac.finish(),
        }
    }
}

impl Message {
    fn new(hash: Option<Hash>) -> Result<Self> {
        Ok(match hash {
            Some(hash) => Message::Digest(engine::Digest::new(hash)?),
            None => Message::Whole(Vec::new()),
        })
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        match self {
            Message::Digest(state) | Message::DigestInfo(_, state) => state.update(data),
            Message::Mac(mac) => mac.update(data),
            Message::Whole(collected) | Message::Integer(_, collected) => collect(collected, data)?,
            Message::Digested => {
                return fail!(
                    CKR_OPERATION_NOT_INITIALIZED,
                    "this mechanism takes its digest in one piece, by C_Sign or C_Verify"
                );
            }
        }
        Ok(())
    }

    /// What the key signs, after `data` as the last piece. It is not the caller's memory, which another
    /// thread may change: EdDSA reads a message twice, and two messages with one nonce give the private
    /// key away (RFC 8032 5.1.6).
    fn finish(self, data: &[u8]) -> Result<Vec<u8>> {
        match self {
            Message::Digest(mut state) => {
                state.update(data);
                Ok(state.finish())
            }
            Message::DigestInfo(hash, mut state) => {
                state.update(data);
                Ok(pkcs1::digest_info(hash, &state.finish()))
            }
            Message::Whole(mut collected) => {
                append(&mut collected, data)?;
                Ok(collected)
            }
            Message::Digested => memory::copy(data),
            Message::Integer(len, mut collected) => {
                append(&mut collected, data)?;
                if collected.len() > len {
                    return fail!(
                        CKR_DATA_LEN_RANGE,
                        "the data is longer than the modulus of {len} bytes"
                    );
                }
                Ok(left_pad(&collected, len)?.to_vec())
            }
            Message::Mac(mut mac) => {
                mac.update(data);
                Ok(mac.finish())
            }
        }
    }
}

/// How a mechanism signs with a key: message, scheme (`None`: a MAC), length of the signature.
fn plan(
    row: &Mechanism,
    parameter: &Parameter,
    key: &Object,
    session: &Session,
) -> Result<(Message, Option<SignScheme>, usize)> {
    let (_, len) = key.size();
    let (message, scheme) = match (row.plan, parameter) {
        (Plan::RsaPkcs1(Some(hash)), _) => (
            Message::DigestInfo(hash, engine::Digest::new(hash)?),
            SignScheme::RsaPkcs1,
        ),
        (Plan::RsaPkcs1(None), _) => (Message::new(None)?, SignScheme::RsaPkcs1),
        (Plan::RsaPss(hashed), &Parameter::Pss { hash, mgf, salt }) => {
            if hashed.is_some_and(|hashed| hashed != hash) {
                return fail!(
                    CKR_MECHANISM_PARAM_INVALID,
                    "hashAlg of the parameter is not the hash of {}",
                    row.name
                );
            }
            if salt.saturating_add(hash.len()).saturating_add(2) > len {
                return fail!(
                    CKR_MECHANISM_PARAM_INVALID,
                    "a salt of {salt} bytes does not fit the modulus"
                );
            }
            (
                Message::new(hashed)?,
                SignScheme::RsaPss { hash, mgf, salt },
            )
        }
        (Plan::RsaRaw, _) => (Message::Integer(len, Vec::new()), SignScheme::RsaRaw),
        (Plan::Ecdsa(hash), _) => (Message::new(hash)?, SignScheme::Ecdsa),
        (Plan::EdDsa, parameter) => {
            let (prehash, context) = match parameter {
                Parameter::EdDsa { prehash, context } => (*prehash, Some(context.clone())),
                _ => (false, None),
            };
            (Message::new(None)?, SignScheme::EdDsa { prehash, context })
        }
        (Plan::MlDsa, parameter) => (Message::new(None)?, ml_dsa(None, parameter)),
        (Plan::HashMlDsa(Some(hash)), parameter) => {
            (Message::new(Some(hash))?, ml_dsa(Some(hash), parameter))
        }
        (Plan::HashMlDsa(None), parameter @ Parameter::SignContext { hash, .. }) => {
            (Message::Digested, ml_dsa(*hash, parameter))
        }
        (Plan::Hmac(hash), parameter) => {
            let len = mac_len(parameter, hash.len())?;
            let key = key.secret_key(session.slot.token())?;
            let mac = Mac::Hmac(engine::Hmac::new(hash, &key)?);
            return Ok((Message::Mac(Box::new(mac)), None, len));
        }
        (Plan::Cmac, parameter) => {
            let len = mac_len(parameter, CMAC)?;
            let key = key.secret_key(session.slot.token())?;
            let mac = Mac::Cmac(engine::Cmac::new(&key)?);
            return Ok((Message::Mac(Box::new(mac)), None, len));
        }
        _ => return fail!(CKR_MECHANISM_INVALID, "{} does not sign", row.name),
    };
    Ok((message, Some(scheme), len))
}

/// The length of a MAC: `whole`, or what the parameter asks for.
fn mac_len(parameter: &Parameter, whole: usize) -> Result<usize> {
    match parameter {
        Parameter::Length(len) if (SHORTEST_MAC..=whole).contains(len) => Ok(*len),
        Parameter::Length(len) => fail!(
            CKR_MECHANISM_PARAM_INVALID,
            "a MAC of {len} bytes is not between {SHORTEST_MAC} and {whole}"
        ),
        _ => Ok(whole),
    }
}

fn ml_dsa(prehash: Option<Hash>, parameter: &Parameter) -> SignScheme {
    let (hedge, context) = match parameter {
        Parameter::SignContext { hedge, context, .. } => (*hedge, context.clone()),
        _ => (CKH_HEDGE_PREFERRED, Vec::new()),
    };
    SignScheme::MlDsa(MlDsaScheme {
        prehash,
        context,
        deterministic: hedge == CKH_DETERMINISTIC_REQUIRED,
    })
}

/// Refuses a hedge variant that does not exist; only who signs looks at it (ML-DSA, "On verification
/// the hedgeVariant parameter is ignored").
fn check_hedge(parameter: &Parameter) -> Result<()> {
    match parameter {
        Parameter::SignContext { hedge, .. }
            if ![
                CKH_HEDGE_PREFERRED,
                CKH_HEDGE_REQUIRED,
                CKH_DETERMINISTIC_REQUIRED,
            ]
            .contains(hedge) =>
        {
            fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "hedge variant {hedge:#x} is not known"
            )
        }
        _ => Ok(()),
    }
}

/// The making of one signature.
pub struct Making {
    message: Message,
    signer: Option<(Arc<dyn PrivateKey>, SignScheme)>,
    /// Length of the signature.
    pub(crate) len: usize,
}

impl Making {
    /// With a key that may sign so.
    pub(crate) fn new(
        session: &Session,
        row: &Mechanism,
        parameter: &Parameter,
        key: &Object,
    ) -> Result<Self> {
        check_hedge(parameter)?;
        let (message, scheme, len) = plan(row, parameter, key, session)?;
        if let Some(SignScheme::RsaPss {
            hash: Hash::Sha1, ..
        }) = scheme
            && !session.slot.policy.sha1_sign
        {
            return fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "hashAlg is SHA-1, which signs only where [policy] sha1_sign allows it"
            );
        }
        let signer = match scheme {
            Some(scheme) => Some((key.private_key(session.slot.token())?, scheme)),
            None => None,
        };
        Ok(Self {
            message,
            signer,
            len,
        })
    }

    /// Takes in a piece of the message.
    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        self.message.update(data)
    }

    /// The signature, after `data` as the last piece.
    pub(crate) fn finish(self, data: &[u8]) -> Result<Vec<u8>> {
        let message = self.message.finish(data)?;
        match self.signer {
            Some((key, scheme)) => key.sign(&scheme, &message),
            None => Ok(message.into_iter().take(self.len).collect()),
        }
    }
}

/// The checking of one signature.
pub struct Checking {
    message: Message,
    verifier: Option<(Arc<engine::PublicKey>, SignScheme)>,
    len: usize,
}

impl Checking {
    /// With a key that may verify so.
    pub(crate) fn new(
        session: &Session,
        row: &Mechanism,
        parameter: &Parameter,
        key: &Object,
    ) -> Result<Self> {
        let (message, scheme, len) = plan(row, parameter, key, session)?;
        let verifier = match scheme {
            Some(scheme) => Some((key.public_key()?, scheme)),
            None => None,
        };
        Ok(Self {
            message,
            verifier,
            len,
        })
    }

    /// Takes in a piece of the message.
    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        self.message.update(data)
    }

    /// Whether the signature holds, after `data` as the last piece.
    pub(crate) fn finish(self, data: &[u8], signature: &[u8]) -> Result<()> {
        if signature.len() != self.len {
            return fail!(
                CKR_SIGNATURE_LEN_RANGE,
                "the signature has {} bytes, not {}",
                signature.len(),
                self.len
            );
        }
        let message = self.message.finish(data)?;
        match self.verifier {
            Some((key, scheme)) => key.verify(&scheme, &message, signature),
            None => {
                let mac = message.get(..self.len).unwrap_or_default();
                if bool::from(mac.ct_eq(signature)) {
                    Ok(())
                } else {
                    fail!(CKR_SIGNATURE_INVALID, "the MAC is not that of the data")
                }
            }
        }
    }
}

/// A signature under way.
pub struct Signing {
    pub(crate) guard: Guard,
    making: Making,
    updated: bool,
}

impl Signing {
    /// C_SignUpdate.
    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        self.updated = true;
        self.making.update(data)
    }
}

/// A verification under way.
pub struct Verifying {
    pub(crate) guard: Guard,
    checking: Checking,
    updated: bool,
}

impl Verifying {
    /// C_VerifyUpdate.
    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        self.updated = true;
        self.checking.update(data)
    }
}

/// A verification of a signature that was there at its beginning (5.15.7).
pub struct VerifyingSignature {
    pub(crate) guard: Guard,
    checking: Checking,
    signature: Vec<u8>,
    updated: bool,
}

impl Session {
    /// C_SignInit.
    pub fn sign_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: &Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.sign)?;
        let (row, key) = self.key_for(CKF_SIGN, CKA_SIGN, mechanism, key)?;
        operations.sign = Some(Signing {
            guard: Guard::new(&self.slot, &key),
            making: Making::new(self, &row, parameter, &key)?,
            updated: false,
        });
        Ok(())
    }

    /// The operations, with the signature fit to go on.
    pub(crate) fn signing(&self) -> Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        check_guard(&mut operations.sign, |sign| &sign.guard, &self.slot)?;
        Ok(operations)
    }

    /// C_Sign.
    pub fn sign(&self, data: &[u8], room: Room) -> Result<Answer> {
        finish(&mut self.signing()?.sign, |sign| {
            if sign.updated {
                return fail!(CKR_OPERATION_ACTIVE, "C_Sign after C_SignUpdate");
            }
            let len = sign.making.len;
            with_room(sign, room, len, |sign| sign.making.finish(data))
        })
    }

    /// C_SignUpdate.
    pub fn sign_update(&self, data: &[u8]) -> Result<()> {
        advance(&mut self.signing()?.sign, |sign| sign.update(data))
    }

    /// C_SignFinal.
    pub fn sign_final(&self, room: Room) -> Result<Answer> {
        finish(&mut self.signing()?.sign, |sign| {
            let len = sign.making.len;
            with_room(sign, room, len, |sign| sign.making.finish(&[]))
        })
    }

    /// C_VerifyInit.
    pub fn verify_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: &Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.verify)?;
        none_active(&operations.verify_signature)?;
        let (row, key) = self.key_for(CKF_VERIFY, CKA_VERIFY, mechanism, key)?;
        operations.verify = Some(Verifying {
            guard: Guard::new(&self.slot, &key),
            checking: Checking::new(self, &row, parameter, &key)?,
            updated: false,
        });
        Ok(())
    }

    /// The operations, with the verification fit to go on.
    pub(crate) fn verifying(&self) -> Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        check_guard(&mut operations.verify, |verify| &verify.guard, &self.slot)?;
        Ok(operations)
    }

    /// C_Verify.
    pub fn verify(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        let verify = take(&mut self.verifying()?.verify)?;
        if verify.updated {
            return fail!(CKR_OPERATION_ACTIVE, "C_Verify after C_VerifyUpdate");
        }
        verify.checking.finish(data, signature)
    }

    /// C_VerifyUpdate.
    pub fn verify_update(&self, data: &[u8]) -> Result<()> {
        advance(&mut self.verifying()?.verify, |verify| verify.update(data))
    }

    /// C_VerifyFinal.
    pub fn verify_final(&self, signature: &[u8]) -> Result<()> {
        take(&mut self.verifying()?.verify)?
            .checking
            .finish(&[], signature)
    }

    /// C_VerifySignatureInit.
    pub fn verify_signature_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: &Parameter,
        key: CK_OBJECT_HANDLE,
        signature: &[u8],
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.verify)?;
        none_active(&operations.verify_signature)?;
        let (row, key) = self.key_for(CKF_VERIFY, CKA_VERIFY, mechanism, key)?;
        operations.verify_signature = Some(VerifyingSignature {
            guard: Guard::new(&self.slot, &key),
            checking: Checking::new(self, &row, parameter, &key)?,
            signature: memory::copy(signature)?,
            updated: false,
        });
        Ok(())
    }

    fn verifying_signature(&self) -> Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        check_guard(&mut operations.verify_signature, |v| &v.guard, &self.slot)?;
        Ok(operations)
    }

    /// C_VerifySignature.
    pub fn verify_signature(&self, data: &[u8]) -> Result<()> {
        let verify = take(&mut self.verifying_signature()?.verify_signature)?;
        if verify.updated {
            return fail!(
                CKR_OPERATION_ACTIVE,
                "C_VerifySignature after C_VerifySignatureUpdate"
            );
        }
        verify.checking.finish(data, &verify.signature)
    }

    /// C_VerifySignatureUpdate.
    pub fn verify_signature_update(&self, data: &[u8]) -> Result<()> {
        advance(&mut self.verifying_signature()?.verify_signature, |v| {
            v.updated = true;
            v.checking.update(data)
        })
    }

    /// C_VerifySignatureFinal.
    pub fn verify_signature_final(&self) -> Result<()> {
        let verify = take(&mut self.verifying_signature()?.verify_signature)?;
        verify.checking.finish(&[], &verify.signature)
    }
}
