//! `nodetoken install`: stores the certificate that a CA made for a key of a token.

use crate::choice::Id;
use crate::failure::{Exit, Failure, Result, fail};
use crate::object::Object;
use crate::pin_source::{SoPin, UserPin};
use crate::report::{Report, warn};
use crate::token::{Provider, Session};
use clap::Args;
use cryptoki_sys::*;
use nodetoken::credential::certificate::{self, Certificate, MAX_INPUT, Purpose};
use nodetoken::credential::status::{Stage, Status};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// CK_CERTIFICATE_CATEGORY (PKCS#11 4.6.2): the token's user.
const TOKEN_USER: CK_ULONG = 1;
/// CK_CERTIFICATE_CATEGORY: a certification authority.
const AUTHORITY: CK_ULONG = 2;

/// Store the certificate that a CA made for a key of a token, with its chain.
///
/// FILE is PEM, DER or certs-only CMS (PKCS#7). The node's certificate must belong to a private
/// key of the token; it takes the key's id and label. An older certificate of the same key is
/// removed after the new one is stored. Installing the same certificate again changes nothing.
#[derive(Debug, Args)]
pub struct Install {
    /// Certificate or chain; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    pin: UserPin,
    #[command(flatten)]
    so_pin: SoPin,
}

/// What became of one certificate.
struct Outcome {
    certificate: Certificate,
    stored: bool,
    replaced: usize,
}

impl Install {
    /// Stores what is not there yet and reports each certificate.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        let shown = format!("file {}", self.file.display());
        let chain = certificate::parse(&read(&self.file)?)
            .and_then(certificate::order_chain)
            .map_err(|error| Failure::from(error).during(&shown))?;

        let provider = Provider::start()?;
        let slot = provider.choose(token)?;
        let mut session = provider.open(&slot)?;
        session.login_to_write(provider.writer(&slot), &self.pin, &self.so_pin)?;

        let mut outcomes = Vec::new();
        let mut certificates = chain.into_iter();
        let Some(leaf) = certificates.next() else {
            return fail!(BadInput, "{shown} has no certificate");
        };
        let key = key_of(&leaf, &session).map_err(|failure| failure.during(&shown))?;
        report_limits(&leaf);
        outcomes.push(install_leaf(&session, leaf, &key)?);
        for authority in certificates {
            outcomes.push(install_authority(&session, authority)?);
        }
        Ok(report(&session, &key, &outcomes))
    }
}

/// The bytes of `path`, one more than the limit at most.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_INPUT as u64 + 1;
    let done = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    done.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Other,
        };
        let words = format!("file {} cannot be read: {error}", path.display());
        Failure::new(exit, words)
    })?;
    Ok(bytes)
}

/// The private key whose public key the certificate certifies.
fn key_of(leaf: &Certificate, session: &Session<'_>) -> Result<Object> {
    let key = session
        .find(CKO_PRIVATE_KEY)?
        .into_iter()
        .find(|key| key.get(CKA_PUBLIC_KEY_INFO) == Some(leaf.public_key_info_der()));
    match key {
        Some(key) => Ok(key),
        None => fail!(
            BadInput,
            "the certificate \"{}\" belongs to no private key of {}; \
             it was made for another key, or for a key of another token",
            leaf.subject(),
            session.slot().name()
        ),
    }
}

/// Says what a peer may hold against the certificate. It is stored all the same: the CA decides.
fn report_limits(leaf: &Certificate) {
    let subject = leaf.subject();
    let status = Status::at(leaf.not_before(), leaf.not_after(), SystemTime::now());
    if matches!(
        status.stage,
        Stage::Expired | Stage::NotYetValid | Stage::Daily
    ) {
        warn(format!("the certificate \"{subject}\": {status}"));
    }
    for (purpose, name) in [(Purpose::Client, "client"), (Purpose::Server, "server")] {
        if !leaf.allows(purpose) {
            warn(format!(
                "the certificate \"{subject}\" is not for TLS {name} authentication (extended key usage)"
            ));
        }
    }
}

/// Stores the node's own certificate under the names of its key, then removes those it replaces.
fn install_leaf(session: &Session<'_>, leaf: Certificate, key: &Object) -> Result<Outcome> {
    let (same, others): (Vec<Object>, Vec<Object>) = session
        .find(CKO_CERTIFICATE)?
        .into_iter()
        .filter(|object| object.id() == key.id())
        .partition(|object| object.get(CKA_VALUE) == Some(leaf.der()));
    let stored = same.is_empty();
    if stored {
        session.create_certificate(&leaf, &key.label(), &key.id(), TOKEN_USER)?;
    }
    let mut replaced = 0;
    for other in others {
        let old = other.get(CKA_VALUE).map(Certificate::from_der);
        if let Some(Ok(old)) = old
            && old.public_key_info_der() == leaf.public_key_info_der()
        {
            if old.not_after() > leaf.not_after() {
                warn(format!(
                    "the certificate that was replaced was valid longer, until {}",
                    old.not_after_text()
                ));
            }
            session.destroy(&other)?;
            replaced += 1;
        }
    }
    Ok(Outcome {
        certificate: leaf,
        stored,
        replaced,
    })
}

/// Stores a certificate of the chain where the token does not have it.
fn install_authority(session: &Session<'_>, authority: Certificate) -> Result<Outcome> {
    let stored = !session
        .find(CKO_CERTIFICATE)?
        .iter()
        .any(|object| object.get(CKA_VALUE) == Some(authority.der()));
    if stored {
        let id = Id(authority.key_identifier()?);
        session.create_certificate(&authority, &authority.subject_name(), &id, AUTHORITY)?;
    }
    Ok(Outcome {
        certificate: authority,
        stored,
        replaced: 0,
    })
}

fn report(session: &Session<'_>, key: &Object, outcomes: &[Outcome]) -> Report {
    let mut text = String::new();
    let mut list = Vec::new();
    for (at, outcome) in outcomes.iter().enumerate() {
        let certificate = &outcome.certificate;
        let what = match (at, outcome.stored, outcome.replaced) {
            (_, false, 0) => "unchanged",
            (_, _, 1..) => "replaced",
            (0, true, 0) => "installed",
            (_, true, 0) => "installed (chain)",
        };
        text.push_str(&format!(
            "{what}: {}, issued by {}, valid until {}\n",
            crate::table::printable(&certificate.subject()),
            crate::table::printable(&certificate.issuer()),
            certificate.not_after_text()
        ));
        list.push(json!({
            "subject": certificate.subject(),
            "issuer": certificate.issuer(),
            "serial": certificate.serial_hex(),
            "not_after": certificate.not_after_text(),
            "stored": outcome.stored,
            "replaced": outcome.replaced,
        }));
    }
    text.push_str(&format!(
        "key: {} in {}\n",
        key.name(),
        session.slot().name()
    ));
    let json = json!({
        "token": session.slot().label,
        "label": key.label(),
        "id": key.id().to_string(),
        "certificates": list,
    });
    Report::new(text, json)
}
