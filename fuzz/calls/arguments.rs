//! The fuzzer's bytes as arguments: mostly good ones, so that calls get far, now and then hostile
//! ones. Pointers are null or good; a length is that of the memory behind the pointer, or one that no
//! memory has.

use crate::token::{Token, number};
use cryptoki_sys::*;
use nodetoken::attribute::{Kind, RULES};
use nodetoken::mechanism::{MECHANISMS, Mechanism, ParameterForm};
use std::ptr::null_mut;

/// Lengths, handles and numbers that are none.
const WILD: [usize; 5] = [0, 1 << 44, 1 << 63, usize::MAX / 8, usize::MAX];
/// What follows each output buffer and must stay.
const CANARY: [u8; 32] = [0xc5; 32];
/// Above this a byte asks for something hostile.
const GOOD: u8 = 224;

/// Whether a parameter is numbers and bytes alone.
fn is_without_pointers(form: ParameterForm) -> bool {
    matches!(
        form,
        ParameterForm::None
            | ParameterForm::Iv
            | ParameterForm::WrapIv
            | ParameterForm::PaddedWrapIv
            | ParameterForm::Length
            | ParameterForm::Ctr
            | ParameterForm::Pss
    )
}

/// The fuzzer's bytes, all zero where they end.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn is_good(&mut self) -> bool {
        self.byte() < GOOD
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Short ones, or long ones that repeat what was given.
    fn data(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte());
        let given = self.bytes(len % 64).to_vec();
        match len {
            0..192 => given,
            _ => given.repeat(16),
        }
    }

    fn wild(&mut self) -> usize {
        let choice = usize::from(self.byte());
        match WILD.get(choice % 8) {
            Some(wild) => *wild,
            None => self
                .bytes(8)
                .iter()
                .fold(0, |n, byte| n << 8 | usize::from(*byte)),
        }
    }

    fn one_of<'t, T>(&mut self, values: &'t [T]) -> &'t T {
        &values[usize::from(self.byte()) % values.len()]
    }
}

/// A buffer that a function may write to, and how far.
struct Output {
    bytes: Vec<u8>,
    room: usize,
}

/// What calls have made so far: sessions, objects, and which function has begun an operation last.
pub struct Made {
    pub sessions: Vec<CK_SESSION_HANDLE>,
    pub objects: Vec<CK_OBJECT_HANDLE>,
    pub begun: usize,
}

/// The arguments of one call, and the memory behind them.
pub struct Arguments<'t> {
    token: &'t Token,
    pub words: Vec<usize>,
    /// The mechanism that they name.
    pub row: Option<&'static Mechanism>,
    /// The key of the token that they name.
    pub key: Option<CK_OBJECT_HANDLE>,
    /// Making the key would take long.
    pub slow: bool,
    inputs: Vec<Vec<u8>>,
    words_behind: Vec<Box<[usize]>>,
    templates: Vec<Vec<CK_ATTRIBUTE>>,
    outputs: Vec<Output>,
    new_objects: Vec<usize>,
    new_session: Option<usize>,
}

impl<'t> Arguments<'t> {
    pub fn read(token: &'t Token, made: &Made, letters: &str, input: &mut Input<'_>) -> Self {
        let mut arguments = Self {
            token,
            words: Vec::new(),
            row: None,
            key: None,
            slow: false,
            inputs: Vec::new(),
            words_behind: Vec::new(),
            templates: Vec::new(),
            outputs: Vec::new(),
            new_objects: Vec::new(),
            new_session: None,
        };
        for letter in letters.chars() {
            arguments.add(letter, made, input);
        }
        arguments
    }

    fn add(&mut self, letter: char, made: &Made, input: &mut Input<'_>) {
        match letter {
            's' => {
                let session = match input.is_good() {
                    true => *input.one_of(&made.sessions) as usize,
                    false => input.wild(),
                };
                // It keeps the user logged in.
                let is_anchor = session == self.token.anchor as usize;
                self.words.push(if is_anchor { 0 } else { session });
            }
            'z' => self.words.push(usize::MAX),
            'S' => {
                let slot = match input.is_good() {
                    true => usize::from(input.byte() % 2),
                    false => input.wild(),
                };
                self.words.push(slot);
            }
            'Z' => self.words.push(input.wild().max(2)),
            'i' | '0' => self.words.push(0),
            'k' => self.object(made, input),
            'x' => {
                let number = match input.is_good() {
                    true => input.one_of(MECHANISMS).kind as usize,
                    false => input.wild(),
                };
                self.words.push(number);
            }
            'f' => {
                let flags = match input.is_good() {
                    true => CKF_SERIAL_SESSION as usize | usize::from(input.byte() % 2) << 1,
                    false => input.wild(),
                };
                self.words.push(flags);
            }
            'u' => {
                let users = [CKU_USER as usize, CKU_SO as usize, 3, usize::MAX];
                self.words.push(*input.one_of(&users));
            }
            'w' => self.words.push(input.wild() | CKF_DONT_BLOCK as usize),
            'm' => self.mechanism(input),
            'D' => {
                let [at, len] = self.data(input);
                self.words.extend([at, len]);
            }
            'P' => self.message_parameter(input),
            'N' if input.is_good() => self.words.extend([0, 0]),
            'N' => {
                let [at, len] = self.data(input);
                self.words.extend([at, len]);
            }
            'e' => {
                let flags = match input.is_good() {
                    true => usize::from(input.byte() % 2),
                    false => input.wild(),
                };
                self.words.push(flags);
            }
            // More of the message follows.
            'E' if input.byte() % 2 == 0 => self.words.extend([0, 0]),
            'B' | 'E' | 'L' | 'R' => self.output(letter, input),
            'T' | 'C' | 'G' | 'Q' => self.template(letter, input),
            'H' => {
                let (at, room) = self.buffer(8 * usize::from(input.byte()));
                let most = if input.is_good() { room / 8 } else { 0 };
                let count = self.behind(vec![0]);
                self.words.extend([at, most, count]);
            }
            'h' => {
                let at = self.behind(vec![0]);
                self.new_objects.push(at);
                self.words.push(if input.is_good() { at } else { 0 });
            }
            'o' => {
                let at = self.behind(vec![0]);
                self.new_session = Some(at);
                self.words.push(at);
            }
            'p' => {
                let (at, _) = self.buffer(512);
                self.words.push(if input.is_good() { at } else { 0 });
            }
            // C_Finalize and C_WaitForSlotEvent must refuse it.
            'r' => {
                let at = self.behind(vec![0]);
                self.words.push(at);
            }
            'n' => {
                let mut name = match input.is_good() {
                    true => b"PKCS 11".to_vec(),
                    false => input.data(),
                };
                name.push(0);
                let at = self.keep(name);
                self.words.push(if input.is_good() { at } else { 0 });
            }
            'v' => {
                let version = vec![2 + input.byte() % 3, *input.one_of(&[0, 2, 40])];
                let at = self.keep(version);
                self.words.push(if input.is_good() { at } else { 0 });
            }
            other => panic!("no argument {other:?}"),
        }
    }

    fn object(&mut self, made: &Made, input: &mut Input<'_>) {
        let choice = input.byte();
        let fits = |key: &&crate::token::Key| {
            self.row
                .is_none_or(|row| row.key_types.contains(&key.key_type))
        };
        let fitting: Vec<_> = self.token.keys.iter().filter(fits).collect();
        let object = match choice {
            0..128 if !fitting.is_empty() => {
                let key = input.one_of(&fitting).handle;
                self.key = Some(key);
                key as usize
            }
            0..GOOD if !made.objects.is_empty() => *input.one_of(&made.objects) as usize,
            0..GOOD => input.one_of(&self.token.keys).handle as usize,
            _ => input.wild(),
        };
        self.words.push(object);
    }

    fn keep(&mut self, bytes: Vec<u8>) -> usize {
        self.inputs.push(bytes);
        self.inputs
            .last()
            .map_or(0, |bytes| bytes.as_ptr() as usize)
    }

    fn behind(&mut self, words: Vec<usize>) -> usize {
        self.words_behind.push(words.into());
        self.words_behind
            .last_mut()
            .map_or(0, |words| words.as_mut_ptr() as usize)
    }

    /// Where a buffer is, and its room.
    fn buffer(&mut self, room: usize) -> (usize, usize) {
        let mut bytes = vec![0; room];
        bytes.extend(CANARY);
        let at = bytes.as_mut_ptr() as usize;
        self.outputs.push(Output { bytes, room });
        (at, room)
    }

    /// Input and its length; where that is wild, the call must notice.
    fn data(&mut self, input: &mut Input<'_>) -> [usize; 2] {
        let bytes = input.data();
        let len = bytes.len();
        let at = self.keep(bytes);
        if input.is_good() {
            return [at, len];
        }
        match input.byte() % 3 {
            0 => [0, len],
            1 => [0, input.wild()],
            _ => [at, *input.one_of(&WILD)],
        }
    }

    fn output(&mut self, letter: char, input: &mut Input<'_>) {
        let element = match letter {
            'L' => size_of::<CK_INTERFACE>(),
            _ => 4,
        };
        let (at, room) = self.buffer(element * usize::from(!input.byte()));
        let good = input.is_good();
        let at = match good || input.byte().is_multiple_of(2) {
            true => at,
            false => 0,
        };
        match letter {
            'R' if good => self.words.extend([at, room]),
            'R' => self.words.extend([at, *input.one_of(&WILD)]),
            _ => {
                let count = if letter == 'L' { room / element } else { room };
                let len = self.behind(vec![count]);
                let no_len = !good && input.byte().is_multiple_of(4);
                self.words.extend([at, if no_len { 0 } else { len }]);
            }
        }
    }

    fn mechanism(&mut self, input: &mut Input<'_>) {
        let row = input.one_of(MECHANISMS);
        let mut kind = row.kind as usize;
        let mut form = row.parameter;
        if input.is_good() {
            self.row = Some(row);
        } else {
            kind = input.wild();
        }
        let other = input.one_of(MECHANISMS).parameter;
        // Words that were no pointers may not be read as such.
        let of_kind = nodetoken::mechanism::row(kind as CK_MECHANISM_TYPE);
        match of_kind.map(|row| row.parameter) {
            Some(own) if !is_without_pointers(own) => form = own,
            _ if input.is_good() => {}
            _ => form = other,
        }
        let parameter = self.parameter(form, input);
        let mut len = match form {
            ParameterForm::PaddedWrapIv => 4,
            _ => 8 * parameter.len(),
        };
        let mut at = if parameter.is_empty() {
            0
        } else {
            self.behind(parameter)
        };
        if !input.is_good() {
            (at, len) = match input.byte() % 4 {
                0 => (0, len),
                1 => (at, len / 2),
                2 => (at, *input.one_of(&WILD)),
                _ => (0, 0),
            };
        }
        let mechanism = self.behind(vec![kind, at, len]);
        let is_null = !input.is_good();
        self.words.push(if is_null { 0 } else { mechanism });
    }

    /// The structure of a mechanism's parameter: on the platforms of the fuzzer all of them are made
    /// of words.
    fn parameter(&mut self, form: ParameterForm, input: &mut Input<'_>) -> Vec<usize> {
        let hashes = [CKM_SHA256, CKM_SHA384, CKM_SHA512, CKM_SHA224, CKM_SHA_1];
        let masks = [
            CKG_MGF1_SHA256,
            CKG_MGF1_SHA384,
            CKG_MGF1_SHA512,
            CKG_MGF1_SHA224,
            CKG_MGF1_SHA1,
        ];
        let small = |input: &mut Input<'_>, good: usize| match input.byte() {
            0..128 => good,
            128..GOOD => usize::from(input.byte()),
            _ => input.wild(),
        };
        match form {
            ParameterForm::None => Vec::new(),
            ParameterForm::Iv => vec![input.wild(), input.wild()],
            ParameterForm::WrapIv | ParameterForm::PaddedWrapIv => vec![input.wild()],
            ParameterForm::Length => vec![small(input, 16)],
            ParameterForm::Ctr => vec![small(input, 128), input.wild(), input.wild()],
            ParameterForm::Pss => {
                let (hash, mask) = (*input.one_of(&hashes), *input.one_of(&masks));
                vec![
                    small(input, hash as usize),
                    small(input, mask as usize),
                    small(input, 32),
                ]
            }
            ParameterForm::RsaAesKeyWrap => {
                let oaep = self.parameter(ParameterForm::Oaep, input);
                vec![small(input, 256), self.behind(oaep)]
            }
            ParameterForm::EcdhAesKeyWrap => {
                let [at, len] = self.data(input);
                vec![
                    small(input, 256),
                    small(input, CKD_SHA256_KDF as usize),
                    len,
                    at,
                ]
            }
            ParameterForm::Oaep => {
                let (hash, mask) = (*input.one_of(&hashes), *input.one_of(&masks));
                let [at, len] = self.data(input);
                vec![
                    hash as usize,
                    mask as usize,
                    small(input, CKZ_DATA_SPECIFIED as usize),
                    at,
                    len,
                ]
            }
            ParameterForm::Gcm => {
                let [mut iv, mut iv_len] = self.data(input);
                if iv_len == 0 && input.is_good() {
                    (iv, iv_len) = (self.keep(vec![7; 12]), 12);
                }
                let [aad, aad_len] = self.data(input);
                vec![
                    iv,
                    iv_len,
                    small(input, 96),
                    aad,
                    aad_len,
                    small(input, 128),
                ]
            }
            ParameterForm::Ccm => {
                let ([nonce, nonce_len], [aad, aad_len]) = (self.data(input), self.data(input));
                vec![
                    small(input, 16),
                    nonce,
                    nonce_len,
                    aad,
                    aad_len,
                    small(input, 16),
                ]
            }
            ParameterForm::ChaCha20Poly1305 => {
                let (nonce, aad) = (self.data(input), self.data(input));
                let bits = small(input, 96);
                vec![nonce[0], nonce[1].min(bits), aad[0], aad[1]]
            }
            ParameterForm::EdDsa => {
                let [at, len] = self.data(input);
                vec![usize::from(input.byte() % 3), len, at]
            }
            ParameterForm::SignContext | ParameterForm::HashSignContext => {
                let [at, len] = self.data(input);
                let mut words = vec![usize::from(input.byte() % 4), at, len];
                if form == ParameterForm::HashSignContext {
                    words.push(input.one_of(MECHANISMS).kind as usize);
                }
                words
            }
            _ => self.derivation(form, input),
        }
    }

    /// The same of a derivation.
    fn derivation(&mut self, form: ParameterForm, input: &mut Input<'_>) -> Vec<usize> {
        let hashes = [CKM_SHA256, CKM_SHA384, CKM_SHA512, CKM_SHA3_256, CKM_SHA_1];
        match form {
            ParameterForm::Ecdh => {
                let shared = self.data(input);
                let peer = match input.is_good() {
                    true => {
                        let pairs = self.token.samples.iter().flatten();
                        let points: Vec<_> = pairs.filter(|pair| pair.0 == CKA_EC_POINT).collect();
                        let point = input.one_of(&points).1.clone();
                        let len = point.len();
                        [self.keep(point), len]
                    }
                    false => self.data(input),
                };
                let kdf = usize::from(input.byte() % 24);
                let shared_len = if kdf == 1 { 0 } else { shared[1] };
                vec![kdf, shared_len, shared[0], peer[1], peer[0]]
            }
            ParameterForm::Hkdf => {
                let steps = usize::from(input.byte() % 2) | usize::from(input.byte() % 2) << 8;
                let hash = *input.one_of(&hashes) as usize;
                let salt_type = 1 << (input.byte() % 4);
                let (salt, info) = (self.data(input), self.data(input));
                let key = match input.is_good() {
                    true => input.one_of(&self.token.keys).handle as usize,
                    false => input.wild(),
                };
                vec![
                    steps, hash, salt_type, salt[0], salt[1], key, info[0], info[1],
                ]
            }
            ParameterForm::Sp800108 | ParameterForm::Sp800108Feedback => {
                let functions = [CKM_SHA256_HMAC, CKM_AES_CMAC, CKM_SHA_1_HMAC, CKM_SHA256];
                let function = *input.one_of(&functions) as usize;
                let count = usize::from(input.byte() % 5);
                let fields: Vec<_> = (0..count).flat_map(|_| self.prf_field(input)).collect();
                let fields = self.behind(fields);
                let mut words = vec![function, count, fields];
                if form == ParameterForm::Sp800108Feedback {
                    let [at, len] = self.data(input);
                    words.extend([len, at]);
                }
                match input.byte() {
                    0..160 => words.extend([0, 0]),
                    160..GOOD => {
                        let key = self.derived_key(input);
                        words.extend([1, self.behind(key)]);
                    }
                    _ => words.extend([*input.one_of(&WILD), 0]),
                }
                words
            }
            ParameterForm::Pbkdf2 => {
                let (salt, password) = (self.data(input), self.data(input));
                // A length, or a pointer to one.
                let len = match password[1] {
                    len @ 0..4096 if input.is_good() => len,
                    len => self.behind(vec![len]),
                };
                let iterations = match input.is_good() {
                    true => usize::from(input.byte()),
                    false => *input.one_of(&WILD),
                };
                vec![
                    usize::from(!input.is_good()) + 1,
                    salt[0],
                    salt[1],
                    iterations,
                    usize::from(input.byte() % 8),
                    0,
                    usize::from(!input.is_good()),
                    password[0],
                    len,
                ]
            }
            ParameterForm::CbcData => {
                let [at, len] = self.data(input);
                vec![input.wild(), input.wild(), at, len]
            }
            // CK_KEY_DERIVATION_STRING_DATA.
            _ => self.data(input).to_vec(),
        }
    }

    /// CK_PRF_DATA_PARAM.
    fn prf_field(&mut self, input: &mut Input<'_>) -> [usize; 3] {
        let little_endian = usize::from(input.byte() % 2);
        let width = 8 * usize::from(input.byte() % 9);
        let (kind, value) = match input.byte() % 6 {
            0 => (CK_SP800_108_ITERATION_VARIABLE, vec![little_endian, width]),
            1 => (CK_SP800_108_ITERATION_VARIABLE, Vec::new()),
            2 => (CK_SP800_108_COUNTER, vec![little_endian, width]),
            3 => {
                let method = usize::from(input.byte() % 4);
                (CK_SP800_108_DKM_LENGTH, vec![method, little_endian, width])
            }
            4 => {
                let key = input.one_of(&self.token.keys).handle as usize;
                (CK_SP800_108_KEY_HANDLE, vec![key])
            }
            _ => {
                let [at, len] = self.data(input);
                return [CK_SP800_108_BYTE_ARRAY as usize, at, len];
            }
        };
        let len = 8 * value.len();
        let (at, len) = match input.byte() {
            0..GOOD => (self.behind(value), len),
            _ => (0, *input.one_of(&WILD)),
        };
        [kind as usize, at, len]
    }

    /// CK_DERIVED_KEY.
    fn derived_key(&mut self, input: &mut Input<'_>) -> Vec<usize> {
        self.template('T', input);
        let count = self.words.pop().unwrap_or(0);
        let template = self.words.pop().unwrap_or(0);
        let handle = self.behind(vec![0]);
        self.new_objects.push(handle);
        vec![template, count, if input.is_good() { handle } else { 0 }]
    }

    /// CK_GCM_MESSAGE_PARAMS, CK_CCM_MESSAGE_PARAMS or CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS, whose
    /// buffers are written to.
    fn message_parameter(&mut self, input: &mut Input<'_>) {
        let small = |input: &mut Input<'_>, good: usize| match input.byte() {
            0..200 => good,
            200..GOOD => usize::from(input.byte()),
            _ => *input.one_of(&WILD),
        };
        let pointer = |at: usize, input: &mut Input<'_>| if input.is_good() { at } else { 0 };
        // As long as the longest that are taken.
        let (nonce, tag) = (self.buffer(256).0, self.buffer(256).0);
        let (nonce, tag) = (pointer(nonce, input), pointer(tag, input));
        let generator = usize::from(input.byte() % 6);
        let fixed = small(input, 0);
        let words = match input.byte() % 3 {
            0 => vec![
                small(input, 20),
                nonce,
                small(input, 12),
                fixed,
                generator,
                tag,
                small(input, 16),
            ],
            1 => vec![nonce, small(input, 96), tag],
            _ => vec![
                nonce,
                small(input, 12),
                fixed,
                generator,
                tag,
                small(input, 128),
            ],
        };
        let len = 8 * words.len();
        let at = self.behind(words);
        self.words.extend(match input.is_good() {
            true => [at, len],
            false => [pointer(at, input), small(input, len / 2)],
        });
    }

    fn template(&mut self, letter: char, input: &mut Input<'_>) {
        let mut pairs = match letter {
            'G' => self.key_to_make(input),
            _ => match usize::from(input.byte()) % (self.token.samples.len() + 1) {
                0 => Vec::new(),
                at => self.token.samples[at - 1].clone(),
            },
        };
        for _ in 0..input.byte() % 8 {
            let rule = input.one_of(RULES);
            let kind = match input.is_good() {
                true => rule.attribute,
                false => input.wild() as CK_ATTRIBUTE_TYPE,
            };
            let value = match (input.is_good(), rule.kind) {
                (true, Kind::Bool) => vec![input.byte() % 2],
                (true, Kind::Ulong) => number(CK_ULONG::from(input.byte())),
                (true, Kind::Date) => b"20260101".to_vec(),
                (true, Kind::Mechanisms) => number(input.one_of(MECHANISMS).kind),
                _ => input.data(),
            };
            // The token would fill with what cannot be destroyed.
            if kind == CKA_DESTROYABLE && value == [CK_FALSE] {
                continue;
            }
            match pairs.iter_mut().find(|pair| pair.0 == kind) {
                Some(pair) if input.is_good() => pair.1 = value,
                _ => pairs.push((kind, value)),
            }
        }
        // A copy of a key that cannot be destroyed could not be either.
        if letter == 'C' {
            pairs.push((CKA_DESTROYABLE, vec![CK_TRUE]));
        }
        let bits = pairs.iter().find(|pair| pair.0 == CKA_MODULUS_BITS);
        let exponent = pairs.iter().find(|pair| pair.0 == CKA_PUBLIC_EXPONENT);
        // An even exponent is refused; none, or an empty one, is the usual one.
        let odd = exponent.is_none_or(|pair| pair.1.last().is_none_or(|last| last % 2 == 1));
        self.slow |= letter == 'G' && odd && bits.is_some_and(|pair| pair.1 != number(0));

        let mut template = Vec::new();
        for (kind, value) in pairs {
            let len = value.len();
            let at = match letter {
                'Q' => self.buffer(4 * usize::from(!input.byte())).0,
                _ => self.keep(value),
            };
            let len = match letter {
                'Q' => self.outputs.last().map_or(0, |output| output.room),
                _ => len,
            };
            let (at, len) = match input.byte() {
                0..248 => (at, len),
                248..252 => (0, len),
                // Room that is not there is the caller's word where the answer is written.
                _ if letter == 'Q' => (0, usize::MAX),
                _ => (at, *input.one_of(&WILD)),
            };
            template.push(CK_ATTRIBUTE {
                type_: kind,
                pValue: at as *mut _,
                ulValueLen: len as CK_ULONG,
            });
        }
        let at = match template.is_empty() {
            true => null_mut(),
            false => template.as_mut_ptr(),
        } as usize;
        let count = template.len();
        self.templates.push(template);
        let (at, count) = match input.is_good() {
            true => (at, count),
            false if letter == 'C' => (at, *input.one_of(&WILD[1..])),
            false => match input.byte() % 3 {
                0 => (0, count),
                1 => (at, 0),
                _ => (at, *input.one_of(&WILD)),
            },
        };
        self.words.extend([at, count]);
    }

    /// What makes a key by the mechanism.
    fn key_to_make(&mut self, input: &mut Input<'_>) -> Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)> {
        match self.row.and_then(|row| row.key_types.first()) {
            Some(&CKK_RSA) => vec![
                (CKA_MODULUS_BITS, number(2048)),
                (CKA_PUBLIC_EXPONENT, input.data()),
            ],
            Some(&CKK_ML_DSA | &CKK_ML_KEM) => {
                vec![(
                    CKA_PARAMETER_SET,
                    number(1 + CK_ULONG::from(input.byte() % 4)),
                )]
            }
            Some(&(CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY)) => {
                let params = self.token.samples.iter().flatten();
                let params: Vec<_> = params.filter(|pair| pair.0 == CKA_EC_PARAMS).collect();
                vec![(*input.one_of(&params)).clone()]
            }
            _ => vec![(
                CKA_VALUE_LEN,
                number(16 + CK_ULONG::from(input.byte() % 3) * 8),
            )],
        }
    }

    /// Notes what a call that succeeded has made.
    pub fn note(&self, made: &mut Made) {
        let word = |at: usize| {
            self.words_behind
                .iter()
                .find(|words| words.as_ptr() as usize == at)
        };
        let handle = |at: usize| {
            word(at)
                .map(|words| words[0] as CK_ULONG)
                .filter(|h| *h != 0)
        };
        made.objects
            .extend(self.new_objects.iter().filter_map(|at| handle(*at)));
        made.sessions.extend(self.new_session.and_then(handle));
    }

    /// Nothing was written behind a buffer, and no secret value into one.
    pub fn check_outputs(&self) {
        for Output { bytes, room } in &self.outputs {
            let (written, behind) = bytes.split_at(*room);
            assert_eq!(behind, CANARY, "written behind a buffer");
            for secret in &self.token.secrets {
                let seen = written.windows(16).any(|window| window == &secret[..16]);
                assert!(!seen, "a secret value was shown");
            }
        }
    }
}
