//! nodetoken: a PKCS#11 provider that keeps the credential of a network node in a token and signs
//! inside it.
//!
//! A call comes in at [`abi`], where every pointer is read and written, and goes down through few
//! rooms, each with one job:
//!
//! ```text
//! abi          C_Sign: decode
//! session      whose operation, may it go on
//! operation    sign: hash and collect, length of the answer
//! token        the key signs: software (crypto), TPM, card
//! ```
//!
//! Beside this way: [`module`] (a run, from C_Initialize to C_Finalize), [`slot`] (who is logged in,
//! what can be seen), [`object`] (the index), and the two tables, [`attribute`] and [`mechanism`].
//! What the process is for us: [`memory`] (locked pages), [`fork`], `signal`, [`lock`], [`log`],
//! [`config`].

#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

#[allow(unsafe_code, non_snake_case)]
pub mod abi;
pub mod allow_list;
pub mod attribute;
mod complete;
pub mod config;
pub mod credential;
#[allow(unsafe_code)]
pub mod crypto;
pub mod error;
#[allow(unsafe_code)]
pub mod fork;
pub mod handle;
pub mod key;
pub mod lock;
pub mod log;
pub mod mechanism;
#[allow(unsafe_code)]
pub mod memory;
pub mod module;
pub mod object;
pub mod operation;
pub mod session;
#[allow(unsafe_code)]
mod signal;
pub mod slot;
pub mod token;
