//! `nodetoken list`: the objects of a token.

use crate::failure::Result;
use crate::object::{Kind, Object};
use crate::pin_source::{PinOptions, UserPin};
use crate::report::Report;
use crate::table::table;
use crate::token::{Provider, User};
use clap::Args;
use serde::Serialize;
use serde_json::json;

/// List the objects of a token.
///
/// Private keys are seen by the user only: with --login or a PIN option.
#[derive(Debug, Args)]
pub struct List {
    /// Log in, to see private objects too
    #[arg(long)]
    login: bool,
    #[command(flatten)]
    pin: UserPin,
}

impl List {
    /// Reports every object that may be seen.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        let provider = Provider::start()?;
        let mut session = provider.open(&provider.choose(token)?)?;
        let logs_in = self.login || self.pin.source().is_some();
        if logs_in {
            session.login(User::User, &self.pin.read(&session.slot().label)?)?;
        }
        let mut rows = Vec::new();
        let mut list = Vec::new();
        for kind in Kind::ALL {
            for object in session.find(kind.class())? {
                rows.push([
                    kind.to_string(),
                    object.label(),
                    object.id().to_string(),
                    about(kind, &object),
                ]);
                list.push(Entry::new(kind, &object));
            }
        }
        let slot = session.slot();
        let mut text = format!(
            "token \"{}\", serial {}, slot {}\n",
            slot.label, slot.serial, slot.id
        );
        match rows.is_empty() {
            true => text.push_str("no objects\n"),
            false => text.push_str(&table(["KIND", "LABEL", "ID", "ABOUT"], &rows)),
        }
        if !logs_in {
            text.push_str("(private objects are listed with --login)\n");
        }
        let json = json!({
            "token": { "label": slot.label, "serial": slot.serial, "slot": slot.id },
            "logged_in": logs_in,
            "objects": list,
        });
        Ok(Report::new(text, json))
    }
}

/// What distinguishes an object of its kind.
fn about(kind: Kind, object: &Object) -> String {
    match kind {
        Kind::Certificate => match object.certificate() {
            Some(certificate) => certificate.subject(),
            None => "not a readable X.509 certificate".to_owned(),
        },
        Kind::PrivateKey => match object.is_extractable() {
            true => format!("{}, EXTRACTABLE", object.key_type()),
            false => format!("{}, never leaves the token", object.key_type()),
        },
        Kind::PublicKey | Kind::SecretKey => object.key_type(),
        Kind::Data => String::new(),
    }
}

/// An object for programs.
#[derive(Serialize)]
struct Entry {
    kind: String,
    label: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    key_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extractable: Option<bool>,
    #[serde(flatten)]
    certificate: Option<CertificateEntry>,
}

#[derive(Serialize)]
struct CertificateEntry {
    subject: String,
    issuer: String,
    serial: String,
    not_after: String,
}

impl Entry {
    fn new(kind: Kind, object: &Object) -> Self {
        let certificate = match kind {
            Kind::Certificate => object.certificate(),
            _ => None,
        };
        Self {
            kind: kind.to_string(),
            label: object.label(),
            id: object.id().to_string(),
            key_type: kind.is_key().then(|| object.key_type()),
            extractable: (kind == Kind::PrivateKey).then(|| object.is_extractable()),
            certificate: certificate.map(|certificate| CertificateEntry {
                subject: certificate.subject(),
                issuer: certificate.issuer(),
                serial: certificate.serial_hex(),
                not_after: certificate.not_after_text(),
            }),
        }
    }
}
