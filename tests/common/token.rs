//! Tokens: the kinds that the suite runs on, and how a test gets one.

use super::card::{self, Card, Reader};
use super::keys::Curve;
use super::module::{self, Module};
use super::process;
use super::session::Session;
use super::swtpm::{self, Swtpm};
use super::vectors::hex;
use cryptoki_sys::*;
use std::any::Any;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// PINs that every kind takes: a PIV card's security officer has a PUK and a management key.
pub const SO_PIN: &str = "12345678:010203040506070801020304050607080102030405060708";
pub const USER_PIN: &str = "31415926";
/// Other PINs for the same.
pub const OTHER_SO_PIN: &str = "87654321:0807060504030201080706050403020108070605040302ff";
pub const OTHER_USER_PIN: &str = "2718281";
/// The PINs of nobody.
pub const WRONG_PIN: &str = "16180339";
pub const WRONG_SO_PIN: &str = "16180339:010203040506070801020304050607080102030405060708";

/// A kind of token, and what it can do. Tests ask for that and leave out what it cannot, which
/// `tests/kinds.rs` shows to be refused; what is not declared here every kind can.
pub struct Kind {
    pub name: &'static str,
    /// Its private keys that are session objects, and those that are token objects.
    pub session_keys: Keys,
    pub token_keys: Keys,
    /// It keeps an application's secrets: secret keys, and private data and certificates.
    pub keeps_secrets: bool,
    /// How much fits on it, where that is little.
    pub room: Option<Room>,
    /// It comes initialized, with both PINs, and is never without; the user's stays as it is when it is
    /// initialized again.
    pub personalized: bool,
    /// It is in a reader that it can be taken out of.
    pub removable: bool,
    /// Bytes of the user's PIN, and whether they must be digits.
    pub pin_lengths: (CK_ULONG, CK_ULONG),
    pub pin_of_digits: bool,
    /// Wrong tries after which a PIN is locked: the user's, the security officer's.
    pub tries: usize,
    pub so_tries: usize,
    /// It says how many the security officer has left, and that there are none.
    pub shows_so_tries: bool,
    /// Its security officer makes, changes and destroys the user's objects as well, and sees them.
    pub so_writes: bool,
    /// A login counts as a wrong one from its beginning until it was a right one: the module counts,
    /// not the token, which never counts a right one.
    pub counts_first: bool,
    /// What another process has written is seen by the next call: else after the next login.
    pub shows_changes_at_once: bool,
    /// Whose PINs are stretched (CKU_): each of their logins takes 64 MiB and its time.
    pub stretched: &'static [CK_USER_TYPE],
    /// The environment variables that make the module show a fresh one of this kind whose files are
    /// in the given directory.
    variables: fn(&Path) -> Vec<(&'static str, OsString)>,
    /// What it needs in every configuration file.
    pub configuration: fn(&Path) -> String,
    /// What must run beside it, until this is dropped.
    pub start: fn(&Path) -> Box<dyn Any>,
    /// What must be done before the module is loaded to have two of them.
    pub double: Double,
    /// Does what a system with such a token does for a process that was killed.
    pub bury: fn(&Path),
}

/// What private keys of a kind of token can be.
#[derive(Clone, Copy)]
pub struct Keys {
    pub curves: &'static [Curve],
    /// Lengths of RSA moduli, of those that the suite uses.
    pub rsa_bits: &'static [CK_ULONG],
    /// They live in a chip: they can never be read, and an RSA key has the exponent 65537.
    pub in_chip: bool,
    /// They may come from outside, and be copied. To a chip, an RSA key comes by its primes.
    pub imported: bool,
}

/// What fits on a token that is small.
#[derive(Clone, Copy)]
pub struct Room {
    pub objects: usize,
    pub bytes: usize,
}

/// How there are two tokens of a kind.
pub enum Double {
    /// The configuration says that there may be.
    Configured(&'static str),
    /// Another one is brought.
    Brought(fn(&Path)),
}

/// Every kind of token that the whole suite runs on.
pub const KINDS: &[Kind] = &[SOFTWARE, TPM, CARD];

/// Those whose tokens lie in a store, a directory of files.
pub const STORED: &[Kind] = &[SOFTWARE, TPM];

const SOFTWARE_KEYS: Keys = Keys {
    curves: &[Curve::P256, Curve::P384, Curve::P521, Curve::ED25519],
    rsa_bits: &[2048, 2560, 3072, 4096],
    in_chip: false,
    imported: true,
};

const TPM_KEYS: Keys = Keys {
    curves: &[Curve::P256, Curve::P384],
    rsa_bits: &[2048, 3072],
    in_chip: true,
    imported: true,
};

/// The software token, whose store is the directory `store`.
pub const SOFTWARE: Kind = Kind {
    name: "software",
    session_keys: SOFTWARE_KEYS,
    token_keys: SOFTWARE_KEYS,
    keeps_secrets: true,
    room: None,
    personalized: false,
    removable: false,
    pin_lengths: (6, 255),
    pin_of_digits: false,
    tries: 10,
    so_tries: 10,
    shows_so_tries: true,
    so_writes: false,
    counts_first: true,
    shows_changes_at_once: true,
    stretched: &[CKU_SO, CKU_USER],
    variables: software,
    configuration: |_| String::new(),
    start: |_| Box::new(()),
    double: Double::Configured("[software]\nspare_slot = true\n"),
    bury: |_| (),
};

/// The token on a TPM, a simulator in the same directory.
pub const TPM: Kind = Kind {
    name: "tpm",
    session_keys: TPM_KEYS,
    token_keys: TPM_KEYS,
    stretched: &[CKU_SO],
    variables: tpm,
    start: |directory| Box::new(Swtpm::start(directory)),
    double: Double::Configured("[tpm]\nspare_slot = true\n"),
    bury: swtpm::release,
    ..SOFTWARE
};

/// A PIV card in a reader of PC/SC, a virtual one in the same directory.
///
/// Keys of the token are made by the card and stay there, other objects of the token lie beside
/// certificates, where everybody reads them. All that is of the session is software's.
pub const CARD: Kind = Kind {
    name: "card",
    token_keys: Keys {
        curves: &[Curve::P256, Curve::P384],
        rsa_bits: &[2048, 3072, 4096],
        in_chip: true,
        imported: false,
    },
    keeps_secrets: false,
    room: Some(Room {
        objects: 20,
        bytes: 1024,
    }),
    personalized: true,
    removable: true,
    pin_lengths: (6, 8),
    pin_of_digits: true,
    tries: 3,
    so_tries: 5,
    shows_so_tries: false,
    so_writes: true,
    counts_first: false,
    shows_changes_at_once: false,
    stretched: &[],
    variables: card,
    configuration: card_configuration,
    start: start_card,
    double: Double::Brought(|directory| Card::second(directory).insert()),
    ..SOFTWARE
};

fn software(directory: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("NODETOKEN_STORE", directory.join("store").into()),
        ("NODETOKEN_CARD", "off".into()),
    ]
}

fn tpm(directory: &Path) -> Vec<(&'static str, OsString)> {
    let mut variables = software(directory);
    variables.push(("NODETOKEN_TPM", Swtpm::socket(directory).into()));
    variables
}

fn card(directory: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("NODETOKEN_STORE", directory.join("store").into()),
        ("NODETOKEN_CARD", "pcsc".into()),
        ("PCSCLITE_CSOCK_NAME", Reader::socket(directory).into()),
        ("NODETOKEN_CONF", configuration(directory).into()),
    ]
}

/// The file of the card's management key, with which the user's sessions write to it.
fn management_key(directory: &Path) -> PathBuf {
    directory.join("management-key")
}

fn card_configuration(directory: &Path) -> String {
    let file = management_key(directory);
    format!("[card]\nmanagement_key_file = {file:?}\n")
}

fn start_card(directory: &Path) -> Box<dyn Any> {
    let (_, key) = SO_PIN.split_once(':').unwrap();
    assert_eq!(hex(key), card::MANAGEMENT_KEY);
    std::fs::write(management_key(directory), key).unwrap();
    std::fs::write(configuration(directory), card_configuration(directory)).unwrap();
    Box::new(Reader::start(directory))
}

/// The configuration file of a test, where it has one.
pub fn configuration(directory: &Path) -> PathBuf {
    directory.join("nodetoken.toml")
}

pub fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

impl Kind {
    /// Its private keys, on the token or in the session.
    pub fn keys(&self, on_token: bool) -> &Keys {
        match on_token {
            true => &self.token_keys,
            false => &self.session_keys,
        }
    }

    /// Whether there are such keys at all.
    pub fn has(&self, curve: Curve) -> bool {
        [&self.session_keys, &self.token_keys]
            .iter()
            .any(|keys| keys.curves.contains(&curve))
    }

    /// Its curves for ECDSA.
    pub fn nist(&self) -> impl Iterator<Item = Curve> {
        Curve::NIST.into_iter().filter(|curve| self.has(*curve))
    }

    /// Where the kind's own private keys are: on the token, where those of the session are software's.
    pub fn works_on_token(&self) -> bool {
        self.token_keys.in_chip && !self.session_keys.in_chip
    }

    /// The variables for a process of a test; with another module named by `NODETOKEN_TEST_MODULE`
    /// (the tests are themselves tested on SoftHSM) that module's own.
    pub fn environment(&self, directory: &Path) -> Vec<(&'static str, OsString)> {
        if module::is_softhsm() {
            let (store, file) = (directory.join("store"), directory.join("softhsm2.conf"));
            std::fs::create_dir(&store).unwrap();
            std::fs::write(
                &file,
                format!("directories.tokendir = {}\n", store.display()),
            )
            .unwrap();
            return vec![("SOFTHSM2_CONF", file.into())];
        }
        (self.variables)(directory)
    }
}

/// An initialized token: its module and its slot.
#[derive(Clone, Copy)]
pub struct Token {
    pub module: Module,
    pub slot: CK_SLOT_ID,
}

impl Token {
    /// Initializes the first new token and sets the user's PIN.
    #[track_caller]
    pub fn make(module: Module, label: &str) -> Self {
        let token = Self::initialize(module, label);
        let so = token.session();
        so.login(CKU_SO, SO_PIN).unwrap();
        so.init_pin(USER_PIN).unwrap();
        so.logout().unwrap();
        so.close().unwrap();
        token
    }

    /// Initializes the first new token; it has no PIN for the user yet, or the one that it came with.
    #[track_caller]
    pub fn initialize(module: Module, label: &str) -> Self {
        let new = Self::new_slot(module);
        module.init_token(new, SO_PIN, label).unwrap();
        Self::find(module, label)
    }

    /// The first slot with a new token.
    #[track_caller]
    pub fn new_slot(module: Module) -> CK_SLOT_ID {
        let slots = module.slots().unwrap();
        let is_new = |slot: &CK_SLOT_ID| {
            let info = module.token_info(*slot).unwrap();
            match process::kind().personalized {
                true => info.label.starts_with(b"PIV "),
                false => info.flags & CKF_TOKEN_INITIALIZED == 0,
            }
        };
        slots.into_iter().find(is_new).expect("a new token")
    }

    /// The token of this label.
    #[track_caller]
    pub fn find(module: Module, label: &str) -> Self {
        let padded = format!("{label:32}");
        let slot = module
            .slots()
            .unwrap()
            .into_iter()
            .find(|&slot| module.token_info(slot).unwrap().label == padded.as_bytes())
            .unwrap_or_else(|| panic!("a token labelled {label:?}"));
        Self { module, slot }
    }

    #[track_caller]
    pub fn info(self) -> CK_TOKEN_INFO {
        self.module.token_info(self.slot).unwrap()
    }

    pub fn has(self, flag: CK_FLAGS) -> bool {
        self.info().flags & flag != 0
    }

    /// A read-write session.
    #[track_caller]
    pub fn session(self) -> Session {
        Session::open(self.module, self.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION).unwrap()
    }

    /// A read-only session.
    #[track_caller]
    pub fn read_only_session(self) -> Session {
        Session::open(self.module, self.slot, CKF_SERIAL_SESSION).unwrap()
    }

    /// A read-write session with the user logged in.
    #[track_caller]
    pub fn user(self) -> Session {
        let session = self.session();
        session.login(CKU_USER, USER_PIN).unwrap();
        session
    }
}
