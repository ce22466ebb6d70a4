//! One reader and the card in it: visits one after the other, what is kept of a login, and what to do
//! when the card was reset or is gone.

use super::apdu::{Failure, Result as Told, Talk, error_of, refuse};
use super::application::{Identity, Login, Row};
use super::conversation::{Conversation, Selection, Standing, Visit, is_doubtful};
use super::transport::{Channel, Fault, Presence, Reader};
use crate::config;
use crate::error::{Error, Result, fail};
use crate::lock::Locked;
use crate::memory::Secret;
use crate::token::{ObjectId, User};
use cryptoki_sys::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How often a card may be reset by others before we give up.
const TRIES: usize = 8;

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
    /// The card took the PIN of a login no more; nobody has logged in or out since.
    login_lost: AtomicBool,
    /// A key was confirmed for one use.
    confirmed: AtomicBool,
    /// What clients ask for while another call has the card.
    known: Mutex<Known>,
    state: Mutex<State>,
}

#[derive(Default)]
struct Known {
    /// [`Card::removals`] when this card was there.
    removals: u64,
    identity: Option<Arc<Identity>>,
    user: Option<User>,
}

#[derive(Default)]
struct State {
    /// [`Card::removals`] when this card was there.
    removals: u64,
    channel: Option<Box<dyn Channel>>,
    standing: Standing,
}

/// How a visit begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// With what is selected and verified.
    Usual,
    /// With the application selected by this very visit.
    Anew,
    /// The same, to send a PIN. That of who is logged in is not verified before: it would set the
    /// counter of wrong tries back.
    ForPin,
}

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
            login_lost: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            known: Mutex::default(),
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
        self.visit_as(Beginning::Usual, visit)
    }

    /// The same, with the application selected by this very visit, to send a PIN.
    pub(super) fn visit_anew<T>(&self, visit: &mut Visit<'_, T>) -> Result<T> {
        self.visit_as(Beginning::ForPin, visit)
    }

    /// The same, to read what is on the card.
    pub(super) fn visit_to_read<T>(&self, visit: &mut Visit<'_, T>) -> Result<T> {
        let beginning = match &self.state.locked().standing.found {
            Some(found) if found.row.files => Beginning::Anew,
            _ => Beginning::Usual,
        };
        self.visit_as(beginning, visit)
    }

    fn visit_as<T>(&self, beginning: Beginning, visit: &mut Visit<'_, T>) -> Result<T> {
        let mut state = self.state.locked();
        let done = self.visit_in(&mut state, beginning, visit);
        self.note(&state);
        done
    }

    /// Notes what may be asked while another call has the card.
    fn note(&self, state: &State) {
        *self.known.locked() = Known {
            removals: state.removals,
            identity: state
                .standing
                .found
                .as_ref()
                .map(|found| Arc::clone(&found.identity)),
            user: state.standing.login.user.as_ref().map(|login| login.0),
        };
    }

    fn visit_in<T>(
        &self,
        state: &mut State,
        beginning: Beginning,
        visit: &mut Visit<'_, T>,
    ) -> Result<T> {
        if state.removals != self.removals() {
            *state = self.fresh();
        }
        if beginning != Beginning::Usual {
            state.standing.doubt();
        }
        for _ in 0..TRIES {
            match self.converse(state, beginning, visit) {
                Ok(done) => return Ok(done),
                Err(Failure::Fault(Fault::Reset)) => state.standing.selection = Selection::Unknown,
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

    /// Nothing is known of the card that is there now.
    fn fresh(&self) -> State {
        State {
            removals: self.removals(),
            ..State::default()
        }
    }

    /// The card is not there any more.
    fn gone(&self, state: &mut State) -> Error {
        let was_there = state.standing.found.is_some() || state.channel.is_some();
        let before = self.removals();
        let now = self.presence();
        if was_there && self.removals() == before {
            self.removals.fetch_add(1, Ordering::AcqRel);
        }
        *state = self.fresh();
        let (rv, what) = match (was_there, now.card) {
            (true, _) => (CKR_DEVICE_REMOVED, "was taken out"),
            (false, true) => (CKR_DEVICE_ERROR, "does not answer"),
            (false, false) => (CKR_TOKEN_NOT_PRESENT, "is missing"),
        };
        Error::new(rv, format!("the card of {} {what}", self.reader.name()))
    }

    fn converse<T>(
        &self,
        state: &mut State,
        beginning: Beginning,
        visit: &mut Visit<'_, T>,
    ) -> Told<T> {
        if state.standing.stranger {
            return Err(self.not_recognized());
        }
        let channel = match &mut state.channel {
            Some(channel) => channel,
            none => {
                let channel = self.reader.connect()?;
                state.standing.selection = Selection::Unknown;
                none.insert(channel)
            }
        };
        if let Err(fault) = channel.begin() {
            state.standing.selection = Selection::Unknown;
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
            standing: &mut state.standing,
            login_lost: &self.login_lost,
            resumes: beginning != Beginning::ForPin,
        }
        .hold(visit);
        let untaken = talk.take_untaken();
        channel.end();
        if let Some(sent) = untaken {
            // The same PIN once more, for who is logged in with it, would be another wrong try. It
            // stands first in the command.
            let of_login = |(_, pin): &(User, Secret)| sent.starts_with(pin);
            if state.standing.login.user.as_ref().is_some_and(of_login) {
                state.standing.login = Login::default();
                self.login_lost.store(true, Ordering::Release);
            }
            if matches!(told, Err(Failure::Fault(Fault::Reset))) {
                state.standing.selection = Selection::Unknown;
                return refuse!(
                    CKR_DEVICE_ERROR,
                    "the card was reset while it had a PIN to check, which may have cost a try"
                );
            }
        }
        match state.standing.stranger {
            true => Err(self.not_recognized()),
            false => told,
        }
    }

    fn not_recognized(&self) -> Failure {
        let names: Vec<_> = self.applications.iter().map(|row| row.name).collect();
        let reason = format!(
            "the card in {} has none of the applications {}",
            self.reader.name(),
            names.join(", ")
        );
        Error::new(CKR_TOKEN_NOT_RECOGNIZED, reason).into()
    }

    /// Ends what a login has left in the card and in this process.
    pub(super) fn end_login(&self) {
        {
            let mut state = self.state.locked();
            self.login_lost.store(false, Ordering::Release);
            let verified = state.standing.login.user.take().is_some();
            state.standing.login.confirmed = None;
            self.note(&state);
            if !verified || state.removals != self.removals() {
                return;
            }
        }
        // A card that is gone or busy has forgotten the PIN, or will with its reset.
        let _ = self.visit(&mut |talk, application, _| application.end_login(talk));
        // The application may have left for that.
        self.state.locked().standing.doubt();
    }

    /// Lets the card go.
    pub(super) fn close(&self) {
        self.end_login();
        let mut state = self.state.locked();
        *state = self.fresh();
        self.note(&state);
    }
}

impl Card {
    /// Who the card is.
    pub(super) fn identity(&self) -> Result<Arc<Identity>> {
        {
            let known = self.known.locked();
            if let (true, Some(identity)) = (known.removals == self.removals(), &known.identity) {
                return Ok(Arc::clone(identity));
            }
        }
        let mut state = self.state.locked();
        // Finding the application is finding out who it is.
        self.visit_in(&mut state, Beginning::Usual, &mut |_, _, _| Ok(()))?;
        self.note(&state);
        match &state.standing.found {
            Some(found) => Ok(Arc::clone(&found.identity)),
            None => fail!(CKR_DEVICE_REMOVED, "the card was taken out just now"),
        }
    }

    /// [`Application::takes_padded_blocks`], without a turn at the card where that is known.
    pub(super) fn takes_padded_blocks(&self) -> Result<bool> {
        {
            let state = self.state.locked();
            if let Some(found) = &state.standing.found
                && state.removals == self.removals()
            {
                return Ok(found.application.takes_padded_blocks());
            }
        }
        self.visit(&mut |_, application, _| Ok(application.takes_padded_blocks()))
    }

    /// Who is logged in.
    pub(super) fn user(&self) -> Option<User> {
        let known = self.known.locked();
        known.user.filter(|_| known.removals == self.removals())
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
            self.login_lost.store(false, Ordering::Release);
            Ok(())
        })
    }

    /// Whether the card has ended a login, and nobody has logged in or out since.
    pub(super) fn login_lost(&self) -> bool {
        self.login_lost.load(Ordering::Acquire)
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
            self.confirmed.store(true, Ordering::Release);
            Ok(())
        })
    }

    /// That use is over.
    pub(super) fn forget_confirmation(&self) {
        if self.confirmed.swap(false, Ordering::AcqRel) {
            self.state.locked().standing.login.confirmed = None;
        }
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
        state.standing.found = None;
        state.standing.selection = Selection::Unknown;
        self.note(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::super::apdu::{Command, Expected};
    use super::super::application::TABLE;
    use super::*;

    const PIN: &[u8] = b"123456";
    const VERIFY: u8 = 0x20;

    /// A card that knows nothing but its PIN. What it answers to that, and how often it was asked.
    #[derive(Default)]
    struct Fake {
        answers: Mutex<Vec<std::result::Result<[u8; 2], Fault>>>,
        asked: Mutex<usize>,
    }

    impl Reader for Arc<Fake> {
        fn name(&self) -> &str {
            "fake"
        }

        fn presence(&self) -> Presence {
            Presence::BUILT_IN
        }

        fn connect(&self) -> std::result::Result<Box<dyn Channel>, Fault> {
            Ok(Box::new(Line(Arc::clone(self))))
        }
    }

    struct Line(Arc<Fake>);

    impl Channel for Line {
        fn atr(&self) -> &[u8] {
            &[]
        }

        fn begin(&mut self) -> std::result::Result<(), Fault> {
            Ok(())
        }

        fn end(&mut self) {}

        fn transmit(&mut self, command: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
            match command {
                [0, 0xa4, ..] => Ok(vec![0x90, 0]),
                [0, VERIFY, 0, _, _, ..] => {
                    *self.0.asked.locked() += 1;
                    let mut answers = self.0.answers.locked();
                    let answer = (!answers.is_empty()).then(|| answers.remove(0));
                    Ok(answer.unwrap_or(Ok([0x90, 0]))?.to_vec())
                }
                [0, 0x87, ..] => Ok(vec![0x69, 0x82]),
                _ => Ok(vec![0x6a, 0x82]),
            }
        }
    }

    /// The card, where these answers to a PIN are the next.
    fn card() -> (Card, Arc<Fake>) {
        let fake = Arc::new(Fake::default());
        let rows = TABLE.iter().collect();
        let reader = Arc::new(Arc::clone(&fake));
        (Card::new(reader, rows, config::Card::default()), fake)
    }

    fn asked(fake: &Fake) -> usize {
        std::mem::take(&mut *fake.asked.locked())
    }

    fn log_in(card: &Card) -> Result<()> {
        card.log_in(User::User, PIN)
    }

    /// Has the card asked for something that it refuses: the PIN is verified once more before that is
    /// believed.
    fn use_key(card: &Card) -> Result<()> {
        card.visit(&mut |talk, _, _| {
            let command = Command {
                what: "a test",
                header: [0x87, 0, 0],
                data: &[],
                response: Expected::Nothing,
            };
            talk.send(&command)?.done().map(drop)
        })
    }

    #[test]
    fn a_pin_whose_answer_is_lost_is_not_sent_again() {
        let (card, fake) = card();
        fake.answers.locked().push(Err(Fault::Reset));
        assert_eq!(log_in(&card).unwrap_err().rv(), CKR_DEVICE_ERROR);
        assert_eq!(asked(&fake), 1);
        log_in(&card).unwrap();
        fake.answers.locked().push(Err(Fault::Reset));
        assert_eq!(use_key(&card).unwrap_err().rv(), CKR_DEVICE_ERROR);
        assert_eq!(asked(&fake), 2);
        assert_eq!(card.user(), None);
        use_key(&card).unwrap_err();
        assert_eq!(asked(&fake), 0);
    }

    /// Whatever it says in the place of "wrong".
    #[test]
    fn a_pin_that_is_not_taken_any_more_is_not_sent_again() {
        for status in [
            [0x63, 0xc2],
            [0x69, 0x83],
            [0x6f, 0],
            [0x67, 0],
            [0x69, 0x82],
        ] {
            let (card, fake) = card();
            log_in(&card).unwrap();
            fake.answers.locked().push(Ok(status));
            use_key(&card).unwrap_err();
            assert_eq!(asked(&fake), 2, "{status:x?}");
            assert_eq!(card.user(), None, "{status:x?}");
            use_key(&card).unwrap_err();
            assert_eq!(asked(&fake), 0, "{status:x?}");
        }
    }

    /// The PIN of a login that is given for one use, and that the card takes no more.
    #[test]
    fn a_pin_that_is_refused_for_a_use_is_refused_for_the_login() {
        for status in [[0x63, 0xc2], [0x6f, 0]] {
            let (card, fake) = card();
            log_in(&card).unwrap();
            fake.answers.locked().push(Ok(status));
            card.confirm(&ObjectId::default(), PIN).unwrap_err();
            assert_eq!(asked(&fake), 2, "{status:x?}");
            use_key(&card).unwrap_err();
            assert_eq!(asked(&fake), 0, "{status:x?}");
        }
    }

    #[test]
    fn another_pin_that_is_refused_ends_no_login() {
        let (card, fake) = card();
        log_in(&card).unwrap();
        fake.answers.locked().push(Ok([0x63, 0xc2]));
        card.confirm(&ObjectId::default(), b"654321").unwrap_err();
        assert_eq!(card.user(), Some(User::User));
    }
}
