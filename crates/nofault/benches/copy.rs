//! Copies of this crate against `memcpy`.

fn main() {
    divan::main();
}
