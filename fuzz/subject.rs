//! `credential::subject`: any text is a name or an error, and a name that is written comes back as
//! the same name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nodetoken::credential::subject;

fuzz_target!(|text: &str| {
    let Ok(name) = subject::parse(text) else {
        return;
    };
    let written = name.to_string();
    // Escapes and hexadecimal may need more than an input may have.
    if written.len() > 4096 {
        return;
    }
    match subject::parse(&written) {
        Ok(again) => assert_eq!(again, name, "{text:?} was written as {written:?}"),
        Err(error) => panic!("{text:?} was written as {written:?}: {error}"),
    }
});
