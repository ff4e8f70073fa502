//! The program; what it does is in the library beside it, where tests can call it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    vread::main()
}
