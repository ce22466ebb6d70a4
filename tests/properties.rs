//! Laws that hold for every input: of attributes and templates, of the index, of keys as attributes,
//! of the mechanism table, and of the room that a caller has for an answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

#[path = "properties/attributes.rs"]
mod attributes;
#[path = "properties/index.rs"]
mod index;
#[path = "properties/keys.rs"]
mod keys;
#[path = "properties/mechanisms.rs"]
mod mechanisms;
#[path = "properties/room.rs"]
mod room;
