//! The command's own view of a token: in process, through the safe layer that the `C_*` entries
//! call too.

use crate::choice::Id;
use crate::failure::{Exit, Failure, Result, fail};
use crate::object::{KeyType, Object, Parameter};
use crate::pin_source::{PinOptions, SoPin, UserPin};
use crate::report::warn;
use crate::table::printable;
use clap::ValueEnum;
use cryptoki_sys::*;
use nodetoken::attribute::Template;
use nodetoken::credential::certificate::Certificate;
use nodetoken::credential::csr::SignatureAlgorithm;
use nodetoken::error::Error;
use nodetoken::mechanism::Parameter as MechanismParameter;
use nodetoken::module::{self, Module};
use nodetoken::operation::{Answer, Room};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What a reader answers that has no card of ours.
const NO_TOKEN: [CK_RV; 2] = [CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED];
/// RSA public exponent 65537 (FIPS 186-5 A.1.1).
const EXPONENT: &[u8] = &[1, 0, 1];

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// The security officer.
    SecurityOfficer,
    /// The user.
    User,
}

impl User {
    /// As messages name the PIN.
    fn pin_name(self) -> &'static str {
        match self {
            User::SecurityOfficer => "security officer's PIN",
            User::User => "user PIN",
        }
    }
}

/// What keeps a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Files, encrypted under the PIN; no physical protection
    Software,
    /// The TPM 2.0 of this machine, named in the configuration ([tpm] device, NODETOKEN_TPM)
    Tpm,
    /// A smart card or USB token in a reader
    Card,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Software => "software",
            Kind::Tpm => "TPM",
            Kind::Card => "card",
        })
    }
}

/// A slot and what is known of its token.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Slot id, stable.
    pub id: CK_SLOT_ID,
    /// Label of the token; empty where it is not initialized.
    pub label: String,
    /// Serial number of the token.
    pub serial: String,
    /// What keeps it.
    pub kind: Kind,
    flags: CK_FLAGS,
    pin_lengths: RangeInclusive<usize>,
}

impl Slot {
    /// CKF_TOKEN_INITIALIZED.
    pub fn is_initialized(&self) -> bool {
        self.flags & CKF_TOKEN_INITIALIZED != 0
    }

    /// As messages name it.
    pub fn name(&self) -> String {
        match self.is_initialized() {
            true => format!(
                "token \"{}\" (serial {}, slot:{})",
                printable(&self.label),
                printable(&self.serial),
                self.id
            ),
            false => format!("the uninitialized token in slot:{}", self.id),
        }
    }

    /// What keeps the user from logging in, or soon will.
    pub fn user_pin_trouble(&self) -> Option<&'static str> {
        let has = |flag| self.flags & flag != 0;
        if !has(CKF_USER_PIN_INITIALIZED) {
            Some("user PIN not set")
        } else if has(CKF_USER_PIN_LOCKED) {
            Some("user PIN LOCKED")
        } else if has(CKF_USER_PIN_FINAL_TRY) {
            Some("user PIN: one try left")
        } else {
            None
        }
    }

    /// Refuses a PIN that the token would refuse for its length, before anything is changed. The
    /// security officer of a card has other things than a PIN.
    pub fn check_length(&self, user: User, pin: &[u8]) -> Result<()> {
        match (self.kind, user) {
            (Kind::Card, User::SecurityOfficer) => Ok(()),
            _ if self.pin_lengths.contains(&pin.len()) => Ok(()),
            _ => fail!(
                Refused,
                "the {} has {} bytes; this token takes {} to {}; choose another",
                user.pin_name(),
                pin.len(),
                self.pin_lengths.start(),
                self.pin_lengths.end()
            ),
        }
    }

    /// Whether `--token wanted` means this slot.
    fn fits(&self, wanted: &str) -> bool {
        match wanted.strip_prefix("slot:") {
            Some(number) => number.parse() == Ok(self.id),
            None => self.is_initialized() && (self.label == wanted || self.serial == wanted),
        }
    }
}

/// A run of the module, in this process, from start to drop.
pub struct Provider {
    module: Arc<Module>,
}

impl Provider {
    /// Reads the configuration and opens the tokens that it names.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// The same, with a slot for one more token in the store.
    pub fn start_with_spare_slot() -> Result<Self> {
        Self::start_with(Some("spare_slot=true"))
    }

    fn start_with(reserved: Option<&str>) -> Result<Self> {
        let unusable = |error| Failure::from(error).with_exit(Exit::Damaged);
        module::initialize(|name| std::env::var_os(name), reserved).map_err(unusable)?;
        Ok(Self {
            module: module::current()?,
        })
    }

    /// Every slot with a token, in the order of the module. Readers without a card, or with one that
    /// is none of ours, are left out; one whose card does not answer is, too, and that is said.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for slot in self.module.slots(true)? {
            let seen = slot.token().ready().and_then(|()| view(&slot));
            match seen {
                Ok(seen) => slots.push(seen),
                Err(error) if slot.place.flags & CKF_REMOVABLE_DEVICE == 0 => {
                    return Err(error.into());
                }
                Err(error) if NO_TOKEN.contains(&error.rv()) => {}
                Err(error) => warn(format!("{} is left out: {error}", slot.place.description)),
            }
        }
        Ok(slots)
    }

    /// Who may write to a token: the user; the security officer of a card whose management key the
    /// configuration does not name.
    pub fn writer(&self, slot: &Slot) -> User {
        match (slot.kind, &self.module.config().card.management_key_file) {
            (Kind::Card, None) => User::SecurityOfficer,
            _ => User::User,
        }
    }

    /// The device of the TPM that is configured, where none of the slots is of a TPM.
    pub fn missing_tpm(&self, slots: &[Slot]) -> Option<&str> {
        let device = self.module.config().tpm.device.as_str();
        let there = slots.iter().any(|slot| slot.kind == Kind::Tpm);
        (!there && !device.is_empty()).then_some(device)
    }

    /// The slot with this id, as it is now.
    pub fn slot(&self, id: CK_SLOT_ID) -> Result<Slot> {
        Ok(view(&*self.module.slot(id)?)?)
    }

    /// The slot that `--token` names, or the only initialized token.
    pub fn choose(&self, wanted: Option<&str>) -> Result<Slot> {
        let slot = self.choose_any(wanted)?;
        match slot.is_initialized() {
            true => Ok(slot),
            false => fail!(
                NotFound,
                "{} must be made first: nodetoken init",
                slot.name()
            ),
        }
    }

    /// The slot that `--token` names, initialized or not, or the only initialized token.
    pub fn choose_any(&self, wanted: Option<&str>) -> Result<Slot> {
        let mut fitting = self.slots()?;
        let there = names(fitting.iter().filter(|slot| slot.is_initialized()));
        fitting.retain(|slot| match wanted {
            Some(wanted) => slot.fits(wanted),
            None => slot.is_initialized(),
        });
        match (fitting.pop(), fitting.len(), wanted) {
            (Some(slot), 0, _) => Ok(slot),
            (Some(_), _, Some(wanted)) => fail!(
                Usage,
                "several tokens are called \"{wanted}\": choose one by serial number or slot:N among {there}"
            ),
            (Some(_), _, None) => fail!(
                Usage,
                "there are several tokens: choose one with --token among {there}"
            ),
            (None, _, _) if there.is_empty() => {
                fail!(
                    NotFound,
                    "there is no token; make one with `nodetoken init`"
                )
            }
            (None, _, Some(wanted)) => fail!(
                NotFound,
                "no token has the label or serial number \"{wanted}\"; there is {there}"
            ),
            (None, _, None) => fail!(NotFound, "there is no token"),
        }
    }

    /// C_InitToken.
    pub fn init_token(&self, slot: &Slot, so_pin: &[u8], label: &str) -> Result<()> {
        Ok(self.module.slot(slot.id)?.initialize(so_pin, label)?)
    }

    /// A read/write session with a token, nobody logged in.
    pub fn open(&self, slot: &Slot) -> Result<Session<'_>> {
        let handle = self.module.open_session(slot.id, true)?;
        let session = self.module.session(handle)?;
        Ok(Session {
            module: &self.module,
            slot: slot.clone(),
            session,
        })
    }
}

impl Drop for Provider {
    /// C_Finalize: wipes what a login has opened.
    fn drop(&mut self) {
        // It fails only where the run has ended already.
        let _ = module::finalize();
    }
}

/// Names for a message, with commas.
fn names<'a>(slots: impl Iterator<Item = &'a Slot>) -> String {
    slots.map(Slot::name).collect::<Vec<_>>().join(", ")
}

fn view(slot: &nodetoken::slot::Slot) -> nodetoken::error::Result<Slot> {
    let info = slot.token().info()?;
    Ok(Slot {
        id: slot.place.id,
        label: info.label,
        serial: info.serial,
        kind: match slot.place.flags {
            flags if flags & CKF_REMOVABLE_DEVICE != 0 => Kind::Card,
            flags if flags & CKF_HW_SLOT != 0 => Kind::Tpm,
            _ => Kind::Software,
        },
        flags: info.flags,
        pin_lengths: info.min_pin_len..=info.max_pin_len,
    })
}

/// A session with one token.
pub struct Session<'a> {
    module: &'a Module,
    slot: Slot,
    session: Arc<nodetoken::session::Session>,
}

impl Session<'_> {
    /// Whose token it is.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// C_Login.
    pub fn login(&mut self, user: User, pin: &[u8]) -> Result<()> {
        let kind = match user {
            User::SecurityOfficer => CKU_SO,
            User::User => CKU_USER,
        };
        let done = self.session.login(kind, Some(pin));
        done.map_err(|error| self.pin_failure(user, error))
    }

    /// Logs in who may write to the token (see [`Provider::writer`]).
    pub fn login_to_write(&mut self, writer: User, pin: &UserPin, so_pin: &SoPin) -> Result<()> {
        let label = self.slot.label.clone();
        let pin = match writer {
            User::User => pin.read(&label)?,
            User::SecurityOfficer => so_pin.read(&label)?,
        };
        self.login(writer, &pin)
    }

    /// C_InitPIN, by the security officer who is logged in.
    pub fn init_pin(&mut self, pin: &[u8]) -> Result<()> {
        Ok(self.session.init_pin(pin)?)
    }

    /// C_SetPIN.
    pub fn set_pin(&mut self, user: User, old: &[u8], new: &[u8]) -> Result<()> {
        if user == User::SecurityOfficer {
            self.login(user, old)?;
        }
        let done = self.session.set_pin(old, new);
        done.map_err(|error| self.pin_failure(user, error))
    }

    /// What the token said about a PIN, and what can be done.
    fn pin_failure(&self, user: User, error: Error) -> Failure {
        let name = format!("{} of {}", user.pin_name(), self.slot.name());
        match (error.rv(), user) {
            (CKR_PIN_INCORRECT, _) => self.wrong_pin(user, &name),
            (CKR_PIN_LOCKED, User::User) => Failure::new(
                Exit::PinLocked,
                format!(
                    "the {name} is locked; the security officer unblocks it with `nodetoken pin unblock`"
                ),
            ),
            (CKR_PIN_LOCKED, User::SecurityOfficer) => Failure::new(
                Exit::PinLocked,
                format!("the {name} is locked; only a new token helps: `nodetoken init --new`"),
            ),
            _ => Failure::from(error).during(name),
        }
    }

    /// A wrong PIN, with the tries that are left as the token's flags tell them.
    fn wrong_pin(&self, user: User, name: &str) -> Failure {
        let flags = view(&self.session.slot).map_or(0, |slot| slot.flags);
        let (locked, last) = match user {
            User::SecurityOfficer => (CKF_SO_PIN_LOCKED, CKF_SO_PIN_FINAL_TRY),
            User::User => (CKF_USER_PIN_LOCKED, CKF_USER_PIN_FINAL_TRY),
        };
        let (exit, rest) = match flags {
            _ if flags & locked != 0 => {
                (Exit::PinLocked, "that was the last try: it is locked now")
            }
            _ if flags & last != 0 => (Exit::WrongPin, "one try is left before it locks"),
            _ => (Exit::WrongPin, "wrong tries are counted"),
        };
        Failure::new(exit, format!("wrong {name}; {rest}"))
    }

    /// Every object of a class that can be seen now.
    pub fn find(&self, class: CK_OBJECT_CLASS) -> Result<Vec<Object>> {
        let class = class.to_ne_bytes();
        let template = Template::new(vec![(CKA_CLASS, &class), (CKA_TOKEN, &[CK_TRUE])])?;
        let handles = self.session.find_all(&template)?;
        handles
            .into_iter()
            .map(|handle| Ok(Object(self.session.object(handle)?)))
            .collect()
    }

    /// C_GenerateKeyPair: a private key that is sensitive and never extractable.
    pub fn generate_key_pair(&self, key_type: KeyType, label: &str, id: &Id) -> Result<()> {
        let common = [
            (CKA_TOKEN, &[CK_TRUE][..]),
            (CKA_LABEL, label.as_bytes()),
            (CKA_ID, id.0.as_slice()),
        ];
        let bits;
        let mut public = common.to_vec();
        match key_type.parameter() {
            Parameter::ModulusBits(modulus) => {
                bits = modulus.to_ne_bytes();
                public.push((CKA_MODULUS_BITS, &bits));
                public.push((CKA_PUBLIC_EXPONENT, EXPONENT));
            }
            Parameter::Curve(params) => public.push((CKA_EC_PARAMS, params)),
        }
        let mut private = common.to_vec();
        private.push((CKA_PRIVATE, &[CK_TRUE]));
        private.push((CKA_SENSITIVE, &[CK_TRUE]));
        private.push((CKA_EXTRACTABLE, &[CK_FALSE]));
        self.session.generate_key_pair(
            key_type.mechanism(),
            &Template::new(public)?,
            &Template::new(private)?,
        )?;
        Ok(())
    }

    /// C_CreateObject of a certificate under an id and a label, in a CK_CERTIFICATE_CATEGORY.
    pub fn create_certificate(
        &self,
        certificate: &Certificate,
        label: &str,
        id: &Id,
        category: CK_ULONG,
    ) -> Result<()> {
        let class = CKO_CERTIFICATE.to_ne_bytes();
        let kind = CKC_X_509.to_ne_bytes();
        let category = category.to_ne_bytes();
        let template = Template::new(vec![
            (CKA_CLASS, &class),
            (CKA_TOKEN, &[CK_TRUE]),
            (CKA_PRIVATE, &[CK_FALSE]),
            (CKA_CERTIFICATE_TYPE, &kind),
            (CKA_CERTIFICATE_CATEGORY, &category),
            (CKA_LABEL, label.as_bytes()),
            (CKA_ID, &id.0),
            (CKA_SUBJECT, certificate.subject_der()),
            (CKA_ISSUER, certificate.issuer_der()),
            (CKA_SERIAL_NUMBER, certificate.serial_der()),
            (CKA_VALUE, certificate.der()),
        ])?;
        self.session.create(&template)?;
        Ok(())
    }

    /// C_DestroyObject.
    pub fn destroy(&self, object: &Object) -> Result<()> {
        Ok(self.session.destroy(object.0.handle)?)
    }

    /// A signature by a private key: hashed by the mechanism, in the form of PKCS#11.
    pub fn sign(
        &self,
        key: &Object,
        algorithm: SignatureAlgorithm,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let mechanism = match algorithm {
            SignatureAlgorithm::RsaSha256 => CKM_SHA256_RSA_PKCS,
            SignatureAlgorithm::EcdsaSha256 => CKM_ECDSA_SHA256,
            SignatureAlgorithm::EcdsaSha384 => CKM_ECDSA_SHA384,
            SignatureAlgorithm::EcdsaSha512 => CKM_ECDSA_SHA512,
            SignatureAlgorithm::Ed25519 => CKM_EDDSA,
        };
        let handle = key.0.handle;
        self.session
            .sign_init(mechanism, &MechanismParameter::None, handle)?;
        match self.session.sign(data, Room::Bytes(usize::MAX))? {
            Answer::Bytes(signature) => Ok(signature),
            Answer::Length(_) | Answer::TooSmall(_) => {
                fail!(Other, "the token gave no signature by key {}", key.name())
            }
        }
    }

    /// C_GenerateRandom.
    pub fn random(&self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        self.session
            .random(len, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }
}

impl Drop for Session<'_> {
    /// C_CloseSession: the login ends with it.
    fn drop(&mut self) {
        // A session that is gone already needs no closing.
        let _ = self.module.close_session(self.session.handle);
    }
}
