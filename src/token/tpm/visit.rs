//! One visit to a TPM: sending, authorizing by the session, loading, and what has to be taken out
//! again. What can be asked of the chip is in [`commands`](super::commands).

use super::fault::{Fault, malformed};
use super::frame::{Command, Response};
use super::object::{self, Wrapped};
use super::root::Root;
use super::session::{Asks, Session, nonce};
use super::transport::Link;
use crate::memory::Secret;
use std::time::{Duration, Instant};
use tpm2_protocol::basic::{TpmHandle, TpmUint32};
use tpm2_protocol::data::*;
use tpm2_protocol::frame::*;

/// How long a command may take: self tests and writes to the chip's memory are slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a TPM may go on saying "again", or be full. A fuzzer has no time for that.
pub(super) const BUSY: Duration = Duration::from_millis(if cfg!(fuzzing) { 2 } else { 5000 });
/// Longest pause between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// Where the handles of loaded objects and of loaded sessions begin (Part 2, 7.2).
const TRANSIENT: u32 = 0x8000_0000;
const LOADED_SESSIONS: u32 = 0x0200_0000;

/// What a command comes to.
pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// An open link and what lies in the chip because of it.
pub(super) struct Line {
    link: Link,
    session: Option<(Vec<u8>, Session)>,
    /// Names and handles of loaded objects.
    loaded: Vec<(Vec<u8>, u32)>,
}

/// One use of the chip.
pub(super) struct Visit<'a> {
    line: &'a mut Line,
}

impl Line {
    /// Of a link on which nothing was said yet.
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            session: None,
            loaded: Vec::new(),
        }
    }

    /// Whether it is kept for the next visit.
    pub(super) fn stays(&self) -> bool {
        self.link.stays()
    }

    /// A visit over it.
    pub(super) fn visit(&mut self) -> Visit<'_> {
        Visit { line: self }
    }

    /// Takes out of the chip what was put into it.
    pub(super) fn leave(mut self) {
        let session = self.session.take().map(|(_, session)| session.handle);
        let objects = std::mem::take(&mut self.loaded);
        let handles = objects.into_iter().map(|(_, handle)| handle).chain(session);
        let mut visit = self.visit();
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
    pub(super) fn plain<C: TpmFrame, R: TpmUnmarshalBody>(&mut self, command: &C) -> Outcome<R> {
        let bytes = Command::new(command)?.bytes(None);
        let answer = self.exchange(&bytes, PATIENCE)?;
        Response::parse(&answer, R::HANDLES, false)?.read()
    }

    /// A command that the session of `root` authorizes (`None`: one without salt, for what comes
    /// before there is a root). `handles`: how many it gives back.
    pub(super) fn authorized(
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
    pub(super) fn under_root(
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
        if let Some((_, handle)) = self.line.loaded.iter().find(|(of, _)| *of == name) {
            return Ok(*handle);
        }
        // The driver swaps every object of ours in and out at each command: a second one would cost
        // more than it saves.
        self.unload()?;
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

    /// Notes that an object lies loaded in the chip.
    pub(super) fn owns(&mut self, name: Vec<u8>, handle: u32) {
        self.line.loaded.push((name, handle));
    }

    /// Takes out what is loaded.
    pub(super) fn unload(&mut self) -> Outcome<()> {
        while let Some((_, handle)) = self.line.loaded.pop() {
            self.flush(handle)?;
        }
        Ok(())
    }

    /// Ends the session, if the last command has not. One that is kept while nothing is done would in
    /// the end keep every program from beginning another (Part 1, 30.5, TPM_RC_CONTEXT_GAP).
    pub(super) fn end_session(&mut self) -> Outcome<()> {
        match self.line.session.take() {
            Some((_, session)) => self.flush(session.handle),
            None => Ok(()),
        }
    }

    pub(super) fn flush(&mut self, handle: u32) -> Outcome<()> {
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
    pub(super) fn make_room(&mut self, session: bool) {
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
