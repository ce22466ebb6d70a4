//! A certification authority for tests: it reads requests, checks them, and signs with Ed25519.

use der::asn1::{BitString, ObjectIdentifier, UintRef};
use der::oid::AssociatedOid;
use der::pem::LineEnding;
use der::{Decode, DecodePem, Encode, EncodePem, Sequence};
use nodetoken::crypto::engine::{self, PrivateKey, PublicKey};
use nodetoken::crypto::pkcs1::digest_info;
use nodetoken::crypto::{Hash, KeySpec, PublicParts, SignScheme};
use nodetoken::key::{public_key_info, public_parts_of_info};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::str::FromStr;
use std::time::Duration;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, ExtensionReq};
use x509_cert::time::Validity;

/// Plain Ed25519 (RFC 8410).
const ED25519: AlgorithmIdentifierOwned = AlgorithmIdentifierOwned {
    oid: ObjectIdentifier::new_unwrap("1.3.101.112"),
    parameters: None,
};
const PLAIN: SignScheme = SignScheme::EdDsa {
    prehash: false,
    context: None,
};

/// TBSCertificate (RFC 5280 4.1).
#[derive(Sequence)]
struct Contents {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: u32,
    algorithm: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    public_key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// Certificate (RFC 5280 4.1).
#[derive(Sequence)]
struct Certificate {
    contents: Contents,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl der::pem::PemLabel for Certificate {
    const PEM_LABEL: &'static str = "CERTIFICATE";
}

/// Ecdsa-Sig-Value (RFC 3279 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

pub struct Authority {
    name: Name,
    key: PrivateKey,
    public_key: SubjectPublicKeyInfoOwned,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let parts = engine::generate(&KeySpec::Ed25519).unwrap();
        let public_key = public_key_info(&parts.public).unwrap();
        Self {
            name: Name::from_str(name).unwrap(),
            key: PrivateKey::from_parts(&parts).unwrap(),
            public_key: SubjectPublicKeyInfoOwned::from_der(&public_key).unwrap(),
        }
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> String {
        let constraints = BasicConstraints {
            ca: true,
            path_len_constraint: None,
        };
        let constraints = constraints.to_extension(&self.name, &[]).unwrap();
        self.issue(
            self.name.clone(),
            self.public_key.clone(),
            vec![constraints],
            1,
            1 << 27,
        )
    }

    /// A certificate of what `request` asks for, valid from now for some seconds, in PEM.
    pub fn certify(&self, request: &Request, serial: u32, seconds: u64) -> String {
        let info = &request.0.info;
        let (subject, key) = (info.subject.clone(), info.public_key.clone());
        self.issue(subject, key, request.extensions(), serial, seconds)
    }

    fn issue(
        &self,
        subject: Name,
        public_key: SubjectPublicKeyInfoOwned,
        extensions: Vec<Extension>,
        serial: u32,
        seconds: u64,
    ) -> String {
        let contents = Contents {
            version: 2,
            serial,
            algorithm: ED25519,
            issuer: self.name.clone(),
            validity: Validity::from_now(Duration::from_secs(seconds)).unwrap(),
            subject,
            public_key,
            extensions,
        };
        let signature = self.key.sign(&PLAIN, &contents.to_der().unwrap()).unwrap();
        let certificate = Certificate {
            contents,
            algorithm: ED25519,
            signature: BitString::from_bytes(&signature).unwrap(),
        };
        certificate.to_pem(LineEnding::LF).unwrap()
    }
}

/// A certification request as the authority receives it.
pub struct Request(CertReq);

impl Request {
    pub fn from_pem(text: &str) -> Self {
        Self(CertReq::from_pem(text).unwrap())
    }

    pub fn from_der(der: &[u8]) -> Self {
        Self(CertReq::from_der(der).unwrap())
    }

    pub fn subject(&self) -> &Name {
        &self.0.info.subject
    }

    fn extensions(&self) -> Vec<Extension> {
        let attributes = &self.0.info.attributes;
        let wish = attributes
            .iter()
            .find(|one| one.oid == ExtensionReq::OID)
            .unwrap();
        wish.values.get(0).unwrap().decode_as().unwrap()
    }

    /// The names in the subjectAltName that it asks for.
    pub fn alternative_names(&self) -> Vec<GeneralName> {
        let extensions = self.extensions();
        let names = extensions
            .iter()
            .find(|one| one.extn_id == SubjectAltName::OID)
            .unwrap();
        SubjectAltName::from_der(names.extn_value.as_bytes())
            .unwrap()
            .0
    }

    /// Checks that whoever made the request has the private key.
    #[track_caller]
    pub fn verify(&self) {
        let public = public_parts_of_info(&self.0.info.public_key).unwrap();
        let message = self.0.info.to_der().unwrap();
        let signature = self.0.signature.as_bytes().unwrap();
        let (scheme, input, signature) = match &public {
            PublicParts::Rsa { .. } => {
                let digest = digest(Hash::Sha256, &message);
                let input = digest_info(Hash::Sha256, &digest);
                (SignScheme::RsaPkcs1, input, signature.to_vec())
            }
            PublicParts::Ec { curve, .. } => {
                let hash = match curve.len() {
                    32 => Hash::Sha256,
                    48 => Hash::Sha384,
                    _ => Hash::Sha512,
                };
                let EcdsaSignature { r, s } = EcdsaSignature::from_der(signature).unwrap();
                let halves = [r, s].map(|half| left_pad(half.as_bytes(), curve.len()));
                (SignScheme::Ecdsa, digest(hash, &message), halves.concat())
            }
            PublicParts::Ed25519(_) => (PLAIN, message, signature.to_vec()),
            other => panic!("no key that signs: {other:?}"),
        };
        let key = PublicKey::from_parts(&public).unwrap();
        key.verify(&scheme, &input, &signature).unwrap();
    }
}

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    let mut digest = engine::Digest::new(hash).unwrap();
    digest.update(message);
    digest.finish()
}

fn left_pad(integer: &[u8], length: usize) -> Vec<u8> {
    [&vec![0; length - integer.len()], integer].concat()
}
