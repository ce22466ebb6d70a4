//! Known answers from an engine that is not ours (OpenSSL 3 by pyca/cryptography), in hexadecimal.
//!
//! The keys are throw-away keys made for these tests. The signed and enciphered message is [`MESSAGE`].

/// The message of every vector below that names no other.
pub const MESSAGE: &[u8] = b"node";

/// The bytes of a vector.
pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// An RSA-2048 key: n, d, p, q, d mod (p-1), d mod (q-1), 1/q mod p; e is 65537.
pub const RSA_MODULUS: &str = concat!(
    "a7a55bd300b285186bb407bd6df7f4fdfd328dae89cd610163e677cb3bb1bd311e94b691a715ba615c9662f0ae3d15a2",
    "5fb83e46db837bdc40c8d1df41d94689a1b70382f27754c19ef2ce49f33b7abbf16f03b02aa7dfc975f83d12895e9252",
    "d1e4a159368aecaf6ed1fdd7555c32192939ebd3ae595324dafa29f89ac79084515a798d4715a0de520abf8b203c565b",
    "31fb6272f3f82d60ec9ee5ef931b4f6b42b198986c92c909d6610714694f8be0b95b3de6e19f90c7cac42259579c09fe",
    "6fde2eb447fe23cb996476c7beba26ba1988ddbc2f1466972b9169689b031b6e6297a37f1a2f56a296059b75975a2747",
    "88f3f9acda6c50c8d293e350bb9a616d",
);
pub const RSA_PRIVATE_EXPONENT: &str = concat!(
    "0de89eefe85aa746b1a6d7ce8c495a62d92720d0967fbad8d7ee36c99e7bfe4f8d3336db6a32980a3c5980bf69a14942",
    "75b10e3fa83626284d9aaba8db68789cf215023e52b9fa46ef16436da8b7aa54ddf0c12c5439a5cc2bd4aad27721a8bf",
    "a4c8d46717aa9a7cea9392fd12c8a9a263447a2f8f833b2def59fa71f4fb721e9986bb9248792234fa9b47b0a0b4fd6a",
    "37181323f7aee1245de41fb274cd96afd05631bb8dbcb823b4b972069bbb50e80d70cb8e5b184ada7136a3728d14acd5",
    "188a05181ff609ee51f464c4a73a99cc9008eaa5ddd961766cfc2b4954e8ebbe71cd801b2fb9e5acc191ea92eeaba815",
    "2f0c62797246596f857f147d3e4d78d9",
);
pub const RSA_PRIME_1: &str = concat!(
    "ecf1a91249dfd00c95890a605c182840600cb400a34d26afde5dcbd482ad8c350a87196ad1715caa9e5889aa6c564a5c",
    "712a432ac73ca84b135d46ed3d0ee8281e8f120990e56da065239fa44cc88ae32c451c456f4b1cd9960f808d13defb14",
    "c14976224f6a28ca4a3c650749b9063ccd6b6d940962601b7015afeb25749059",
);
pub const RSA_PRIME_2: &str = concat!(
    "b520f32df8bac1bc5b9c3687e987fa4de177bd5ba430261286e467665c6e05a05db6c9b8c89c7dc8c5d3bede3c1d71b6",
    "44749719d05d911439a3ea6bc2d3622fb5c4212b0f5258872f76de752535efa39147291d5ce9b39767084e520f99249b",
    "0c98f5e0e9ef5ba62a414a42814056bc436014236c0559f8cd72b99d39749735",
);
pub const RSA_EXPONENT_1: &str = concat!(
    "329645aa89eb26d808f5012a217f66d897a91ea524384c922fbf86cd10394d3de5c9823bb40ba7e5257971aad9067349",
    "d93f54a7c571c5dc817de0aeb5e280de4fe7ebc9ef0d8ca239f5a917c2ecedfa22717edfb42b2d35a73c180e06b80c93",
    "19d13d4f85f4fc50741900d8d57c934057fb1fa2037ee555f6502b06e13049c1",
);
pub const RSA_EXPONENT_2: &str = concat!(
    "6c645a82914d99b091960b200c85be29ab1acfebae76cde1da6d86df3fc2eb850b6fde89c12bbd2e500ca63531fe60d5",
    "35641c246b8802d0faa97818a2cf82fb9027ddbd79feca51a3fadba778ec2d0b525e266196ff97e4abd8d19dd40dce55",
    "2715c656a148072d8a2de635a4498f5e3c679bc592d824fe7a5c046ded3b335d",
);
pub const RSA_COEFFICIENT: &str = concat!(
    "3965fb633cc9446d3878be1a0c208ae040ca16ef49cf7c6cd525d25f2f58e3c85e1432abb24478a9b833bd46c2091aba",
    "5d10e2e932dfea6e0baa00a062608bd5ef2696f7e7061cbf8636ec59a7bd404aecbfd717e30f89a737db9f740e34bbd8",
    "e1573dc99d9f474187f0f87784b99e105bfce66cc5e1c5654ae2d9d31c0d5a8a",
);
/// Its SubjectPublicKeyInfo.
pub const RSA_SPKI: &str = concat!(
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100a7a55bd300b285186bb407bd6df7f4",
    "fdfd328dae89cd610163e677cb3bb1bd311e94b691a715ba615c9662f0ae3d15a25fb83e46db837bdc40c8d1df41d946",
    "89a1b70382f27754c19ef2ce49f33b7abbf16f03b02aa7dfc975f83d12895e9252d1e4a159368aecaf6ed1fdd7555c32",
    "192939ebd3ae595324dafa29f89ac79084515a798d4715a0de520abf8b203c565b31fb6272f3f82d60ec9ee5ef931b4f",
    "6b42b198986c92c909d6610714694f8be0b95b3de6e19f90c7cac42259579c09fe6fde2eb447fe23cb996476c7beba26",
    "ba1988ddbc2f1466972b9169689b031b6e6297a37f1a2f56a296059b75975a274788f3f9acda6c50c8d293e350bb9a61",
    "6d0203010001",
);
/// PKCS#1 v1.5 signature with SHA256.
pub const RSA_PKCS_SHA256: &str = concat!(
    "9cc0bb94cc8a04b2b616356d10de4fd3165daeaf50d52fce04ae75f8f5e90c4dc98aefaa83bd7ca830a42315cedec2ee",
    "e17f8525402e4f10b5c40f860b0428271e5753a88aac26f4eb8f9b2bce83d29f8af37d0e944625b4d4a31fbef724ad1f",
    "aadcd898f92950311eb8152f7fb682dc977f48390ed7f6c10e95d2d9473e2dd7e29d909db5e3acc6e498c5d33a447873",
    "bb338104fb6e2d7b596bb58c0a681ca55e70b52549ca137c1f5a31d7c6efc77e6166a268675de86748e8ef4047e3316e",
    "f1ef971e09ffe629025b05dd629130d2f4da3cfcb92e18da4a4f6e53dcd4ee95ff431cc923494fc3bca34992fa9ee55e",
    "5e873ff1f8ba2ce7ecf2d56acfef8e68",
);
/// PKCS#1 v1.5 signature with SHA384.
pub const RSA_PKCS_SHA384: &str = concat!(
    "8865ffddea2d38c8e65744d19fe50545fc2fa79c2cd58c19e0479724eb1eb4afebfa20fe127908355d23f856e004dfa2",
    "0f2351e17984d7d572dc83c4bb4cb1a82aaf44da50b2c0d66f97c7478997ac4205d9fdd4697edd4d2bd6ff28e979cc82",
    "42954ea0bb01fc1a3c3703d4096f13576d140878a4a8016de2e86cc1ec1d2374ad392ce2fd04926a74d1c0b2b73bbf78",
    "4300331466f85873cba7ef2b1c86088d60c5cb37eb1afd6209c91a35022ebab89dc9f84e0f87272fa6dbcd4fc1e93cc1",
    "3cd339c4c85be5acba93142e816a409f6aa76d0a7c951c3ab6ff41fc33918836c2043b6cacbab901df01175e6213d1fa",
    "a545af96daa45e8b56e9c36cac2ec105",
);
/// PKCS#1 v1.5 signature with SHA512.
pub const RSA_PKCS_SHA512: &str = concat!(
    "0954215b56e84712880eddcf4b0a74e219aca67464ae4b98042ccb7d2712fc605467424f433895211217460729284a1d",
    "00af5a9bf6453fe6b6e578e9b1e0bef826aab92eeceb3310b82045b00b50fd76ae2b0ff62a61e8517188b97ea8951375",
    "1130edad7fbd87307b8fbcda72fc2170c013dfbcb92c57e3974e4ffc467ec05f5c29e71fff3db347da9e6c6f007498cd",
    "7b32d49fc7dc522444fd0df29d948f5f39858e715baf95511d71b7d6d92da2cea0ceb6c68b76e033314d7ebb4b4f15a9",
    "9d2fb20844f7b6360e360dd8cd9cdd25cb6a91a9b393730784a8090db81efcd8600cdf6134478d4bed98ccba732805b8",
    "5dae385ca78acd6737a7d4402891cb14",
);
/// PSS signature with SHA256, salt as long as the hash.
pub const RSA_PSS_SHA256: &str = concat!(
    "78bd5b9243b62f4e64758ce046b10d9c859c3a72d0a551dc7d1177c74c98c459ffbab9f5e5dde42b79ce58a134288397",
    "dce933450ead4e43838dc8ede9650ac1fb9cbdc62858259812332b01fdca0aa4d47c611dfa772623f44ea0a4289eabad",
    "97de9125b62b4f60f75f4e2af72b2a57d14f3f7cbab951a6fb3292a43aadecc9ed5b8084d98b4aae3d8500e3531d7df3",
    "8e50d84028352b36678ef2b92f5ec3a13231b2e18a5b4a39f626e5cf785a51b250f24c9d80ae459589427eecf67d4b41",
    "e003a456df0791947bf41be76ead980b49f7cf2a1c5820ac0649010bc03cbcaf71ed227ec509e56c70618cf34623df87",
    "a72016262221821a14080314d5763c6d",
);
/// PSS signature with SHA384, salt as long as the hash.
pub const RSA_PSS_SHA384: &str = concat!(
    "39c51aadb86df36a46b530a857850c1a7f5803d2aa1072afa122292fef9b87d024698771635fb2b73e75193f4567bfaf",
    "fcbce69c317e74b1e151943fa117743178c0815714cd0593df6ff09f417d6d645fc18b4d810a787cc4a183c0a580eade",
    "541b93ab85a9d6a2017c04e3bc636de5a648553054e48c6b829719b57601bd3c8802b37903ad8f2bec47c210f2f67a7d",
    "fe16cb1a07305641e3a60e209b27783502056018246036ed96ece21bcc87ae2a39f616fcfb2bb456bf52079e3449e0b4",
    "5aa486afca4df702c2ada032c55bef671ce02afc8e3f9bad7b54f79402845228205d8763c91556c00cf28e7846952e4b",
    "b742a2d595f8fb845ae9ba6e0c6079ca",
);
/// PSS signature with SHA512, salt as long as the hash.
pub const RSA_PSS_SHA512: &str = concat!(
    "1a0cf1032b3dcd044e4df087a082c1f0affaf28548f659fc08a8526bf701ea5cd027817f55bf9de6b6cc9988acc9ba61",
    "6627a4532a0adc272a522d2d8ec9ec04410ee7e6c64d3f7617e781127f76caddc4831d0724da34b9e7ff87487977f31c",
    "c2b8031479bbc902a33810b5018a29cd1f37568706c2c4961ed6edcd3b03a4e4f20083992a436c89e2dbb792568ea43c",
    "6f25294554b304f1a59d3fe4213db519a2a2ec97329118d32ddb40b50e54482032302a08ec685bb63f665753f662a9ac",
    "1be7d5f25f7f1047121057103f20eb55e267067a6afc7fdb8521267d96f0c8c8333e0dd8a847e19ea81e051acdf84594",
    "b204d6508c506be2f16769979d519d5b",
);
/// PKCS#1 v1.5 encryption.
pub const RSA_PKCS_CIPHERTEXT: &str = concat!(
    "4706932bb26d71f1ca4b35018b0480968732820a7a78a15e0482620dee24ff31b3018e6bb68e5b6cb7a16ed660ae0a06",
    "79c350fa0e00497bd446bb3265d6feacd94e8a4f7d1b640596db76c391cb19380326d27f488f2ebef4e661ca7d363f43",
    "e0c255b0e57494a3b46146d73a98b77245c57046c982816e028b53449b62fe9f36176cf21e35972a1eea5fe3cd9bd6cb",
    "abb49fe69316bd3d9f8150327a54e4a1ce6dc925ad922862e74cc44ec3ee73150e8da6e066e8d316332ae0bbd9f08226",
    "abbe6c611a171778e3305ac4a18b0078e596c582aa00a180dcae1ca6545be14e98be9a1451adfed2cfb9b9c1fa610407",
    "8071e17856173a5a2fe2e295b3841949",
);
/// OAEP with SHA-1, no label.
pub const RSA_OAEP_SHA1: &str = concat!(
    "08cb70b91073ef7a5d891be07bbe66a792e1e7e83919f6d739577a2c4052a6fde477507f15284ecf0d7375f7aaa62123",
    "3c34e1b76772e262415407af6fb05e64f0cfb7daf7c2f39e238c70b6f5cf7dc245ffc52684b95766994cc05640070eba",
    "42d21f8453fb2b03abf026f9bc82eea8a2d000dc6a2e9f9172f058a3313a0e885e925528506a6d78cf5f6e231c9195ec",
    "05f4ddf4c75e68986c6b802b9a9bca4e2f2b159f1d33c6eac6c86bed9dd5416c12320fc54b9faf60416b5df472696e2e",
    "825d9d3d9f919f88b7e84a773156185f34826d5672e840939d74c4a906ae9dfb47286da0a0fa9e7d4b44eab7513a0649",
    "0b86693a069115ef124b3b13ccf23ec6",
);
/// OAEP with SHA-256 and the label `label`.
pub const RSA_OAEP_SHA256_LABEL: &str = concat!(
    "2b6092ebd6d6d9bb84ab513407c34f608d00deb84eca9e1042aba752c8905310609540b40b86fd0b80cbe2a620b2d740",
    "1416dc26d6d6420b1b78f2785c1e927868bef31055758aec74167f7cc1c110705580baeb5a9b59292b0b71d8f6e42434",
    "36fa5cd3f267709ebef080a67163763e039a33708c3bcfaba98c47d8823b437cbbddd49c7c4ad2880d05d5f8908f2d21",
    "d8765fe708a24284fc3f1825d3ca1bb9c28a5c1a13713ba983bda15a2afbf50b64b06982ea580f4411bb4fc6b988c271",
    "f026a2c2b373fce2ec2db7bcf04264f733607cc6f0e052579de63082b424116944a121a0c44bdbfe7453106c7082523b",
    "0fcb9bb119f893d3c79756e477746041",
);
/// Certificates of its public key for two purposes, and the one of their issuer (by OpenSSL).
pub const CARD_AUTHENTICATION: &[u8] = include_bytes!("testdata/card-authentication.der");
pub const CARD_SIGNATURE: &[u8] = include_bytes!("testdata/card-signature.der");
pub const CARD_AUTHORITY: &[u8] = include_bytes!("testdata/card-authority.der");
/// Other RSA keys, each an RSAPrivateKey (RFC 8017 A.1.2).
pub const RSA_3072: &[u8] = include_bytes!("testdata/rsa3072.der");
pub const RSA_4096: &[u8] = include_bytes!("testdata/rsa4096.der");
/// One of 2048 bits with the public exponent 3.
pub const RSA_EXPONENT_3: &[u8] = include_bytes!("testdata/rsa2048-exponent3.der");
/// One of 2048 bits with primes of 1000 and 1048.
pub const RSA_UNEQUAL_PRIMES: &[u8] = include_bytes!("testdata/rsa2048-unequal-primes.der");
/// A key on P-256: scalar, uncompressed point, SubjectPublicKeyInfo.
pub const P256_SCALAR: &str = "fc4a23439b216f228095e78eaaba32a7202e2bd0dba6ff8e033fea347f161cb9";
pub const P256_POINT: &str = concat!(
    "0462b858e8da57e6df53b0839d61f6206284dd77eb20dc670b55b86bb72b9904eb07ac683d4893fefd781f8599bf0276",
    "fb521849b55955f72198e0a23a5c07133d",
);
pub const P256_SPKI: &str = concat!(
    "3059301306072a8648ce3d020106082a8648ce3d0301070342000462b858e8da57e6df53b0839d61f6206284dd77eb20",
    "dc670b55b86bb72b9904eb07ac683d4893fefd781f8599bf0276fb521849b55955f72198e0a23a5c07133d",
);
/// ECDSA with SHA256, r and s side by side.
pub const P256_ECDSA: &str = concat!(
    "6a84d04c3deecf9721daa2d5dc2004f7f237589757ac88850ae5e11861636517d8c95f4a7547d1fc811fb0caf2ec610a",
    "142748b7a2942ab93f1074d636ac1e9a",
);
/// The order of P-256.
pub const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
/// A self-signed certificate of the P-256 key: DER, subject (also the issuer), serial number.
pub const P256_CERTIFICATE: &str = concat!(
    "3082011b3081c2a00302010202021267300a06082a8648ce3d04030230173115301306035504030c0c6e6f64652e6578",
    "616d706c65301e170d3236303130313030303030305a170d3336303130313030303030305a3017311530130603550403",
    "0c0c6e6f64652e6578616d706c653059301306072a8648ce3d020106082a8648ce3d0301070342000462b858e8da57e6",
    "df53b0839d61f6206284dd77eb20dc670b55b86bb72b9904eb07ac683d4893fefd781f8599bf0276fb521849b55955f7",
    "2198e0a23a5c07133d300a06082a8648ce3d0403020348003045022100ecc27ba1d854d87ba35c5fc233c3abac9c3b17",
    "546be6ae62a1102474a75cdaa9022055517776d8d2a2447834d0df7bcd833ef117dd697d54b7e82e9aaaacf785d306",
);
pub const P256_CERTIFICATE_SUBJECT: &str = "30173115301306035504030c0c6e6f64652e6578616d706c65";
pub const P256_CERTIFICATE_SERIAL: &str = "02021267";
/// A key on P-384: scalar, uncompressed point, SubjectPublicKeyInfo.
pub const P384_SCALAR: &str = "6a6384d6aac18a8fe0ca347f409e6d83f4fd4e5f69794ecab5cda878152c8123cb075ee819be2f76abfd6e1d0558f930";
pub const P384_POINT: &str = concat!(
    "04ce6b6f10ba6fa67e221ea5126926f7bd2f75e9fd414a09fdd4cdf39af0c079a117559f2b049ea0a8ada92decc3e792",
    "d985d20b7abea3bd8273c54741ca7355cd85ff2ad66a23282b0765eb9481bbc3c58c90a94f3137cb6f10469bda9f8be9",
    "08",
);
pub const P384_SPKI: &str = concat!(
    "3076301006072a8648ce3d020106052b8104002203620004ce6b6f10ba6fa67e221ea5126926f7bd2f75e9fd414a09fd",
    "d4cdf39af0c079a117559f2b049ea0a8ada92decc3e792d985d20b7abea3bd8273c54741ca7355cd85ff2ad66a23282b",
    "0765eb9481bbc3c58c90a94f3137cb6f10469bda9f8be908",
);
/// ECDSA with SHA384, r and s side by side.
pub const P384_ECDSA: &str = concat!(
    "afb3f28cb15de3559a48b09f4034dd79c234d394d339e8c7bc543f6325d732e0f036a92cbae234ff8e4eb84f72649e83",
    "3feae342f4f43abb881c420da2ff4eec2c0568dbfb71b44ce537a35459ec4846874228074e89b107c92ca9af6932218f",
);
/// A key on P-521: scalar, uncompressed point, SubjectPublicKeyInfo.
pub const P521_SCALAR: &str = concat!(
    "01a803c960f5967030fc7f1c0c5ef42806d6900d3cbfd95645682bb10a1dee607c3baf32204daf06c8a8bcf442adc829",
    "36eb508419364f8bae0dec132968b1b54cc6",
);
pub const P521_POINT: &str = concat!(
    "040157d9ba5effc8700a6dfa88dcae79583b23b3ae3288c17e08ef8adeaff50175526c107b5bd5761b42238f5f21238e",
    "fb97c8e4676c0594352205c3e8ec1915449fa60061a4856fbf68390aa8b829e2fb067ce3613e4813b98efccd15d8303b",
    "9a138863047587313c4ff7f5f88c3b4967ec16571ce662d7ceaeda327af1e17302be4e229b",
);
pub const P521_SPKI: &str = concat!(
    "30819b301006072a8648ce3d020106052b8104002303818600040157d9ba5effc8700a6dfa88dcae79583b23b3ae3288",
    "c17e08ef8adeaff50175526c107b5bd5761b42238f5f21238efb97c8e4676c0594352205c3e8ec1915449fa60061a485",
    "6fbf68390aa8b829e2fb067ce3613e4813b98efccd15d8303b9a138863047587313c4ff7f5f88c3b4967ec16571ce662",
    "d7ceaeda327af1e17302be4e229b",
);
/// ECDSA with SHA512, r and s side by side.
pub const P521_ECDSA: &str = concat!(
    "012616427681e75bd251389b911f67156921e08f2fe05b4730c822e0be2fb9cd1f1faa5462fcd03efca886f4107144b7",
    "b4ee7a94b29e93a210c1958d033e1c35dae201e4460b7ae58039a02d3c2c66d6cd35e37059011103f84466cbc0f755e9",
    "81cb14d1eb4036f47bc7de1e33d9566d4c6b2b585e4bc3e9f969e5da48f39b57849a3703",
);
/// The first key of RFC 8032, 7.1: seed, public point.
pub const ED25519_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
pub const ED25519_POINT: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/// Pure Ed25519 of the message.
pub const ED25519_SIGNATURE: &str = concat!(
    "fc06fb8797ef69edd5a183ceea3576fce13c84766186f8d39348d8ae4e8f264498f9a1e30a51792bad8bb0b5e5cf9c05",
    "068644227be46496ce58bab504532904",
);
/// RFC 8032, 7.1, test 1: the signature of the empty message.
pub const ED25519_SIGNATURE_OF_NOTHING: &str = concat!(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b",
    "d25bf5f0595bbe24655141438e7a100b",
);
/// AES-256; IV or counter block; 20 bytes of plain text; additional data.
pub const AES_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub const AES_IV: &str = "101112131415161718191a1b1c1d1e1f";
pub const AES_TEXT: &str = "7477656e7479206279746573206f662074657874";
pub const AES_AAD: &str = "686561646572";
/// ECB of the first 16 bytes.
pub const AES_ECB: &str = "2d07a151f41b83a78d3f5fc430a1a0ba";
/// CBC of the first 16 bytes.
pub const AES_CBC: &str = "ed3ac6293405b66069cefabb7d416de3";
pub const AES_CBC_PAD: &str = "ed3ac6293405b66069cefabb7d416de381ea61b8b113716c0d5d72d5283af6f1";
/// CTR with a counter of 128 bits.
pub const AES_CTR: &str = "9db48ae4c64d73848900f9a51688ceae8da433ee";
/// GCM, the IV's first 12 bytes, tag of 128 bits.
pub const AES_GCM: &str =
    "0989fd783db01ad1b3016d6e2f160f73a335367a789061e75ffb68da0ef1d895ac38d898";
/// FIPS 180-4: digests of `abc`.
pub const SHA1_ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
pub const SHA224_ABC: &str = "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7";
pub const SHA256_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
pub const SHA384_ABC: &str = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7";
pub const SHA512_ABC: &str = concat!(
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd",
    "454d4423643ce80e2a9ac94fa54ca49f",
);
/// HMAC under the AES key's bytes.
pub const HMAC_SHA1: &str = "b91b098d5202d96ce78f71e3d4c9aafc8fd67500";
pub const HMAC_SHA224: &str = "fa4e49c4a3db7b38c795e7d75163fe81c92daf5fe06a19c9665f752f";
pub const HMAC_SHA256: &str = "acacc58f15171b5a18f2f78dd184da98c6156d47cdbe3b87b9d8609c83c48a7c";
pub const HMAC_SHA384: &str = "7a2774d96129951b9d473dd0879059484bed4b91f22f9f106fa685d09cc8236f54fb5e925956472e01aa4adba4b457ab";
pub const HMAC_SHA512: &str = concat!(
    "4e2b789120f5f203a19b628e581a19a24d6869e0411d55247b300b9d5f7dc3c3e07ccded6ce66d15bbff832a31be9108",
    "75b3c68215ede534402c5f1efa05c095",
);
