//! One TPM: its link, its turn-taking, and the commands that the token asks of it.
//!
//! All use of the chip is a [`Visit`]: one thread at a time, from connecting to leaving nothing
//! behind. A simulator's socket has no resource manager and serves one client, so that each visit
//! connects anew and takes out what it has loaded; with a device, whose driver keeps each client's
//! objects apart, session and key stay for the next visit.

use super::fault::{Fault, malformed};
use super::frame::{Command, Response};
use super::object::{self, AUTH_LEN, Wrapped};
use super::root::Root;
use super::session::{Asks, Session, nonce};
use super::transport::{Device, Link};
use crate::crypto::{Curve, KeySpec, PublicParts, engine};
use crate::error::{Error, Result, fail};
use crate::lock::Locked;
use crate::memory::Secret;
use cryptoki_sys::CKR_DEVICE_ERROR;
use std::io::ErrorKind;
use std::sync::{Mutex, OnceLock, TryLockError};
use std::time::{Duration, Instant};
use tpm2_protocol::basic::{TpmHandle, TpmUint32};
use tpm2_protocol::data::*;
use tpm2_protocol::frame::*;

/// How long a command may take: self tests and writes to the chip's memory are slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long making a key may take.
const KEY_PATIENCE: Duration = Duration::from_secs(180);
/// How long a TPM may go on saying "again", or be full.
const BUSY: Duration = Duration::from_secs(5);
/// How long sessions of others are left alone when there is no room for another.
const SESSIONS_REST: Duration = Duration::from_secs(1);
/// Longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// How many keys stay loaded on a link that stays: the driver has three places (tpm2-space.c).
const LOADED: usize = 2;

/// Where the handles of loaded objects and of loaded sessions begin (Part 2, 7.2).
const TRANSIENT: u32 = 0x8000_0000;
const LOADED_SESSIONS: u32 = 0x0200_0000;

type Outcome<T> = std::result::Result<T, Fault>;

/// A TPM.
pub(super) struct Chip {
    device: Device,
    line: Mutex<Option<Line>>,
    abilities: OnceLock<Abilities>,
    lockout: Mutex<Option<Lockout>>,
}

/// What kinds of keys it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Longest RSA modulus in bits.
    pub(super) rsa_bits: usize,
    /// P-384 besides P-256.
    pub(super) p384: bool,
}

/// The state of its protection against guessing (Part 1, 19.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lockout {
    /// Wrong values so far.
    pub(super) counter: u32,
    /// How many there may be.
    pub(super) limit: u32,
    /// It is locked.
    pub(super) locked: bool,
    /// Its reset needs an authorization value.
    pub(super) guarded: bool,
}

/// An open link and what lies in the chip because of it.
struct Line {
    link: Link,
    session: Option<(Vec<u8>, Session)>,
    /// Names and handles of loaded objects, the last used at the end.
    loaded: Vec<(Vec<u8>, u32)>,
}

/// One use of the chip.
pub(super) struct Visit<'a> {
    line: &'a mut Line,
}

impl Chip {
    /// The TPM at a device. Nothing is opened yet.
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            line: Mutex::default(),
            abilities: OnceLock::new(),
            lockout: Mutex::default(),
        }
    }

    /// Lets the link go (C_Finalize). A thread that is amid a visit keeps it to the end, and lets it
    /// go with the chip.
    pub(super) fn close(&self) {
        let line = self.line.try_lock().ok().and_then(|mut slot| slot.take());
        if let Some(line) = line {
            line.leave();
        }
    }

    /// Runs `job` with the chip to itself. It runs again where the link broke (a simulator was
    /// restarted, a device was reset) and where the chip was full, since each run starts from
    /// nothing.
    pub(super) fn visit<T>(&self, job: impl FnMut(&mut Visit<'_>) -> Outcome<T>) -> Result<T> {
        self.visit_on(&mut self.line.locked(), job)
    }

    fn visit_on<T>(
        &self,
        slot: &mut Option<Line>,
        mut job: impl FnMut(&mut Visit<'_>) -> Outcome<T>,
    ) -> Result<T> {
        let mut pause = Duration::from_millis(1);
        let begun = Instant::now();
        let mut broken = false;
        loop {
            let (mut line, kept) = match slot.take() {
                Some(line) => (line, true),
                None => (Line::new(self.device.connect()?), false),
            };
            let fault = match job(&mut Visit { line: &mut line }) {
                Ok(done) => {
                    if line.link.stays() {
                        *slot = Some(line);
                    } else {
                        line.leave();
                    }
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            match &fault {
                // The link is spent: no late answer may be taken for one to the next command.
                Fault::Link(error) if broken || error.kind() == ErrorKind::TimedOut => {
                    return Err(self.located(fault));
                }
                Fault::Link(_) => broken = true,
                // A chip that was reset no longer knows the session, nor what was loaded.
                Fault::Code(code) if kept && code.says_no_reference() => line.leave(),
                Fault::Code(code) if code.says_full() && begun.elapsed() < BUSY => {
                    let sessions = code.says_no_session() && begun.elapsed() >= SESSIONS_REST;
                    (Visit { line: &mut line }).make_room(sessions);
                    line.leave();
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(PAUSE);
                }
                _ => {
                    line.leave();
                    return Err(self.located(fault));
                }
            }
        }
    }

    fn located(&self, fault: Fault) -> Error {
        let error = Error::from(fault);
        let reason = format!("TPM at {}: {}", self.device, error.reason());
        Error::new(error.rv(), reason)
    }

    /// The state of its protection against guessing; the last known one while another thread makes
    /// a key, which can take a minute: clients poll this.
    pub(super) fn lockout(&self) -> Result<Lockout> {
        let busy = matches!(self.line.try_lock(), Err(TryLockError::WouldBlock));
        if busy && let Some(known) = *self.lockout.locked() {
            return Ok(known);
        }
        let now = self.visit(|visit| visit.lockout())?;
        *self.lockout.locked() = Some(now);
        Ok(now)
    }

    /// Lets the next [`Chip::lockout`] ask the chip: a PIN was tried.
    pub(super) fn forget_lockout(&self) {
        *self.lockout.locked() = None;
    }

    /// What it can hold; asked once.
    pub(super) fn abilities(&self) -> Result<Abilities> {
        if let Some(known) = self.abilities.get() {
            return Ok(*known);
        }
        let found = self.visit(|visit| visit.abilities())?;
        Ok(*self.abilities.get_or_init(|| found))
    }
}

impl Line {
    fn new(link: Link) -> Self {
        Self {
            link,
            session: None,
            loaded: Vec::new(),
        }
    }

    /// Takes out of the chip what was put into it.
    fn leave(mut self) {
        let session = self.session.take().map(|(_, session)| session.handle);
        let objects = std::mem::take(&mut self.loaded);
        let handles = objects.into_iter().map(|(_, handle)| handle).chain(session);
        let mut visit = Visit { line: &mut self };
        for handle in handles {
            if let Err(Fault::Link(_)) = visit.flush(handle) {
                return;
            }
        }
    }
}

impl Visit<'_> {
    /// Sends bytes until the TPM no longer asks to send them again. No command that it so refuses
    /// has had an effect, nor has it moved the nonces of a session (Part 1, 19.6.3.2).
    fn exchange(&mut self, command: &[u8], patience: Duration) -> Outcome<Vec<u8>> {
        let give_up = Instant::now() + BUSY;
        let mut pause = Duration::ZERO;
        let mut started = false;
        loop {
            let answer = self.line.link.exchange(command, patience)?;
            match Response::parse(&answer, 0, false) {
                Err(Fault::Code(code)) if code.says_again() && Instant::now() < give_up => {
                    std::thread::sleep(pause);
                    pause = (2 * pause + Duration::from_millis(1)).min(PAUSE);
                }
                // A simulator that was restarted; on a machine the firmware has done it.
                Err(Fault::Code(code))
                    if code.base() == Some(TpmRcBase::Initialize) && !started =>
                {
                    started = true;
                    let startup = Command::new(&TpmStartupCommand {
                        handles: [],
                        startup_type: TpmSu::Clear,
                    })?;
                    self.line.link.exchange(&startup.bytes(None), patience)?;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// A command without authorization.
    fn plain<C: TpmFrame, R: TpmUnmarshalBody>(&mut self, command: &C) -> Outcome<R> {
        let bytes = Command::new(command)?.bytes(None);
        let answer = self.exchange(&bytes, PATIENCE)?;
        Response::parse(&answer, R::HANDLES, false)?.read()
    }

    /// A command that the session of `root` authorizes (`None`: one without salt, for what comes
    /// before there is a root). `handles`: how many it gives back.
    fn authorized(
        &mut self,
        root: Option<&Root>,
        mut command: Command,
        names: &[&[u8]],
        asks: Asks<'_>,
        (handles, patience): (usize, Duration),
    ) -> Outcome<Response> {
        self.begin(root)?;
        let Some((_, session)) = self.line.session.as_mut() else {
            return Err(malformed("it began no session").into());
        };
        let area = session.authorize(&mut command, names, asks)?;
        let bytes = command.bytes(Some(&area));
        let answer = self.exchange(&bytes, patience)?;
        let mut response = Response::parse(&answer, handles, true)?;
        if let Some((_, session)) = self.line.session.as_mut() {
            session.check(command.code, &mut response, asks)?;
        }
        if asks.ends {
            self.line.session = None;
        }
        Ok(response)
    }

    /// A session with this root, unless there is one.
    fn begin(&mut self, root: Option<&Root>) -> Outcome<()> {
        let whose = root.map(|root| root.name.clone()).unwrap_or_default();
        match self.line.session.take() {
            Some((of, session)) if of == whose => {
                self.line.session = Some((of, session));
                return Ok(());
            }
            Some((_, session)) => self.flush(session.handle)?,
            None => {}
        }
        let (salt, encrypted_salt, handle) = match root {
            Some(root) => {
                let (salt, encrypted) = root.secret(b"SECRET")?;
                (salt, encrypted, root.handle)
            }
            None => (
                Secret::zeroed(0)?,
                Tpm2bEncryptedSecret::default(),
                TpmRh::Null as u32,
            ),
        };
        let caller = nonce()?;
        let begun: Outcome<TpmStartAuthSessionResponse> = self.plain(&TpmStartAuthSessionCommand {
            handles: [TpmHandle::from(handle), TpmHandle::from(TpmRh::Null as u32)],
            nonce_caller: Tpm2bNonce::try_from(caller.as_slice())?,
            encrypted_salt,
            session_type: TpmSe::Hmac,
            symmetric: object::session_cipher(),
            auth_hash: TpmAlgId::Sha256,
        });
        let begun = begun.map_err(|fault| match root {
            Some(root) => root.judge(fault),
            None => fault,
        })?;
        let [handle] = begun.handles.map(u32::from);
        match Session::new(handle, &salt, caller, &begun.nonce_tpm) {
            Ok(session) => {
                self.line.session = Some((whose, session));
                Ok(())
            }
            Err(error) => {
                self.flush(handle)?;
                Err(error.into())
            }
        }
    }

    /// A command whose only authorization is that of the root, which is empty. The first such
    /// command proves the chip: one that did not learn the salt refuses it or cannot answer it.
    fn under_root(
        &mut self,
        root: &Root,
        command: Command,
        hides_command: bool,
        waits: (usize, Duration),
    ) -> Outcome<Response> {
        let asks = Asks {
            hides_command,
            ..Asks::default()
        };
        self.authorized(Some(root), command, &[&root.name], asks, waits)
            .map_err(|fault| match fault {
                Fault::Code(code) if code.says_wrong_auth() => root.judge(fault),
                other => other,
            })
    }

    /// Loads an object, unless it is loaded: its handle.
    pub(super) fn load(&mut self, root: &Root, wrapped: &Wrapped) -> Outcome<u32> {
        let name = wrapped.name();
        if let Some(at) = self.line.loaded.iter().position(|(of, _)| *of == name) {
            let there = self.line.loaded.remove(at);
            let handle = there.1;
            self.line.loaded.push(there);
            return Ok(handle);
        }
        while self.line.loaded.len() >= LOADED {
            let (_, oldest) = self.line.loaded.remove(0);
            self.flush(oldest)?;
        }
        let command = Command::new(&TpmLoadCommand {
            handles: [TpmHandle::from(root.handle)],
            in_private: Tpm2bPrivate::try_from(wrapped.private.as_slice())?,
            in_public: Tpm2bPublic {
                inner: object::public_of(&wrapped.public)?,
            },
        })?;
        let response = self.under_root(root, command, false, (1, PATIENCE))?;
        let loaded: TpmLoadResponse = response.read()?;
        let [handle] = loaded.handles.map(u32::from);
        self.line.loaded.push((name.clone(), handle));
        if *loaded.name != *name {
            return Err(malformed("it loaded another object").into());
        }
        Ok(handle)
    }

    /// Makes an object under the root. `data` is what is sealed in it, empty for a key.
    pub(super) fn create(
        &mut self,
        root: &Root,
        template: TpmtPublic,
        auth: &[u8],
        data: &[u8],
    ) -> Outcome<Wrapped> {
        // TPMS_SENSITIVE_CREATE (Part 2, 11.1.15).
        let sensitive = object::sized(&[], &[auth, data])?;
        let command = Command::new(&TpmCreateCommand {
            handles: [TpmHandle::from(root.handle)],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic {
                inner: template.clone(),
            },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        })?
        .with_first(&sensitive)?;
        let made: TpmCreateResponse = self
            .under_root(root, command, true, (0, KEY_PATIENCE))?
            .read()?;
        let public = &made.out_public.inner;
        let asked = TpmtPublic {
            unique: public.unique.clone(),
            ..template
        };
        if *public != asked {
            return Err(malformed("it made another object than was asked for").into());
        }
        Ok(Wrapped {
            public: object::to_bytes(public)?,
            private: made.out_private.to_vec(),
            auth: Secret::copy_of(auth)?,
        })
    }

    /// Puts a key from outside under the root (TPM2_Import). `sensitive` is what TPMT_SENSITIVE has
    /// behind its seed: a prime of RSA, a private value of EC.
    pub(super) fn import(
        &mut self,
        root: &Root,
        public: &PublicParts,
        sensitive: &[u8],
    ) -> Outcome<Wrapped> {
        let template = object::key(public, false)?;
        let mut auth = Secret::zeroed(AUTH_LEN)?;
        engine::random(&mut auth)?;
        // TPMT_SENSITIVE with no seed, as an asymmetric key that is no parent has none.
        let kind = template.object_type.value().to_be_bytes();
        let sensitive = object::sized(&kind, &[&auth, &[], sensitive])?;
        let whole = object::sized(&[], &[&sensitive])?;
        let bytes = object::to_bytes(&template)?;
        let (duplicate, in_sym_seed) = root.wrap(&whole, &object::name(&bytes))?;
        let command = Command::new(&TpmImportCommand {
            handles: [TpmHandle::from(root.handle)],
            encryption_key: Tpm2bData::default(),
            object_public: Tpm2bPublic { inner: template },
            duplicate,
            in_sym_seed,
            symmetric_alg: TpmtSymDef::default(),
        })?;
        let imported: TpmImportResponse = self
            .under_root(root, command, false, (0, PATIENCE))?
            .read()?;
        let wrapped = Wrapped {
            public: bytes,
            private: imported.out_private.to_vec(),
            auth,
        };
        // The chip looks at the key itself only when it is loaded.
        self.load(root, &wrapped)?;
        Ok(wrapped)
    }

    /// What a sealed object holds.
    pub(super) fn unseal(&mut self, root: &Root, sealed: &Wrapped, auth: &[u8]) -> Outcome<Secret> {
        let handle = self.load(root, sealed)?;
        let command = Command::new(&TpmUnsealCommand {
            handles: [TpmHandle::from(handle)],
        })?;
        let asks = Asks {
            auth,
            hides_response: true,
            ends: self.is_short(),
            ..Asks::default()
        };
        let name = sealed.name();
        let waits = (0, PATIENCE);
        let response = self.authorized(Some(root), command, &[&name], asks, waits)?;
        Ok(response.secret()?)
    }

    /// ECDSA over a digest that has the length of `hash`: r and s.
    pub(super) fn sign(
        &mut self,
        root: &Root,
        key: &Wrapped,
        hash: TpmAlgId,
        digest: &[u8],
    ) -> Outcome<TpmsSignatureEcc> {
        let handle = self.load(root, key)?;
        let command = Command::new(&TpmSignCommand {
            handles: [TpmHandle::from(handle)],
            digest: Tpm2bDigest::try_from(digest)?,
            in_scheme: TpmtSigScheme {
                scheme: TpmAlgId::Ecdsa,
                details: TpmuSigScheme::Hash(TpmsSchemeHash { hash_alg: hash }),
            },
            validation: TpmtTkHashcheck {
                tag: TpmSt::HashCheck,
                hierarchy: TpmRh::Null,
                digest: Tpm2bDigest::default(),
            },
        })?;
        let asks = Asks {
            auth: &key.auth,
            hides_command: true,
            ends: self.is_short(),
            ..Asks::default()
        };
        let name = key.name();
        let waits = (0, PATIENCE);
        let response = self.authorized(Some(root), command, &[&name], asks, waits)?;
        match response.read::<TpmSignResponse>()?.signature.signature {
            TpmuSignature::Ecdsa(signature) => Ok(signature),
            _ => Err(malformed("it signed by another scheme").into()),
        }
    }

    /// The RSA private operation without padding, on an integer as long as the modulus.
    pub(super) fn rsa(&mut self, root: &Root, key: &Wrapped, block: &[u8]) -> Outcome<Secret> {
        let handle = self.load(root, key)?;
        let command = Command::new(&TpmRsaDecryptCommand {
            handles: [TpmHandle::from(handle)],
            cipher_text: Tpm2bPublicKeyRsa::try_from(block)?,
            in_scheme: TpmtRsaDecrypt::default(),
            label: Tpm2bData::default(),
        })?;
        let asks = Asks {
            auth: &key.auth,
            hides_command: true,
            hides_response: true,
            ends: self.is_short(),
        };
        let name = key.name();
        let waits = (0, PATIENCE);
        let response = self.authorized(Some(root), command, &[&name], asks, waits)?;
        Ok(response.secret()?)
    }

    /// The storage root at a handle, `None` where the handle is free. Another kind of key there is
    /// `Some(None)`.
    pub(super) fn root_at(&mut self, handle: u32) -> Outcome<Option<Option<Root>>> {
        let read: Outcome<TpmReadPublicResponse> = self.plain(&TpmReadPublicCommand {
            handles: [TpmHandle::from(handle)],
        });
        match read {
            Ok(read) => Root::of(handle, &read.out_public.inner).map(Some),
            Err(Fault::Code(code)) if code.says_no_such_handle() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Makes the storage root of the owner and keeps it in the chip at a handle.
    pub(super) fn make_root(&mut self, handle: u32, owner_auth: &[u8]) -> Outcome<()> {
        let owner = TpmRh::Owner as u32;
        let owner_name = owner.to_be_bytes();
        let asks = Asks {
            auth: owner_auth,
            ..Asks::default()
        };
        let command = Command::new(&TpmCreatePrimaryCommand {
            handles: [TpmHandle::from(owner)],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic {
                inner: object::storage_root()?,
            },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        })?;
        let made: TpmCreatePrimaryResponse = self
            .authorized(None, command, &[&owner_name], asks, (1, KEY_PATIENCE))?
            .read()?;
        let [primary] = made.handles.map(u32::from);
        let name = object::name(&object::to_bytes(&made.out_public.inner)?);
        self.line.loaded.push((name.clone(), primary));
        let command = Command::new(&TpmEvictControlCommand {
            handles: [TpmHandle::from(owner), TpmHandle::from(primary)],
            persistent_handle: TpmHandle::from(handle),
        })?;
        let names: [&[u8]; 2] = [&owner_name, &name];
        self.authorized(None, command, &names, asks, (0, PATIENCE))?;
        Ok(())
    }

    /// The state of the protection against guessing.
    pub(super) fn lockout(&mut self) -> Outcome<Lockout> {
        const IN_LOCKOUT: u32 = 1 << 9;
        const LOCKOUT_AUTH_SET: u32 = 1 << 2;
        let permanent = self.property(TpmPt::Permanent)?;
        Ok(Lockout {
            counter: self.property(TpmPt::LockoutCounter)?,
            limit: self.property(TpmPt::MaxAuthFail)?,
            locked: permanent & IN_LOCKOUT != 0,
            guarded: permanent & LOCKOUT_AUTH_SET != 0,
        })
    }

    /// Sets the counter of wrong values to nought (TPM2_DictionaryAttackLockReset).
    pub(super) fn reset_lockout(&mut self, root: &Root, auth: &[u8]) -> Outcome<()> {
        let lockout = TpmRh::Lockout as u32;
        let command = Command::new(&TpmDictionaryAttackLockResetCommand {
            handles: [TpmHandle::from(lockout)],
        })?;
        let asks = Asks {
            auth,
            ..Asks::default()
        };
        let name = lockout.to_be_bytes();
        self.authorized(Some(root), command, &[&name], asks, (0, PATIENCE))?;
        Ok(())
    }

    fn property(&mut self, property: TpmPt) -> Outcome<u32> {
        let answer: TpmGetCapabilityResponse = self.plain(&TpmGetCapabilityCommand {
            handles: [],
            cap: TpmCap::TpmProperties,
            property: TpmUint32::from(property as u32),
            property_count: TpmUint32::from(1),
        })?;
        match answer.capability_data.data {
            TpmuCapabilities::TpmProperties(list) => list
                .iter()
                .find(|tagged| tagged.property == property)
                .map(|tagged| tagged.value.into())
                .ok_or_else(|| malformed("it does not tell a property of every TPM").into()),
            _ => Err(malformed("it tells something else than was asked").into()),
        }
    }

    fn abilities(&mut self) -> Outcome<Abilities> {
        let mut rsa_bits = 0;
        for bits in [2048, 3072, 4096] {
            let exponent = vec![1, 0, 1];
            if self.can_hold(&KeySpec::Rsa { bits, exponent })? {
                rsa_bits = bits;
            }
        }
        if !self.can_hold(&KeySpec::Ec(Curve::P256))? {
            return fail!(
                CKR_DEVICE_ERROR,
                "this TPM has no P-256, which its storage root needs"
            )
            .map_err(Fault::Error);
        }
        Ok(Abilities {
            rsa_bits,
            p384: self.can_hold(&KeySpec::Ec(Curve::P384))?,
        })
    }

    fn can_hold(&mut self, spec: &KeySpec) -> Outcome<bool> {
        let object_type = match spec {
            KeySpec::Rsa { .. } => TpmAlgId::Rsa,
            _ => TpmAlgId::Ecc,
        };
        let tested: Outcome<TpmTestParmsResponse> = self.plain(&TpmTestParmsCommand {
            handles: [],
            parameters: TpmtPublicParms {
                object_type,
                parameters: object::parameters(spec)?,
            },
        });
        match tested {
            Ok(_) => Ok(true),
            Err(Fault::Code(code)) if !code.says_again() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Whether this visit is the last use of its session.
    fn is_short(&self) -> bool {
        !self.line.link.stays()
    }

    fn flush(&mut self, handle: u32) -> Outcome<()> {
        let _: TpmFlushContextResponse = self.plain(&TpmFlushContextCommand {
            handles: [],
            flush_handle: TpmHandle::from(handle),
        })?;
        Ok(())
    }

    /// Makes room in a chip without a resource manager: takes out objects that processes of ours
    /// have left in it when they were killed, never those of other programs. With `session` also one
    /// loaded session, since nobody can tell whose they are. Behind a resource manager nothing of
    /// others can be seen.
    fn make_room(&mut self, session: bool) {
        let root = self.line.session.as_ref().map(|(root, _)| root.clone());
        if let Some(root) = root {
            for handle in self.handles(TRANSIENT) {
                if self.is_ours(&root, handle) && self.flush(handle).is_ok() {
                    self.line.loaded.retain(|(_, loaded)| *loaded != handle);
                }
            }
        }
        if session && let Some(handle) = self.handles(LOADED_SESSIONS).first() {
            // Whoever has ended it meanwhile has made room too.
            let _ = self.flush(*handle);
        }
    }

    /// The handles in use from `first` on; none where the chip does not tell.
    fn handles(&mut self, first: u32) -> Vec<u32> {
        let found: Outcome<TpmGetCapabilityResponse> = self.plain(&TpmGetCapabilityCommand {
            handles: [],
            cap: TpmCap::Handles,
            property: TpmUint32::from(first),
            property_count: TpmUint32::from(64),
        });
        match found.map(|found| found.capability_data.data) {
            Ok(TpmuCapabilities::Handles(handles)) => {
                handles.iter().map(|handle| u32::from(*handle)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a loaded object is one of ours: made by one of our templates, under this root.
    fn is_ours(&mut self, root: &[u8], handle: u32) -> bool {
        let read: Outcome<TpmReadPublicResponse> = self.plain(&TpmReadPublicCommand {
            handles: [TpmHandle::from(handle)],
        });
        read.is_ok_and(|read| {
            object::is_by_template(&read.out_public.inner)
                && *read.qualified_name == *object::qualified_name(root, &read.name)
        })
    }
}
