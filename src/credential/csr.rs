//! A certification request (PKCS#10, RFC 2986), signed by a key that stays in its token.

use super::certificate::Purpose;
use super::{Error, Result, refuse};
use der::asn1::{AnyRef, BitString, Ia5String, ObjectIdentifier, UintRef};
use der::pem::LineEnding;
use der::{Decode, Encode, EncodePem, Sequence};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::net::IpAddr;
use x509_cert::attr::Attribute;
use x509_cert::ext::ToExtension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};

/// How a request is signed: one algorithm for each kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// sha256WithRSAEncryption (RFC 8017 A.2.4).
    RsaSha256,
    /// ecdsa-with-SHA256, for P-256 (RFC 5758 3.2).
    EcdsaSha256,
    /// ecdsa-with-SHA384, for P-384.
    EcdsaSha384,
    /// ecdsa-with-SHA512, for P-521.
    EcdsaSha512,
    /// id-Ed25519 (RFC 8410).
    Ed25519,
}

impl SignatureAlgorithm {
    /// The algorithm for a public key, from its SubjectPublicKeyInfo.
    pub fn for_key(public_key: &SubjectPublicKeyInfoOwned) -> Result<Self> {
        const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
        const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
        const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
        const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

        let curve = || public_key.algorithm.parameters.as_ref()?.decode_as().ok();
        match (public_key.algorithm.oid, curve()) {
            (RSA, _) => Ok(Self::RsaSha256),
            (EC, Some(P256)) => Ok(Self::EcdsaSha256),
            (EC, Some(P384)) => Ok(Self::EcdsaSha384),
            (EC, Some(P521)) => Ok(Self::EcdsaSha512),
            (ED25519, _) => Ok(Self::Ed25519),
            (EC, Some(curve)) => refuse!("a request by a key on the curve {curve} is not known"),
            (other, _) => refuse!("a request by a key of the algorithm {other} is not known"),
        }
    }

    /// As X.509 names it: RSA with NULL parameters, the others with none.
    fn identifier(self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::RsaSha256 => ("1.2.840.113549.1.1.11", Some(AnyRef::NULL.into())),
            Self::EcdsaSha256 => ("1.2.840.10045.4.3.2", None),
            Self::EcdsaSha384 => ("1.2.840.10045.4.3.3", None),
            Self::EcdsaSha512 => ("1.2.840.10045.4.3.4", None),
            Self::Ed25519 => {
                return AlgorithmIdentifierOwned {
                    oid: ED25519,
                    parameters: None,
                };
            }
        };
        AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap(oid),
            parameters,
        }
    }

    /// A signature as X.509 carries it, from the one that PKCS#11 gives.
    fn x509_signature(self, signature: Vec<u8>) -> Result<Vec<u8>> {
        match self {
            Self::RsaSha256 | Self::Ed25519 => Ok(signature),
            Self::EcdsaSha256 | Self::EcdsaSha384 | Self::EcdsaSha512 => ecdsa_der(&signature),
        }
    }
}

/// id-Ed25519 (RFC 8410 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Ecdsa-Sig-Value (RFC 3279 2.2.3).
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// `r ‖ s` of equal length (PKCS#11 6.3.1) as the SEQUENCE that X.509 wants.
fn ecdsa_der(signature: &[u8]) -> Result<Vec<u8>> {
    let broken = |_| Error::new("the token's ECDSA signature is not r and s of equal length");
    let (r, s) = signature
        .split_at_checked(signature.len().div_ceil(2))
        .unwrap_or_default();
    if r.is_empty() || r.len() != s.len() {
        return Err(broken(()));
    }
    let value = EcdsaSigValue {
        r: UintRef::new(r).map_err(|_| broken(()))?,
        s: UintRef::new(s).map_err(|_| broken(()))?,
    };
    value.to_der().map_err(|_| broken(()))
}

/// A dNSName of the subjectAltName: letters, digits, hyphens, and `*` as the first label.
pub fn dns_name(name: &str) -> Result<GeneralName> {
    let label = |(at, label): (usize, &str)| {
        (at == 0 && label == "*")
            || (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').enumerate().all(label) {
        return refuse!(
            "\"{name}\" is not a DNS name; an international one is written in its xn-- form"
        );
    }
    Ok(GeneralName::DnsName(ia5(name)?))
}

/// An iPAddress of the subjectAltName.
pub fn ip_address(address: IpAddr) -> GeneralName {
    address.into()
}

/// An rfc822Name of the subjectAltName.
pub fn email(address: &str) -> Result<GeneralName> {
    match address.split_once('@') {
        Some((user, host)) if !user.is_empty() && !host.is_empty() && !host.contains('@') => {
            Ok(GeneralName::Rfc822Name(ia5(address)?))
        }
        _ => refuse!("\"{address}\" is not an e-mail address"),
    }
}

/// A uniformResourceIdentifier of the subjectAltName: absolute, as RFC 5280 4.2.1.6 wants.
pub fn uri(uri: &str) -> Result<GeneralName> {
    match uri.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.is_empty() =>
        {
            Ok(GeneralName::UniformResourceIdentifier(ia5(uri)?))
        }
        _ => refuse!("\"{uri}\" is not an absolute URI such as urn:oid:1.2.3 or https://host/"),
    }
}

fn ia5(text: &str) -> Result<Ia5String> {
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    match Ia5String::new(text) {
        Ok(string) if printable => Ok(string),
        _ => refuse!("\"{text}\" has a character other than printable ASCII"),
    }
}

/// What a node asks a CA to certify.
#[derive(Debug, Clone)]
pub struct Request {
    /// The node's name; may be empty where there is an alternative name.
    pub subject: Name,
    /// Its other names.
    pub alternative_names: Vec<GeneralName>,
}

/// A signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest(CertReq);

impl SignedRequest {
    /// In DER.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        self.0.to_der().map_err(encoding)
    }

    /// In PEM (RFC 7468 7), lines ended by LF.
    pub fn to_pem(&self) -> Result<String> {
        self.0.to_pem(LineEnding::LF).map_err(encoding)
    }
}

impl Request {
    /// Signs this request for the key of `public_key_info` (a SubjectPublicKeyInfo in DER).
    ///
    /// `sign` hashes and signs the bytes it is given: RSASSA-PKCS1-v1_5 as it is, ECDSA as
    /// `r ‖ s`, Ed25519 as it is.
    pub fn sign<E: From<Error>>(
        &self,
        public_key_info: &[u8],
        mut sign: impl FnMut(SignatureAlgorithm, &[u8]) -> std::result::Result<Vec<u8>, E>,
    ) -> std::result::Result<SignedRequest, E> {
        let public_key = SubjectPublicKeyInfoOwned::from_der(public_key_info)
            .map_err(|error| Error::new(format!("public key of the token: {error}")))?;
        let algorithm = SignatureAlgorithm::for_key(&public_key)?;
        let info = self.info(public_key)?;
        let signature = sign(algorithm, &info.to_der().map_err(encoding)?)?;
        let signature = algorithm.x509_signature(signature)?;
        Ok(SignedRequest(CertReq {
            info,
            algorithm: algorithm.identifier(),
            signature: BitString::from_bytes(&signature).map_err(encoding)?,
        }))
    }

    /// What is signed: the names, the key, and the wish for a certificate of a TLS node, client
    /// and server, that signs (REQUIREMENTS R8).
    fn info(&self, public_key: SubjectPublicKeyInfoOwned) -> Result<CertReqInfo> {
        if self.subject.is_empty() && self.alternative_names.is_empty() {
            return refuse!("a request needs a subject or an alternative name");
        }
        let mut extensions = Vec::new();
        let usage = KeyUsage(KeyUsages::DigitalSignature.into());
        extensions.push(
            usage
                .to_extension(&self.subject, &extensions)
                .map_err(encoding)?,
        );
        let purposes = ExtendedKeyUsage(vec![Purpose::Client.oid(), Purpose::Server.oid()]);
        extensions.push(
            purposes
                .to_extension(&self.subject, &extensions)
                .map_err(encoding)?,
        );
        if !self.alternative_names.is_empty() {
            let names = SubjectAltName(self.alternative_names.clone());
            extensions.push(
                names
                    .to_extension(&self.subject, &extensions)
                    .map_err(encoding)?,
            );
        }
        let mut info = CertReqInfo {
            version: Version::V1,
            subject: self.subject.clone(),
            public_key,
            attributes: Default::default(),
        };
        let wish = Attribute::try_from(ExtensionReq(extensions)).map_err(encoding)?;
        info.attributes.insert(wish).map_err(encoding)?;
        Ok(info)
    }
}

fn encoding(error: der::Error) -> Error {
    Error::new(format!("the request cannot be encoded: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::credential::{certificate, subject};
    use der::asn1::Uint;

    fn p256_key() -> Vec<u8> {
        let pem = include_bytes!("testdata/node.pem");
        certificate::parse(pem).unwrap()[0]
            .public_key_info_der()
            .to_vec()
    }

    fn request() -> Request {
        Request {
            subject: subject::parse("CN=node1,O=Hospital,C=JP").unwrap(),
            alternative_names: vec![
                dns_name("node1.example.jp").unwrap(),
                ip_address("2001:db8::7".parse().unwrap()),
                email("admin@example.jp").unwrap(),
                uri("urn:oid:1.2.392.1").unwrap(),
            ],
        }
    }

    #[test]
    fn the_request_carries_names_key_and_wishes_and_its_own_signature() {
        let key = p256_key();
        let mut signed = Vec::new();
        let made = request()
            .sign(&key, |algorithm, tbs| {
                assert_eq!(algorithm, SignatureAlgorithm::EcdsaSha256);
                signed = tbs.to_vec();
                Ok::<_, Error>([vec![0x80; 32], vec![0; 31], vec![7]].concat())
            })
            .unwrap();

        let (label, der) = der::pem::decode_vec(made.to_pem().unwrap().as_bytes())
            .map(|(label, der)| (label.to_owned(), der))
            .unwrap();
        assert_eq!(label, "CERTIFICATE REQUEST");
        assert_eq!(der, made.to_der().unwrap());

        let read = CertReq::from_der(&der).unwrap();
        assert_eq!(read.info.to_der().unwrap(), signed);
        assert_eq!(read.info.subject.to_string(), "CN=node1,O=Hospital,C=JP");
        assert_eq!(read.info.public_key.to_der().unwrap(), key);
        assert_eq!(read.algorithm.oid.to_string(), "1.2.840.10045.4.3.2");

        let signature = EcdsaSigValue::from_der(read.signature.raw_bytes()).unwrap();
        assert_eq!(signature.r.as_bytes(), [0x80; 32]);
        assert_eq!(signature.s.as_bytes(), [7]);

        let attribute = read.info.attributes.get(0).unwrap();
        let wishes: ExtensionReq = attribute.values.get(0).unwrap().decode_as().unwrap();
        let found: Vec<(String, bool)> = wishes
            .0
            .iter()
            .map(|e| (e.extn_id.to_string(), e.critical))
            .collect();
        let expected = [
            ("2.5.29.15", true),
            ("2.5.29.37", false),
            ("2.5.29.17", false),
        ];
        assert_eq!(
            found,
            expected.map(|(oid, critical)| (oid.to_owned(), critical))
        );
        let names = SubjectAltName::from_der(wishes.0[2].extn_value.as_bytes()).unwrap();
        assert_eq!(names.0, request().alternative_names);
    }

    #[test]
    fn each_kind_of_key_has_its_algorithm() {
        let key = |algorithm: &str, curve: Option<&str>| SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: ObjectIdentifier::new_unwrap(algorithm),
                parameters: curve
                    .map(|c| der::Any::encode_from(&ObjectIdentifier::new_unwrap(c)).unwrap()),
            },
            subject_public_key: BitString::from_bytes(&[4]).unwrap(),
        };
        let ec = "1.2.840.10045.2.1";
        let of = |key| SignatureAlgorithm::for_key(&key).unwrap();
        assert_eq!(
            of(key("1.2.840.113549.1.1.1", None)),
            SignatureAlgorithm::RsaSha256
        );
        assert_eq!(
            of(key(ec, Some("1.3.132.0.34"))),
            SignatureAlgorithm::EcdsaSha384
        );
        assert_eq!(
            of(key(ec, Some("1.3.132.0.35"))),
            SignatureAlgorithm::EcdsaSha512
        );
        assert_eq!(of(key("1.3.101.112", None)), SignatureAlgorithm::Ed25519);
        let secp256k1 = SignatureAlgorithm::for_key(&key(ec, Some("1.3.132.0.10")));
        assert!(secp256k1.unwrap_err().to_string().contains("1.3.132.0.10"));
        assert!(SignatureAlgorithm::for_key(&key(ec, None)).is_err());
    }

    #[test]
    fn rsa_has_null_parameters_and_its_signature_unchanged() {
        let rsa = SignatureAlgorithm::RsaSha256;
        assert!(rsa.identifier().parameters.unwrap().is_null());
        assert_eq!(rsa.x509_signature(vec![0, 1, 2]).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn ecdsa_integers_are_minimal_and_positive() {
        let der = ecdsa_der(&[0, 0x7f, 0xff, 0x01]).unwrap();
        assert_eq!(der, [0x30, 8, 2, 1, 0x7f, 2, 3, 0, 0xff, 1]);
        let p521 = ecdsa_der(&[0xff; 132]).unwrap();
        let read = EcdsaSigValue::from_der(&p521).unwrap();
        assert_eq!(Uint::new(read.r.as_bytes()).unwrap().as_bytes(), [0xff; 66]);
        assert!(ecdsa_der(&[]).is_err());
        assert!(ecdsa_der(&[1, 2, 3]).is_err());
    }

    #[test]
    fn wrong_names_are_refused() {
        for name in ["", "a..b", "node 1", "病院.jp", "x.*.jp", &"a".repeat(64)] {
            assert!(dns_name(name).is_err(), "{name}");
        }
        assert!(dns_name("*.example.jp").is_ok());
        assert!(email("nobody").is_err() && email("a@b@c").is_err() && email("a b@c").is_err());
        assert!(uri("/path").is_err() && uri("urn:病院").is_err());
    }

    #[test]
    fn a_request_without_a_name_and_a_failing_signer_are_refused() {
        let nameless = Request {
            subject: Name::default(),
            alternative_names: Vec::new(),
        };
        let unused = |_, _: &[u8]| -> Result<Vec<u8>> { refuse!("not reached") };
        let error = nameless.sign(&p256_key(), unused).unwrap_err();
        assert!(error.to_string().contains("needs a subject"));
        let error = request()
            .sign(&p256_key(), |_, _| refuse!("no such key"))
            .unwrap_err();
        assert_eq!(error, Error::new("no such key"));
        assert!(request().sign(b"no key", unused).is_err());
    }
}
