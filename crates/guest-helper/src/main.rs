//! The first and only program of a test guest.
fn main() {}
