//! The roles of keys: attacks that ask a token to show a sensitive key, each tried to its end
//! (Clulow 2003; Bortolozzo, Centenaro, Focardi, Steel: "Attacking and Fixing PKCS#11 Security
//! Tokens", 2010). Under `roles = "open"`, the ones that the standard allows succeed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

/// The value of the key under attack. No call may give it out.
const VALUE: [u8; 16] = *b"attack at dawn!!";
const IV: [u8; 16] = [0; 16];

/// A sensitive key that may be wrapped, as honest users make it.
fn victim(session: Session) -> CK_OBJECT_HANDLE {
    let template = aes_template(&VALUE)
        .set(CKA_SENSITIVE, true)
        .set(CKA_EXTRACTABLE, true);
    session.create(&template).unwrap()
}

/// What a template says of roles: these are true, of all others nothing is said.
fn roles(true_ones: &[CK_ATTRIBUTE_TYPE]) -> Template {
    let all = Template::new();
    true_ones.iter().fold(all, |all, role| all.set(*role, true))
}

fn aes_kek(session: Session, extra: &Template) -> CK_OBJECT_HANDLE {
    let template = roles(&[CKA_WRAP, CKA_UNWRAP])
        .set(CKA_VALUE_LEN, 32 as CK_ULONG)
        .with(extra);
    session.generate_key(CKM_AES_KEY_GEN, &template).unwrap()
}

/// An unwrapped AES key of which the attacker wishes this.
fn wished(extra: &Template) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_AES)
        .with(extra)
}

fn generated_nonce() -> Mech {
    Mech::gcm_wrap(&[0; 12], 0, CKG_GENERATE, b"", 128)
}

fn strict(attack: impl Fn(Session)) {
    isolated_on(&[SOFTWARE], |world| attack(world.token().user()));
}

fn open(attack: impl Fn(Session)) {
    isolated_on(&[SOFTWARE], |world| {
        world.configure("[policy]\nroles = \"open\"\n");
        attack(world.token().user());
    });
}

/// The attacks of the paper, in its order (section 4.2). Each gives the key, or none.
mod paper {
    use super::*;

    /// A1: one key wraps and decrypts.
    pub fn wrap_decrypt(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let both = aes_kek(session, &roles(&[CKA_DECRYPT]));
        let wrapped = session.wrap(CKM_AES_ECB, both, target).ok()?;
        session.decrypt(CKM_AES_ECB, both, &wrapped).ok()
    }

    /// A1 with the roles one after the other, by C_SetAttributeValue.
    pub fn wrap_then_set_decrypt(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let kek = aes_kek(session, &Template::new());
        let wrapped = session
            .wrap(CKM_AES_ECB, kek, target)
            .or_else(|_| session.wrap(generated_nonce(), kek, target))
            .unwrap();
        let change = roles(&[CKA_DECRYPT]);
        session.set(kek, &change).ok()?;
        session.decrypt(CKM_AES_ECB, kek, &wrapped).ok()
    }

    /// A1 with the roles of two copies.
    pub fn wrap_then_copy_decrypts(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let kek = aes_kek(session, &Template::new());
        let copy = session.copy(kek, &roles(&[CKA_DECRYPT])).ok()?;
        let wrapped = session.wrap(CKM_AES_ECB, kek, target).ok()?;
        session.decrypt(CKM_AES_ECB, copy, &wrapped).ok()
    }

    /// A1 the other way round: a key of both roles loses the one that is in the way.
    pub fn decrypt_is_dropped_in_a_copy(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let both = aes_kek(session, &roles(&[CKA_DECRYPT]));
        let none = Template::new().set(CKA_DECRYPT, false);
        let kek = session.copy(both, &none).ok()?;
        let wrapped = session.wrap(CKM_AES_ECB, kek, target).ok()?;
        session.decrypt(CKM_AES_ECB, both, &wrapped).ok()
    }

    /// A2: the attacker encrypts a key of his own and unwraps it to one that wraps.
    pub fn encrypt_unwrap(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let known = [0x5a; 16];
        let both = aes_kek(session, &roles(&[CKA_ENCRYPT]));
        let forged = session.encrypt(CKM_AES_ECB, both, &known).unwrap();
        let kek = session
            .unwrap(CKM_AES_ECB, both, &forged, &wished(&roles(&[CKA_WRAP])))
            .unwrap();
        let wrapped = session
            .wrap(CKM_AES_ECB, kek, target)
            .ok()
            .or_else(|| session.wrap(generated_nonce(), kek, target).ok())?;
        let own = session.create(&aes_template(&known)).unwrap();
        session.decrypt(CKM_AES_ECB, own, &wrapped).ok()
    }

    /// A2 shorter: a key that wraps is imported.
    pub fn imported_key_wraps(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let own = session.create(&aes_template(&[0x5a; 16])).unwrap();
        let kek = aes_template(&[0x5a; 16])
            .without(CKA_ENCRYPT)
            .without(CKA_DECRYPT)
            .set(CKA_WRAP, true);
        let kek = session.create(&kek).unwrap();
        let wrapped = session.wrap(CKM_AES_ECB, kek, target).ok()?;
        session.decrypt(CKM_AES_ECB, own, &wrapped).ok()
    }

    /// The same with a public key whose private half the attacker has.
    pub fn imported_public_key_wraps(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let public = rsa_public_import()
            .without(CKA_ENCRYPT)
            .without(CKA_VERIFY)
            .set(CKA_WRAP, true);
        let public = session.create(&public).unwrap();
        let own = session.create(&rsa_private_import()).unwrap();
        let wrapped = session.wrap(CKM_RSA_PKCS, public, target).ok()?;
        session.decrypt(CKM_RSA_PKCS, own, &wrapped).ok()
    }

    /// A3, A4: the token gives out a sensitive, or an unextractable key.
    pub fn sensitive_is_read(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let _ = session.set(target, &Template::new().set(CKA_SENSITIVE, false));
        let copy = session.copy(target, &Template::new().set(CKA_SENSITIVE, false));
        session
            .get(target, CKA_VALUE)
            .or_else(|_| session.get(copy?, CKA_VALUE))
            .ok()
    }

    /// A5: it is unwrapped again, not sensitive.
    pub fn unwrapped_without_sensitive(session: Session) -> Option<Vec<u8>> {
        let target = victim(session);
        let kek = aes_kek(session, &Template::new());
        let nonce = generated_nonce();
        let wrapped = session.wrap(nonce.clone(), kek, target).unwrap();
        let plain = wished(&Template::new().set(CKA_SENSITIVE, false));
        let again = session.unwrap(nonce.clone(), kek, &wrapped, &plain).ok();
        let again = again.or_else(|| {
            // Then at least as the policy has it.
            session
                .unwrap(nonce, kek, &wrapped, &wished(&Template::new()))
                .ok()
        })?;
        session.get(again, CKA_VALUE).ok()
    }
}

type Attack = fn(Session) -> Option<Vec<u8>>;

const ALLOWED_BY_THE_STANDARD: [Attack; 7] = [
    paper::wrap_decrypt,
    paper::wrap_then_set_decrypt,
    paper::wrap_then_copy_decrypts,
    paper::decrypt_is_dropped_in_a_copy,
    paper::encrypt_unwrap,
    paper::imported_key_wraps,
    paper::imported_public_key_wraps,
];

#[test]
fn no_attack_of_the_paper_succeeds() {
    strict(|session| {
        for (number, attack) in ALLOWED_BY_THE_STANDARD.iter().enumerate() {
            assert_ne!(
                attack(session).as_deref(),
                Some(&VALUE[..]),
                "attack {number}"
            );
        }
        assert_eq!(paper::sensitive_is_read(session), None);
        assert_eq!(paper::unwrapped_without_sensitive(session), None);
    });
}

/// What a template leaves out hangs on the key type alone.
#[test]
fn an_open_token_has_the_defaults_of_the_key_type() {
    open(|session| {
        let key = aes_kek(session, &Template::new());
        for (usage, default) in [
            (CKA_ENCRYPT, true),
            (CKA_DECRYPT, true),
            (CKA_SIGN, true),
            (CKA_DERIVE, false),
        ] {
            assert_eq!(session.get_bool(key, usage), default, "{usage:#x}");
        }
        // Old clients wrap with keys that they did not ask for it.
        let (kek, target) = (session.aes(16), victim(session));
        session.wrap(CKM_AES_KEY_WRAP_KWP, kek, target).unwrap();
    });
}

#[test]
fn no_key_wraps_unasked() {
    strict(|session| {
        let kek = session.aes(16);
        for role in [CKA_WRAP, CKA_UNWRAP] {
            assert!(!session.get_bool(kek, role), "{role:#x}");
        }
    });
}

#[test]
fn the_standard_allows_the_attacks() {
    open(|session| {
        for (number, attack) in ALLOWED_BY_THE_STANDARD.iter().enumerate() {
            assert_eq!(
                attack(session).as_deref(),
                Some(&VALUE[..]),
                "attack {number}"
            );
        }
        assert_eq!(paper::sensitive_is_read(session), None);
        assert_eq!(
            paper::unwrapped_without_sensitive(session).as_deref(),
            Some(&VALUE[..])
        );
    });
}

#[test]
fn a_kek_carries_a_sensitive_key_there_and_back() {
    strict(|session| {
        let target = victim(session);
        let kek = aes_kek(session, &Template::new());
        let nonce = generated_nonce();
        let wrapped = session.wrap(nonce.clone(), kek, target).unwrap();
        let again = session
            .unwrap(nonce, kek, &wrapped, &wished(&roles(&[CKA_ENCRYPT])))
            .unwrap();
        assert!(session.get_bool(again, CKA_SENSITIVE));
        assert!(!session.get_bool(again, CKA_LOCAL));
        assert!(!session.get_bool(again, CKA_ALWAYS_SENSITIVE));
        assert!(!session.get_bool(again, CKA_NEVER_EXTRACTABLE));
        session
            .get(again, CKA_VALUE)
            .refused(CKR_ATTRIBUTE_SENSITIVE);
        // The same bytes: they encrypt alike.
        assert_eq!(
            session.encrypt(CKM_AES_ECB, again, &IV).unwrap(),
            session.encrypt(CKM_AES_ECB, target, &IV).unwrap()
        );
    });
}

/// C_GenerateKey makes it, so that it is local and was never extractable; and who has the password has
/// it as well.
#[test]
fn a_key_of_a_password_carries_no_sensitive_key() {
    strict(|session| {
        let target = victim(session);
        let template = wished(&roles(&[CKA_WRAP, CKA_SENSITIVE]))
            .set(CKA_VALUE_LEN, 32 as CK_ULONG)
            .set(CKA_EXTRACTABLE, false);
        let password = Mech::pbkdf2(b"the attacker's", b"salt of the attacker", 1000);
        let kek = session.generate_key(password, &template).unwrap();
        let copy = session.copy(kek, &Template::new()).unwrap();
        for kek in [kek, copy] {
            session
                .wrap(CKM_AES_KEY_WRAP_KWP, kek, target)
                .refused(CKR_KEY_NOT_WRAPPABLE);
        }
        // What anybody may read it carries.
        let open = session
            .create(
                &aes_template(&VALUE)
                    .set(CKA_EXTRACTABLE, true)
                    .set(CKA_SENSITIVE, false),
            )
            .unwrap();
        session.wrap(CKM_AES_KEY_WRAP_KWP, kek, open).unwrap();
    });
}

/// Neither with what CKM_AES_KEY_WRAP fills up with, nor with the padding of the other mechanism, nor cut
/// where its last bytes happen to be zero.
#[test]
fn a_private_key_comes_back_as_no_secret_key() {
    strict(|session| {
        let kek = aes_kek(session, &Template::new());
        let public = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        let private = Template::new().set(CKA_EXTRACTABLE, true);
        let (_, private) = session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &public, &private)
            .unwrap();
        for by in [
            CKM_AES_KEY_WRAP,
            CKM_AES_KEY_WRAP_KWP,
            CKM_AES_KEY_WRAP_PKCS7,
        ] {
            let wrapped = session.wrap(by, kek, private).unwrap();
            for again in [
                CKM_AES_KEY_WRAP,
                CKM_AES_KEY_WRAP_KWP,
                CKM_AES_KEY_WRAP_PKCS7,
            ] {
                for len in wrapped.len() - 24..=wrapped.len() {
                    let secret = Template::new()
                        .set(CKA_CLASS, CKO_SECRET_KEY)
                        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
                        .set(CKA_VALUE_LEN, len as CK_ULONG);
                    session
                        .unwrap(again, kek, &wrapped, &secret)
                        .refused(CKR_WRAPPED_KEY_INVALID);
                }
            }
        }
    });
}

#[test]
fn a_kek_unwraps_nothing_but_keys() {
    strict(|session| {
        let kek = aes_kek(session, &Template::new());
        let wrapped = session
            .wrap(CKM_AES_KEY_WRAP_KWP, kek, victim(session))
            .unwrap();
        for class in [CKO_PUBLIC_KEY, CKO_DATA, CKO_CERTIFICATE, 99] {
            let other = Template::new()
                .set(CKA_CLASS, class)
                .set(CKA_LABEL, "no key");
            session
                .unwrap(CKM_AES_KEY_WRAP_KWP, kek, &wrapped, &other)
                .refused(CKR_TEMPLATE_INCONSISTENT);
        }
    });
}

#[test]
fn nobody_sees_the_mark_of_a_public_kek() {
    strict(|session| {
        let public = Template::new()
            .set(CKA_EC_PARAMS, Curve::P256.params)
            .set(CKA_WRAP, true);
        let private = Template::new().set(CKA_UNWRAP, true);
        let (public, _) = session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &public, &private)
            .unwrap();
        for mark in (0..16).map(|number| CKA_VENDOR_DEFINED | 0x4e54_0000 | number) {
            session
                .get(public, mark)
                .refused(CKR_ATTRIBUTE_TYPE_INVALID);
            let marked = Template::new().set(mark, true);
            assert_eq!(session.find(&marked).unwrap(), [0; 0], "{mark:#x}");
        }
    });
}

#[test]
fn a_kek_has_no_mechanism_that_tells_of_changes() {
    strict(|session| {
        let target = victim(session);
        let known = session
            .create(&aes_template(&[7; 16]).set(CKA_EXTRACTABLE, true))
            .unwrap();
        let kek = aes_kek(session, &Template::new());
        let weak = || {
            [
                Mech::new(CKM_AES_ECB),
                Mech::bytes(CKM_AES_CBC, &IV),
                Mech::bytes(CKM_AES_CBC_PAD, &IV),
                Mech::ctr([0; 16], 128),
            ]
        };
        // Not for a known key either: CTR over it would show the key stream of GCM.
        for key in [target, known] {
            for mechanism in weak() {
                session
                    .wrap(mechanism, kek, key)
                    .refused(CKR_MECHANISM_INVALID);
            }
            for chosen in [
                Mech::gcm(&[1; 12], b"", 128),
                Mech::gcm_wrap(&[1; 12], 0, CKG_NO_GENERATE, b"", 128),
                Mech::gcm_wrap(&[1; 12], 32, CKG_GENERATE, b"", 128),
                Mech::ccm_wrap(&[1; 13], CKG_NO_GENERATE, b"", 16),
                Mech::ccm_wrap(&[1; 13], CKG_GENERATE, b"", 8),
                Mech::bytes(CKM_AES_KEY_WRAP, &[1; 8]),
                Mech::bytes(CKM_AES_KEY_WRAP_KWP, &[1; 4]),
            ] {
                session
                    .wrap(chosen, kek, key)
                    .refused(CKR_MECHANISM_PARAM_INVALID);
            }
        }
        // Cut to one byte, a key would be guessed.
        let nonce = generated_nonce();
        let wrapped = session.wrap(nonce, kek, target).unwrap();
        let byte = Template::new()
            .set(CKA_CLASS, CKO_SECRET_KEY)
            .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
            .set(CKA_VALUE_LEN, 1 as CK_ULONG);
        for mechanism in weak() {
            session
                .unwrap(mechanism, kek, &wrapped[..1], &byte)
                .refused(CKR_MECHANISM_INVALID);
            session
                .unwrap(CKM_AES_ECB, kek, &wrapped[..16], &byte)
                .refused(CKR_MECHANISM_INVALID);
        }
    });
}

#[test]
fn a_public_kek_has_a_private_kek() {
    strict(|session| {
        let target = victim(session);
        let oaep = || Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
        let make = |public: &Template, private: &Template| {
            let public = rsa_public(2048).set(CKA_WRAP, true).with(public);
            session.generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, private)
        };
        // The usage that the templates leave out is false in both halves.
        let (public, private) = make(&Template::new(), &roles(&[CKA_UNWRAP])).unwrap();
        for other in [CKA_DECRYPT, CKA_SIGN, CKA_DERIVE] {
            assert!(!session.get_bool(private, other));
        }
        let wrapped = session.wrap(oaep(), public, target).unwrap();
        let again = session
            .unwrap(oaep(), private, &wrapped, &wished(&Template::new()))
            .unwrap();
        assert!(session.get_bool(again, CKA_SENSITIVE));
        session
            .decrypt(oaep(), private, &wrapped)
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        // Bare RSA would show it byte by byte.
        session
            .unwrap(
                CKM_RSA_X_509,
                private,
                &wrapped,
                &wished(&Template::new().set(CKA_VALUE_LEN, 16 as CK_ULONG)),
            )
            .refused(CKR_MECHANISM_INVALID);
        // A private half that decrypts, or that leaves and comes back to decrypt.
        make(&Template::new(), &roles(&[CKA_DECRYPT])).refused(CKR_TEMPLATE_INCONSISTENT);
        let (leaves, _) = make(&Template::new(), &roles(&[CKA_UNWRAP, CKA_EXTRACTABLE])).unwrap();
        session
            .wrap(oaep(), leaves, target)
            .refused(CKR_KEY_NOT_WRAPPABLE);
        // Of both roles: it carries what everybody may read.
        let (mixed, decrypts) = make(&roles(&[CKA_ENCRYPT]), &roles(&[CKA_DECRYPT])).unwrap();
        session
            .wrap(oaep(), mixed, target)
            .refused(CKR_KEY_NOT_WRAPPABLE);
        let less = Template::new().set(CKA_ENCRYPT, false);
        session.set(mixed, &less).refused(CKR_TEMPLATE_INCONSISTENT);
        session
            .copy(mixed, &less)
            .refused(CKR_TEMPLATE_INCONSISTENT);
        let open = session
            .create(&aes_template(&VALUE).set(CKA_EXTRACTABLE, true))
            .unwrap();
        let wrapped = session.wrap(oaep(), mixed, open).unwrap();
        assert_eq!(session.decrypt(oaep(), decrypts, &wrapped).unwrap(), VALUE);
    });
}

/// What CKM_RSA_AES_KEY_WRAP makes begins with a key that CKM_RSA_PKCS_OAEP would unwrap to one that
/// decrypts the rest.
#[test]
fn the_key_for_one_use_stays_inside() {
    let steps = |session: Session, public: &Template| {
        let target = victim(session);
        let public = rsa_public(2048).set(CKA_WRAP, true).with(public);
        let (public, private) = session
            .generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &roles(&[CKA_UNWRAP]))
            .unwrap();
        let wrapped = session.wrap(Mech::rsa_aes(256), public, target)?;
        let (first, rest) = wrapped.split_at(256);
        let once = wished(&roles(&[CKA_DECRYPT]));
        let oaep = Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
        let once = session.unwrap(oaep, private, first, &once)?;
        session.decrypt(CKM_AES_KEY_WRAP_KWP, once, rest)
    };
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        steps(session, &Template::new()).refused(CKR_MECHANISM_INVALID);
        let bound = CKM_RSA_AES_KEY_WRAP.to_ne_bytes();
        let bound = Template::new().set(CKA_ALLOWED_MECHANISMS, &bound);
        steps(session, &bound).refused(CKR_MECHANISM_INVALID);
        // Bound to it, it carries.
        let target = victim(session);
        let public = rsa_public(2048).set(CKA_WRAP, true).with(&bound);
        let (public, private) = session
            .generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &roles(&[CKA_UNWRAP]))
            .unwrap();
        let wrapped = session.wrap(Mech::rsa_aes(128), public, target).unwrap();
        let again = session
            .unwrap(
                Mech::rsa_aes(128),
                private,
                &wrapped,
                &wished(&Template::new()),
            )
            .unwrap();
        session
            .get(again, CKA_VALUE)
            .refused(CKR_ATTRIBUTE_SENSITIVE);
    });
}

#[test]
fn an_open_token_shows_the_key_for_one_use() {
    open(|session| {
        let target = victim(session);
        let public = rsa_public(2048).set(CKA_WRAP, true);
        let (public, private) = session
            .generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &roles(&[CKA_UNWRAP]))
            .unwrap();
        let wrapped = session.wrap(Mech::rsa_aes(256), public, target).unwrap();
        let (first, rest) = wrapped.split_at(256);
        let oaep = Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
        let once = wished(&roles(&[CKA_DECRYPT]));
        let once = session.unwrap(oaep, private, first, &once).unwrap();
        let shown = session.decrypt(CKM_AES_KEY_WRAP_KWP, once, rest);
        assert_eq!(shown.unwrap(), VALUE);
    });
}

#[test]
fn roles_are_lost_and_never_won() {
    strict(|session| {
        let key = session
            .generate_key(
                CKM_AES_KEY_GEN,
                &Template::new().set(CKA_VALUE_LEN, 16 as CK_ULONG),
            )
            .unwrap();
        for role in [CKA_WRAP, CKA_UNWRAP, CKA_DERIVE] {
            session
                .set(key, &roles(&[role]))
                .refused(CKR_ATTRIBUTE_READ_ONLY);
            session
                .copy(key, &roles(&[role]))
                .refused(CKR_ATTRIBUTE_READ_ONLY);
        }
        session
            .set(key, &Template::new().set(CKA_SIGN, false))
            .unwrap();
        session
            .set(key, &roles(&[CKA_SIGN]))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        // What does not wrap any more may lose the rest.
        let both = aes_kek(session, &roles(&[CKA_ENCRYPT]));
        let bare = Template::new().set(CKA_WRAP, false).set(CKA_UNWRAP, false);
        session
            .set(both, &bare.clone().set(CKA_ENCRYPT, false))
            .unwrap();
        let private = session.create(&rsa_private_import()).unwrap();
        session
            .set(private, &roles(&[CKA_UNWRAP]))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        let public = session.create(&rsa_public_import()).unwrap();
        session
            .set(public, &roles(&[CKA_WRAP]))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
    });
}

/// An officer's key carries; a user makes none.
#[test]
fn trust_is_the_security_officers() {
    isolated_on(&[SOFTWARE], |world| {
        let token = world.token();
        let session = token.session();
        let public = rsa_public_import()
            .without(CKA_ENCRYPT)
            .without(CKA_VERIFY)
            .set(CKA_TOKEN, true)
            .set(CKA_WRAP, true);
        session.login(CKU_SO, SO_PIN).unwrap();
        let trusted = session
            .create(&public.clone().set(CKA_TRUSTED, true))
            .unwrap();
        session.logout().unwrap();
        session.login(CKU_USER, USER_PIN).unwrap();
        session
            .create(&public.clone().set(CKA_TRUSTED, true))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        let untrusted = session.create(&public).unwrap();
        session
            .set(untrusted, &roles(&[CKA_TRUSTED]))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        let target = session
            .create(
                &aes_template(&VALUE)
                    .set(CKA_SENSITIVE, true)
                    .set(CKA_EXTRACTABLE, true)
                    .set(CKA_WRAP_WITH_TRUSTED, true),
            )
            .unwrap();
        session
            .set(target, &Template::new().set(CKA_WRAP_WITH_TRUSTED, false))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        let kek = aes_kek(session, &Template::new());
        session
            .wrap(generated_nonce(), kek, target)
            .refused(CKR_KEY_NOT_WRAPPABLE);
        session
            .wrap(CKM_RSA_PKCS, untrusted, target)
            .refused(CKR_KEY_NOT_WRAPPABLE);
        let wrapped = session.wrap(CKM_RSA_PKCS, trusted, target).unwrap();
        let outside = session.create(&rsa_private_import()).unwrap();
        assert_eq!(
            session.decrypt(CKM_RSA_PKCS, outside, &wrapped).unwrap(),
            VALUE
        );
    });
}
