//! Arguments: checks the command line. An option overrides the configuration file.

mod error;
mod help;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};

use super::check::certificates::Certificates;
use super::export::images::WantedImages;
use super::export::{Layout, Wanted};
use super::review;
use crate::admission::children::Children;
use crate::base::files::FileError;
use crate::base::text::duration;
use crate::config::{AskApi, Config, ConfigError};
use crate::kube::object_name::is_dns_label;
use help::CommandHelp;

pub use error::ArgumentError;

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Serve(Common),
    Review {
        common: Common,
        timeout: Option<Duration>,
        wanted: review::Wanted,
    },
    Check {
        common: Common,
        /// `None`: the image with its digest alone.
        output: Option<Output>,
        timeout: Option<Duration>,
        namespace: String,
        images: Vec<String>,
        against: CheckAgainst,
    },
    Reset {
        common: Common,
        names: Vec<String>,
    },
    Export {
        common: Common,
        timeout: Option<Duration>,
        wanted: Wanted,
    },
    ExportImages {
        common: Common,
        timeout: Option<Duration>,
        wanted: WantedImages,
    },
    Doctor {
        common: Common,
        output: Output,
        timeout: Option<Duration>,
    },
    Lint {
        config: Option<PathBuf>,
        inputs: Vec<Input>,
    },
    Version,
    /// A text to print.
    Help(String),
}

/// The format of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Output {
    #[default]
    Text,
    Json,
}

/// What `check` checks images against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum CheckAgainst {
    #[default]
    Policies,
    /// cosign signatures, whatever the policies say: `--key`, `--trusted-root`, or `--signatures` for neither.
    Cosign { key: Option<PathBuf>, certificates: Option<Certificates> },
    /// Notation signatures, whatever the policies say: `--trust-store` and `--identity`.
    Notation { stores: Vec<String>, identities: Vec<String> },
}

/// The source of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    File(PathBuf),
    StandardInput,
}

impl From<OsString> for Input {
    fn from(value: OsString) -> Self {
        if value == "-" { Self::StandardInput } else { Self::File(value.into()) }
    }
}

/// Options that override the configuration file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Common {
    config: Option<PathBuf>,
    policies: Vec<PathBuf>,
    trust_ca: Option<PathBuf>,
    cache: Option<PathBuf>,
    trusted_root: Option<PathBuf>,
    kubernetes_credentials: bool,
    compare_children: bool,
}

impl Common {
    /// The policies of the command line; empty: those of the configuration.
    pub(super) fn policies(&self) -> &[PathBuf] {
        &self.policies
    }

    /// The same options, with this configuration where none is named.
    pub(super) fn or_file(mut self, file: Option<&Path>) -> Self {
        self.config = self.config.or_else(|| file.map(Path::to_owned));
        self
    }

    /// The configuration from the file and the options.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if !self.policies.is_empty() {
            config.policies.clone_from(&self.policies);
            config.namespace_policies = None;
        }
        if let Some(ca) = &self.trust_ca {
            // The configured bundle may be absent. One that is named on the command line must exist.
            std::fs::metadata(ca)
                .map_err(|source| ConfigError::Unreadable { file: ca.clone(), source: FileError::Io(source) })?;
            config.trust.ca.clone_from(ca);
        }
        if let Some(file) = &self.trusted_root {
            config.trusted_roots.clone_from(file);
        }
        if self.cache.is_some() {
            config.trust.cache.clone_from(&self.cache);
        }
        if self.kubernetes_credentials {
            config.ask_api = AskApi::Yes;
        }
        if self.compare_children {
            config.children = Children::Compare;
        }
        Ok(config)
    }
}

/// Reads a command line, without the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ArgumentError> {
    let mut parser = Parser::from_args(arguments);
    let name = match parser.next()? {
        None => return Err(ArgumentError::NoCommand),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Command::Help(overview())),
        Some(Arg::Short('V') | Arg::Long("version")) => return Ok(Command::Version),
        Some(Arg::Value(name)) => name.string()?,
        Some(option) => return Err(unknown(None, &option)),
    };
    let command = CommandHelp::named(&name).ok_or(ArgumentError::UnknownCommand { name })?;
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        let option = match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help(command.text())),
            Arg::Value(value) => {
                given.values.push(value);
                continue;
            }
            Arg::Long(long) => command.option(Some(long), None),
            Arg::Short(short) => command.option(None, Some(short)),
        };
        match option {
            Some(option) => given.take(option, &mut parser)?,
            None => return Err(unknown(Some(command.name), &argument)),
        }
    }
    given.into_command(command)
}

fn unknown(command: Option<&'static str>, option: &Arg<'_>) -> ArgumentError {
    let typed = match option {
        Arg::Long(long) => ["--", long].concat(),
        Arg::Short(short) => format!("-{short}"),
        Arg::Value(_) => String::new(),
    };
    ArgumentError::UnknownOption { command, typed }
}

/// What is on a command line after the command. Each command takes only the options that the table gives it.
#[derive(Default)]
struct Given {
    common: Common,
    output: Output,
    timeout: Option<Duration>,
    namespace: Option<String>,
    is_reset: bool,
    lists_signatures: bool,
    keys: Vec<PathBuf>,
    server: Option<String>,
    gun: Option<String>,
    signers: Vec<String>,
    root_keys: Vec<String>,
    trust_stores: Vec<String>,
    identities: Vec<String>,
    issuer: Option<String>,
    subject: Option<String>,
    images: Vec<String>,
    is_flat: bool,
    only_digest: bool,
    of_cluster: bool,
    webhooks: Vec<PathBuf>,
    summary: Option<PathBuf>,
    values: Vec<OsString>,
}

impl Given {
    /// Takes an option, and its value if it has one.
    fn take(&mut self, option: &str, parser: &mut Parser) -> Result<(), ArgumentError> {
        match option {
            "kubernetes-credentials" => self.common.kubernetes_credentials = true,
            "compare-children" => self.common.compare_children = true,
            "reset" => self.is_reset = true,
            "signatures" => self.lists_signatures = true,
            "flat" => self.is_flat = true,
            "digest" => self.only_digest = true,
            "cluster" => self.of_cluster = true,
            _ => return self.take_value(option, parser.value()?),
        }
        Ok(())
    }

    fn take_value(&mut self, option: &str, value: OsString) -> Result<(), ArgumentError> {
        match option {
            "config" => self.common.config = Some(value.into()),
            "policies" => self.common.policies.push(value.into()),
            "trust-ca" => self.common.trust_ca = Some(value.into()),
            "cache" => self.common.cache = Some(value.into()),
            "trusted-root" => self.common.trusted_root = Some(value.into()),
            "key" => self.keys.push(value.into()),
            "webhooks" => self.webhooks.push(value.into()),
            "summary" => self.summary = Some(value.into()),
            _ => return self.take_text(option, value.string()?),
        }
        Ok(())
    }

    fn take_text(&mut self, option: &str, text: String) -> Result<(), ArgumentError> {
        match option {
            "server" => self.server = Some(text),
            "gun" => self.gun = Some(text),
            "signer" => self.signers.push(text),
            "root-key" => self.root_keys.push(text),
            "trust-store" => self.trust_stores.push(text),
            "identity" => self.identities.push(text),
            "issuer" => self.issuer = Some(text),
            "subject" => self.subject = Some(text),
            "image" => self.images.push(text),
            "output" => {
                self.output = match text.as_str() {
                    "text" => Output::Text,
                    "json" => Output::Json,
                    other => return Err(ArgumentError::wrong("--output", other, "text or json")),
                }
            }
            "timeout" => {
                let wait = duration(&text).filter(|wait| !wait.is_zero());
                self.timeout =
                    Some(wait.ok_or_else(|| ArgumentError::wrong("--timeout", &text, "a time such as 10s"))?);
            }
            "namespace" if is_dns_label(&text) => self.namespace = Some(text),
            "namespace" => {
                return Err(ArgumentError::wrong("--namespace", &text, "a namespace: a-z, 0-9 and -, at most 63"));
            }
            // An option of the table that no arm takes must not be ignored.
            _ => return Err(lexopt::Error::UnexpectedOption(option.to_owned()).into()),
        }
        Ok(())
    }

    fn into_command(mut self, command: &'static CommandHelp) -> Result<Command, ArgumentError> {
        let needs = |what| match self.values.is_empty() {
            true => Err(ArgumentError::Nothing { command: command.name, what }),
            false => Ok(()),
        };
        let default_namespace = || "default".to_owned();
        Ok(match command.name {
            "review" => {
                match self.values.first() {
                    Some(value) if self.of_cluster => {
                        let value = value.to_string_lossy();
                        return Err(ArgumentError::wrong("--cluster", &value, "no FILE beside it"));
                    }
                    None if !self.of_cluster => needs("a FILE or DIR, - for standard input, or --cluster")?,
                    _ => {}
                }
                let wanted = review::Wanted {
                    inputs: self.values.into_iter().map(Input::from).collect(),
                    output: self.output,
                    namespace: self.namespace,
                    webhooks: self.webhooks,
                    summary: self.summary,
                };
                Command::Review { common: self.common, timeout: self.timeout, wanted }
            }
            "check" if self.is_reset => {
                needs("the NAME of a repository in trust data")?;
                Command::Reset { common: self.common, names: texts(self.values)? }
            }
            "check" => {
                needs("an IMAGE")?;
                let certificates = self.certificates()?;
                let key = self.keys.into_iter().next_back();
                let of_cosign = self.lists_signatures || key.is_some() || certificates.is_some();
                if let Some(store) = self.trust_stores.first().filter(|_| of_cosign) {
                    return Err(ArgumentError::wrong("--trust-store", store, "no option of cosign's beside it"));
                }
                if let Some(identity) = self.identities.first().filter(|_| self.trust_stores.is_empty()) {
                    return Err(ArgumentError::wrong("--identity", identity, "--trust-store NAME beside it"));
                }
                // What is asked for is never passed over.
                if let Some(root) = self.common.trusted_root.as_ref().filter(|_| self.lists_signatures) {
                    let root = root.to_string_lossy();
                    return Err(ArgumentError::wrong("--trusted-root", &root, "no --signatures beside it"));
                }
                let is_by_policies = !of_cosign && self.trust_stores.is_empty();
                if let Some(policies) = self.common.policies.first().filter(|_| !is_by_policies) {
                    let expected = "none of --key, --signatures, --trusted-root and --trust-store beside it";
                    return Err(ArgumentError::wrong("--policies", &policies.to_string_lossy(), expected));
                }
                let against = match (of_cosign, self.trust_stores.is_empty()) {
                    (true, _) => CheckAgainst::Cosign { key, certificates },
                    (false, true) => CheckAgainst::Policies,
                    (false, false) => CheckAgainst::Notation { stores: self.trust_stores, identities: self.identities },
                };
                Command::Check {
                    common: self.common,
                    output: (!self.only_digest).then_some(self.output),
                    timeout: self.timeout,
                    namespace: self.namespace.unwrap_or_else(default_namespace),
                    images: texts(self.values)?,
                    against,
                }
            }
            "export" => return self.into_export(command),
            "lint" => {
                if self.common.config.is_none() {
                    needs("a FILE or DIR, or - for standard input")?;
                }
                let inputs = self.values.into_iter().map(Input::from).collect();
                Command::Lint { config: self.common.config, inputs }
            }
            "help" => {
                let mut topics = texts(self.values)?.into_iter();
                match (topics.next(), topics.next()) {
                    (_, Some(more)) => return Err(lexopt::Error::UnexpectedArgument(more.into()).into()),
                    (Some(name), None) => match CommandHelp::named(&name) {
                        Some(command) => Command::Help(command.text()),
                        None => return Err(ArgumentError::UnknownCommand { name }),
                    },
                    (None, None) => Command::Help(overview()),
                }
            }
            name => match self.values.into_iter().next() {
                Some(value) => return Err(lexopt::Error::UnexpectedArgument(value).into()),
                None if name == "serve" => Command::Serve(self.common),
                None if name == "doctor" => {
                    Command::Doctor { common: self.common, output: self.output, timeout: self.timeout }
                }
                None => Command::Version,
            },
        })
    }

    /// The options about certificates.
    fn certificates(&mut self) -> Result<Option<Certificates>, ArgumentError> {
        let (issuer, subject) = (self.issuer.take(), self.subject.take());
        let identity = match (&self.common.trusted_root, issuer, subject) {
            (Some(_), Some(issuer), Some(subject)) => Some((issuer, subject)),
            (_, None, None) => None,
            (None, issuer, _) => {
                let command = if issuer.is_some() { "--issuer" } else { "--subject" };
                return Err(ArgumentError::Nothing { command, what: "--trusted-root FILE beside it" });
            }
            (_, Some(_), None) => {
                return Err(ArgumentError::Nothing { command: "--issuer", what: "--subject beside it" });
            }
            (_, None, Some(_)) => {
                return Err(ArgumentError::Nothing { command: "--subject", what: "--issuer beside it" });
            }
        };
        Ok(self.common.trusted_root.clone().map(|root| Certificates { root, identity }))
    }

    fn into_export(mut self, command: &'static CommandHelp) -> Result<Command, ArgumentError> {
        let missing = |what| ArgumentError::Nothing { command: command.name, what };
        let certificates = self.certificates()?;
        let Self { common, timeout, .. } = self;
        if self.images.is_empty() {
            let gun = self.gun.ok_or(missing("--gun NAME, or --image IMAGE"))?;
            let mut values = self.values.into_iter();
            let directory = values.next().ok_or(missing("a DIR to write to"))?.into();
            if let Some(value) = values.next() {
                return Err(lexopt::Error::UnexpectedArgument(value).into());
            }
            let layout = if self.is_flat { Layout::Flat } else { Layout::Server };
            let Self { server, signers, root_keys, .. } = self;
            return Ok(Command::Export {
                common,
                timeout,
                wanted: Wanted { server, gun, signers, root_keys, layout, directory },
            });
        }
        if let Some(gun) = self.gun {
            return Err(ArgumentError::wrong("--gun", &gun, "no --image beside it: export one kind at a time"));
        }
        if self.keys.is_empty() && self.trust_stores.is_empty() && certificates.is_none() {
            return Err(missing(
                "--key FILE, the public key that signed the images, --trusted-root FILE or --trust-store NAME",
            ));
        }
        if let Some(identity) = self.identities.first().filter(|_| self.trust_stores.is_empty()) {
            return Err(ArgumentError::wrong("--identity", identity, "--trust-store NAME beside it"));
        }
        let directory = self.values.pop().ok_or(missing("a DIR to write to"))?.into();
        // As in `--image ONE TWO DIR`.
        self.images.extend(texts(self.values)?);
        let Self { images, keys, trust_stores, identities, .. } = self;
        let wanted = WantedImages { images, keys, certificates, trust_stores, identities, directory };
        Ok(Command::ExportImages { common, timeout, wanted })
    }
}

fn texts(values: Vec<OsString>) -> Result<Vec<String>, ArgumentError> {
    values.into_iter().map(|value| Ok(value.string()?)).collect()
}

/// The help that has all commands.
pub(super) fn overview() -> String {
    help::overview()
}

#[cfg(test)]
mod tests;
