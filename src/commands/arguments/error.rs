//! Why a command line cannot be understood.

use std::fmt;

use super::help::{COMMANDS, CommandHelp};
use crate::base::text::nearest;

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
    /// The command has no such option.
    UnknownOption {
        /// The command; `None` before a command.
        command: Option<&'static str>,
        /// The option as it was typed, with its dashes.
        typed: String,
    },
    /// An argument is missing.
    Nothing {
        /// The command, or the option that needs it.
        command: &'static str,
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
    /// A value is missing, there is an argument too many, or a text is not UTF-8.
    Option(lexopt::Error),
}

impl ArgumentError {
    pub(super) fn wrong(option: &'static str, found: &str, expected: &'static str) -> Self {
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
                let meant = nearest(name, COMMANDS.iter().map(|command| command.name));
                meant.map_or(Ok(()), |known| write!(f, "; did you mean \"{known}\"?"))
            }
            Self::UnknownOption { command: None, typed } => {
                write!(f, "{typed} stands before a command: the command comes first")
            }
            Self::UnknownOption { command: Some(command @ ("version" | "help")), .. } => {
                write!(f, "{command} has no options")
            }
            Self::UnknownOption { command: Some(command), typed } => {
                write!(f, "{command} has no option {typed}")?;
                let name = typed.trim_start_matches('-');
                match CommandHelp::named(command).and_then(|command| command.meant(name)) {
                    Some(meant) => write!(f, "; did you mean --{meant}?"),
                    None => {
                        let others: Vec<&str> = CommandHelp::others_with(name).collect();
                        if others.is_empty() {
                            write!(f, "; portreeve help {command} has its options")
                        } else {
                            write!(f, "; it belongs to {}", others.join(", "))
                        }
                    }
                }
            }
            Self::Nothing { command, what } => write!(f, "{command} needs {what}"),
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
