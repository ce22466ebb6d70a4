//! `nodetoken pin`: changes a PIN, or unblocks the user's.

use crate::failure::Result;
use crate::pin_source::{NewPin, PinOptions, SoPin, UserPin};
use crate::report::Report;
use crate::token::{Provider, User};
use clap::{Args, Subcommand};
use serde_json::json;

/// Change or unblock a PIN.
#[derive(Debug, Subcommand)]
pub enum Pin {
    Change(Change),
    Unblock(Unblock),
}

/// Change the user PIN, or with --so the security officer's.
#[derive(Debug, Args)]
pub struct Change {
    /// Change the security officer's PIN
    #[arg(long)]
    so: bool,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    new_pin: NewPin,
}

/// Set a new user PIN as the security officer, and let it be tried again.
#[derive(Debug, Args)]
pub struct Unblock {
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    new_pin: NewPin,
}

impl Pin {
    /// Sets the new PIN.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        let provider = Provider::start()?;
        let mut session = provider.open(&provider.choose(token)?)?;
        let label = session.slot().label.clone();
        let what = match self {
            Pin::Change(change) => {
                let (user, old, what) = match change.so {
                    true => {
                        let pin = change.so_pin.read(&label)?;
                        (User::SecurityOfficer, pin, "security officer's PIN changed")
                    }
                    false => (User::User, change.pin.read(&label)?, "user PIN changed"),
                };
                session.set_pin(user, &old, &change.new_pin.choose(&label)?)?;
                what
            }
            Pin::Unblock(unblock) => {
                session.login(User::SecurityOfficer, &unblock.so_pin.read(&label)?)?;
                session.init_pin(&unblock.new_pin.choose(&label)?)?;
                "user PIN set"
            }
        };
        Ok(Report::new(
            format!("{what}: token \"{label}\"\n"),
            json!({ "token": label, "done": what }),
        ))
    }
}
