//! Links the system's liblmdb 0.9: by pkg-config where that knows it, plainly otherwise (LMDB's own Makefile
//! installs no `.pc` file).

#![allow(clippy::print_stdout, clippy::disallowed_macros, reason = "cargo reads what a build script prints")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if pkg_config::Config::new().atleast_version("0.9.14").probe("lmdb").is_err() {
        println!("cargo:rustc-link-lib=lmdb");
    }
}
