//! The C interface: any sequence of calls, with any arguments that memory allows, ends without a
//! crash, in a code that says what is wrong, and never shows a secret value.

#![no_main]

mod arguments;
mod functions;
mod token;

use arguments::{Arguments, Input, Made};
use cryptoki_sys::*;
use functions::{FUNCTIONS, use_of};
use libfuzzer_sys::fuzz_target;
use nodetoken::error::rv_name;
use std::sync::LazyLock;
use token::Token;

/// Longest sequence.
const MOST_CALLS: usize = 48;

static TOKEN: LazyLock<Token> = LazyLock::new(Token::new);

fuzz_target!(|data: &[u8]| {
    let token = &*TOKEN;
    let mut made = Made {
        sessions: vec![token.open_session(CKF_RW_SESSION), token.open_session(0)],
        objects: Vec::new(),
        begun: 0,
    };
    let mut input = Input(data);
    for _ in 0..MOST_CALLS {
        if input.is_over() {
            break;
        }
        call(token, &mut made, &mut input);
    }
    check_objects(token);
    clean_up(token, &made);
});

fn call(token: &Token, made: &mut Made, input: &mut Input<'_>) {
    // Any function, or one that goes on with what was begun last.
    let at = match usize::from(input.byte()) {
        at if at < FUNCTIONS.len() => at,
        at => made.begun + 1 + at % 3,
    };
    let (name, letters) = FUNCTIONS[at];
    let arguments = Arguments::read(token, made, letters, input);
    if arguments.slow {
        return;
    }
    let rv = token.table.call(at, &arguments.words);
    check_code(name, rv);
    check_mechanism(token, name, &arguments, rv);
    arguments.check_outputs();
    if rv == CKR_OK {
        arguments.note(made);
        if name.ends_with("Init") {
            made.begun = at;
        }
    }
}

/// The codes here say "something is broken" instead of what is wrong; C_GetInterface has no other one
/// for an interface that is not there (5.4.6).
fn check_code(name: &str, rv: CK_RV) {
    let exact = match rv {
        CKR_FUNCTION_FAILED => name == "C_GetInterface",
        CKR_GENERAL_ERROR | CKR_DEVICE_ERROR | CKR_DEVICE_MEMORY | CKR_HOST_MEMORY => false,
        // The last code of 3.2.
        code => code <= CKR_PARAMETER_SET_NOT_SUPPORTED,
    };
    assert!(exact, "{name}: {}", rv_name(rv));
}

/// What C_GetMechanismList and C_GetMechanismInfo say is what C_…Init does.
fn check_mechanism(token: &Token, name: &str, arguments: &Arguments<'_>, rv: CK_RV) {
    let (Some(row), asked) = (arguments.row, use_of(name)) else {
        return;
    };
    if asked == 0 {
        return;
    }
    let listed = token
        .mechanisms
        .get(&row.kind)
        .is_some_and(|flags| flags & asked != 0);
    let is_null = arguments.words.get(1) == Some(&0);
    match rv {
        CKR_OK if !is_null => assert!(listed, "{name}: {} is not listed for it", row.name),
        CKR_MECHANISM_INVALID if arguments.key.is_some() => {
            assert!(!listed, "{name}: {} is listed for it", row.name);
        }
        _ => {}
    }
}

/// What is sensitive or not extractable is not shown, and has never been otherwise where it says so.
fn check_objects(token: &Token) {
    let secrets = [
        CKA_VALUE,
        CKA_PRIVATE_EXPONENT,
        CKA_PRIME_1,
        CKA_PRIME_2,
        CKA_EXPONENT_1,
        CKA_EXPONENT_2,
        CKA_COEFFICIENT,
    ];
    for object in token.objects() {
        let is = |kind| token.value(object, kind).map(|value| value == [CK_TRUE]);
        let (Ok(sensitive), Ok(extractable)) = (is(CKA_SENSITIVE), is(CKA_EXTRACTABLE)) else {
            continue;
        };
        assert!(sensitive || is(CKA_ALWAYS_SENSITIVE) == Ok(false));
        assert!(!extractable || is(CKA_NEVER_EXTRACTABLE) == Ok(false));
        if sensitive || !extractable {
            for kind in secrets {
                assert!(
                    token.value(object, kind).is_err(),
                    "a secret value is shown"
                );
            }
        }
        if token.keys.iter().any(|key| key.handle == object) {
            assert!(sensitive && !extractable, "a key of the token has changed");
        }
    }
}

/// Takes away what the calls have made, so that the next input meets the same token.
fn clean_up(token: &Token, made: &Made) {
    for session in &made.sessions {
        // It may be closed already.
        token.table.named("C_CloseSession", &[*session as usize]);
    }
    token.clear();
}
