//! The ways to a card: a reader, the channel to the card in it, and the system that has the readers.
//!
//! Nothing is known here of what APDUs mean. A command goes out whole and its response comes back
//! whole, status word included (ISO 7816-4, 5.1).

use crate::error::{Error, Result};
use std::sync::Arc;

/// Why an exchange did not come about.
#[derive(Debug)]
pub(super) enum Fault {
    /// The card, or the reader with it, was taken away.
    Removed,
    /// Another program reset the card, or it lost its power for a moment: what was selected and
    /// verified in it is gone.
    Reset,
    /// Anything else.
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What is known of a reader without asking the card. Two that are equal: nothing happened between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence {
    /// A card is in it.
    pub card: bool,
    /// The reader itself is there.
    pub reader: bool,
    /// Grows with every insertion and every removal that was noticed. While the system of readers is
    /// down, there is no reader; afterwards this is as before if all is as before.
    pub changes: u64,
}

impl Presence {
    /// Of a token that cannot be taken out.
    pub const BUILT_IN: Self = Self {
        card: true,
        reader: true,
        changes: 0,
    };
}

/// A place for a card.
pub(super) trait Reader: Send + Sync {
    /// Its name, the same as long as it is plugged in where it is.
    fn name(&self) -> &str;

    /// Whether a card is in it. Asks the system, never the card: clients poll this.
    fn presence(&self) -> Presence;

    /// A way to the card that is in it now, shared with other programs. [`Fault::Removed`] where
    /// there is none.
    fn connect(&self) -> std::result::Result<Box<dyn Channel>, Fault>;
}

/// A way to one card, from its insertion to its removal. Closed when dropped, the card left as it is.
pub(super) trait Channel: Send {
    /// Answer to reset (ISO 7816-3, 8), empty where the way has none.
    fn atr(&self) -> &[u8];

    /// The card speaks T=0 (ISO 7816-3, 12): no Le stands after data, and nothing is extended.
    fn by_characters(&self) -> bool {
        false
    }

    /// Keeps other programs from the card until [`Channel::end`]. After [`Fault::Reset`] the channel
    /// works again, from the beginning.
    fn begin(&mut self) -> std::result::Result<(), Fault>;

    /// Lets others at the card.
    fn end(&mut self);

    /// One command, one response.
    fn transmit(&mut self, command: &[u8]) -> std::result::Result<Vec<u8>, Fault>;
}

/// A system of readers.
pub(super) trait Readers: Send + Sync {
    /// The readers that there are now. One that was there before is the same again.
    fn list(&self) -> Result<Vec<Arc<dyn Reader>>>;

    /// Grows with every change that this process noticed by asking ([`Readers::list`],
    /// [`Reader::presence`]). To be taken before looking for what to [`Readers::wait`] for.
    fn moment(&self) -> u64;

    /// Waits until a reader came or went, or a card, or this process noticed such a change after
    /// the moment `since` (another thread that asks must not take it away from the one that waits);
    /// or until [`Readers::wake`], or for a while: about a second where nothing better can be had.
    /// The caller looks again and comes back.
    fn wait(&self, since: u64);

    /// Ends every [`Readers::wait`] that is going on or comes (C_Finalize).
    fn wake(&self);
}
