//! The `portreeve` executable: hands its arguments to the library and exits with the status that comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    portreeve::commands::run(std::env::args_os().skip(1)).into()
}
