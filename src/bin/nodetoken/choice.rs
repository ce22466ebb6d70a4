//! How the command line names an object: by CKA_ID, by label, or by being the only one.

use crate::failure::{Result, fail};
use crate::object::Object;
use crate::token::Session;
use clap::Args;
use cryptoki_sys::*;
use std::fmt;
use std::str::FromStr;

/// A CKA_ID: bytes, written in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(pub Vec<u8>);

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect();
        match digits {
            Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => Ok(Self(
                digits
                    .chunks_exact(2)
                    .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
                    .collect(),
            )),
            _ => Err("an id is pairs of hexadecimal digits, such as 0a1b".to_owned()),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// `--id` and `--label`: an object that fits what is given.
#[derive(Debug, Args)]
pub struct Choice {
    /// The object's id (CKA_ID) in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub id: Option<Id>,
    /// The object's label
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
}

impl Choice {
    /// Whether `object` has the given id and label.
    pub fn fits(&self, object: &Object) -> bool {
        self.id.as_ref().is_none_or(|id| object.id() == *id)
            && self
                .label
                .as_ref()
                .is_none_or(|label| object.label() == *label)
    }

    /// The one private key of the token that fits. The session is logged in.
    pub fn private_key(&self, session: &Session<'_>) -> Result<Object> {
        let mut keys = session.find(CKO_PRIVATE_KEY)?;
        let token = session.slot().name();
        if keys.is_empty() {
            return fail!(
                NotFound,
                "{token} has no private key; make one with `nodetoken keygen`"
            );
        }
        keys.retain(|key| self.fits(key));
        match (keys.pop(), keys.len()) {
            (Some(key), 0) => Ok(key),
            (None, _) => fail!(NotFound, "{token} has no private key with {self}"),
            (Some(last), _) => {
                keys.push(last);
                let names: Vec<String> = keys.iter().map(Object::name).collect();
                fail!(
                    Usage,
                    "{token} has several private keys that fit: {}; choose one with --id",
                    names.join(", ")
                )
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.label) {
            (Some(id), Some(label)) => write!(f, "id {id} and label \"{label}\""),
            (Some(id), None) => write!(f, "id {id}"),
            (None, Some(label)) => write!(f, "label \"{label}\""),
            (None, None) => f.write_str("any name"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id: Id = "0a:1B:ff".parse().unwrap();
        assert_eq!(
            (id.0.as_slice(), id.to_string().as_str()),
            (&[10, 27, 255][..], "0a1bff")
        );
        for wrong in ["", "a", "0g", "0x01", "病院"] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }
}
