//! `virtual-card DIRECTORY [--short] [--reader NAME]`: a pcscd of its own with a reader of two slots
//! and a virtual PIV card for each; the first is inserted, the second is not. Writes `ready` when the
//! card can be used. PIN 123456, PUK 12345678, 9B key 3DES 01 02 … 08 three times. Some programs use
//! readers of their maker alone, by the name: hence NAME.
//!
//! In the directory: `pcscd/pcscd.comm` is what PCSCLITE_CSOCK_NAME names, `control` the control
//! socket (see `control.rs`), `card-1` and `card-2` keep the cards' keys and PINs, and in their `log`
//! each APDU and its response. It is safe to kill: the cards are then as they were.
//!
//! `virtual-card --control DIRECTORY COMMAND…` sends a command to one that runs.

mod card;
mod control;
mod flash;
mod namespace;
mod pcscd;
mod service;
mod slot;

use control::Control;
use pcscd::{PORT, Pcscd};
use slot::Slot;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

const USAGE: &str =
    "usage: virtual-card DIRECTORY [--short] [--reader NAME] | --control DIRECTORY COMMAND…";

/// Whether the cards are to understand short APDUs only, and what their reader is called.
fn read(options: &[&str]) -> Result<(bool, String), String> {
    let (mut short, mut name) = (false, pcscd::NAME);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match *option {
            "--short" => short = true,
            "--reader" => name = rest.next().ok_or(USAGE)?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok((short, name.to_owned()))
}

fn run(directory: &str, options: &[&str]) -> Result<(), String> {
    let (short, name) = read(options)?;
    let fails = |what: &'static str| move |error| format!("{what}: {error}");
    std::fs::create_dir_all(directory).map_err(fails("directory"))?;
    std::env::set_current_dir(directory).map_err(fails("directory"))?;
    std::fs::create_dir_all("pcscd").map_err(fails("pcscd"))?;
    let _ = std::fs::remove_file("control");
    let listener = UnixListener::bind("control").map_err(fails("control"))?;
    namespace::enter().map_err(fails("namespaces for pcscd"))?;
    let start = |number: u16| {
        let directory = format!("card-{number}").into();
        Slot::start(PORT + number - 1, directory, number == 1, short).map_err(fails("card"))
    };
    let mut control = Control {
        slots: vec![start(1)?, start(2)?],
        daemon: Some(Pcscd::start(&name)?),
        name,
    };
    control.await_slots()?;
    println!("ready");
    std::io::stdout().flush().map_err(fails("ready"))?;
    control.obey(&listener);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *words {
        ["--control", directory, _, ..] => {
            control::send(&format!("{directory}/control"), &arguments[2..])
                .map_err(|error| format!("{directory}/control: {error}"))
        }
        [directory, ref options @ ..] => run(directory, options).map(|()| true),
        [] => Err(USAGE.into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("virtual-card: {error}");
            ExitCode::FAILURE
        }
    }
}
