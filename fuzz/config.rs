//! `config`: any string given to C_Initialize and any configuration file are understood within the
//! documented limits, or refused. The input is the string, a zero byte, the file.

#![no_main]

use cryptoki_sys::{CKR_ARGUMENTS_BAD, CKR_FUNCTION_FAILED};
use libfuzzer_sys::{Corpus, fuzz_target};
use nodetoken::config::Config;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a directory"));

fuzz_target!(|input: &[u8]| -> Corpus {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let string = String::from_utf8_lossy(parts.next().unwrap_or_default());
    // It may name any file; those of the system are not the fuzzer's to open.
    if string.contains("config") && string.contains('/') {
        return Corpus::Reject;
    }
    let file: PathBuf = DIRECTORY.path().join("nodetoken.toml");
    fs::write(&file, parts.next().unwrap_or_default()).expect("the file is written");
    let environment = |name: &str| -> Option<OsString> {
        match name {
            "NODETOKEN_CONF" => Some(file.clone().into()),
            "HOME" => Some(DIRECTORY.path().into()),
            _ => None,
        }
    };
    match Config::load(environment, Some(&string)) {
        Ok(config) => {
            assert!(config.software.store.is_absolute());
            assert!((4..=64).contains(&config.software.pin.min_length));
            assert!((1..=10).contains(&config.software.pin.tries));
        }
        Err(refusal) => {
            assert!([CKR_ARGUMENTS_BAD, CKR_FUNCTION_FAILED].contains(&refusal.rv()));
            assert!(!refusal.reason().is_empty());
        }
    }
    Corpus::Keep
});
