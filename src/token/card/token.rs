//! A card as a token: what is on it, seen through its application, and session objects of software.

use super::application::Extent;
use super::card::Card;
use super::key::Key;
use crate::attribute::Attributes;
use crate::crypto::{KeySpec, engine};
use crate::error::{Error, Result, fail};
use crate::key::{self, Secrets};
use crate::lock::Locked;
use crate::mechanism::{Mechanism, Plan};
use crate::token::{
    CHIP_KEY, Change, Changes, KeyPair, NewObject, ObjectId, Presence, PrivateKey, Stored, Token,
    TokenInfo, User,
};
use cryptoki_sys::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long what was read of a card is taken for what is on it: another program may have written.
/// With what an application remembers by itself it is half a minute at most.
const FRESH: Duration = Duration::from_secs(25);

/// The token in one reader.
pub(super) struct CardToken {
    card: Arc<Card>,
    /// Counts what may change the view: a login, something written, another card.
    revision: AtomicU64,
    /// The last PIN that was compared for who is logged in was a wrong one.
    mistaken: AtomicBool,
    seen: Mutex<Option<Seen>>,
}

/// What was read of the card.
struct Seen {
    revision: u64,
    removals: u64,
    extent: Extent,
    since: Instant,
    objects: Vec<Stored>,
}

impl CardToken {
    pub(super) fn new(card: Arc<Card>) -> Self {
        Self {
            card,
            revision: AtomicU64::new(0),
            mistaken: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }

    /// Everything that was read is to be read again.
    fn changed(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// Reads the card, unless it has been read as far as `extent` since the last change. What was
    /// read is there as long as the result is held.
    fn read(
        &self,
        extent: Extent,
        freshness: Option<Duration>,
    ) -> Result<MutexGuard<'_, Option<Seen>>> {
        let mut seen = self.seen.locked();
        let (mut extent, mut before) = (extent, Vec::new());
        if let Some(seen) = seen.take_if(|seen| {
            extent = extent.max(seen.extent);
            seen.extent < extent
                || seen.revision != self.revision.load(Ordering::Acquire)
                || seen.removals != self.card.removals()
                || freshness.is_some_and(|limit| seen.since.elapsed() > limit)
        }) && seen.removals == self.card.removals()
        {
            before = seen.objects;
        }
        if seen.is_some() {
            return Ok(seen);
        }
        let start = self.revision.load(Ordering::Acquire);
        // Of before: what is read of a card that comes meanwhile is read once more.
        let removals = self.card.removals();
        let user = self.card.user();
        let mut objects = self
            .card
            .visit_to_read(&mut |talk, application, _| application.read(talk, extent, user))?;
        if user.is_none() {
            objects.retain(|object| !object.attributes.is(CKA_PRIVATE));
        }
        let same = objects.len() == before.len()
            && objects
                .iter()
                .zip(&before)
                .all(|(now, before)| now.id == before.id && now.attributes == before.attributes);
        // Where something else has changed meanwhile, this is read once more.
        let next = if same { start } else { start + 1 };
        let order = Ordering::AcqRel;
        let counted = self
            .revision
            .compare_exchange(start, next, order, Ordering::Acquire);
        let revision = counted.map_or(start, |_| next);
        *seen = Some(Seen {
            revision,
            removals,
            extent,
            since: Instant::now(),
            objects,
        });
        Ok(seen)
    }

    fn present(&self) -> Result<()> {
        match self.card.presence() {
            Presence { card: true, .. } => Ok(()),
            Presence { reader: true, .. } => {
                fail!(CKR_TOKEN_NOT_PRESENT, "there is no card in the reader")
            }
            _ => fail!(CKR_TOKEN_NOT_PRESENT, "the reader is not plugged in"),
        }
    }

    fn writable(&self) -> Result<()> {
        let identity = self.card.identity()?;
        if identity.read_only {
            return fail!(
                CKR_TOKEN_WRITE_PROTECTED,
                "a card of the kind {} is only read and signed with",
                identity.model
            );
        }
        Ok(())
    }
}

impl Token for CardToken {
    fn presence(&self) -> Presence {
        self.card.presence()
    }

    fn removals(&self) -> u64 {
        self.card.removals()
    }

    fn login_lost(&self) -> bool {
        self.card.login_lost()
    }

    fn ready(&self) -> Result<()> {
        self.present()?;
        self.card.identity().map(drop)
    }

    fn survey(&self, class: Option<CK_OBJECT_CLASS>) -> Result<()> {
        let extent = match class {
            None | Some(CKO_DATA) => Extent::Everything,
            Some(_) => Extent::Credentials,
        };
        self.read(extent, Some(FRESH)).map(drop)
    }

    fn so_writes(&self) -> bool {
        true
    }

    fn info(&self) -> Result<TokenInfo> {
        self.present()?;
        let identity = self.card.identity()?;
        // Who is logged in has a right PIN: no need to ask.
        let flags = match self.card.user() {
            Some(User::User) if !self.mistaken.load(Ordering::Acquire) => 0,
            _ => self
                .card
                .visit(&mut |talk, application, _| application.pin_flags(talk))?,
        };
        let protected = if identity.read_only {
            CKF_WRITE_PROTECTED
        } else {
            0
        };
        Ok(TokenInfo {
            label: identity.label.clone(),
            manufacturer: identity.manufacturer.clone(),
            model: identity.model.clone(),
            serial: identity.serial.clone(),
            flags: CKF_RNG
                | CKF_LOGIN_REQUIRED
                | CKF_TOKEN_INITIALIZED
                | CKF_USER_PIN_INITIALIZED
                | protected
                | flags,
            min_pin_len: identity.pin_len.0,
            max_pin_len: identity.pin_len.1,
        })
    }

    /// Session objects are software's, which can do everything; keys of the card do what they can.
    fn offer(&self, row: &Mechanism) -> Option<Mechanism> {
        let on_card = matches!(
            row.plan,
            Plan::RsaPair
                | Plan::RsaPkcs1(_)
                | Plan::RsaPss(_)
                | Plan::RsaOaep
                | Plan::RsaAesKeyWrap
                | Plan::RsaRaw
                | Plan::EcPair
                | Plan::Ecdsa(_)
                | Plan::Ecdh
                | Plan::EcdhAesKeyWrap { .. }
                | Plan::EdwardsPair
                | Plan::EdDsa
        );
        let hardware = if on_card { CKF_HW } else { 0 };
        Some(Mechanism {
            functions: row.functions | hardware,
            ..*row
        })
    }

    fn has_public_certificates(&self) -> Result<bool> {
        Ok(self.card.identity()?.public_certificates)
    }

    fn login(&self, user: User, pin: &[u8]) -> Result<()> {
        self.card.log_in(user, pin)?;
        self.mistaken.store(false, Ordering::Release);
        self.changed();
        Ok(())
    }

    fn confirm(&self, key: &Stored, pin: &[u8]) -> Result<()> {
        let done = self.card.confirm(&key.id, pin);
        self.mistaken.store(done.is_err(), Ordering::Release);
        done
    }

    fn logout(&self) {
        self.card.end_login();
        self.changed();
    }

    fn label(&self) -> Result<String> {
        Ok(self.card.identity()?.label.clone())
    }

    fn revision(&self) -> Result<u64> {
        Ok(self.revision.load(Ordering::Acquire))
    }

    fn changes(&self, since: Option<u64>) -> Result<Changes> {
        let seen = self.read(Extent::Credentials, None)?;
        let Some(seen) = &*seen else {
            return fail!(CKR_DEVICE_REMOVED, "the card was taken out just now");
        };
        let unchanged = since == Some(seen.revision);
        Ok(Changes {
            revision: seen.revision,
            complete: !unchanged,
            stored: if unchanged {
                Vec::new()
            } else {
                seen.objects.clone()
            },
            removed: Vec::new(),
        })
    }

    fn private_key(
        &self,
        object: &Stored,
        session: Option<&Secrets>,
    ) -> Result<Arc<dyn PrivateKey>> {
        if let Some(secrets) = session {
            let given = |attribute| key::secret_of(secrets, attribute);
            let parts = key::private_parts(&object.attributes, &given)?;
            return Ok(Arc::new(engine::PrivateKey::from_parts(&parts)?));
        }
        let parts = key::public_parts(&object.attributes)?;
        let padded = self.card.takes_padded_blocks()?;
        let card = Arc::clone(&self.card);
        Ok(Arc::new(Key::new(card, object.id, parts, padded)?))
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        self.present()?;
        self.writable()?;
        let done = self
            .card
            .visit_anew(&mut |talk, application, _| application.initialize(talk, so_pin, label));
        // Its label and serial number are others now.
        self.card.forget();
        self.changed();
        done
    }

    fn init_pin(&self, pin: &[u8]) -> Result<()> {
        self.card.visit_anew(&mut |talk, application, login| {
            let Some((User::SecurityOfficer, so_pin)) = &login.user else {
                return Err(not_logged_in().into());
            };
            application.unblock(talk, so_pin, pin)
        })
    }

    fn set_pin(&self, user: User, old: &[u8], new: &[u8]) -> Result<()> {
        self.present()?;
        self.writable()?;
        let done = self.card.change_pin(user, old, new);
        self.mistaken.store(done.is_err(), Ordering::Release);
        done
    }

    fn generate(&self, spec: &KeySpec, private: &Attributes) -> Result<KeyPair> {
        if !private.is(CKA_TOKEN) {
            return key::pair_attributes(engine::generate(spec)?);
        }
        self.writable()?;
        let made = self.card.visit(&mut |talk, application, login| {
            application.generate(talk, login, spec, private)
        })?;
        // A key that is not on its curve, or no product of two primes' length, is no key.
        engine::PublicKey::from_parts(&made.public)?;
        let mut pair = key::pair_of(&made.public, vec![(CHIP_KEY, made.reference)])?;
        pair.private.extend(&made.private);
        Ok(pair)
    }

    fn adopt(&self, key: NewObject) -> Result<NewObject> {
        let made_here = key.secrets.iter().any(|(kind, _)| *kind == CHIP_KEY);
        if !key.attributes.is(CKA_TOKEN) || made_here {
            return Ok(key);
        }
        fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "a private key is not brought to a card: have the card make it, or keep it in the session"
        )
    }

    fn insert(&self, objects: Vec<NewObject>, replaced: &[ObjectId]) -> Result<Vec<ObjectId>> {
        self.writable()?;
        let done = self.card.visit(&mut |talk, application, login| {
            application.write(talk, login, &objects, replaced)
        });
        self.changed();
        let is_data = |object: &NewObject| object.attributes.class() == Some(CKO_DATA);
        if done.is_ok() && objects.iter().any(is_data) {
            // Data objects are read from here on: the new one is among them.
            drop(self.read(Extent::Everything, None)?);
        }
        done
    }

    fn update(&self, ids: &[ObjectId], change: &mut Change<'_>) -> Result<()> {
        self.writable()?;
        let done = self
            .card
            .visit(&mut |talk, application, login| application.update(talk, login, ids, change));
        self.changed();
        done
    }

    fn remove(&self, ids: &[ObjectId]) -> Result<()> {
        self.insert(Vec::new(), ids).map(drop)
    }
}

fn not_logged_in() -> Error {
    Error::new(
        CKR_USER_NOT_LOGGED_IN,
        "the security officer is not logged in to this card",
    )
}
