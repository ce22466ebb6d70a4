//! Keys for tests: generated pairs, and templates of secret keys.

use super::process;
use super::session::Session;
use super::template::Template;
use super::vectors::{self, hex};
use cryptoki_sys::*;
use der::asn1::UintRef;
use der::{Decode, Sequence};

/// A curve: its name and its `CKA_EC_PARAMS` (DER of the object identifier).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    pub name: &'static str,
    pub params: &'static [u8],
    /// Bytes of a field element; half an ECDSA signature.
    pub size: usize,
}

impl Curve {
    pub const P256: Self = Self {
        name: "P-256",
        params: &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        size: 32,
    };
    pub const P384: Self = Self {
        name: "P-384",
        params: &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
        size: 48,
    };
    pub const P521: Self = Self {
        name: "P-521",
        params: &[6, 5, 0x2b, 0x81, 4, 0, 0x23],
        size: 66,
    };
    pub const ED25519: Self = Self {
        name: "Ed25519",
        params: &[6, 3, 0x2b, 0x65, 0x70],
        size: 32,
    };
    pub const NIST: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    pub fn key_type(self) -> CK_KEY_TYPE {
        if self == Self::ED25519 {
            CKK_EC_EDWARDS
        } else {
            CKK_EC
        }
    }
}

/// The two handles of a key pair.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub public: CK_OBJECT_HANDLE,
    pub private: CK_OBJECT_HANDLE,
}

impl Session {
    /// Generates a pair of session keys (token keys: put `CKA_TOKEN` into `extra`).
    #[track_caller]
    pub fn pair(self, mechanism: CK_MECHANISM_TYPE, public: &Template, extra: &Template) -> Pair {
        let (public, private) = self
            .generate_key_pair(
                mechanism,
                &public.clone().with(extra),
                &Template::new().with(extra),
            )
            .unwrap();
        Pair { public, private }
    }

    /// A pair where the kind itself works with it ([`Kind::works_on_token`]).
    #[track_caller]
    pub fn rsa(self, bits: CK_ULONG) -> Pair {
        let kind = process::kind();
        let on_token = kind.works_on_token() && kind.token_keys.rsa_bits.contains(&bits);
        self.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &rsa_public(bits), &on(on_token))
    }

    /// The same on a curve.
    #[track_caller]
    pub fn ec(self, curve: Curve) -> Pair {
        let kind = process::kind();
        let on_token = kind.works_on_token() && kind.token_keys.curves.contains(&curve);
        self.ec_with(curve, &on(on_token))
    }

    #[track_caller]
    pub fn ec_with(self, curve: Curve, extra: &Template) -> Pair {
        self.pair(
            CKM_EC_KEY_PAIR_GEN,
            &Template::new().set(CKA_EC_PARAMS, curve.params),
            extra,
        )
    }

    #[track_caller]
    pub fn ed25519(self) -> Pair {
        let public = Template::new().set(CKA_EC_PARAMS, Curve::ED25519.params);
        self.pair(CKM_EC_EDWARDS_KEY_PAIR_GEN, &public, &Template::new())
    }

    /// A pair of 2048 bits like [`Session::rsa`], where making one is not what is tested: a chip takes
    /// up to seconds for that, so it is given the vectors' where it takes keys.
    #[track_caller]
    pub fn any_rsa(self) -> Pair {
        if process::kind().works_on_token() {
            return self.rsa(2048);
        }
        let public = self.create(&rsa_public_import()).unwrap();
        let private = self.create(&rsa_private_import()).unwrap();
        Pair { public, private }
    }

    /// A generated AES session key of `length` bytes.
    #[track_caller]
    pub fn aes(self, length: CK_ULONG) -> CK_OBJECT_HANDLE {
        self.generate_key(CKM_AES_KEY_GEN, &Template::new().set(CKA_VALUE_LEN, length))
            .unwrap()
    }
}

/// On the token or in the session.
pub fn on(token: bool) -> Template {
    Template::new().set(CKA_TOKEN, token)
}

/// The public template of an RSA pair.
pub fn rsa_public(bits: CK_ULONG) -> Template {
    Template::new()
        .set(CKA_MODULUS_BITS, bits)
        .set(CKA_PUBLIC_EXPONENT, &[1, 0, 1])
}

/// The import of an AES key, as a session object for every use.
pub fn aes_template(value: &[u8]) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_AES)
        .set(CKA_ENCRYPT, true)
        .set(CKA_DECRYPT, true)
        .set(CKA_VALUE, value)
}

/// The import of a generic secret for HMAC, as a session object.
pub fn generic_secret_template(value: &[u8]) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .set(CKA_SIGN, true)
        .set(CKA_VERIFY, true)
        .set(CKA_VALUE, value)
}

/// The import of the vectors' RSA key, as a session object for every use.
pub fn rsa_private_import() -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_PRIVATE_KEY)
        .set(CKA_KEY_TYPE, CKK_RSA)
        .set(CKA_SIGN, true)
        .set(CKA_DECRYPT, true)
        .set(CKA_MODULUS, hex(vectors::RSA_MODULUS))
        .set(CKA_PUBLIC_EXPONENT, &[1, 0, 1])
        .set(CKA_PRIVATE_EXPONENT, hex(vectors::RSA_PRIVATE_EXPONENT))
        .set(CKA_PRIME_1, hex(vectors::RSA_PRIME_1))
        .set(CKA_PRIME_2, hex(vectors::RSA_PRIME_2))
        .set(CKA_EXPONENT_1, hex(vectors::RSA_EXPONENT_1))
        .set(CKA_EXPONENT_2, hex(vectors::RSA_EXPONENT_2))
        .set(CKA_COEFFICIENT, hex(vectors::RSA_COEFFICIENT))
}

/// RSAPrivateKey (RFC 8017 A.1.2).
#[derive(Sequence)]
struct RsaPrivateKey<'a> {
    version: u8,
    n: UintRef<'a>,
    e: UintRef<'a>,
    d: UintRef<'a>,
    p: UintRef<'a>,
    q: UintRef<'a>,
    dp: UintRef<'a>,
    dq: UintRef<'a>,
    qinv: UintRef<'a>,
}

/// The imports of the private and the public half of another RSA key, given as an RSAPrivateKey.
pub fn rsa_imports_of(der: &[u8]) -> (Template, Template) {
    let key = RsaPrivateKey::from_der(der).unwrap();
    let public = Template::new()
        .set(CKA_MODULUS, key.n.as_bytes())
        .set(CKA_PUBLIC_EXPONENT, key.e.as_bytes());
    let private = public
        .clone()
        .set(CKA_PRIVATE_EXPONENT, key.d.as_bytes())
        .set(CKA_PRIME_1, key.p.as_bytes())
        .set(CKA_PRIME_2, key.q.as_bytes())
        .set(CKA_EXPONENT_1, key.dp.as_bytes())
        .set(CKA_EXPONENT_2, key.dq.as_bytes())
        .set(CKA_COEFFICIENT, key.qinv.as_bytes());
    (
        rsa_private_import().with(&private),
        rsa_public_import().with(&public),
    )
}

/// The import of its public key.
pub fn rsa_public_import() -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_PUBLIC_KEY)
        .set(CKA_KEY_TYPE, CKK_RSA)
        .set(CKA_VERIFY, true)
        .set(CKA_ENCRYPT, true)
        .set(CKA_MODULUS, hex(vectors::RSA_MODULUS))
        .set(CKA_PUBLIC_EXPONENT, &[1, 0, 1])
}

/// The import of a private key on `curve`, as a session object that may sign.
pub fn ec_private_import(curve: Curve, scalar: &str) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_PRIVATE_KEY)
        .set(CKA_KEY_TYPE, curve.key_type())
        .set(CKA_SIGN, true)
        .set(CKA_EC_PARAMS, curve.params)
        .set(CKA_VALUE, hex(scalar))
}

/// The import of a public key on `curve`, its point given without the OCTET STRING around it.
pub fn ec_public_import(curve: Curve, point: &str) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_PUBLIC_KEY)
        .set(CKA_KEY_TYPE, curve.key_type())
        .set(CKA_VERIFY, true)
        .set(CKA_EC_PARAMS, curve.params)
        .set(CKA_EC_POINT, octet_string(&hex(point)))
}

/// DER of an OCTET STRING (shorter than 256 bytes).
pub fn octet_string(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let header = if length < 128 {
        vec![4, length]
    } else {
        vec![4, 0x81, length]
    };
    [&header, content].concat()
}

/// A data object; a session object unless `CKA_TOKEN` is set.
pub fn data(label: &str) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_DATA)
        .set(CKA_LABEL, label)
}

/// The import of the vectors' certificate, as a session object.
pub fn certificate() -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_CERTIFICATE)
        .set(CKA_CERTIFICATE_TYPE, CKC_X_509)
        .set(CKA_SUBJECT, hex(vectors::P256_CERTIFICATE_SUBJECT))
        .set(CKA_ISSUER, hex(vectors::P256_CERTIFICATE_SUBJECT))
        .set(CKA_SERIAL_NUMBER, hex(vectors::P256_CERTIFICATE_SERIAL))
        .set(CKA_VALUE, hex(vectors::P256_CERTIFICATE))
}
