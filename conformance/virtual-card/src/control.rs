//! The control socket: one line a connection, answered by `ok …` or `error …`.

use crate::pcscd::{self, Pcscd};
use crate::slot::{Event, Plan, Slot};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

/// What is controlled.
pub struct Control {
    pub slots: Vec<Arc<Slot>>,
    pub daemon: Option<Pcscd>,
    /// What the reader is called.
    pub name: String,
}

impl Control {
    /// Obeys until it is told to quit.
    pub fn obey(&mut self, listener: &UnixListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let mut line = String::new();
            if BufReader::new(&stream).read_line(&mut line).is_err() {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let answer = match self.command(&words) {
                Ok(answer) => format!("ok {answer}"),
                Err(error) => format!("error {error}"),
            };
            // Whoever has gone does not want to know.
            let _ = writeln!(&stream, "{}", answer.trim_end());
            if words == ["quit"] {
                return;
            }
        }
    }

    fn command(&mut self, words: &[&str]) -> Result<String, String> {
        match *words {
            ["quit"] => {}
            ["pcscd", "stop"] => self.daemon = None,
            ["pcscd", "start"] => {
                self.daemon = None;
                self.daemon = Some(Pcscd::start(&self.name)?);
                self.await_slots()?;
            }
            [number, ref command @ ..] => {
                let index = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                let index = index.filter(|&index| index < self.slots.len());
                return self.card(index.ok_or("no such card")?, command);
            }
            [] => return Err("no command".into()),
        }
        Ok(String::new())
    }

    /// Waits until the daemon has seen all that is in the slots.
    pub fn await_slots(&self) -> Result<(), String> {
        let mut slots = self.slots.iter().enumerate();
        slots.try_for_each(|(index, slot)| pcscd::await_presence(index, slot.inserted()))
    }

    fn card(&self, index: usize, command: &[&str]) -> Result<String, String> {
        let slot = &self.slots[index];
        let plan = |instruction: &str, after, times, event| -> Result<(), String> {
            slot.plan(Plan {
                instruction: u8::from_str_radix(instruction, 16).map_err(|_| "INS is not hex")?,
                after,
                times,
                event,
            });
            Ok(())
        };
        let count = |words: &[&str]| match words {
            [] => Ok(1),
            [number] => number.parse().map_err(|_| "not a number"),
            _ => Err("too many words"),
        };
        match *command {
            ["insert"] => {
                // pcscd would never notice a card that is out for a moment only.
                if !slot.inserted() {
                    self.await_presence(index, false)?;
                }
                slot.insert();
                self.await_presence(index, true)?;
            }
            ["pull"] => slot.pull()?,
            ["await-out"] => self.await_presence(index, false)?,
            ["pull-at", instruction, when, ref rest @ ..] => {
                let event = match when {
                    "before" => Event::PullBefore,
                    "after" => Event::PullAfter,
                    _ => return Err("neither before nor after".into()),
                };
                let nth: usize = count(rest)?;
                plan(
                    instruction,
                    nth.checked_sub(1).ok_or("0 is not a number of a command")?,
                    1,
                    event,
                )?;
            }
            ["hang-at", instruction, milliseconds] => {
                let time = milliseconds.parse().map_err(|_| "not a time")?;
                plan(instruction, 0, 1, Event::Hang(Duration::from_millis(time)))?;
            }
            ["fail-at", instruction, status, ref rest @ ..] => {
                let status = u16::from_str_radix(status, 16).map_err(|_| "SW is not hex")?;
                let times = count(rest)?;
                if times > 0 {
                    plan(instruction, 0, times, Event::Fail(status))?;
                }
            }
            ["behave"] => slot.forget_plans(),
            ["count"] => return Ok(slot.commands().to_string()),
            ["reset-count"] => slot.reset_commands(),
            _ => return Err("unknown command".into()),
        }
        Ok(String::new())
    }

    fn await_presence(&self, index: usize, present: bool) -> Result<(), String> {
        match self.daemon {
            Some(_) => pcscd::await_presence(index, present),
            None => Ok(()),
        }
    }
}

/// Sends one command to a control socket and prints the answer: for scripts.
pub fn send(socket: &str, command: &[String]) -> Result<bool, std::io::Error> {
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "{}", command.join(" "))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    print!("{answer}");
    Ok(answer.starts_with("ok"))
}
