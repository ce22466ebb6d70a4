//! Objects: made, copied, found, destroyed, kept (PKCS#11 3.2, 4 and 5.7).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::{self, hex};
use common::*;

/// One template for every class of object that an application makes, on this kind of token or in the
/// session.
fn every_class(kind: &Kind, on_token: bool) -> Vec<(&'static str, Template)> {
    let keys = kind.keys(on_token);
    let p256 = |t: Template| t.set(CKA_LABEL, "P-256");
    let mut classes = vec![
        (
            "data",
            data("data")
                .set(CKA_VALUE, "value")
                .set(CKA_APPLICATION, "tests")
                .set(CKA_OBJECT_ID, &[6, 1, 42]),
        ),
        (
            "certificate",
            certificate()
                .set(CKA_LABEL, "certificate")
                .set(CKA_ID, "id"),
        ),
        ("RSA private key", rsa_private_import().set(CKA_ID, "rsa")),
        ("RSA public key", rsa_public_import().set(CKA_ID, "rsa")),
        (
            "EC private key",
            p256(ec_private_import(Curve::P256, vectors::P256_SCALAR)),
        ),
        (
            "EC public key",
            p256(ec_public_import(Curve::P256, vectors::P256_POINT)),
        ),
        ("AES key", aes_template(&[7; 32])),
        (
            "generic secret",
            generic_secret_template(b"sixteen bytes ab"),
        ),
    ];
    if keys.curves.contains(&Curve::ED25519) {
        classes.push((
            "Ed25519 private key",
            ec_private_import(Curve::ED25519, vectors::ED25519_SEED),
        ));
    }
    // What is left out is refused (tests/kinds.rs).
    classes.retain(|(what, _)| match *what {
        "AES key" | "generic secret" => kind.keeps_secrets || !on_token,
        what => keys.imported || !what.contains("private"),
    });
    classes
        .into_iter()
        .map(|(what, template)| (what, template.with(&on(on_token))))
        .collect()
}

/// What of a template can be read back from the object made of it.
fn assert_has(session: Session, object: CK_OBJECT_HANDLE, template: &Template, what: &str) {
    for attribute in template.attributes() {
        match session.get(object, attribute.type_) {
            Ok(value) => {
                let length = attribute.ulValueLen as usize;
                let given =
                    unsafe { std::slice::from_raw_parts(attribute.pValue.cast::<u8>(), length) };
                assert_eq!(value, given, "{:#x} of {what}", attribute.type_);
            }
            refused => refused.refused(CKR_ATTRIBUTE_SENSITIVE),
        }
    }
}

#[test]
fn every_class_on_the_token_and_in_the_session() {
    isolated(|world| {
        let session = world.token().user();
        for on_token in [false, true] {
            for (what, template) in every_class(world.kind, on_token) {
                let object = session
                    .create(&template)
                    .unwrap_or_else(|rv| panic!("{what}: {rv:?}"));
                assert_ne!(object, CK_INVALID_HANDLE);
                assert_has(session, object, &template, what);
                assert_ne!(session.size(object).unwrap(), 0);
                session.destroy(object).unwrap();
                session.destroy(object).refused(CKR_OBJECT_HANDLE_INVALID);
                session
                    .get(object, CKA_CLASS)
                    .refused(CKR_OBJECT_HANDLE_INVALID);
                session.size(object).refused(CKR_OBJECT_HANDLE_INVALID);
                session
                    .set(object, &Template::new())
                    .refused(CKR_OBJECT_HANDLE_INVALID);
                session
                    .copy(object, &Template::new())
                    .refused(CKR_OBJECT_HANDLE_INVALID);
            }
        }
    });
}

#[test]
fn token_objects_outlive_the_process() {
    isolated(|world| {
        world.process(|| {
            let session = world.token().user();
            for on_token in [true, false] {
                for (_, template) in every_class(world.kind, on_token) {
                    session.create(&template).unwrap();
                }
            }
            if !world.kind.token_keys.imported {
                session.ec_with(Curve::P256, &on(true).set(CKA_ID, "made"));
            }
        });
        world.process(|| {
            let session = world.existing_token().user();
            for (what, template) in every_class(world.kind, true) {
                let mut sought = on(true);
                for kind in [CKA_CLASS, CKA_KEY_TYPE, CKA_LABEL, CKA_ID, CKA_EC_PARAMS] {
                    if let Some(attribute) = template.attributes().iter().find(|a| a.type_ == kind)
                    {
                        let length = attribute.ulValueLen as usize;
                        let value = unsafe {
                            std::slice::from_raw_parts(attribute.pValue.cast::<u8>(), length)
                        };
                        sought = sought.set(kind, value);
                    }
                }
                let found = session.find(&sought).unwrap();
                assert!(!found.is_empty(), "{what} is gone");
                assert_has(session, found[0], &template, what);
            }
            assert_eq!(
                session
                    .find(
                        &Template::new()
                            .set(CKA_TOKEN, false)
                            .set(CKA_CLASS, CKO_DATA)
                    )
                    .unwrap(),
                []
            );
            if !world.kind.token_keys.imported {
                let made = |class| {
                    let made = Template::new().set(CKA_ID, "made");
                    session.find_one(&made.set(CKA_CLASS, class))
                };
                let (public, private) = (made(CKO_PUBLIC_KEY), made(CKO_PRIVATE_KEY));
                let signature = session.sign(CKM_ECDSA_SHA256, private, b"data").unwrap();
                session
                    .verify(CKM_ECDSA_SHA256, public, b"data", &signature)
                    .unwrap();
                return;
            }
            let key = session.find_one(
                &Template::new()
                    .set(CKA_CLASS, CKO_PRIVATE_KEY)
                    .set(CKA_ID, "rsa"),
            );
            let signature = session
                .sign(CKM_SHA256_RSA_PKCS, key, vectors::MESSAGE)
                .unwrap();
            assert_eq!(signature, hex(vectors::RSA_PKCS_SHA256));
        });
    });
}

#[test]
fn finding() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let count = |template: Template| session.find(&template).unwrap().len();
        let all = Template::new().set(CKA_CLASS, CKO_DATA);
        // A card has data of its own.
        let before = count(all.clone());
        for number in 0..10 {
            let label = if number % 2 == 0 { "even" } else { "odd" };
            session
                .create(
                    &data(label)
                        .set(CKA_TOKEN, number < 5)
                        .set(CKA_VALUE, &[number]),
                )
                .unwrap();
        }
        assert_eq!(count(all.clone()), before + 10);
        assert_eq!(count(all.clone().set(CKA_LABEL, "even")), 5);
        assert_eq!(
            count(all.clone().set(CKA_LABEL, "even").set(CKA_TOKEN, true)),
            3
        );
        assert_eq!(count(all.clone().set(CKA_VALUE, &[3])), 1);
        assert_eq!(
            count(all.clone().set(CKA_LABEL, "eve")),
            0,
            "no match by a part"
        );
        assert_eq!(
            count(all.clone().set(CKA_LABEL, "")),
            0,
            "an empty value is a value"
        );
        assert_eq!(count(all.clone().set(CKA_ID, "")), 0, "data has no CKA_ID");
        assert_eq!(
            count(all.set(CKA_VENDOR_DEFINED | 1, "x")),
            0,
            "an unknown attribute matches nothing"
        );
        assert!(
            count(Template::new()) >= 10,
            "the empty template matches everything"
        );
    });
}

#[test]
fn finding_is_an_operation() {
    isolated(|world| {
        let token = world.token();
        let (session, module) = (token.user(), token.module);
        let (mut found, mut count) = ([0; 4], 0);
        let mut find = || {
            try_call!(
                module,
                C_FindObjects(session.handle, found.as_mut_ptr(), 4, &mut count)
            )
            .map(|()| count)
        };
        let init = || try_call!(module, C_FindObjectsInit(session.handle, null_mut(), 0));
        let end = || try_call!(module, C_FindObjectsFinal(session.handle));
        find().refused(CKR_OPERATION_NOT_INITIALIZED);
        end().refused(CKR_OPERATION_NOT_INITIALIZED);
        init().unwrap();
        init().refused(CKR_OPERATION_ACTIVE);
        find().unwrap();
        end().unwrap();
        find().refused(CKR_OPERATION_NOT_INITIALIZED);

        // What is destroyed or added while a search runs does not break it.
        let doomed = session.create(&data("doomed")).unwrap();
        init().unwrap();
        session.destroy(doomed).unwrap();
        session.create(&data("new")).unwrap();
        while find().unwrap() > 0 {}
        assert_eq!(find().unwrap(), 0);
        end().unwrap();
        init().unwrap();
        try_call!(
            module,
            C_FindObjects(session.handle, null_mut(), 4, &mut count)
        )
        .refused(CKR_ARGUMENTS_BAD);
    });
}

/// Neither sensitive values nor private objects can be guessed by searching (4.1.1, 5.7.7).
#[test]
fn searching_tells_no_secret() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let secret = [7; 32];
        session
            .create(&aes_template(&secret).set(CKA_SENSITIVE, true))
            .unwrap();
        session
            .create(
                &data("hidden")
                    .set(CKA_PRIVATE, true)
                    .set(CKA_TOKEN, world.kind.keeps_secrets),
            )
            .unwrap();
        assert_eq!(
            session
                .find(
                    &Template::new()
                        .set(CKA_CLASS, CKO_SECRET_KEY)
                        .set(CKA_VALUE, &secret)
                )
                .unwrap(),
            []
        );
        assert_eq!(
            session
                .find(&Template::new().set(CKA_LABEL, "hidden"))
                .unwrap()
                .len(),
            1
        );
        session.logout().unwrap();
        assert_eq!(
            session
                .find(&Template::new().set(CKA_LABEL, "hidden"))
                .unwrap(),
            []
        );
    });
}

#[test]
fn copying() {
    isolated(|world| {
        let session = world.token().user();
        let template = data("original")
            .set(CKA_VALUE, "value")
            .set(CKA_TOKEN, true);
        let original = session.create(&template).unwrap();
        // NSS copies with a NULL template; CKR_ARGUMENTS_BAD made it destroy the key.
        let mut copy = 0;
        try_call!(
            session.module,
            C_CopyObject(session.handle, original, null_mut(), 0, &mut copy)
        )
        .unwrap();
        assert_ne!(copy, original);
        assert_has(session, copy, &template, "the copy");
        assert_ne!(
            session.get(copy, CKA_UNIQUE_ID).unwrap(),
            session.get(original, CKA_UNIQUE_ID).unwrap()
        );

        let changed = session
            .copy(
                original,
                &Template::new().set(CKA_LABEL, "copy").set(CKA_TOKEN, false),
            )
            .unwrap();
        assert_has(
            session,
            changed,
            &template.set(CKA_LABEL, "copy").set(CKA_TOKEN, false),
            "the changed copy",
        );
        session.destroy(original).unwrap();
        assert_eq!(session.get(copy, CKA_VALUE).unwrap(), b"value");

        // A copied key works, and a copy is never weaker.
        let pair = session.ec_with(Curve::P256, &on(false));
        let copy = session
            .copy(pair.private, &Template::new().set(CKA_LABEL, "copy"))
            .unwrap();
        let signature = session.sign(CKM_ECDSA_SHA256, copy, b"data").unwrap();
        session
            .verify(CKM_ECDSA_SHA256, pair.public, b"data", &signature)
            .unwrap();
        for (attribute, value) in [
            (CKA_SENSITIVE, false),
            (CKA_EXTRACTABLE, true),
            (CKA_PRIVATE, false),
        ] {
            session
                .copy(pair.private, &Template::new().set(attribute, value))
                .refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        }
        for (attribute, value) in [(CKA_CLASS, CKO_DATA), (CKA_KEY_TYPE, CKK_AES)] {
            session
                .copy(pair.private, &Template::new().set(attribute, value))
                .refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        }
        let same_class = Template::new().set(CKA_CLASS, CKO_PRIVATE_KEY);
        session
            .copy(pair.private, &same_class)
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        // What is not modifiable is not modified by way of a copy.
        let frozen = aes_template(&[1; 16])
            .set(CKA_MODIFIABLE, false)
            .set(CKA_DECRYPT, false);
        let frozen = session.create(&frozen).unwrap();
        for (attribute, value) in [(CKA_DECRYPT, true), (CKA_MODIFIABLE, true)] {
            session
                .copy(frozen, &Template::new().set(attribute, value))
                .refused(CKR_ATTRIBUTE_READ_ONLY);
        }
        let named = Template::new()
            .set(CKA_LABEL, "another name")
            .set(CKA_DECRYPT, false);
        let copy = session.copy(frozen, &named).unwrap();
        assert!(!session.get_bool(copy, CKA_MODIFIABLE));

        let fixed = session
            .create(&data("fixed").set(CKA_COPYABLE, false))
            .unwrap();
        session
            .copy(fixed, &Template::new())
            .refused(CKR_ACTION_PROHIBITED);
    });
}

#[test]
fn indestructible_objects() {
    isolated(|world| {
        let session = world.token().user();
        let object = session
            .create(&data("stays").set(CKA_DESTROYABLE, false))
            .unwrap();
        session.destroy(object).refused(CKR_ACTION_PROHIBITED);
        session.get(object, CKA_LABEL).unwrap();
    });
}

#[test]
fn read_only_sessions_write_no_token_object() {
    isolated(|world| {
        let token = world.token();
        let writer = token.user();
        let object = writer.create(&data("kept").set(CKA_TOKEN, true)).unwrap();
        let reader = token.read_only_session();
        let on_token = Template::new().set(CKA_TOKEN, true);
        reader
            .create(&data("new").with(&on_token))
            .refused(CKR_SESSION_READ_ONLY);
        reader
            .copy(object, &Template::new())
            .refused(CKR_SESSION_READ_ONLY);
        reader
            .set(object, &Template::new().set(CKA_LABEL, "changed"))
            .refused(CKR_SESSION_READ_ONLY);
        reader.destroy(object).refused(CKR_SESSION_READ_ONLY);
        reader
            .generate_key(CKM_AES_KEY_GEN, &on_token.clone().set(CKA_VALUE_LEN, 16))
            .refused(CKR_SESSION_READ_ONLY);
        let curve = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        for (public, private) in [(&on_token, &Template::new()), (&Template::new(), &on_token)] {
            reader
                .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &curve.clone().with(public), private)
                .refused(CKR_SESSION_READ_ONLY);
        }
        assert_eq!(
            reader.find(&on_token).unwrap().len(),
            writer.find(&on_token).unwrap().len()
        );
        assert_eq!(reader.get(object, CKA_LABEL).unwrap(), b"kept");
        // Its own session objects it may write.
        let own = reader.create(&data("own")).unwrap();
        reader
            .set(own, &Template::new().set(CKA_LABEL, "changed"))
            .unwrap();
        reader
            .copy(object, &Template::new().set(CKA_TOKEN, false))
            .unwrap();
        reader.destroy(own).unwrap();
    });
}

#[test]
fn public_sessions_make_public_objects_only() {
    isolated(|world| {
        let session = world.token().session();
        session
            .create(&data("private").set(CKA_PRIVATE, true))
            .refused(CKR_USER_NOT_LOGGED_IN);
        // Private and secret keys are private where the template does not say.
        session
            .create(&aes_template(&[1; 16]))
            .refused(CKR_USER_NOT_LOGGED_IN);
        session
            .create(&rsa_private_import())
            .refused(CKR_USER_NOT_LOGGED_IN);
        session
            .generate_key(CKM_AES_KEY_GEN, &Template::new().set(CKA_VALUE_LEN, 16))
            .refused(CKR_USER_NOT_LOGGED_IN);
        let object = session
            .create(&data("public").set(CKA_PRIVATE, false))
            .unwrap();
        session.get(object, CKA_LABEL).unwrap();
        session.create(&certificate()).unwrap();
    });
}

/// CLIENTS.md 2.3, 7: clients look for the public key beside the private one, and for its parts on it.
#[test]
fn a_public_key_stands_beside_each_private_key() {
    let cases = [
        ("RSA", rsa_private_import(), vectors::RSA_SPKI, None),
        (
            "P-256",
            ec_private_import(Curve::P256, vectors::P256_SCALAR),
            vectors::P256_SPKI,
            Some((Curve::P256, vectors::P256_POINT)),
        ),
        (
            "P-384",
            ec_private_import(Curve::P384, vectors::P384_SCALAR),
            vectors::P384_SPKI,
            Some((Curve::P384, vectors::P384_POINT)),
        ),
        (
            "P-521",
            ec_private_import(Curve::P521, vectors::P521_SCALAR),
            vectors::P521_SPKI,
            Some((Curve::P521, vectors::P521_POINT)),
        ),
    ];
    isolated(|world| {
        let session = world.token().user();
        for (name, import, spki, point) in cases {
            if point.is_some_and(|(curve, _)| !world.kind.has(curve)) {
                continue;
            }
            let named = Template::new().set(CKA_ID, name).set(CKA_LABEL, name);
            let on_token = world.kind.token_keys.imported;
            let private = session
                .create(&import.with(&named).with(&on(on_token)))
                .unwrap();
            let public = session.find_one(&named.set(CKA_CLASS, CKO_PUBLIC_KEY));
            assert_eq!(session.get_bool(public, CKA_TOKEN), on_token);
            assert!(!session.get_bool(public, CKA_PRIVATE));
            for key in [public, private] {
                assert_eq!(
                    session.get(key, CKA_PUBLIC_KEY_INFO).unwrap(),
                    hex(spki),
                    "{name}"
                );
                if let Some((_, point)) = point {
                    assert_eq!(
                        session.get(key, CKA_EC_POINT).unwrap(),
                        octet_string(&hex(point)),
                        "{name}"
                    );
                }
            }
            let mechanism = if name == "RSA" {
                CKM_SHA256_RSA_PKCS
            } else {
                CKM_ECDSA_SHA256
            };
            let signature = session.sign(mechanism, private, b"data").unwrap();
            session
                .verify(mechanism, public, b"data", &signature)
                .unwrap();
        }
    });
}

/// The public key that an application brings itself is not doubled.
/// Java copies its session keys to the token; others keep the public half in the session.
#[test]
fn a_key_that_comes_to_the_token_brings_its_public_key() {
    isolated(|world| {
        let session = world.token().user();
        let of_token = Template::new()
            .set(CKA_CLASS, CKO_PUBLIC_KEY)
            .set(CKA_TOKEN, true);
        if world.kind.token_keys.imported {
            let pair = session.ec(Curve::P256);
            let to_token = Template::new().set(CKA_TOKEN, true).set(CKA_ID, "copied");
            session.copy(pair.private, &to_token).unwrap();
            let brought = session.find_one(&of_token.clone().set(CKA_ID, "copied"));
            assert_eq!(
                session.get(brought, CKA_PUBLIC_KEY_INFO).unwrap(),
                session.get(pair.public, CKA_PUBLIC_KEY_INFO).unwrap()
            );
            // The caller's own takes its place.
            let own = session.copy(pair.public, &to_token).unwrap();
            assert_eq!(
                session.find(&of_token.clone().set(CKA_ID, "copied")),
                Ok(vec![own])
            );
        }

        let params = Template::new().set(CKA_EC_PARAMS, Curve::P384.params);
        let (public, private) = session
            .generate_key_pair(
                CKM_EC_KEY_PAIR_GEN,
                &params,
                &Template::new().set(CKA_TOKEN, true).set(CKA_ID, "made"),
            )
            .unwrap();
        assert!(!session.get_bool(public, CKA_TOKEN));
        assert!(session.get_bool(private, CKA_TOKEN));
        session.find_one(&of_token.set(CKA_ID, "made"));
    });
}

/// Clients that clear a token search first, then destroy what they found, private keys before public
/// ones (node-webcrypto-p11): that a public key has gone with its private key is no failure of theirs.
#[test]
fn all_that_a_search_found_can_be_destroyed() {
    isolated(|world| {
        let session = world.token().user();
        let named = Template::new().set(CKA_ID, "cleared");
        let of_class = |class| named.clone().set(CKA_CLASS, class);
        let on_token = on(world.kind.token_keys.imported);
        let import = ec_private_import(Curve::P256, vectors::P256_SCALAR);
        session
            .create(&import.with(&named).with(&on_token))
            .unwrap();
        let private = session.find_one(&of_class(CKO_PRIVATE_KEY));
        let public = session.find_one(&of_class(CKO_PUBLIC_KEY));
        session.destroy(private).unwrap();
        assert_eq!(session.find(&named).unwrap(), []);
        session
            .get(public, CKA_ID)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        session.destroy(public).unwrap();
        for gone in [private, public] {
            session.destroy(gone).refused(CKR_OBJECT_HANDLE_INVALID);
        }

        // A pair that the token made, wherever it keeps the public half.
        session.ec_with(Curve::P256, &named.clone().with(&on(true)));
        let mut found = session.find(&of_class(CKO_PRIVATE_KEY)).unwrap();
        found.extend(session.find(&of_class(CKO_PUBLIC_KEY)).unwrap());
        assert_eq!(found.len(), 2);
        for object in found {
            session.destroy(object).unwrap();
        }
        assert_eq!(session.find(&named).unwrap(), []);
    });
}

#[test]
fn an_imported_pair_is_two_objects() {
    isolated(|world| {
        let session = world.token().user();
        let named = Template::new()
            .set(CKA_ID, "pair")
            .set(CKA_LABEL, "pair")
            .set(CKA_TOKEN, world.kind.token_keys.imported);
        session
            .create(&ec_public_import(Curve::P256, vectors::P256_POINT).with(&named))
            .unwrap();
        session
            .create(&ec_private_import(Curve::P256, vectors::P256_SCALAR).with(&named))
            .unwrap();
        assert_eq!(session.find(&named).unwrap().len(), 2);
    });
}

#[test]
fn two_tokens() {
    isolated(|world| {
        world.make_room_for_two();
        let module = world.module();
        let (one, two) = (Token::make(module, "one"), Token::make(module, "two"));
        assert_ne!(one.slot, two.slot);
        assert_ne!(one.info().serialNumber, two.info().serialNumber);
        let (first, second) = (one.user(), two.session());
        let private = Template::new().set(CKA_PRIVATE, world.kind.keeps_secrets);
        first
            .create(&data("first").with(&on(true)).with(&private))
            .unwrap();
        assert_eq!(
            second.state(),
            CKS_RW_PUBLIC_SESSION,
            "a login is for one token"
        );
        second.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(
            second
                .find(&Template::new().set(CKA_LABEL, "first"))
                .unwrap(),
            []
        );
        let object = second.create(&data("second")).unwrap();
        first
            .get(object, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        second.logout().unwrap();
        assert_eq!(first.state(), CKS_RW_USER_FUNCTIONS);
        try_call!(module, C_CloseAllSessions(two.slot)).unwrap();
        module.init_token(two.slot, SO_PIN, "two again").unwrap();
        assert_eq!(
            first
                .find(&Template::new().set(CKA_LABEL, "first"))
                .unwrap()
                .len(),
            1
        );
        let again = Token::find(module, "two again");
        assert!(one.has(CKF_USER_PIN_INITIALIZED));
        assert_eq!(again.has(CKF_USER_PIN_INITIALIZED), world.kind.personalized);
    });
}

/// 4.13 and 4.14: what the module says of itself as objects, seen without login.
#[test]
fn profile_and_mechanism_objects() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let profiles = session
            .find(&Template::new().set(CKA_CLASS, CKO_PROFILE))
            .unwrap();
        let ids: Vec<_> = profiles
            .iter()
            .map(|&object| session.get_ulong(object, CKA_PROFILE_ID))
            .collect();
        assert_eq!(ids.len(), 4, "OpenSSL's provider reads five: {ids:?}");
        for id in [
            CKP_BASELINE_PROVIDER,
            CKP_EXTENDED_PROVIDER,
            CKP_AUTHENTICATION_TOKEN,
            CKP_PUBLIC_CERTIFICATES_TOKEN,
        ] {
            assert!(ids.contains(&id), "{id}: {ids:?}");
        }
        session.find_one(
            &Template::new()
                .set(CKA_CLASS, CKO_PROFILE)
                .set(CKA_PROFILE_ID, CKP_BASELINE_PROVIDER),
        );

        let mechanisms = session
            .find(&Template::new().set(CKA_CLASS, CKO_MECHANISM))
            .unwrap();
        let mut types: Vec<_> = mechanisms
            .iter()
            .map(|&object| session.get_ulong(object, CKA_MECHANISM_TYPE))
            .collect();
        let mut listed = token.module.mechanisms(token.slot).unwrap();
        types.sort();
        listed.sort();
        assert_eq!(types, listed);
        session.login(CKU_USER, USER_PIN).unwrap();
        for object in [profiles[0], mechanisms[0]] {
            session
                .destroy(object)
                .refused_with(&[CKR_ACTION_PROHIBITED, CKR_TOKEN_WRITE_PROTECTED]);
            session
                .set(object, &Template::new().set(CKA_LABEL, "x"))
                .refused_with(&[
                    CKR_ACTION_PROHIBITED,
                    CKR_ATTRIBUTE_READ_ONLY,
                    CKR_ATTRIBUTE_TYPE_INVALID,
                ]);
        }
        for class in [
            CKO_PROFILE,
            CKO_MECHANISM,
            CKO_HW_FEATURE,
            CKO_VENDOR_DEFINED,
        ] {
            session
                .create(
                    &Template::new()
                        .set(CKA_CLASS, class)
                        .set(CKA_PROFILE_ID, CKP_BASELINE_PROVIDER),
                )
                .refused_with(&[
                    CKR_ATTRIBUTE_VALUE_INVALID,
                    CKR_TEMPLATE_INCONSISTENT,
                    CKR_ATTRIBUTE_READ_ONLY,
                ]);
        }
    });
}

#[test]
fn unique_ids_are_unique_and_stay() {
    isolated(|world| {
        let ids = world.path("ids");
        world.process(|| {
            let session = world.token().user();
            let mut seen = std::collections::BTreeSet::new();
            for number in 0..10 {
                let object = session
                    .create(&data("numbered").set(CKA_TOKEN, number % 2 == 0))
                    .unwrap();
                let id = session.get(object, CKA_UNIQUE_ID).unwrap();
                assert!(!id.is_empty() && std::str::from_utf8(&id).is_ok());
                assert_eq!(
                    session.find_one(&Template::new().set(CKA_UNIQUE_ID, id.clone())),
                    object
                );
                session
                    .set(object, &Template::new().set(CKA_UNIQUE_ID, "mine"))
                    .refused(CKR_ATTRIBUTE_READ_ONLY);
                assert!(seen.insert(id.clone()));
                if number == 0 {
                    std::fs::write(&ids, id).unwrap();
                }
            }
            session
                .create(&data("given").set(CKA_UNIQUE_ID, "mine"))
                .refused(CKR_ATTRIBUTE_READ_ONLY);
        });
        world.process(|| {
            let session = world.existing_token().user();
            session.find_one(&Template::new().set(CKA_UNIQUE_ID, std::fs::read(&ids).unwrap()));
        });
    });
}
