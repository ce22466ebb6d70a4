//! Link arguments of the module.
//!
//! `-Bsymbolic` binds the entries of our function tables to our own `C_*`, whatever the process
//! has loaded before us; `-z nodelete` keeps the code mapped after `dlclose`, because a thread may
//! still be inside a call; `-z relro -z now` leave no writable table to aim at.

fn main() {
    for argument in ["-Wl,-Bsymbolic", "-Wl,-z,nodelete", "-Wl,-z,relro,-z,now"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    println!("cargo:rerun-if-changed=src/build.rs");
}
