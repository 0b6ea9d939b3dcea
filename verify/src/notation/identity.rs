//! Trusted identities: `x509.subject: C=US, ST=WA, O=Plant`, or `*` for every signer that the trust stores know.
//!
//! A subject that a policy names is met by every subject that has all of its attributes, exactly, whatever else it has.

use std::fmt;

use super::subject::short_name;
use crate::not_counted::quoted;

const PREFIX: &str = "x509.subject:";
/// The attributes that each identity must have (trust-store-trust-policy.md, "Trusted Identities Constraints").
const MANDATORY: [&str; 3] = ["C", "ST", "O"];

/// A signer that a policy trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Empty for `*`.
    attributes: Vec<(&'static str, String)>,
}

impl Identity {
    /// Reads one as notation's trust policies have it.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text == "*" {
            return Ok(Self { attributes: Vec::new() });
        }
        let subject = text.strip_prefix(PREFIX).ok_or(IdentityError::Prefix)?;
        let attributes = read_subject(subject)?;
        for name in MANDATORY {
            if !attributes.iter().any(|(known, _)| *known == name) {
                return Err(IdentityError::Missing { name });
            }
        }
        Ok(Self { attributes })
    }

    /// Does it stand for every signer that the trust stores know?
    pub fn is_anybody(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Does each subject that meets the other one meet this one as well? A policy with two of which one covers the other is an
    /// error in notation.
    pub fn covers(&self, other: &Self) -> bool {
        self.attributes.iter().all(|attribute| other.attributes.contains(attribute))
    }

    /// Is it met by a subject with these attributes? `None` stands for a subject that is ambiguous.
    pub(super) fn is_met_by(&self, subject: Option<&[(&'static str, Box<str>)]>) -> bool {
        let has = |(name, value): &(&'static str, String)| {
            let found = subject.and_then(|subject| subject.iter().find(|(known, _)| known == name));
            found.is_some_and(|(_, found)| **found == **value)
        };
        self.attributes.iter().all(has)
    }
}

/// The attributes of a subject as text (RFC 4514), each at most once.
fn read_subject(text: &str) -> Result<Vec<(&'static str, String)>, IdentityError> {
    let mut attributes: Vec<(&'static str, String)> = Vec::new();
    let mut rest = text;
    loop {
        let (name, value) = rest.split_once('=').ok_or(IdentityError::Shape)?;
        let name = name.trim();
        let known = short_name(name).ok_or_else(|| IdentityError::Unknown { name: quoted(name) })?;
        let (value, more) = read_value(value.trim_start_matches(' '))?;
        if value.is_empty() {
            return Err(IdentityError::Shape);
        }
        if attributes.iter().any(|(earlier, _)| *earlier == known) {
            return Err(IdentityError::Twice { name: known });
        }
        attributes.push((known, value));
        match more {
            Some(more) => rest = more,
            None => return Ok(attributes),
        }
    }
}

/// A value without its escapes, and what follows its comma.
fn read_value(text: &str) -> Result<(String, Option<&str>), IdentityError> {
    if text.starts_with('#') {
        return Err(IdentityError::Encoded);
    }
    let mut bytes = Vec::new();
    // The length up to the last character that is not a plain space: spaces around a value are not part of it.
    let mut length = 0;
    let mut chars = text.char_indices();
    let mut more = None;
    while let Some((at, c)) = chars.next() {
        let mut utf8 = [0; 4];
        match c {
            ',' | ';' => {
                more = text.get(at + 1..);
                break;
            }
            '+' => return Err(IdentityError::Several),
            '"' | '<' | '>' | '=' => return Err(IdentityError::Shape),
            '\\' => {
                let (_, escaped) = chars.next().ok_or(IdentityError::Shape)?;
                match escaped {
                    ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\' => {
                        bytes.extend(escaped.encode_utf8(&mut utf8).as_bytes())
                    }
                    // Two hexadecimal digits of a byte.
                    _ => {
                        let second = chars.next().and_then(|(_, second)| second.to_digit(16));
                        let digits = escaped.to_digit(16).zip(second).ok_or(IdentityError::Shape)?;
                        bytes.push(u8::try_from(digits.0 << 4 | digits.1).unwrap_or_default());
                    }
                }
                length = bytes.len();
            }
            c => {
                bytes.extend(c.encode_utf8(&mut utf8).as_bytes());
                if c != ' ' {
                    length = bytes.len();
                }
            }
        }
    }
    bytes.truncate(length);
    Ok((String::from_utf8(bytes).map_err(|_| IdentityError::Shape)?, more))
}

/// An identity that cannot be used. `Display` says what is wrong, and what belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// It is neither `*` nor a subject.
    Prefix,
    /// The subject cannot be read.
    Shape,
    /// It has an attribute that has no short name.
    Unknown {
        /// The name, printable.
        name: String,
    },
    /// It has an attribute twice.
    Twice {
        /// Which.
        name: &'static str,
    },
    /// It has several attributes in one relative name (`+`).
    Several,
    /// It has a value in hexadecimal DER (`=#`).
    Encoded,
    /// It lacks an attribute that each identity must have.
    Missing {
        /// Which.
        name: &'static str,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => {
                f.write_str("an identity is \"*\", or \"x509.subject: \" and a subject such as C=US, ST=WA, O=Plant")
            }
            Self::Shape => f.write_str(
                "the subject cannot be read: write NAME=VALUE, separated by commas, and \"\\\" before a special character",
            ),
            Self::Unknown { name } => write!(
                f,
                "the subject has the attribute \"{name}\", which is not known: C, ST, L, STREET, POSTALCODE, O, OU, CN, \
                 SERIALNUMBER, DC and UID are"
            ),
            Self::Twice { name } => write!(f, "the subject has {name} twice: name it once"),
            Self::Several => f.write_str("the subject has several attributes in one (\"+\"), which is not supported"),
            Self::Encoded => f.write_str("the subject has a value in hexadecimal (\"=#\"), which is not supported"),
            Self::Missing { name } => write!(f, "the subject lacks {name}: each identity needs C, ST and O"),
        }
    }
}

impl std::error::Error for IdentityError {}
