//! Arguments: checks the command line. An option overrides the configuration file.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};

use super::export::images::WantedImages;
use super::export::{Layout, Wanted};
use crate::admission::children::Children;
use crate::base::files::FileError;
use crate::base::text::{duration, nearest};
use crate::config::{AskApi, Config, ConfigError};
use crate::kube::object_name::is_dns_label;

/// The text of `--help`.
pub const USAGE: &str = "\
usage: portreeve COMMAND [OPTIONS]

  serve                                   the webhook
  review [--namespace NS] [--output text|json] FILE…|-
                                          decide as the webhook would, on AdmissionReviews or manifests
  check [--namespace NS] [--output text|json] IMAGE…
                                          which policy applies, the digest, who signed, when it expires, what to pin
  check --key FILE|--signatures IMAGE…    the image's cosign signatures, by that public key or by anybody; no policy is read
  check --reset NAME…                     remove the stored trust data of repositories
  export --gun NAME [--server URL] [--signer NAME]… [--root-key ID]… [--flat] DIR
                                          write verified trust data for trustServer: file://…
  export --image IMAGE… --key FILE… DIR   write images' signatures by these keys for registries.signatures: file://…
  lint PATH…                              check policy files or ConfigMap manifests
  version                                 print the version

options of serve, review, check and export (an option overrides the file):
  --config PATH       configuration, YAML or JSON: a file, or a directory whose files are merged
  --policies DIR      a directory of policy files; may be given more than once
  --trust-ca FILE     PEM certificates added to the built-in roots
  --cache DIR         the directory that stores verified trust data
  --kubernetes-credentials
                      serve, review, check: read pull secrets and signerSecrets from the Kubernetes API
  --compare-children  serve, review: verify images of a controller's pod that its owner's template does not have
  --timeout TIME      review, check, export: how long each may take, such as 10s

exit status: 0 allowed, 1 denied, 2 bad input or configuration, 3 undecided (no trust server or registry could be reached)";

/// The names of the commands, for suggestions.
const COMMANDS: [&str; 7] = ["serve", "review", "check", "export", "lint", "version", "help"];

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Serve(Common),
    Review {
        common: Common,
        output: Output,
        timeout: Option<Duration>,
        namespace: String,
        inputs: Vec<Input>,
    },
    Check {
        common: Common,
        output: Output,
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
    Lint {
        paths: Vec<PathBuf>,
    },
    Version,
    Help,
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
    /// cosign signatures, whatever the policies say: `--key`, or `--signatures` for no key.
    Cosign { key: Option<PathBuf> },
}

/// The source of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    File(PathBuf),
    StandardInput,
}

/// Options that override the configuration file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Common {
    config: Option<PathBuf>,
    policies: Vec<PathBuf>,
    trust_ca: Option<PathBuf>,
    cache: Option<PathBuf>,
    kubernetes_credentials: bool,
    compare_children: bool,
}

impl Common {
    /// The configuration from the file and the options.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if !self.policies.is_empty() {
            config.policies.clone_from(&self.policies);
        }
        if let Some(ca) = &self.trust_ca {
            // The configured bundle may be absent. One that is named on the command line must exist.
            std::fs::metadata(ca)
                .map_err(|source| ConfigError::Unreadable { file: ca.clone(), source: FileError::Io(source) })?;
            config.trust.ca.clone_from(ca);
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
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Command::Help),
        Some(Arg::Short('V') | Arg::Long("version")) => return Ok(Command::Version),
        Some(Arg::Value(name)) => name.string()?,
        Some(other) => return Err(other.unexpected().into()),
    };
    if !COMMANDS.contains(&name.as_str()) {
        return Err(ArgumentError::UnknownCommand { name });
    }
    let (mut common, mut output, mut timeout, mut namespace) = (Common::default(), None, None, None);
    let mut values: Vec<OsString> = Vec::new();
    let (mut is_reset, mut server, mut gun, mut layout) = (false, None, None, Layout::Server);
    let mut against = CheckAgainst::Policies;
    let (mut signers, mut root_keys) = (Vec::new(), Vec::new());
    let (mut images, mut keys) = (Vec::new(), Vec::new());
    while let Some(argument) = parser.next()? {
        let decides = matches!(name.as_str(), "review" | "check");
        let exports = name == "export";
        let takes_common = decides || exports || name == "serve";
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Long("config") if takes_common => common.config = Some(parser.value()?.into()),
            Arg::Long("policies") if takes_common => common.policies.push(parser.value()?.into()),
            Arg::Long("trust-ca") if takes_common => common.trust_ca = Some(parser.value()?.into()),
            Arg::Long("cache") if takes_common => common.cache = Some(parser.value()?.into()),
            Arg::Long("kubernetes-credentials") if decides || name == "serve" => common.kubernetes_credentials = true,
            Arg::Long("compare-children") if matches!(name.as_str(), "serve" | "review") => {
                common.compare_children = true
            }
            Arg::Short('o') | Arg::Long("output") if decides => {
                output = Some(match parser.value()?.string()?.as_str() {
                    "text" => Output::Text,
                    "json" => Output::Json,
                    other => return Err(ArgumentError::wrong("--output", other, "text or json")),
                });
            }
            Arg::Long("reset") if name == "check" => is_reset = true,
            Arg::Long("signatures") if name == "check" => match against {
                CheckAgainst::Policies => against = CheckAgainst::Cosign { key: None },
                CheckAgainst::Cosign { .. } => {}
            },
            Arg::Long("key") if name == "check" => {
                against = CheckAgainst::Cosign { key: Some(parser.value()?.into()) };
            }
            Arg::Long("server") if exports => server = Some(parser.value()?.string()?),
            Arg::Long("gun") if exports => gun = Some(parser.value()?.string()?),
            Arg::Long("signer") if exports => signers.push(parser.value()?.string()?),
            Arg::Long("image") if exports => images.push(parser.value()?.string()?),
            Arg::Long("key") if exports => keys.push(parser.value()?.into()),
            Arg::Long("root-key") if exports => root_keys.push(parser.value()?.string()?),
            Arg::Long("flat") if exports => layout = Layout::Flat,
            Arg::Long("timeout") if decides || exports => {
                let text = parser.value()?.string()?;
                let wait = duration(&text).filter(|wait| !wait.is_zero());
                timeout = Some(wait.ok_or_else(|| ArgumentError::wrong("--timeout", &text, "a time such as 10s"))?);
            }
            Arg::Short('n') | Arg::Long("namespace") if decides => {
                let text = parser.value()?.string()?;
                if !is_dns_label(&text) {
                    return Err(ArgumentError::wrong("--namespace", &text, "a namespace: a-z, 0-9 and -, at most 63"));
                }
                namespace = Some(text);
            }
            Arg::Value(value) => values.push(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let output = output.unwrap_or_default();
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let needs = |what: &'static str| if values.is_empty() { Err(ArgumentError::Nothing { what }) } else { Ok(()) };
    Ok(match name.as_str() {
        "review" => {
            needs("a FILE, or - for standard input")?;
            let input = |value: OsString| if value == "-" { Input::StandardInput } else { Input::File(value.into()) };
            Command::Review { common, output, timeout, namespace, inputs: values.into_iter().map(input).collect() }
        }
        "check" if is_reset => {
            needs("the NAME of a repository in trust data")?;
            Command::Reset { common, names: values.into_iter().map(|value| value.string()).collect::<Result<_, _>>()? }
        }
        "export" if !images.is_empty() => {
            if let Some(gun) = gun {
                return Err(ArgumentError::wrong("--gun", &gun, "no --image beside it: export one kind at a time"));
            }
            if keys.is_empty() {
                return Err(ArgumentError::Nothing { what: "--key FILE, the public key that signed the images" });
            }
            needs("a DIR to write to")?;
            // As in `--image ONE TWO DIR`.
            let directory = values.pop().unwrap_or_default().into();
            for value in values {
                images.push(value.string()?);
            }
            Command::ExportImages { common, timeout, wanted: WantedImages { images, keys, directory } }
        }
        "export" => {
            let gun = gun.ok_or(ArgumentError::Nothing { what: "--gun NAME, or --image IMAGE" })?;
            needs("a DIR to write to")?;
            if let Some(value) = values.get(1) {
                return Err(lexopt::Error::UnexpectedArgument(value.clone()).into());
            }
            let directory = values.swap_remove(0).into();
            let wanted = Wanted { server, gun, signers, root_keys, layout, directory };
            Command::Export { common, timeout, wanted }
        }
        "check" => {
            needs("an IMAGE")?;
            let images = values.into_iter().map(|value| value.string()).collect::<Result<_, _>>()?;
            Command::Check { common, output, timeout, namespace, images, against }
        }
        "lint" => {
            needs("a PATH")?;
            Command::Lint { paths: values.into_iter().map(PathBuf::from).collect() }
        }
        _ => match values.into_iter().next() {
            Some(value) => return Err(lexopt::Error::UnexpectedArgument(value).into()),
            None if name == "serve" => Command::Serve(common),
            None if name == "version" => Command::Version,
            None => Command::Help,
        },
    })
}

/// The command line cannot be understood.
#[derive(Debug)]
pub enum ArgumentError {
    /// There is no command.
    NoCommand,
    /// The command is unknown.
    UnknownCommand {
        /// The text that was typed.
        name: String,
    },
    /// An argument is missing.
    Nothing {
        /// The argument.
        what: &'static str,
    },
    /// An option has a value that is not allowed.
    Value {
        /// The option.
        option: &'static str,
        /// The text that was typed.
        found: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// An option is unknown, a value is missing, or a text is not UTF-8.
    Option(lexopt::Error),
}

impl ArgumentError {
    fn wrong(option: &'static str, found: &str, expected: &'static str) -> Self {
        Self::Value { option, found: found.to_owned(), expected }
    }
}

impl From<lexopt::Error> for ArgumentError {
    fn from(error: lexopt::Error) -> Self {
        Self::Option(error)
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => f.write_str("no command is given"),
            Self::UnknownCommand { name } => {
                write!(f, "there is no command \"{name}\"")?;
                nearest(name, COMMANDS).map_or(Ok(()), |known| write!(f, "; did you mean \"{known}\"?"))
            }
            Self::Nothing { what } => write!(f, "the command needs {what}"),
            Self::Value { option, found, expected } => write!(f, "{option}: found \"{found}\", expected {expected}"),
            Self::Option(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArgumentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Option(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_and_options() {
        let common = Common { config: Some("c".into()), policies: vec!["p".into(), "q".into()], ..Common::default() };
        assert_eq!(parsed("serve --config c --policies p --policies=q"), Ok(Command::Serve(common)));
        let Ok(Command::Review { output, inputs, timeout, namespace, .. }) =
            parsed("review -o json --timeout 3s a.yaml -")
        else {
            panic!()
        };
        assert_eq!((output, timeout, namespace.as_str()), (Output::Json, Some(Duration::from_secs(3)), "default"));
        let named = parsed("review --namespace line-1 a.yaml");
        assert!(matches!(named, Ok(Command::Review { namespace, .. }) if namespace == "line-1"));
        assert_eq!(inputs, [Input::File("a.yaml".into()), Input::StandardInput]);
        // What a shell makes of a variable that is not set names no namespace.
        for wrong in ["", "Line_1", "a/b"] {
            let line = ["review", "--namespace", wrong, "a.yaml"].map(OsString::from);
            let error = parse(line).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(
                error,
                Err(format!("--namespace: found \"{wrong}\", expected a namespace: a-z, 0-9 and -, at most 63"))
            );
        }
        let Ok(Command::Check { namespace, images, .. }) = parsed("check -n line-1 nginx") else { panic!() };
        assert_eq!((namespace.as_str(), images), ("line-1", vec!["nginx".to_owned()]));
        for (line, expected) in [
            ("check nginx", CheckAgainst::Policies),
            ("check --signatures nginx", CheckAgainst::Cosign { key: None }),
            ("check --key k.pub nginx", CheckAgainst::Cosign { key: Some("k.pub".into()) }),
            ("check --key k.pub --signatures nginx", CheckAgainst::Cosign { key: Some("k.pub".into()) }),
        ] {
            assert!(matches!(parsed(line), Ok(Command::Check { against, .. }) if against == expected), "{line}");
        }
        assert!(parsed("review --key k.pub a.yaml").is_err());
        let reset = Command::Reset { common: Common::default(), names: vec!["a/b".to_owned()] };
        assert_eq!(parsed("check --reset a/b"), Ok(reset));
        let Ok(Command::ExportImages { wanted, .. }) = parsed("export --image a --image b c --key k.pub out") else {
            panic!("an export of images")
        };
        let images = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(wanted, WantedImages { images, keys: vec!["k.pub".into()], directory: "out".into() });
        let Ok(Command::Export { wanted, .. }) = parsed("export --server https://n --gun a/b --signer x --flat out")
        else {
            panic!()
        };
        let expected = Wanted {
            server: Some("https://n".to_owned()),
            gun: "a/b".to_owned(),
            signers: vec!["x".to_owned()],
            root_keys: Vec::new(),
            layout: Layout::Flat,
            directory: "out".into(),
        };
        assert_eq!(wanted, expected);
        assert_eq!(parsed("version"), Ok(Command::Version));
        assert_eq!(parsed("--help"), Ok(Command::Help));
    }

    #[test]
    fn a_bundle_that_is_typed_must_be_there() {
        let config = |ca: &str| Common { trust_ca: Some(ca.into()), ..Common::default() }.config();
        assert!(matches!(config("/nowhere/ca.pem"), Err(ConfigError::Unreadable { .. })));
        assert_eq!(config("Cargo.toml").unwrap().trust.ca, PathBuf::from("Cargo.toml"));
        assert!(Common::default().config().is_ok());
    }

    #[test]
    fn the_kubernetes_api_can_be_switched_on() {
        assert_eq!(Common::default().config().unwrap().ask_api, AskApi::No);
        for line in ["serve", "review f", "check i"] {
            let (Command::Serve(common) | Command::Review { common, .. } | Command::Check { common, .. }) =
                parsed(&format!("{line} --kubernetes-credentials")).unwrap()
            else {
                panic!("{line}")
            };
            assert_eq!(common.config().unwrap().ask_api, AskApi::Yes, "{line}");
        }
        assert_eq!(Common::default().config().unwrap().children, Children::Trust);
        for line in ["serve", "review f"] {
            let (Command::Serve(common) | Command::Review { common, .. }) =
                parsed(&format!("{line} --compare-children")).unwrap()
            else {
                panic!("{line}")
            };
            let config = common.config().unwrap();
            assert_eq!((config.children, config.ask_api), (Children::Compare, AskApi::No), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (line, expected) in [
            ("", "no command is given"),
            ("reveiw x", "there is no command \"reveiw\"; did you mean \"review\"?"),
            ("review", "the command needs a FILE, or - for standard input"),
            ("check", "the command needs an IMAGE"),
            ("lint", "the command needs a PATH"),
            ("check --reset", "the command needs the NAME of a repository in trust data"),
            ("export out", "the command needs --gun NAME, or --image IMAGE"),
            ("export --image a out", "the command needs --key FILE, the public key that signed the images"),
            ("export --image a --key k", "the command needs a DIR to write to"),
            (
                "export --image a --key k --gun b out",
                "--gun: found \"b\", expected no --image beside it: export one kind at a time",
            ),
            ("export --gun a", "the command needs a DIR to write to"),
            ("export --gun a b c", "unexpected argument \"c\""),
            ("review --reset f", "invalid option '--reset'"),
            ("review --output xml f", "--output: found \"xml\", expected text or json"),
            ("review --timeout 0s f", "--timeout: found \"0s\", expected a time such as 10s"),
            ("serve --output json", "invalid option '--output'"),
            ("serve now", "unexpected argument \"now\""),
            ("lint --config c p", "invalid option '--config'"),
            ("check --compare-children i", "invalid option '--compare-children'"),
            ("export --kubernetes-credentials --gun a b", "invalid option '--kubernetes-credentials'"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}
