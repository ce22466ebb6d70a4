//! What a reader looked like, and how often that has changed.

use super::super::transport::Presence;
use super::ffi::State;

/// The memory of one reader.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: Option<Look>,
    /// What was last told.
    told: Presence,
}

/// One look at a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    /// In which life of pcscd: it counts anew in each.
    life: u64,
    state: State,
    atr: Vec<u8>,
}

impl Seen {
    /// Takes note of what pcscd said in one of its lives; what is to be told, and whether that is
    /// news.
    ///
    /// In its next life pcscd may not have found the reader yet: that it is missing is told, but
    /// means nothing until it has been seen there.
    pub(super) fn look(&mut self, life: u64, state: State, atr: &[u8]) -> (Presence, bool) {
        let state = state.essence();
        let look = Look {
            life,
            state,
            atr: atr.to_vec(),
        };
        let changed = match &self.last {
            None => false,
            Some(last) if last.life == life => last.state != state,
            Some(_) if !state.reader() => return self.tell(State::UNKNOWN, 0),
            Some(last) => last.state.uncounted() != state.uncounted() || last.atr != look.atr,
        };
        self.last = Some(look);
        self.tell(state, u64::from(changed))
    }

    /// There is no pcscd to ask.
    pub(super) fn blind(&mut self) -> (Presence, bool) {
        self.tell(State::UNKNOWN, 0)
    }

    /// The state that was last told, as pcscd is to compare it with its own. `None` where nobody has
    /// looked yet, or where it would mean that.
    pub(super) fn awaited(&self) -> Option<State> {
        let last = self.last.as_ref()?.state;
        match last.reader() && !self.told.reader {
            true => Some(State::UNKNOWN),
            false => Some(last).filter(|last| *last != State::default()),
        }
    }

    fn tell(&mut self, state: State, more: u64) -> (Presence, bool) {
        let now = Presence {
            card: state.card(),
            reader: state.reader(),
            changes: self.told.changes + more,
        };
        let news = now != self.told;
        self.told = now;
        (now, news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATR: &[u8] = &[0x3b, 0];

    fn told(seen: &mut Seen, life: u64, state: State) -> (bool, bool, u64) {
        let atr = if state.card() { ATR } else { &[] };
        let now = seen.look(life, state, atr).0;
        (now.reader, now.card, now.changes)
    }

    #[test]
    fn a_card_that_came_and_went_between_two_looks_is_noticed() {
        let seen = &mut Seen::default();
        let here = |events| State::new(true, events);
        let empty = |events| State::new(false, events);
        assert_eq!(told(seen, 1, here(1)), (true, true, 0));
        assert_eq!(told(seen, 1, here(1)), (true, true, 0));
        assert_eq!(told(seen, 1, here(3)), (true, true, 1));
        assert_eq!(told(seen, 1, empty(4)), (true, false, 2));
        assert_eq!(told(seen, 1, empty(6)), (true, false, 3));
        assert_eq!(told(seen, 1, State::UNKNOWN), (false, false, 4));
        assert_eq!(told(seen, 1, State::UNKNOWN), (false, false, 4));
        assert_eq!(told(seen, 1, empty(6)), (true, false, 5));
    }

    #[test]
    fn a_restart_of_the_service_changes_nothing_where_all_is_as_before() {
        let seen = &mut Seen::default();
        let here = |events| State::new(true, events);
        assert_eq!(told(seen, 1, here(7)), (true, true, 0));
        let (down, news) = seen.blind();
        assert!(news && !seen.blind().1);
        assert_eq!(down, Presence::default());
        assert_eq!(told(seen, 2, State::UNKNOWN), (false, false, 0));
        assert_eq!(told(seen, 2, here(1)), (true, true, 0));
        assert_eq!(told(seen, 2, here(2)), (true, true, 1));
        assert_eq!(told(seen, 3, State::new(false, 0)), (true, false, 2));
        assert_eq!(told(seen, 4, here(2)), (true, true, 3));
        let other = seen.look(5, here(2), &[0x3b, 1]).0;
        assert_eq!(other.changes, 4);
        assert_eq!(told(seen, 5, State::UNKNOWN), (false, false, 5));
    }

    #[test]
    fn what_other_programs_do_with_a_card_is_no_change() {
        let seen = &mut Seen::default();
        told(seen, 1, State::new(true, 1));
        assert_eq!(told(seen, 1, State::new(true, 1).used()), (true, true, 0));
    }
}
