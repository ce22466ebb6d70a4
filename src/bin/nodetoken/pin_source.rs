//! Where a PIN comes from: a file, a file descriptor, an environment variable or the terminal.
//! Never the argument list, which every user of the machine can read.

use crate::failure::{Exit, Failure, Result, fail};
use crate::report::warn;
use clap::Args;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The bytes of a PIN, wiped when dropped.
pub type Pin = Zeroizing<Vec<u8>>;

/// Longest input that is taken for a PIN, in bytes; the token has its own, lower limit.
const MAX_PIN: u64 = 1024;

/// Where the command line says that a PIN is.
pub enum Source<'a> {
    /// `--…-file`.
    File(&'a Path),
    /// `--…-fd`.
    Descriptor(u32),
    /// `--…-env`.
    Environment(&'a str),
}

/// The options of one PIN.
pub trait PinOptions {
    /// What its options begin with.
    const NAME: &'static str;
    /// What messages call it.
    const WHAT: &'static str;

    /// The option that was given, if one was.
    fn source(&self) -> Option<Source<'_>>;

    /// A PIN that exists: from the option that was given, else asked for once.
    fn read(&self, token: &str) -> Result<Pin> {
        match self.source() {
            Some(source) => source.read().map_err(|failure| failure.during(Self::WHAT)),
            None => ask(&format!("{} of token \"{token}\"", Self::WHAT), Self::NAME),
        }
    }

    /// A PIN to be set: from the option that was given, else asked for twice.
    fn choose(&self, token: &str) -> Result<Pin> {
        if self.source().is_some() {
            return self.read(token);
        }
        let pin = ask(&format!("{} for token \"{token}\"", Self::WHAT), Self::NAME)?;
        let again = ask("the same again", Self::NAME)?;
        match *pin == *again {
            true => Ok(pin),
            false => fail!(
                Usage,
                "the two entries of the {} differ; nothing is changed",
                Self::WHAT
            ),
        }
    }
}

impl Source<'_> {
    fn read(&self) -> Result<Pin> {
        match self {
            Source::File(path) => from_file(path),
            Source::Descriptor(fd) => from_descriptor(*fd),
            Source::Environment(name) => from_environment(name),
        }
    }
}

/// Declares the three options of one PIN: `--NAME-file`, `--NAME-fd`, `--NAME-env`.
macro_rules! pin_options {
    ($(#[$doc:meta])* $type:ident, $name:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        #[group(multiple = false)]
        pub struct $type {
            #[arg(
                id = concat!($name, "-file"), long = concat!($name, "-file"), value_name = "FILE",
                help = concat!("Read the ", $what, " from FILE")
            )]
            file: Option<PathBuf>,
            #[arg(
                id = concat!($name, "-fd"), long = concat!($name, "-fd"), value_name = "N",
                help = concat!("Read the ", $what, " from file descriptor N, to its end")
            )]
            fd: Option<u32>,
            #[arg(
                id = concat!($name, "-env"), long = concat!($name, "-env"), value_name = "VARIABLE",
                help = concat!("Read the ", $what, " from the environment variable VARIABLE")
            )]
            env: Option<String>,
        }

        impl PinOptions for $type {
            const NAME: &'static str = $name;
            const WHAT: &'static str = $what;

            fn source(&self) -> Option<Source<'_>> {
                let file = self.file.as_deref().map(Source::File);
                let fd = self.fd.map(Source::Descriptor);
                let env = self.env.as_deref().map(Source::Environment);
                file.or(fd).or(env)
            }
        }
    };
}

pin_options! {
    /// The user's PIN.
    UserPin, "pin", "user PIN"
}
pin_options! {
    /// The security officer's PIN.
    SoPin, "so-pin", "security officer's PIN"
}
pin_options! {
    /// The PIN that takes the place of another.
    NewPin, "new-pin", "new PIN"
}

fn from_file(path: &Path) -> Result<Pin> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| cannot_read(&format!("file {shown}"), &error))?;
    if let Ok(metadata) = file.metadata()
        && metadata.is_file()
        && metadata.mode() & 0o077 != 0
    {
        warn(format!(
            "PIN file {shown} is open to other users (mode {:04o}): chmod 600 {shown}",
            metadata.mode() & 0o7777
        ));
    }
    read_all(file, &format!("file {shown}"))
}

/// Opens the descriptor anew through `/dev/fd`, which takes no `unsafe`; 0 is standard input.
fn from_descriptor(fd: u32) -> Result<Pin> {
    let shown = format!("file descriptor {fd}");
    if fd == 0 {
        return read_all(std::io::stdin().lock(), &shown);
    }
    let file = File::open(format!("/dev/fd/{fd}")).map_err(|error| cannot_read(&shown, &error))?;
    read_all(file, &shown)
}

fn from_environment(name: &str) -> Result<Pin> {
    match std::env::var_os(name) {
        Some(value) => without_newline(
            Zeroizing::new(value.into_vec()),
            &format!("environment variable {name}"),
        ),
        None => fail!(NotFound, "environment variable {name} is not set"),
    }
}

fn read_all(source: impl Read, shown: &str) -> Result<Pin> {
    // Room for everything at once: a vector that grows leaves copies behind.
    let mut pin = Zeroizing::new(Vec::with_capacity(MAX_PIN as usize + 1));
    source
        .take(MAX_PIN + 1)
        .read_to_end(&mut pin)
        .map_err(|error| cannot_read(shown, &error))?;
    if pin.len() as u64 > MAX_PIN {
        return fail!(
            Refused,
            "{shown} holds more than {MAX_PIN} bytes, which is no PIN"
        );
    }
    without_newline(pin, shown)
}

/// A PIN is exact bytes, but a file made by an editor or `echo` ends a line: one line end goes.
fn without_newline(mut pin: Pin, shown: &str) -> Result<Pin> {
    if pin.last() == Some(&b'\n') {
        pin.pop();
        if pin.last() == Some(&b'\r') {
            pin.pop();
        }
    }
    match pin.is_empty() {
        true => fail!(Usage, "{shown} is empty"),
        false => Ok(pin),
    }
}

fn cannot_read(shown: &str, error: &std::io::Error) -> Failure {
    let exit = match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Other,
    };
    Failure::new(exit, format!("{shown} cannot be read: {error}"))
}

/// Asks on the terminal, without echo. Without one nobody would answer.
fn ask(what: &str, option: &str) -> Result<Pin> {
    if !std::io::stdin().is_terminal() {
        return fail!(
            Usage,
            "no PIN and no terminal to ask for it ({what}); give --{option}-file, --{option}-fd or --{option}-env"
        );
    }
    let pin = rpassword::prompt_password(format!("{what}: "))
        .map(|entry| Zeroizing::new(entry.into_bytes()))
        .map_err(|error| cannot_read("the terminal", &error))?;
    match pin.is_empty() {
        true => fail!(Usage, "no PIN was entered ({what})"),
        false => Ok(pin),
    }
}
