//! Certificates to fill a store with: well formed X.509 (RFC 5280) of a usual size, each with its own name, serial
//! number and CKA_ID. The signature is a filler, which no module checks when it stores a certificate.

use cryptoki_sys::*;

use crate::module::{Attribute, Result, Session};

const SEQUENCE: u8 = 0x30;
const SHA256_WITH_RSA: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00,
];
/// The algorithm of a P-256 key (RFC 5480 section 2.1.1).
const P256_KEY: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// The base point of P-256 (SEC 2 section 2.4.2), uncompressed, as the content of a BIT STRING.
const P256_POINT: &[u8] = &[
    0x00, 0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4,
    0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98,
    0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f,
    0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf,
    0x51, 0xf5,
];

/// The CKA_ID of certificate `number`: 20 bytes, as the hash of a public key is.
pub fn id(number: u32) -> [u8; 20] {
    let mut id = [0xc5; 20];
    // Spread over the first bytes, as a hash would be.
    id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    id[16..].copy_from_slice(&number.to_be_bytes());
    id
}

/// The extension KeyUsage with digitalSignature (RFC 5280 section 4.2.1.3): by it OpenSC decides what a key is for.
const KEY_USAGE: &[u8] = &[
    0x30, 0x0e, 0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x07, 0x80,
];

/// Puts certificate `number` on the token.
pub fn create(session: &Session, number: u32) -> Result<CK_OBJECT_HANDLE> {
    let key = der(SEQUENCE, &[P256_KEY, &der(3, &[P256_POINT])]);
    create_for(session, number, &id(number), &key)
}

/// The same with a CKA_ID and for a key, SubjectPublicKeyInfo.
pub fn create_for(
    session: &Session,
    number: u32,
    id: &[u8],
    key: &[u8],
) -> Result<CK_OBJECT_HANDLE> {
    let subject = name(&format!("node-{number}.example"));
    let issuer = name("Benchmark CA");
    let serial = der(2, &[&[1], &number.to_be_bytes()]);
    let value = encode(&serial, &issuer, &subject, key);
    session.create(&[
        Attribute::new(CKA_CLASS, &CKO_CERTIFICATE),
        Attribute::new(CKA_CERTIFICATE_TYPE, &CKC_X_509),
        Attribute::new(CKA_TOKEN, &CK_TRUE),
        Attribute::new(CKA_PRIVATE, &CK_FALSE),
        Attribute::new(CKA_LABEL, format!("node-{number}").as_bytes()),
        Attribute::new(CKA_ID, id),
        Attribute::new(CKA_SUBJECT, subject.as_slice()),
        Attribute::new(CKA_ISSUER, issuer.as_slice()),
        Attribute::new(CKA_SERIAL_NUMBER, serial.as_slice()),
        Attribute::new(CKA_VALUE, value.as_slice()),
    ])
}

fn encode(serial: &[u8], issuer: &[u8], subject: &[u8], key: &[u8]) -> Vec<u8> {
    let version = der(0xa0, &[&[2, 1, 2]]);
    let validity = der(
        SEQUENCE,
        &[&der(23, &[b"260101000000Z"]), &der(23, &[b"360101000000Z"])],
    );
    let extensions = der(0xa3, &[&der(SEQUENCE, &[KEY_USAGE])]);
    let signed = der(
        SEQUENCE,
        &[
            &version,
            serial,
            SHA256_WITH_RSA,
            issuer,
            &validity,
            subject,
            key,
            &extensions,
        ],
    );
    let signature = der(3, &[&[0], &[0x5a; 256]]);
    der(SEQUENCE, &[&signed, SHA256_WITH_RSA, &signature])
}

fn name(common: &str) -> Vec<u8> {
    let attribute = der(
        SEQUENCE,
        &[&[6, 3, 0x55, 4, 3], &der(12, &[common.as_bytes()])],
    );
    der(SEQUENCE, &[&der(0x31, &[&attribute])])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut encoded = vec![tag];
    match u16::try_from(content.len()).unwrap_or(u16::MAX) {
        length @ 0..=0x7f => encoded.push(length as u8),
        length @ 0x80..=0xff => encoded.extend([0x81, length as u8]),
        length => {
            encoded.push(0x82);
            encoded.extend(length.to_be_bytes());
        }
    }
    encoded.extend(content);
    encoded
}
