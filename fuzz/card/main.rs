//! What a card answers. The first byte of an input is zero: the rest goes to every decoder of what
//! cards say. Else the rest is the script of a PIV card that is played, in calls of the module's C
//! interface and answers to its commands: nothing that such a card does is a crash or without end; no
//! signature is taken from it that does not verify, no object shown that does not hold together; and no
//! PIN goes where it does not belong, or once more after it was refused.

#![no_main]

mod calls;
mod card;
#[path = "../calls/functions.rs"]
#[allow(dead_code)]
mod functions;
#[path = "../tpm/script.rs"]
mod script;
mod seeds;

use calls::Module;
use card::Card;
use libfuzzer_sys::fuzz_target;
use nodetoken::token::Presence;
use nodetoken::token::card_fuzzing::{self, Player, Reply};
use script::Script;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Most calls in one script.
const MOST_CALLS: usize = 16;

static CARD: LazyLock<Mutex<Card>> = LazyLock::new(|| Mutex::new(Card::new(Script::new(&[]))));

fn played() -> MutexGuard<'static, Card> {
    CARD.lock().expect("no panic goes on")
}

struct Stage;

impl Player for Stage {
    fn atr(&self) -> Vec<u8> {
        played().atr()
    }

    fn presence(&self) -> Presence {
        let card = played();
        Presence {
            card: card.here,
            reader: true,
            changes: card.changes,
        }
    }

    fn begin(&self) -> Reply {
        played().begin()
    }

    fn transmit(&self, command: &[u8]) -> Reply {
        played().transmit(command)
    }
}

fuzz_target!(
    init: {
        card_fuzzing::play(&Stage);
        seeds::write_if_asked();
    },
    |input: &[u8]| {
        match input.split_first() {
            Some((0, rest)) => card_fuzzing::decode(rest),
            Some((_, rest)) => drop(play(rest)),
            None => {}
        }
    }
);

/// Lets a program work with a card that follows a script; what it came to.
fn play(script: &[u8]) -> calls::Done {
    *played() = Card::new(Script::new(script));
    let mut module = Module::start();
    for _ in 0..MOST_CALLS {
        if played().script.is_over() {
            break;
        }
        module.operate();
    }
    module.end()
}
