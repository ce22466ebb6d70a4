//! Tokens: the kinds that the suite runs on, and how a test gets one.

use super::keys::Curve;
use super::module::{self, Module};
use super::session::Session;
use super::swtpm::{self, Swtpm};
use cryptoki_sys::*;
use std::ffi::OsString;
use std::path::Path;

pub const SO_PIN: &str = "so-pin-12345678";
pub const USER_PIN: &str = "user-pin-123456";

/// A kind of token, and what it can do. Tests ask for that and leave out what it cannot, which
/// `tests/kinds.rs` shows to be refused; what is not declared here every kind can.
pub struct Kind {
    pub name: &'static str,
    /// The curves of its private keys.
    pub curves: &'static [Curve],
    /// Lengths of RSA moduli, of those that the suite uses.
    pub rsa_bits: &'static [CK_ULONG],
    /// Its private keys live in a chip: they can never be read, an RSA key comes to it by its primes
    /// and has the exponent 65537.
    pub in_chip: bool,
    /// Whose PINs are stretched (CKU_): each of their logins takes 64 MiB and its time.
    pub stretched: &'static [CK_USER_TYPE],
    /// The environment variables that make the module show a fresh, uninitialized one of this kind
    /// whose files are in the given directory.
    variables: fn(&Path) -> Vec<(&'static str, OsString)>,
    /// What must run beside it.
    pub start: fn(&Path) -> Option<Swtpm>,
    /// Does what a system with such a token does for a process that was killed.
    pub bury: fn(&Path),
}

/// Every kind of token that the whole suite runs on.
pub const KINDS: &[Kind] = &[SOFTWARE, TPM];

/// The software token, whose store is the directory `store`.
pub const SOFTWARE: Kind = Kind {
    name: "software",
    curves: &[Curve::P256, Curve::P384, Curve::P521, Curve::ED25519],
    rsa_bits: &[2048, 2560, 3072, 4096],
    in_chip: false,
    stretched: &[CKU_SO, CKU_USER],
    variables: software,
    start: |_| None,
    bury: |_| (),
};

/// The token on a TPM, a simulator in the same directory.
pub const TPM: Kind = Kind {
    name: "tpm",
    curves: &[Curve::P256, Curve::P384],
    rsa_bits: &[2048, 3072],
    in_chip: true,
    stretched: &[CKU_SO],
    variables: tpm,
    start: |directory| Some(Swtpm::start(directory)),
    bury: swtpm::release,
};

fn software(directory: &Path) -> Vec<(&'static str, OsString)> {
    vec![("NODETOKEN_STORE", directory.join("store").into())]
}

fn tpm(directory: &Path) -> Vec<(&'static str, OsString)> {
    let mut variables = software(directory);
    variables.push(("NODETOKEN_TPM", Swtpm::socket(directory).into()));
    variables
}

pub fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

impl Kind {
    pub fn has(&self, curve: Curve) -> bool {
        self.curves.contains(&curve)
    }

    /// Its curves for ECDSA.
    pub fn nist(&self) -> impl Iterator<Item = Curve> {
        Curve::NIST.into_iter().filter(|curve| self.has(*curve))
    }

    /// The variables for a process of a test; with another module named by `NODETOKEN_TEST_MODULE`
    /// (the tests are themselves tested on SoftHSM) that module's own.
    pub fn environment(&self, directory: &Path) -> Vec<(&'static str, OsString)> {
        if module::path().to_string_lossy().contains("softhsm") {
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
    /// Initializes the first uninitialized token and sets the user's PIN.
    #[track_caller]
    pub fn make(module: Module, label: &str) -> Self {
        let token = Self::make_without_user_pin(module, label);
        let so = token.session();
        so.login(CKU_SO, SO_PIN).unwrap();
        so.init_pin(USER_PIN).unwrap();
        so.logout().unwrap();
        so.close().unwrap();
        token
    }

    /// Initializes the first uninitialized token; no PIN for the user yet.
    #[track_caller]
    pub fn make_without_user_pin(module: Module, label: &str) -> Self {
        let slots = module.slots().unwrap();
        let blank = slots
            .into_iter()
            .find(|&slot| module.token_info(slot).unwrap().flags & CKF_TOKEN_INITIALIZED == 0)
            .expect("a slot with an uninitialized token");
        module.init_token(blank, SO_PIN, label).unwrap();
        Self::find(module, label)
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
