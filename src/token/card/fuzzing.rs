//! The fuzzer's way in (`fuzz/card`): the decoders of what cards say, and a reader with a card that the
//! fuzzer plays (`card.readers` = `fuzzed`). Exists under `cfg(fuzzing)` alone.

use super::apdu;
use super::piv;
use super::transport::{Channel, Fault, Presence, Reader, Readers};
use crate::error::{Error, Result};
use cryptoki_sys::CKR_DEVICE_ERROR;
use std::sync::{Arc, OnceLock};

/// How an exchange ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// With these bytes.
    Bytes(Vec<u8>),
    /// The card is not there any more.
    Removed,
    /// The card was reset.
    Reset,
    /// The reader fails.
    Failed,
}

/// The one reader, and the card in it.
pub trait Player: Send + Sync {
    /// Answer to reset.
    fn atr(&self) -> Vec<u8>;
    /// What is in the reader.
    fn presence(&self) -> Presence;
    /// Begins a conversation; the bytes of a reply mean nothing.
    fn begin(&self) -> Reply;
    /// One command.
    fn transmit(&self, command: &[u8]) -> Reply;
}

static PLAYER: OnceLock<&'static dyn Player> = OnceLock::new();

/// Puts it into its place, once in a process.
pub fn play(player: &'static dyn Player) {
    assert!(PLAYER.set(player).is_ok(), "there is one player");
}

/// Has every decoder read these bytes.
pub fn decode(bytes: &[u8]) {
    apdu::takes_extended(bytes);
    piv::decode(bytes);
}

/// The system of readers.
pub(super) struct Stage;

impl Readers for Stage {
    fn list(&self) -> Result<Vec<Arc<dyn Reader>>> {
        Ok(PLAYER
            .get()
            .map(|player| Arc::new(Played(*player)) as _)
            .into_iter()
            .collect())
    }

    fn moment(&self) -> u64 {
        0
    }

    fn wait(&self, _since: u64) {}

    fn wake(&self) {}
}

struct Played(&'static dyn Player);

impl Reader for Played {
    fn name(&self) -> &str {
        "fuzzed"
    }

    fn presence(&self) -> Presence {
        self.0.presence()
    }

    fn connect(&self) -> std::result::Result<Box<dyn Channel>, Fault> {
        match self.0.presence().card {
            true => Ok(Box::new(Line {
                player: self.0,
                atr: self.0.atr(),
            })),
            false => Err(Fault::Removed),
        }
    }
}

struct Line {
    player: &'static dyn Player,
    atr: Vec<u8>,
}

fn taken(reply: Reply) -> std::result::Result<Vec<u8>, Fault> {
    match reply {
        Reply::Bytes(bytes) => Ok(bytes),
        Reply::Removed => Err(Fault::Removed),
        Reply::Reset => Err(Fault::Reset),
        Reply::Failed => Err(Error::new(CKR_DEVICE_ERROR, "the reader fails").into()),
    }
}

impl Channel for Line {
    fn atr(&self) -> &[u8] {
        &self.atr
    }

    fn begin(&mut self) -> std::result::Result<(), Fault> {
        taken(self.player.begin()).map(drop)
    }

    fn end(&mut self) {}

    fn transmit(&mut self, command: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
        taken(self.player.transmit(command))
    }
}
