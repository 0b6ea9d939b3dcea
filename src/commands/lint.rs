//! `portreeve lint PATH…`: checks policy files, directories of them, and manifests of ConfigMaps that hold them, as
//! loading would: file, line, column, what is wrong, what was meant. Changes nothing and asks no server.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::policy::{Checked, check_path};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LintOutcome {
    /// Files that were looked at.
    pub files: usize,
    /// Policies in them; none is counted where anything is wrong, for then none would be loaded.
    pub policies: usize,
    /// What is wrong.
    pub problems: usize,
}

impl LintOutcome {
    /// 0 if all is well, else 2.
    pub fn exit_status(self) -> u8 {
        if self.problems == 0 { 0 } else { 2 }
    }
}

/// Checks everything below the paths together, as if it were mounted together, and writes what it finds: one line a
/// problem, `file:line:column: error: …`, and one line that sums up.
pub fn lint(paths: &[PathBuf], out: &mut dyn Write) -> io::Result<LintOutcome> {
    let mut checked = Checked::default();
    for path in paths {
        check_path(path, &mut checked);
    }
    let files = checked.files;
    let outcome = match checked.finish() {
        Ok(set) => LintOutcome { files, policies: set.len(), problems: 0 },
        Err(problems) => {
            for problem in &problems {
                writeln!(out, "{}: error: {}", problem.place, problem.message())?;
            }
            LintOutcome { files, policies: 0, problems: problems.len() }
        }
    };
    let files = count(outcome.files, "file", "files");
    match outcome.problems {
        0 => writeln!(out, "{} in {files}, nothing wrong", count(outcome.policies, "policy", "policies"))?,
        problems => writeln!(out, "{} in {files}", count(problems, "problem", "problems"))?,
    }
    Ok(outcome)
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
