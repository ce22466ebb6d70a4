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

    /// The same to send a PIN: with the application selected by this very visit, and never again
    /// from the beginning once it has begun, for the card may have counted a wrong try.
    ///
    /// The PIN of who is logged in is not verified before: that would set the counter of wrong
    /// tries back.
    pub(super) fn visit_anew<T>(&self, visit: &mut Visit<'_, T>) -> Result<T> {
        self.visit_as(true, visit)
    }

    fn visit_as<T>(&self, anew: bool, visit: &mut Visit<'_, T>) -> Result<T> {
        let mut state = self.state.locked();
        let known = self.removals();
        if state.removals != known {
            *state = State {
                removals: known,
                ..State::default()
            };
        }
        state.selected &= !anew;
        let mut begun = false;
        for _ in 0..TRIES {
            let told = self.converse(&mut state, !anew, &mut |talk, application, login| {
                begun = true;
                visit(talk, application, login)
            });
            match told {
                Ok(done) => return Ok(done),
                Err(Failure::Fault(Fault::Reset)) => {
                    state.selected = false;
                    if anew && begun {
                        return fail!(
                            CKR_DEVICE_ERROR,
                            "the card in {} was reset while it had a PIN before it, which is not sent \
                             once more by itself",
                            self.reader.name()
                        );
                    }
                }
                Err(Failure::Fault(Fault::Removed)) => return Err(self.gone(&mut state)),
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

    fn converse<T>(&self, state: &mut State, resume: bool, visit: &mut Visit<'_, T>) -> Told<T> {
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
            resume,
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
    /// Who is logged in is verified where the application is selected.
    resume: bool,
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
        let Some((user, pin)) = self.login.user.as_ref().filter(|_| self.resume) else {
            return Ok(());
        };
        if self.login.doubted {
            *self.login = Login::default();
            return refuse!(
                CKR_USER_NOT_LOGGED_IN,
                "a wrong PIN has ended the login on the card: log in again"
            );
        }
        let verified = found.application.resume(self.talk, *user, pin);
        self.login.doubted = is_doubtful(&verified);
        if let Err(Failure::Fault(Fault::Error(refusal))) = verified {
            // Another try would be another wrong one.
            *self.login = Login::default();
            return refuse!(
                CKR_USER_NOT_LOGGED_IN,
                "the card does not take the PIN of this login any more: {}; log in again",
                refusal.reason()
            );
        }
        verified
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

/// Whether the card may have counted a wrong PIN.
fn is_doubtful(told: &Told<()>) -> bool {
    match told {
        Err(Failure::Fault(Fault::Error(error))) => {
            matches!(error.rv(), CKR_PIN_INCORRECT | CKR_PIN_LOCKED)
        }
        Err(Failure::Fault(Fault::Reset)) => true,
        _ => false,
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
        if let Some(known) = self.known_identity() {
            return Ok(known);
        }
        // Finding the application is finding out who it is.
        self.visit(&mut |_, _, _| Ok(()))?;
        self.known_identity()
            .ok_or_else(|| Error::new(CKR_DEVICE_REMOVED, "the card was taken out just now"))
    }

    fn known_identity(&self) -> Option<Identity> {
        let state = self.state.locked();
        let found = state.found.as_ref()?;
        (state.removals == self.removals()).then(|| found.identity.clone())
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
            *login = Login {
                user: Some((user, kept)),
                ..Login::default()
            };
            Ok(())
        })
    }

    /// Checks the PIN of one key and keeps it for its next use.
    pub(super) fn confirm(&self, key: &ObjectId, pin: &[u8]) -> Result<()> {
        self.visit_anew(&mut |talk, application, login| {
            let kept = Secret::copy_of(pin)?;
            let verified = application.verify(talk, User::User, pin);
            login.doubted |= is_doubtful(&verified);
            verified?;
            login.doubted = false;
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
            let changed = application.change_pin(talk, user, old, new);
            login.doubted |= is_doubtful(&changed);
            changed?;
            login.doubted = false;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::card::application::TABLE;
    use std::sync::atomic::AtomicUsize;

    const VERIFY: u8 = 0x20;

    /// A card of which no answer to a PIN comes through, with the number of PINs that it got.
    struct Weak(Arc<AtomicUsize>);

    impl Reader for Weak {
        fn name(&self) -> &str {
            "weak"
        }

        fn presence(&self) -> Presence {
            Presence::BUILT_IN
        }

        fn connect(&self) -> std::result::Result<Box<dyn Channel>, Fault> {
            Ok(Box::new(Self(Arc::clone(&self.0))))
        }
    }

    impl Channel for Weak {
        fn atr(&self) -> &[u8] {
            &[]
        }

        fn begin(&mut self) -> std::result::Result<(), Fault> {
            Ok(())
        }

        fn end(&mut self) {}

        fn transmit(&mut self, command: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
            match command {
                [_, 0xa4, ..] => Ok(vec![0x90, 0]),
                [_, VERIFY, _, _, _, _, ..] => {
                    self.0.fetch_add(1, Ordering::Relaxed);
                    Err(Fault::Reset)
                }
                _ => Ok(vec![0x6a, 0x82]),
            }
        }
    }

    #[test]
    fn a_pin_whose_answer_is_lost_is_not_sent_again() {
        let sent = Arc::default();
        let reader = Arc::new(Weak(Arc::clone(&sent)));
        let rules = config::Config::default().card;
        let card = Card::new(reader, TABLE.iter().collect(), rules);
        let refused = card.log_in(User::User, b"123456").unwrap_err();
        assert_eq!(refused.rv(), CKR_DEVICE_ERROR);
        assert_eq!(sent.load(Ordering::Relaxed), 1);

        // Nor that of a login, to go on after a reset.
        let pin = Secret::copy_of(b"123456").unwrap();
        card.state.locked().login.user = Some((User::User, pin));
        let refused = card.visit(&mut |_, _, _| Ok(())).unwrap_err();
        assert_eq!(refused.rv(), CKR_USER_NOT_LOGGED_IN);
        assert_eq!(sent.load(Ordering::Relaxed), 2);
    }
}
