//! What every integration test uses: a process of its own, a token of a kind, thin C calls.
//!
//! The tests reach the module only as a C program does: `dlopen`, `C_GetInterface`, the table.
//!
//! - [`isolated`] runs a test in a process and a directory of its own ([`World`]).
//! - [`World::module`] loads and initializes the module; [`World::token`] also makes a token.
//! - [`Module`], [`Session`] wrap the calls, [`Template`] and [`Mech`] their arguments.
//! - [`Refused`] checks the return code of a call that must fail.
//! - [`token::KINDS`] lists the kinds of token: a new kind is one line there, and the suite runs on it.
//!   `NODETOKEN_TEST_KINDS` names those that are wanted alone.
//! - [`World::kind`] says what the kind can do ([`Kind`]).

#![allow(dead_code, unused_imports)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks)]

pub mod bus;
pub mod card;
pub mod device;
pub mod emulator;
pub mod exhausted;
pub mod hpki;
pub mod jpki;
pub mod keys;
pub mod mech;
pub mod messages;
pub mod module;
pub mod names;
pub mod piv;
pub mod process;
pub mod session;
pub mod signing;
pub mod swtpm;
pub mod template;
pub mod token;
pub mod vectors;

pub use bus::Bus;
pub use device::Device;
pub use keys::*;
pub use mech::Mech;
pub use messages::Gcm;
pub(crate) use module::try_call;
pub use module::{Module, Refused, Rv};
pub use process::{World, isolated, isolated_on, set};
pub use session::Session;
pub use swtpm::Swtpm;
pub use template::{Template, Value, array};
pub use token::{
    CARD, Keys, Kind, OTHER_SO_PIN, OTHER_USER_PIN, SO_PIN, SOFTWARE, STORED, TPM, Token, USER_PIN,
    WRONG_PIN, WRONG_SO_PIN,
};

pub use cryptoki_sys::*;
pub use std::ptr::{null, null_mut};
