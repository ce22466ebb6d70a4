//! Arguments that another thread changes during the call. What was checked is what is done: a template
//! is read once, and so is a message that is signed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;

const ROUNDS: usize = 2000;

/// Ends the other thread, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls with a byte that another thread sets to 0 and to 1, over and over.
fn while_it_changes(byte: *mut u8, call: impl FnOnce()) {
    let byte = unsafe { AtomicU8::from_ptr(byte) };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                byte.fetch_xor(1, Ordering::Relaxed);
            }
        });
        let _over = Over(&over);
        call();
    });
}

/// Calls often with a template in which the value of a CK_BBOOL changes.
fn often(template: &Template, changing: CK_ATTRIBUTE_TYPE, mut call: impl FnMut()) {
    let attributes = template.attributes();
    let changing = attributes.iter().find(|a| a.type_ == changing).unwrap();
    while_it_changes(changing.pValue.cast(), || (0..ROUNDS).for_each(|_| call()));
}

/// Two signatures with one nonce for two messages give the private key away (RFC 8032 5.1.6 reads the
/// message twice).
#[test]
fn a_signature_is_of_one_message() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let key = session.ed25519().private;
        let mut message = vec![0; 1 << 18];
        let last = message.len() - 1;
        let honest = [0, 1].map(|byte| {
            message[last] = byte;
            session.sign(CKM_EDDSA, key, &message).unwrap()
        });
        let last = &raw mut message[last];
        while_it_changes(last, || {
            for _ in 0..100 {
                let signature = session.sign(CKM_EDDSA, key, &message).unwrap();
                assert!(honest.contains(&signature), "of two messages at once");
            }
        });
    });
}

#[test]
fn what_a_kek_unwraps_stays_sensitive() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let kek = Template::new()
            .set(CKA_VALUE_LEN, 32)
            .set(CKA_WRAP, true)
            .set(CKA_UNWRAP, true);
        let kek = session.generate_key(CKM_AES_KEY_GEN, &kek).unwrap();
        let target = aes_template(&[7; 16])
            .set(CKA_EXTRACTABLE, true)
            .set(CKA_SENSITIVE, true);
        let target = session.create(&target).unwrap();
        let wrapped = session.wrap(CKM_AES_KEY_WRAP_KWP, kek, target).unwrap();
        // As much as there can be between the first look at the template and the last.
        let template = (0..500)
            .fold(Template::new(), |template, _| template.and(CKA_LABEL, "x"))
            .set(CKA_CLASS, CKO_SECRET_KEY)
            .set(CKA_KEY_TYPE, CKK_AES)
            .set(CKA_SENSITIVE, true);
        let mut made = 0;
        often(&template, CKA_SENSITIVE, || {
            let key = session.unwrap(CKM_AES_KEY_WRAP_KWP, kek, &wrapped, &template);
            if let Ok(key) = key {
                assert!(session.get_bool(key, CKA_SENSITIVE));
                session.destroy(key).unwrap();
                made += 1;
            }
        });
        assert!(made > 0, "the template was never right");
    });
}

#[test]
fn a_copy_of_a_sensitive_key_stays_sensitive() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let key = aes_template(&[7; 16])
            .set(CKA_EXTRACTABLE, true)
            .set(CKA_SENSITIVE, true);
        let key = session.create(&key).unwrap();
        let template = Template::new().set(CKA_SENSITIVE, true);
        often(&template, CKA_SENSITIVE, || {
            if let Ok(copy) = session.copy(key, &template) {
                assert!(session.get_bool(copy, CKA_SENSITIVE));
                session.destroy(copy).unwrap();
            }
        });
    });
}

#[test]
fn no_user_trusts_a_key() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let template = aes_template(&[7; 16]).set(CKA_TRUSTED, false);
        often(&template, CKA_TRUSTED, || {
            if let Ok(key) = session.create(&template) {
                assert!(!session.get_bool(key, CKA_TRUSTED));
                session.destroy(key).unwrap();
            }
        });
    });
}
