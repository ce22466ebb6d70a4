#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::Store;
use super::encoding::{decode, encode};
use super::state::State;
use crate::attribute::Attributes;
use crate::config::{Pin, Software};
use crate::crypto::{Curve, KeySpec, SignScheme};
use crate::error::Error;
use crate::memory::Secret;
use crate::token::software;
use crate::token::{NewObject, ObjectId, Source, Stored, Token, User};
use cryptoki_sys::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

mod chip;

const SO_PIN: &[u8] = b"officer-1";
const USER_PIN: &[u8] = b"user\0\xffpin";

fn open(directory: &Path) -> Store {
    software::open(&Software {
        store: directory.to_owned(),
        spare_slot: false,
        pin: Pin {
            min_length: 6,
            tries: 3,
        },
    })
    .unwrap()
}

fn token(store: &Store) -> Arc<dyn Token> {
    Arc::clone(&store.places().unwrap()[0].token)
}

/// A store with one token, both PINs set, nobody logged in.
fn initialized() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("store");
    let store = open(&directory);
    let fresh = token(&store);
    fresh.initialize(SO_PIN, "label").unwrap();
    fresh.login(User::SecurityOfficer, SO_PIN).unwrap();
    fresh.init_pin(USER_PIN).unwrap();
    store.close();
    (parent, directory)
}

fn object(label: &str, private: bool, secret: Option<&[u8]>) -> NewObject {
    let mut attributes = Attributes::new();
    attributes.set_ulong(CKA_CLASS, CKO_DATA);
    attributes.set(CKA_LABEL, label.as_bytes());
    attributes.set_bool(CKA_PRIVATE, private);
    NewObject {
        attributes,
        secrets: secret
            .map(|secret| (CKA_VALUE, Secret::copy_of(secret).unwrap()))
            .into_iter()
            .collect(),
    }
}

fn labels(token: &dyn Token) -> Result<BTreeMap<ObjectId, String>, Error> {
    let label = |stored: &Stored| {
        let label = stored.attributes.get(CKA_LABEL).unwrap();
        String::from_utf8(label.to_vec()).unwrap()
    };
    let changes = token.changes(None)?;
    Ok(changes.stored.iter().map(|o| (o.id, label(o))).collect())
}

fn refusal<T>(result: Result<T, Error>) -> CK_RV {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => error.rv(),
    }
}

/// Changes the database behind the module's back.
fn tamper(directory: &Path, statement: &str) -> usize {
    let database = Connection::open(directory.join("nodetoken.sqlite")).unwrap();
    database.execute(statement, []).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o700)).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn an_empty_directory_shows_an_uninitialized_token_and_stays_empty() {
    let parent = tempfile::tempdir().unwrap();
    for directory in [parent.path().to_owned(), parent.path().join("missing")] {
        let store = open(&directory);
        let places = store.places().unwrap();
        assert_eq!(places.len(), 1);
        let info = places[0].token.info().unwrap();
        assert_eq!(info.flags & CKF_TOKEN_INITIALIZED, 0);
        assert_eq!(
            refusal(places[0].token.login(User::User, USER_PIN)),
            CKR_TOKEN_NOT_RECOGNIZED
        );
        assert!(places[0].token.changes(None).unwrap().stored.is_empty());
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn files_are_private_whatever_the_umask_and_places_stay() {
    let (_parent, directory) = initialized();
    let store = open(&directory);
    let first = token(&store);
    first.login(User::User, USER_PIN).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.path());
            file.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    let expected = ["", "-shm", "-stamp", "-wal"].map(|end| format!("nodetoken.sqlite{end}"));
    assert_eq!(names, expected);
    assert!(Arc::ptr_eq(&first, &token(&store)));
}

#[test]
fn objects_are_seen_by_everybody_and_private_ones_by_the_user() {
    let (_parent, directory) = initialized();
    let (one, other) = (open(&directory), open(&directory));
    let (one, other) = (token(&one), token(&other));
    assert_eq!(
        refusal(one.insert(vec![object("secret", true, Some(b"value"))], &[])),
        CKR_USER_NOT_LOGGED_IN
    );
    one.login(User::User, USER_PIN).unwrap();
    let before = other.changes(None).unwrap();
    assert_eq!(other.revision().unwrap(), before.revision);
    let ids = one
        .insert(
            vec![
                object("open", false, Some(b"public value")),
                object("secret", true, Some(b"value")),
            ],
            &[],
        )
        .unwrap();

    assert_ne!(other.revision().unwrap(), before.revision);
    let seen = other.changes(Some(before.revision)).unwrap();
    assert!(!seen.complete);
    assert_eq!(seen.stored.len(), 1);
    assert_eq!(seen.stored[0].id, ids[0]);
    // Secrets are under the PIN, those of an object that everybody sees too.
    for id in &ids {
        assert_eq!(refusal(other.secret(id, CKA_VALUE)), CKR_USER_NOT_LOGGED_IN);
    }
    let value = one.secret(&ids[0], CKA_VALUE).unwrap().unwrap();
    assert_eq!(&*value, b"public value");

    other.login(User::SecurityOfficer, SO_PIN).unwrap();
    assert_eq!(labels(&*other).unwrap().len(), 1);
    assert_eq!(
        refusal(other.secret(&ids[1], CKA_VALUE)),
        CKR_USER_NOT_LOGGED_IN
    );
    other.login(User::User, USER_PIN).unwrap();
    assert_eq!(labels(&*other).unwrap().len(), 2);
    assert_eq!(
        &*other.secret(&ids[1], CKA_VALUE).unwrap().unwrap(),
        b"value"
    );
    assert!(other.secret(&ids[1], CKA_PRIME_1).unwrap().is_none());

    let at = other.changes(None).unwrap().revision;
    let mut renamed = object("renamed", true, None).attributes;
    one.update(&[ids[1]], &mut |_, _| Ok(renamed.clone()))
        .unwrap();
    one.remove(&ids[..1]).unwrap();
    let seen = other.changes(Some(at)).unwrap();
    assert!(!seen.complete);
    assert_eq!(seen.removed, &ids[..1]);
    assert_eq!(seen.stored[0].attributes, renamed);
    assert_eq!(
        &*other.secret(&ids[1], CKA_VALUE).unwrap().unwrap(),
        b"value"
    );
    assert_eq!(
        refusal(other.update(&[ids[0]], &mut |_, _| Ok(renamed.clone()))),
        CKR_OBJECT_HANDLE_INVALID
    );
    renamed.set_bool(CKA_PRIVATE, false);
    assert_eq!(
        refusal(other.update(&[ids[1]], &mut |_, _| Ok(renamed.clone()))),
        CKR_ATTRIBUTE_READ_ONLY
    );
    other.logout();
    assert!(labels(&*other).unwrap().is_empty());
}

#[test]
fn a_generated_key_signs_after_everything_was_closed() {
    let (_parent, directory) = initialized();
    for spec in [KeySpec::Ec(Curve::P256), KeySpec::Ed25519] {
        let store = open(&directory);
        let made = token(&store);
        made.login(User::User, USER_PIN).unwrap();
        let pair = made.generate(&spec, &Attributes::new()).unwrap();
        let mut attributes = pair.private;
        attributes.set_bool(CKA_PRIVATE, true);
        let key_type = match spec {
            KeySpec::Ec(_) => CKK_EC,
            _ => CKK_EC_EDWARDS,
        };
        attributes.set_ulong(CKA_KEY_TYPE, key_type);
        let new = NewObject {
            attributes,
            secrets: pair.secrets,
        };
        let id = made.insert(vec![new], &[]).unwrap()[0];
        store.close();
        assert!(labels_of_keys(&made).is_empty(), "close logs out");

        let store = open(&directory);
        let again = token(&store);
        again.login(User::User, USER_PIN).unwrap();
        let stored = again.changes(None).unwrap().stored;
        let stored = stored.iter().find(|o| o.id == id).unwrap();
        let scheme = match spec {
            KeySpec::Ec(_) => SignScheme::Ecdsa,
            _ => SignScheme::EdDsa {
                prehash: false,
                context: None,
            },
        };
        let key = again.private_key(stored, None).unwrap();
        assert_eq!(key.sign(&scheme, &[7; 32]).unwrap().len(), 64);
        again.logout();
        assert_eq!(
            refusal(again.private_key(stored, None).map(|_| ())),
            CKR_USER_NOT_LOGGED_IN
        );
    }
}

fn labels_of_keys(token: &Arc<dyn Token>) -> Vec<ObjectId> {
    let stored = token.changes(None).unwrap().stored;
    stored.iter().map(|object| object.id).collect()
}

#[test]
fn wrong_pins_are_counted_shown_and_lock() {
    let (_parent, directory) = initialized();
    let (one, other) = (open(&directory), open(&directory));
    let (one, other) = (token(&one), token(&other));
    let flags = |mask: CK_FLAGS| other.info().unwrap().flags & mask;
    let user = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
    assert_eq!(
        flags(user | CKF_USER_PIN_INITIALIZED),
        CKF_USER_PIN_INITIALIZED
    );

    assert_eq!(
        refusal(one.login(User::User, b"wrong-1")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(flags(user), CKF_USER_PIN_COUNT_LOW);
    // The PIN is exact bytes: neither a prefix nor an extension opens.
    assert_eq!(
        refusal(one.login(User::User, &USER_PIN[..4])),
        CKR_PIN_INCORRECT
    );
    assert_eq!(flags(user), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
    one.login(User::User, USER_PIN).unwrap();
    assert_eq!(flags(user), 0);

    assert_eq!(refusal(one.login(User::User, b"")), CKR_PIN_INCORRECT);
    assert_eq!(
        refusal(one.set_pin(User::User, &[b'x'; 256], b"new-pin")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(
        refusal(other.login(User::User, b"wrong-2")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(flags(user), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_LOCKED);
    assert_eq!(refusal(one.login(User::User, USER_PIN)), CKR_PIN_LOCKED);

    other.login(User::SecurityOfficer, SO_PIN).unwrap();
    assert_eq!(refusal(other.init_pin(b"short")), CKR_PIN_LEN_RANGE);
    other.init_pin(b"another").unwrap();
    assert_eq!(flags(user), 0);
    one.login(User::User, b"another").unwrap();

    for _ in 0..3 {
        assert_eq!(
            refusal(one.initialize(b"not the officer", "x")),
            CKR_PIN_INCORRECT
        );
    }
    assert_eq!(
        flags(CKF_SO_PIN_LOCKED | CKF_SO_PIN_COUNT_LOW),
        CKF_SO_PIN_LOCKED | CKF_SO_PIN_COUNT_LOW
    );
    assert_eq!(refusal(one.initialize(SO_PIN, "x")), CKR_PIN_LOCKED);
    assert_eq!(one.info().unwrap().label, "label");
}

#[test]
fn a_changed_pin_opens_the_same_token() {
    let (_parent, directory) = initialized();
    let store = open(&directory);
    let token = token(&store);
    token.login(User::User, USER_PIN).unwrap();
    let id = token
        .insert(vec![object("o", true, Some(b"v"))], &[])
        .unwrap()[0];
    assert_eq!(
        refusal(token.set_pin(User::User, USER_PIN, b"tiny")),
        CKR_PIN_LEN_RANGE
    );
    token.set_pin(User::User, USER_PIN, b"next-pin").unwrap();
    token
        .set_pin(User::SecurityOfficer, SO_PIN, b"officer-2")
        .unwrap();
    token.logout();
    assert_eq!(
        refusal(token.login(User::User, USER_PIN)),
        CKR_PIN_INCORRECT
    );
    token.login(User::User, b"next-pin").unwrap();
    assert_eq!(&*token.secret(&id, CKA_VALUE).unwrap().unwrap(), b"v");
    token.login(User::SecurityOfficer, b"officer-2").unwrap();
}

#[test]
fn initializing_again_keeps_name_and_place_and_nothing_else() {
    let (_parent, directory) = initialized();
    let (one, other) = (open(&directory), open(&directory));
    let (one, other) = (token(&one), token(&other));
    other.login(User::User, USER_PIN).unwrap();
    other
        .insert(
            vec![object("a", false, None), object("b", true, Some(b"v"))],
            &[],
        )
        .unwrap();
    let (serial, at) = (
        one.info().unwrap().serial,
        other.changes(None).unwrap().revision,
    );
    one.initialize(SO_PIN, "second").unwrap();
    let info = one.info().unwrap();
    assert_eq!((info.serial, info.label.as_str()), (serial, "second"));
    assert_eq!(info.flags & CKF_USER_PIN_INITIALIZED, 0);
    assert_eq!(
        refusal(one.login(User::User, USER_PIN)),
        CKR_USER_PIN_NOT_INITIALIZED
    );
    // Whoever was logged in to the token as it was is not logged in to what it is.
    assert_ne!(other.revision().unwrap(), at);
    let seen = other.changes(Some(at)).unwrap();
    assert!(seen.complete && seen.stored.is_empty());
    assert_eq!(
        refusal(other.insert(vec![object("c", true, None)], &[])),
        CKR_USER_NOT_LOGGED_IN
    );
}

#[test]
fn a_spare_slot_becomes_a_second_token() {
    let (_parent, directory) = initialized();
    let mut config = Software {
        store: directory.clone(),
        spare_slot: true,
        ..Software::default()
    };
    let store = software::open(&config).unwrap();
    let places = store.places().unwrap();
    assert_eq!(places.len(), 2);
    places[1].token.initialize(b"other officer", "two").unwrap();
    assert_eq!(store.places().unwrap().len(), 3);
    config.spare_slot = false;
    let places = software::open(&config).unwrap().places().unwrap();
    assert_eq!(places.len(), 2);
    assert_eq!(places[1].id, 1);
    assert_eq!(places[1].token.info().unwrap().label, "two");
}

/// A store with public and private objects with and without secrets, closed.
fn populated() -> (TempDir, PathBuf, Vec<ObjectId>) {
    let (parent, directory) = initialized();
    let store = open(&directory);
    let token = token(&store);
    token.login(User::User, USER_PIN).unwrap();
    let mut ids = Vec::new();
    for n in 0..6 {
        let secret = (n % 3 == 0).then_some(&b"a secret value"[..]);
        let new = object(&format!("object {n}"), n % 2 == 0, secret);
        ids.extend(token.insert(vec![new], &[]).unwrap());
    }
    store.close();
    (parent, directory, ids)
}

#[test]
fn rows_moved_lost_doubled_or_old_are_noticed() {
    let (parent, directory, _) = populated();
    let tricks = [
        // Revisions 4 to 9 are private, public, private, …
        "DELETE FROM object WHERE revision = (SELECT min(revision) FROM object WHERE private = 1)",
        "DELETE FROM object WHERE revision = (SELECT max(revision) FROM object WHERE private = 0)",
        "UPDATE object SET private = 0 WHERE revision = (SELECT min(revision) FROM object WHERE private = 1)",
        "UPDATE object SET private = 1 WHERE revision = (SELECT min(revision) FROM object WHERE private = 0)",
        "UPDATE object SET revision = revision + 100",
        "UPDATE object SET slot = 1 WHERE private = 0",
        "INSERT INTO object SELECT revision + 100, slot, randomblob(16), private, body, secrets FROM object",
        "UPDATE object SET body = (SELECT body FROM object WHERE private = 0 ORDER BY revision LIMIT 1) WHERE private = 0",
        "UPDATE object SET secrets = x'3000'",
        "UPDATE object SET secrets = (SELECT max(secrets) FROM object)",
        "UPDATE object SET body = x'00'",
        "DELETE FROM object",
        "DELETE FROM store",
        "UPDATE store SET key = zeroblob(32)",
        "DROP TABLE removed",
        "CREATE TRIGGER more AFTER INSERT ON object BEGIN DELETE FROM object; END",
    ];
    for (n, trick) in tricks.iter().enumerate() {
        let spoilt = parent.path().join(n.to_string());
        copy(&directory, &spoilt);
        tamper(&spoilt, trick);
        let store = open(&spoilt);
        let outcome = store.places().and_then(|places| {
            let token = &places[0].token;
            token.login(User::User, USER_PIN)?;
            labels(&**token)
        });
        assert_eq!(refusal(outcome), CKR_DEVICE_ERROR, "{trick}");
    }
}

#[test]
fn an_old_row_put_back_is_noticed() {
    let (_parent, directory, ids) = populated();
    let database = Connection::open(directory.join("nodetoken.sqlite")).unwrap();
    database.execute("ATTACH ':memory:' AS old", []).unwrap();
    database
        .execute("CREATE TABLE old.object AS SELECT * FROM object", [])
        .unwrap();
    let store = open(&directory);
    let token = token(&store);
    token.login(User::User, USER_PIN).unwrap();
    for (id, private) in [(&ids[0], true), (&ids[1], false)] {
        token
            .update(&[*id], &mut |_, _| {
                Ok(object("new", private, None).attributes)
            })
            .unwrap();
    }
    assert_eq!(labels(&*token).unwrap()[&ids[0]], "new");
    for private in [0, 1] {
        database.execute("SAVEPOINT before", []).unwrap();
        database
            .execute("DELETE FROM object WHERE private = ?1", [private])
            .unwrap();
        database
            .execute(
                "INSERT INTO object SELECT * FROM old.object WHERE private = ?1",
                [private],
            )
            .unwrap();
        database.execute("RELEASE before", []).unwrap();
        assert_eq!(refusal(labels(&*token)), CKR_DEVICE_ERROR);
    }
}

/// What a store shows: objects, and their secrets.
type Shown = BTreeMap<ObjectId, (String, Option<Vec<u8>>)>;

fn shown(directory: &Path) -> Result<Shown, Error> {
    let store = open(directory);
    let places = store.places()?;
    let token = &places[0].token;
    if token.info()?.flags & CKF_TOKEN_INITIALIZED == 0 {
        panic!("the token is gone without a word");
    }
    token.login(User::User, USER_PIN)?;
    let mut shown = Shown::new();
    for (id, label) in labels(&**token)? {
        let secret = token.secret(&id, CKA_VALUE)?.map(|secret| secret.to_vec());
        shown.insert(id, (label, secret));
    }
    store.close();
    Ok(shown)
}

#[test]
fn a_flipped_byte_is_an_error_or_changes_nothing() {
    let (parent, directory, _) = populated();
    let good = shown(&directory).unwrap();
    assert_eq!(good.len(), 6);
    let database = fs::read(directory.join("nodetoken.sqlite")).unwrap();
    let mut refused = 0;
    let spoilt = parent.path().join("spoilt");
    // Densely where there is something, sparsely in the unused space of pages.
    let used: Vec<usize> = (0..database.len())
        .filter(|at| database[*at] != 0)
        .collect();
    let sample = used.iter().step_by(used.len() / 300 + 1).copied();
    let sparse = (0..database.len()).step_by(database.len() / 100 + 1);
    for (n, at) in sample.chain(sparse).enumerate() {
        let mut bytes = database.clone();
        bytes[at] ^= 1 << (n % 8);
        let _ = fs::remove_dir_all(&spoilt);
        copy(&directory, &spoilt);
        fs::write(spoilt.join("nodetoken.sqlite"), bytes).unwrap();
        match shown(&spoilt) {
            Ok(now) => assert_eq!(now, good, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 50, "only {refused} flips were refused");
}

#[test]
fn a_cut_database_is_an_error_or_changes_nothing() {
    let (parent, directory, _) = populated();
    let good = shown(&directory).unwrap();
    let database = fs::read(directory.join("nodetoken.sqlite")).unwrap();
    for (n, len) in [0, 1, 99, 100, 512, 4095, 4096, 8192, database.len() - 1]
        .into_iter()
        .enumerate()
    {
        let spoilt = parent.path().join(n.to_string());
        copy(&directory, &spoilt);
        let path = spoilt.join("nodetoken.sqlite");
        fs::write(&path, &database[..len]).unwrap();
        match shown(&spoilt) {
            // The last page may end in unused space.
            Ok(now) => assert!(now == good && len + 1 == database.len(), "{len} bytes"),
            Err(error) => assert_eq!(error.rv(), CKR_DEVICE_ERROR, "{len} bytes"),
        }
    }
}

#[test]
fn a_log_that_lost_its_end_is_noticed() {
    let (parent, directory, _) = populated();
    let store = open(&directory);
    let token = token(&store);
    token.login(User::User, USER_PIN).unwrap();
    token.insert(vec![object("late", true, None)], &[]).unwrap();
    // As after a power cut: the log is not yet in the database.
    let crashed = parent.path().join("crashed");
    copy(&directory, &crashed);
    assert_eq!(shown(&crashed).unwrap().len(), 7);
    let cut = parent.path().join("cut");
    copy(&directory, &cut);
    fs::write(cut.join("nodetoken.sqlite-wal"), b"").unwrap();
    fs::write(cut.join("nodetoken.sqlite-shm"), b"").unwrap();
    assert_eq!(refusal(shown(&cut)), CKR_DEVICE_ERROR);
    fs::remove_file(cut.join("nodetoken.sqlite-stamp")).unwrap();
    assert_eq!(shown(&cut).unwrap().len(), 6);
}

#[test]
fn a_torn_or_odd_stamp_costs_nothing_but_time() {
    let (_parent, directory, _) = populated();
    let (one, other) = (open(&directory), open(&directory));
    let (one, other) = (token(&one), token(&other));
    let stamp = directory.join("nodetoken.sqlite-stamp");
    let good = fs::read(&stamp).unwrap();
    let number = u64::from_le_bytes(*good.first_chunk().unwrap());
    let odd = [(number + 1).to_le_bytes(), (!(number + 1)).to_le_bytes()].concat();
    for bytes in [&b""[..], &b"torn"[..], &[0; 16], &odd] {
        fs::write(&stamp, bytes).unwrap();
        let before = other.revision().unwrap();
        one.insert(vec![object("more", false, None)], &[]).unwrap();
        assert_ne!(other.revision().unwrap(), before);
    }
}

#[test]
fn what_is_not_a_store_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let (_kept, real, _) = populated();
    let newer = {
        let mut bytes = fs::read(real.join("nodetoken.sqlite")).unwrap();
        bytes[63] = 2;
        bytes
    };
    let foreign = {
        let path = parent.path().join("foreign.sqlite");
        let database = Connection::open(&path).unwrap();
        database.execute("CREATE TABLE theirs (x)", []).unwrap();
        drop(database);
        fs::read(path).unwrap()
    };
    for (n, bytes) in [newer, foreign, b"text".to_vec(), vec![]]
        .iter()
        .enumerate()
    {
        let directory = parent.path().join(n.to_string());
        fs::create_dir(&directory).unwrap();
        let path = directory.join("nodetoken.sqlite");
        fs::write(&path, bytes).unwrap();
        let store = open(&directory);
        assert_eq!(refusal(store.places().map(|_| ())), CKR_DEVICE_ERROR);
        store.close();
        assert_eq!(&fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}

#[test]
fn links_and_open_permissions_are_refused() {
    let (parent, directory, _) = populated();
    let link = parent.path().join("link");
    symlink(&directory, &link).unwrap();
    assert_eq!(refusal(open(&link).places().map(|_| ())), CKR_DEVICE_ERROR);

    let spoil = |name: &str, how: &dyn Fn(&Path)| {
        let spoilt = parent.path().join(name);
        copy(&directory, &spoilt);
        how(&spoilt);
        let refused = refusal(open(&spoilt).places().map(|_| ()));
        assert_eq!(refused, CKR_DEVICE_ERROR, "{name}");
    };
    for file in ["", "-stamp", "-wal", "-shm"] {
        let file = &format!("nodetoken.sqlite{file}");
        spoil(&format!("symlink{file}"), &|at| {
            fs::rename(at.join(file), parent.path().join("target")).unwrap();
            symlink(parent.path().join("target"), at.join(file)).unwrap();
        });
        spoil(&format!("hard link{file}"), &|at| {
            fs::hard_link(at.join(file), at.join("second name")).unwrap();
        });
        spoil(&format!("writable{file}"), &|at| {
            fs::set_permissions(at.join(file), Permissions::from_mode(0o622)).unwrap();
        });
    }
    spoil("writable directory", &|at| {
        fs::set_permissions(at, Permissions::from_mode(0o777)).unwrap();
    });
}

#[test]
fn many_threads_of_two_stores_lose_nothing() {
    let (_parent, directory) = initialized();
    let (one, other) = (open(&directory), open(&directory));
    let tokens = [token(&one), token(&other)];
    std::thread::scope(|scope| {
        for n in 0..4 {
            let token = &tokens[n % 2];
            scope.spawn(move || {
                for m in 0..25 {
                    token
                        .insert(vec![object(&format!("{n} {m}"), false, None)], &[])
                        .unwrap();
                    token.revision().unwrap();
                }
            });
        }
    });
    for token in &tokens {
        assert_eq!(labels(&**token).unwrap().len(), 100);
    }
}

#[test]
fn right_pins_at_the_same_moment_do_not_lock_each_other_out() {
    let (_parent, directory) = initialized();
    let stores: Vec<Store> = (0..8).map(|_| open(&directory)).collect();
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| token(store).login(User::User, USER_PIN).unwrap());
        }
    });
    let flags = token(&stores[0]).info().unwrap().flags;
    assert_eq!(flags & (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_LOCKED), 0);
}

/// A state of two tokens, one of them without a user PIN, from before keepers were told apart.
const EARLIER: &str = "\
    308201f0020109020102308201e6308201220c10363334343264636161386338346566630c056c6162656c02\
    010102010230060201000201003016020101021100d1caa479eca8c9fb4faba6ceeaf9693b021076d3b16c8f\
    5cb996bb7442aa0041a1793060020103020103300030560410336a08fc0f92716e2b789baa8ea26a26020140\
    020102043c5bdf172c92524fd90703e93ecd134833c659b23520c96b2d2afd9ba0b681cee61c5885af12cde0\
    e060ebf223ec14d25b0ead7a33b9ac471b5ae36120306d020103020102300d300b020109020601a212f21346\
    3056041096f1959e37f80ce1f8d51b80ce215e27020140020102043cdb865a77ad85b16f18eeccc74c806de1\
    3345d31695027764e1b98fc9ca63c3030702de88f5db2395e3af0e13e59156b6181ab88b49b25ba9172789de\
    3081bd0c10363334343264636161386338346566630c056c6162656c02010102010230060201000201003016\
    020101021100d1caa479eca8c9fb4faba6ceeaf9693b021076d3b16c8f5cb996bb7442aa0041a17930600201\
    03020103300030560410336a08fc0f92716e2b789baa8ea26a26020140020102043c5bdf172c92524fd90703\
    e93ecd134833c659b23520c96b2d2afd9ba0b681cee61c5885af12cde0e060ebf223ec14d25b0ead7a33b9ac\
    471b5ae3612030080201000201003000";

#[test]
fn records_from_before_keepers_are_what_they_were() {
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    let pair = |pair: &[u8; 2]| nibble(pair[0]) << 4 | nibble(pair[1]);
    let earlier: Vec<u8> = EARLIER.as_bytes().as_chunks().0.iter().map(pair).collect();
    let state: State = decode(&earlier).unwrap();
    let token = &state.tokens[0];
    assert_eq!(token.binding(), b"");
    assert!(token.officer.is_set() && token.user.is_set());
    assert_eq!(encode(&state).unwrap(), earlier);
}
