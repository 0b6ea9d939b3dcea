//! The command line, checked: what comes out names things that Kubernetes and X.509 can both hold.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use lexopt::prelude::*;

/// `--help`.
pub const HELP: &str = "\
Makes a CA and a serving certificate for Portreeve's webhook.

Usage: certs-gen [OPTION]...

  --service NAME     the webhook's Service (portreeve)
  --namespace NAME   its namespace (portreeve)
  --dns NAME         a further DNS name or IP address; may be given several times
  --days N           how long the serving certificate is valid (365); the CA is valid for ten years, or N days if
                     that is longer
  --out DIR          where the files go; made if it is not there (.)
  --force            replace files that are there already: a new CA, so every caBundle must be replaced too
  --help             this text
  --version          the version

Writes ca.crt, ca.key, tls.crt and tls.key, and prints the caBundle for the webhook configuration. Keep ca.key out
of the cluster.
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
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Further DNS names and IP addresses.
    pub extra: Vec<String>,
    /// The serving certificate's days.
    pub days: u32,
    /// The directory.
    pub out: PathBuf,
    /// What about files that are there?
    pub existing: Existing,
}

/// What about files that are there already?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and nothing is written.
    Keep,
    /// They are replaced.
    Replace,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service: "portreeve".to_owned(),
            namespace: "portreeve".to_owned(),
            extra: Vec::new(),
            days: 365,
            out: PathBuf::from("."),
            existing: Existing::Keep,
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
        while let Some(argument) = parser.next()? {
            match argument {
                Long("service") => options.service = label("--service", parser.value()?)?,
                Long("namespace") => options.namespace = label("--namespace", parser.value()?)?,
                Long("dns") => options.extra.push(name(parser.value()?)?),
                Long("days") => options.days = days(parser.value()?)?,
                Long("out") => options.out = parser.value()?.into(),
                Long("force") => options.existing = Existing::Replace,
                Short('h') | Long("help") => return Ok(Command::Help),
                Short('V') | Long("version") => return Ok(Command::Version),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Command::Generate(options))
    }

    /// All names of the serving certificate, the one that kube-apiserver uses first.
    pub fn names(&self) -> Vec<String> {
        let base = format!("{}.{}", self.service, self.namespace);
        let own = [format!("{base}.svc"), base.clone(), format!("{base}.svc.cluster.local")];
        let mut names: Vec<String> = Vec::new();
        for name in own.into_iter().chain(self.extra.iter().cloned()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
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

fn days(value: OsString) -> Result<u32, OptionError> {
    let value = text("--days", value)?;
    match value.parse() {
        Ok(days @ 1..=MOST_DAYS) => Ok(days),
        _ => Err(OptionError::NotDays { value }),
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
        /// The value.
        value: String,
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
            Self::NotDays { value } => {
                write!(f, "--days \"{}\" is not a number of days; expected 1 to {MOST_DAYS}", value.escape_default())
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
            service: "gate".into(),
            namespace: "edge-1".into(),
            extra: vec!["gate.example.com".into(), "*.example.com".into(), "::1".into()],
            days: 30,
            out: "/tmp/x".into(),
            existing: Existing::Replace,
        };
        let line = "--service gate --namespace=edge-1 --dns gate.example.com --dns *.example.com --dns ::1 --days 30 \
                    --out /tmp/x --force";
        assert_eq!(parse(line), Ok(Command::Generate(expected)));
        assert_eq!(parse(""), Ok(Command::Generate(Options::default())));
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
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn names_are_what_kube_apiserver_calls() {
        let options = Options { extra: vec!["portreeve.portreeve".into(), "10.0.0.1".into()], ..Options::default() };
        assert_eq!(
            options.names(),
            ["portreeve.portreeve.svc", "portreeve.portreeve", "portreeve.portreeve.svc.cluster.local", "10.0.0.1"]
        );
    }
}
