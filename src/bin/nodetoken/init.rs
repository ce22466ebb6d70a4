//! `nodetoken init`: makes a token.

use crate::failure::{Result, fail};
use crate::pin_source::{PinOptions, SoPin, UserPin};
use crate::report::Report;
use crate::token::{Kind, Provider, Slot, User};
use clap::Args;
use serde_json::json;

/// Make a token: its label, the security officer's PIN and the user PIN.
///
/// The first slot with an uninitialized token is taken: the TPM's, where one is configured. A card
/// is a token as it comes: --kind card --erase makes it empty, under a new label.
#[derive(Debug, Args)]
pub struct Init {
    /// Label of the token, at most 32 bytes of UTF-8
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// What is to keep the token
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Make one more token in a store that has tokens
    #[arg(long)]
    new: bool,
    /// Make the token named by --token anew: everything in it is destroyed. Needs its SO PIN
    #[arg(long, conflicts_with = "new")]
    erase: bool,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    pin: UserPin,
}

impl Init {
    /// Makes the token and reports its slot and serial number.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        if self.label.trim().is_empty() || self.label.len() > 32 {
            return fail!(
                Usage,
                "label \"{}\" is {} bytes long; a token's label has 1 to 32 bytes (PKCS#11 C_InitToken)",
                self.label,
                self.label.len()
            );
        }
        let provider = match self.new || self.kind == Some(Kind::Software) {
            true => Provider::start_with_spare_slot()?,
            false => Provider::start()?,
        };
        let mut slots = provider.slots()?;
        if let (None, Some(device)) = (self.kind, provider.missing_tpm(&slots)) {
            return fail!(
                NotFound,
                "there is no TPM at {device}, where the configuration has one; the log (NODETOKEN_LOG) says why. \
                 --kind software makes a token in files"
            );
        }
        slots.retain(|slot| match self.kind {
            Some(kind) => slot.kind == kind,
            None => slot.kind != Kind::Card,
        });
        let slot = self.place(&provider, &slots, token)?;

        let so_pin = match slot.is_initialized() {
            true => self.so_pin.read(&slot.label)?,
            false => self.so_pin.choose(&self.label)?,
        };
        let pin = self.pin.choose(&self.label)?;
        slot.check_length(User::SecurityOfficer, &so_pin)?;
        slot.check_length(User::User, &pin)?;
        provider.init_token(&slot, &so_pin, &self.label)?;
        let mut session = provider.open(&provider.slot(slot.id)?)?;
        session.login(User::SecurityOfficer, &so_pin)?;
        session
            .init_pin(&pin)
            .map_err(|failure| failure.during("the token is made, but its user PIN is not set"))?;

        let slot = session.slot();
        Ok(Report::new(
            format!(
                "made token \"{}\" ({}): serial {}, slot {}\n",
                slot.label, slot.kind, slot.serial, slot.id
            ),
            json!({
                "label": slot.label,
                "serial": slot.serial,
                "slot": slot.id,
                "kind": slot.kind.to_string(),
            }),
        ))
    }

    /// The slot to make the token in.
    fn place(&self, provider: &Provider, slots: &[Slot], token: Option<&str>) -> Result<Slot> {
        if let Some(wanted) = token {
            let slot = provider.choose_any(Some(wanted))?;
            return match slot.is_initialized() && !self.erase {
                true => fail!(
                    Refused,
                    "{} holds a token; --erase destroys it and everything in it",
                    slot.name()
                ),
                false => Ok(slot),
            };
        }
        if self.kind == Some(Kind::Card) {
            return self.card(slots);
        }
        if self.erase {
            return fail!(Usage, "name the token to be erased with --token");
        }
        let mut initialized = slots.iter().filter(|slot| slot.is_initialized());
        if let (Some(there), false) = (initialized.next(), self.new) {
            return fail!(
                Refused,
                "the store has {} already; --new makes one more beside it",
                there.name()
            );
        }
        match slots.iter().find(|slot| !slot.is_initialized()) {
            Some(slot) => Ok(slot.clone()),
            None if self.kind == Some(Kind::Tpm) => fail!(
                NotFound,
                "there is no TPM: name its device in the configuration ([tpm] device) or in NODETOKEN_TPM; the log \
                 (NODETOKEN_LOG) says why one that is named is not there"
            ),
            None => fail!(NotFound, "there is no slot with an uninitialized token"),
        }
    }

    /// The only card there is.
    fn card(&self, slots: &[Slot]) -> Result<Slot> {
        match slots {
            [] => fail!(
                NotFound,
                "there is no card that nodetoken knows in any reader; does pcscd run?"
            ),
            [slot] if self.erase => Ok(slot.clone()),
            [slot] => fail!(
                Refused,
                "{} can be used as it is; --erase makes it empty, under a new label: everything on it is \
                 destroyed",
                slot.name()
            ),
            _ => fail!(Usage, "there are several cards: name one with --token"),
        }
    }
}
