//! Link arguments of the module.
//!
//! `-Bsymbolic` binds the entries of our function tables to our own `C_*`, whatever the process
//! has loaded before us; `-z nodelete` keeps the code mapped after `dlclose`, because a thread may
//! still be inside a call; `-z relro -z now` leave no writable table to aim at; the script takes
//! out what would run at exit; the calls of getenv go to `src/abi/environment.rs`.

use std::path::Path;

fn main() {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = Path::new(&root).join("src/abi/exit.ld");
    for argument in [
        "-Wl,-Bsymbolic",
        "-Wl,-z,nodelete",
        "-Wl,-z,relro,-z,now",
        "-Wl,--wrap=getenv",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{}", script.display());
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-changed=src/abi/exit.ld");
}
