//! Two operations fed by one call (PKCS#11 5.17).
//!
//! Both must be under way, and neither moves before that is known. A length query, or an answer that
//! does not fit, changes neither; an error ends both (5.2).

use super::{Answer, Operations, Room, check_guard, finish};
use crate::crypto::Direction::{self, Decrypt, Encrypt};
use crate::error::{Error, Result};
use crate::session::Session;
use cryptoki_sys::*;

/// `CKR_OPERATION_NOT_INITIALIZED` where one of the two is not under way.
fn both(one: bool, other: bool) -> Result<()> {
    match one && other {
        true => Ok(()),
        false => Err(Error::new(
            CKR_OPERATION_NOT_INITIALIZED,
            "this function goes on with two operations, and one is not under way",
        )),
    }
}

impl Operations {
    /// One step of the cipher, and with what went through it one of the other operation.
    fn step(
        &mut self,
        direction: Direction,
        data: &[u8],
        room: Room,
        other: CK_FLAGS,
        feed: impl FnOnce(&mut Self, &[u8]) -> Result<()>,
    ) -> Result<Answer> {
        let stepped = finish(self.crypting(direction), |cipher| cipher.update(data, room));
        let done = stepped.and_then(|answer| {
            if let Answer::Bytes(output) = &answer {
                match direction {
                    Encrypt => feed(self, data)?,
                    Decrypt => feed(self, output)?,
                }
            }
            Ok(answer)
        });
        if done.is_err() {
            let cipher = match direction {
                Encrypt => CKF_ENCRYPT,
                Decrypt => CKF_DECRYPT,
            };
            self.cancel(cipher | other);
        }
        done
    }
}

impl Session {
    /// C_DigestEncryptUpdate, C_DecryptDigestUpdate: the digest is of the plaintext.
    pub fn crypt_digest_update(
        &self,
        direction: Direction,
        data: &[u8],
        room: Room,
    ) -> Result<Answer> {
        let mut operations = self.guarded(direction)?;
        both(
            operations.digest.is_some(),
            operations.crypting(direction).is_some(),
        )?;
        operations.step(direction, data, room, CKF_DIGEST, |operations, plain| {
            if let Some(digest) = &mut operations.digest {
                digest.update(plain);
            }
            Ok(())
        })
    }

    /// C_SignEncryptUpdate.
    pub fn sign_encrypt_update(&self, data: &[u8], room: Room) -> Result<Answer> {
        let mut operations = self.guarded(Encrypt)?;
        check_guard(&mut operations.sign, |sign| &sign.guard, &self.slot)?;
        both(operations.sign.is_some(), operations.encrypt.is_some())?;
        operations.step(
            Encrypt,
            data,
            room,
            CKF_SIGN,
            |operations, plain| match &mut operations.sign {
                Some(sign) => sign.update(plain),
                None => Ok(()),
            },
        )
    }

    /// C_DecryptVerifyUpdate.
    pub fn decrypt_verify_update(&self, data: &[u8], room: Room) -> Result<Answer> {
        let mut operations = self.guarded(Decrypt)?;
        check_guard(&mut operations.verify, |verify| &verify.guard, &self.slot)?;
        both(operations.verify.is_some(), operations.decrypt.is_some())?;
        operations.step(
            Decrypt,
            data,
            room,
            CKF_VERIFY,
            |operations, plain| match &mut operations.verify {
                Some(verify) => verify.update(plain),
                None => Ok(()),
            },
        )
    }
}
