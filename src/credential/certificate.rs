//! Certificates and chains as CAs hand them over.
//!
//! Input comes from outside, so it is bounded ([`MAX_INPUT`], [`MAX_CERTIFICATES`]) before it is
//! parsed. The DER of a name, serial number or key is cut out of the certificate, never encoded
//! again: PKCS#11 clients compare these attributes byte by byte.

use super::{Error, Result, refuse};
use der::asn1::{AnyRef, ObjectIdentifier, OctetString};
use der::{Decode, Reader, SliceReader, Tag};
use spki::SubjectPublicKeyInfoRef;
use std::time::SystemTime;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectKeyIdentifier};

/// Largest input in bytes: a generous chain in PEM.
pub const MAX_INPUT: usize = 1 << 20;
/// Most certificates in one input.
pub const MAX_CERTIFICATES: usize = 32;

/// id-signedData (RFC 5652 5.1).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// anyExtendedKeyUsage (RFC 5280 4.2.1.12).
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// What a certificate may be used for in TLS (RFC 5280 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// id-kp-serverAuth.
    Server,
    /// id-kp-clientAuth.
    Client,
}

impl Purpose {
    /// Its KeyPurposeId.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Purpose::Server => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
            Purpose::Client => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
        }
    }
}

/// One X.509 certificate (RFC 5280), with the pieces that PKCS#11 attributes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    serial: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    public_key_info: Vec<u8>,
    decoded: x509_cert::Certificate,
}

impl Certificate {
    /// Reads one certificate in DER.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if der.len() > MAX_INPUT {
            return refuse!(
                "certificate of {} bytes, the limit is {MAX_INPUT}",
                der.len()
            );
        }
        let broken = |error: der::Error| Error::new(format!("not an X.509 certificate: {error}"));
        let decoded = x509_cert::Certificate::from_der(der).map_err(broken)?;
        let [serial, issuer, subject, public_key_info] = pieces(der).map_err(broken)?;
        Ok(Self {
            der: der.to_vec(),
            serial: serial.to_vec(),
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            public_key_info: public_key_info.to_vec(),
            decoded,
        })
    }

    /// The whole certificate (CKA_VALUE).
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The serial number, an INTEGER with tag and length (CKA_SERIAL_NUMBER).
    pub fn serial_der(&self) -> &[u8] {
        &self.serial
    }

    /// The issuer's Name (CKA_ISSUER).
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer
    }

    /// The subject's Name (CKA_SUBJECT).
    pub fn subject_der(&self) -> &[u8] {
        &self.subject
    }

    /// The SubjectPublicKeyInfo (CKA_PUBLIC_KEY_INFO).
    pub fn public_key_info_der(&self) -> &[u8] {
        &self.public_key_info
    }

    /// The subject as RFC 4514 writes it.
    pub fn subject(&self) -> String {
        self.decoded.tbs_certificate().subject().to_string()
    }

    /// The issuer as RFC 4514 writes it.
    pub fn issuer(&self) -> String {
        self.decoded.tbs_certificate().issuer().to_string()
    }

    /// What people call the subject: its common name, or the whole name where it has none.
    pub fn subject_name(&self) -> String {
        common_name(self.decoded.tbs_certificate().subject())
    }

    /// What people call the issuer.
    pub fn issuer_name(&self) -> String {
        common_name(self.decoded.tbs_certificate().issuer())
    }

    /// The serial number in hexadecimal, as CAs print it.
    pub fn serial_hex(&self) -> String {
        let serial = self.decoded.tbs_certificate().serial_number();
        serial
            .as_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// First moment of validity.
    pub fn not_before(&self) -> SystemTime {
        self.decoded
            .tbs_certificate()
            .validity()
            .not_before
            .to_system_time()
    }

    /// Last moment of validity.
    pub fn not_after(&self) -> SystemTime {
        self.decoded
            .tbs_certificate()
            .validity()
            .not_after
            .to_system_time()
    }

    /// Last moment of validity as ISO 8601 in UTC.
    pub fn not_after_text(&self) -> String {
        self.decoded
            .tbs_certificate()
            .validity()
            .not_after
            .to_string()
    }

    /// Its subject is its issuer: a root, or a certificate that vouches for itself.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether its extended key usage lets it be used for `purpose`. Without the extension, or
    /// with one that cannot be read, it is not restricted here: the peer decides.
    pub fn allows(&self, purpose: Purpose) -> bool {
        match self
            .decoded
            .tbs_certificate()
            .get_extension::<ExtendedKeyUsage>()
        {
            Ok(Some((_, usage))) => {
                usage.0.contains(&purpose.oid()) || usage.0.contains(&ANY_PURPOSE)
            }
            Ok(None) | Err(_) => true,
        }
    }

    /// The subject key identifier that the certificate names, or the SHA-1 of its public key
    /// (RFC 5280 4.2.1.2, method 1): the customary CKA_ID of a certificate without a key.
    pub fn key_identifier(&self) -> Result<Vec<u8>> {
        let extension = self
            .decoded
            .tbs_certificate()
            .get_extension::<SubjectKeyIdentifier>();
        if let Ok(Some((_, SubjectKeyIdentifier(identifier)))) = extension {
            return Ok(identifier.as_bytes().to_vec());
        }
        SubjectPublicKeyInfoRef::from_der(&self.public_key_info)
            .and_then(SubjectKeyIdentifier::try_from)
            .map(|SubjectKeyIdentifier(identifier)| OctetString::into_bytes(identifier).to_vec())
            .map_err(|error| Error::new(format!("public key of the certificate: {error}")))
    }
}

/// The common name, or the whole name.
fn common_name(name: &x509_cert::name::Name) -> String {
    match name.common_name() {
        Ok(Some(common)) => common.value().into_owned(),
        _ => name.to_string(),
    }
}

/// Serial number, issuer, subject and subjectPublicKeyInfo, each with its tag and length
/// (RFC 5280 4.1).
fn pieces(der: &[u8]) -> der::Result<[&[u8]; 4]> {
    let mut reader = SliceReader::new(der)?;
    reader.sequence(|certificate| {
        let pieces = certificate.sequence(|tbs| {
            // version [0] EXPLICIT DEFAULT v1
            if Tag::peek(tbs)?.is_context_specific() {
                tbs.tlv_bytes()?;
            }
            let serial = tbs.tlv_bytes()?;
            let _signature = tbs.tlv_bytes()?;
            let issuer = tbs.tlv_bytes()?;
            let _validity = tbs.tlv_bytes()?;
            let subject = tbs.tlv_bytes()?;
            let public_key_info = tbs.tlv_bytes()?;
            skip_rest(tbs)?;
            Ok::<_, der::Error>([serial, issuer, subject, public_key_info])
        })?;
        skip_rest(certificate)?;
        Ok(pieces)
    })
}

/// Passes over what is left of a structure.
fn skip_rest<'a>(reader: &mut impl Reader<'a>) -> der::Result<()> {
    while !reader.is_finished() {
        reader.tlv_bytes()?;
    }
    Ok(())
}

/// Every certificate in `input`, in its order: one in DER, a certs-only CMS message (PKCS#7), or
/// PEM with any number of either and text between them.
pub fn parse(input: &[u8]) -> Result<Vec<Certificate>> {
    if input.len() > MAX_INPUT {
        return refuse!("{} bytes, the limit is {MAX_INPUT}", input.len());
    }
    let certificates = match input.first() {
        None => return refuse!("it is empty"),
        Some(0x30) => parse_der(input)?,
        Some(_) => parse_pem(input)?,
    };
    match certificates.len() {
        0 => refuse!("there is no certificate in it"),
        1..=MAX_CERTIFICATES => Ok(certificates),
        many => refuse!("{many} certificates, the limit is {MAX_CERTIFICATES}"),
    }
}

/// A certificate or a CMS message, told apart by the first element of the SEQUENCE.
fn parse_der(der: &[u8]) -> Result<Vec<Certificate>> {
    let first = SliceReader::new(der).and_then(|mut reader| {
        reader.sequence(|outer| {
            let tag = Tag::peek(outer)?;
            skip_rest(outer)?;
            Ok::<_, der::Error>(tag)
        })
    });
    match first {
        Ok(Tag::Sequence) => Ok(vec![Certificate::from_der(der)?]),
        Ok(Tag::ObjectIdentifier) => parse_cms(der),
        Ok(Tag::Integer) => {
            refuse!("it is a PKCS#12 file or a private key; a certificate is needed")
        }
        Ok(_) => refuse!("it is neither a certificate nor a CMS message"),
        Err(error) => refuse!("it is not complete, valid DER: {error}"),
    }
}

/// The certificates of a CMS SignedData (RFC 5652 5.1). No signature is looked at: a certs-only
/// message has none, and the certificates stand for themselves.
fn parse_cms(der: &[u8]) -> Result<Vec<Certificate>> {
    let set = signed_certificates(der)
        .map_err(|error| Error::new(format!("not a CMS SignedData message: {error}")))?;
    let mut reader = SliceReader::new(set).map_err(|e| Error::new(e.to_string()))?;
    let mut certificates = Vec::new();
    while !reader.is_finished() && certificates.len() <= MAX_CERTIFICATES {
        let der = reader
            .tlv_bytes()
            .map_err(|error| Error::new(format!("broken CMS certificate set: {error}")))?;
        certificates.push(Certificate::from_der(der)?);
    }
    Ok(certificates)
}

/// The contents of `certificates [0] IMPLICIT SET`, empty where it is absent.
fn signed_certificates(der: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let content = reader.sequence(|info| {
        let oid: ObjectIdentifier = info.decode()?;
        if oid != SIGNED_DATA {
            return Err(der::ErrorKind::OidUnknown { oid }.into());
        }
        info.decode::<AnyRef<'_>>()
    })?;
    let mut reader = SliceReader::new(content.value())?;
    reader.sequence(|signed_data| {
        let _version = signed_data.tlv_bytes()?;
        let _digest_algorithms = signed_data.tlv_bytes()?;
        let _content = signed_data.tlv_bytes()?;
        let mut certificates: &[u8] = &[];
        if signed_data.peek_byte() == Some(0xa0) {
            certificates = signed_data.decode::<AnyRef<'_>>()?.value();
        }
        skip_rest(signed_data)?;
        Ok::<_, der::Error>(certificates)
    })
}

/// The certificates of a PEM text (RFC 7468, read laxly: any line length, text around the blocks).
fn parse_pem(input: &[u8]) -> Result<Vec<Certificate>> {
    let Ok(text) = str::from_utf8(input) else {
        return refuse!("it is neither DER nor PEM");
    };
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else {
            return refuse!("a PEM block does not start with -----BEGIN …-----");
        };
        let Some((body, after)) = after.split_once(&format!("-----END {label}-----")) else {
            return refuse!("the PEM block \"{label}\" has no end: the file is cut off");
        };
        rest = after;
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                certificates.push(Certificate::from_der(&decode_base64(label, body)?)?);
            }
            "PKCS7" | "CMS" => certificates.extend(parse_cms(&decode_base64(label, body)?)?),
            _ if label.ends_with("PRIVATE KEY") => {
                return refuse!(
                    "it holds a private key (\"{label}\") beside or in place of a certificate; \
                     give a file with certificates only"
                );
            }
            _ => return refuse!("it holds a PEM block \"{label}\", which is not a certificate"),
        }
        if certificates.len() > MAX_CERTIFICATES {
            break;
        }
    }
    Ok(certificates)
}

/// The bytes of a PEM block, wrapped anew at the 64 columns that RFC 7468 wants.
fn decode_base64(label: &str, body: &str) -> Result<Vec<u8>> {
    let mut block = format!("-----BEGIN {label}-----");
    for (at, c) in body
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .enumerate()
    {
        if at % 64 == 0 {
            block.push('\n');
        }
        block.push(c);
    }
    block.push_str(&format!("\n-----END {label}-----\n"));
    der::pem::decode_vec(block.as_bytes())
        .map(|(_, der)| der)
        .map_err(|error| Error::new(format!("PEM block \"{label}\": {error}")))
}

/// Puts the certificates of one node in order: its own first, then each one's issuer, as TLS sends
/// them (RFC 8446 4.4.2). Doubles are dropped. What belongs to no single chain is refused.
///
/// Names alone decide; whether the signatures hold is for the peer to check.
pub fn order_chain(certificates: Vec<Certificate>) -> Result<Vec<Certificate>> {
    let mut rest: Vec<Certificate> = Vec::new();
    for certificate in certificates {
        if !rest.contains(&certificate) {
            rest.push(certificate);
        }
    }
    let mut leaves = rest.iter().enumerate().filter(|(at, candidate)| {
        !rest
            .iter()
            .enumerate()
            .any(|(other, c)| other != *at && c.issuer == candidate.subject)
    });
    let leaf = match (leaves.next(), leaves.next()) {
        (Some((at, _)), None) => at,
        (Some((_, one)), Some((_, other))) => {
            return refuse!(
                "the certificates are not one chain: neither \"{}\" nor \"{}\" issued another",
                one.subject(),
                other.subject()
            );
        }
        (None, _) => return refuse!("the certificates issue each other in a circle"),
    };
    let mut chain = vec![rest.swap_remove(leaf)];
    while let Some(at) = chain
        .last()
        .and_then(|last| rest.iter().position(|c| c.subject == last.issuer))
    {
        chain.push(rest.remove(at));
    }
    match rest.first() {
        None => Ok(chain),
        Some(stray) => refuse!(
            "the certificate \"{}\" does not belong to the chain",
            stray.subject()
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const ROOT: &str = include_str!("testdata/root.pem");
    const ISSUING: &str = include_str!("testdata/issuing.pem");
    const NODE: &str = include_str!("testdata/node.pem");
    const CERTS_ONLY: &str = include_str!("testdata/chain.p7b");

    fn one(pem: &str) -> Certificate {
        parse(pem.as_bytes()).unwrap().remove(0)
    }

    fn refusal(input: &[u8]) -> String {
        parse(input).unwrap_err().to_string()
    }

    #[test]
    fn pieces_are_the_certificates_own_bytes() {
        let node = one(NODE);
        for piece in [
            node.serial_der(),
            node.issuer_der(),
            node.subject_der(),
            node.public_key_info_der(),
        ] {
            assert!(node.der().windows(piece.len()).any(|w| w == piece));
        }
        assert_eq!(node.serial_der(), [0x02, 0x02, 0x10, 0x01]);
        assert_eq!(node.issuer_der(), one(ISSUING).subject_der());
        assert_eq!(node.public_key_info_der()[..4], [0x30, 0x59, 0x30, 0x13]);
    }

    #[test]
    fn names_serial_and_validity_for_people() {
        let node = one(NODE);
        assert_eq!(node.subject(), "CN=第一病院 node1,O=Hospital,C=JP");
        assert_eq!(node.subject_name(), "第一病院 node1");
        assert_eq!(node.issuer_name(), "Test Issuing CA");
        assert_eq!(node.serial_hex(), "1001");
        assert_eq!(node.not_after_text(), "2033-05-18T03:33:20Z");
        assert_eq!(
            node.not_after(),
            UNIX_EPOCH + Duration::from_secs(2_000_000_000)
        );
        assert!(node.not_before() < node.not_after());
    }

    #[test]
    fn purposes_come_from_the_extension_and_are_free_without_it() {
        assert!(one(NODE).allows(Purpose::Client));
        assert!(!one(NODE).allows(Purpose::Server));
        assert!(one(ROOT).allows(Purpose::Server));
    }

    #[test]
    fn key_identifier_is_the_extension_or_the_sha1_of_the_key() {
        // The root has the extension, made by OpenSSL with the same method; the node has none.
        let root = one(ROOT);
        let computed = SubjectKeyIdentifier::try_from(
            SubjectPublicKeyInfoRef::from_der(root.public_key_info_der()).unwrap(),
        );
        assert_eq!(
            root.key_identifier().unwrap(),
            computed.unwrap().0.as_bytes()
        );
        assert_eq!(one(NODE).key_identifier().unwrap().len(), 20);
    }

    #[test]
    fn der_pem_and_cms_give_the_same_certificates() {
        let node = one(NODE);
        assert_eq!(parse(node.der()).unwrap(), std::slice::from_ref(&node));
        let bundle = format!("subject=node\n{NODE}\r\n\nissuer:\n{ISSUING}{ROOT}tail");
        let expected = [node.clone(), one(ISSUING), one(ROOT)];
        assert_eq!(parse(bundle.as_bytes()).unwrap(), expected);
        assert_eq!(
            parse(bundle.replace('\n', "\r\n").as_bytes()).unwrap(),
            expected
        );

        let from_cms = order_chain(parse(CERTS_ONLY.as_bytes()).unwrap()).unwrap();
        assert_eq!(from_cms, expected);
        let (_, cms) = der::pem::decode_vec(CERTS_ONLY.as_bytes()).unwrap();
        assert_eq!(parse(&cms).unwrap().len(), 3);
    }

    #[test]
    fn pem_of_any_line_length_is_read() {
        let body: String = NODE.lines().filter(|l| !l.starts_with("--")).collect();
        let flat = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----");
        assert_eq!(parse(flat.as_bytes()).unwrap(), [one(NODE)]);
    }

    #[test]
    fn chains_are_ordered_from_the_leaf() {
        let (root, issuing, node) = (one(ROOT), one(ISSUING), one(NODE));
        let expected = [node.clone(), issuing.clone(), root.clone()];
        let mixed = vec![root.clone(), node.clone(), issuing.clone(), node.clone()];
        assert_eq!(order_chain(mixed).unwrap(), expected);
        assert_eq!(
            order_chain(vec![one(ROOT)]).unwrap(),
            std::slice::from_ref(&root)
        );
        // A gap leaves two ends.
        let gap = order_chain(vec![root, node]).unwrap_err().to_string();
        assert!(gap.contains("not one chain"), "{gap}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(b"hello").contains("no certificate"));
        assert!(refusal(&[0xff, 0xfe]).contains("neither DER nor PEM"));
        assert!(refusal(&vec![b' '; MAX_INPUT + 1]).contains("limit"));
        assert!(refusal(NODE.repeat(33).as_bytes()).contains("limit is 32"));
        assert!(refusal(&NODE.as_bytes()[..200]).contains("cut off"));
        let der = one(NODE).der().to_vec();
        assert!(refusal(&der[..der.len() - 1]).contains("not complete"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(refusal(key.as_bytes()).contains("private key"));
        assert!(refusal(&[0x30, 0x03, 0x02, 0x01, 0x03]).contains("PKCS#12"));
        let damaged = NODE.replace("MII", "M?I");
        assert!(refusal(damaged.as_bytes()).contains("PEM block"));
    }

    #[test]
    fn no_cut_or_flipped_input_breaks_the_parser() {
        let (_, cms) = der::pem::decode_vec(CERTS_ONLY.as_bytes()).unwrap();
        for good in [one(NODE).der().to_vec(), cms] {
            for at in 0..good.len() {
                assert!(parse(&good[..at]).is_err(), "cut at {at}");
                let mut flipped = good.clone();
                flipped[at] ^= 0x21;
                // Most flips are refused, some only change a value: what is returned must hold.
                for certificate in parse(&flipped).unwrap_or_default() {
                    assert_eq!(Certificate::from_der(certificate.der()), Ok(certificate));
                }
            }
        }
    }
}
