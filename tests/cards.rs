//! Cards that are only read and signed with, emulated by the test: what is found on them, what they
//! sign, what is refused, and that nothing is sent that such a card is not known to understand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::emulator::{Chip, Emulator, Exchange};
use common::hpki::{self, Hpki};
use common::jpki::{self, Jpki};
use common::vectors::{
    CARD_AUTHENTICATION, CARD_AUTHORITY, CARD_SIGNATURE, MESSAGE, RSA_MODULUS, RSA_PKCS_SHA256,
    RSA_PSS_SHA256, hex,
};
use common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `body` in a process whose one reader has this card, for these applications: the defaults
/// where none are named.
#[track_caller]
fn on_card(chip: impl Chip, applications: &[&str], body: impl FnOnce(Token, &Emulator)) {
    isolated_on(&[SOFTWARE], |world| {
        let socket = world.path("card");
        let applications = match applications {
            [] => String::new(),
            some => format!("applications = {some:?}\n"),
        };
        world.configure(&format!("[card]\n{applications}"));
        set("NODETOKEN_CARD", &socket);
        let card = Emulator::start(&socket, chip);
        let module = world.module();
        // The other slot is the blank software token's.
        let slot = module.slots().unwrap()[0];
        body(Token { module, slot }, &card);
    });
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap().trim_end()
}

fn of_class(class: CK_OBJECT_CLASS) -> Template {
    Template::new().set(CKA_CLASS, class)
}

/// How often the token says that its certificates are read without a login (Profiles 3.2, 5.5).
fn public_certificates(session: Session) -> usize {
    let profile = of_class(CKO_PROFILE).set(CKA_PROFILE_ID, CKP_PUBLIC_CERTIFICATES_TOKEN);
    session.find(&profile).unwrap().len()
}

/// The PIN flags that there are.
fn pin_flags(token: Token) -> CK_FLAGS {
    let all = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
    token.info().flags & all
}

/// VERIFY commands with a PIN.
fn pins_sent(log: &[Exchange]) -> usize {
    let sent = |exchange: &&Exchange| exchange.0[1] == 0x20 && exchange.0.len() > 4;
    log.iter().filter(sent).count()
}

/// The card knew every command: none had a wrong length, wrong parameters or an unknown instruction,
/// or was about a file of another kind.
#[track_caller]
fn all_was_understood(log: &[Exchange]) {
    for (command, response) in log {
        let status = &response[response.len() - 2..];
        assert!(
            !matches!(status[0], 0x67 | 0x6d | 0x6e)
                && ![[0x6a, 0x86], [0x6a, 0x80], [0x69, 0x86]].contains(&[status[0], status[1]]),
            "{command:02x?}: {status:02x?}"
        );
    }
}

/// The certificate, the private key and the public key of a user who is logged in, as this is what the
/// card shows.
struct Found {
    certificate: CK_OBJECT_HANDLE,
    private: CK_OBJECT_HANDLE,
    public: CK_OBJECT_HANDLE,
}

#[track_caller]
fn find(session: Session, id: &[u8], certificate: &[u8]) -> Found {
    let of_key = |class| session.find_one(&of_class(class).set(CKA_ID, id));
    let found = Found {
        certificate: of_key(CKO_CERTIFICATE),
        private: of_key(CKO_PRIVATE_KEY),
        public: of_key(CKO_PUBLIC_KEY),
    };
    assert_eq!(
        session.get(found.certificate, CKA_VALUE).unwrap(),
        certificate
    );
    for key in [found.private, found.public] {
        assert_eq!(session.get(key, CKA_MODULUS).unwrap(), hex(RSA_MODULUS));
        assert!(session.get_bool(key, CKA_TOKEN));
        assert_eq!(
            session.get(key, CKA_SUBJECT).unwrap(),
            session.get(found.certificate, CKA_SUBJECT).unwrap()
        );
    }
    for (attribute, is) in [
        (CKA_PRIVATE, true),
        (CKA_SIGN, true),
        (CKA_DECRYPT, false),
        (CKA_SENSITIVE, true),
        (CKA_EXTRACTABLE, false),
        (CKA_LOCAL, false),
    ] {
        assert_eq!(
            session.get_bool(found.private, attribute),
            is,
            "{attribute:#x}"
        );
    }
    session
        .get(found.private, CKA_PRIVATE_EXPONENT)
        .refused(CKR_ATTRIBUTE_SENSITIVE);
    found
}

/// Writing of every kind is refused, before the card hears of it.
#[track_caller]
fn nothing_is_written(session: Session, found: &Found, pin: &str, new_pin: &str) {
    let on_token = Template::new().set(CKA_TOKEN, true);
    session
        .create(&data("note").with(&on_token))
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    session
        .create(&certificate().with(&on_token))
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    session
        .generate_key_pair(
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            &rsa_public(2048).with(&on_token),
            &on_token,
        )
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    let label = Template::new().set(CKA_LABEL, "other");
    session
        .set(found.certificate, &label)
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    session
        .copy(found.certificate, &label)
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    session
        .destroy(found.certificate)
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    session
        .destroy(found.private)
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    session
        .set_pin(pin, new_pin)
        .refused(CKR_TOKEN_WRITE_PROTECTED);
    // What stays in the session is software's.
    let note = session.create(&data("note")).unwrap();
    session.destroy(note).unwrap();
}

/// What is no PKCS #1 v1.5 signature is refused before the card hears of it.
#[track_caller]
fn nothing_else_is_signed(session: Session, found: &Found) {
    let pss = Mech::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32);
    session
        .sign_init(pss, found.private)
        .refused(CKR_MECHANISM_INVALID);
    session
        .sign_init(CKM_RSA_X_509, found.private)
        .refused(CKR_MECHANISM_INVALID);
    session
        .decrypt_init(CKM_RSA_PKCS, found.private)
        .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
    // What somebody else's software signed with the same key is verified all the same.
    let pss = Mech::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32);
    session
        .verify(pss, found.public, MESSAGE, &hex(RSA_PSS_SHA256))
        .unwrap();
}

#[test]
fn jpki_authenticates() {
    on_card(Jpki::new(), &[], |token, card| {
        let info = token.info();
        assert_eq!(text(&info.label), "JPKI authentication");
        assert_eq!(text(&info.model), "JPKI");
        assert_eq!(text(&info.serialNumber).len(), 16);
        assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (4, 4));
        for flag in [
            CKF_WRITE_PROTECTED,
            CKF_LOGIN_REQUIRED,
            CKF_TOKEN_INITIALIZED,
        ] {
            assert!(token.has(flag), "{flag:#x}");
        }
        assert_eq!(pin_flags(token), 0);

        // Before the login there is all but the private key.
        let session = token.session();
        assert_eq!(public_certificates(session), 1);
        assert!(session.find(&of_class(CKO_PRIVATE_KEY)).unwrap().is_empty());
        assert_eq!(session.find(&of_class(CKO_PUBLIC_KEY)).unwrap().len(), 1);
        assert_eq!(session.find(&of_class(CKO_CERTIFICATE)).unwrap().len(), 2);
        let authority = session.find_one(&of_class(CKO_CERTIFICATE).set(CKA_ID, &[3]));
        assert_eq!(session.get(authority, CKA_VALUE).unwrap(), CARD_AUTHORITY);
        assert_eq!(
            session.get_ulong(authority, CKA_CERTIFICATE_CATEGORY),
            CK_CERTIFICATE_CATEGORY_AUTHORITY
        );

        session.login(CKU_USER, jpki::AUTHENTICATION_PIN).unwrap();
        let found = find(session, &[1], CARD_AUTHENTICATION);
        assert!(!session.get_bool(found.private, CKA_ALWAYS_AUTHENTICATE));
        let signature = session
            .sign(CKM_SHA256_RSA_PKCS, found.private, MESSAGE)
            .unwrap();
        assert_eq!(signature, hex(RSA_PKCS_SHA256));
        session
            .verify(CKM_SHA256_RSA_PKCS, found.public, MESSAGE, &signature)
            .unwrap();
        let parts = session.sign_parts(CKM_SHA512_RSA_PKCS, found.private, &[b"no", b"de"]);
        session
            .verify(CKM_SHA512_RSA_PKCS, found.public, MESSAGE, &parts.unwrap())
            .unwrap();
        // The longest that a modulus of 2048 bits has room for, and one byte more.
        let longest = [7; 245];
        let signature = session.sign(CKM_RSA_PKCS, found.private, &longest).unwrap();
        session
            .verify(CKM_RSA_PKCS, found.public, &longest, &signature)
            .unwrap();
        session
            .sign(CKM_RSA_PKCS, found.private, &[7; 246])
            .refused(CKR_DATA_LEN_RANGE);

        all_was_understood(&card.log());
        nothing_is_written(session, &found, jpki::AUTHENTICATION_PIN, "4321");
        nothing_else_is_signed(session, &found);
        assert!(card.log().is_empty());

        session.logout().unwrap();
        assert!(session.find(&of_class(CKO_PRIVATE_KEY)).unwrap().is_empty());
        session
            .sign_init(CKM_SHA256_RSA_PKCS, found.private)
            .refused(CKR_KEY_HANDLE_INVALID);
        // The card has ended the login too.
        assert_eq!(
            card.log()[0].0,
            [&[0, 0xa4, 4, 0x0c, 10], &jpki::AID[..]].concat()
        );
        all_was_understood(&card.log());
    });
}

#[test]
fn jpki_counts_wrong_pins() {
    on_card(Jpki::new(), &["jpki"], |token, card| {
        let session = token.session();
        let wrong = || session.login(CKU_USER, "9999");
        wrong().refused(CKR_PIN_INCORRECT);
        card.log();
        for _ in 0..3 {
            assert_eq!(pin_flags(token), CKF_USER_PIN_COUNT_LOW);
        }
        // What cannot be a PIN is not sent.
        for none in ["", "123", "12345"] {
            session.login(CKU_USER, none).refused(CKR_PIN_INCORRECT);
        }
        session.login(CKU_SO, "1234").refused(CKR_USER_TYPE_INVALID);
        assert_eq!(pins_sent(&card.log()), 0);
        wrong().refused(CKR_PIN_INCORRECT);
        let last = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY;
        assert_eq!(pin_flags(token), last);

        session.login(CKU_USER, jpki::AUTHENTICATION_PIN).unwrap();
        assert_eq!(pin_flags(token), 0);
        session.logout().unwrap();
        assert_eq!(pin_flags(token), 0);

        for _ in 0..2 {
            wrong().refused(CKR_PIN_INCORRECT);
        }
        assert_eq!(pin_flags(token), last);
        wrong().refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
        assert_eq!(pin_flags(token), CKF_USER_PIN_LOCKED);
        session
            .login(CKU_USER, jpki::AUTHENTICATION_PIN)
            .refused(CKR_PIN_LOCKED);
        all_was_understood(&card.log());
    });
}

#[test]
fn jpki_signs_and_shows_its_certificate_after_the_pin() {
    on_card(Jpki::new(), &["piv", "jpki-sign", "jpki"], |token, card| {
        let info = token.info();
        assert_eq!(text(&info.label), "JPKI signature");
        assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (6, 16));
        let session = token.session();
        // Nothing of the holder is seen before the login: the issuer's certificate alone.
        assert_eq!(public_certificates(session), 0);
        let [seen] = session.find(&Template::new()).unwrap()[..] else {
            panic!("one certificate");
        };
        assert_eq!(session.get(seen, CKA_VALUE).unwrap(), CARD_AUTHORITY);
        session.login(CKU_USER, "WRONG1").refused(CKR_PIN_INCORRECT);
        assert_eq!(pin_flags(token), CKF_USER_PIN_COUNT_LOW);

        session.login(CKU_USER, jpki::SIGNATURE_PIN).unwrap();
        let found = find(session, &[2], CARD_SIGNATURE);
        assert!(session.get_bool(found.certificate, CKA_PRIVATE));
        assert!(session.get_bool(found.public, CKA_PRIVATE));
        let signature = session
            .sign(CKM_SHA256_RSA_PKCS, found.private, MESSAGE)
            .unwrap();
        assert_eq!(signature, hex(RSA_PKCS_SHA256));
        nothing_is_written(session, &found, jpki::SIGNATURE_PIN, "ABCDEF");
        nothing_else_is_signed(session, &found);

        session.logout().unwrap();
        assert_eq!(session.find(&Template::new()).unwrap(), [seen]);
        // The hidden file was asked for by who had the PIN alone.
        let log = card.log();
        all_was_understood(&log);
        let refused = |exchange: &Exchange| exchange.1.ends_with(&[0x69, 0x82]);
        assert!(!log.iter().any(refused));
    });
}

/// Another program selects something else between two commands: the login goes on.
#[test]
fn jpki_goes_on_after_other_programs() {
    let interfered = Arc::new(AtomicBool::new(false));
    let chip = Interfered {
        chip: Jpki::new(),
        now: Arc::clone(&interfered),
    };
    on_card(chip, &["jpki-sign"], |token, card| {
        let session = token.session();
        session.login(CKU_USER, jpki::SIGNATURE_PIN).unwrap();
        interfered.store(true, Ordering::Release);
        let found = find(session, &[2], CARD_SIGNATURE);
        for now in [true, false, true] {
            interfered.store(now, Ordering::Release);
            card.log();
            session
                .sign(CKM_SHA256_RSA_PKCS, found.private, MESSAGE)
                .unwrap();
            assert_eq!(pins_sent(&card.log()), usize::from(now));
        }
        interfered.store(true, Ordering::Release);
        assert_eq!(pin_flags(token), 0);
    });
}

/// A card that another program resets before the next command, when told so.
struct Interfered<C> {
    chip: C,
    now: Arc<AtomicBool>,
}

impl<C: Chip> Chip for Interfered<C> {
    fn reset(&mut self) {
        self.chip.reset();
    }

    fn answer(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        if self.now.swap(false, Ordering::AcqRel) {
            self.chip.reset();
        }
        self.chip.answer(command)
    }
}

/// What the guideline fixes of the objects.
#[track_caller]
fn find_hpki(session: Session) -> Found {
    let found = find(session, &[0x17], CARD_AUTHENTICATION);
    let label = session.get(found.private, CKA_LABEL).unwrap();
    assert_eq!(label, b"Private key of HPKI");
    found
}

#[track_caller]
fn is_hpki(token: Token) {
    let info = token.info();
    assert_eq!(text(&info.label), "HPKI authentication");
    assert_eq!(text(&info.model), "HPKI");
    assert_eq!(text(&info.serialNumber).len(), 16);
    assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (4, 16));
    assert!(token.has(CKF_WRITE_PROTECTED));
    assert_eq!(pin_flags(token), 0);
}

/// The card of the guideline's example asks for the PIN each time, and has its blocks padded.
#[test]
fn hpki_of_the_guideline() {
    on_card(Hpki::of_the_guideline(), &[], |token, card| {
        is_hpki(token);
        let session = token.session();
        assert!(session.find(&of_class(CKO_PRIVATE_KEY)).unwrap().is_empty());
        let authority = session.find_one(&of_class(CKO_CERTIFICATE).set(CKA_ID, &[0x44]));
        assert_eq!(session.get(authority, CKA_VALUE).unwrap(), CARD_AUTHORITY);

        session.login(CKU_USER, hpki::PIN).unwrap();
        let found = find_hpki(session);
        assert!(session.get_bool(found.private, CKA_ALWAYS_AUTHENTICATE));
        for _ in 0..2 {
            session
                .sign_init(CKM_SHA256_RSA_PKCS, found.private)
                .unwrap();
            session.sign_rest(MESSAGE).refused(CKR_USER_NOT_LOGGED_IN);
            session
                .sign_init(CKM_SHA256_RSA_PKCS, found.private)
                .unwrap();
            card.log();
            session.login(CKU_CONTEXT_SPECIFIC, hpki::PIN).unwrap();
            assert_eq!(session.sign_rest(MESSAGE).unwrap(), hex(RSA_PKCS_SHA256));
            let log = card.log();
            all_was_understood(&log);
            let chosen = [0, 0x22, 0x41, 0xb6, 4, 0x81, 2, 0, 0x17];
            assert!(log.iter().any(|exchange| exchange.0 == chosen));
        }
        session.sign_init(CKM_RSA_PKCS, found.private).unwrap();
        session
            .login(CKU_CONTEXT_SPECIFIC, "wrong")
            .refused(CKR_PIN_INCORRECT);
        session.login(CKU_CONTEXT_SPECIFIC, hpki::PIN).unwrap();
        let signature = session.sign_rest(&[7; 51]).unwrap();
        session
            .verify(CKM_RSA_PKCS, found.public, &[7; 51], &signature)
            .unwrap();
        all_was_understood(&card.log());
        nothing_is_written(session, &found, hpki::PIN, "other-pin");
        nothing_else_is_signed(session, &found);
        assert!(card.log().is_empty());
    });
}

/// A card in the field that does not say where things are.
#[test]
fn hpki_of_the_field() {
    in_the_field(Hpki::of_the_field(), true);
}

/// One that does.
#[test]
fn hpki_of_the_field_by_its_directories() {
    in_the_field(Hpki::of_the_field_with_directories(), false);
}

#[track_caller]
fn in_the_field(chip: Hpki, asks: bool) {
    on_card(chip, &["hpki"], |token, card| {
        is_hpki(token);
        let session = token.session();
        session.login(CKU_USER, "no").refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, "wrong").refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, "wrong").refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, "wrong").refused(CKR_PIN_INCORRECT);
        assert_eq!(pin_flags(token), CKF_USER_PIN_COUNT_LOW);
        session.login(CKU_USER, hpki::PIN).unwrap();
        let found = find_hpki(session);
        assert_eq!(
            session.get_bool(found.private, CKA_ALWAYS_AUTHENTICATE),
            asks
        );
        all_was_understood(&card.log());
        for _ in 0..2 {
            session
                .sign_init(CKM_SHA256_RSA_PKCS, found.private)
                .unwrap();
            if asks {
                session.login(CKU_CONTEXT_SPECIFIC, hpki::PIN).unwrap();
            }
            assert_eq!(session.sign_rest(MESSAGE).unwrap(), hex(RSA_PKCS_SHA256));
        }
        // The one unknown command: how it signs is asked once.
        let log = card.log();
        let unknown: Vec<_> = log.iter().filter(|e| e.1 == [0x6d, 0]).collect();
        assert_eq!(unknown.len(), usize::from(!asks), "{unknown:02x?}");
        assert!(unknown.iter().all(|e| e.0[1] == 0x22));
        nothing_is_written(session, &found, hpki::PIN, "other-pin");
        session.logout().unwrap();
        assert_eq!(pin_flags(token), 0);
        all_was_understood(&card.log());
    });
}
