//! PIV (NIST SP 800-73-4), as government cards, YubiKeys, Nitrokeys and many USB tokens speak it.
//!
//! | file | job |
//! |---|---|
//! | `slots` | the tables: key references, certificates, data objects |
//! | `commands` | what is asked of the card |
//! | `content` | a certificate's data object, and the PKCS#11 objects that it stands for |
//! | `record` | attributes for which PIV has no place, beside the certificate |
//! | `admin` | PUK and card administration key |
//! | `read` | which data objects there are, and what is in them |
//! | `write` | making keys, writing and removing objects |
//!
//! A key with its certificate is a private key, a public key and a certificate. A key whose
//! certificate is yet to come is known from the record beside it, or, on a YubiKey, from its metadata.

mod admin;
mod commands;
mod content;
mod read;
mod record;
mod slots;
mod write;

use super::apdu::{Failure, Result, Status, Talk, refuse};
use super::application::{Application, Extent, Identity, Login, Made, Operation};
use super::transport::Fault;
use super::{files, tlv};
use crate::attribute::Attributes;
use crate::config::Card;
use crate::crypto::KeySpec;
use crate::token::{Change, NewObject, ObjectId, Stored, User};
use admin::{Key, SoPin};
use commands::Reference;
use content::Content;
use cryptoki_sys::*;
use read::Reading;
use slots::{DATA_OBJECTS, KeySlot};
use std::collections::BTreeMap;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Application identifier, without the version (SP 800-73-4 Part 1, 2.2).
pub(super) const AID: [u8; 9] = [0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00];

const MANUFACTURER: &str = "PIV card";
/// CK_TOKEN_INFO has no more room.
const LABEL_LEN: usize = 32;
const MODEL_LEN: usize = 16;
/// PINs have 6 to 8 digits (Part 1, 5.3.1); some cards take any bytes.
const PIN_LEN: (usize, usize) = (6, 8);
/// Fewer tries than this are few: cards begin with three or more.
const MANY_TRIES: u8 = 3;
/// The place of a GUID in the CHUID, of the FASC-N, and in the answer to SELECT of the
/// application's label (Part 1, 3.1.2; Part 2, table 3).
const GUID: u32 = 0x34;
const FASC_N: u32 = 0x30;
const APPLICATION_LABEL: u32 = 0x50;

/// The application on one card.
struct Piv {
    /// What it calls itself.
    model: String,
    management_key_file: Option<PathBuf>,
    /// The PIN that it asks for, once known.
    pin: Option<Reference>,
    /// The administrator is authenticated since it was selected.
    administrator: bool,
    /// This module has initialized the card: what has no record is empty.
    managed: bool,
    /// Version of a YubiKey, once asked.
    version: Option<Option<[u8; 3]>>,
    /// It says a version like a YubiKey, and then nothing of its keys.
    silent: bool,
    /// What was last read of the certificates' data objects.
    contents: BTreeMap<u8, Content>,
    /// When that was, and the key history of then, unless something has changed since.
    reading: Option<Reading>,
    /// Algorithms of the keys in `contents` that were used: it takes longer to parse a certificate
    /// than to check a signature.
    algorithms: BTreeMap<ObjectId, u8>,
}

/// Has every decoder read these bytes, and the objects that come of them looked at.
#[cfg(fuzzing)]
pub(super) fn decode(bytes: &[u8]) {
    drop(open(bytes, &Card::default()));
    let _ = read::on_card(bytes);
    let _ = asked_for(bytes);
    let _ = commands::response_of(bytes);
    for spec in commands::specs() {
        let _ = commands::public_of(bytes, &spec);
    }
    let _ = record::decode::<record::CardRecord>(bytes);
    let Ok(content) = Content::parse(bytes) else {
        return;
    };
    content.check();
    // Written again, it is read as the same.
    let value = content.to_value().expect("it was on a card");
    let again = Content::parse(&value).expect("a value that this module writes");
    assert_eq!(again.certificate, content.certificate);
    if !content.is_empty() {
        assert_eq!(again.record, content.record);
    }
}

/// The application that SELECT has answered for.
pub(super) fn open(answer: &[u8], rules: &Card) -> Box<dyn Application> {
    let label = || {
        let template = tlv::value_of(answer, 0x61).ok()?;
        let label = tlv::find(&tlv::all(template).ok()?, APPLICATION_LABEL)?;
        let text: String = String::from_utf8(label.to_vec()).ok()?;
        (!text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' '))
            .then(|| text.chars().take(MODEL_LEN).collect::<String>())
    };
    Box::new(Piv {
        model: label().unwrap_or_else(|| "PIV".into()),
        management_key_file: rules.management_key_file.clone(),
        pin: None,
        administrator: false,
        managed: false,
        version: None,
        silent: false,
        contents: BTreeMap::new(),
        reading: None,
        algorithms: BTreeMap::new(),
    })
}

impl Piv {
    /// The PIN that the card asks for, by its discovery object (Part 1, 3.2.6).
    fn pin(&mut self, talk: &mut Talk<'_>) -> Result<Reference> {
        if let Some(known) = self.pin {
            return Ok(known);
        }
        let discovery = commands::get(talk, slots::DISCOVERY.tag)?.unwrap_or_default();
        let pin = asked_for(&discovery);
        self.pin = Some(pin);
        Ok(pin)
    }

    /// Makes sure that the card takes what is written: mutual authentication with 9B.
    fn administer(&mut self, talk: &mut Talk<'_>, login: &Login) -> Result<()> {
        if self.administrator {
            return Ok(());
        }
        let key = match &login.user {
            Some((User::SecurityOfficer, pin)) => SoPin::parse(pin)?.key,
            Some((User::User, _)) => {
                let file = self.management_key_file.as_deref();
                file.map(Key::from_file).transpose()?
            }
            None => None,
        };
        let Some(key) = key else {
            return refuse!(
                CKR_USER_NOT_LOGGED_IN,
                "the card is written to with its management key: log in as security officer with it, \
                 or name the file that holds it in card.management_key_file"
            );
        };
        let by_file = matches!(login.user, Some((User::User, _)));
        match key.authenticate(talk) {
            Err(Failure::Fault(Fault::Error(wrong)))
                if by_file && wrong.rv() == CKR_PIN_INCORRECT =>
            {
                // The caller has given no PIN: it is not that which is incorrect.
                return Err(wrong.with_rv(CKR_USER_NOT_LOGGED_IN).into());
            }
            done => done?,
        };
        self.administrator = true;
        Ok(())
    }
}

/// The PIN that a discovery object asks for (Part 1, 3.2.6).
fn asked_for(discovery: &[u8]) -> Reference {
    let objects = tlv::all(discovery).unwrap_or_default();
    match tlv::find(&objects, 0x5f2f) {
        // The global PIN satisfies the access rules, and is the one to be asked for.
        Some([rules, 0x20]) if rules & 0x20 != 0 => Reference::GlobalPin,
        _ => Reference::Pin,
    }
}

impl Application for Piv {
    fn selected(&mut self) {
        self.administrator = false;
    }

    fn identity(&mut self, talk: &mut Talk<'_>) -> Result<Identity> {
        // Who asks does not know whether it is the same card, or who was at it.
        self.forget_reading();
        let chuid = commands::get(talk, slots::CHUID.tag)?.unwrap_or_default();
        let objects = tlv::all(&chuid).unwrap_or_default();
        let given = |tag| {
            let value = tlv::find(&objects, tag)?;
            value.iter().any(|byte| *byte != 0).then_some(value)
        };
        let number = given(GUID).or_else(|| given(FASC_N)).unwrap_or_default();
        // The end of it: issuers begin theirs alike.
        let tail = number.len().saturating_sub(8);
        let serial: String = number
            .iter()
            .skip(tail)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let record =
            tlv::find(&objects, record::TAG).and_then(record::decode::<record::CardRecord>);
        self.managed = record.is_some();
        let label = match record {
            Some(record) => record.label,
            None => format!("PIV {serial}"),
        };
        Ok(Identity {
            label: label.chars().take(LABEL_LEN).collect(),
            manufacturer: MANUFACTURER.into(),
            model: self.model.clone(),
            serial,
            pin_len: PIN_LEN,
            read_only: false,
            public_certificates: true,
        })
    }

    fn pin_flags(&mut self, talk: &mut Talk<'_>) -> Result<CK_FLAGS> {
        let pin = self.pin(talk)?;
        let left = files::tries_left(talk, pin as u8)?;
        Ok(files::pin_flags(left, MANY_TRIES))
    }

    fn read(
        &mut self,
        talk: &mut Talk<'_>,
        extent: Extent,
        user: Option<User>,
    ) -> Result<Vec<Stored>> {
        if !self.reading.as_ref().is_some_and(Reading::is_fresh) {
            self.read_contents(talk)?;
        }
        let mut objects: Vec<_> = self
            .objects()?
            .into_iter()
            .map(|(_, object)| object)
            .collect();
        if extent == Extent::Everything {
            for kind in DATA_OBJECTS {
                if kind.private && user != Some(User::User) {
                    continue;
                }
                objects.extend(self.data_object(talk, kind)?);
            }
        }
        Ok(objects)
    }

    fn verify(&mut self, talk: &mut Talk<'_>, user: User, pin: &[u8]) -> Result<()> {
        match user {
            User::User => {
                check_old_pin(pin)?;
                let reference = self.pin(talk)?;
                commands::verify(talk, reference, pin)
            }
            User::SecurityOfficer => {
                if let Some(puk) = SoPin::parse(pin)?.puk {
                    admin::check_puk(talk, puk)?;
                }
                self.resume(talk, user, pin)
            }
        }
    }

    fn resume(&mut self, talk: &mut Talk<'_>, user: User, pin: &[u8]) -> Result<()> {
        if user == User::User {
            return self.verify(talk, user, pin);
        }
        if let Some(key) = SoPin::parse(pin)?.key {
            key.authenticate(talk)?;
            self.administrator = true;
        }
        Ok(())
    }

    fn end_login(&mut self, talk: &mut Talk<'_>) -> Result<()> {
        // Who logs in again wants to see what is new.
        self.forget_reading();
        let administrator = std::mem::take(&mut self.administrator);
        let pin = self.pin(talk)?;
        match commands::end_login(talk, pin) {
            Ok(()) if !administrator => Ok(()),
            // The right to write, and on some cards the PIN too, end with the selection only.
            Ok(()) | Err(Failure::Refused { .. }) => commands::leave(talk),
            Err(failure) => Err(failure),
        }
    }

    fn operate(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        id: &ObjectId,
        operation: &Operation<'_>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let [reference, ..] = *id;
        let Some(slot) = KeySlot::of(reference) else {
            return refuse!(CKR_KEY_HANDLE_INVALID, "the object is no key of the card");
        };
        let algorithm = self.algorithm(talk, slot, id)?;
        let (tag, input) = match operation {
            Operation::Rsa(input) | Operation::Ecdsa(input) | Operation::Ed25519(input) => {
                (commands::CHALLENGE, input)
            }
            Operation::Agree(point) => (commands::EXPONENTIATION, point),
            Operation::RsaPkcs1(_) => {
                return refuse!(CKR_GENERAL_ERROR, "a PIV card takes padded blocks");
            }
        };
        let place = (algorithm, slot.reference);
        let first = commands::operate(talk, place, tag, input);
        // Another command came between the PIN and the use.
        match (&first, &login.confirmed) {
            (Err(Failure::Refused { status, .. }), Some((key, pin)))
                if *status == Status::NOT_ALLOWED && key == id =>
            {
                self.verify(talk, User::User, pin)?;
                commands::operate(talk, place, tag, input)
            }
            _ => first,
        }
    }

    fn initialize(&mut self, talk: &mut Talk<'_>, so_pin: &[u8], label: &str) -> Result<()> {
        self.make_empty(talk, so_pin, label)
    }

    fn unblock(&mut self, talk: &mut Talk<'_>, so_pin: &[u8], pin: &[u8]) -> Result<()> {
        check_new_pin(pin)?;
        let Some(puk) = SoPin::parse(so_pin)?.puk else {
            return refuse!(
                CKR_FUNCTION_REJECTED,
                "the PIN of a PIV card is set with the PUK: log in as security officer with PUK or \
                 PUK:KEY"
            );
        };
        let reference = self.pin(talk)?;
        commands::unblock(talk, reference, puk, pin)?;
        // Some cards take any bytes here, and digits alone afterwards.
        if !pin.iter().all(u8::is_ascii_digit) {
            if commands::verify(talk, reference, pin).is_err() {
                return refuse!(
                    CKR_PIN_INVALID,
                    "the card has set a PIN that it never accepts, for it is not of digits: set another"
                );
            }
            commands::end_login(talk, reference)?;
        }
        Ok(())
    }

    fn change_pin(
        &mut self,
        talk: &mut Talk<'_>,
        user: User,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        if user == User::User {
            check_old_pin(old)?;
            check_new_pin(new)?;
            let reference = self.pin(talk)?;
            return commands::change(talk, reference, old, new);
        }
        let old = SoPin::parse(old)?;
        let new = SoPin::parse(new).ok().filter(|new| {
            old.puk.is_some() == new.puk.is_some() && old.key.is_some() == new.key.is_some()
        });
        let Some(new) = new else {
            return refuse!(
                CKR_PIN_INVALID,
                "give the new PIN of the security officer in the form of the old one: PUK, KEY or \
                 PUK:KEY"
            );
        };
        if let Some(puk) = new.puk {
            check_new_pin(puk)?;
        }
        if let Some(puk) = old.puk {
            admin::check_puk(talk, puk)?;
        }
        let mut replaced = None;
        if let (Some(old), Some(new)) = (&old.key, &new.key) {
            let algorithm = old.authenticate(talk)?;
            new.install(talk, algorithm)?;
            replaced = Some((old, algorithm));
        }
        let (Some(old), Some(new)) = (old.puk, new.puk) else {
            return Ok(());
        };
        let changed = commands::change(talk, Reference::Puk, old, new);
        if let (Err(_), Some((key, algorithm))) = (&changed, replaced) {
            // All or nothing: the old pair works on.
            key.install(talk, algorithm)?;
        }
        changed
    }

    fn generate(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        spec: &KeySpec,
        private: &Attributes,
    ) -> Result<Made> {
        self.make_key(talk, login, spec, private)
    }

    fn write(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        new: &[NewObject],
        removed: &[ObjectId],
    ) -> Result<Vec<ObjectId>> {
        self.write_objects(talk, login, new, removed)
    }

    fn update(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        ids: &[ObjectId],
        change: &mut Change<'_>,
    ) -> Result<()> {
        self.update_objects(talk, login, ids, change)
    }
}

/// A PIN that cannot be right would cost a try.
fn check_old_pin(pin: &[u8]) -> Result<()> {
    if (PIN_LEN.0..=PIN_LEN.1).contains(&pin.len()) {
        return Ok(());
    }
    refuse!(
        CKR_PIN_INCORRECT,
        "a PIN of {} bytes cannot be right: PIV has {} to {}; nothing was sent",
        pin.len(),
        PIN_LEN.0,
        PIN_LEN.1
    )
}

fn check_new_pin(pin: &[u8]) -> Result<()> {
    if (PIN_LEN.0..=PIN_LEN.1).contains(&pin.len()) {
        return Ok(());
    }
    refuse!(
        CKR_PIN_LEN_RANGE,
        "a PIN or PUK of a PIV card has {} to {} bytes, not {}",
        PIN_LEN.0,
        PIN_LEN.1,
        pin.len()
    )
}

#[cfg(test)]
mod tests {
    use super::read::on_card;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_history_a_discovery_and_a_record(bytes: Vec<u8>) {
            prop_assert!(on_card(&bytes) <= usize::from(slots::RETIRED_COUNT));
            asked_for(&bytes);
            drop(open(&bytes, &Card::default()));
            // DER has one form for each record.
            if let Some(record) = record::decode::<record::Record>(&bytes) {
                prop_assert_eq!(record::encode(&record).unwrap(), bytes.clone());
            }
            let label = record::CardRecord { label: String::from_utf8_lossy(&bytes).into_owned() };
            let encoded = record::encode(&label).unwrap();
            prop_assert_eq!(record::decode(&encoded), Some(label));
        }

        #[test]
        fn a_history_counts_what_there_is_room_for(count: u8, after: Vec<u8>) {
            let mut history = tlv::object(0xc1, &[count]);
            tlv::push(&mut history, 0xc2, &[0]);
            prop_assert_eq!(on_card(&history), usize::from(count).min(20));
            // Longer than a number, or broken behind it: none.
            prop_assert_eq!(on_card(&tlv::object(0xc1, &[0, count])), 0);
            history.extend([0x30, 0x81]);
            prop_assert_eq!(on_card(&history), 0);
            let _ = on_card(&[history, after].concat());
        }

        #[test]
        fn the_global_pin_is_asked_for_where_it_is_the_first(rules: u8, preferred: u8) {
            let discovery = tlv::object(0x5f2f, &[rules, preferred]);
            let global = rules & 0x20 != 0 && preferred == 0x20;
            let expected = if global { Reference::GlobalPin } else { Reference::Pin };
            prop_assert_eq!(asked_for(&discovery), expected);
        }
    }
}
