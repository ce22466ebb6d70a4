//! What a TPM answers. The first byte of an input is zero: the rest goes to every decoder of what
//! nothing has authenticated yet. Else the rest is the script of a chip that is played, in operations
//! of the module and answers to its commands: nothing that such a chip does is a crash or without end,
//! and nothing is taken from it that did not come with the HMAC of who holds the storage root.

#![no_main]

mod chip;
mod proof;
mod script;
mod seeds;

use chip::{
    CREATE, CREATE_PRIMARY, IMPORT, LOAD, LOCKOUT, OWNER, ROOT, ROOT_KEY, RSA_DECRYPT, SIGN, UNSEAL,
};
use libfuzzer_sys::fuzz_target;
use nodetoken::crypto::{Curve, KeySpec, PublicParts};
use nodetoken::error::Result;
use nodetoken::token::fuzzing;
use proof::{name, sized, split};
use script::Script;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Most operations in one script.
const MOST_OPERATIONS: usize = 8;
/// How many kinds of operations there are.
pub const OPERATIONS: u8 = 13;

const PIN_KEY: &[u8] = b"what is made of a PIN\0";
const OWNER_AUTH: &[u8] = b"owner";
const KEY_AUTH: &[u8] = &[0x5a; 32];

static CHIP: LazyLock<Mutex<chip::Chip>> =
    LazyLock::new(|| Mutex::new(chip::Chip::new(Script::new(&[]))));

fn played() -> MutexGuard<'static, chip::Chip> {
    CHIP.lock().expect("no panic goes on")
}

fuzz_target!(
    init: seeds::write_if_asked(),
    |input: &[u8]| {
        match input.split_first() {
            Some((0, rest)) => fuzzing::decode(rest),
            Some((how, rest)) => drop(play(how % 2 == 0, rest)),
            None => {}
        }
    }
);

/// Lets the module work with a chip that follows a script; its answers come back.
fn play(stays: bool, script: &[u8]) -> Vec<Vec<u8>> {
    let mut script = Script::new(script);
    let at_the_end = match script.byte() {
        0 => None,
        which => chip::CODES.get(usize::from(which) - 1).copied(),
    };
    *played() = chip::Chip::new(script);
    played().at_the_end = at_the_end;
    let module = Module {
        chip: fuzzing::Chip::new(|command| played().answer(command), stays),
        root: pinned(),
    };
    for _ in 0..MOST_OPERATIONS {
        if played().script.is_over() {
            break;
        }
        module.operate();
    }
    let answers = std::mem::take(&mut played().answers);
    module.chip.close();
    let left = played().refuses && !played().is_empty();
    assert!(!left, "something is left in the chip");
    answers
}

/// The storage root as it is stored.
fn pinned() -> Vec<u8> {
    [&ROOT.to_be_bytes(), &*sized(&ROOT_KEY.public)].concat()
}

/// The module, as far as it has to do with chips.
struct Module {
    chip: fuzzing::Chip,
    /// The storage root that is pinned.
    root: Vec<u8>,
}

impl Module {
    fn operate(&self) {
        let (what, how) = {
            let mut played = played();
            played.begin();
            played.authorize(OWNER.to_be_bytes().to_vec(), OWNER_AUTH);
            played.authorize(LOCKOUT.to_be_bytes().to_vec(), OWNER_AUTH);
            (played.script.byte() % OPERATIONS, played.script.byte())
        };
        let done = self.run(what, how);
        let played = played();
        match done {
            Ok(()) => assert!(
                played.said.iter().all(|said| said.proven),
                "taken without proof"
            ),
            Err(refusal) => {
                assert!(!played.behaves, "operation {what}: {refusal}");
                assert!(!refusal.reason().is_empty());
            }
        }
    }

    fn run(&self, what: u8, how: u8) -> Result<()> {
        let (chip, root) = (&self.chip, self.root.as_slice());
        match what {
            0 => chip.abilities(),
            1 => chip.lockout(),
            2 => chip.reset_lockout(root, OWNER_AUTH),
            3 => self.root_at(ROOT + u32::from(how % 2)),
            4 => {
                chip.make_root(ROOT + u32::from(how % 2), OWNER_AUTH)?;
                heard(CREATE_PRIMARY);
                Ok(())
            }
            5 => self.create(how),
            6 => self.import(how),
            7 => {
                let object = object(how);
                let handle = chip.load(root, &object)?;
                // Else it was there.
                if let Some(said) = last(LOAD) {
                    assert_eq!(said.handle, Some(handle));
                    assert_eq!(
                        split(&said.parameters),
                        Some((&*name(public_of(&object)), &[][..]))
                    );
                }
                Ok(())
            }
            8 => {
                let sealed = sealed();
                let secret = chip.unseal(root, &sealed, PIN_KEY)?;
                assert_eq!(sized(&secret), heard(UNSEAL));
                Ok(())
            }
            9 => {
                let halves = chip.sign(root, &object(how), &[1; 32])?;
                let signature = heard(SIGN);
                assert_eq!(signature[4..], halves.map(|half| sized(&half)).concat());
                Ok(())
            }
            10 => {
                let block = chip.rsa(root, &object(how), &[2; 256])?;
                assert_eq!(sized(&block), heard(RSA_DECRYPT));
                Ok(())
            }
            11 => {
                chip.close();
                Ok(())
            }
            _ => {
                played().reset();
                Ok(())
            }
        }
    }

    fn root_at(&self, handle: u32) -> Result<()> {
        let found = self.chip.root_at(handle)?;
        if let Some(Some(root)) = found {
            assert_eq!(root[..4], handle.to_be_bytes());
            // It has been read once; it can be read again.
            fuzzing::decode(&root);
        }
        Ok(())
    }

    fn create(&self, how: u8) -> Result<()> {
        let key = match how % 4 {
            0 => None,
            1 => Some(KeySpec::Ec(Curve::P256)),
            2 => Some(KeySpec::Ec(Curve::P384)),
            _ => Some(KeySpec::Rsa {
                bits: 2048,
                exponent: vec![1, 0, 1],
            }),
        };
        let data: &[u8] = if key.is_none() { &[3; 32] } else { &[] };
        let made = self.chip.create(&self.root, key.as_ref(), KEY_AUTH, data)?;
        let said = heard(CREATE);
        let (private, rest) = split(&said).expect("a private part");
        let (public, _) = split(rest).expect("a public part");
        assert!(*made == [sized(public), sized(private), sized(KEY_AUTH)].concat());
        Ok(())
    }

    fn import(&self, how: u8) -> Result<()> {
        let public = match how % 2 {
            0 => PublicParts::Ec {
                curve: Curve::P256,
                point: vec![4; 65],
            },
            _ => PublicParts::Rsa {
                n: vec![0xc1; 256],
                e: vec![1, 0, 1],
            },
        };
        let made = self.chip.import(&self.root, &public, &[4; 32])?;
        let (_, rest) = split(&made).expect("a public part");
        let (private, _) = split(rest).expect("a private part");
        assert_eq!(sized(private), heard(IMPORT));
        Ok(())
    }
}

/// The parameters of the last answer to such a command.
fn heard(code: u32) -> Vec<u8> {
    last(code).expect("an answer").parameters
}

fn last(code: u32) -> Option<chip::Said> {
    let said = &mut played().said;
    let at = said.iter().rposition(|said| said.code == code)?;
    Some(said[at].clone())
}

/// One of three keys as they are stored; two at a time stay loaded.
fn object(which: u8) -> Vec<u8> {
    let public = [
        b"\0\x23\0\x0b\0\x06\x04\x72\0\0\0\x10\0\x10\0\x03\0\x10".as_slice(),
        &sized(&[which % 3; 32]),
        &sized(&[16; 32]),
    ]
    .concat();
    played().authorize(name(&public), KEY_AUTH);
    [sized(&public), sized(&[17; 100]), sized(KEY_AUTH)].concat()
}

/// A sealed secret as it is stored: without what opens it.
fn sealed() -> Vec<u8> {
    let public = [
        b"\0\x08\0\x0b\0\0\0\x52\0\0\0\x10".as_slice(),
        &sized(&[18; 32]),
    ]
    .concat();
    played().authorize(name(&public), PIN_KEY);
    [sized(&public), sized(&[19; 100]), sized(&[])].concat()
}

fn public_of(wrapped: &[u8]) -> &[u8] {
    split(wrapped).expect("a public part").0
}
