//! One reader and the card in it: finding the application, keeping it selected and verified, and
//! what to do when another program was there in between or the card is gone.

use super::apdu::{Command, Expected, Failure, Result as Told, Talk, error_of, refuse};
use super::application::{Application, Identity, Login, Row};
use super::transport::{Channel, Fault, Presence, Reader};
use crate::config;
use crate::error::{Error, Result, fail};
use crate::lock::Locked;
use crate::memory::Secret;
use crate::token::{ObjectId, User};
use cryptoki_sys::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How often a card may be reset by others before we give up.
const TRIES: usize = 8;
const SELECT: [u8; 3] = [0xa4, 0x04, 0x00];

/// A reader with the card in it.
pub(super) struct Card {
    reader: Arc<dyn Reader>,
    /// The applications that are looked for, in this order.
    applications: Vec<&'static Row>,
    rules: config::Card,
    /// What was last seen of the reader.
    seen: Mutex<Presence>,
    /// How many cards were taken out, as far as was noticed.
    removals: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// [`Card::removals`] when this card was there.
    removals: u64,
    channel: Option<Box<dyn Channel>>,
    found: Option<Found>,
    /// The application is selected, and who is logged in is verified, as far as we know.
    selected: bool,
    login: Login,
}

struct Found {
    row: &'static Row,
    application: Box<dyn Application>,
    identity: Identity,
}

/// What is done in one visit.
type Visit<'a, T> = dyn FnMut(&mut Talk<'_>, &mut dyn Application, &mut Login) -> Told<T> + 'a;

impl Card {
    pub(super) fn new(
        reader: Arc<dyn Reader>,
        applications: Vec<&'static Row>,
        rules: config::Card,
    ) -> Self {
        Self {
            reader,
            applications,
            rules,
            seen: Mutex::default(),
            removals: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// What is in the reader, by the system.
    pub(super) fn presence(&self) -> Presence {
        let now = self.reader.presence();
        let mut seen = self.seen.locked();
        // A system of readers that is down has taken no card out.
        if seen.changes != now.changes {
            self.removals
                .fetch_add(u64::from(seen.card), Ordering::AcqRel);
            *seen = now;
        } else if now.card {
            *seen = now;
        }
        now
    }

    /// How many cards were taken out, as far as was noticed.
    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Talks to the card's application, by itself, again from the beginning where another program
    /// came in between.
    ///
    /// `CKR_TOKEN_NOT_PRESENT`, `CKR_DEVICE_REMOVED` where the card is taken out meanwhile,
    /// `CKR_TOKEN_NOT_RECOGNIZED`.
    pub(super) fn visit<T>(&self, visit: &mut Visit<'_, T>) -> Result<T> {
        self.visit_as(false, visit)
    }

    /// The same, with the application selected by this very visit: before a PIN is sent.
    pub(super) fn visit_anew<T>(&self, visit: &mut Visit<'_, T>) -> Result<T> {
        self.visit_as(true, visit)
    }

    fn visit_as<T>(&self, anew: bool, visit: &mut Visit<'_, T>) -> Result<T> {
        self.visit_in(&mut self.state.locked(), anew, visit)
    }

    fn visit_in<T>(
        &self,
        state: &mut State,
        anew: bool,
        visit: &mut Visit<'_, T>,
    ) -> Result<T> {
        let known = self.removals();
        if state.removals != known {
            *state = State {
                removals: known,
                ..State::default()
            };
        }
        state.selected &= !anew;
        for _ in 0..TRIES {
            match self.converse(state, visit) {
                Ok(done) => return Ok(done),
                Err(Failure::Fault(Fault::Reset)) => state.selected = false,
                Err(Failure::Fault(Fault::Removed)) => return Err(self.gone(state)),
                Err(Failure::Fault(Fault::Error(error))) => return Err(error),
                Err(Failure::Refused { status, what }) => return Err(error_of(status, what)),
            }
        }
        fail!(
            CKR_DEVICE_ERROR,
            "the card in {} is reset by another program over and over",
            self.reader.name()
        )
    }

    /// The card is not there any more.
    fn gone(&self, state: &mut State) -> Error {
        let was_there = state.found.is_some() || state.channel.is_some();
        let before = self.removals();
        let now = self.presence();
        if was_there && self.removals() == before {
            self.removals.fetch_add(1, Ordering::AcqRel);
        }
        *state = State {
            removals: self.removals(),
            ..State::default()
        };
        let (rv, what) = match (was_there, now.card) {
            (true, _) => (CKR_DEVICE_REMOVED, "was taken out"),
            (false, true) => (CKR_DEVICE_ERROR, "does not answer"),
            (false, false) => (CKR_TOKEN_NOT_PRESENT, "is missing"),
        };
        Error::new(rv, format!("the card of {} {what}", self.reader.name()))
    }

    fn converse<T>(&self, state: &mut State, visit: &mut Visit<'_, T>) -> Told<T> {
        let channel = match &mut state.channel {
            Some(channel) => channel,
            none => {
                let channel = self.reader.connect()?;
                state.selected = false;
                none.insert(channel)
            }
        };
        if let Err(fault) = channel.begin() {
            state.selected = false;
            if !matches!(fault, Fault::Reset) {
                state.channel = None;
            }
            return Err(fault.into());
        }
        let mut talk = Talk::new(&mut **channel);
        let told = Conversation {
            talk: &mut talk,
            applications: &self.applications,
            rules: &self.rules,
            found: &mut state.found,
            selected: &mut state.selected,
            login: &mut state.login,
        }
        .hold(visit);
        channel.end();
        told
    }

    /// Ends what a login has left in the card and in this process.
    pub(super) fn end_login(&self) {
        {
            let mut state = self.state.locked();
            let verified = state.login.user.take().is_some();
            state.login.confirmed = None;
            if !verified || state.removals != self.removals() {
                return;
            }
        }
        // A card that is gone or busy has forgotten the PIN, or will with its reset.
        let _ = self.visit(&mut |talk, application, _| application.end_login(talk));
    }

    /// Lets the card go.
    pub(super) fn close(&self) {
        self.end_login();
        *self.state.locked() = State {
            removals: self.removals(),
            ..State::default()
        };
    }
}

struct Conversation<'a, 'b> {
    talk: &'a mut Talk<'b>,
    applications: &'a [&'static Row],
    rules: &'a config::Card,
    found: &'a mut Option<Found>,
    selected: &'a mut bool,
    login: &'a mut Login,
}

impl Conversation<'_, '_> {
    fn hold<T>(mut self, visit: &mut Visit<'_, T>) -> Told<T> {
        let fresh = !*self.selected;
        if fresh {
            self.select(true)?;
        }
        match self.run(visit) {
            // Another program may have selected something else, or ended our login.
            Err(Failure::Refused { .. }) if !fresh => {
                self.select(false)?;
                self.run(visit)
            }
            told => told,
        }
    }

    fn run<T>(&mut self, visit: &mut Visit<'_, T>) -> Told<T> {
        match self.found {
            Some(found) => visit(self.talk, &mut *found.application, self.login),
            None => refuse!(CKR_TOKEN_NOT_RECOGNIZED, "no application was found"),
        }
    }

    /// Selects the application, and verifies the PIN of who is logged in. After a reset the card may
    /// be another one: it has to say who it is before it gets the PIN.
    fn select(&mut self, after_reset: bool) -> Told<()> {
        *self.selected = false;
        let Some(found) = self.found else {
            *self.found = Some(self.find()?);
            *self.selected = true;
            return Ok(());
        };
        if select(self.talk, found.row)?.is_none() {
            return Err(Fault::Removed.into());
        }
        found.application.selected();
        if after_reset && found.application.identity(self.talk)? != found.identity {
            return Err(Fault::Removed.into());
        }
        *self.selected = true;
        if let Some((user, pin)) = &self.login.user {
            let verified = found.application.resume(self.talk, *user, pin);
            if let Err(Failure::Fault(Fault::Error(refusal))) = verified {
                // Another try would be another wrong one.
                *self.login = Login::default();
                return refuse!(
                    CKR_USER_NOT_LOGGED_IN,
                    "the card does not take the PIN of this login any more: {}; log in again",
                    refusal.reason()
                );
            }
            verified?;
        }
        Ok(())
    }

    fn find(&mut self) -> Told<Found> {
        for row in self.applications {
            let Some(answer) = select(self.talk, row)? else {
                continue;
            };
            let mut application = (row.open)(&answer, self.rules);
            let identity = application.identity(self.talk)?;
            return Ok(Found {
                row,
                application,
                identity,
            });
        }
        let names: Vec<_> = self.applications.iter().map(|row| row.name).collect();
        refuse!(
            CKR_TOKEN_NOT_RECOGNIZED,
            "the card has none of the applications {}",
            names.join(", ")
        )
    }
}

/// SELECT by name (ISO 7816-4, 7.1.1); `None` where the card does not have the application.
fn select(talk: &mut Talk<'_>, row: &Row) -> Told<Option<Vec<u8>>> {
    let response = talk.send(&Command {
        what: "the selection of its application",
        header: SELECT,
        data: row.aid,
        response: Expected::Short,
    })?;
    match response.done() {
        Ok(data) => Ok(Some(data.to_vec())),
        Err(Failure::Refused { .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

impl Card {
    /// Who the card is.
    pub(super) fn identity(&self) -> Result<Identity> {
        let mut state = self.state.locked();
        if state.removals != self.removals() || state.found.is_none() {
            // Finding the application is finding out who it is.
            self.visit_in(&mut state, false, &mut |_, _, _| Ok(()))?;
        }
        match &state.found {
            Some(found) => Ok(found.identity.clone()),
            None => fail!(CKR_DEVICE_REMOVED, "the card was taken out just now"),
        }
    }

    /// Who is logged in.
    pub(super) fn user(&self) -> Option<User> {
        self.state.locked().login.user.as_ref().map(|login| login.0)
    }

    /// Verifies a PIN and keeps it, to verify it again where others end the login.
    pub(super) fn log_in(&self, user: User, pin: &[u8]) -> Result<()> {
        self.visit_anew(&mut |talk, application, login| {
            let kept = Secret::copy_of(pin)?;
            application.verify(talk, user, pin)?;
            login.user = Some((user, kept));
            Ok(())
        })
    }

    /// Checks the PIN of one key and keeps it for its next use.
    pub(super) fn confirm(&self, key: &ObjectId, pin: &[u8]) -> Result<()> {
        self.visit_anew(&mut |talk, application, login| {
            let kept = Secret::copy_of(pin)?;
            application.verify(talk, User::User, pin)?;
            login.confirmed = Some((*key, kept));
            Ok(())
        })
    }

    /// That use is over.
    pub(super) fn forget_confirmation(&self) {
        self.state.locked().login.confirmed = None;
    }

    /// Changes a PIN; who is logged in with it stays so.
    pub(super) fn change_pin(&self, user: User, old: &[u8], new: &[u8]) -> Result<()> {
        self.visit_anew(&mut |talk, application, login| {
            let kept = Secret::copy_of(new)?;
            application.change_pin(talk, user, old, new)?;
            if let Some(login) = login.user.as_mut().filter(|login| login.0 == user) {
                login.1 = kept;
            }
            Ok(())
        })
    }

    /// Looks for the application anew at the next visit: the card says something else of itself now.
    pub(super) fn forget(&self) {
        let mut state = self.state.locked();
        state.found = None;
        state.selected = false;
    }
}
