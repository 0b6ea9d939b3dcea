//! The command line, checked: what comes out names things that Kubernetes and X.509 can both hold.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use lexopt::prelude::*;

/// `--help`.
pub const HELP: &str = "\
Makes a CA and a serving certificate for Portreeve's webhook, and the manifests that bring them into the cluster.

Usage: certs-gen --out DIR [OPTION]...

  --service NAME     the webhook's Service (portreeve)
  --namespace NAME   its namespace (portreeve)
  --dns NAME         a further DNS name or IP address; may be given several times
  --days N           how long the serving certificate is valid (365)
  --ca-days N        how long the CA is valid (3650, or as long as the certificate if that is longer)
  --out DIR          where the files go; made if it is not there
  --fill FILE        also put the CA and the Secret into this manifest, and write the result to DIR under its name;
                     may be given several times
  --renew            a new serving certificate by the CA that is in DIR, for the names that the old one has: the webhook
                     configurations stay as they are
  --force            replace files that are there already: a new CA, so every caBundle must be replaced too
  --help             this text
  --version          the version

Writes into DIR:
  ca.crt, ca.key, tls.crt, tls.key               the CA and the certificate; keep ca.key out of the cluster
  secret.yaml                                    the Secret portreeve-certs with certificate, key and ca.crt
  ca-bundle-mutating.yaml, -validating.yaml      the caBundle, as patches of the two webhook configurations
  kustomization.yaml                             the last three as a kustomize component
  .gitignore                                     keeps all of them out of Git; one that is there stays

With kustomize, name DIR under `components:`. Without, either apply what --fill wrote, or
  kubectl apply -f DIR/secret.yaml
  kubectl patch mutatingwebhookconfiguration portreeve --patch-file DIR/ca-bundle-mutating.yaml
  kubectl patch validatingwebhookconfiguration portreeve --patch-file DIR/ca-bundle-validating.yaml
After --renew, applying secret.yaml is all; Portreeve takes the new certificate without a restart.
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// Certificates.
    Generate(Options),
}

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The Service, if it is named.
    pub service: Option<String>,
    /// Its namespace, if it is named.
    pub namespace: Option<String>,
    /// Further DNS names and IP addresses.
    pub extra: Vec<String>,
    /// The serving certificate's days.
    pub days: u32,
    /// The CA's days, if they are named.
    pub ca_days: Option<u32>,
    /// The directory.
    pub out: PathBuf,
    /// Manifests to fill in.
    pub fill: Vec<PathBuf>,
    /// What to do, and what about files that are there.
    pub task: Task,
}

/// What to do, and what about files that are there already?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A new CA; files that are there stay, and nothing is written.
    Make,
    /// A new CA; files that are there are replaced.
    Replace,
    /// A new certificate by the CA that is there.
    Renew,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service: None,
            namespace: None,
            extra: Vec::new(),
            days: 365,
            ca_days: None,
            out: PathBuf::new(),
            fill: Vec::new(),
            task: Task::Make,
        }
    }
}

/// A certificate that outlives every machine is a typing error.
const MOST_DAYS: u32 = 36_500;

impl Options {
    /// Reads the command line, the program's name first.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, OptionError> {
        let mut parser = lexopt::Parser::from_iter(arguments);
        let mut options = Self::default();
        let (mut force, mut renew) = (false, false);
        let mut is_bare = true;
        while let Some(argument) = parser.next()? {
            is_bare = false;
            match argument {
                Long("service") => options.service = Some(label("--service", parser.value()?)?),
                Long("namespace") => options.namespace = Some(label("--namespace", parser.value()?)?),
                Long("dns") => options.extra.push(name(parser.value()?)?),
                Long("days") => options.days = days("--days", parser.value()?)?,
                Long("ca-days") => options.ca_days = Some(days("--ca-days", parser.value()?)?),
                Long("out") => options.out = parser.value()?.into(),
                Long("fill") => options.fill.push(parser.value()?.into()),
                Long("force") => (options.task, force) = (Task::Replace, true),
                Long("renew") => renew = true,
                Short('h') | Long("help") => return Ok(Command::Help),
                Short('V') | Long("version") => return Ok(Command::Version),
                other => return Err(other.unexpected().into()),
            }
        }
        if is_bare {
            return Ok(Command::Help);
        }
        if options.out.as_os_str().is_empty() {
            return Err(OptionError::NoDirectory);
        }
        if renew {
            for (given, other) in [(force, "--force"), (options.ca_days.is_some(), "--ca-days")] {
                if given {
                    return Err(OptionError::NotWithRenew { other });
                }
            }
            options.task = Task::Renew;
        }
        if let Some(ca_days) = options.ca_days.filter(|&ca_days| ca_days < options.days) {
            return Err(OptionError::CaEndsFirst { ca_days, days: options.days });
        }
        Ok(Command::Generate(options))
    }
}

/// RFC 1123 label, as Kubernetes wants it of Services and namespaces.
fn label(option: &'static str, value: OsString) -> Result<String, OptionError> {
    let value = text(option, value)?;
    if is_label(&value) { Ok(value) } else { Err(OptionError::NotALabel { option, value }) }
}

/// A DNS name, which may begin with `*.`, or an IP address.
fn name(value: OsString) -> Result<String, OptionError> {
    let value = text("--dns", value)?;
    let host = value.strip_prefix("*.").unwrap_or(&value);
    if value.parse::<IpAddr>().is_ok() || (value.len() <= 253 && host.split('.').all(is_label)) {
        Ok(value)
    } else {
        Err(OptionError::NotAName { value })
    }
}

fn days(option: &'static str, value: OsString) -> Result<u32, OptionError> {
    let value = text(option, value)?;
    match value.parse() {
        Ok(days @ 1..=MOST_DAYS) => Ok(days),
        _ => Err(OptionError::NotDays { option, value }),
    }
}

fn text(option: &'static str, value: OsString) -> Result<String, OptionError> {
    value.into_string().map_err(|value| OptionError::NotText { option, value })
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The command line cannot be followed.
#[derive(Debug)]
pub enum OptionError {
    /// Unknown, or a value is missing.
    Syntax(lexopt::Error),
    /// `--out` is missing.
    NoDirectory,
    /// A value is not UTF-8.
    NotText {
        /// The option.
        option: &'static str,
        /// Its value.
        value: OsString,
    },
    /// Not a name that Kubernetes takes.
    NotALabel {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// Neither a DNS name nor an IP address.
    NotAName {
        /// The value.
        value: String,
    },
    /// Not a number of days.
    NotDays {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// The CA would be of no use to the certificate's end.
    CaEndsFirst {
        /// The CA's days.
        ca_days: u32,
        /// The certificate's days.
        days: u32,
    },
    /// An option about a new CA, beside `--renew`, which keeps the old one.
    NotWithRenew {
        /// The other option.
        other: &'static str,
    },
}

impl From<lexopt::Error> for OptionError {
    fn from(error: lexopt::Error) -> Self {
        Self::Syntax(error)
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::NoDirectory => {
                f.write_str("--out DIR is missing: the directory for the files, such as --out site/certs")
            }
            Self::NotText { option, value } => write!(f, "{option} {} is not UTF-8", value.display()),
            Self::NotALabel { option, value } => write!(
                f,
                "{option} \"{}\" is not a Kubernetes name; expected at most 63 of a-z, 0-9 and '-', beginning and ending \
                 with a letter or digit",
                value.escape_default()
            ),
            Self::NotAName { value } => {
                write!(f, "--dns \"{}\" is neither a DNS name in lower case nor an IP address", value.escape_default())
            }
            Self::NotDays { option, value } => {
                write!(f, "{option} \"{}\" is not a number of days; expected 1 to {MOST_DAYS}", value.escape_default())
            }
            Self::CaEndsFirst { ca_days, days } => write!(
                f,
                "--ca-days {ca_days} is less than the certificate's {days} days; a certificate is worth nothing after its \
                 CA's end"
            ),
            Self::NotWithRenew { other } => {
                write!(f, "{other} cannot be given with --renew, which keeps the CA that is there")
            }
        }
    }
}

impl std::error::Error for OptionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Syntax(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Command, String> {
        let arguments = std::iter::once("certs-gen").chain(arguments.split_whitespace());
        Options::parse(arguments.map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn all_options_are_read() {
        let expected = Options {
            service: Some("gate".into()),
            namespace: Some("edge-1".into()),
            extra: vec!["gate.example.com".into(), "*.example.com".into(), "::1".into()],
            days: 30,
            ca_days: Some(90),
            out: "/tmp/x".into(),
            fill: vec!["a.yaml".into(), "b.yaml".into()],
            task: Task::Replace,
        };
        let line = "--service gate --namespace=edge-1 --dns gate.example.com --dns *.example.com --dns ::1 --days 30 \
                    --ca-days 90 --out /tmp/x --fill a.yaml --fill b.yaml --force";
        assert_eq!(parse(line), Ok(Command::Generate(expected)));
        let renewal = Options { task: Task::Renew, out: "x".into(), ..Options::default() };
        assert_eq!(parse("--renew --out x"), Ok(Command::Generate(renewal)));
        assert_eq!(parse(""), Ok(Command::Help));
        for line in ["--renew", "--days 30", "--out="] {
            assert!(parse(line).unwrap_err().starts_with("--out DIR is missing"), "{line}");
        }
        assert_eq!(parse("--days x -h"), Err("--days \"x\" is not a number of days; expected 1 to 36500".into()));
        assert_eq!(parse("-h"), Ok(Command::Help));
        assert_eq!(parse("--version"), Ok(Command::Version));
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let long = format!("--service {}", "a".repeat(64));
        for line in [
            "--service Gate",
            "--service a.b",
            "--service -a",
            "--namespace a_b",
            "--namespace a-",
            &long,
            "--dns a..b",
            "--dns *",
            "--dns a.*.b",
            "--dns https://a",
            "--dns a:1",
            "--days 0",
            "--days 36501",
            "--days -1",
            "--days",
            "--what",
            "stray",
            "--force=yes",
            "--renew --force",
            "--force --renew",
            "--renew --ca-days 400",
            "--ca-days 364",
            "--days 30 --ca-days 29",
            "--fill",
        ] {
            assert!(parse(&format!("--out x {line}")).is_err(), "{line}");
        }
    }
}
