//! Readers by PC/SC: pcscd, asked through its library, which is loaded where there is one.
//!
//! | file | job |
//! |---|---|
//! | `channel` | one card: turns, exchanges, and what became of it when they fail |
//! | `seen` | what a reader looked like, and how often that has changed |
//! | `ffi` | the library's functions |
//!
//! A context, which is a connection to pcscd, serves one call at a time: there is one to look around,
//! one for each channel and one for each thread that waits. When pcscd is restarted, all of them are
//! void, although SCardIsValidContext does not say so; new ones are made as they are needed.
//!
//! A forked child makes all of this anew. The library has locks of its own: its short calls are kept
//! apart from a fork ([`crate::fork::enter_readers`]); the instants at which a long one takes such a
//! lock are not.

mod channel;
#[allow(unsafe_code)]
mod ffi;
mod seen;

use super::transport::{Channel, Fault, Presence, Reader, Readers};
use crate::error::Result;
use crate::lock::Locked;
use crate::log::{self, Level};
use channel::Card;
use ffi::{Api, Canceller, Code, Context, Outcome, State, Watched};
use seen::Seen;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The name under which readers themselves are watched (SCardGetStatusChange).
const ARRIVALS: &CStr = c"\\\\?PnP?\\Notification";
/// PCSCLITE_MAX_READERS_CONTEXTS: no more can be watched at once.
const WATCHED: usize = 16;
/// How long a thread waits for pcscd to say something: a reader that comes in the instant between
/// a list and a wait is not told by libraries before 2.3.
const WAIT: Duration = Duration::from_secs(30);
/// The same where there is nothing to wait for.
const PAUSE: Duration = Duration::from_secs(1);
/// How long [`Readers::wake`] waits for the threads that it wakes.
const FAREWELL: Duration = Duration::from_secs(2);
/// A cancellation is lost where the thread is not waiting yet: it is repeated after this.
const AGAIN: Duration = Duration::from_millis(10);

/// The readers that pcscd has.
pub(in crate::token) struct Pcsc(Arc<Home>);

struct Home {
    api: Api,
    view: Mutex<View>,
    waiters: Mutex<Waiters>,
    /// A waiter went, or all are to go.
    left: Condvar,
}

/// What is seen from here.
#[derive(Default)]
struct View {
    context: Option<Context>,
    /// Counts the contexts, and with them the lives of pcscd.
    life: u64,
    /// Every reader that ever was there.
    readers: BTreeMap<CString, Known>,
    /// See [`Readers::moment`].
    moment: u64,
    /// Why there is no context, as it was last logged.
    refused: Option<Code>,
}

#[derive(Default)]
struct Known {
    /// Whoever asked for it has it; it has what is behind this.
    reader: Weak<Place>,
    seen: Seen,
    /// It was in the last list.
    listed: bool,
}

#[derive(Default)]
struct Waiters {
    ended: bool,
    waiting: Vec<Canceller>,
}

/// A reader.
struct Place {
    home: Arc<Home>,
    /// As pcscd has it.
    id: CString,
    name: String,
}

impl Pcsc {
    /// Readers by PC/SC, `None` where its library is not installed. Whether pcscd runs is another
    /// question.
    pub(in crate::token) fn open() -> Option<Self> {
        match Api::load() {
            Ok(api) => Some(Self(Arc::new(Home {
                api,
                view: Mutex::default(),
                waiters: Mutex::default(),
                left: Condvar::new(),
            }))),
            Err(error) => {
                log::write(Level::Info, &format!("no smart cards by PC/SC: {error}"));
                None
            }
        }
    }
}

/// pcscd was stopped, or never ran: nothing that came from it is of use any more.
fn says_down(code: Code) -> bool {
    matches!(
        code,
        Code::E_NO_SERVICE | Code::E_SERVICE_STOPPED | Code::E_INVALID_HANDLE
    )
}

/// What is in a reader now, and the answer to reset of a card in it.
fn look(context: &mut Context, reader: &CStr) -> Outcome<(State, Vec<u8>)> {
    let mut watched = Watched::new(reader.to_owned(), State::default());
    match context.watch(std::slice::from_mut(&mut watched), Duration::ZERO) {
        Ok(()) | Err(Code::E_TIMEOUT) => Ok((watched.found, watched.atr)),
        Err(Code::E_UNKNOWN_READER) => Ok((State::UNKNOWN, Vec::new())),
        Err(code) => Err(code),
    }
}

impl Known {
    fn reader(&mut self, home: &Arc<Home>, id: &CStr) -> Arc<Place> {
        self.reader.upgrade().unwrap_or_else(|| {
            let reader = Arc::new(Place {
                home: home.clone(),
                id: id.to_owned(),
                name: id.to_string_lossy().into_owned(),
            });
            self.reader = Arc::downgrade(&reader);
            reader
        })
    }
}

impl Reader for Place {
    fn name(&self) -> &str {
        &self.name
    }

    fn presence(&self) -> Presence {
        let view = &mut *self.home.view.locked();
        let looked = view.ask(self.home.api, |context| look(context, &self.id));
        let Some(known) = view.readers.get_mut(&self.id) else {
            return Presence::default();
        };
        let (now, news) = match looked {
            Some((state, atr)) => known.seen.look(view.life, state, &atr),
            None => known.seen.blind(),
        };
        view.moment += u64::from(news);
        now
    }

    fn connect(&self) -> std::result::Result<Box<dyn Channel>, Fault> {
        Ok(Box::new(Card::open(self.home.api, &self.id)?))
    }
}

impl Readers for Pcsc {
    fn list(&self) -> Result<Vec<Arc<dyn Reader>>> {
        let view = &mut *self.0.view.locked();
        let names = view.ask(self.0.api, Context::list).unwrap_or_default();
        let mut news = false;
        for name in &names {
            view.readers.entry(name.clone()).or_default();
        }
        let mut readers: Vec<Arc<dyn Reader>> = Vec::new();
        for (name, known) in &mut view.readers {
            let listed = names.contains(name);
            news |= std::mem::replace(&mut known.listed, listed) != listed;
            if listed {
                readers.push(known.reader(&self.0, name));
            }
        }
        view.moment += u64::from(news);
        Ok(readers)
    }

    fn moment(&self) -> u64 {
        self.0.view.locked().moment
    }

    fn wait(&self, since: u64) {
        let Ok(mut context) = self.0.api.establish() else {
            return self.0.pause();
        };
        if !self.0.enter(context.canceller()) {
            return;
        }
        let ended = self.0.watch(&mut context, since);
        self.0.leave(context.canceller());
        drop(context);
        if ended.is_err() {
            self.0.pause();
        }
    }

    fn wake(&self) {
        let mut waiters = self.0.waiters.locked();
        waiters.ended = true;
        self.0.left.notify_all();
        let begun = Instant::now();
        while !waiters.waiting.is_empty() && begun.elapsed() < FAREWELL {
            // Under the lock, so that none of them is released meanwhile.
            waiters.waiting.iter().for_each(Canceller::cancel);
            waiters = self
                .0
                .left
                .wait_timeout(waiters, AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Home {
    /// Among those who are to be woken; `false` where the end has come.
    fn enter(&self, waiter: Canceller) -> bool {
        let mut waiters = self.waiters.locked();
        if !waiters.ended {
            waiters.waiting.push(waiter);
        }
        !waiters.ended
    }

    fn leave(&self, waiter: Canceller) {
        self.waiters
            .locked()
            .waiting
            .retain(|other| *other != waiter);
        self.left.notify_all();
    }

    /// For a while, or until the end.
    fn pause(&self) {
        let waiters = self.waiters.locked();
        drop(
            self.left
                .wait_timeout_while(waiters, PAUSE, |waiters| !waiters.ended),
        );
    }

    /// Waits for pcscd to tell a difference from what was last seen.
    fn watch(&self, context: &mut Context, since: u64) -> Outcome<()> {
        // From pcsc-lite 2.3 on this has a number of events, and one after it is told; before, one
        // is told that comes during the call. Hence the list once more, and after it.
        let arrivals = look(context, ARRIVALS)?.0.events();
        let names = context.list()?;
        let mut watched = Vec::new();
        {
            let view = self.view.locked();
            let listed = || view.readers.iter().filter(|(_, known)| known.listed);
            let same =
                listed().count() == names.len() && listed().all(|(name, _)| names.contains(name));
            if !same || view.moment != since {
                return Ok(());
            }
            for (name, known) in listed() {
                if let Some(state) = known.seen.awaited() {
                    watched.push(Watched::new(name.clone(), state));
                }
            }
        }
        let all = watched.len() < WATCHED;
        watched.truncate(WATCHED - 1);
        watched.push(Watched::new(ARRIVALS.to_owned(), arrivals));
        match context.watch(&mut watched, if all { WAIT } else { PAUSE }) {
            Ok(()) | Err(Code::E_TIMEOUT | Code::E_UNKNOWN_READER) => Ok(()),
            // Where pcscd is being restarted, a pause may see it back.
            Err(code) => Err(code),
        }
    }
}

impl View {
    /// Asks pcscd, once more with a new context where it fails with the one at hand: that is void, or
    /// pcscd has too much to do. `None` where there is nobody to ask.
    fn ask<T>(
        &mut self,
        api: Api,
        mut question: impl FnMut(&mut Context) -> Outcome<T>,
    ) -> Option<T> {
        let mut attempt = || {
            let context = match &mut self.context {
                Some(context) => context,
                none => {
                    let new = api.establish()?;
                    self.life += 1;
                    none.insert(new)
                }
            };
            let answer = question(context);
            if answer.is_err() {
                self.context = None;
            }
            answer
        };
        match attempt().or_else(|_| attempt()) {
            Ok(answer) => {
                self.refused = None;
                Some(answer)
            }
            Err(code) => {
                self.complain(code);
                None
            }
        }
    }

    /// One line, not one each time that somebody looks.
    fn complain(&mut self, code: Code) {
        if self.refused.replace(code) != Some(code) {
            log::write(Level::Info, &format!("no smart cards by PC/SC: {code}"));
        }
    }
}
