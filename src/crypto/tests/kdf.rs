//! HKDF, PBKDF2, the functions of key agreement, SP 800-108.

use super::super::engine::{PrivateKey, hkdf_expand, hkdf_extract, pbkdf2};
use super::super::kdf::{EcKdf, Format, Mode, Piece, Prf, of_agreement, sp800_108};
use super::super::*;
use super::{hex, refused, secret};
use cryptoki_sys::*;

/// RFC 5869 appendix A: hash, input, salt, info, pseudorandom key, output.
const HKDF: [(Hash, &str, &str, &str, &str, &str); 4] = [
    (
        Hash::Sha256,
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        Hash::Sha256,
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
    (
        Hash::Sha1,
        "0b0b0b0b0b0b0b0b0b0b0b",
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "9b6c18c432a7bf8f0e71c8eb88f4b30baa2ba243",
        "085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896",
    ),
    (
        Hash::Sha1,
        "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
        "",
        "",
        "2adccada18779e7c2077ad2eb19d3f3e731385dd",
        "2c91117204d745f3500d636a62f64f0ab3bae548aa53d423b0d1f27ebba6f5e5673a081d70cce7acfc48",
    ),
];

#[test]
fn hkdf_of_rfc_5869() {
    for (hash, input, salt, info, key, output) in HKDF {
        let extracted = hkdf_extract(hash, &hex(salt), &hex(input)).unwrap();
        assert_eq!(*extracted, hex(key));
        let output = hex(output);
        let expanded = hkdf_expand(hash, &extracted, &hex(info), output.len()).unwrap();
        assert_eq!(*expanded, output);
    }
}

#[test]
fn hkdf_has_limits() {
    for hash in Hash::ALL {
        let key = vec![7; hash.len()];
        let most = 255 * hash.len();
        assert_eq!(hkdf_expand(hash, &key, b"", most).unwrap().len(), most);
        refused(hkdf_expand(hash, &key, b"", most + 1), CKR_KEY_SIZE_RANGE);
        refused(hkdf_expand(hash, &key[1..], b"", 8), CKR_KEY_SIZE_RANGE);
    }
}

/// RFC 6070 and RFC 7914 section 11.
#[test]
fn pbkdf2_of_the_rfcs() {
    for (hash, password, salt, iterations, output) in [
        (
            Hash::Sha1,
            "password",
            "salt",
            1,
            "0c60c80f961f0e71f3a9b524af6012062fe037a6",
        ),
        (
            Hash::Sha1,
            "password",
            "salt",
            2,
            "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
        ),
        (
            Hash::Sha1,
            "password",
            "salt",
            4096,
            "4b007901b765489abead49d926f721d065a429c1",
        ),
        (
            Hash::Sha1,
            "passwordPASSWORDpassword",
            "saltSALTsaltSALTsaltSALTsaltSALTsalt",
            4096,
            "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038",
        ),
        (
            Hash::Sha1,
            "pass\0word",
            "sa\0lt",
            4096,
            "56fa6aa75548099dcc37d7f03425e0c3",
        ),
        (
            Hash::Sha256,
            "passwd",
            "salt",
            1,
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
        ),
        (
            Hash::Sha256,
            "Password",
            "NaCl",
            80000,
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56\
             a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d",
        ),
    ] {
        let output = hex(output);
        let made = pbkdf2(
            hash,
            password.as_bytes(),
            salt.as_bytes(),
            iterations,
            output.len(),
        );
        assert_eq!(*made.unwrap(), output, "{password} {iterations}");
    }
    refused(
        pbkdf2(Hash::Sha256, b"password", b"salt", 0, 16),
        CKR_MECHANISM_PARAM_INVALID,
    );
}

/// Made by pyca/cryptography, from the secret 00 … 1f and the shared data "shared".
#[test]
fn functions_of_key_agreement() {
    let secret: Vec<u8> = (0..32).collect();
    for (kdf, output) in [
        (
            EcKdf::X963(Hash::Sha256),
            "35e25f5b250849d60d0403920daf2a27821f9bc80668c26a9d0bed0e2502e31feeb75f4a4dce845ff795457c8c0453ad86c2",
        ),
        (
            EcKdf::X963(Hash::Sha1),
            "3793f1741a8a857fa3f6db3bba8d9126321a11f71b5dd103fb0455c460c4a8f79f8d2fec0454d1fe6aa00784acb99578fc38",
        ),
        (
            EcKdf::OneStep(Hash::Sha512),
            "2d046119071d3c33f4cf12e4d2a14ced5bed60821449fb04c831f4d78f2bee0355c9e50f09bc27ea24baaae5f3e45ac9\
             532321184dae32bdd4c5e4120931052f8b8ad5da967ccbee947dc759a30a1800",
        ),
    ] {
        let output = hex(output);
        let made = of_agreement(kdf, &secret, b"shared", output.len()).unwrap();
        assert_eq!(*made, output, "{kdf:?}");
    }
    let end = of_agreement(EcKdf::Null, &secret, b"", 12).unwrap();
    assert_eq!(*end, secret[20..]);
    refused(
        of_agreement(EcKdf::Null, &secret, b"", 33),
        CKR_KEY_SIZE_RANGE,
    );
}

const fn counter(len: usize) -> Piece {
    Piece::Counter(Format {
        little_endian: false,
        len,
    })
}

/// NIST CAVP: CounterMode with HMAC-SHA-256, the counter of 8 and 32 bits before the fixed data, and
/// FeedbackModeNOzeroiv with the counter of 32 bits after the iteration variable.
#[test]
fn sp800_108_of_nist() {
    let prf = Prf::Hmac(Hash::Sha256);
    for (width, key, fixed, output) in [
        (
            1,
            "3edc6b5b8f7aadbd713732b482b8f979286e1ea3b8f8f99c30c884cfe3349b83",
            "98e9988bb4cc8b34d7922e1c68ad692ba2a1d9ae15149571675f17a77ad49e80\
             c8d2a85e831a26445b1f0ff44d7084a17206b4896c8112daad18605a",
            "6c037652990674a07844732d0ad985f9",
        ),
        (
            1,
            "2ce3a4a13bbf845a38999ef3c2a68385355fbbb0d6997c0bea7c3fecdc7f6745",
            "8505879d9c93d0b66a29a4d334c257a7824538ebcf151c0b55de0b757dda28fd\
             462c17cbdd8b529f9c183b786385499ff61fa1b736fb1579cf2f8e88",
            "ee9a34656d9d98384f49d35f088cd674",
        ),
        (
            4,
            "dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0",
            "01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e46b8\
             64a145fab25e517b08f8683d0315bb2911d80a0e8aba17f3b413faac",
            "10621342bfb0fd40046c0e29f2cfdbf0",
        ),
    ] {
        let pieces = [counter(width), Piece::Fixed(secret(fixed))];
        let made = sp800_108(Mode::Counter, prf, &hex(key), &pieces, &[], 1).unwrap();
        assert_eq!(made[..16], hex(output));
    }
    let pieces = [
        Piece::Chain,
        counter(4),
        Piece::Fixed(secret(
            "53b89c18690e2057a1d167822e636de50be0018532c431f7f5e37f77139220d5\
             e042599ebe266af5767ee18cd2c5c19a1f0f80",
        )),
    ];
    let key = hex("93f698e842eed75394d629d957e2e89c6e741f810b623c8b901e38376d068e7b");
    let iv = hex("9f575d9059d3e0c0803f08112f8a806de3c3471912cdf42b095388b14b33508e");
    let made = sp800_108(Mode::Feedback, prf, &key, &pieces, &iv, 2).unwrap();
    let output = "bd1476f43a4e315747cf5918e0ea5bc0d98769457477c3ab18b742def0e079a9\
                  33b756365afb5541f253fee43c6fd788a44041038509e9eeb68f7d65ffbb5f95";
    assert_eq!(*made, hex(output));
}

/// Computed by Python's hmac: key 00 … 1f, A(i) ‖ [i] of 32 bits ‖ "label" 00 "context".
#[test]
fn sp800_108_in_a_double_pipeline() {
    let key: Vec<u8> = (0..32).collect();
    let pieces = [
        Piece::Chain,
        counter(4),
        Piece::Fixed(Secret::copy_of(b"label\0context").unwrap()),
    ];
    let prf = Prf::Hmac(Hash::Sha256);
    let made = sp800_108(Mode::DoublePipeline, prf, &key, &pieces, &[], 3).unwrap();
    let output = "80d3e0462dfaf65bdca1b3602dd52bd373e6c927a1a184164c6b71fe08fc665b\
                  5bb5a1a7788f40db135c5f3095d0974e45dbd350e0feaa4fdd9108b203068c0a\
                  44c36ad8f83b2302c803f433b8731238";
    assert_eq!(made[..80], hex(output));
}

#[test]
fn sp800_108_counts_as_far_as_the_counter_goes() {
    let prf = Prf::Hmac(Hash::Sha1);
    let made = |count| sp800_108(Mode::Counter, prf, b"key", &[counter(1)], &[], count);
    assert_eq!(made(255).unwrap().len(), 255 * 20);
    refused(made(256), CKR_KEY_SIZE_RANGE);
    let both = [true, false].map(|little_endian| {
        Format {
            little_endian,
            len: 3,
        }
        .write(0x0102_0304)
    });
    assert_eq!(both, [[4, 3, 2].to_vec(), [2, 3, 4].to_vec()]);
}

/// NIST CAVP, KAS ECC CDH primitive, P-256, count 0.
#[test]
fn agreement_of_nist() {
    let d = secret("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534");
    let parts = PrivateParts {
        public: PublicParts::Ec {
            curve: Curve::P256,
            point: engine::public_point(Curve::P256, &d).unwrap(),
        },
        secret: SecretParts::Ec { d },
    };
    let key = PrivateKey::from_parts(&parts).unwrap();
    let peer = "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287\
                db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac";
    let shared = "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b";
    assert_eq!(*key.agree(&hex(peer)).unwrap(), hex(shared));
    let mut broken = hex(peer);
    broken[64] ^= 1;
    refused(key.agree(&broken), CKR_ATTRIBUTE_VALUE_INVALID);
    let signer = engine::generate(&KeySpec::Ed25519).unwrap();
    let signer = PrivateKey::from_parts(&signer).unwrap();
    refused(signer.agree(&hex(peer)), CKR_KEY_TYPE_INCONSISTENT);
}
