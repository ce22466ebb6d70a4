//! `nodetoken destroy`: removes objects from a token, for ever.

use crate::choice::Choice;
use crate::failure::{Exit, Failure, Result, fail};
use crate::object::{Kind, Object};
use crate::pin_source::{SoPin, UserPin};
use crate::report::{Report, say};
use crate::token::Provider;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::IsTerminal;

/// Destroy objects of a token. A destroyed key cannot be brought back.
#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    object: Choice,
    /// What to destroy of the objects that fit --id and --label
    #[arg(long, value_enum, default_value = "all")]
    kind: What,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    so_pin: SoPin,
}

/// What people call the kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Private keys with their public halves
    Key,
    /// Certificates
    Certificate,
    /// Secret keys
    SecretKey,
    /// Data objects
    Data,
    /// All of these
    All,
}

impl What {
    /// Private keys come last: if something fails before, the key is still there.
    fn kinds(self) -> &'static [Kind] {
        match self {
            What::Key => &[Kind::PublicKey, Kind::PrivateKey],
            What::Certificate => &[Kind::Certificate],
            What::SecretKey => &[Kind::SecretKey],
            What::Data => &[Kind::Data],
            What::All => &Kind::ALL,
        }
    }
}

impl Destroy {
    /// Shows what fits, asks, destroys, reports.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        if self.object.id.is_none() && self.object.label.is_none() {
            return fail!(Usage, "name the object: --id HEX or --label LABEL");
        }
        let provider = Provider::start()?;
        let slot = provider.choose(token)?;
        let mut session = provider.open(&slot)?;
        session.login_to_write(provider.writer(&slot), &self.pin, &self.so_pin)?;

        let mut doomed: Vec<(Kind, Object)> = Vec::new();
        for kind in self.kind.kinds() {
            let found = session.find(kind.class())?;
            let fitting = found.into_iter().filter(|object| self.object.fits(object));
            doomed.extend(fitting.map(|object| (*kind, object)));
        }
        let token = session.slot().name();
        if doomed.is_empty() {
            return fail!(NotFound, "{token} has no such object with {}", self.object);
        }
        if !self.yes {
            confirm(&doomed, &token)?;
        }
        let mut text = String::new();
        let mut list = Vec::new();
        for (kind, object) in &doomed {
            session
                .destroy(object)
                .map_err(|failure| failure.during(format!("{text}{kind} {}", object.name())))?;
            text.push_str(&format!("destroyed {kind} {}\n", object.name()));
            list.push(json!({
                "kind": kind.to_string(),
                "label": object.label(),
                "id": object.id().to_string(),
            }));
        }
        let json = json!({ "token": session.slot().label, "destroyed": list });
        Ok(Report::new(text, json))
    }
}

/// Asks on the terminal; anything but `yes` keeps everything.
fn confirm(doomed: &[(Kind, Object)], token: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return fail!(
            Usage,
            "no terminal to ask for confirmation; give --yes to destroy without"
        );
    }
    say(&format!("This destroys in {token}, for ever:\n"));
    for (kind, object) in doomed {
        say(&format!("  {kind} {}\n", object.name()));
    }
    say("Type yes to go on: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| {
        Failure::new(Exit::Other, format!("the answer cannot be read: {error}"))
    })?;
    match answer.trim() == "yes" {
        true => Ok(()),
        false => fail!(Other, "not confirmed; nothing is destroyed"),
    }
}
