//! RSA: signatures, encryption, implicit rejection, broken keys.

use super::super::engine::{PrivateKey, PublicKey, digest, generate};
use super::super::*;
use super::{hex, refused, round_trip, secret};
use cryptoki_sys::*;

const RSA_N: &str = "c551e008dc0ff97f48277aabae51e2d2553a2995acbee66df6c3109e1a68316c30fd16d961cc4e9619572e3eecde\
     4e2ac3842eeccb33d703b0f462548017d5a7c5bb57d154c39e5dbf55a32eaa295fe166c723c6323b6309e3794bb7\
     ee264afd36cb0ea2c38911ec3b246d3762d62fa196d6b8497a47cd2e5ff6f69e4ea351dc9bb352d0574f28034693\
     17c59fad13557c8abd278ceb6a1041b399bff63c3d849c34983b79dd037b18a4ff8b20a0f8217c5dbcbc7f1f320f\
     6ba388713badc955ba8345983935b84756976aa5581b7f526aad79bebf009ed6a2cbb6369b72d3b800b69887ca4c\
     4fea0d45ae1d9b359bfee19ada524ae579d803d94ad89a594221";
const RSA_D: &str = "43866ad82d52ec2b622a5c80ff0537cd89ebff0a21152d2f297884a9ce58a4bd25209f5ea1e8b4660a62fac8feef\
     6ea994c219fadfe92c262fbada2197ba505bfb3f4ae4b090c713c6e40c156e96fd205a3740e7550e5caca8233cc5\
     c362685c3211983f1c123ec76c4fe16e484d0afccded4a209f0f8e4855ffe252b78f8d760a047e35cec2981f487d\
     8d77e246a231589f8a6f52c8aafa034ba1a52b961ec4cedf228c01b4d1481f3efd228379a379083bee657c6b0739\
     45975e8ff28da6e944ac995c7aa82673fe71009c4859d6ff945ae44edc0ae3a90e5ff4a78bbe8388804d40fce699\
     e00cbb4d94b1dc60dde69b622ebc310d81d9b203d29c843f4d67";
const RSA_P: &str = "fd6956dcf5dddf4f6d67707c24ad2c1773ef011a0bb9aa6401f69c6baf63ad5ed38b73faacc2fe79af4875379782\
     20126e948d1119bd19569e652a7e111fc12c9cc43206fbe8a2d6cbe183d5a86e580354d0131a00a9861df5ed2539\
     0c88bb4fbe6e2393c4db2da35d3bd3fa9cfd3be60e5eeee738512eb67e555be19ecc9933";
const RSA_Q: &str = "c755dbc21ab5268d33fb1d102bbf8689d5878c1a0bf8fe18d522d341e58b814ad86575bd7372b01f311bf9a9f438\
     b736228b2e4b85854d9b9985cc2bc21f33dfa24e1f8eb4893e301d12e24e1309e8f3bdf91ba1409b24633f91b4c3\
     7fcff27710c3867a7ec22717835181cb5cd6ae422a58bee72541c5e5dd69b7ee6ae7ff5b";
const RSA_DP: &str = "716cf2fa57fa8577b1ca78e8b829e2f0646df81a46614649192fdef7bc3b6b606463a8f7ecd822bb289fd007a003\
     1883e7870a553b260eef5c5a7fd889a5a2fb6af7ce449e0094d27bd36704fd2cd6ac370c2360a2273ee6ae2b055c\
     31a609e139a566bb3f83b33bca017b72534e6dbf1d73948f5dffc85edad12e1d20cd074d";
const RSA_DQ: &str = "428fccfe17e4fda69100fd477514535c9b4cd3dfaeb7ca41888a4478f0a990d6e94397f9571fa8e8018211f04a78\
     d5d4e1dc0fed6ffc7f59c1fe079b650afe4b62eb2b667faa8475947fc5c9c459becc0557b57e37109729fd042e94\
     498daaad4f8fbacc149fc865f597b5fbae58917fce9c2bc30b91d6ff56dc026b3e8f9199";
const RSA_QINV: &str = "51d2c591dd6215e9df7430e7742eae50d42b92b4c5eb7fc9f07655709c5355a01d4cea905074108de2ed4b97cdc0\
     4b803148847ed0647e09c9f7ec49800f4b19423c35e8ef80deb6dbc5c9e17487fdbf6704fa30ec93f995a82aca5a\
     7de7d28c1341b9c97c7db47d20ce70feffeade5f8cfc484fba76d491d9b78e2454ab88c8";
// Made with this key by OpenSSL 4.0 over "sample" and "hello".
const RSA_PKCS1_SIGNATURE_SHA256: &str =
    "3edb1334568c514a012da947bab720d67a99c1c034cf97f7f4546e6378010351";
const RSA_PSS_SIGNATURE: &str = "4048031d583eda7d4ab38626628544cd5a002383264c08f7cee210e252cd515bab371a848fcec18cfaed792a73ca\
     b52986ff27e71923a1fa0a9905cf6a435aff62049ebdfbbde68acc6729b0a584dacbe112ddaab08b7edfb62d7fe6\
     5ccedf2f24b771de9de11fc1123b13139fab112e540c756bb02150d6ed428bcf4d97582e29944ce19c07216bc579\
     ad13092753d0c8b4d4b67bbf1819e3ba33f9c035af049c6a403317fad2c462045703575319fd8993273b4fb7c255\
     bd2e54abdba460004b5901f5c73752743eddc217f4fa9685b887ed52e6dbbf8a4bfbc10bd9a8866cc255c0dff1d0\
     b8bb7940b4d1e7491568d1f466c0f593f3dcb93347f35a1da697";
const RSA_OAEP_CIPHERTEXT: &str = "0ac2d2ec8f91e100da8f71018fb2038c8060761ef39d4f62fdb7c0ad6a7256b71a4e3a53c481af8d280961705ee3\
     7f6926b71f84ba5698f78ca85fed0b78a1b89087039a3ccf358059725803749bf3f28795e74485d6681f9578d13d\
     83c24090b9a261cf0d4beb98ef9b34e2ac2d9ad2bd2a948491a4f8f05ee60074beed1a65045491b039f71b5852a3\
     cdc5dc1f1312d8d5df5291893568065fd4930810c9059d9f9823bb071454c905bcaebd2769341e4dff04471b24ee\
     9c5d4f3e46fb0137b3475a5588fd8d3fe29a0ec2d556557f878305dcc6659a6916cda67b8d0539af05f48b1fae45\
     3706f781330c981477fed55d7dda428f06735e8ee5d338d99e82";

fn rsa_parts(with_crt: bool) -> PrivateParts {
    PrivateParts {
        public: PublicParts::Rsa {
            n: hex(RSA_N),
            e: hex("010001"),
        },
        secret: SecretParts::Rsa {
            d: secret(RSA_D),
            crt: with_crt.then(|| Crt {
                p: secret(RSA_P),
                q: secret(RSA_Q),
                dp: secret(RSA_DP),
                dq: secret(RSA_DQ),
                qinv: secret(RSA_QINV),
            }),
        },
    }
}

fn rsa_keys() -> (PrivateKey, PublicKey) {
    let parts = rsa_parts(true);
    (
        PrivateKey::from_parts(&parts).unwrap(),
        PublicKey::from_parts(&parts.public).unwrap(),
    )
}

#[test]
fn rsa_pkcs1_signatures() {
    let info = pkcs1::digest_info(Hash::Sha256, &digest(Hash::Sha256, b"sample"));
    for with_crt in [true, false] {
        let parts = rsa_parts(with_crt);
        let key = PrivateKey::from_parts(&parts).unwrap();
        let signature = key.sign(&SignScheme::RsaPkcs1, &info).unwrap();
        assert_eq!(
            digest(Hash::Sha256, &signature),
            hex(RSA_PKCS1_SIGNATURE_SHA256)
        );
        // The raw operation over the same block gives the same.
        let block = pkcs1::pad_type1(&info, 256).unwrap();
        assert_eq!(key.sign(&SignScheme::RsaRaw, &block).unwrap(), signature);
    }
    let (private, public) = rsa_keys();
    for len in [0, 1, 245] {
        let input = vec![0x33; len];
        let signature = private.sign(&SignScheme::RsaPkcs1, &input).unwrap();
        public
            .verify(&SignScheme::RsaPkcs1, &input, &signature)
            .unwrap();
        let mut broken = signature.clone();
        broken[100] ^= 1;
        refused(
            public.verify(&SignScheme::RsaPkcs1, &input, &broken),
            CKR_SIGNATURE_INVALID,
        );
        refused(
            public.verify(&SignScheme::RsaPkcs1, b"other", &signature),
            CKR_SIGNATURE_INVALID,
        );
        refused(
            public.verify(&SignScheme::RsaPkcs1, &input, &signature[1..]),
            CKR_SIGNATURE_LEN_RANGE,
        );
    }
    refused(
        private.sign(&SignScheme::RsaPkcs1, &[0; 246]),
        CKR_DATA_LEN_RANGE,
    );
    refused(
        private.sign(&SignScheme::Ecdsa, &[0; 32]),
        CKR_KEY_TYPE_INCONSISTENT,
    );
    refused(
        public.verify(&SignScheme::RsaPkcs1, &info, &[0xff; 256]),
        CKR_SIGNATURE_INVALID,
    );
}

fn pss(hash: Hash, mgf: Hash, salt: usize) -> SignScheme {
    SignScheme::RsaPss { hash, mgf, salt }
}

#[test]
fn rsa_pss_signatures() {
    let (private, public) = rsa_keys();
    let sample = digest(Hash::Sha256, b"sample");
    let openssl = pss(Hash::Sha256, Hash::Sha1, 20);
    public
        .verify(&openssl, &sample, &hex(RSA_PSS_SIGNATURE))
        .unwrap();
    for wrong in [
        pss(Hash::Sha256, Hash::Sha1, 19),
        pss(Hash::Sha256, Hash::Sha256, 20),
    ] {
        refused(
            public.verify(&wrong, &sample, &hex(RSA_PSS_SIGNATURE)),
            CKR_SIGNATURE_INVALID,
        );
    }
    for hash in Hash::ALL {
        let most = 256 - 2 - hash.len();
        let input = digest(hash, b"x");
        for salt in [0, hash.len(), most] {
            let scheme = pss(hash, hash, salt);
            let signature = private.sign(&scheme, &input).unwrap();
            public.verify(&scheme, &input, &signature).unwrap();
            let mut broken = signature.clone();
            broken[255] ^= 1;
            refused(
                public.verify(&scheme, &input, &broken),
                CKR_SIGNATURE_INVALID,
            );
            refused(
                public.verify(&scheme, &input, &signature[..255]),
                CKR_SIGNATURE_LEN_RANGE,
            );
        }
        for salt in [most + 1, usize::MAX] {
            let scheme = pss(hash, hash, salt);
            refused(private.sign(&scheme, &input), CKR_MECHANISM_PARAM_INVALID);
            refused(
                public.verify(&scheme, &input, &[0; 256]),
                CKR_MECHANISM_PARAM_INVALID,
            );
        }
        refused(
            private.sign(&pss(hash, hash, 0), &input[1..]),
            CKR_DATA_LEN_RANGE,
        );
        refused(
            public.verify(&pss(hash, hash, 0), &input[1..], &[0; 256]),
            CKR_DATA_LEN_RANGE,
        );
    }
}

#[test]
fn rsa_raw() {
    let (private, public) = rsa_keys();
    let mut block = vec![0x77; 256];
    let signature = private.sign(&SignScheme::RsaRaw, &block).unwrap();
    public
        .verify(&SignScheme::RsaRaw, &block, &signature)
        .unwrap();
    assert_eq!(
        public.encrypt(&CryptScheme::RsaRaw, &signature).unwrap(),
        block
    );
    let ciphertext = public.encrypt(&CryptScheme::RsaRaw, &block).unwrap();
    assert_eq!(
        *private.decrypt(&CryptScheme::RsaRaw, &ciphertext).unwrap(),
        *block
    );
    block[0] = 0x76;
    refused(
        public.verify(&SignScheme::RsaRaw, &block, &signature),
        CKR_SIGNATURE_INVALID,
    );

    let n = hex(RSA_N);
    refused(private.sign(&SignScheme::RsaRaw, &n), CKR_DATA_INVALID);
    refused(
        private.sign(&SignScheme::RsaRaw, &n[1..]),
        CKR_DATA_LEN_RANGE,
    );
    refused(public.encrypt(&CryptScheme::RsaRaw, &n), CKR_DATA_INVALID);
    refused(
        public.encrypt(&CryptScheme::RsaRaw, &[1; 255]),
        CKR_DATA_LEN_RANGE,
    );
    for scheme in [
        CryptScheme::RsaRaw,
        CryptScheme::RsaPkcs1,
        oaep(Hash::Sha1, Hash::Sha1, b""),
    ] {
        refused(private.decrypt(&scheme, &n), CKR_ENCRYPTED_DATA_INVALID);
        refused(
            private.decrypt(&scheme, &[1; 255]),
            CKR_ENCRYPTED_DATA_LEN_RANGE,
        );
        refused(
            private.decrypt(&scheme, &[1; 257]),
            CKR_ENCRYPTED_DATA_LEN_RANGE,
        );
    }
}

fn oaep(hash: Hash, mgf: Hash, label: &[u8]) -> CryptScheme {
    CryptScheme::RsaOaep {
        hash,
        mgf,
        label: label.to_vec(),
    }
}

#[test]
fn rsa_oaep() {
    let (private, public) = rsa_keys();
    let openssl = oaep(Hash::Sha256, Hash::Sha1, b"label");
    let ciphertext = hex(RSA_OAEP_CIPHERTEXT);
    assert_eq!(*private.decrypt(&openssl, &ciphertext).unwrap(), *b"hello");
    for wrong in [
        oaep(Hash::Sha256, Hash::Sha1, b""),
        oaep(Hash::Sha256, Hash::Sha256, b"label"),
        oaep(Hash::Sha1, Hash::Sha1, b"label"),
    ] {
        refused(
            private.decrypt(&wrong, &ciphertext),
            CKR_ENCRYPTED_DATA_INVALID,
        );
    }
    let mut broken = ciphertext;
    broken[200] ^= 1;
    refused(
        private.decrypt(&openssl, &broken),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    for hash in Hash::ALL {
        let scheme = oaep(hash, Hash::Sha1, b"");
        let most = 256 - 2 - 2 * hash.len();
        for len in [0, 1, most] {
            let ciphertext = public.encrypt(&scheme, &vec![5; len]).unwrap();
            assert_eq!(
                *private.decrypt(&scheme, &ciphertext).unwrap(),
                *vec![5; len]
            );
        }
        refused(
            public.encrypt(&scheme, &vec![5; most + 1]),
            CKR_DATA_LEN_RANGE,
        );
    }
}

#[test]
fn rsa_pkcs1_encryption() {
    let (private, public) = rsa_keys();
    for len in [0, 1, 48, 245] {
        let ciphertext = public
            .encrypt(&CryptScheme::RsaPkcs1, &vec![0; len])
            .unwrap();
        let again = public
            .encrypt(&CryptScheme::RsaPkcs1, &vec![0; len])
            .unwrap();
        assert_ne!(ciphertext, again);
        let plaintext = private
            .decrypt(&CryptScheme::RsaPkcs1, &ciphertext)
            .unwrap();
        assert_eq!(*plaintext, *vec![0; len]);
    }
    refused(
        public.encrypt(&CryptScheme::RsaPkcs1, &[0; 246]),
        CKR_DATA_LEN_RANGE,
    );
}

// What OpenSSL 4.0 answers for these blocks with this key: first two bytes, bytes of padding before
// the zero, what follows it; length and SHA-256 of the message.
#[test]
fn rsa_pkcs1_implicit_rejection() {
    let counted = |len: usize| (0..len).map(|at| (at % 255) as u8 + 1).collect::<Vec<u8>>();
    let hello = b"hello".to_vec();
    let cases = [
        (
            [0, 2],
            253,
            vec![],
            0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            [0, 2],
            248,
            hello.clone(),
            5,
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ),
        (
            [0, 1],
            248,
            hello.clone(),
            70,
            "ac0b9d774f30c884412f9f4a3f4ce845d3db9f634a544654a10197793327c385",
        ),
        (
            [1, 2],
            248,
            hello,
            67,
            "2baab954d033f06fc138cdee068015d3ab10684e1def4013a46edad4872c2654",
        ),
        (
            [0, 2],
            254,
            vec![],
            219,
            "c6a1fd61b5af893af0d426717212effec0d2b05d577257e3baf87c19bb36f618",
        ),
        (
            [0, 2],
            7,
            counted(246),
            19,
            "65932418ab3f47a931481fe6a771c54ff008ae7c6478a21acbeab2d10a06eccc",
        ),
        (
            [0, 2],
            8,
            counted(245),
            245,
            "77427594259cff7ea5c60a397dabb18387a790ea4683302ce96c2ca3b0da27c0",
        ),
    ];
    for with_crt in [true, false] {
        let parts = rsa_parts(with_crt);
        let private = PrivateKey::from_parts(&parts).unwrap();
        let public = PublicKey::from_parts(&parts.public).unwrap();
        for (start, padding, message, len, expected) in &cases {
            let mut block = [&start[..], &counted(*padding), &[0], message].concat();
            block.truncate(256);
            let ciphertext = public.encrypt(&CryptScheme::RsaRaw, &block).unwrap();
            let decrypted = private
                .decrypt(&CryptScheme::RsaPkcs1, &ciphertext)
                .unwrap();
            assert_eq!(decrypted.len(), *len, "{start:?} {padding}");
            assert_eq!(digest(Hash::Sha256, &decrypted), hex(expected));
        }
    }
}

/// A private half elsewhere has the raw operation alone: the public half pads for it.
#[test]
fn padding_for_raw_signatures() {
    let (private, public) = rsa_keys();
    let info = pkcs1::digest_info(Hash::Sha256, &digest(Hash::Sha256, b"sample"));
    let sample = digest(Hash::Sha256, b"sample");
    let integer = vec![0x77; 256];
    for (scheme, input) in [
        (SignScheme::RsaPkcs1, &info),
        (SignScheme::RsaPkcs1, &vec![]),
        (SignScheme::RsaPkcs1, &vec![1; 245]),
        (pss(Hash::Sha256, Hash::Sha256, 32), &sample),
        (pss(Hash::Sha256, Hash::Sha1, 0), &sample),
        (pss(Hash::Sha256, Hash::Sha512, 222), &sample),
        (SignScheme::RsaRaw, &integer),
    ] {
        let block = public.pad_to_sign(&scheme, input).unwrap();
        assert_eq!(block.len(), 256);
        let signature = private.sign(&SignScheme::RsaRaw, &block).unwrap();
        public.verify(&scheme, input, &signature).unwrap();
    }
    assert_eq!(
        public.pad_to_sign(&SignScheme::RsaPkcs1, &info).unwrap(),
        pkcs1::pad_type1(&info, 256).unwrap()
    );
    assert_eq!(
        public.pad_to_sign(&SignScheme::RsaRaw, &integer).unwrap(),
        integer
    );

    for (scheme, input, rv) in [
        (SignScheme::RsaPkcs1, &[0; 246][..], CKR_DATA_LEN_RANGE),
        (SignScheme::RsaRaw, &[0; 255], CKR_DATA_LEN_RANGE),
        (SignScheme::RsaRaw, &[0; 257], CKR_DATA_LEN_RANGE),
        (
            pss(Hash::Sha256, Hash::Sha256, 32),
            &sample[1..],
            CKR_DATA_LEN_RANGE,
        ),
        (
            pss(Hash::Sha256, Hash::Sha256, 223),
            &sample,
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (SignScheme::Ecdsa, &sample, CKR_KEY_TYPE_INCONSISTENT),
    ] {
        refused(public.pad_to_sign(&scheme, input), rv);
    }
}

#[test]
fn messages_of_raw_decryptions() {
    let (private, public) = rsa_keys();
    let rejection_key = pkcs1::rejection_key(&hex(RSA_D), 256).unwrap();
    let unpad = |scheme: &CryptScheme, ciphertext: &[u8]| {
        let block = private.decrypt(&CryptScheme::RsaRaw, ciphertext).unwrap();
        public.unpad_decrypted(scheme, &block, ciphertext, &rejection_key)
    };
    let openssl = oaep(Hash::Sha256, Hash::Sha1, b"label");
    for scheme in [
        CryptScheme::RsaPkcs1,
        openssl.clone(),
        oaep(Hash::Sha512, Hash::Sha512, b""),
    ] {
        let ciphertext = public.encrypt(&scheme, b"message").unwrap();
        assert_eq!(*unpad(&scheme, &ciphertext).unwrap(), *b"message");
    }
    let ciphertext = hex(RSA_OAEP_CIPHERTEXT);
    assert_eq!(*unpad(&openssl, &ciphertext).unwrap(), *b"hello");
    refused(
        unpad(&oaep(Hash::Sha256, Hash::Sha1, b""), &ciphertext),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    assert_eq!(
        *unpad(&CryptScheme::RsaRaw, &ciphertext).unwrap(),
        *private.decrypt(&CryptScheme::RsaRaw, &ciphertext).unwrap()
    );
    // A padding that is none gives the message that this key would.
    assert_eq!(
        *unpad(&CryptScheme::RsaPkcs1, &ciphertext).unwrap(),
        *private
            .decrypt(&CryptScheme::RsaPkcs1, &ciphertext)
            .unwrap()
    );
    assert_ne!(
        *public
            .unpad_decrypted(&CryptScheme::RsaPkcs1, &[0; 256], &ciphertext, b"other")
            .unwrap(),
        *unpad(&CryptScheme::RsaPkcs1, &ciphertext).unwrap()
    );

    for scheme in [CryptScheme::RsaRaw, CryptScheme::RsaPkcs1, openssl] {
        for (block, ciphertext) in [(255, 256), (257, 256), (0, 256), (256, 255)] {
            refused(
                public.unpad_decrypted(&scheme, &vec![0; block], &vec![0; ciphertext], &[0; 32]),
                CKR_ENCRYPTED_DATA_LEN_RANGE,
            );
        }
    }
    // RFC 8017 7.1.2 step 1c: a modulus too short for the hash is the same error.
    let mut n = vec![0xff; 128];
    n[0] = 0x80;
    let short = PublicKey::from_parts(&PublicParts::Rsa {
        n,
        e: hex("010001"),
    })
    .unwrap();
    refused(
        short.unpad_decrypted(
            &oaep(Hash::Sha512, Hash::Sha512, b""),
            &[0; 128],
            &[0; 128],
            &[0; 32],
        ),
        CKR_ENCRYPTED_DATA_INVALID,
    );
}

#[test]
fn only_rsa_has_paddings() {
    for spec in [KeySpec::Ec(Curve::P256), KeySpec::Ed25519] {
        let public = PublicKey::from_parts(&generate(&spec).unwrap().public).unwrap();
        for scheme in [SignScheme::RsaPkcs1, SignScheme::Ecdsa] {
            refused(
                public.pad_to_sign(&scheme, &[0; 32]),
                CKR_KEY_TYPE_INCONSISTENT,
            );
        }
        refused(
            public.unpad_decrypted(&CryptScheme::RsaPkcs1, &[0; 256], &[0; 256], &[0; 32]),
            CKR_KEY_TYPE_INCONSISTENT,
        );
    }
}

#[test]
fn pkcs1_paddings() {
    assert_eq!(
        pkcs1::digest_info(Hash::Sha1, &[7; 20]),
        [hex("3021300906052b0e03021a05000414"), vec![7; 20]].concat()
    );
    for hash in Hash::ALL {
        let info = pkcs1::digest_info(hash, &vec![1; hash.len()]);
        assert_eq!(usize::from(info[1]) + 2, info.len(), "{hash:?}");
        assert_eq!(usize::from(info[info.len() - hash.len() - 1]), hash.len());
    }
    assert_eq!(
        pkcs1::pad_type1(b"abc", 14).unwrap(),
        hex("0001ffffffffffffffff00616263")
    );
    refused(pkcs1::pad_type1(b"abcd", 14), CKR_DATA_LEN_RANGE);
    refused(pkcs1::pad_type1(b"", 10), CKR_DATA_LEN_RANGE);
    refused(
        pkcs1::unpad_type2(&[0; 256], &[0; 255], &[0; 32]),
        CKR_ENCRYPTED_DATA_LEN_RANGE,
    );
    refused(
        pkcs1::unpad_type2(&[0; 10], &[0; 10], &[0; 32]),
        CKR_ENCRYPTED_DATA_LEN_RANGE,
    );
}

#[test]
fn broken_rsa_keys() {
    let import = |change: &dyn Fn(&mut PrivateParts)| {
        let mut parts = rsa_parts(true);
        change(&mut parts);
        PrivateKey::from_parts(&parts).map(drop)
    };
    import(&|_| ()).unwrap();
    let crt = |parts: &mut PrivateParts, change: &dyn Fn(&mut Crt)| match &mut parts.secret {
        SecretParts::Rsa { crt: Some(crt), .. } => change(crt),
        _ => panic!("no CRT values"),
    };
    let flip = |secret: &mut Secret| *secret.last_mut().unwrap() ^= 2;
    let invalid = CKR_ATTRIBUTE_VALUE_INVALID;
    refused(
        import(&|parts| crt(parts, &|crt| flip(&mut crt.p))),
        invalid,
    );
    refused(
        import(&|parts| crt(parts, &|crt| flip(&mut crt.q))),
        invalid,
    );
    refused(
        import(&|parts| crt(parts, &|crt| flip(&mut crt.dp))),
        invalid,
    );
    refused(
        import(&|parts| crt(parts, &|crt| flip(&mut crt.dq))),
        invalid,
    );
    refused(
        import(&|parts| crt(parts, &|crt| flip(&mut crt.qinv))),
        invalid,
    );
    refused(
        import(&|parts| {
            crt(parts, &|crt| {
                crt.p = secret("01");
                crt.q = secret(RSA_N);
            })
        }),
        invalid,
    );
    for with_crt in [true, false] {
        let change_d = |d: &mut Secret| *d.last_mut().unwrap() ^= 2;
        let mut parts = rsa_parts(with_crt);
        match &mut parts.secret {
            SecretParts::Rsa { d, .. } => change_d(d),
            _ => panic!("not RSA"),
        }
        refused(PrivateKey::from_parts(&parts), invalid);
        for (n, e) in [
            (even(&hex(RSA_N)), hex("010001")),
            (hex(RSA_N), hex("010000")),
            (hex(RSA_N), hex("01")),
            (hex(RSA_N), hex("03")),
            (hex(RSA_N), vec![]),
            (vec![], hex("010001")),
        ] {
            let mut parts = rsa_parts(with_crt);
            parts.public = PublicParts::Rsa { n, e };
            refused(PrivateKey::from_parts(&parts), invalid);
        }
    }
    let odd = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= (8 - bits % 8) % 8;
        n
    };
    for (n, e) in [
        (even(&hex(RSA_N)), hex("010001")),
        (hex(RSA_N), hex("010000")),
        (hex(RSA_N), hex("01")),
        (hex(RSA_N), vec![]),
        (odd(1023), hex("010001")),
        (odd(8193), hex("010001")),
        (vec![], hex("010001")),
    ] {
        let public = PublicParts::Rsa { n, e };
        refused(PublicKey::from_parts(&public), invalid);
    }
    for bits in [1024, 8192] {
        let public = PublicParts::Rsa {
            n: odd(bits),
            e: hex("03"),
        };
        PublicKey::from_parts(&public).unwrap();
    }
}

fn even(n: &[u8]) -> Vec<u8> {
    let mut n = n.to_vec();
    *n.last_mut().unwrap() &= 0xfe;
    n
}

fn bits_of(integer: &[u8]) -> usize {
    let integer = trim(integer);
    integer.len() * 8 - integer[0].leading_zeros() as usize
}

#[test]
fn generated_rsa_keys() {
    for (bits, exponent) in [(2048, "010001"), (3072, "03")] {
        let parts = generate(&KeySpec::Rsa {
            bits,
            exponent: hex(exponent),
        })
        .unwrap();
        let (PublicParts::Rsa { n, e }, SecretParts::Rsa { crt: Some(crt), .. }) =
            (&parts.public, &parts.secret)
        else {
            panic!("not an RSA key with CRT values");
        };
        assert_eq!(bits_of(n), bits);
        assert_eq!(*e, hex(exponent));
        assert_eq!(bits_of(&crt.p), bits / 2);
        assert_eq!(bits_of(&crt.q), bits / 2);
        assert_eq!(parts.public.bits(), bits);
        round_trip(&parts, &SignScheme::RsaPkcs1, b"any bytes");
        round_trip(&parts, &pss(Hash::Sha256, Hash::Sha256, 32), &[1; 32]);
    }
    for (bits, exponent, rv) in [
        (512, "010001", CKR_ATTRIBUTE_VALUE_INVALID),
        (2047, "010001", CKR_ATTRIBUTE_VALUE_INVALID),
        (8192, "010001", CKR_ATTRIBUTE_VALUE_INVALID),
        (2048, "02", CKR_TEMPLATE_INCONSISTENT),
        (2048, "01", CKR_TEMPLATE_INCONSISTENT),
        (2048, "", CKR_TEMPLATE_INCONSISTENT),
    ] {
        let spec = KeySpec::Rsa {
            bits,
            exponent: hex(exponent),
        };
        refused(generate(&spec), rv);
    }
}

#[test]
fn threads_share_a_key() {
    let ec = generate(&KeySpec::Ec(Curve::P256)).unwrap();
    let keys = [
        (rsa_parts(true), pss(Hash::Sha256, Hash::Sha256, 32)),
        (ec, SignScheme::Ecdsa),
    ];
    for (parts, scheme) in &keys {
        let private = PrivateKey::from_parts(parts).unwrap();
        let public = PublicKey::from_parts(&parts.public).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let (private, public) = (&private, &public);
                scope.spawn(move || {
                    for round in 0..20u8 {
                        let input = digest(Hash::Sha256, &[thread, round]);
                        let signature = private.sign(scheme, &input).unwrap();
                        public.verify(scheme, &input, &signature).unwrap();
                    }
                });
            }
        });
    }
}

#[test]
fn a_modulus_of_nothing_has_no_bits() {
    for (n, bits) in [
        (vec![], 0),
        (vec![0; 3], 0),
        (vec![1], 1),
        (vec![0, 0x80, 0], 16),
    ] {
        let e = vec![1, 0, 1];
        let public = PublicParts::Rsa { n, e };
        assert_eq!(public.bits(), bits);
        assert_eq!(public.output_len(), bits.div_ceil(8));
    }
}
