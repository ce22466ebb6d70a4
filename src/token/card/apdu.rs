//! APDUs (ISO 7816-4, 5): a command in the form that the card takes, a response from all its pieces.

use super::transport::{Channel, Fault};
use crate::error::Error;
use crate::memory::Secret;
use cryptoki_sys::*;
use std::fmt;
use zeroize::Zeroizing;

/// Most data bytes of a short command, and of one piece of a chain.
const SHORT: usize = 255;
/// Most data bytes of an extended command.
const EXTENDED: usize = 0xffff;
/// Most bytes that a response may bring together: an extended one, or as many by GET RESPONSE.
const LONGEST: usize = 1 << 16;
/// CLA of a piece that others follow (5.3.3).
const CHAINED: u8 = 0x10;
const GET_RESPONSE: u8 = 0xc0;
/// VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER (11.5): a wrong PIN in one costs a try.
const TRIES: [u8; 3] = [0x20, 0x24, 0x2c];
/// Most pieces that a response comes in: twice as many as full ones would be.
const PIECES: usize = 2 * LONGEST / 256;

/// SW1 and SW2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16);

impl Status {
    /// All is done.
    pub(super) const DONE: Self = Self(0x9000);
    /// Security status not satisfied.
    pub(super) const NOT_ALLOWED: Self = Self(0x6982);
    /// Authentication method blocked.
    pub(super) const BLOCKED: Self = Self(0x6983);
    /// File or application not found.
    pub(super) const NOT_FOUND: Self = Self(0x6a82);
    /// Incorrect parameters in the data field.
    pub(super) const WRONG_DATA: Self = Self(0x6a80);

    const fn sw1(self) -> u8 {
        (self.0 >> 8) as u8
    }

    const fn sw2(self) -> u8 {
        self.0 as u8
    }

    /// The card has failed; that says nothing of what it was asked (ISO 7816-4, table 6).
    pub(super) fn is_breakdown(self) -> bool {
        matches!(self.sw1(), 0x64 | 0x65 | 0x6f)
    }

    /// Tries that a PIN has left: `63Cx`, or none where it is blocked.
    pub(super) fn tries_left(self) -> Option<u8> {
        match self {
            Self::BLOCKED => Some(0),
            Self(sw) if sw & 0xfff0 == 0x63c0 => Some((sw & 0xf) as u8),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            0x6300 => "verification failed",
            0x6581 => "memory failure",
            0x6700 => "wrong length",
            0x6982 => "security status not satisfied",
            0x6983 => "blocked",
            0x6985 => "conditions of use not satisfied",
            0x6a80 => "wrong data",
            0x6a81 => "function not supported",
            0x6a82 => "not found",
            0x6a84 => "not enough memory",
            0x6a86 => "wrong parameters",
            0x6a88 => "key not found",
            0x6d00 => "instruction not supported",
            0x6e00 => "class not supported",
            _ => "",
        };
        match meaning {
            "" => write!(f, "status {:04X}", self.0),
            meaning => write!(f, "status {:04X}, {meaning}", self.0),
        }
    }
}

/// Why a conversation with a card went wrong.
#[derive(Debug)]
pub(super) enum Failure {
    /// On the way.
    Fault(Fault),
    /// The card refused `what`.
    Refused {
        /// Its answer.
        status: Status,
        /// What it was asked.
        what: &'static str,
    },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fault(Fault::Error(error))
    }
}

/// What every room of a card returns.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// `Err` with an error of the standard.
macro_rules! refuse {
    ($rv:expr, $($reason:tt)+) => {
        Err($crate::token::card::apdu::Failure::from(
            $crate::error::Error::formatted($rv, format_args!($($reason)+)),
        ))
    };
}
pub(super) use refuse;

/// The refusal as the standard's error, where no one has found better words for it.
pub(super) fn error_of(status: Status, what: &str) -> Error {
    let rv = match status.0 {
        0x6982 => CKR_USER_NOT_LOGGED_IN,
        0x6a84 => CKR_DEVICE_MEMORY,
        0x6a81 | 0x6d00 | 0x6e00 => CKR_FUNCTION_NOT_SUPPORTED,
        _ => CKR_DEVICE_ERROR,
    };
    Error::new(rv, format!("the card refused {what}: {status}"))
}

/// A command.
#[derive(Debug)]
pub(super) struct Command<'a> {
    /// What it is, for messages.
    pub(super) what: &'static str,
    /// INS, P1, P2.
    pub(super) header: [u8; 3],
    /// Data field.
    pub(super) data: &'a [u8],
    /// How much may come back.
    pub(super) response: Expected,
}

/// How much may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing but the status.
    Nothing,
    /// Up to 256 bytes.
    Short,
    /// Up to so many bytes; 0 is 256.
    UpTo(u8),
    /// More.
    Long,
}

/// A response: what the card answered to the whole of a command.
#[derive(Debug)]
pub(super) struct Response {
    /// Data field.
    pub(super) data: Zeroizing<Vec<u8>>,
    /// Status.
    pub(super) status: Status,
    /// What was asked.
    pub(super) what: &'static str,
}

impl Response {
    /// The data of a command that was carried out.
    pub(super) fn done(self) -> Result<Zeroizing<Vec<u8>>> {
        match self.status {
            Status::DONE => Ok(self.data),
            status => Err(Failure::Refused {
                status,
                what: self.what,
            }),
        }
    }
}

/// Talking to the card while no other program does.
pub(super) struct Talk<'a> {
    channel: &'a mut dyn Channel,
    /// The card takes extended lengths.
    extended: bool,
    /// By T=0.
    characters: bool,
    /// What was last sent that costs a try where it is wrong, unless the card took it.
    untaken: Option<Secret>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(channel: &'a mut dyn Channel) -> Self {
        let characters = channel.by_characters();
        Self {
            extended: !characters && takes_extended(channel.atr()),
            characters,
            channel,
            untaken: None,
        }
    }

    /// Whether a PIN was sent last that the card did not say it took.
    pub(super) fn has_untaken(&self) -> bool {
        self.untaken.is_some()
    }

    /// The data of the command with it.
    pub(super) fn take_untaken(&mut self) -> Option<Secret> {
        self.untaken.take()
    }

    /// Sends a command, and gathers its response.
    pub(super) fn send(&mut self, command: &Command<'_>) -> Result<Response> {
        self.send_in(0, command)
    }

    /// The same in another class than the standard's.
    pub(super) fn send_in(&mut self, class: u8, command: &Command<'_>) -> Result<Response> {
        let [ins, ..] = command.header;
        let costs_a_try = TRIES.contains(&ins) && !command.data.is_empty();
        if costs_a_try {
            self.untaken = Some(Secret::copy_of(command.data)?);
        }
        let response = self.converse(class, command)?;
        if costs_a_try && response.status == Status::DONE {
            self.untaken = None;
        }
        Ok(response)
    }

    /// Sends a command, in as few pieces as the card allows, and gathers its response.
    fn converse(&mut self, class: u8, command: &Command<'_>) -> Result<Response> {
        let extended = self.extended
            && command.data.len() <= EXTENDED
            && (command.data.len() > SHORT || command.response == Expected::Long);
        let mut pieces = command.data.chunks(if extended { EXTENDED } else { SHORT });
        let mut piece = pieces.next().unwrap_or_default();
        for next in pieces {
            let (_, status) = self.exchange(&encode(class | CHAINED, command, piece, None))?;
            if status != Status::DONE {
                return Ok(Response {
                    data: Zeroizing::default(),
                    status,
                    what: command.what,
                });
            }
            piece = next;
        }
        let size = match (command.response, extended) {
            (Expected::Nothing, false) => None,
            // The card says by 61xx what there is.
            (_, false) if self.characters && !piece.is_empty() => None,
            (Expected::UpTo(most), false) => Some(Size::Short(most)),
            (_, false) => Some(Size::Short(0)),
            (_, true) => Some(Size::Extended),
        };
        let mut apdu = encode(class, command, piece, size);
        let (mut data, mut status) = self.exchange(&apdu)?;
        // The card says how long its answer is (5.3.4).
        if let (0x6c, Some(Size::Short(_)), true) = (status.sw1(), size, data.is_empty()) {
            apdu = encode(class, command, piece, Some(Size::Short(status.sw2())));
            (data, status) = self.exchange(&apdu)?;
        }
        let mut pieces = 0;
        while status.sw1() == 0x61 {
            pieces += 1;
            let (more, next) = self.exchange(&[0, GET_RESPONSE, 0, 0, status.sw2()])?;
            if more.is_empty() || data.len() + more.len() > LONGEST || pieces > PIECES {
                return refuse!(CKR_DEVICE_ERROR, "the card's answer has no end");
            }
            let mut longer = Zeroizing::new(Vec::with_capacity(data.len() + more.len()));
            longer.extend_from_slice(&data);
            longer.extend_from_slice(&more);
            (data, status) = (longer, next);
        }
        Ok(Response {
            data,
            status,
            what: command.what,
        })
    }

    fn exchange(&mut self, apdu: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Status)> {
        let mut response = Zeroizing::new(self.channel.transmit(apdu)?);
        let (Some(sw2), Some(sw1)) = (response.pop(), response.pop()) else {
            return refuse!(CKR_DEVICE_ERROR, "the card gave no status");
        };
        Ok((response, Status(u16::from_be_bytes([sw1, sw2]))))
    }
}

/// Le (5.2): how much the response may have.
#[derive(Debug, Clone, Copy)]
enum Size {
    /// In one byte; 0 is 256.
    Short(u8),
    /// As much as there is.
    Extended,
}

fn encode(cla: u8, command: &Command<'_>, data: &[u8], size: Option<Size>) -> Zeroizing<Vec<u8>> {
    let [ins, p1, p2] = command.header;
    let mut apdu = Zeroizing::new(Vec::with_capacity(data.len() + 9));
    apdu.extend_from_slice(&[cla, ins, p1, p2]);
    let extended = matches!(size, Some(Size::Extended));
    if extended {
        apdu.push(0);
    }
    if !data.is_empty() {
        let len = data.len() as u16;
        match extended {
            true => apdu.extend_from_slice(&len.to_be_bytes()),
            false => apdu.push(len as u8),
        }
        apdu.extend_from_slice(data);
    }
    match size {
        None => {}
        Some(Size::Short(le)) => apdu.push(le),
        Some(Size::Extended) => apdu.extend_from_slice(&[0, 0]),
    }
    apdu
}

/// Whether the historical bytes of an answer to reset declare extended lengths: card capabilities in
/// compact TLV (ISO 7816-4, 8.1.1.2.7), third byte.
pub(super) fn takes_extended(atr: &[u8]) -> bool {
    historical_bytes(atr)
        .and_then(|historical| historical.split_first())
        .and_then(|(category, mut objects)| {
            // 00: a status follows the objects; 80: it may be among them.
            if !matches!(category, 0x00 | 0x80) {
                return None;
            }
            loop {
                let (head, rest) = objects.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(head & 0xf))?;
                if head >> 4 == 7 {
                    return value.get(2).map(|third| third & 0x40 != 0);
                }
                objects = rest;
            }
        })
        .unwrap_or(false)
}

/// The historical bytes of an answer to reset (ISO 7816-3, 8.2).
fn historical_bytes(atr: &[u8]) -> Option<&[u8]> {
    let (_, rest) = atr.split_first()?;
    let (format, mut rest) = rest.split_first()?;
    let len = usize::from(format & 0xf);
    let mut follow = format >> 4;
    loop {
        let interface = follow.count_ones() as usize;
        let (bytes, after) = rest.split_at_checked(interface)?;
        rest = after;
        // TDi, the last of them, says which come next.
        if follow & 8 == 0 {
            return rest.get(..len);
        }
        follow = bytes.last()? >> 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card that always gives the same answer.
    struct Parrot {
        answer: Vec<u8>,
        commands: usize,
    }

    impl Channel for Parrot {
        fn atr(&self) -> &[u8] {
            &[]
        }

        fn begin(&mut self) -> std::result::Result<(), Fault> {
            Ok(())
        }

        fn end(&mut self) {}

        fn transmit(&mut self, _: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
            self.commands += 1;
            Ok(self.answer.clone())
        }
    }

    fn read(answer: &[u8]) -> (Result<Response>, usize) {
        let mut card = Parrot {
            answer: answer.to_vec(),
            commands: 0,
        };
        let response = Talk::new(&mut card).send(&Command {
            what: "a test",
            header: [0xcb, 0x3f, 0xff],
            data: &[],
            response: Expected::Long,
        });
        (response, card.commands)
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        for answer in [
            &[0x61, 1][..],
            &[7, 0x61, 1],
            &[&[7; 256][..], &[0x61, 0]].concat(),
        ] {
            let (response, commands) = read(answer);
            assert!(response.is_err());
            assert!(commands <= PIECES + 2, "{commands} commands");
        }
        let (response, commands) = read(&[0x6c, 1]);
        assert_eq!((response.unwrap().status, commands), (Status(0x6c01), 2));
    }
}
