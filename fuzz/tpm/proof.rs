//! The standard's side of a session (TPM 2.0 Part 1, 11.4.10, 19.6, 21.3 and C.6), written apart from
//! the module's: with it the played chip proves itself, and what the module takes is checked.

use nodetoken::crypto::{Curve, Direction, Hash, engine};

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    engine::digest(Hash::Sha256, &parts.concat())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut hmac = engine::Hmac::new(Hash::Sha256, key).expect("an HMAC");
    hmac.update(&parts.concat());
    hmac.finish()
}

/// KDFa of one block.
fn kdfa(key: &[u8], label: &[u8], u: &[u8], v: &[u8]) -> Vec<u8> {
    hmac(key, &[&[0, 0, 0, 1], label, &[0], u, v, &[0, 0, 1, 0]])
}

/// A value and its length before it.
pub fn sized(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u16).to_be_bytes(), value].concat()
}

/// The first sized value, and what follows it.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

/// The name of an object.
pub fn name(public: &[u8]) -> Vec<u8> {
    [vec![0, 0x0b], sha256(&[public])].concat()
}

/// The key of a session that has been begun with this encrypted salt; without one it is empty.
pub fn session_key(d: &[u8], point: &[u8], salt: &[u8], tpm: &[u8], caller: &[u8]) -> Vec<u8> {
    let Some((x, rest)) = split(salt) else {
        return Vec::new();
    };
    let (y, _) = split(rest).expect("an encrypted salt is a point");
    let peer = [&[4], x, y].concat();
    let z = engine::agree(Curve::P256, d, &peer).expect("a salt for the root");
    let salt = sha256(&[&[0, 0, 0, 1], &z, b"SECRET\0", x, &point[1..33]]);
    kdfa(&salt, b"ATH", tpm, caller)
}

/// One answer within a session.
pub struct Exchange<'a> {
    /// The session's key and the authorization value.
    pub value: Vec<u8>,
    pub code: u32,
    pub caller: &'a [u8],
    pub tpm: &'a [u8],
    pub attributes: u8,
}

impl Exchange<'_> {
    pub fn hmac(&self, parameters: &[u8]) -> Vec<u8> {
        let digest = sha256(&[&[0; 4], &self.code.to_be_bytes(), parameters]);
        let nonces = [self.tpm, self.caller].concat();
        hmac(&self.value, &[&digest, &nonces, &[self.attributes]])
    }

    /// Encrypts or decrypts the sized value at the head, if there is one.
    pub fn crypt(&self, direction: Direction, parameters: &mut [u8]) {
        let derived = kdfa(&self.value, b"CFB", self.tpm, self.caller);
        let (key, iv) = derived.split_at(16);
        let Some(len) = split(parameters).map(|(first, _)| first.len()) else {
            return;
        };
        engine::cfb(direction, key, iv, &mut parameters[2..2 + len]).expect("a cipher");
    }
}
