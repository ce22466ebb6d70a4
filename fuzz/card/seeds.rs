//! Where the fuzzer begins: `SEEDS=DIRECTORY` has the target write what it would be long in finding.

use crate::calls::OPERATIONS;
use crate::card::{self, OBJECTS, STATUSES, WAYS};
use crate::play;
use std::fs;
use std::path::PathBuf;

/// A header that says: the first card, nothing spoiled.
const PLAIN: [u8; 2] = [1, 0];

/// Calls before the one that is looked at: as the user, or as the security officer.
const AS_USER: &[u8] = &[1, 0];
const AS_OFFICER: &[u8] = &[3, 0];
const LOOK: &[u8] = &[0, 0];

/// A script whose calls are answered well: there is a zero for each command that they send. What the
/// last one sends is answered well because nothing follows.
fn well_answered(head: [u8; 2], calls: &[&[u8]]) -> Vec<u8> {
    let mut script = head.to_vec();
    let mut answered = 0;
    for call in calls.iter().filter(|call| !call.is_empty()) {
        let commands = play(&script).commands;
        script.resize(script.len() + commands - answered, 0);
        answered = commands;
        script.extend(*call);
    }
    script
}

pub fn write_if_asked() {
    let Some(directory) = std::env::var_os("SEEDS").map(PathBuf::from) else {
        return;
    };
    let write = |name: String, parts: &[&[u8]]| {
        let path = directory.join(format!("seed-{name}"));
        fs::write(path, parts.concat()).expect("a seed is written");
    };
    for tag in OBJECTS {
        write(format!("object-{tag:x}"), &[&[0], &card::honest(tag)]);
    }
    let mut reached = [0; 4];
    for how in [1, 3, 0x41] {
        for what in 0..OPERATIONS {
            for (which, login) in [AS_USER, AS_OFFICER, &[]].iter().enumerate() {
                for value in [0, 1, 2, 0x12] {
                    let script = well_answered([how, 0], &[login, LOOK, &[what, value]]);
                    let done = play(&script);
                    for (sum, part) in reached.iter_mut().zip([
                        done.signed,
                        done.decrypted,
                        done.generated,
                        done.changed,
                    ]) {
                        *sum += part;
                    }
                    write(
                        format!("call-{how}-{what}-{which}-{value}"),
                        &[&[1], &script],
                    );
                }
            }
        }
    }
    assert!(
        reached.iter().all(|count| *count > 0),
        "reached {reached:?}"
    );
    // Each way, at each of the first commands of some calls.
    for call in [
        LOOK,
        AS_USER,
        &[3, 0],
        &[6, 1],
        &[8, 1],
        &[9, 1],
        &[13, 0],
        &[14, 0],
    ] {
        let login = if call[0] == 9 { AS_OFFICER } else { AS_USER };
        let before = well_answered(PLAIN, &[login, call]);
        for way in 0..WAYS {
            for at in 0..12 {
                let good = vec![0; at];
                let script = [&before[..], &good, &[way, 0, 4, 1, 2, 3, 4]].concat();
                write(format!("way-{}-{way}-{at}", call[0]), &[&[1], &script]);
            }
        }
    }
    for what in 0..OPERATIONS {
        let before = well_answered(PLAIN, &[AS_USER, &[what, 0]]);
        for status in 0..STATUSES.len() as u8 {
            let script = [&before[..], &[1, status]].concat();
            write(format!("status-{what}-{status}"), &[&[1], &script]);
        }
    }
    // Something odd lies in the card.
    for way in 0..6 {
        for at in 0..OBJECTS.len() as u8 {
            for odd in 0..8 {
                let script = [
                    &[1, 1, at, way, odd, 0, 3, 0x30, 1, 5][..],
                    LOOK,
                    AS_USER,
                    &[6, at],
                ];
                write(format!("odd-{way}-{at}-{odd}"), &[&[1], &script.concat()]);
            }
        }
    }
}
