//! Signatures that hold their message (PKCS#11 5.13.5, 5.15.5): RSA, padded (CKM_RSA_PKCS) or as it
//! is (CKM_RSA_X_509).

use super::{
    Answer, Guard, Operations, Room, check_guard, finish, none_active, sign::Making, with_room,
};
use crate::crypto::{CryptScheme, engine, pkcs1};
use crate::error::{Result, fail};
use crate::mechanism::{Parameter, Plan};
use crate::session::Session;
use cryptoki_sys::*;
use std::sync::{Arc, MutexGuard};

/// A signature with recovery under way.
pub struct Signing {
    pub(crate) guard: Guard,
    making: Making,
}

/// A verification with recovery under way.
pub struct Verifying {
    pub(crate) guard: Guard,
    key: Arc<engine::PublicKey>,
    /// PKCS #1 v1.5 padding is looked for and removed.
    padded: bool,
    /// Length of the modulus.
    len: usize,
}

impl Verifying {
    /// The message that a signature holds. `CKR_SIGNATURE_LEN_RANGE`, `CKR_SIGNATURE_INVALID`.
    fn recover(&self, signature: &[u8]) -> Result<Vec<u8>> {
        if signature.len() != self.len {
            return fail!(
                CKR_SIGNATURE_LEN_RANGE,
                "the signature has {} bytes, not {}",
                signature.len(),
                self.len
            );
        }
        let block =
            self.key
                .encrypt(&CryptScheme::RsaRaw, signature)
                .map_err(|error| match error.rv() {
                    CKR_DATA_INVALID => error.with_rv(CKR_SIGNATURE_INVALID),
                    _ => error,
                })?;
        match self.padded {
            true => pkcs1::unpad_type1(&block),
            false => Ok(block),
        }
    }
}

impl Session {
    /// C_SignRecoverInit.
    pub fn sign_recover_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: &Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.sign_recover)?;
        let (row, key) = self.key_for(CKF_SIGN_RECOVER, CKA_SIGN_RECOVER, mechanism, key)?;
        operations.sign_recover = Some(Signing {
            guard: Guard::new(&self.slot, &key),
            making: Making::new(self, &row, parameter, &key)?,
        });
        Ok(())
    }

    fn sign_recovering(&self) -> Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        check_guard(&mut operations.sign_recover, |s| &s.guard, &self.slot)?;
        Ok(operations)
    }

    /// C_SignRecover.
    pub fn sign_recover(&self, data: &[u8], room: Room) -> Result<Answer> {
        finish(&mut self.sign_recovering()?.sign_recover, |sign| {
            let len = sign.making.len;
            with_room(sign, room, len, |sign| sign.making.finish(data))
        })
    }

    /// C_VerifyRecoverInit.
    pub fn verify_recover_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        _parameter: &Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.verify_recover)?;
        let (row, key) = self.key_for(CKF_VERIFY_RECOVER, CKA_VERIFY_RECOVER, mechanism, key)?;
        operations.verify_recover = Some(Verifying {
            guard: Guard::new(&self.slot, &key),
            key: key.public_key()?,
            padded: matches!(row.plan, Plan::RsaPkcs1(_)),
            len: key.size().1,
        });
        Ok(())
    }

    fn verify_recovering(&self) -> Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        check_guard(&mut operations.verify_recover, |v| &v.guard, &self.slot)?;
        Ok(operations)
    }

    /// C_VerifyRecover. The signature is checked before the room (5.15.6): a bad one is never
    /// `CKR_BUFFER_TOO_SMALL`.
    pub fn verify_recover(&self, signature: &[u8], room: Room) -> Result<Answer> {
        finish(&mut self.verify_recovering()?.verify_recover, |verify| {
            let message = verify.recover(signature)?;
            with_room(verify, room, message.len(), |_| Ok(message))
        })
    }
}
