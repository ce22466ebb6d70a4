//! One transaction with a card: the application found, selected, and its login verified again.

use super::apdu::{Command, Expected, Failure, Result as Told, Status, Talk, refuse};
use super::application::{Application, Identity, Login, Row};
use super::transport::Fault;
use crate::config;
use cryptoki_sys::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// SELECT by name, with the description of the application and without.
const SELECT: [u8; 3] = [0xa4, 0x04, 0x00];
const SELECT_ONLY: [u8; 3] = [0xa4, 0x04, 0x0c];

/// What is known of the card's state.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Selection {
    /// It was reset, or the way to it is new: it may even be another card.
    #[default]
    Unknown,
    /// It is the same card. Another program may have selected something else.
    Doubtful,
    /// The application is selected, and who is logged in is verified, as far as we know.
    Valid,
}

/// The application of the card.
pub(super) struct Found {
    pub(super) row: &'static Row,
    pub(super) application: Box<dyn Application>,
    pub(super) identity: Arc<Identity>,
}

/// What is known of a card from one visit to the next.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) found: Option<Found>,
    /// The card has none of the applications: it need not be asked again, however often clients do.
    pub(super) stranger: bool,
    pub(super) selection: Selection,
    pub(super) login: Login,
}

impl Standing {
    /// What was selected and verified may not be any more.
    pub(super) fn doubt(&mut self) {
        if self.selection == Selection::Valid {
            self.selection = Selection::Doubtful;
        }
    }
}

/// What is done in one visit.
pub(super) type Visit<'a, T> =
    dyn FnMut(&mut Talk<'_>, &mut dyn Application, &mut Login) -> Told<T> + 'a;

/// One transaction with the card.
pub(super) struct Conversation<'a, 'b> {
    pub(super) talk: &'a mut Talk<'b>,
    pub(super) applications: &'a [&'static Row],
    pub(super) rules: &'a config::Card,
    pub(super) standing: &'a mut Standing,
    pub(super) login_lost: &'a AtomicBool,
    /// Who is logged in is verified where the application is selected.
    pub(super) resumes: bool,
}

impl Conversation<'_, '_> {
    /// Selects the application where it may not be, and does what the visit is for; once more where
    /// another program may have come in between.
    pub(super) fn hold<T>(mut self, visit: &mut Visit<'_, T>) -> Told<T> {
        let fresh = self.standing.selection != Selection::Valid;
        if fresh {
            self.select()?;
        }
        match self.run(visit) {
            // Another program may have selected something else, or ended our login. A PIN is not
            // among what is tried once more.
            Err(Failure::Refused { .. }) if !fresh && !self.talk.has_untaken() => {
                self.standing.selection = Selection::Doubtful;
                self.select()?;
                self.run(visit)
            }
            told => told,
        }
    }

    fn run<T>(&mut self, visit: &mut Visit<'_, T>) -> Told<T> {
        let Standing { found, login, .. } = &mut *self.standing;
        match found {
            Some(found) => visit(self.talk, &mut *found.application, login),
            None => refuse!(CKR_TOKEN_NOT_RECOGNIZED, "no application was found"),
        }
    }

    /// Selects the application, and verifies the PIN of who is logged in. After a reset the card may
    /// be another one: it has to say who it is before it gets the PIN.
    fn select(&mut self) -> Told<()> {
        let before = std::mem::take(&mut self.standing.selection);
        let Some(found) = &mut self.standing.found else {
            self.standing.found = Some(self.find()?);
            self.standing.selection = Selection::Valid;
            return Ok(());
        };
        if select(self.talk, found.row)?.is_err() {
            return Err(Fault::Removed.into());
        }
        found.application.selected();
        if before == Selection::Unknown && found.application.identity(self.talk)? != *found.identity
        {
            return Err(Fault::Removed.into());
        }
        self.standing.selection = Selection::Valid;
        let Some((user, pin)) = self.standing.login.user.as_ref().filter(|_| self.resumes) else {
            return Ok(());
        };
        if self.standing.login.doubted {
            return self.lose_login("a wrong PIN has ended it");
        }
        let verified = found.application.resume(self.talk, *user, pin);
        self.standing.login.doubted = is_doubtful(&verified);
        if let Err(Failure::Fault(Fault::Error(refusal))) = verified {
            // Another try would be another wrong one.
            return self.lose_login(refusal.reason());
        }
        verified
    }

    /// Ends the login that the card does not have any more.
    fn lose_login(&mut self, why: &str) -> Told<()> {
        self.standing.login = Login::default();
        self.login_lost.store(true, Ordering::Release);
        refuse!(
            CKR_USER_NOT_LOGGED_IN,
            "the login on the card is over: {why}; log in again"
        )
    }

    fn find(&mut self) -> Told<Found> {
        let mut settled = true;
        for row in self.applications {
            let answer = match select(self.talk, row)? {
                Ok(answer) => answer,
                Err(status) => {
                    settled &= status == Status::NOT_FOUND;
                    continue;
                }
            };
            let mut application = (row.open)(&answer, self.rules);
            let identity = Arc::new(application.identity(self.talk)?);
            return Ok(Found {
                row,
                application,
                identity,
            });
        }
        self.standing.stranger = settled;
        refuse!(
            CKR_TOKEN_NOT_RECOGNIZED,
            "the card does not let its application be selected"
        )
    }
}

/// Whether the card may have counted a wrong PIN.
pub(super) fn is_doubtful(told: &Told<()>) -> bool {
    match told {
        Err(Failure::Fault(Fault::Error(error))) => {
            matches!(error.rv(), CKR_PIN_INCORRECT | CKR_PIN_LOCKED)
        }
        Err(Failure::Fault(Fault::Reset)) => true,
        _ => false,
    }
}

/// SELECT by name (ISO 7816-4, 7.1.1): the application's answer, or why it cannot be selected.
fn select(talk: &mut Talk<'_>, row: &Row) -> Told<std::result::Result<Vec<u8>, Status>> {
    let (header, response) = match row.described {
        true => (SELECT, Expected::Short),
        false => (SELECT_ONLY, Expected::Nothing),
    };
    let response = talk.send(&Command {
        what: "the selection of its application",
        header,
        data: row.aid,
        response,
    })?;
    Ok(match response.status {
        Status::DONE => Ok(response.data.to_vec()),
        status => Err(status),
    })
}
