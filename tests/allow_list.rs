//! `[mechanisms]` of the configuration: which mechanisms a token offers, in whatever way it is asked
//! (5.5.5, 5.5.6, 4.13, and every C_…Init).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::MESSAGE;
use common::*;

/// What `[mechanisms]` names in these tests.
const LISTED: [CK_MECHANISM_TYPE; 3] = [CKM_EC_KEY_PAIR_GEN, CKM_ECDSA_SHA256, CKM_SHA256];
const LIST: &str = r#"["CKM_SHA256", "CKM_ECDSA_SHA256", "CKM_EC_KEY_PAIR_GEN"]"#;

fn configured(world: &World, lists: &str) {
    world.configure(&format!("[mechanisms]\n{lists}\n"));
}

/// The mechanisms of the token's mechanism objects.
fn shown(session: Session) -> Vec<CK_MECHANISM_TYPE> {
    let objects = session
        .find(&Template::new().set(CKA_CLASS, CKO_MECHANISM))
        .unwrap();
    let kind = |&object: &CK_OBJECT_HANDLE| session.get_ulong(object, CKA_MECHANISM_TYPE);
    sorted(objects.iter().map(kind).collect())
}

fn sorted(mut kinds: Vec<CK_MECHANISM_TYPE>) -> Vec<CK_MECHANISM_TYPE> {
    kinds.sort_unstable();
    kinds
}

fn listed(token: Token) -> Vec<CK_MECHANISM_TYPE> {
    sorted(token.module.mechanisms(token.slot).unwrap())
}

#[test]
fn nothing_else_is_offered() {
    isolated(|world| {
        configured(world, &format!("\"test token\" = {LIST}"));
        let token = world.token();
        let session = token.user();
        assert_eq!(listed(token), sorted(LISTED.to_vec()));
        assert_eq!(shown(session), sorted(LISTED.to_vec()));
        for kind in LISTED {
            token.module.mechanism_info(token.slot, kind).unwrap();
        }
        let info = |kind| token.module.mechanism_info(token.slot, kind);
        info(CKM_ECDSA).refused(CKR_MECHANISM_INVALID);
        info(CKM_AES_GCM).refused(CKR_MECHANISM_INVALID);

        let pair = session.ec(Curve::P256);
        let signature = session
            .sign(CKM_ECDSA_SHA256, pair.private, MESSAGE)
            .unwrap();
        session
            .verify(CKM_ECDSA_SHA256, pair.public, MESSAGE, &signature)
            .unwrap();
        session.digest(CKM_SHA256, MESSAGE).unwrap();
        session
            .sign_init(CKM_ECDSA, pair.private)
            .refused(CKR_MECHANISM_INVALID);
        session
            .verify_init(CKM_ECDSA_SHA384, pair.public)
            .refused(CKR_MECHANISM_INVALID);
        session
            .digest_init(CKM_SHA384)
            .refused(CKR_MECHANISM_INVALID);
        session
            .generate_key_pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rsa_public(2048),
                &Template::new(),
            )
            .refused(CKR_MECHANISM_INVALID);
        session
            .generate_key(CKM_AES_KEY_GEN, &Template::new().set(CKA_VALUE_LEN, 16u64))
            .refused(CKR_MECHANISM_INVALID);
        // A key can still be brought and kept: what is narrowed is the use.
        let key = session.create(&aes_template(&[7; 16])).unwrap();
        session
            .encrypt_init(CKM_AES_ECB, key)
            .refused(CKR_MECHANISM_INVALID);
        session
            .decrypt_init(CKM_AES_ECB, key)
            .refused(CKR_MECHANISM_INVALID);
    });
}

#[test]
fn a_tokens_own_list_counts_more_than_that_of_all() {
    isolated(|world| {
        configured(
            world,
            &format!("\"*\" = [\"CKM_SHA512\"]\n\"test token\" = {LIST}"),
        );
        let token = world.token();
        assert_eq!(listed(token), sorted(LISTED.to_vec()));
    });
}

#[test]
fn the_list_of_all_is_for_tokens_that_are_not_named() {
    isolated(|world| {
        configured(
            world,
            &format!("\"*\" = [\"CKM_SHA512\"]\nanother = {LIST}"),
        );
        let token = world.token();
        assert_eq!(listed(token), [CKM_SHA512]);
    });
}

#[test]
fn a_token_without_a_list_offers_all() {
    isolated(|world| {
        configured(world, "another = []");
        let token = world.token();
        let all = listed(token);
        assert!(all.len() > 40, "{all:?}");
        assert_eq!(shown(token.session()), all);
    });
}

#[test]
fn an_empty_list_leaves_nothing() {
    isolated(|world| {
        configured(world, "\"test token\" = []");
        let token = world.token();
        assert_eq!(listed(token), []);
        assert_eq!(shown(token.session()), []);
        token
            .user()
            .digest_init(CKM_SHA256)
            .refused(CKR_MECHANISM_INVALID);
    });
}

/// The list follows the label: the token is initialized anew under another one.
#[test]
fn the_list_of_the_new_label_counts() {
    isolated(|world| {
        configured(
            world,
            "\"test token\" = [\"CKM_SHA256\"]\nrenamed = [\"CKM_SHA384\"]",
        );
        let token = world.token();
        assert_eq!(listed(token), [CKM_SHA256]);
        token
            .module
            .init_token(token.slot, SO_PIN, "renamed")
            .unwrap();
        assert_eq!(listed(token), [CKM_SHA384]);
        let session = token.session();
        assert_eq!(shown(session), [CKM_SHA384]);
        session.digest(CKM_SHA384, MESSAGE).unwrap();
        session
            .digest_init(CKM_SHA256)
            .refused(CKR_MECHANISM_INVALID);
    });
}

/// A token in a store, by another process: a card is read anew when somebody asks for its objects.
#[test]
fn the_list_of_the_label_that_another_process_gave_counts() {
    isolated_on(STORED, |world| {
        configured(
            world,
            "\"test token\" = [\"CKM_SHA256\"]\nrenamed = [\"CKM_SHA384\"]",
        );
        world.process(|| {
            world.token();
        });
        let (ready, renamed) = (process::Signal::new(), process::Signal::new());
        let watcher = world.start(|| {
            let token = world.existing_token();
            let session = token.session();
            session.digest(CKM_SHA256, MESSAGE).unwrap();
            let kept = session.find_one(
                &Template::new()
                    .set(CKA_CLASS, CKO_MECHANISM)
                    .set(CKA_MECHANISM_TYPE, CKM_SHA256),
            );
            ready.send();
            renamed.wait();
            session
                .digest_init(CKM_SHA256)
                .refused(CKR_MECHANISM_INVALID);
            session.digest(CKM_SHA384, MESSAGE).unwrap();
            assert_eq!(listed(token), [CKM_SHA384]);
            assert_eq!(shown(session), [CKM_SHA384]);
            session
                .get(kept, CKA_MECHANISM_TYPE)
                .refused(CKR_OBJECT_HANDLE_INVALID);
        });
        ready.wait();
        world.process(|| {
            let token = world.existing_token();
            token
                .module
                .init_token(token.slot, SO_PIN, "renamed")
                .unwrap();
        });
        renamed.send();
        watcher.succeeds();
    });
}

#[test]
fn a_name_that_is_not_known_stops_the_module() {
    isolated_on(&[SOFTWARE], |world| {
        configured(world, "\"*\" = [\"CKM_SHA256\", \"CKM_SHA257\"]");
        let log = world.path("log");
        set("NODETOKEN_LOG", format!("error:{}", log.display()));
        Module::load().initialize().refused(CKR_FUNCTION_FAILED);
        let path = world.path("nodetoken.toml");
        let said = nodetoken::config::Config::load(
            |name| (name == "NODETOKEN_CONF").then(|| path.clone().into()),
            None,
        );
        let said = said.unwrap_err();
        assert!(said.reason().contains("\"CKM_SHA257\""), "{said}");
        assert!(said.reason().contains("line 2"), "{said}");
    });
}
