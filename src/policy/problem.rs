//! The problems of policies, described for their authors: the place, the fault, and a hint.

use std::fmt;
use std::path::Path;

use super::Place;
use super::fault::Fault;

/// A fault and its place. Displayed as `file:line:column: fault; hint`.
#[derive(Debug)]
pub struct PolicyProblem {
    /// The place.
    pub place: Place,
    /// In a ConfigMap whose value is no literal block: the key, and the line within its value.
    pub within: Option<String>,
    /// The fault.
    pub fault: Fault,
}

impl PolicyProblem {
    pub(crate) fn new(place: Place, fault: Fault) -> Self {
        Self { place, within: None, fault }
    }
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A ConfigMap without keys has no place to name.
        if !self.place.file.as_os_str().is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        self.fmt_message(f)
    }
}

impl PolicyProblem {
    /// Writes the fault and the hint, without the place.
    fn fmt_message(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = &self.within {
            write!(f, "{within}: ")?;
        }
        write!(f, "{}", self.fault)?;
        if let Some(hint) = self.fault.hint() {
            write!(f, "; {hint}")?;
        }
        if self.is_in_other_text() {
            f.write_str("; every file and every key here is read as policies: keep other texts elsewhere")?;
        }
        Ok(())
    }

    /// Is it about a file or key such as `notes.txt`, which is probably no policy?
    fn is_in_other_text(&self) -> bool {
        let unreadable = matches!(self.fault, Fault::NotAPolicy { .. } | Fault::Yaml { .. } | Fault::Kind { .. });
        let key = self.within.as_deref().and_then(|within| within.split(", ").next()).map(Path::new);
        let ending = key.unwrap_or(&self.place.file).extension();
        unreadable && ending.is_some_and(|ending| !["yaml", "yml", "json"].iter().any(|known| ending == *known))
    }

    /// The fault and the hint, without the place.
    pub fn message(&self) -> impl fmt::Display + '_ {
        struct Message<'a>(&'a PolicyProblem);
        impl fmt::Display for Message<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_message(f)
            }
        }
        Message(self)
    }
}

impl std::error::Error for PolicyProblem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}
