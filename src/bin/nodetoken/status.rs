//! `nodetoken status`: which credentials the tokens hold and how long they live.

use crate::failure::{Exit, Result};
use crate::object::Object;
use crate::report::Report;
use crate::table::table;
use crate::token::{Provider, Session, Slot};
use clap::Args;
use cryptoki_sys::*;
use nodetoken::credential::status::Status as Validity;
use serde_json::{Value, json};
use std::time::SystemTime;

/// Show tokens, keys and certificates, with the days that are left.
///
/// Warnings start 90, 60, 30 and 15 days before expiry; from 7 days on, and after expiry, there is
/// one every day. No PIN is needed, so that it can run unattended.
#[derive(Debug, Args)]
pub struct Status {
    /// Exit with 9 if a certificate or a user PIN needs attention
    #[arg(long)]
    check: bool,
}

/// What is gathered about all tokens.
#[derive(Default)]
struct Overview {
    rows: Vec<[String; 6]>,
    tokens: Vec<Value>,
    needs_attention: bool,
}

impl Status {
    /// Reports every token, or the one named by `--token`.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        let provider = Provider::start()?;
        let slots = match token {
            Some(_) => vec![provider.choose(token)?],
            None => provider.slots()?,
        };
        let now = SystemTime::now();
        let mut overview = Overview::default();
        for slot in slots.iter().filter(|slot| slot.is_initialized()) {
            overview.add_token(&provider.open(slot)?, now)?;
        }
        let header = [
            "TOKEN",
            "KEY",
            "CERTIFICATE",
            "ISSUER",
            "DAYS LEFT",
            "STATUS",
        ];
        let text = match overview.rows.is_empty() {
            true => "no token; make one with `nodetoken init`\n".to_owned(),
            false => table(header, &overview.rows),
        };
        let mut report = Report::new(text, json!({ "tokens": overview.tokens }));
        if self.check && overview.needs_attention {
            report.exit = Exit::Attention.into();
        }
        Ok(report)
    }
}

impl Overview {
    /// Adds a token: its keys with their certificates, then the other certificates.
    fn add_token(&mut self, session: &Session<'_>, now: SystemTime) -> Result<()> {
        let slot = session.slot();
        let keys = session.find(CKO_PUBLIC_KEY)?;
        let mut certificates = session.find(CKO_CERTIFICATE)?;
        let mut entries = Vec::new();
        for key in &keys {
            let own: Vec<Object> = certificates
                .extract_if(.., |certificate| certificate.id() == key.id())
                .collect();
            if own.is_empty() {
                entries.push(self.add_key_alone(slot, key));
            }
            for certificate in &own {
                entries.push(self.add_certificate(slot, Some(key), certificate, now));
            }
        }
        for certificate in &certificates {
            entries.push(self.add_certificate(slot, None, certificate, now));
        }
        if entries.is_empty() {
            self.add_row(slot, ["-", "-", "-", "-", "empty"]);
        }
        if let Some(trouble) = slot.user_pin_trouble() {
            self.add_row(slot, ["-", "-", "-", "-", trouble]);
            self.needs_attention = true;
        }
        self.tokens.push(json!({
            "label": slot.label,
            "serial": slot.serial,
            "slot": slot.id,
            "user_pin": slot.user_pin_trouble().unwrap_or("ok"),
            "credentials": entries,
        }));
        Ok(())
    }

    fn add_row(&mut self, slot: &Slot, rest: [&str; 5]) {
        let [key, certificate, issuer, days, status] = rest.map(str::to_owned);
        self.rows
            .push([slot.label.clone(), key, certificate, issuer, days, status]);
    }

    fn add_key_alone(&mut self, slot: &Slot, key: &Object) -> Value {
        self.add_row(slot, [&short_name(key), "-", "-", "-", "no certificate"]);
        json!({ "key": describe_key(key), "certificate": null })
    }

    fn add_certificate(
        &mut self,
        slot: &Slot,
        key: Option<&Object>,
        object: &Object,
        now: SystemTime,
    ) -> Value {
        let key_name = key.map_or("-".to_owned(), short_name);
        let key = key.map(describe_key);
        let Some(certificate) = object.certificate() else {
            self.needs_attention = true;
            self.add_row(slot, [&key_name, &object.name(), "-", "-", "UNREADABLE"]);
            return json!({ "key": key, "certificate": null, "stage": "unreadable" });
        };
        let status = Validity::at(certificate.not_before(), certificate.not_after(), now);
        self.needs_attention |= status.needs_attention();
        self.add_row(
            slot,
            [
                &key_name,
                &certificate.subject_name(),
                &certificate.issuer_name(),
                &status.days_left.to_string(),
                &status.to_string(),
            ],
        );
        json!({
            "key": key,
            "certificate": {
                "label": object.label(),
                "id": object.id().to_string(),
                "subject": certificate.subject(),
                "issuer": certificate.issuer(),
                "serial": certificate.serial_hex(),
                "not_after": certificate.not_after_text(),
            },
            "days_left": status.days_left,
            "stage": status.stage.name(),
            "warn_today": status.warn_today,
        })
    }
}

/// What a row calls a key: its label, or its id where it has none.
fn short_name(key: &Object) -> String {
    match key.label() {
        label if label.is_empty() => key.id().to_string(),
        label => label,
    }
}

fn describe_key(key: &Object) -> Value {
    json!({ "label": key.label(), "id": key.id().to_string(), "type": key.key_type() })
}
