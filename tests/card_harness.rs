//! The virtual card that tests of smart cards stand on, seen by OpenSC's tools.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::card::{self, Card, Reader, SLOTS, When};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const SELECT: &str = "00a4040005a000000308";
const VERIFY: &str = "0020008008313233343536ffff";
/// GET DATA of the card holder unique identifier.
const GET_DATA: &str = "00cb3fff055c035fc10200";

/// `opensc-tool` on the pcscd of this directory.
fn tool(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("opensc-tool")
        .env("PCSCLITE_CSOCK_NAME", Reader::socket(directory))
        .args(arguments)
        .output()
        .expect("opensc-tool, from the Debian package opensc")
}

/// Sends APDUs to the card of a slot; the statuses of those that were answered.
fn send(directory: &Path, slot: usize, apdus: &[&str]) -> Vec<String> {
    let mut arguments = vec!["--reader", SLOTS[slot], "--card-driver", "default"];
    apdus.iter().for_each(|apdu| arguments.extend(["-s", apdu]));
    let output = tool(directory, &arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let statuses = text.split("(SW1=0x").skip(1);
    statuses
        .map(|rest| format!("{}{}", &rest[..2], &rest[10..12]))
        .collect()
}

fn readers(directory: &Path) -> [bool; 2] {
    let output = tool(directory, &["--list-readers"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    SLOTS.map(|slot| {
        text.lines()
            .any(|line| line.contains("Yes") && line.ends_with(slot))
    })
}

/// A card is there at once, can be pulled out and inserted again, and two are two.
#[test]
fn cards_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let reader = Reader::start(at);
    let (first, second) = (reader.card(), reader.second_card());
    assert_eq!(readers(at), [true, false]);
    assert_eq!(send(at, 0, &[SELECT, VERIFY, GET_DATA]), ["9000"; 3]);
    second.insert();
    assert_eq!(readers(at), [true, true]);
    send(at, 1, &[SELECT, GET_DATA]);
    let guid = |card: &Card| card.log().pop().unwrap().1;
    assert_ne!(guid(&first), guid(&second));
    first.pull();
    first.await_out();
    assert_eq!(readers(at), [false, true]);
    let before = guid(&first);
    first.insert();
    assert_eq!(send(at, 0, &[SELECT, GET_DATA]), ["9000"; 2]);
    assert_eq!(guid(&first), before);
}

/// What is planned happens at the command that it is planned for, and once.
#[test]
fn a_card_does_what_is_planned() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let reader = Reader::start(at);
    let card = reader.card();
    for when in [When::Before, When::After] {
        card.pull_at_nth(0xcb, when, 2);
        assert_eq!(send(at, 0, &[SELECT, GET_DATA, GET_DATA]), ["9000"; 2]);
        assert!(card.log().pop().unwrap().1.is_empty());
        card.insert();
    }
    // Not an empty answer, which vpcd would make of most ends of a connection.
    let said = std::fs::read_to_string(at.join("reader/pcscd.log")).unwrap();
    assert_eq!(said.matches("could not send apdu").count(), 2);
    card.fail_at(0xcb, 0x6982, 1);
    card.reset_apdus();
    let statuses = send(at, 0, &[SELECT, GET_DATA, GET_DATA]);
    assert_eq!(statuses, ["9000", "6982", "9000"]);
    assert_eq!(card.apdus(), 3);
    card.hang_at(0xcb, Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(send(at, 0, &[SELECT, GET_DATA]), ["9000"; 2]);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

/// Neither a restart of pcscd nor one of everything changes a card; a new pcscd finds it.
#[test]
fn a_card_outlives_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut reader = Reader::start(at);
    // A wrong PIN: two tries are left.
    let wrong = "0020008008393939393939ffff";
    assert_eq!(send(at, 0, &[SELECT, wrong]), ["9000", "63C2"]);
    card::stop_pcscd(at);
    assert_eq!(readers(at), [false, false]);
    card::start_pcscd(at);
    assert_eq!(send(at, 0, &[SELECT, "0020008000"]), ["9000", "63C2"]);
    reader.stop();
    let _reader = Reader::start(at);
    assert_eq!(send(at, 0, &[SELECT, "0020008000"]), ["9000", "63C2"]);
}

/// The two kinds of card declare what they understand.
#[test]
fn lengths_are_declared() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let atr = || String::from_utf8(tool(at, &["--atr"]).stdout).unwrap();
    let long = Reader::start(at);
    assert_eq!(atr(), "3b:85:01:80:73:c0:21:c0:56\n");
    drop(long);
    let _short = Reader::start_short(at);
    assert_eq!(atr(), "3b:85:01:80:73:c0:21:80:16\n");
}

/// Two at once do not see each other.
#[test]
fn two_readers() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = directories.each_ref().map(|directory| directory.path());
    let (_one, another) = (Reader::start(one), Reader::start(other));
    another.card().pull();
    another.card().await_out();
    assert_eq!(readers(one), [true, false]);
    assert_eq!(readers(other), [false, false]);
    assert_eq!(send(one, 0, &[SELECT]), ["9000"]);
}
