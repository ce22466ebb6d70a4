//! The signature mechanisms, for the tests that go through all of them.

use super::keys::*;
use super::mech::Mech;
use super::session::Session;
use super::token::Kind;
use cryptoki_sys::*;

/// A mechanism with keys for it.
pub struct Case {
    pub name: String,
    pub mechanism: Mech,
    pub signer: CK_OBJECT_HANDLE,
    pub verifier: CK_OBJECT_HANDLE,
    /// Length of the signature in bytes.
    pub length: usize,
    /// What it signs: the message, or a digest that the mechanism takes as it is.
    pub input: Vec<u8>,
    /// Whether it takes its input in parts (the mechanism tables of 6.1 and 6.3 say so).
    pub parts: bool,
}

pub const HASHES: [(&str, CK_MECHANISM_TYPE, CK_ULONG, usize); 3] = [
    ("SHA-256", CKM_SHA256, CKG_MGF1_SHA256, 32),
    ("SHA-384", CKM_SHA384, CKG_MGF1_SHA384, 48),
    ("SHA-512", CKM_SHA512, CKG_MGF1_SHA512, 64),
];
pub const RSA: [CK_MECHANISM_TYPE; 3] = [
    CKM_SHA256_RSA_PKCS,
    CKM_SHA384_RSA_PKCS,
    CKM_SHA512_RSA_PKCS,
];
pub const PSS: [CK_MECHANISM_TYPE; 3] = [
    CKM_SHA256_RSA_PKCS_PSS,
    CKM_SHA384_RSA_PKCS_PSS,
    CKM_SHA512_RSA_PKCS_PSS,
];
pub const ECDSA: [CK_MECHANISM_TYPE; 3] = [CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512];
pub const HMAC: [CK_MECHANISM_TYPE; 3] = [CKM_SHA256_HMAC, CKM_SHA384_HMAC, CKM_SHA512_HMAC];
pub const HMAC_GENERAL: [CK_MECHANISM_TYPE; 3] = [
    CKM_SHA256_HMAC_GENERAL,
    CKM_SHA384_HMAC_GENERAL,
    CKM_SHA512_HMAC_GENERAL,
];

/// PSS with the hash's own MGF1 and a salt as long as the hash.
pub fn pss(kind: CK_MECHANISM_TYPE, hash: usize) -> Mech {
    let (_, hash, mgf, length) = HASHES[hash];
    Mech::pss(kind, hash, mgf, length as CK_ULONG)
}

/// Every signature mechanism of the issue that a token of this kind has, with keys for it.
pub fn every_mechanism(kind: &Kind, session: Session) -> Vec<Case> {
    let message = b"what a node has to say".to_vec();
    let mut cases = Vec::new();
    let mut case = |name: &str, mechanism: Mech, pair: Pair, length, input: &[u8], parts| {
        let name = name.to_string();
        cases.push(Case {
            name,
            mechanism,
            signer: pair.private,
            verifier: pair.public,
            length,
            input: input.to_vec(),
            parts,
        });
    };
    let rsa = session.any_rsa();
    case("RSA PKCS#1", CKM_RSA_PKCS.into(), rsa, 256, &message, false);
    case("RSA X.509", CKM_RSA_X_509.into(), rsa, 256, &message, false);
    for (at, (name, _, _, length)) in HASHES.into_iter().enumerate() {
        case(
            &format!("RSA PKCS#1 {name}"),
            RSA[at].into(),
            rsa,
            256,
            &message,
            true,
        );
        case(
            &format!("RSA PSS {name}"),
            pss(PSS[at], at),
            rsa,
            256,
            &message,
            true,
        );
        case(
            &format!("RSA PSS of a {name} digest"),
            pss(CKM_RSA_PKCS_PSS, at),
            rsa,
            256,
            &vec![3; length],
            false,
        );
    }
    for curve in kind.nist() {
        let pair = session.ec(curve);
        let length = 2 * curve.size;
        case(
            &format!("ECDSA {}", curve.name),
            CKM_ECDSA.into(),
            pair,
            length,
            &[5; 32],
            false,
        );
        for (at, (name, ..)) in HASHES.into_iter().enumerate() {
            case(
                &format!("ECDSA {} {name}", curve.name),
                ECDSA[at].into(),
                pair,
                length,
                &message,
                true,
            );
        }
    }
    if kind.has(Curve::ED25519) {
        let pair = session.ed25519();
        case("Ed25519", CKM_EDDSA.into(), pair, 64, &message, false);
    }
    let secret = session.create(&generic_secret_template(&[9; 40])).unwrap();
    let secret = Pair {
        public: secret,
        private: secret,
    };
    for (at, (name, _, _, length)) in HASHES.into_iter().enumerate() {
        case(
            &format!("HMAC {name}"),
            HMAC[at].into(),
            secret,
            length,
            &message,
            true,
        );
        let general = Mech::bytes(HMAC_GENERAL[at], &(20 as CK_ULONG).to_ne_bytes());
        case(
            &format!("HMAC {name} of 20 bytes"),
            general,
            secret,
            20,
            &message,
            true,
        );
    }
    cases
}
