//! Signing and verifying, MACs included (PKCS#11 5.13, 5.15).

use super::{
    Answer, Guard, Operations, Room, advance, check_guard, collect, finish, none_active, take,
    with_room,
};
use crate::crypto::{Hash, MlDsaScheme, SignScheme, engine, left_pad, pkcs1};
use crate::error::{Result, fail};
use crate::mechanism::{Mechanism, Parameter, Plan};
use crate::object::Object;
use crate::session::Session;
use crate::token::PrivateKey;
use cryptoki_sys::*;
use std::borrow::Cow;
use std::sync::{Arc, MutexGuard};
use subtle::ConstantTimeEq;

/// A shorter MAC could be found by trying.
const SHORTEST_MAC: usize = 4;

/// What is to be signed, as it comes in.
enum Message {
    /// Hashed; signed is the digest.
    Digest(engine::Digest),
    /// Hashed; signed is the DigestInfo (RFC 8017 9.2).
    DigestInfo(Hash, engine::Digest),
    /// Signed as it is.
    Whole(Vec<u8>),
    /// Signed as an integer of so many bytes (CKM_RSA_X_509).
    Integer(usize, Vec<u8>),
    /// The MAC is the signature.
    Mac(engine::Hmac),
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
        }
        Ok(())
    }

    /// What the key signs, after `data` as the last piece.
    fn finish(mut self, data: &[u8]) -> Result<Cow<'_, [u8]>> {
        match self {
            // A message in one piece is not copied.
            Message::Whole(collected) if collected.is_empty() => return Ok(Cow::Borrowed(data)),
            _ => self.update(data)?,
        }
        Ok(Cow::Owned(match self {
            Message::Digest(state) => state.finish(),
            Message::DigestInfo(hash, state) => pkcs1::digest_info(hash, &state.finish()),
            Message::Whole(collected) => collected,
            Message::Integer(len, collected) => {
                if collected.len() > len {
                    return fail!(
                        CKR_DATA_LEN_RANGE,
                        "the data is longer than the modulus of {len} bytes"
                    );
                }
                left_pad(&collected, len)?.to_vec()
            }
            Message::Mac(mac) => mac.finish(),
        }))
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
            (Message::new(None)?, ml_dsa(*hash, parameter))
        }
        (Plan::Hmac(hash), parameter) => {
            let len = match parameter {
                Parameter::Length(len) if (SHORTEST_MAC..=hash.len()).contains(len) => *len,
                Parameter::Length(len) => {
                    return fail!(
                        CKR_MECHANISM_PARAM_INVALID,
                        "a MAC of {len} bytes is not between {SHORTEST_MAC} and {}",
                        hash.len()
                    );
                }
                _ => hash.len(),
            };
            let key = key.secret_key(session.slot.token())?;
            return Ok((Message::Mac(engine::Hmac::new(hash, &key)?), None, len));
        }
        _ => return fail!(CKR_MECHANISM_INVALID, "{} does not sign", row.name),
    };
    Ok((message, Some(scheme), len))
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

/// A signature under way.
pub struct Signing {
    pub(crate) guard: Guard,
    message: Message,
    signer: Option<(Arc<dyn PrivateKey>, SignScheme)>,
    len: usize,
    updated: bool,
}

impl Signing {
    fn finish(self, data: &[u8]) -> Result<Vec<u8>> {
        let message = self.message.finish(data)?;
        match self.signer {
            Some((key, scheme)) => key.sign(&scheme, &message),
            None => Ok(message.iter().take(self.len).copied().collect()),
        }
    }
}

/// A verification under way.
pub struct Verifying {
    pub(crate) guard: Guard,
    message: Message,
    verifier: Option<(Arc<engine::PublicKey>, SignScheme)>,
    len: usize,
    updated: bool,
}

impl Verifying {
    fn finish(self, data: &[u8], signature: &[u8]) -> Result<()> {
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
        check_hedge(parameter)?;
        let (message, scheme, len) = plan(&row, parameter, &key, self)?;
        let signer = match scheme {
            Some(scheme) => Some((key.private_key(self.slot.token())?, scheme)),
            None => None,
        };
        operations.sign = Some(Signing {
            guard: Guard::new(&self.slot, &key),
            message,
            signer,
            len,
            updated: false,
        });
        Ok(())
    }

    fn signing(&self) -> Result<MutexGuard<'_, Operations>> {
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
            let len = sign.len;
            with_room(sign, room, len, |sign| sign.finish(data))
        })
    }

    /// C_SignUpdate.
    pub fn sign_update(&self, data: &[u8]) -> Result<()> {
        advance(&mut self.signing()?.sign, |sign| {
            sign.updated = true;
            sign.message.update(data)
        })
    }

    /// C_SignFinal.
    pub fn sign_final(&self, room: Room) -> Result<Answer> {
        finish(&mut self.signing()?.sign, |sign| {
            let len = sign.len;
            with_room(sign, room, len, |sign| sign.finish(&[]))
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
        let (row, key) = self.key_for(CKF_VERIFY, CKA_VERIFY, mechanism, key)?;
        let (message, scheme, len) = plan(&row, parameter, &key, self)?;
        let verifier = match scheme {
            Some(scheme) => Some((key.public_key()?, scheme)),
            None => None,
        };
        operations.verify = Some(Verifying {
            guard: Guard::new(&self.slot, &key),
            message,
            verifier,
            len,
            updated: false,
        });
        Ok(())
    }

    fn verifying(&self) -> Result<MutexGuard<'_, Operations>> {
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
        verify.finish(data, signature)
    }

    /// C_VerifyUpdate.
    pub fn verify_update(&self, data: &[u8]) -> Result<()> {
        advance(&mut self.verifying()?.verify, |verify| {
            verify.updated = true;
            verify.message.update(data)
        })
    }

    /// C_VerifyFinal.
    pub fn verify_final(&self, signature: &[u8]) -> Result<()> {
        take(&mut self.verifying()?.verify)?.finish(&[], signature)
    }
}
