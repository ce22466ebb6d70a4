//! An RFC 4514 string such as `CN=node1,O=Hospital,C=JP` to a distinguished name.

use super::{Error, Result, refuse};
use der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode, Tag, Tagged};
use std::str::FromStr;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RelativeDistinguishedName};

/// Longest subject accepted, in bytes. X.520 bounds each attribute to 64 characters or so.
const MAX_SUBJECT: usize = 4096;

/// id-at-countryName (RFC 4519 2.2).
const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");

/// Reads a name as RFC 4514 section 3 writes it, most specific attribute first. Spaces around an
/// attribute are let pass, because people type them after the comma.
pub fn parse(text: &str) -> Result<Name> {
    if text.len() > MAX_SUBJECT {
        return refuse!(
            "subject is {} bytes long, the limit is {MAX_SUBJECT}",
            text.len()
        );
    }
    if text.trim().is_empty() {
        return Ok(Name::default());
    }
    let parts: Vec<&str> = split_unescaped(text, ',')
        .into_iter()
        .map(trim_unescaped)
        .collect();
    let mut names = Vec::with_capacity(parts.len());
    for part in parts {
        names.push(relative_name(part)?);
    }
    // The string begins with the most specific part, the encoding ends with it (RFC 4514 2.1).
    names.reverse();
    names
        .to_der()
        .and_then(|der| Name::from_der(&der))
        .map_err(|_| Error::new(format!("subject \"{text}\" is not a name (RFC 4514)")))
}

/// One part: `TYPE=VALUE`, or several of them between `+`.
fn relative_name(part: &str) -> Result<RelativeDistinguishedName> {
    let unknown = |_| {
        Error::new(format!(
            "subject part \"{part}\" is not TYPE=VALUE (RFC 4514) with a known type \
             such as CN, O, OU, L, ST, C, DC, UID, serialNumber or a dotted OID"
        ))
    };
    let mut attributes = Vec::new();
    // Split here, not by the library, which misreads a backslash before an escaped separator.
    for attribute in split_unescaped(part, '+') {
        let attribute = AttributeTypeAndValue::from_str(attribute).map_err(unknown)?;
        check_value(part, &attribute)?;
        attributes.push(attribute);
    }
    attributes.try_into().map_err(unknown)
}

/// The string types hold what X.520 lets them hold; the parser of the name does not look.
fn check_value(part: &str, attribute: &AttributeTypeAndValue) -> Result<()> {
    let value = &attribute.value;
    let text = match value.tag() {
        Tag::PrintableString => PrintableStringRef::try_from(value).map(|s| s.to_string()),
        Tag::Ia5String => Ia5StringRef::try_from(value).map(|s| s.to_string()),
        Tag::Utf8String => Utf8StringRef::try_from(value).map(|s| s.to_string()),
        // `OID=#hex`: the caller gave the encoding, and the parser has checked that it is DER.
        _ => return Ok(()),
    }
    .map_err(|_| {
        Error::new(format!(
            "subject part \"{part}\" has a character that this attribute cannot hold"
        ))
    })?;
    if text.is_empty() {
        return refuse!("subject part \"{part}\" has no value");
    }
    if attribute.oid == COUNTRY
        && !(text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()))
    {
        return refuse!(
            "subject part \"{part}\": a country is two capital letters (ISO 3166), such as JP"
        );
    }
    Ok(())
}

/// Splits at each `separator` that no backslash precedes.
fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c: char| {
        let splits = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
    .collect()
}

/// Without the spaces around it, but with an escaped one at its end.
fn trim_unescaped(part: &str) -> &str {
    let part = part.trim_start();
    let trimmed = part.trim_end();
    let backslashes = trimmed.bytes().rev().take_while(|b| *b == b'\\').count();
    if backslashes % 2 == 1 && trimmed.len() < part.len() {
        part.get(..=trimmed.len()).unwrap_or(part)
    } else {
        trimmed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_escaped_separator_behind_a_backslash_is_no_separator() {
        // Found by the fuzzer: the library's own splitting makes two parts of it.
        assert_eq!(parse("CN=a\\\\\\,CN=b").unwrap().iter().count(), 1);
        assert_eq!(parse("CN=a\\\\,CN=b").unwrap().iter().count(), 2);
        assert_eq!(parse("CN=a\\\\\\+CN=b").unwrap().iter().count(), 1);
        assert_eq!(parse("CN=a+OU=b").unwrap().iter().count(), 2);
    }

    #[test]
    fn most_specific_attribute_comes_first_in_text_and_last_in_der() {
        let name = parse("CN=node1, O=Hospital , C=JP").unwrap();
        let types: Vec<String> = name.iter().map(|a| a.oid.to_string()).collect();
        assert_eq!(types, ["2.5.4.6", "2.5.4.10", "2.5.4.3"]);
        assert_eq!(name.to_string(), "CN=node1,O=Hospital,C=JP");
    }

    #[test]
    fn japanese_escapes_and_groups_of_attributes() {
        assert_eq!(
            parse("CN=第一病院,C=JP").unwrap().to_string(),
            "CN=第一病院,C=JP"
        );
        assert_eq!(parse(r"CN=a\,b,C=JP").unwrap().len(), 2);
        assert_eq!(parse(r"CN=a\ ").unwrap().to_string(), r"CN=a\ ");
        let grouped = parse("CN=a+serialNumber=7,C=JP").unwrap();
        assert_eq!((grouped.len(), grouped.iter().count()), (2, 3));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("node1", "\"node1\""),
            ("CN=a,,C=JP", "\"\""),
            ("XYZ=a", "\"XYZ=a\""),
            ("CN=", "no value"),
            ("CN=a,C=Japan", "two capital letters"),
            (r"CN=\ff\fe", "cannot hold"),
            ("DC=病院", "cannot hold"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(parse(&format!("CN={}", "a".repeat(5000))).is_err());
    }
}
