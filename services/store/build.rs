//! The migrations are embedded by a macro that cargo does not know reads a directory.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
