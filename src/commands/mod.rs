//! The command line: checks the arguments, reads the configuration, and runs the command.

mod arguments;
mod check;
mod doctor;
pub(crate) mod endings;
mod export;
mod lint;
mod manifest;
mod policy_task;
mod reset;
mod review;
pub mod serve;
pub mod setup;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::base::context::Deadline;
use crate::config::Config;
use crate::policy;
use crate::webhook::Engine;
use arguments::{CheckAgainst, Command, Common, Input};
use portreeve_verify::image::Reference;
use portreeve_verify::text::{printable, visible};
use portreeve_verify::tuf::Gun;

pub use arguments::ArgumentError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything is allowed.
    Allowed,
    /// Something is denied.
    Denied,
    /// The input or the configuration is bad.
    BadInput,
    /// There is no verdict: the trust server could not be reached, and no stored data may be used.
    Undecided,
}

impl ExitStatus {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::Denied => 1,
            Self::BadInput => 2,
            Self::Undecided => 3,
        }
    }

    /// The worse of two: bad input, then a denial, then a missing verdict.
    pub fn worse(self, other: Self) -> Self {
        let rank = |status: Self| match status {
            Self::Allowed => 0,
            Self::Undecided => 1,
            Self::Denied => 2,
            Self::BadInput => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// Runs one command line (without the program's name).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitStatus {
    let command = match arguments::parse(arguments) {
        Ok(command) => command,
        Err(error) => {
            // The message comes last, where it is seen.
            if matches!(error, ArgumentError::NoCommand) {
                complain(&arguments::overview());
            }
            return complain(&error.to_string());
        }
    };
    match command {
        Command::Help(text) => print(&text),
        Command::Version => print(concat!("portreeve ", env!("CARGO_PKG_VERSION"))),
        Command::Lint { config, inputs } => lint_inputs(config.as_deref(), &inputs),
        Command::Serve(common) => match common.config() {
            Ok(_) if common.policies().iter().any(|path| path.is_file()) => {
                complain("--policies is a file: serve takes a directory")
            }
            Ok(config) => serve::run(&config),
            Err(error) => complain(&error.to_string()),
        },
        Command::Reset { common, names } => with_config(&common, |config| reset::run(config, &names)),
        Command::ExportImages { common, timeout, wanted } => {
            with_config(&common, |config| export::images::run(config, &wanted, timeout.unwrap_or(EXPORT_TIME)))
        }
        Command::Export { common, timeout, wanted } => {
            with_config(&common, |config| export::run(config, &wanted, timeout.unwrap_or(EXPORT_TIME)))
        }
        Command::Doctor { common, output, timeout } => {
            let common = common.or_file(doctor::configuration());
            let timeout = timeout.unwrap_or(doctor::TIME);
            // Without a log: what would be logged is printed as a finding.
            match common.config() {
                Ok(config) => doctor::run(&config, common.policies(), output, timeout),
                Err(error) => complain(&error.to_string()),
            }
        }
        Command::Review { common, timeout, wanted } => match engine(&common) {
            Ok((config, engine)) => {
                review::run(&config, &engine, &wanted, timeout.unwrap_or(config.server.limits.admission_time))
            }
            Err(status) => status,
        },
        Command::Check { common, output, timeout, namespace, images, against } => {
            let made = match against {
                CheckAgainst::Policies => engine(&common).map(|made| (made, check::Against::Policies)),
                CheckAgainst::Cosign { key, certificates } => {
                    without_policies(&common, check::Against::cosign(key.as_deref(), certificates.as_ref()))
                }
                CheckAgainst::Notation { stores, identities } => {
                    without_policies(&common, check::Against::notation(&stores, &identities))
                }
            };
            match made {
                Ok(((config, engine), against)) => {
                    let timeout = timeout.unwrap_or(config.server.limits.admission_time);
                    check::run(&engine, &against, &namespace, &images, output, timeout)
                }
                Err(status) => status,
            }
        }
    }
}

/// Waits until all that was verified is on the disk. Returns how many writes have not ended when the deadline has passed.
fn finish_writes(engine: &Engine, by: Deadline) -> usize {
    engine.evaluator().schemes.notary_v1.service.finish_writes(by)
}

/// The default time limit of an export. It fetches the metadata of a whole repository.
const EXPORT_TIME: Duration = Duration::from_secs(60);

/// Runs a command that needs the configuration and no policies.
fn with_config(common: &Common, run: impl FnOnce(&Config) -> ExitStatus) -> ExitStatus {
    match common.config() {
        Ok(config) => {
            crate::logging::start(config.log_format, config.log_level.min(log::LevelFilter::Warn));
            run(&config)
        }
        Err(error) => complain(&error.to_string()),
    }
}

/// The engine that the webhook would have, before it has read policies.
fn engine_without_policies(common: &Common) -> Result<(Config, Engine), ExitStatus> {
    let config = common.config().map_err(|error| complain(&error.to_string()))?;
    crate::logging::start(config.log_format, config.log_level.min(log::LevelFilter::Warn));
    let engine = setup::standalone_engine(&config).map_err(|error| complain(&error.to_string()))?;
    Ok((config, engine))
}

/// The same beside what images are checked against in place of policies.
fn without_policies(
    common: &Common,
    against: Result<check::Against, String>,
) -> Result<((Config, Engine), check::Against), ExitStatus> {
    let against = against.map_err(|error| complain(&error))?;
    Ok((engine_without_policies(common)?, against))
}

/// The engine that the webhook would have, with the policies in force. Prints all problems of the policies.
fn engine(common: &Common) -> Result<(Config, Engine), ExitStatus> {
    let (config, engine) = engine_without_policies(common)?;
    // As `lint` takes them: what is about to be applied is looked at before it is mounted.
    let policies = match common.policies() {
        [] if !config.policies.iter().any(|path| path.exists()) => {
            complain(&no_policies(&config));
            return Err(ExitStatus::BadInput);
        }
        [] => policy::load_all(&config.policy_places()),
        paths => lint::policies(paths).map(|policies| (policies, Vec::new())),
    };
    match policies {
        Ok((policies, namespaces)) => {
            engine.policies().replace(policies);
            // What these namespaces run is denied, and every other one is as ever.
            for problem in namespaces.iter().filter_map(|own| own.result.as_ref().err()).flatten() {
                complain(&problem.to_string());
            }
        }
        Err(problems) => {
            for problem in &problems {
                complain(&problem.to_string());
            }
            return Err(ExitStatus::BadInput);
        }
    }
    Ok((config, engine))
}

/// What to do on a machine that has none of the configured policies.
fn no_policies(config: &Config) -> String {
    let places: Vec<_> = config.policies.iter().map(|path| path.to_string_lossy()).collect();
    format!(
        "there are no policies here ({} does not exist), so there is nothing to decide by: give them with --policies PATH, a file \
         or directory of policies or of their ConfigMaps; the command \"kubectl -n {} get configmap {} -o yaml\" prints those of a \
         cluster",
        printable(&places.join(", "), 400),
        config.namespace,
        policy::CONFIG_MAP
    )
}

fn lint_inputs(config: Option<&Path>, inputs: &[Input]) -> ExitStatus {
    let mut out = std::io::stdout().lock();
    let linted = config.map_or(Ok(0), |config| lint::configuration(config, &mut out)).and_then(|wrong| {
        let is_policies = !inputs.is_empty();
        let config = config.and_then(|config| Config::load(Some(config)).ok());
        let outcome = is_policies.then(|| lint::lint(inputs, config.as_ref(), &mut out)).transpose()?;
        Ok(wrong + outcome.map_or(0, |outcome| outcome.problems))
    });
    // If the pipe was closed, the problems were not seen.
    match linted {
        Ok(0) => ExitStatus::Allowed,
        Ok(_) | Err(_) => ExitStatus::BadInput,
    }
}

/// The name in trust data of an image as it was typed: `nginx` is `docker.io/library/nginx`.
fn gun_of(name: &str) -> Result<Gun, String> {
    let image = Reference::parse(name).map_err(|error| error.to_string())?;
    Gun::of(&image).map_err(|error| error.to_string())
}

/// Prints to standard output. A closed pipe is no error.
fn print(text: &str) -> ExitStatus {
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitStatus::Allowed
}

/// Prints to standard error.
fn complain(text: &str) -> ExitStatus {
    let _ = writeln!(std::io::stderr(), "portreeve: {}", without_control(text));
    ExitStatus::BadInput
}

/// A text of several lines that is safe to print. Arguments and names of files can have any character.
fn without_control(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { visible(c) }).collect()
}
