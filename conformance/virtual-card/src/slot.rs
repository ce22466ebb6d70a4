//! A slot of the reader and the card that is in it or beside it: the connection of vpcd.

use crate::card::{self, Card};
use crate::service::Chip;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::TcpStreamExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What happens at the next command with an instruction.
pub struct Plan {
    pub instruction: u8,
    /// How many such commands pass before it.
    pub after: usize,
    /// How many it happens to.
    pub times: usize,
    pub event: Event,
}

#[derive(Clone, Copy)]
pub enum Event {
    /// The card is pulled out.
    PullBefore,
    PullAfter,
    /// The answer comes that much later.
    Hang(Duration),
    /// The answer is this status, and nothing is executed.
    Fail(u16),
}

#[derive(Default)]
struct State {
    inserted: bool,
    /// vpcd has a connection with the card.
    connected: bool,
    commands: usize,
    plans: Vec<Plan>,
}

/// A slot, as the control of it and the thread of its card share it.
pub struct Slot {
    state: Mutex<State>,
    changed: Condvar,
    /// Written to when the card shall look at the state.
    wake: UnixStream,
    woken: UnixStream,
}

/// Why a connection has ended.
enum End {
    Pulled,
    Left,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Left
    }
}

impl Slot {
    /// Starts the card; its files are in `directory`.
    pub fn start(
        port: u16,
        directory: PathBuf,
        inserted: bool,
        short: bool,
    ) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(&directory)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("log"))?;
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let state = State {
            inserted,
            ..State::default()
        };
        let slot = Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            wake,
            woken,
        });
        let of_card = Arc::clone(&slot);
        std::thread::spawn(move || {
            Chip::with(&directory, |chip| {
                let mut card = Card::new(chip, short);
                loop {
                    of_card.live(port, &mut card, &log);
                }
            })
        });
        Ok(slot)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }

    pub fn insert(&self) {
        self.state().inserted = true;
        self.changed.notify_all();
    }

    /// Pulls the card out; vpcd has no connection any more when it returns.
    pub fn pull(&self) -> Result<(), String> {
        let mut state = self.state();
        state.inserted = false;
        (&self.wake).write_all(&[0]).expect("a socket of its own");
        let limit = Duration::from_secs(20);
        let connected = |state: &mut State| state.connected;
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, connected)
            .expect("no thread panics with it");
        match state.connected {
            true => Err("the card is still at work".into()),
            false => Ok(()),
        }
    }

    pub fn inserted(&self) -> bool {
        self.state().inserted
    }

    pub fn plan(&self, plan: Plan) {
        self.state().plans.push(plan);
    }

    pub fn forget_plans(&self) {
        self.state().plans.clear();
    }

    /// How many command APDUs have come.
    pub fn commands(&self) -> usize {
        self.state().commands
    }

    pub fn reset_commands(&self) {
        self.state().commands = 0;
    }

    /// From an insertion to the end of the connection.
    fn live(&self, port: u16, card: &mut Card, log: &File) {
        let out = |state: &mut State| !state.inserted;
        let state = self.changed.wait_while(self.state(), out);
        drop(state.expect("no thread panics with it"));
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            // No pcscd at the moment.
            std::thread::sleep(Duration::from_millis(2));
            return;
        };
        self.state().connected = true;
        card.reset();
        if let Err(End::Pulled) = self.converse(&stream, card, log) {
            // vpcd 3.3 takes any end of a connection for an answer of no bytes, save a reset between
            // the length of an answer and the answer: that is an error of the transmission, as with
            // other readers.
            let _ = (&stream).write_all(&[0, 2]);
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            unsafe {
                libc::setsockopt(
                    stream.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const linger).cast(),
                    size_of_val(&linger) as libc::socklen_t,
                )
            };
        }
        drop(stream);
        self.state().connected = false;
        self.changed.notify_all();
    }

    /// Messages are a length of two bytes and that many bytes: one byte is a command to the slot,
    /// more are an APDU.
    fn converse(&self, mut stream: &TcpStream, card: &mut Card, mut log: &File) -> Result<(), End> {
        stream.set_nodelay(true)?;
        loop {
            self.wait(Some(stream), None)?;
            // vpcd 3.3 sends the length and the message apart and the second only when the first is
            // acknowledged, which the kernel would put off by 40 ms.
            stream.set_quickack(true)?;
            let mut len = [0; 2];
            stream.read_exact(&mut len)?;
            stream.set_quickack(true)?;
            let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut message)?;
            let answer = match *message {
                // Power off, power on, reset.
                [0..=2] => {
                    card.reset();
                    continue;
                }
                [4] => card.atr(),
                [] | [_] => return Err(End::Left),
                _ => {
                    let answer = self.command(card, &message);
                    let shown = answer.as_deref().map_or("-".into(), hex);
                    writeln!(log, "{} {shown}", hex(&message))?;
                    answer.ok_or(End::Pulled)?
                }
            };
            if !self.inserted() {
                return Err(End::Pulled);
            }
            let len = (answer.len() as u16).to_be_bytes();
            stream.write_all(&[&len[..], &answer].concat())?;
        }
    }

    /// Executes a command with what is planned for it; no answer when the card is pulled out.
    fn command(&self, card: &mut Card, apdu: &[u8]) -> Option<Vec<u8>> {
        let planned = {
            let mut state = self.state();
            state.commands += 1;
            card::instruction(apdu).and_then(|instruction| due(&mut state.plans, instruction))
        };
        match planned {
            None => Some(card.answer(apdu)),
            Some(Event::Fail(status)) => {
                card.forget_command();
                Some(status.to_be_bytes().to_vec())
            }
            Some(Event::Hang(time)) => {
                let until = Instant::now() + time;
                let answer = card.answer(apdu);
                self.wait(None, Some(until)).ok().map(|()| answer)
            }
            Some(event @ (Event::PullBefore | Event::PullAfter)) => {
                if let Event::PullAfter = event {
                    card.answer(apdu);
                }
                self.state().inserted = false;
                None
            }
        }
    }

    /// Waits until there is something to read or the time has come, or fails when the card is
    /// pulled out.
    fn wait(&self, stream: Option<&TcpStream>, until: Option<Instant>) -> Result<(), End> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // Rounded up: what is to come late never comes early.
            let timeout = left.map_or(-1, |left| left.as_micros().div_ceil(1000) as libc::c_int);
            let poll = |fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            let fd = stream.map_or(-1, |stream| stream.as_raw_fd());
            let mut fds = [poll(fd), poll(self.woken.as_raw_fd())];
            unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) };
            // Bytes of earlier pulls are of no interest.
            let _ = (&self.woken).read(&mut [0; 64]);
            if !self.inserted() {
                return Err(End::Pulled);
            }
            if fds[0].revents != 0 || left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
        }
    }
}

/// The event that happens to a command with this instruction.
fn due(plans: &mut Vec<Plan>, instruction: u8) -> Option<Event> {
    let of_it = |plan: &Plan| plan.instruction == instruction;
    let index = plans.iter().position(of_it)?;
    let plan = &mut plans[index];
    if plan.after > 0 {
        plan.after -= 1;
        return None;
    }
    plan.times -= 1;
    let event = plan.event;
    if plan.times == 0 {
        plans.remove(index);
    }
    Some(event)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
