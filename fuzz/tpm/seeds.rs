//! Where the fuzzer begins: `SEEDS=DIRECTORY` has the target write what it would be long in finding.

use crate::chip::{CODES, WAYS};
use crate::proof::split;
use crate::{OPERATIONS, object, pinned, play, public_of, sealed};
use std::fs;
use std::path::PathBuf;

/// The operation that makes an object, with its second command.
const CREATES: u8 = 5;

/// The public area in an answer to TPM2_Create.
fn made(answer: &[u8]) -> &[u8] {
    let (_, rest) = split(&answer[14..]).expect("a private part");
    split(rest).expect("a public part").0
}

pub fn write_if_asked() {
    let Some(directory) = std::env::var_os("SEEDS").map(PathBuf::from) else {
        return;
    };
    let write = |name: String, parts: &[&[u8]]| {
        let path = directory.join(format!("seed-{name}"));
        fs::write(path, parts.concat()).expect("a seed is written");
    };
    for operation in 0..OPERATIONS {
        for how in 0..4 {
            // What a chip says that behaves, and what is stored, for the decoders.
            let answers = play(false, &[0, operation, how]);
            for (at, answer) in answers.iter().enumerate() {
                write(format!("answer-{operation}-{how}-{at}"), &[&[0], answer]);
                if operation == CREATES && at == 1 {
                    write(format!("made-{how}"), &[&[0], made(answer)]);
                }
            }
            // Each operation after another on a chip that keeps what is loaded.
            let before = play(true, &[0, 9, 0]).len();
            let zeros = vec![0; before];
            let two = [&[2, 0, 9, 0], zeros.as_slice(), &[operation, how]].concat();
            write(format!("two-{operation}-{how}"), &[&two]);
        }
        // Each operation with one bad answer, or with one code for ever.
        for way in 0..WAYS {
            for at in 0..4 {
                let good = vec![0; at];
                let script = [
                    &[1, 0, operation, 0],
                    good.as_slice(),
                    &[way, 0, 0, 0, 12, 0, 1, 0x55],
                ];
                write(format!("way-{operation}-{way}-{at}"), &script);
            }
        }
        for code in 1..=CODES.len() as u8 {
            write(
                format!("code-{operation}-{code}"),
                &[&[2, code, operation, 0]],
            );
        }
    }
    for (which, stored) in [object(0), sealed()].iter().enumerate() {
        write(format!("wrapped-{which}"), &[&[0], stored]);
        write(format!("public-{which}"), &[&[0], public_of(stored)]);
    }
    write("root".to_owned(), &[&[0], &pinned()]);
}
