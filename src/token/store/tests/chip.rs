//! A token whose keeper is a chip, as far as a test can be one: all that the store leaves to it.

use super::{SO_PIN, USER_PIN, object, refusal};
use crate::attribute::{Attributes, Template};
use crate::config::{Config, Pin};
use crate::crypto::{Curve, KeySpec, engine};
use crate::error::{Error, Result, fail};
use crate::key::{self, Secrets};
use crate::mechanism::{Mechanism, Parameter};
use crate::memory::Secret;
use crate::operation::{Answer, Room};
use crate::session::Session;
use crate::slot::Slot;
use crate::token::store::seal::random_key;
use crate::token::store::{Cost, Keeper, SecretOf, Setup, Store};
use crate::token::{CHIP_KEY, KeyPair, NewObject, PrivateKey, Source, User};
use cryptoki_sys::*;
use der::asn1::OctetString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// DER of the object identifiers of P-256 and P-384.
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";

/// What it holds has the name of its place.
#[derive(Default)]
struct Chip {
    bound: AtomicU8,
    blocked: AtomicBool,
    doors: Mutex<Vec<Door>>,
    keys: Mutex<Vec<Secrets>>,
    /// On which chip the last key was made.
    made_on: AtomicU8,
    /// Gives out its lock keys for nothing.
    careless: bool,
}

struct Door {
    binding: Vec<u8>,
    user: User,
    pin_key: Vec<u8>,
    lock_key: Secret,
}

impl Chip {
    fn take_in(&self, secrets: Secrets) -> Secrets {
        let mut keys = self.keys.lock().unwrap();
        keys.push(secrets);
        let name = [keys.len() as u8 - 1];
        vec![(CHIP_KEY, Secret::copy_of(&name).unwrap())]
    }
}

impl Keeper for Chip {
    fn model(&self) -> &str {
        "chip"
    }

    /// Only elliptic curves of 256 bits, and it does not verify.
    fn offer(&self, row: &Mechanism) -> Option<Mechanism> {
        row.key_types.contains(&CKK_EC).then_some(Mechanism {
            sizes: (256, 256),
            functions: row.functions & !CKF_VERIFY | CKF_HW,
            ..*row
        })
    }

    fn bind(&self) -> Result<Option<Vec<u8>>> {
        Ok(Some(vec![self.bound.fetch_add(1, Ordering::Relaxed)]))
    }

    fn flags(&self, binding: &[u8]) -> Result<CK_FLAGS> {
        assert_eq!(binding.len(), 1);
        match self.blocked.load(Ordering::Relaxed) {
            true => Ok(CKF_ERROR_STATE),
            false => Ok(0),
        }
    }

    fn cost(&self, _user: User) -> Cost {
        Cost {
            memory_kib: 0,
            passes: 0,
        }
    }

    fn guard(
        &self,
        binding: &[u8],
        user: User,
        pin_key: &[u8],
    ) -> Result<(Secret, Option<Vec<u8>>)> {
        if self.careless {
            return Ok((Secret::copy_of(pin_key)?, None));
        }
        let mut doors = self.doors.lock().unwrap();
        let lock_key = random_key()?;
        let name = vec![doors.len() as u8];
        doors.push(Door {
            binding: binding.to_vec(),
            user,
            pin_key: pin_key.to_vec(),
            lock_key: Secret::copy_of(&lock_key)?,
        });
        Ok((lock_key, Some(name)))
    }

    fn release(
        &self,
        binding: &[u8],
        user: User,
        pin_key: &[u8],
        guarded: Option<&[u8]>,
    ) -> Result<Secret> {
        let doors = self.doors.lock().unwrap();
        let door = &doors[usize::from(guarded.unwrap()[0])];
        assert_eq!((&*door.binding, door.user), (binding, user));
        assert_eq!(pin_key.len(), 32);
        if door.pin_key != pin_key {
            self.blocked.store(true, Ordering::Relaxed);
            return fail!(CKR_PIN_INCORRECT, "the chip says no");
        }
        Secret::copy_of(&door.lock_key)
    }

    fn unblock(&self, _binding: &[u8]) -> Result<()> {
        self.blocked.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn generate(&self, binding: &[u8], spec: &KeySpec, private: &Attributes) -> Result<KeyPair> {
        assert_eq!(binding.len(), 1);
        assert_eq!(private.class(), Some(CKO_PRIVATE_KEY));
        self.made_on.store(binding[0], Ordering::Relaxed);
        let pair = key::pair_attributes(engine::generate(spec)?)?;
        Ok(KeyPair {
            secrets: self.take_in(pair.secrets),
            ..pair
        })
    }

    fn adopt(&self, _binding: &[u8], key: NewObject) -> Result<NewObject> {
        match key::secret_of(&key.secrets, CHIP_KEY)? {
            Some(_) => Ok(key),
            None => Ok(NewObject {
                secrets: self.take_in(key.secrets),
                ..key
            }),
        }
    }

    fn private_key(
        &self,
        _binding: &[u8],
        attributes: &Attributes,
        secret: &SecretOf<'_>,
    ) -> Result<Arc<dyn PrivateKey>> {
        assert!(secret(CKA_VALUE)?.is_none());
        let name = secret(CHIP_KEY)?.unwrap();
        let keys = self.keys.lock().unwrap();
        let held = &keys[usize::from(name[0])];
        let parts = key::private_parts(attributes, &|kind| key::secret_of(held, kind))?;
        Ok(Arc::new(engine::PrivateKey::from_parts(&parts)?))
    }
}

fn open(directory: &Path, keeper: &Arc<Chip>) -> Store {
    Store::open(Setup {
        directory: directory.to_owned(),
        file: "chip.sqlite",
        pin: Pin {
            min_length: 6,
            tries: 3,
        },
        spare_slot: false,
        first_slot: 64,
        slot_flags: CKF_HW_SLOT,
        slot_name: "a chip's slot",
        keeper: Arc::clone(keeper) as Arc<dyn Keeper>,
    })
    .unwrap()
}

fn slot(store: &Store) -> Arc<Slot> {
    let place = store.places().unwrap().remove(0);
    assert_eq!((place.id, place.flags), (64, CKF_HW_SLOT));
    assert_eq!(place.description, "a chip's slot 0");
    Arc::new(Slot::new(place, &Config::default()))
}

/// A slot with a token, both PINs set, and its user's session.
fn user(store: &Store) -> (Arc<Slot>, Session) {
    let slot = slot(store);
    slot.initialize(SO_PIN, "chip").unwrap();
    let session = Session::open(Arc::clone(&slot), true).unwrap();
    session.login(CKU_SO, Some(SO_PIN)).unwrap();
    session.init_pin(USER_PIN).unwrap();
    slot.log_out().unwrap();
    session.login(CKU_USER, Some(USER_PIN)).unwrap();
    (slot, session)
}

fn template<'a>(pairs: &[(CK_ATTRIBUTE_TYPE, &'a [u8])]) -> Template<'a> {
    Template::new(pairs.to_vec()).unwrap()
}

/// A private key of the token that comes from outside.
fn bring(session: &Session, curve: &[u8], value: &[u8]) -> CK_OBJECT_HANDLE {
    let (class, kind) = (CKO_PRIVATE_KEY.to_ne_bytes(), CKK_EC.to_ne_bytes());
    session
        .create(&template(&[
            (CKA_CLASS, &class),
            (CKA_KEY_TYPE, &kind),
            (CKA_TOKEN, &[CK_TRUE]),
            (CKA_EC_PARAMS, curve),
            (CKA_VALUE, value),
        ]))
        .unwrap()
}

/// Signs with a private key and checks that with the public attributes in it.
fn check_key(session: &Session, key: CK_OBJECT_HANDLE) -> Result<()> {
    session.sign_init(CKM_ECDSA, &Parameter::None, key)?;
    let Answer::Bytes(signature) = session.sign(&[7; 32], Room::Bytes(64))? else {
        panic!("no signature");
    };
    let parts = key::public_parts(session.object(key)?.attributes())?;
    let scheme = crate::crypto::SignScheme::Ecdsa;
    engine::PublicKey::from_parts(&parts)?.verify(&scheme, &[7; 32], &signature)
}

#[test]
fn keys_live_in_the_chip() {
    let directory = tempfile::tempdir().unwrap();
    let chip = Arc::new(Chip::default());
    let store = open(directory.path(), &chip);
    let (slot, session) = user(&store);
    let of_token = template(&[(CKA_TOKEN, &[CK_TRUE])]);
    let curve = template(&[(CKA_EC_PARAMS, P256)]);
    for private in [&of_token, &Template::default()] {
        let (_, made) = session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &curve, private)
            .unwrap();
        check_key(&session, made).unwrap();
        let there = chip.keys.lock().unwrap().len();
        // Between token and session, either way.
        for to in [[CK_TRUE], [CK_FALSE]] {
            let copy = session.copy(made, &template(&[(CKA_TOKEN, &to)])).unwrap();
            check_key(&session, copy).unwrap();
        }
        assert_eq!(chip.keys.lock().unwrap().len(), there, "a copy is the same");
    }
    let brought = bring(&session, P256, &[1; 32]);
    check_key(&session, brought).unwrap();
    assert_eq!(chip.keys.lock().unwrap().len(), 3);
    let id = session.object(brought).unwrap().stored.id;
    assert!(slot.token().secret(&id, CKA_VALUE).unwrap().is_none());
    store.close();

    let store = open(directory.path(), &chip);
    let session = Session::open(self::slot(&store), false).unwrap();
    session.login(CKU_USER, Some(USER_PIN)).unwrap();
    let class = CKO_PRIVATE_KEY.to_ne_bytes();
    let found = session.find_all(&template(&[(CKA_CLASS, &class)])).unwrap();
    assert_eq!(found.len(), 4);
    for key in found {
        check_key(&session, key).unwrap();
    }
}

#[test]
fn the_chip_checks_the_pins() {
    let directory = tempfile::tempdir().unwrap();
    let chip = Arc::new(Chip::default());
    let store = open(directory.path(), &chip);
    let (slot, session) = user(&store);
    let token = slot.token();
    let state = || token.info().unwrap().flags & CKF_ERROR_STATE;
    assert_eq!(token.info().unwrap().model, "chip");
    token
        .insert(vec![object("o", true, Some(b"v"))], &[])
        .unwrap();

    assert_eq!(state(), 0);
    let wrong = token.login(User::User, b"wrong-1");
    assert_eq!(refusal(wrong), CKR_PIN_INCORRECT);
    assert_eq!(state(), CKF_ERROR_STATE);
    session.set_pin(USER_PIN, b"next-pin").unwrap();
    assert_eq!(
        refusal(token.login(User::User, USER_PIN)),
        CKR_PIN_INCORRECT
    );
    assert_eq!(state(), CKF_ERROR_STATE);
    token.login(User::User, b"next-pin").unwrap();
    assert_eq!(state(), 0, "a right PIN unblocks");
    let wrong = token.login(User::User, b"wrong-2");
    assert_eq!(refusal(wrong), CKR_PIN_INCORRECT);
    token.login(User::SecurityOfficer, SO_PIN).unwrap();
    assert_eq!(state(), CKF_ERROR_STATE, "the officer's is another");
    token.init_pin(USER_PIN).unwrap();
    assert_eq!(state(), 0, "C_InitPIN unblocks");
    token.login(User::User, USER_PIN).unwrap();

    // The officer's PIN is checked on the chip that the token was made on; then it is bound anew.
    let wrong = token.initialize(b"not the officer", "again");
    assert_eq!(refusal(wrong), CKR_PIN_INCORRECT);
    assert_eq!(chip.bound.load(Ordering::Relaxed), 1);
    token.initialize(SO_PIN, "again").unwrap();
    assert_eq!(chip.bound.load(Ordering::Relaxed), 2);
    token.login(User::SecurityOfficer, SO_PIN).unwrap();
    assert_eq!(chip.doors.lock().unwrap().last().unwrap().binding, [1]);
}

/// Whoever can write to the store must not say where keys go to.
#[test]
fn a_changed_binding_gets_no_key_and_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let chip = Arc::new(Chip::default());
    let store = open(directory.path(), &chip);
    let (slot, _session) = user(&store);
    let token = slot.token();
    store
        .database
        .write(false, |draft| {
            draft.state.tokens[0].binding = Some(OctetString::new([7]).unwrap());
            Ok(())
        })
        .unwrap();
    let spec = KeySpec::Ec(Curve::P256);
    let mut private = Attributes::new();
    private.set_ulong(CKA_CLASS, CKO_PRIVATE_KEY);
    token.generate(&spec, &private).unwrap();
    assert_eq!(chip.made_on.load(Ordering::Relaxed), 0, "proven at login");
    token.logout();
    // The chip itself is not asked here whose lock it is.
    for door in chip.doors.lock().unwrap().iter_mut() {
        door.binding = vec![7];
    }
    let refused = token.login(User::User, USER_PIN);
    assert_eq!(refusal(refused), CKR_DEVICE_ERROR);
}

#[test]
fn a_pin_that_is_neither_stretched_nor_guarded_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let chip = Arc::new(Chip {
        careless: true,
        ..Chip::default()
    });
    let store = open(directory.path(), &chip);
    let token = super::token(&store);
    token.initialize(SO_PIN, "chip").unwrap();
    let refused = token.login(User::SecurityOfficer, SO_PIN);
    assert_eq!(refusal(refused), CKR_DEVICE_ERROR);
    assert_eq!(token.info().unwrap().flags & CKF_SO_PIN_COUNT_LOW, 0);
}

#[test]
fn everything_agrees_on_what_is_offered() {
    let directory = tempfile::tempdir().unwrap();
    let chip = Arc::new(Chip::default());
    let store = open(directory.path(), &chip);
    let (slot, session) = user(&store);
    let offered: Vec<Mechanism> = slot.mechanisms().unwrap().collect();
    assert!(!offered.is_empty());
    for row in &offered {
        assert_eq!((row.sizes, row.functions & CKF_HW), ((256, 256), CKF_HW));
        let class = CKO_MECHANISM.to_ne_bytes();
        let kind = row.kind.to_ne_bytes();
        let shown = template(&[(CKA_CLASS, &class), (CKA_MECHANISM_TYPE, &kind)]);
        assert_eq!(session.find_all(&shown).unwrap().len(), 1);
    }
    let class = CKO_MECHANISM.to_ne_bytes();
    let shown = session.find_all(&template(&[(CKA_CLASS, &class)])).unwrap();
    assert_eq!(shown.len(), offered.len());

    let made = |curve| {
        session.generate_key_pair(
            CKM_EC_KEY_PAIR_GEN,
            &template(&[(CKA_EC_PARAMS, curve)]),
            &Template::default(),
        )
    };
    assert_eq!(refusal(made(P384)), CKR_CURVE_NOT_SUPPORTED);
    let (public, _) = made(P256).unwrap();
    let refused = |outcome: std::result::Result<(), Error>, rv| assert_eq!(refusal(outcome), rv);
    refused(
        session.verify_init(CKM_ECDSA, &Parameter::None, public),
        CKR_MECHANISM_INVALID,
    );
    refused(
        session.digest_init(CKM_SHA256, &Parameter::None),
        CKR_MECHANISM_INVALID,
    );
    let large = bring(&session, P384, &[1; 48]);
    refused(
        session.sign_init(CKM_ECDSA, &Parameter::None, large),
        CKR_KEY_SIZE_RANGE,
    );
}
