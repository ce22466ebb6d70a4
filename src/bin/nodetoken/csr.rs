//! `nodetoken csr`: a certification request for a key of a token.

use crate::choice::Choice;
use crate::failure::{Exit, Failure, Result, fail};
use crate::pin_source::{PinOptions, UserPin};
use crate::report::Report;
use crate::token::{Provider, User};
use clap::Args;
use cryptoki_sys::*;
use nodetoken::credential::{csr, subject};
use serde_json::json;
use std::net::IpAddr;
use std::path::PathBuf;

/// Write a certification request (PKCS#10) for a key of a token, to be sent to a CA.
///
/// It asks for a certificate of a TLS client and server that signs. Without --out it goes to
/// standard output.
#[derive(Debug, Args)]
pub struct Csr {
    #[command(flatten)]
    key: Choice,
    /// Name of the node as RFC 4514 writes it, such as "CN=node1,O=Hospital,C=JP"
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    subject: String,
    /// DNS name for the subjectAltName; may be given several times
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// IP address for the subjectAltName
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// E-mail address for the subjectAltName
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// URI for the subjectAltName
    #[arg(long, value_name = "URI")]
    uri: Vec<String>,
    /// Write the request to FILE
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write DER in place of PEM; needs --out
    #[arg(long, requires = "out")]
    der: bool,
    #[command(flatten)]
    pin: UserPin,
}

impl Csr {
    /// Signs the request with the key and writes it.
    pub fn run(&self, token: Option<&str>) -> Result<Report> {
        // What the command line says is checked before a PIN is asked for.
        let request = self.request()?;
        let provider = Provider::start()?;
        let mut session = provider.open(&provider.choose(token)?)?;
        session.login(User::User, &self.pin.read(&session.slot().label)?)?;

        let key = self.key.private_key(&session)?;
        let Some(public_key) = key.get(CKA_PUBLIC_KEY_INFO) else {
            return fail!(
                Damaged,
                "the private key {} has no public key beside it (CKA_PUBLIC_KEY_INFO)",
                key.name()
            );
        };
        let signed = request.sign(public_key, |algorithm, bytes| {
            session.sign(&key, algorithm, bytes)
        })?;

        let pem = signed.to_pem()?;
        let mut text = pem.clone();
        if let Some(path) = &self.out {
            let bytes = match self.der {
                true => signed.to_der()?,
                false => pem.clone().into_bytes(),
            };
            std::fs::write(path, bytes).map_err(|error| {
                let words = format!("file {} cannot be written: {error}", path.display());
                Failure::new(Exit::Other, words)
            })?;
            text = format!(
                "wrote the request for key {} to {}\n",
                key.name(),
                path.display()
            );
        }
        Ok(Report::new(
            text,
            json!({
                "token": session.slot().label,
                "label": key.label(),
                "id": key.id().to_string(),
                "subject": request.subject.to_string(),
                "file": self.out.as_ref().map(|path| path.display().to_string()),
                "request": pem,
            }),
        ))
    }

    /// The names on the command line as a request.
    fn request(&self) -> Result<csr::Request> {
        let mut names = Vec::new();
        for name in &self.dns {
            names.push(csr::dns_name(name)?);
        }
        names.extend(self.ip.iter().copied().map(csr::ip_address));
        for address in &self.email {
            names.push(csr::email(address)?);
        }
        for uri in &self.uri {
            names.push(csr::uri(uri)?);
        }
        let subject = subject::parse(&self.subject)?;
        if subject.is_empty() && names.is_empty() {
            return fail!(
                Usage,
                "a request needs a name: --subject, --dns, --ip, --email or --uri"
            );
        }
        Ok(csr::Request {
            subject,
            alternative_names: names,
        })
    }
}
