//! Configuration: a file, the environment, and the string that C_Initialize may be given.
//!
//! What comes later wins: defaults, file, environment, string. A file is read where one is named
//! (`config=` in the string, `NODETOKEN_CONF`) or found at [`DEFAULT_FILE`]. Anything that is not
//! understood is an error: a module that runs on half of its configuration is worse than none.

use crate::allow_list::AllowLists;
use crate::attribute::roles::Roles;
use crate::error::{Result, fail};
use cryptoki_sys::{CKR_ARGUMENTS_BAD, CKR_FUNCTION_FAILED};
use serde::Deserialize;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The configuration file where none is named.
pub const DEFAULT_FILE: &str = "/etc/nodetoken/nodetoken.toml";

/// A configuration file larger than this is none.
const LARGEST_FILE: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The log switch (see [`crate::log`]).
    pub log: Option<String>,
    /// `[software]`: the file store.
    pub software: Software,
    /// `[tpm]`: tokens on a TPM 2.0; none where no device is named.
    pub tpm: Tpm,
    /// `[card]`: smart cards and USB tokens.
    pub card: Card,
    /// `[pin]`: PIN rules of the tokens in the store.
    pub pin: Pin,
    /// `[policy]`: what old clients may need to be allowed.
    pub policy: Policy,
    /// `[mechanisms]`: the mechanisms that a token offers, where not all that it can do.
    pub mechanisms: AllowLists,
}

/// `[software]`: the file store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Software {
    /// Directory of the store.
    pub store: PathBuf,
    /// Show a slot with an uninitialized token although the store has tokens.
    pub spare_slot: bool,
    /// PIN rules; in the file they stand in `[pin]`.
    #[serde(skip)]
    pub pin: Pin,
}

/// `[tpm]`: tokens on a TPM 2.0.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tpm {
    /// `/dev/tpmrm0`, `swtpm:HOST:PORT`, `swtpm:/SOCKET`; empty: no TPM.
    pub device: String,
    /// Persistent handle of the storage root; one of the next is taken where another key has it.
    pub storage_root: u32,
    /// File with the owner's authorization value, where one is set; needed to make a storage root.
    pub owner_auth_file: Option<PathBuf>,
    /// File with the lockout's authorization value, where one is set; needed to reset the lockout.
    pub lockout_auth_file: Option<PathBuf>,
    /// Private keys from outside may be put into the TPM.
    pub import: bool,
    /// Show a slot with an uninitialized token although the TPM has tokens.
    pub spare_slot: bool,
}

impl Default for Tpm {
    fn default() -> Self {
        Self {
            device: String::new(),
            storage_root: 0x8100_0001,
            owner_auth_file: None,
            lockout_auth_file: None,
            import: true,
            spare_slot: false,
        }
    }
}

/// `[card]`: smart cards and USB tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Card {
    /// Where readers are: `pcsc` for those of the system (PC/SC), `assd:/dev/…` or the path of a
    /// device or unix socket that carries APDUs, `off` for none.
    pub readers: String,
    /// Card applications that are looked for, in this order.
    pub applications: Vec<String>,
    /// File with the key of the card's administrator (PIV: 9B), in hexadecimal: with it the user
    /// writes to the card without the security officer.
    pub management_key_file: Option<PathBuf>,
}

impl Default for Card {
    fn default() -> Self {
        Self {
            readers: "pcsc".into(),
            applications: ["piv", "hpki", "jpki"].map(str::to_owned).to_vec(),
            management_key_file: None,
        }
    }
}

/// `[pin]`: length in bytes and number of tries.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pin {
    /// Shortest PIN, 4 to 64.
    pub min_length: usize,
    /// Wrong tries before it locks, 1 to 10.
    pub tries: u32,
}

impl Default for Pin {
    fn default() -> Self {
        Self {
            min_length: 6,
            tries: 10,
        }
    }
}

/// `[policy]`: what is refused unless it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Public objects of the token may be made, changed and destroyed without a login.
    pub public_write: bool,
    /// What keys that wrap may carry (see [`crate::attribute::roles`]).
    pub roles: Roles,
    /// SHA-1 may make signatures. It verifies them in any case.
    pub sha1_sign: bool,
    /// The shortest RSA modulus in bits, 1024 to 4096, whose private half is made and used.
    pub rsa_min_bits: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            public_write: false,
            roles: Roles::default(),
            sha1_sign: false,
            rsa_min_bits: 2048,
        }
    }
}

impl Config {
    /// Reads everything. `environment` gives variables; none is given in a process that has gained
    /// privileges. `reserved` is the string of C_Initialize.
    ///
    /// Errors: `CKR_ARGUMENTS_BAD` for the string, `CKR_FUNCTION_FAILED` for file and environment.
    pub fn load(
        environment: impl Fn(&str) -> Option<OsString>,
        reserved: Option<&str>,
    ) -> Result<Self> {
        let reserved = Reserved::parse(reserved.unwrap_or_default())?;
        let named = reserved
            .config
            .map(OsString::from)
            .or_else(|| environment("NODETOKEN_CONF").filter(|path| !path.is_empty()));
        let mut config = match named {
            Some(path) => Self::read(Path::new(&path))?,
            None if Path::new(DEFAULT_FILE).exists() => Self::read(Path::new(DEFAULT_FILE))?,
            None => Self::default(),
        };
        let store = environment("NODETOKEN_STORE").filter(|path| !path.is_empty());
        if let Some(store) = reserved.store.map(OsString::from).or(store) {
            config.software.store = store.into();
        }
        let device =
            environment("NODETOKEN_TPM").map(|device| device.to_string_lossy().into_owned());
        if let Some(device) = reserved.tpm.map(str::to_owned).or(device) {
            config.tpm.device = device;
        }
        let readers = environment("NODETOKEN_CARD").filter(|readers| !readers.is_empty());
        let readers = readers.map(|readers| readers.to_string_lossy().into_owned());
        if let Some(readers) = reserved.card.map(str::to_owned).or(readers) {
            config.card.readers = readers;
        }
        if let Some(log) = environment("NODETOKEN_LOG") {
            config.log = Some(log.to_string_lossy().into_owned());
        }
        if let Some(log) = reserved.log {
            config.log = Some(log.to_owned());
        }
        if let Some(spare_slot) = reserved.spare_slot {
            config.software.spare_slot = spare_slot;
            config.tpm.spare_slot = spare_slot;
        }
        if config.software.store.as_os_str().is_empty() {
            config.software.store = default_store(&environment)?;
        }
        config.software.store = match std::path::absolute(&config.software.store) {
            Ok(store) => store,
            Err(error) => {
                return fail!(
                    CKR_FUNCTION_FAILED,
                    "store directory {:?}: {error}",
                    config.software.store
                );
            }
        };
        config.software.pin = config.pin.clone();
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self> {
        let refused = |reason: String| {
            fail!(
                CKR_FUNCTION_FAILED,
                "configuration file {}: {reason}",
                path.display()
            )
        };
        let mut text = String::new();
        let read = match std::fs::metadata(path) {
            // A device or a pipe would be read without end.
            Ok(found) if !found.is_file() => return refused("it is no regular file".into()),
            Ok(_) => File::open(path)
                .and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text)),
            Err(error) => Err(error),
        };
        match read {
            Ok(size) if size as u64 > LARGEST_FILE => {
                return refused("it is too long for a configuration".into());
            }
            Ok(_) => {}
            Err(error) => return refused(error.to_string()),
        }
        match toml::from_str::<Self>(&text) {
            Ok(config) => config.check().or_else(refused),
            Err(error) => {
                let line = error
                    .span()
                    .and_then(|span| text.get(..span.start))
                    .map_or(1, |before| before.matches('\n').count() + 1);
                refused(format!("line {line}: {}", error.message()))
            }
        }
    }

    fn check(self) -> std::result::Result<Self, String> {
        if !(4..=64).contains(&self.pin.min_length) {
            return Err("pin.min_length is not between 4 and 64".into());
        }
        if !(1..=10).contains(&self.pin.tries) {
            return Err("pin.tries is not between 1 and 10".into());
        }
        if !(1024..=4096).contains(&self.policy.rsa_min_bits) {
            return Err("policy.rsa_min_bits is not between 1024 and 4096".into());
        }
        Ok(self)
    }
}

/// The string that clients can hand to C_Initialize: `key=value` pairs between blanks or semicolons.
/// A value with blanks stands in quotes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reserved<'a> {
    config: Option<&'a str>,
    store: Option<&'a str>,
    tpm: Option<&'a str>,
    card: Option<&'a str>,
    log: Option<&'a str>,
    spare_slot: Option<bool>,
}

impl<'a> Reserved<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let between = |c: char| c.is_whitespace() || c == ';';
        let mut reserved = Self::default();
        let mut rest = text.trim_matches(between);
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=') else {
                return fail!(
                    CKR_ARGUMENTS_BAD,
                    "the string given to C_Initialize is not made of key=value"
                );
            };
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (value, left) = match quote {
                Some(quote) => {
                    let quoted = after.get(1..).unwrap_or_default();
                    quoted.split_once(quote).unwrap_or((quoted, ""))
                }
                None => after.split_once(between).unwrap_or((after, "")),
            };
            match key.trim_matches(between) {
                "config" => reserved.config = Some(value),
                "store" => reserved.store = Some(value),
                "tpm" => reserved.tpm = Some(value),
                "card" => reserved.card = Some(value),
                "log" => reserved.log = Some(value),
                "spare_slot" if matches!(value, "true" | "false") => {
                    reserved.spare_slot = Some(value == "true");
                }
                _ => {
                    return fail!(
                        CKR_ARGUMENTS_BAD,
                        "the string given to C_Initialize may set config, store, tpm, card, log and spare_slot (true or false) only"
                    );
                }
            }
            rest = left.trim_start_matches(between);
        }
        Ok(reserved)
    }
}

/// The platform's state directory: of the system for root, else the user's (XDG Base Directory).
fn default_store(environment: &impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let directory = |name| {
        environment(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/nodetoken"));
    }
    let state = directory("XDG_STATE_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/state")));
    match state {
        Some(state) => Ok(state.join("nodetoken")),
        None => fail!(
            CKR_FUNCTION_FAILED,
            "no store directory: set NODETOKEN_STORE, or software.store in {DEFAULT_FILE}"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reserved_string_in_its_forms() {
        assert_eq!(Reserved::parse("").unwrap(), Reserved::default());
        let both = Reserved::parse(" store=/a/b ; log=debug:/tmp/x ").unwrap();
        assert_eq!(both.store, Some("/a/b"));
        assert_eq!(both.log, Some("debug:/tmp/x"));
        let quoted = Reserved::parse("store='/with blank/x' config=\"/c\"").unwrap();
        assert_eq!(quoted.store, Some("/with blank/x"));
        assert_eq!(quoted.config, Some("/c"));
        for wrong in ["rubbish", "pin=1234", "store", "=x"] {
            assert_eq!(Reserved::parse(wrong).unwrap_err().rv(), CKR_ARGUMENTS_BAD);
        }
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf.toml");
        std::fs::write(&path, "[software]\nstore = \"/x\"\nspelling = 1\n").unwrap();
        let error = Config::read(&path).unwrap_err();
        assert_eq!(error.rv(), CKR_FUNCTION_FAILED);
        assert!(error.reason().contains("line 3"), "{}", error.reason());
        std::fs::write(&path, "[pin]\nmin_length = 1\n").unwrap();
        assert!(
            Config::read(&path)
                .unwrap_err()
                .reason()
                .contains("min_length")
        );
    }

    #[test]
    fn later_sources_win() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf.toml");
        std::fs::write(
            &path,
            "[software]\nstore = \"/file\"\n[pin]\nmin_length = 4\n",
        )
        .unwrap();
        let environment = |name: &str| (name == "NODETOKEN_CONF").then(|| path.clone().into());
        let config = Config::load(environment, None).unwrap();
        assert_eq!(config.software.store, Path::new("/file"));
        assert_eq!(config.software.pin.min_length, 4);
        let config = Config::load(environment, Some("store=/string")).unwrap();
        assert_eq!(config.software.store, Path::new("/string"));
    }
}
