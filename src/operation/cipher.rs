//! Encrypting and decrypting (PKCS#11 5.9, 5.11).

use super::whole::{How, Whole};
use super::{
    Answer, Guard, Operations, Room, Step, append, collect, finish, none_active, with_room,
};
use crate::crypto::{CipherMode, CryptScheme, Direction, engine, left_pad};
use crate::error::{Error, Result, fail};
use crate::mechanism::{Mechanism, Parameter, Plan};
use crate::memory::{self, Secret};
use crate::object::Object;
use crate::session::Session;
use crate::token::PrivateKey;
use cryptoki_sys::*;
use std::sync::{Arc, MutexGuard};
use subtle::{ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

const BLOCK: usize = 16;

/// An encryption or decryption under way.
pub struct Crypting {
    pub(crate) guard: Guard,
    method: Method,
    updated: bool,
}

enum Method {
    RsaEncrypt(Arc<engine::PublicKey>, Rsa),
    RsaDecrypt(Arc<dyn PrivateKey>, Rsa),
    Whole(Whole),
    Blocks(Blocks),
    Sealing(Sealing),
}

/// An encryption with AES-GCM: its ciphertext goes out as it comes, and the tag at the end. What is
/// decrypted is kept until the tag holds ([`Whole`]).
struct Sealing {
    state: engine::GcmSealing,
    /// Length of the tag.
    tag: usize,
}

impl Sealing {
    fn update(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        self.state.update(data, &mut output)?;
        Ok(output)
    }

    fn finish(mut self, data: &[u8]) -> Result<Vec<u8>> {
        let mut output = memory::buffer(data.len().saturating_add(self.tag))?;
        self.state.update(data, &mut output)?;
        output.extend(self.state.finish()?.iter().take(self.tag));
        Ok(output)
    }
}

/// RSA works in one piece.
struct Rsa {
    scheme: CryptScheme,
    /// Length of the modulus in bytes; nothing that goes in or comes out is longer.
    len: usize,
    collected: Zeroizing<Vec<u8>>,
}

impl Rsa {
    /// Takes in a piece; `too_long` is the code for more than one block.
    fn collect(&mut self, data: &[u8], too_long: CK_RV) -> Result<()> {
        if self.collected.len().saturating_add(data.len()) > self.len {
            return fail!(
                too_long,
                "the data is longer than the modulus of {} bytes",
                self.len
            );
        }
        collect(&mut self.collected, data)
    }

    /// The ciphertext of all that was taken in. The raw operation takes an integer, whose leading
    /// zeros may be left out.
    fn encrypt(&self, key: &engine::PublicKey) -> Result<Vec<u8>> {
        match self.scheme {
            CryptScheme::RsaRaw => key.encrypt(&self.scheme, &left_pad(&self.collected, self.len)?),
            _ => key.encrypt(&self.scheme, &self.collected),
        }
    }
}

/// A block cipher mode that is fed in pieces of any length.
struct Blocks {
    mode: CipherMode,
    direction: Direction,
    padded: bool,
    key: Arc<Secret>,
    cipher: engine::Cipher,
    /// The last block of ciphertext that went through: from here CBC decrypts on.
    chain: Vec<u8>,
    /// Input that does not fill a block yet, or may be the padded last one.
    pending: Zeroizing<Vec<u8>>,
    counter: Option<Counter>,
}

impl Blocks {
    fn new(
        mode: CipherMode,
        direction: Direction,
        padded: bool,
        key: Arc<Secret>,
        parameter: &Parameter,
    ) -> Result<Self> {
        let (iv, counter): (&[u8], _) = match parameter {
            Parameter::Iv(iv) => (iv, None),
            Parameter::Counter { block, bits } => (block, Counter::new(block, *bits)),
            _ => (&[], None),
        };
        Ok(Self {
            mode,
            direction,
            padded,
            cipher: engine::Cipher::new(mode, direction, &key, iv)?,
            key,
            chain: iv.to_vec(),
            pending: Zeroizing::default(),
            counter,
        })
    }

    /// Whether padding must be found and removed at the end.
    fn unpads(&self) -> bool {
        self.padded && self.direction == Direction::Decrypt
    }

    /// Whether padding must be added at the end.
    fn pads(&self) -> bool {
        self.padded && self.direction == Direction::Encrypt
    }

    /// How many bytes of `pending` and `more` can go through the cipher now.
    fn ready(&self, more: usize) -> usize {
        let total = self.pending.len().saturating_add(more);
        if self.mode == CipherMode::Ctr {
            return total;
        }
        let whole = total - total % BLOCK;
        if self.unpads() && whole == total {
            whole.saturating_sub(BLOCK)
        } else {
            whole
        }
    }

    /// Refuses `more` bytes for which there are no more counter blocks.
    fn check_count(&self, more: usize) -> Result<()> {
        match &self.counter {
            Some(counter) if more as u128 > counter.left => fail!(
                self.wrong_len(),
                "{more} bytes more, and a counter block of ulCounterBits comes again"
            ),
            _ => Ok(()),
        }
    }

    /// Sends `data` through the cipher. A counter of fewer bits than the block has starts again at
    /// zero without a carry into the rest.
    fn cipher(&mut self, data: &mut [u8]) -> Result<()> {
        let Some(counter) = &mut self.counter else {
            return self.cipher.update(data);
        };
        counter.left = counter.left.saturating_sub(data.len() as u128);
        let before = usize::try_from(counter.until_zero).unwrap_or(usize::MAX);
        let Some((before, after)) = data.split_at_mut_checked(before) else {
            counter.until_zero -= data.len() as u128;
            return self.cipher.update(data);
        };
        self.cipher.update(before)?;
        counter.until_zero = u128::MAX;
        self.cipher = engine::Cipher::new(self.mode, self.direction, &self.key, &counter.zero)?;
        self.cipher.update(after)
    }

    /// The code for data of a length that cannot be.
    fn wrong_len(&self) -> CK_RV {
        match self.direction {
            Direction::Encrypt => CKR_DATA_LEN_RANGE,
            Direction::Decrypt => CKR_ENCRYPTED_DATA_LEN_RANGE,
        }
    }

    fn update(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        let ready = self.ready(data.len());
        let mut output = std::mem::take(&mut *self.pending);
        append(&mut output, data)?;
        *self.pending = output.split_off(ready);
        if self.unpads()
            && let Some(last) = output.last_chunk::<BLOCK>()
        {
            self.chain = last.to_vec();
        }
        self.cipher(&mut output)?;
        Ok(output)
    }

    /// Length of the answer to a last piece of `more` bytes; at most, where padding is removed.
    fn final_len(&self, more: usize) -> usize {
        let total = self.pending.len().saturating_add(more);
        if self.pads() {
            total.saturating_add(BLOCK - total % BLOCK)
        } else {
            total
        }
    }

    /// Refuses a last piece that leaves no whole number of blocks, or too many.
    fn check_len(&self, more: usize) -> Result<()> {
        self.check_count(more)?;
        let total = self.pending.len().saturating_add(more);
        let any_length = self.mode == CipherMode::Ctr || self.pads();
        let padding_is_missing = self.unpads() && total == 0;
        if any_length || (total.is_multiple_of(BLOCK) && !padding_is_missing) {
            return Ok(());
        }
        fail!(
            self.wrong_len(),
            "{total} bytes are no whole number of blocks of {BLOCK}"
        )
    }

    fn finish(mut self, data: &[u8]) -> Result<Vec<u8>> {
        let mut output = memory::buffer(self.final_len(data.len()))?;
        output.extend_from_slice(&self.pending);
        output.extend_from_slice(data);
        if self.pads() {
            pad(BLOCK, &mut output);
        }
        self.cipher(&mut output)?;
        Ok(output)
    }

    /// The last piece of plaintext without its padding. The operation stays as it was.
    fn unpad(&self, data: &[u8]) -> Result<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::new());
        append(&mut plain, &self.pending)?;
        append(&mut plain, data)?;
        engine::Cipher::new(self.mode, self.direction, &self.key, &self.chain)?
            .update(&mut plain)?;
        let stays = plain.len().saturating_sub(padding_len(BLOCK, &plain)?);
        plain.truncate(stays);
        Ok(std::mem::take(&mut *plain))
    }
}

/// The counter of CKM_AES_CTR, where it has fewer bits than the block: it counts up to its end and on
/// from zero (SP 800-38A B.1, the standard incrementing function), and no block comes twice.
struct Counter {
    /// How many bytes there are counter blocks for.
    left: u128,
    /// How many bytes until the counter is zero.
    until_zero: u128,
    /// The block with that counter.
    zero: [u8; BLOCK],
}

impl Counter {
    /// `None` for a counter of the whole block, which the engine counts.
    fn new(block: &[u8; BLOCK], bits: u32) -> Option<Self> {
        let end = 1u128.checked_shl(bits)?;
        let block = u128::from_be_bytes(*block);
        Some(Self {
            left: end.saturating_mul(BLOCK as u128),
            until_zero: (end - block % end).saturating_mul(BLOCK as u128),
            zero: (block - block % end).to_be_bytes(),
        })
    }
}

/// What RSA encrypts by; `None` for another mechanism.
pub(super) fn rsa_scheme(plan: Plan, parameter: &Parameter) -> Option<CryptScheme> {
    match (plan, parameter) {
        (Plan::RsaPkcs1(None), _) => Some(CryptScheme::RsaPkcs1),
        (Plan::RsaRaw, _) => Some(CryptScheme::RsaRaw),
        (Plan::RsaOaep, Parameter::Oaep { hash, mgf, label }) => Some(CryptScheme::RsaOaep {
            hash: *hash,
            mgf: *mgf,
            label: label.clone(),
        }),
        _ => None,
    }
}

/// Adds PKCS #7 padding (RFC 5652 6.3), for which there is room.
fn pad(unit: usize, text: &mut Vec<u8>) {
    let padding = unit - text.len() % unit;
    text.resize(text.len() + padding, padding as u8);
}

/// A copy with PKCS #7 padding.
pub(super) fn padded_to(unit: usize, text: &[u8]) -> Result<Vec<u8>> {
    let mut padded = memory::buffer(text.len() + unit)?;
    padded.extend_from_slice(text);
    pad(unit, &mut padded);
    Ok(padded)
}

/// Takes PKCS #7 padding off. `CKR_ENCRYPTED_DATA_INVALID`.
pub(super) fn unpadded(unit: usize, text: &[u8]) -> Result<Secret> {
    let padding = padding_len(unit, text)?;
    let stays = text.len().saturating_sub(padding);
    Secret::copy_of(text.get(..stays).unwrap_or_default())
}

/// Length of the PKCS#7 padding up to so many bytes (RFC 5652 6.3), found without a branch on them.
/// `CKR_ENCRYPTED_DATA_INVALID`.
fn padding_len(unit: usize, plain: &[u8]) -> Result<usize> {
    let refused = || Error::new(CKR_ENCRYPTED_DATA_INVALID, "the padding is not right");
    let last = plain.len().checked_sub(unit).and_then(|at| plain.get(at..));
    let last = last.ok_or_else(refused)?;
    let padding = *last.last().ok_or_else(refused)?;
    let mut good = !padding.ct_eq(&0) & !padding.ct_gt(&(unit as u8));
    for (from_end, byte) in (0u8..).zip(last.iter().rev()) {
        let is_padding = padding.ct_gt(&from_end);
        good &= !is_padding | byte.ct_eq(&padding);
    }
    if good.into() {
        Ok(usize::from(padding))
    } else {
        Err(refused())
    }
}

impl Method {
    fn new(
        session: &Session,
        direction: Direction,
        row: &Mechanism,
        parameter: Parameter,
        key: &Object,
    ) -> Result<Self> {
        let token = session.slot.token();
        if let Some(scheme) = rsa_scheme(row.plan, &parameter) {
            let rsa = Rsa {
                scheme,
                len: key.size().1,
                collected: Zeroizing::default(),
            };
            return Ok(match direction {
                Direction::Encrypt => Method::RsaEncrypt(key.public_key()?, rsa),
                Direction::Decrypt => Method::RsaDecrypt(key.private_key(token)?, rsa),
            });
        }
        match (row.plan, parameter) {
            (Plan::Cipher { mode, padded }, parameter) => {
                let key = key.secret_key(token)?;
                Blocks::new(mode, direction, padded, key, &parameter).map(Method::Blocks)
            }
            (Plan::Gcm, Parameter::Gcm { iv, aad, tag }) if direction == Direction::Encrypt => {
                let key = key.secret_key(token)?;
                let state = engine::GcmSealing::new(&key, &iv, &aad, tag)?;
                Ok(Method::Sealing(Sealing { state, tag }))
            }
            (plan, parameter) => {
                let Some(how) = How::new(plan, parameter) else {
                    return fail!(CKR_MECHANISM_INVALID, "{} does not encrypt", row.name);
                };
                let whole = Whole::new(direction, key.secret_key(token)?, how);
                Ok(Method::Whole(whole))
            }
        }
    }
}

impl Crypting {
    /// C_EncryptUpdate, C_DecryptUpdate.
    pub(crate) fn update(mut self, data: &[u8], room: Room) -> Result<Step<Self>> {
        let len = match &self.method {
            Method::Blocks(blocks) => {
                blocks.check_count(data.len())?;
                blocks.ready(data.len())
            }
            Method::Sealing(_) => data.len(),
            _ => 0,
        };
        match room {
            Room::Query => {
                // "May exceed the precise number of bytes" (5.2). Callers that take an answer of 0 for an
                // empty buffer give a null pointer again, which asks again: their data would be lost.
                let len = if len == 0 { data.len() } else { len };
                return Ok(Step::Again(self, Answer::Length(len)));
            }
            Room::Bytes(room) if room < len => {
                return Ok(Step::Again(self, Answer::TooSmall(len)));
            }
            Room::Bytes(_) => self.updated = true,
        }
        let output = match &mut self.method {
            Method::Blocks(blocks) => blocks.update(data)?,
            Method::Sealing(sealing) => sealing.update(data)?,
            Method::RsaEncrypt(_, rsa) => {
                rsa.collect(data, CKR_DATA_LEN_RANGE)?;
                Vec::new()
            }
            Method::RsaDecrypt(_, rsa) => {
                rsa.collect(data, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
                Vec::new()
            }
            Method::Whole(whole) => {
                whole.collect(data)?;
                Vec::new()
            }
        };
        Ok(Step::Again(self, Answer::Bytes(output)))
    }

    /// The end, with `data` as the last piece. Where only the plaintext itself tells its length, it
    /// is made first, and an answer that does not fit leaves the operation as it was.
    fn finish(self, data: &[u8], room: Room) -> Result<Step<Self>> {
        let (longest, plain) = match &self.method {
            Method::RsaEncrypt(_, rsa) => (rsa.len, None),
            Method::Sealing(sealing) => (data.len().saturating_add(sealing.tag), None),
            Method::Whole(whole) => {
                let plain =
                    (room != Room::Query && !whole.tells_len()).then(|| whole.preview(data));
                (whole.longest(data.len()), plain)
            }
            Method::RsaDecrypt(key, rsa) => {
                let plain = || {
                    let mut whole = rsa.collected.clone();
                    append(&mut whole, data)?;
                    Ok(key.decrypt(&rsa.scheme, &whole)?.to_vec())
                };
                (rsa.len, (room != Room::Query).then(plain))
            }
            Method::Blocks(blocks) => {
                blocks.check_len(data.len())?;
                let unpads = blocks.unpads() && room != Room::Query;
                let plain = unpads.then(|| blocks.unpad(data));
                (blocks.final_len(data.len()), plain)
            }
        };
        match plain.transpose()? {
            Some(plain) => with_room(self, room, plain.len(), |_| Ok(plain)),
            None => with_room(self, room, longest, |operation| match operation.method {
                Method::RsaEncrypt(key, mut rsa) => {
                    rsa.collect(data, CKR_DATA_LEN_RANGE)?;
                    rsa.encrypt(&key)
                }
                Method::Whole(whole) => whole.run(data),
                Method::Blocks(blocks) => blocks.finish(data),
                Method::Sealing(sealing) => sealing.finish(data),
                Method::RsaDecrypt(key, mut rsa) => {
                    rsa.collect(data, CKR_ENCRYPTED_DATA_LEN_RANGE)?;
                    Ok(key.decrypt(&rsa.scheme, &rsa.collected)?.to_vec())
                }
            }),
        }
    }
}

impl Session {
    fn crypting(
        &self,
        direction: Direction,
        mechanism: CK_MECHANISM_TYPE,
        parameter: Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<Crypting> {
        let (function, usage) = match direction {
            Direction::Encrypt => (CKF_ENCRYPT, CKA_ENCRYPT),
            Direction::Decrypt => (CKF_DECRYPT, CKA_DECRYPT),
        };
        let (row, key) = self.key_for(function, usage, mechanism, key)?;
        Ok(Crypting {
            guard: Guard::new(&self.slot, &key),
            method: Method::new(self, direction, &row, parameter, &key)?,
            updated: false,
        })
    }

    /// C_EncryptInit.
    pub fn encrypt_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.encrypt)?;
        operations.encrypt = Some(self.crypting(Direction::Encrypt, mechanism, parameter, key)?);
        Ok(())
    }

    /// C_DecryptInit.
    pub fn decrypt_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.decrypt)?;
        operations.decrypt = Some(self.crypting(Direction::Decrypt, mechanism, parameter, key)?);
        Ok(())
    }

    /// The operations, with the encryption or decryption fit to go on.
    pub(crate) fn guarded(&self, direction: Direction) -> Result<MutexGuard<'_, Operations>> {
        let mut operations = self.operations();
        super::check_guard(operations.crypting(direction), |c| &c.guard, &self.slot)?;
        Ok(operations)
    }

    /// C_Encrypt, C_Decrypt.
    pub fn crypt(&self, direction: Direction, data: &[u8], room: Room) -> Result<Answer> {
        finish(self.guarded(direction)?.crypting(direction), |operation| {
            if operation.updated {
                return fail!(
                    CKR_OPERATION_ACTIVE,
                    "this function comes before any update"
                );
            }
            operation.finish(data, room)
        })
    }

    /// C_EncryptUpdate, C_DecryptUpdate.
    pub fn crypt_update(&self, direction: Direction, data: &[u8], room: Room) -> Result<Answer> {
        finish(self.guarded(direction)?.crypting(direction), |operation| {
            operation.update(data, room)
        })
    }

    /// C_EncryptFinal, C_DecryptFinal.
    pub fn crypt_final(&self, direction: Direction, room: Room) -> Result<Answer> {
        finish(self.guarded(direction)?.crypting(direction), |operation| {
            operation.finish(&[], room)
        })
    }
}
