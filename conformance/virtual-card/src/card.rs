//! A PIV card at the level of APDUs: chaining, GET RESPONSE, short and extended lengths.

use crate::service::{Applet, Chip};
use iso7816::command::CommandView;
use std::panic::{AssertUnwindSafe, catch_unwind};

const SELECT: u8 = 0xa4;
const GET_RESPONSE: u8 = 0xc0;
/// The bit of CLA that says that more of the command follows.
const CHAINED: u8 = 0x10;

const AID: [u8; 11] = [0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0];

const SUCCESS: u16 = 0x9000;
const WRONG_LENGTH: u16 = 0x6700;
const CRASHED: u16 = 0x6f00;
const NOT_FOUND: u16 = 0x6a82;
const UNKNOWN_INSTRUCTION: u16 = 0x6d00;
const MORE: u16 = 0x6100;

/// The longest command and the longest answer.
const LONGEST: usize = 8192;

/// A command APDU, taken apart.
struct Command<'a> {
    header: [u8; 4],
    data: &'a [u8],
    /// How many bytes the answer may have.
    expected: usize,
    extended: bool,
}

impl<'a> Command<'a> {
    /// By ISO/IEC 7816-3, 12.1.3. Without Le an answer may have 256 bytes: yubico-piv-tool sends
    /// SELECT so.
    fn parse(apdu: &'a [u8]) -> Option<Self> {
        let (&header, body) = apdu.split_first_chunk()?;
        let number = |high, low| usize::from(u16::from_be_bytes([high, low]));
        let all_for_none = |len, all| if len == 0 { all } else { len };
        let short = |le: u8| all_for_none(usize::from(le), 256);
        let long = |high, low| all_for_none(number(high, low), 65_536);
        let (data, expected, extended) = match *body {
            [] => (&[][..], 256, false),
            [le] => (&[][..], short(le), false),
            [0, high, low] => (&[][..], long(high, low), true),
            [0, high, low, ref rest @ ..] => {
                let (data, rest) = rest.split_at_checked(number(high, low))?;
                match *rest {
                    [] => (data, 256, true),
                    [high, low] => (data, long(high, low), true),
                    _ => return None,
                }
            }
            [len, ref rest @ ..] => {
                let (data, rest) = rest.split_at_checked(usize::from(len))?;
                match *rest {
                    [] => (data, 256, false),
                    [le] => (data, short(le), false),
                    _ => return None,
                }
            }
        };
        Some(Self {
            header,
            data,
            expected,
            extended,
        })
    }
}

/// The instruction of an APDU that completes a command.
pub fn instruction(apdu: &[u8]) -> Option<u8> {
    match *apdu {
        [class, instruction, ..] if class & CHAINED == 0 => Some(instruction),
        _ => None,
    }
}

/// A card with power.
pub struct Card<'a> {
    chip: Chip<'a>,
    applet: Applet<'a>,
    short: bool,
    selected: bool,
    /// The data of a chained command so far.
    chain: Vec<u8>,
    /// What of an answer has not been fetched yet.
    left: Vec<u8>,
}

impl<'a> Card<'a> {
    pub fn new(chip: Chip<'a>, short: bool) -> Self {
        Self {
            applet: chip.power_up(),
            chip,
            short,
            selected: false,
            chain: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Direct convention, T=1, historical bytes with the card capabilities (compact TLV 73), whose
    /// third byte declares command chaining (80) and extended lengths (40).
    pub fn atr(&self) -> Vec<u8> {
        let capabilities = if self.short { 0x80 } else { 0xc0 };
        let mut atr = vec![0x3b, 0x85, 0x01, 0x80, 0x73, 0xc0, 0x21, capabilities];
        atr.push(atr[1..].iter().fold(0, |sum, byte| sum ^ byte));
        atr
    }

    /// A cold reset.
    pub fn reset(&mut self) {
        self.applet = self.chip.power_up();
        self.selected = false;
        self.forget_command();
    }

    /// Takes back what there is of a chained command and of an answer.
    pub fn forget_command(&mut self) {
        self.chain.clear();
        self.left.clear();
    }

    /// The response APDU to a command APDU.
    pub fn answer(&mut self, apdu: &[u8]) -> Vec<u8> {
        match self.execute(apdu) {
            Ok(expected) => {
                let rest = self.left.split_off(expected.min(self.left.len()));
                let mut answer = std::mem::replace(&mut self.left, rest);
                let status = match self.left.len() {
                    0 => SUCCESS,
                    left => MORE | left.min(255) as u16,
                };
                answer.extend(status.to_be_bytes());
                answer
            }
            Err(status) => {
                self.forget_command();
                status.to_be_bytes().to_vec()
            }
        }
    }

    /// Leaves the answer in `left` and returns how much of it may be sent.
    fn execute(&mut self, apdu: &[u8]) -> Result<usize, u16> {
        let command = Command::parse(apdu).ok_or(WRONG_LENGTH)?;
        if self.short && command.extended {
            return Err(WRONG_LENGTH);
        }
        let [class, instruction, p1, p2] = command.header;
        if instruction == GET_RESPONSE {
            return Ok(command.expected);
        }
        self.left.clear();
        self.chain.extend(command.data);
        if self.chain.len() > LONGEST {
            return Err(WRONG_LENGTH);
        }
        if class & CHAINED != 0 {
            return Ok(0);
        }
        let mut data = std::mem::take(&mut self.chain);
        if instruction == SELECT {
            // Whoever knows the registered application provider alone finds the applet too.
            if data.len() < 5 || !AID.starts_with(&data) {
                return Err(NOT_FOUND);
            }
            data = AID.to_vec();
            self.selected = true;
        }
        if !self.selected {
            return Err(UNKNOWN_INSTRUCTION);
        }
        let mut whole = vec![class, instruction, p1, p2, 0];
        whole.extend((data.len() as u16).to_be_bytes());
        whole.extend(data);
        if whole.len() == 7 {
            whole.truncate(4);
        }
        self.left = self.ask_applet(&whole)?;
        Ok(command.expected)
    }

    fn ask_applet(&mut self, apdu: &[u8]) -> Result<Vec<u8>, u16> {
        let command = CommandView::try_from(apdu).map_err(|_| WRONG_LENGTH)?;
        // Trussed leaves something of each login in the working memory. A card may end its logins when
        // the application is selected (ISO 7816-4, 5.4), and this one does where it must.
        if apdu.get(1) == Some(&SELECT) && self.chip.is_crowded() {
            self.applet = self.chip.power_up();
        }
        let mut reply = heapless::Vec::<u8, LONGEST>::new();
        let applet = &mut self.applet;
        let respond = AssertUnwindSafe(|| applet.respond(command, &mut reply));
        match catch_unwind(respond) {
            Ok(Ok(())) => Ok(reply.to_vec()),
            Ok(Err(status)) => Err(u16::from_be_bytes(status.into())),
            // It unwraps what it does not expect. Its memory is in doubt then, its files are not.
            Err(_) => {
                self.applet = self.chip.power_up();
                Err(CRASHED)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT: &[u8] = &[0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8];

    /// Runs `body` with a new card.
    fn with_card(name: &str, short: bool, body: impl FnOnce(&mut Card)) {
        let name = format!("virtual-card-{name}-{short}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("a new directory");
        Chip::with(&directory, |chip| body(&mut Card::new(chip, short)));
        std::fs::remove_dir_all(directory).expect("to remove it");
    }

    /// PUT DATA of 281 bytes, whose refusal for want of authentication shows that all has come.
    fn put_data() -> Vec<u8> {
        let header = [0x5c, 3, 0x5f, 0xc1, 5, 0x53, 0x82, 1, 0x10];
        [&header[..], &[0xaa; 0x110]].concat()
    }

    #[test]
    fn extended_lengths_are_for_cards_that_declare_them() {
        let whole = [&[0, 0xdb, 0x3f, 0xff, 0, 1, 0x19], &put_data()[..]].concat();
        for (short, status) in [(false, [0x69, 0x82]), (true, [0x67, 0])] {
            with_card("extended", short, |card| {
                assert!(card.answer(SELECT).ends_with(&[0x90, 0]));
                assert_eq!(card.answer(&whole), status);
            });
        }
    }

    #[test]
    fn commands_come_in_parts() {
        let data = put_data();
        let first = [&[0x10, 0xdb, 0x3f, 0xff, 255], &data[..255]].concat();
        let last = [&[0, 0xdb, 0x3f, 0xff, 26], &data[255..]].concat();
        with_card("chained", true, |card| {
            card.answer(SELECT);
            assert_eq!(card.answer(&first), [0x90, 0]);
            assert_eq!(card.answer(&last), [0x69, 0x82]);
        });
    }

    #[test]
    fn answers_are_fetched_in_parts() {
        with_card("fetched", false, |card| {
            let all = card.answer(SELECT);
            let mut got = card.answer(&[SELECT, &[100]].concat());
            while let [.., 0x61, left] = *got {
                got.truncate(got.len() - 2);
                got.extend(card.answer(&[0, GET_RESPONSE, 0, 0, left.min(7)]));
            }
            assert_eq!(got, all);
            assert_eq!(card.answer(&[0, GET_RESPONSE, 0, 0, 0]), [0x90, 0]);
        });
    }

    #[test]
    fn a_reset_forgets_who_is_there() {
        let verify = [&[0, 0x20, 0, 0x80, 8], &b"123456\xff\xff"[..]].concat();
        let status = [0, 0x20, 0, 0x80];
        with_card("reset", false, |card| {
            card.answer(SELECT);
            assert_eq!(card.answer(&verify), [0x90, 0]);
            assert_eq!(card.answer(&status), [0x90, 0]);
            card.reset();
            assert_eq!(card.answer(&status), [0x6d, 0]);
            card.answer(SELECT);
            assert_eq!(card.answer(&status), [0x63, 0xc3]);
            // Nothing of it is left in the memory of the chip, which is small.
            for _ in 0..300 {
                card.reset();
                card.answer(SELECT);
                assert_eq!(card.answer(&verify), [0x90, 0]);
            }
        });
    }
}
