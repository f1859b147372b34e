//! The program that people start.

use std::process::ExitCode;

fn main() -> ExitCode {
    dtrain_front::main()
}
