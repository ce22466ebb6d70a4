//! A card: taking turns at it, exchanges with it, and what became of it when one fails.

use super::super::transport::{Channel, Fault};
use super::ffi::{Api, Code, Connection, Outcome, State, Watched};
use super::{look, says_down};
use crate::error::Error;
use crate::log::{self, Level};
use crate::memory;
use cryptoki_sys::CKR_DEVICE_ERROR;
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// The longest response: 65536 bytes and the status word (ISO 7816-4, 5.1).
const LONGEST: usize = 65538;
/// Length of a status word: no response is shorter.
const STATUS: usize = 2;
/// How long a card is asked again that was inserted this moment.
const SETTLING: Duration = Duration::from_millis(500);
/// How long another program may have a card to itself.
const TURN: Duration = Duration::from_secs(2);
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// After an exchange failed: how long until pcscd must have noticed that the card was pulled. It
/// looks into a reader that does not tell every 400 ms.
const NOTICE: Duration = Duration::from_millis(600);

type Result<T> = std::result::Result<T, Fault>;

/// A card in a reader.
pub(super) struct Card {
    api: Api,
    reader: CString,
    connection: Connection,
    /// State of the reader, with the number of events: another number is another card.
    inserted: State,
    atr: Vec<u8>,
    /// Others are kept out. To pcscd a second beginning needs a second end.
    begun: bool,
    /// Empty of what was in it between two exchanges.
    response: Vec<u8>,
}

impl Card {
    /// Connects to the card that is in a reader now.
    pub(super) fn open(api: Api, reader: &CStr) -> Result<Self> {
        let (connection, inserted, atr) = connect(api, reader)?;
        let mut response = memory::buffer(LONGEST)?;
        response.resize(LONGEST, 0);
        Ok(Self {
            api,
            reader: reader.to_owned(),
            connection,
            inserted,
            atr,
            begun: false,
            response,
        })
    }

    /// What became of the card when something failed with `code`; where it is still there, the
    /// channel works again.
    fn lost(&mut self, code: Code) -> Fault {
        if log::enabled(Level::Debug) {
            let reader = self.reader.to_string_lossy();
            log::write(Level::Debug, &format!("{reader}: {code}"));
        }
        self.examine(code).unwrap_or_else(|code| {
            if says_down(code) {
                // The connection went down with pcscd, and its successor has reset the card.
                return self.reopen().err().unwrap_or(Fault::Reset);
            }
            fault(&self.reader, code)
        })
    }

    fn examine(&mut self, code: Code) -> Outcome<Fault> {
        let failed = matches!(
            code,
            Code::E_NOT_TRANSACTED
                | Code::F_COMM_ERROR
                | Code::E_COMM_DATA_LOST
                | Code::W_UNPOWERED_CARD
        );
        match code {
            // A card that was pulled and put back, or another one, shows itself as reset.
            Code::W_RESET_CARD | Code::E_INVALID_VALUE if self.is_gone(Duration::ZERO)? => {
                Ok(Fault::Removed)
            }
            _ if failed && self.is_gone(NOTICE)? => Ok(Fault::Removed),
            _ if failed || code == Code::W_RESET_CARD => {
                // One that failed goes on from a reset, and nowhere else.
                patiently(|| self.connection.reconnect(failed))?;
                self.end();
                Ok(Fault::Reset)
            }
            code => Err(code),
        }
    }

    /// Whether the card that was there is not, or is not within some time.
    fn is_gone(&mut self, patience: Duration) -> Outcome<bool> {
        let mut watched = Watched::new(self.reader.clone(), self.inserted);
        let context = self.connection.context();
        match context.watch(std::slice::from_mut(&mut watched), patience) {
            Ok(()) | Err(Code::E_TIMEOUT) => Ok(watched.found.essence() != self.inserted),
            Err(Code::E_UNKNOWN_READER) => Ok(true),
            Err(code) => Err(code),
        }
    }

    fn reopen(&mut self) -> Result<()> {
        let (connection, inserted, atr) = connect(self.api, &self.reader)?;
        if atr != self.atr {
            return Err(Fault::Removed);
        }
        self.connection = connection;
        self.begun = false;
        self.inserted = inserted;
        Ok(())
    }
}

impl Channel for Card {
    fn atr(&self) -> &[u8] {
        &self.atr
    }

    fn by_characters(&self) -> bool {
        self.connection.is_t0()
    }

    fn begin(&mut self) -> Result<()> {
        match self.connection.begin() {
            Ok(()) => self.begun = true,
            Err(code) => return Err(self.lost(code)),
        }
        Ok(())
    }

    fn end(&mut self) {
        // What went wrong shows itself at the next beginning.
        if std::mem::take(&mut self.begun) {
            let _ = self.connection.end();
        }
    }

    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let got = match self.connection.transmit(command, &mut self.response) {
            // Some readers call it a success that a card was pulled amid an exchange.
            Ok(len) if len < STATUS => Err(Code::E_NOT_TRANSACTED),
            got => got,
        };
        let response = got.map(|len| memory::copy(self.response.get(..len).unwrap_or_default()));
        self.response
            .get_mut(..got.unwrap_or(LONGEST))
            .unwrap_or_default()
            .zeroize();
        match response {
            Ok(response) => Ok(response?),
            Err(code) => Err(self.lost(code)),
        }
    }
}

/// Connects by a new context. What is in the reader is looked at afterwards: that is the card which
/// the channel is for, and an earlier one has left with a reset.
fn connect(api: Api, reader: &CStr) -> Result<(Connection, State, Vec<u8>)> {
    let open = || {
        let mut context = api.establish()?;
        let handle = patiently(|| context.connect(reader))?;
        let mut connection = Connection::new(context, handle);
        let (state, atr) = look(connection.context(), reader)?;
        Ok((connection, state, atr))
    };
    let (connection, state, atr) = open().map_err(|code| fault(reader, code))?;
    match state.card() {
        true => Ok((connection, state.essence(), atr)),
        false => Err(Fault::Removed),
    }
}

/// Tries again what fails for a moment only.
fn patiently<T>(mut job: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let begun = Instant::now();
    loop {
        let done = job();
        let patience = match done {
            Err(Code::E_PROTO_MISMATCH | Code::E_NOT_READY) => SETTLING,
            Err(Code::E_SHARING_VIOLATION) => TURN,
            done => return done,
        };
        if begun.elapsed() >= patience {
            return done;
        }
        std::thread::sleep(PAUSE);
    }
}

fn fault(reader: &CStr, code: Code) -> Fault {
    let advice = match code {
        Code::E_NO_SMARTCARD
        | Code::W_REMOVED_CARD
        | Code::E_UNKNOWN_READER
        | Code::E_READER_UNAVAILABLE => return Fault::Removed,
        // Where there is no pcscd, there is no reader.
        code if says_down(code) => return Fault::Removed,
        Code::W_RESET_CARD => return Fault::Reset,
        Code::E_SHARING_VIOLATION => ": end that program, or have it share the card",
        Code::W_UNRESPONSIVE_CARD => {
            ": insert it the right way round, clean its contacts, or try another reader"
        }
        Code::W_UNPOWERED_CARD => ": insert it again",
        Code::W_SECURITY_VIOLATION => {
            ": allow it by polkit (org.debian.pcsc-lite.access_pcsc, …access_card)"
        }
        _ => "",
    };
    let reader = reader.to_string_lossy();
    Error::new(CKR_DEVICE_ERROR, format!("{reader}: {code}{advice}")).into()
}
