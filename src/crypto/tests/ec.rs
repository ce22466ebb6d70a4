//! ECDSA, ECDH and Ed25519.

use super::super::engine::{
    PrivateKey, PublicKey, agree, digest, ed25519_public, generate, public_point,
};
use super::super::*;
use super::{hex, refused, round_trip, secret};
use cryptoki_sys::*;

struct EcCase {
    curve: Curve,
    order: &'static str,
    d: &'static str,
    point: &'static str,
    hash: Hash,
    /// Over the digest of "sample" with `hash`.
    signature: &'static str,
    /// Over that with SHA-512, which the smaller curves cut.
    signature_sha512: &'static str,
}

// RFC 6979 A.2.5, A.2.6 and A.2.7; orders of SP 800-186 3.2.1.
const EC: [EcCase; 3] = [
    EcCase {
        curve: Curve::P256,
        order: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        d: "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        point: "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a4\
             1ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
        hash: Hash::Sha256,
        signature: "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436\
             c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        signature_sha512: "8496a60b5e9b47c825488827e0495b0e3fa109ec4568fd3f8d1097678eb97f002362ab1adbe2b8adf9cb\
             9edab740ea6049c028114f2460f96554f61fae3302fe",
    },
    EcCase {
        curve: Curve::P384,
        order: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec\
             196accc52973",
        d: "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872\
             c9ea60d2edf5",
        point: "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064\
             a254515480bc138015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b23\
             1c3ae0d4fe7344fd2533264720",
        hash: Hash::Sha384,
        signature: "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36\
             dd1e80fabe4699ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145\
             786e679e7b82c71a38628ac8",
        signature_sha512: "ed0959d5880ab2d869ae7f6c2915c6d60f96507f9cb3e047c0046861da4a799cfe30f35cc900056d7c99\
             cd7882433709512c8cceee3890a84058ce1e22dbc2198f42323ce8aca9135329f03c068e5112dc7cc3ef\
             3446defceb01a45c2667fdd5",
    },
    EcCase {
        curve: Curve::P521,
        order: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b\
             7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
        d: "00fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa896eb32f1f47c7085\
             5836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538",
        point: "0401894550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd371123d46e45db6b5d\
             5370a7f20fb633155d38ffa16d2bd761dcac474b9a2f5023a400493101c962cd4d2fddf782285e645841\
             39c2f91b47f87ff82354d6630f746a28a0db25741b5b34a828008b22acc23f924faafbd4d33f81ea6695\
             6dfeaa2bfdfcf5",
        hash: Hash::Sha512,
        signature: "00c328fafcbd79dd77850370c46325d987cb525569fb63c5d3bc53950e6d4c5f174e25a1ee9017b5d450\
             606add152b534931d7d4e8455cc91f9b15bf05ec36e377fa00617cce7cf5064806c467f678d3b4080d6f\
             1cc50af26ca209417308281b68af282623eaa63e5b5c0723d8b8c37ff0777b1a20f8ccb1dccc43997f1e\
             e0e44da4a67a",
        signature_sha512: "00c328fafcbd79dd77850370c46325d987cb525569fb63c5d3bc53950e6d4c5f174e25a1ee9017b5d450\
             606add152b534931d7d4e8455cc91f9b15bf05ec36e377fa00617cce7cf5064806c467f678d3b4080d6f\
             1cc50af26ca209417308281b68af282623eaa63e5b5c0723d8b8c37ff0777b1a20f8ccb1dccc43997f1e\
             e0e44da4a67a",
    },
];

fn ec_parts(curve: Curve, point: &[u8], d: &[u8]) -> PrivateParts {
    PrivateParts {
        public: PublicParts::Ec {
            curve,
            point: point.to_vec(),
        },
        secret: SecretParts::Ec {
            d: Secret::copy_of(d).unwrap(),
        },
    }
}

#[test]
fn ecdsa() {
    for case in &EC {
        let parts = ec_parts(case.curve, &hex(case.point), &hex(case.d));
        assert_eq!(
            public_point(case.curve, &hex(case.d)).unwrap(),
            hex(case.point)
        );
        let private = PrivateKey::from_parts(&parts).unwrap();
        let public = PublicKey::from_parts(&parts.public).unwrap();

        let sample = digest(case.hash, b"sample");
        let verify =
            |input: &[u8], signature: &[u8]| public.verify(&SignScheme::Ecdsa, input, signature);
        verify(&sample, &hex(case.signature)).unwrap();
        verify(
            &digest(Hash::Sha512, b"sample"),
            &hex(case.signature_sha512),
        )
        .unwrap();

        for len in [1, 20, 64, 100] {
            let input = vec![0xa5; len];
            let signature = private.sign(&SignScheme::Ecdsa, &input).unwrap();
            assert_eq!(signature.len(), 2 * case.curve.len());
            verify(&input, &signature).unwrap();
            assert_ne!(signature, private.sign(&SignScheme::Ecdsa, &input).unwrap());
        }
        // FIPS 186-5 6.4.1: only the leftmost bits count, as many as the order has.
        let long = [0x5a; 100];
        let signature = private.sign(&SignScheme::Ecdsa, &long).unwrap();
        verify(&long[..case.curve.len()], &signature).unwrap();

        let good = hex(case.signature);
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut broken = good.clone();
            broken[at] ^= 1;
            refused(verify(&sample, &broken), CKR_SIGNATURE_INVALID);
        }
        let half = case.curve.len();
        let zero_r = [vec![0; half], good[half..].to_vec()].concat();
        let zero_s = [good[..half].to_vec(), vec![0; half]].concat();
        let huge = vec![0xff; 2 * half];
        for broken in [zero_r, zero_s, huge] {
            refused(verify(&sample, &broken), CKR_SIGNATURE_INVALID);
        }
        refused(
            verify(&digest(case.hash, b"test"), &good),
            CKR_SIGNATURE_INVALID,
        );
        for len in [0, 1, half, 2 * half - 1, 2 * half + 1] {
            refused(verify(&sample, &vec![1; len]), CKR_SIGNATURE_LEN_RANGE);
        }
        refused(verify(&[], &good), CKR_DATA_LEN_RANGE);
        refused(private.sign(&SignScheme::Ecdsa, &[]), CKR_DATA_LEN_RANGE);
        refused(
            private.sign(&SignScheme::RsaPkcs1, &sample),
            CKR_KEY_TYPE_INCONSISTENT,
        );
        refused(
            private.decrypt(&CryptScheme::RsaPkcs1, &sample),
            CKR_KEY_TYPE_INCONSISTENT,
        );
        refused(
            public.encrypt(&CryptScheme::RsaRaw, &sample),
            CKR_KEY_TYPE_INCONSISTENT,
        );
    }
}

/// What is no uncompressed point of the curve, from one that is.
fn broken_points(curve: Curve, point: &[u8]) -> [Vec<u8>; 8] {
    let mut off_curve = point.to_vec();
    *off_curve.last_mut().unwrap() ^= 1;
    let mut hybrid = point.to_vec();
    hybrid[0] = 6 + (point[point.len() - 1] & 1);
    let mut compressed = point[..=curve.len()].to_vec();
    compressed[0] = 2 + (point[point.len() - 1] & 1);
    let beyond_field = [vec![4], vec![0xff; 2 * curve.len()]].concat();
    let longer = [point, &[0]].concat();
    let origin = [vec![4], vec![0; 2 * curve.len()]].concat();
    // `00` is the point at infinity.
    let infinity = vec![0];
    [
        off_curve,
        hybrid,
        compressed,
        beyond_field,
        longer,
        origin,
        infinity,
        vec![],
    ]
}

#[test]
fn broken_ec_keys() {
    for case in &EC {
        let (point, d) = (hex(case.point), hex(case.d));
        let other = generate(&KeySpec::Ec(case.curve)).unwrap();
        let PublicParts::Ec { point: foreign, .. } = &other.public else {
            panic!("not an EC key");
        };
        let import = |point: &[u8], d: &[u8]| {
            PrivateKey::from_parts(&ec_parts(case.curve, point, d)).map(drop)
        };
        import(&point, &d).unwrap();
        let zero = vec![0; d.len()];
        let order = hex(case.order);
        for (point, d) in [
            (&point, &zero),
            (&point, &order),
            (&point, &vec![0xff; d.len()]),
            (&point, &d[1..].to_vec()),
            (foreign, &d),
        ] {
            refused(import(point, d), CKR_ATTRIBUTE_VALUE_INVALID);
        }
        for d in [&zero[..], &order, &d[1..], &[]] {
            refused(public_point(case.curve, d), CKR_ATTRIBUTE_VALUE_INVALID);
        }

        for point in broken_points(case.curve, &point) {
            refused(import(&point, &d), CKR_ATTRIBUTE_VALUE_INVALID);
            let public = PublicParts::Ec {
                curve: case.curve,
                point,
            };
            refused(PublicKey::from_parts(&public), CKR_ATTRIBUTE_VALUE_INVALID);
        }
    }
    let mixed = PrivateParts {
        public: PublicParts::Ed25519(hex(ED25519[0].1)),
        secret: SecretParts::Ec { d: secret(EC[0].d) },
    };
    refused(PrivateKey::from_parts(&mixed), CKR_ATTRIBUTE_VALUE_INVALID);
}

#[test]
fn generated_ec_keys() {
    for curve in Curve::ALL {
        let parts = generate(&KeySpec::Ec(curve)).unwrap();
        let SecretParts::Ec { d } = &parts.secret else {
            panic!("not an EC key");
        };
        assert_eq!(d.len(), curve.len());
        let PublicParts::Ec { point, .. } = &parts.public else {
            panic!("not an EC key");
        };
        assert_eq!(&public_point(curve, d).unwrap(), point);
        round_trip(&parts, &SignScheme::Ecdsa, &[1; 32]);
    }
    let parts = generate(&KeySpec::Ed25519).unwrap();
    let scheme = SignScheme::EdDsa {
        prehash: false,
        context: None,
    };
    round_trip(&parts, &scheme, b"message");
}

// NIST CAVS 14.1, "ECC CDH Primitive (SP800-56A Section 5.7.1.2)", COUNT = 0 of each curve: the
// peer's x and y, our private value, the shared secret.
const ECDH: [(Curve, [&str; 4]); 3] = [
    (
        Curve::P256,
        [
            "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287",
            "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
            "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534",
            "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b",
        ],
    ),
    (
        Curve::P384,
        [
            "a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e764592efda27fe7513272\
             734466b400091adbf2d68c58e0c50066",
            "ac68f19f2e1cb879aed43a9969b91a0839c4c38a49749b661efedf243451915e\
             d0905a32b060992b468c64766fc8437a",
            "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b15618b6818a661774\
             ad463b205da88cf699ab4d43c9cf98a1",
            "5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f40ba7fcead493b457\
             e5621e766c40a2e3d4d6a04b25e533f1",
        ],
    ),
    (
        Curve::P521,
        [
            "00685a48e86c79f0f0875f7bc18d25eb5fc8c0b07e5da4f4370f3a9490340854\
             334b1e1b87fa395464c60626124a4e70d0f785601d37c09870ebf176666877a2\
             046d",
            "01ba52c56fc8776d9e8f5db4f0cc27636d0b741bbe05400697942e80b739884a\
             83bde99e0f6716939e632bc8986fa18dccd443a348b6c3e522497955a4f3c302\
             f676",
            "017eecc07ab4b329068fba65e56a1f8890aa935e57134ae0ffcce802735151f4\
             eac6564f6ee9974c5e6887a1fefee5743ae2241bfeb95d5ce31ddcb6f9edb4d6\
             fc47",
            "005fc70477c3e63bc3954bd0df3ea0d1f41ee21746ed95fc5e1fdf90930d5e13\
             6672d72cc770742d1711c3c3a4c334a0ad9759436a4d3c5bf6e74b9578fac148\
             c831",
        ],
    ),
];

#[test]
fn ecdh() {
    for (curve, [x, y, d, shared]) in ECDH {
        let (peer, d) = (hex(&["04", x, y].concat()), hex(d));
        assert_eq!(*agree(curve, &d, &peer).unwrap(), *hex(shared));

        let own = public_point(curve, &d).unwrap();
        let parts = generate(&KeySpec::Ec(curve)).unwrap();
        let (PublicParts::Ec { point, .. }, SecretParts::Ec { d: other }) =
            (&parts.public, &parts.secret)
        else {
            panic!("not an EC key");
        };
        assert_eq!(
            *agree(curve, &d, point).unwrap(),
            *agree(curve, other, &own).unwrap()
        );
    }
}

#[test]
fn ecdh_refusals() {
    for case in &EC {
        let (curve, point, d) = (case.curve, hex(case.point), hex(case.d));
        for point in broken_points(curve, &point) {
            refused(agree(curve, &d, &point), CKR_ATTRIBUTE_VALUE_INVALID);
        }
        for d in [&vec![0; d.len()][..], &hex(case.order), &d[1..], &[]] {
            refused(agree(curve, d, &point), CKR_ATTRIBUTE_VALUE_INVALID);
        }
    }
    // A point of another curve.
    refused(
        agree(Curve::P256, &hex(EC[0].d), &hex(EC[1].point)),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
}

/// Seed, public key, prehash, context, message, signature.
type EdCase = (
    &'static str,
    &'static str,
    bool,
    Option<&'static str>,
    &'static str,
    &'static str,
);

// RFC 8032 7.1 tests 1 and 3, 7.2 "foo", 7.3 "abc".
const ED25519: [EdCase; 4] = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        false,
        None,
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
         5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        false,
        None,
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
        "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292",
        false,
        Some("666f6f"),
        "f726936d19c800494e3fdaff20b276a8",
        "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a\
         8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        true,
        None,
        "616263",
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
         31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
    ),
];

#[test]
fn ed25519() {
    for (seed, public, prehash, context, message, expected) in ED25519 {
        assert_eq!(ed25519_public(&hex(seed)).unwrap(), hex(public));
        let parts = PrivateParts {
            public: PublicParts::Ed25519(hex(public)),
            secret: SecretParts::Ed25519 { seed: secret(seed) },
        };
        let scheme = SignScheme::EdDsa {
            prehash,
            context: context.map(hex),
        };
        let private = PrivateKey::from_parts(&parts).unwrap();
        let public = PublicKey::from_parts(&parts.public).unwrap();
        let (message, signature) = (hex(message), private.sign(&scheme, &hex(message)).unwrap());
        assert_eq!(signature, hex(expected));
        public.verify(&scheme, &message, &signature).unwrap();

        let longer = [&message[..], b"x"].concat();
        refused(
            public.verify(&scheme, &longer, &signature),
            CKR_SIGNATURE_INVALID,
        );
        let other_variant = SignScheme::EdDsa {
            prehash,
            context: Some(b"bar".to_vec()),
        };
        refused(
            public.verify(&other_variant, &message, &signature),
            CKR_SIGNATURE_INVALID,
        );
        for len in [0, 63, 65] {
            refused(
                public.verify(&scheme, &message, &vec![0; len]),
                CKR_SIGNATURE_LEN_RANGE,
            );
        }
        // s is refused from the order on (RFC 8032 5.1.7).
        let mut malleated = signature;
        malleated[63] |= 0xe0;
        refused(
            public.verify(&scheme, &message, &malleated),
            CKR_SIGNATURE_INVALID,
        );
        let long_context = SignScheme::EdDsa {
            prehash,
            context: Some(vec![1; 256]),
        };
        refused(
            private.sign(&long_context, &message),
            CKR_MECHANISM_PARAM_INVALID,
        );
        refused(
            private.sign(&SignScheme::Ecdsa, &message),
            CKR_KEY_TYPE_INCONSISTENT,
        );
    }
}

#[test]
fn broken_ed25519_keys() {
    let swapped = PrivateParts {
        public: PublicParts::Ed25519(hex(ED25519[1].1)),
        secret: SecretParts::Ed25519 {
            seed: secret(ED25519[0].0),
        },
    };
    refused(
        PrivateKey::from_parts(&swapped),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    refused(ed25519_public(&[1; 31]), CKR_ATTRIBUTE_VALUE_INVALID);
    for len in [0, 31, 33] {
        let public = PublicParts::Ed25519(vec![9; len]);
        refused(PublicKey::from_parts(&public), CKR_ATTRIBUTE_VALUE_INVALID);
    }
}
