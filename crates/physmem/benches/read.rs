//! Reads of mapped RAM against plain loads and copies of the same mapping.

fn main() {
    divan::main();
}
