//! `nodetoken keygen`: makes a key pair inside a token.

use crate::choice::Id;
use crate::failure::{Result, fail};
use crate::object::KeyType;
use crate::pin_source::{SoPin, UserPin};
use crate::report::{Report, warn};
use crate::token::Provider;
use clap::Args;
use cryptoki_sys::*;
use serde_json::json;

/// Length of an id made here, in bytes: random, so that two keys never share one.
const ID_LENGTH: usize = 8;

/// Make a key pair inside a token. The private key never leaves it.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Kind of key. IHE ATNA peers all take RSA (ITI TF-2 3.19); EC signs faster
    #[arg(
        long = "type",
        value_enum,
        value_name = "TYPE",
        default_value = "rsa:3072"
    )]
    key_type: KeyType,
    /// Label of the key, and of its certificate later
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// Id (CKA_ID) of the key in hexadecimal; random where it is not given
    #[arg(long, value_name = "HEX")]
    id: Option<Id>,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    so_pin: SoPin,
}

impl Keygen {
    /// Makes the pair and reports its names.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        let provider = Provider::start()?;
        let slot = provider.choose(token)?;
        let mut session = provider.open(&slot)?;
        session.login_to_write(provider.writer(&slot), &self.pin, &self.so_pin)?;

        let keys = session.find(CKO_PRIVATE_KEY)?;
        let id = match &self.id {
            Some(id) => id.clone(),
            None => Id(session.random(ID_LENGTH)?),
        };
        if let Some(there) = keys.iter().find(|key| key.id() == id) {
            return fail!(
                Refused,
                "{} has the key {} already; choose another --id",
                session.slot().name(),
                there.name()
            );
        }
        if keys.iter().any(|key| key.label() == self.label) {
            warn(format!(
                "{} has another key with the label \"{}\": name this one by its id {id}",
                session.slot().name(),
                self.label
            ));
        }
        session.generate_key_pair(self.key_type, &self.label, &id)?;

        let slot = session.slot();
        Ok(Report::new(
            format!(
                "made {} key \"{}\", id {id}, in token \"{}\"\n",
                self.key_type, self.label, slot.label
            ),
            json!({
                "token": slot.label,
                "type": self.key_type.to_string(),
                "label": self.label,
                "id": id.to_string(),
            }),
        ))
    }
}
