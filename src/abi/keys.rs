//! Key management and random number entries (PKCS#11 5.18 to 5.20).

use super::{entries, input, output, parameter, session};
use crate::memory;
use cryptoki_sys::*;

entries! {
    /// 5.18.1.
    fn C_GenerateKey(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(key)?;
        let (mechanism, parameter) = parameter::given_mechanism(mechanism)?;
        let template = input::template(template, count)?;
        output::put(key, session.generate_key(mechanism, &parameter, &template)?)
    }

    /// 5.18.2.
    fn C_GenerateKeyPair(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        public_template: *mut CK_ATTRIBUTE,
        public_count: CK_ULONG,
        private_template: *mut CK_ATTRIBUTE,
        private_count: CK_ULONG,
        public_key: *mut CK_OBJECT_HANDLE,
        private_key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(public_key)?;
        output::writable(private_key)?;
        let (mechanism, _) = parameter::given_mechanism(mechanism)?;
        let public = input::template(public_template, public_count)?;
        let private = input::template(private_template, private_count)?;
        let (public, private) = session.generate_key_pair(mechanism, &public, &private)?;
        output::put(public_key, public)?;
        output::put(private_key, private)
    }

    /// 5.18.3.
    fn C_WrapKey(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        wrapping_key: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        wrapped: *mut CK_BYTE,
        wrapped_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (how, back) = parameter::wrapping(mechanism, None)?;
        let room = output::room(wrapped, wrapped_len)?;
        let answer = session.wrap(&how, wrapping_key, key, room)?;
        back.give_nonce(&how, &answer)?;
        output::answer(answer, wrapped, wrapped_len)
    }

    /// 5.18.4.
    fn C_UnwrapKey(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        unwrapping_key: CK_OBJECT_HANDLE,
        wrapped: *mut CK_BYTE,
        wrapped_len: CK_ULONG,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(key)?;
        let how = parameter::unwrapping(mechanism, None)?;
        // What is checked is what is unwrapped, whatever another thread writes there.
        let wrapped = memory::copy(input::bytes(wrapped, wrapped_len)?)?;
        let template = input::template(template, count)?;
        output::put(key, session.unwrap(&how, unwrapping_key, &wrapped, &template)?)
    }

    /// 5.18.5.
    fn C_DeriveKey(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        base: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(key)?;
        let (kind, parameter) = parameter::given_mechanism(mechanism)?;
        let mut templates = vec![input::template(template, count)?];
        let mut to = vec![key];
        for (template, key) in parameter::additional_keys(mechanism)? {
            templates.push(template);
            to.push(key);
        }
        let mut faulty = None;
        match session.derive_keys(kind, &parameter, base, &templates, &mut faulty) {
            Ok(keys) => keys
                .into_iter()
                .zip(to)
                .try_for_each(|(key, to)| output::put(to, key)),
            Err(refusal) => {
                // "The corresponding phKey value will be set to CK_INVALID_HANDLE" (6.42.6).
                if let Some(to) = faulty.and_then(|at: usize| to.get(at)) {
                    output::put(*to, CK_INVALID_HANDLE)?;
                }
                Err(refusal)
            }
        }
    }

    /// 5.20.1.
    fn C_SeedRandom(handle: CK_SESSION_HANDLE, seed: *mut CK_BYTE, len: CK_ULONG) {
        let session = session(handle)?;
        session.seed_random(input::bytes(seed, len)?)
    }

    /// 5.20.2.
    fn C_GenerateRandom(handle: CK_SESSION_HANDLE, random: *mut CK_BYTE, len: CK_ULONG) {
        let session = session(handle)?;
        output::range(random, len)?;
        let mut at = random;
        session.random(len as usize, |piece| {
            output::elements(piece, at);
            at = at.wrapping_add(piece.len());
        })
    }
}
