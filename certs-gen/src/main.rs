//! The command `certs-gen`: see the library.

use std::io::Write as _;
use std::process::ExitCode;

use certs_gen::{Command, HELP, OptionError, Options, files, issue};

fn main() -> ExitCode {
    let report = match Options::parse(std::env::args_os()) {
        Ok(Command::Help) => Ok(HELP.to_owned()),
        Ok(Command::Version) => Ok(format!("certs-gen {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Generate(options)) => generate(&options).map_err(|error| (1, format!("certs-gen: {error}"))),
        // The message comes last, where it is seen.
        Err(error @ OptionError::NoDirectory) => Err((2, format!("{HELP}\ncerts-gen: {error}"))),
        Err(error) => Err((2, format!("certs-gen: {error}; see certs-gen --help"))),
    };
    let (status, told) = match report {
        // A reader that closed the pipe has read enough.
        Ok(text) => (0, std::io::stdout().lock().write_all(text.as_bytes())),
        Err((status, error)) => (status, writeln!(std::io::stderr().lock(), "{error}")),
    };
    drop(told);
    ExitCode::from(status)
}

fn generate(options: &Options) -> Result<String, String> {
    let issued = issue::issue(options).map_err(|error| error.to_string())?;
    let written = files::write(options, &issued).map_err(|error| error.to_string())?;
    Ok(files::report(options, &issued, &written))
}
