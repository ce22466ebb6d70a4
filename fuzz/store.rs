//! The software token's store, changed from outside: every reading of it ends in an error or in what
//! was stored; nothing else is shown, and nothing is missing without a word.

#![no_main]

use cryptoki_sys::*;
use libfuzzer_sys::fuzz_target;
use nodetoken::attribute::Attributes;
use nodetoken::config::{Pin, Software};
use nodetoken::error::Result;
use nodetoken::memory::Secret;
use nodetoken::token::store::Store;
use nodetoken::token::{NewObject, ObjectId, Source, Token, User, software};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

const DATABASE: &str = "nodetoken.sqlite";
const VALUE: &[u8] = b"the value of a secret key object";

/// A store as the module leaves it, and what is in it.
struct Original {
    files: Vec<(String, Vec<u8>)>,
    objects: BTreeMap<ObjectId, Attributes>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| original().expect("a store"));

fn open(directory: &Path) -> Result<Store> {
    software::open(&Software {
        store: directory.to_owned(),
        spare_slot: false,
        pin: Pin::default(),
    })
}

fn token(store: &Store, slot: usize) -> Result<Option<Arc<dyn Token>>> {
    Ok(store
        .places()?
        .into_iter()
        .nth(slot)
        .map(|place| place.token))
}

fn object(class: CK_OBJECT_CLASS, private: bool, label: &str) -> NewObject {
    let mut attributes = Attributes::new();
    attributes.set_ulong(CKA_CLASS, class);
    attributes.set_bool(CKA_TOKEN, true);
    attributes.set_bool(CKA_PRIVATE, private);
    attributes.set(CKA_LABEL, label.as_bytes());
    let secrets = match class {
        CKO_SECRET_KEY => vec![(CKA_VALUE, Secret::copy_of(VALUE).expect("memory"))],
        _ => Vec::new(),
    };
    NewObject {
        attributes,
        secrets,
    }
}

fn original() -> Result<Original> {
    let directory = TempDir::new().expect("a directory");
    let store = open(directory.path())?;
    let token = token(&store, 0)?.expect("a place for a token");
    token.initialize(b"officer pin", "fuzz")?;
    token.login(User::SecurityOfficer, b"officer pin")?;
    token.init_pin(b"user pin")?;
    token.logout();
    token.login(User::User, b"user pin")?;
    let objects = vec![
        object(CKO_DATA, false, "public"),
        object(CKO_SECRET_KEY, false, "public key"),
        object(CKO_DATA, false, "removed"),
        object(CKO_DATA, true, "private"),
        object(CKO_SECRET_KEY, true, "private key"),
    ];
    let ids = token.insert(objects, &[])?;
    token.remove(&ids[2..3])?;
    token.logout();
    let objects = token.changes(None)?.stored;
    store.close();
    let files = fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            (name, fs::read(entry.path()).expect("a file"))
        });
    Ok(Original {
        files: files.collect(),
        objects: objects.into_iter().map(|o| (o.id, o.attributes)).collect(),
    })
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the file is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
}

/// What is done to the store, read from the fuzzer's bytes; all zero where they end.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::from(self.byte()) % values.len()]
    }
}

/// Bytes of one file, or its length.
fn change_file(directory: &Path, choices: &mut Choices<'_>) {
    let suffix = choices.one_of(&["", "-stamp", "-wal", "-shm"]);
    let path = directory.join(format!("{DATABASE}{suffix}"));
    let mut bytes = fs::read(&path).unwrap_or_default();
    match choices.byte() % 4 {
        0 | 1 => {
            let at = choices.number() % (bytes.len() + 1);
            for (to, from) in bytes.iter_mut().skip(at).zip(choices.bytes()) {
                *to ^= from;
            }
        }
        2 => bytes.truncate(choices.number()),
        _ => bytes = choices.0.to_vec(),
    }
    write(&path, &bytes);
}

/// Rows, as whoever may write to the file can with SQLite itself.
fn change_rows(directory: &Path, choices: &mut Choices<'_>) {
    let sqlite = Connection::open(directory.join(DATABASE)).expect("the database opens");
    let row = choices.byte() % 6;
    let sql = match choices.byte() % 12 {
        0 => "UPDATE object SET body = ?1 WHERE revision = ?2",
        1 => "UPDATE object SET secrets = ?1 WHERE revision = ?2",
        2 => "UPDATE object SET id = ?1 WHERE revision = ?2",
        3 => "UPDATE store SET key = ?1 WHERE ?2 = ?2",
        4 => "UPDATE store SET state = ?1 WHERE ?2 = ?2",
        5 => "DELETE FROM object WHERE revision = ?2 AND ?1 = ?1",
        6 => "DELETE FROM store WHERE ?1 = ?1 AND ?2 = ?2",
        7 => {
            "INSERT INTO object SELECT revision + 100, slot, ?1, private, body, secrets FROM object WHERE revision = ?2"
        }
        8 => "UPDATE object SET revision = 1000000 - revision WHERE revision = ?2 AND ?1 = ?1",
        9 => {
            "UPDATE object SET body = (SELECT body FROM object AS other WHERE other.revision <> ?2 AND other.private = object.private) WHERE revision = ?2 AND ?1 = ?1"
        }
        10 => "UPDATE object SET slot = 1 WHERE revision = ?2 AND ?1 = ?1",
        _ => "UPDATE object SET private = 1 - private WHERE revision = ?2 AND ?1 = ?1",
    };
    // A statement that the tables' rules refuse changes nothing.
    let _ = sqlite.execute(sql, (choices.bytes(), row));
}

/// Reads everything that can be read without a PIN.
fn read(directory: &Path) -> Result<Option<BTreeMap<ObjectId, Attributes>>> {
    let store = open(directory)?;
    let read = token(&store, 0).and_then(|token| {
        let Some(token) = token else { return Ok(None) };
        if token.info()?.flags & CKF_TOKEN_INITIALIZED == 0 {
            return Ok(None);
        }
        token.revision()?;
        let objects = token.changes(None)?.stored;
        for object in &objects {
            if let Some(value) = token.secret(&object.id, CKA_VALUE)? {
                assert_eq!(*value, *VALUE, "another value");
            }
        }
        Ok(Some(
            objects.into_iter().map(|o| (o.id, o.attributes)).collect(),
        ))
    });
    store.close();
    read
}

fuzz_target!(|input: &[u8]| {
    let original = &*ORIGINAL;
    let directory = TempDir::new().expect("a directory");
    for (name, bytes) in &original.files {
        write(&directory.path().join(name), bytes);
    }
    let mut choices = Choices(input);
    for _ in 0..=choices.byte() % 4 {
        match choices.byte() % 2 {
            0 => change_file(directory.path(), &mut choices),
            _ if File::open(directory.path().join(DATABASE)).is_ok() => {
                change_rows(directory.path(), &mut choices);
            }
            _ => {}
        }
    }
    match read(directory.path()) {
        Ok(Some(objects)) => assert!(objects == original.objects, "another object, or one less"),
        Ok(None) => panic!("the token is gone without a word"),
        Err(refusal) => assert!(!refusal.reason().is_empty()),
    }
});
