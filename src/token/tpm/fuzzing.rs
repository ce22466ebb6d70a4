//! The fuzzer's way in (`fuzz/tpm`): the decoders of what nothing has authenticated yet, and a chip
//! that the fuzzer plays. Structures go in and out as bytes. Exists under `cfg(fuzzing)` alone.

use super::chip;
use super::fault::Fault;
use super::frame::Response;
use super::object::{self, Wrapped};
use super::root::Root;
use super::session::{Asks, Session};
use super::transport::{self, Device};
use super::visit::Visit;
use crate::crypto::{KeySpec, PublicParts, engine};
use crate::error::Result;
use crate::memory::Secret;
use crate::token::wire::Patience;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tpm2_protocol::data::{TpmAlgId, TpmtPublic};
use tpm2_protocol::frame::*;

/// Has every decoder read these bytes. What one of them takes must be all there is: written again it
/// is the same, for names and HMACs are made of what is written.
pub fn decode(bytes: &[u8]) {
    for handles in 0..=2 {
        for sessions in [false, true] {
            let Ok(mut response) = Response::parse(bytes, handles, sessions) else {
                continue;
            };
            read(&response);
            if sessions {
                check(&mut response);
            }
        }
    }
    if let Ok(root) = Root::from_bytes(bytes) {
        assert_eq!(root.to_bytes(), bytes);
        // Its point may be off the curve, its cipher have any key.
        let _ = root.wrap(&[7; 40], &root.name);
    }
    if let Ok(wrapped) = Wrapped::from_bytes(bytes) {
        assert!(wrapped.to_bytes().is_ok_and(|again| *again == *bytes));
        stored(&wrapped.public);
    }
    stored(bytes);
}

/// Reads every structure that the module asks a chip for.
fn read(response: &Response) {
    let _ = response.secret();
    let _ = response.read::<TpmCreatePrimaryResponse>();
    let _ = response.read::<TpmFlushContextResponse>();
    let _ = response.read::<TpmGetCapabilityResponse>();
    let _ = response.read::<TpmImportResponse>();
    let _ = response.read::<TpmLoadResponse>();
    let _ = response.read::<TpmSignResponse>();
    let _ = response.read::<TpmStartAuthSessionResponse>();
    let _ = response.read::<TpmTestParmsResponse>();
    if let Ok(made) = response.read::<TpmCreateResponse>() {
        public(&made.out_public.inner);
    }
    if let Ok(read) = response.read::<TpmReadPublicResponse>() {
        public(&read.out_public.inner);
        object::qualified_name(&read.qualified_name, &read.name);
    }
}

/// Has a session check the response; what came with its HMAC is the played chip's to find out.
fn check(response: &mut Response) {
    for hides_response in [false, true] {
        let asks = Asks {
            auth: &[5; 8],
            hides_response,
            ..Asks::default()
        };
        if let Ok(mut session) = Session::new(1, &[6; 32], [7; 32], &[8; 32]) {
            let _ = session.check(0x15e, response, asks);
        }
    }
}

/// A public area from the store.
fn stored(bytes: &[u8]) {
    if let Ok(area) = object::public_of(bytes) {
        assert!(object::to_bytes(&area).is_ok_and(|again| again == bytes));
        public(&area);
    }
}

fn public(area: &TpmtPublic) {
    let _ = Root::of(1, area);
    object::is_by_template(area);
    if let Ok(parts) = object::public_parts(area) {
        let _ = engine::PublicKey::from_parts(&parts);
    }
}

/// What a command is answered with; `None` breaks the connection.
pub type Answer = fn(&[u8]) -> Option<Vec<u8>>;

/// A chip that is played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    answer: Answer,
    stays: bool,
}

// There is one fuzzer; functions cannot be compared.
impl PartialEq for Played {
    fn eq(&self, other: &Self) -> bool {
        self.stays == other.stays
    }
}

impl Eq for Played {}

impl Played {
    pub(super) fn connect(self) -> io::Result<Link> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok(Link {
            played: self,
            ours,
            theirs,
        })
    }
}

/// The way to a chip that is played. Its answers come through a socket, like a simulator's.
pub(super) struct Link {
    played: Played,
    ours: UnixStream,
    theirs: UnixStream,
}

impl Link {
    /// Whether it is like a device's.
    pub(super) fn stays(&self) -> bool {
        self.played.stays
    }

    pub(super) fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        match (self.played.answer)(command) {
            Some(answer) => self.theirs.write_all(&answer)?,
            None => self.theirs.shutdown(Shutdown::Both)?,
        }
        // What is not there by now never comes.
        transport::receive(&mut self.ours, Patience::new(Duration::from_millis(1)))
    }
}

/// A chip that the fuzzer plays, used as the keeper of its tokens uses one.
pub struct Chip(chip::Chip);

impl Chip {
    /// `stays`: it is used like a device, which keeps what is loaded, not like a simulator.
    pub fn new(answer: Answer, stays: bool) -> Self {
        let played = Played { answer, stays };
        Self(chip::Chip::new(Device::Fuzzed(played)))
    }

    /// What it can hold.
    pub fn abilities(&self) -> Result<()> {
        self.0.abilities().map(drop)
    }

    /// The state of its protection against guessing.
    pub fn lockout(&self) -> Result<()> {
        self.0.visit(|visit| visit.lockout()).map(drop)
    }

    /// Ends a lockout.
    pub fn reset_lockout(&self, root: &[u8], auth: &[u8]) -> Result<()> {
        let root = Root::from_bytes(root)?;
        self.0.visit(|visit| visit.reset_lockout(&root, auth))
    }

    /// The storage root at a handle, as it is pinned.
    pub fn root_at(&self, handle: u32) -> Result<Option<Option<Vec<u8>>>> {
        let found = self.0.visit(|visit| visit.root_at(handle))?;
        Ok(found.map(|root| root.map(|root| root.to_bytes())))
    }

    /// Makes a storage root.
    pub fn make_root(&self, handle: u32, owner_auth: &[u8]) -> Result<()> {
        self.0.visit(|visit| visit.make_root(handle, owner_auth))
    }

    /// Makes a key; `None`: seals data.
    pub fn create(
        &self,
        root: &[u8],
        key: Option<&KeySpec>,
        auth: &[u8],
        data: &[u8],
    ) -> Result<Secret> {
        let root = Root::from_bytes(root)?;
        let template = match key {
            Some(key) => object::new_key(key)?,
            None => object::sealed(true),
        };
        self.0
            .visit(|visit| visit.create(&root, template.clone(), auth, data))?
            .to_bytes()
    }

    /// Loads an object: its handle.
    pub fn load(&self, root: &[u8], wrapped: &[u8]) -> Result<u32> {
        self.with(root, wrapped, |visit, root, wrapped| {
            visit.load(root, wrapped)
        })
    }

    /// Takes a key from outside.
    pub fn import(&self, root: &[u8], public: &PublicParts, sensitive: &[u8]) -> Result<Secret> {
        let root = Root::from_bytes(root)?;
        self.0
            .visit(|visit| visit.import(&root, public, sensitive))?
            .to_bytes()
    }

    /// What is sealed.
    pub fn unseal(&self, root: &[u8], wrapped: &[u8], auth: &[u8]) -> Result<Secret> {
        self.with(root, wrapped, |visit, root, wrapped| {
            visit.unseal(root, wrapped, auth)
        })
    }

    /// The two halves of an ECDSA signature.
    pub fn sign(&self, root: &[u8], wrapped: &[u8], digest: &[u8]) -> Result<[Vec<u8>; 2]> {
        let signature = self.with(root, wrapped, |visit, root, wrapped| {
            visit.sign(root, wrapped, TpmAlgId::Sha256, digest)
        })?;
        Ok([signature.signature_r, signature.signature_s].map(|half| half.to_vec()))
    }

    /// The RSA private operation.
    pub fn rsa(&self, root: &[u8], wrapped: &[u8], block: &[u8]) -> Result<Secret> {
        self.with(root, wrapped, |visit, root, wrapped| {
            visit.rsa(root, wrapped, block)
        })
    }

    /// Lets the link go.
    pub fn close(&self) {
        self.0.close();
    }

    fn with<T>(
        &self,
        root: &[u8],
        wrapped: &[u8],
        job: impl Fn(&mut Visit<'_>, &Root, &Wrapped) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let root = Root::from_bytes(root)?;
        let wrapped = Wrapped::from_bytes(wrapped)?;
        self.0.visit(|visit| job(visit, &root, &wrapped))
    }
}
