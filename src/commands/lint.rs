//! `portreeve lint PATH…`: checks policy files, directories of them, and manifests of ConfigMaps with policies, in the same
//! way as they are loaded. A problem has its file, line and column, and a hint. If there is no problem, notes tell of settings
//! that are valid and probably not intended. Changes nothing and sends no request.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::policy::{Checked, PolicyNote, check_path};

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LintOutcome {
    /// The number of files.
    pub files: usize,
    /// The number of policies; 0 if there is a problem, because then none would be loaded.
    pub policies: usize,
    /// The number of problems.
    pub problems: usize,
    /// The number of notes.
    pub notes: usize,
}

impl LintOutcome {
    /// 0 if there is no problem, otherwise 2.
    pub fn exit_status(self) -> u8 {
        if self.problems == 0 { 0 } else { 2 }
    }
}

/// Checks all files below the paths together, as if they were mounted together. Writes a line for each problem
/// (`file:line:column: error: …`) or note, and a summary.
pub fn lint(paths: &[PathBuf], out: &mut dyn Write) -> io::Result<LintOutcome> {
    let mut checked = Checked::default();
    for path in paths {
        check_path(path, &mut checked);
    }
    let files = checked.files;
    let outcome = match checked.finish() {
        Ok(set) => {
            let notes = set.notes();
            for PolicyNote { place, note } in &notes {
                writeln!(out, "{place}: note: {note}")?;
            }
            LintOutcome { files, policies: set.len(), problems: 0, notes: notes.len() }
        }
        Err(problems) => {
            for problem in &problems {
                writeln!(out, "{}: error: {}", problem.place, problem.message())?;
            }
            LintOutcome { files, policies: 0, problems: problems.len(), notes: 0 }
        }
    };
    let files = count(outcome.files, "file", "files");
    match outcome.problems {
        0 => {
            write!(out, "{} in {files}, nothing wrong", count(outcome.policies, "policy", "policies"))?;
            match outcome.notes {
                0 => writeln!(out)?,
                notes => writeln!(out, ", {}", count(notes, "note", "notes"))?,
            }
        }
        problems => writeln!(out, "{} in {files}", count(problems, "problem", "problems"))?,
    }
    Ok(outcome)
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::temp::TempDir;

    use super::*;

    const GOOD: &str =
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: []}\n";

    /// Lints files with these texts. The path of their directory is removed from the output.
    fn run(files: &[(&str, &str)]) -> (LintOutcome, String) {
        let directory = TempDir::new();
        for (name, text) in files {
            directory.write(name, text);
        }
        let mut out = Vec::new();
        let outcome = lint(&[directory.path().to_owned()], &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn good_files_are_counted() {
        let (outcome, out) = run(&[("a.yaml", GOOD)]);
        assert_eq!(outcome, LintOutcome { files: 1, policies: 1, problems: 0, notes: 0 });
        assert_eq!(outcome.exit_status(), 0);
        assert_eq!(out, "1 policy in 1 file, nothing wrong\n");
    }

    #[test]
    fn what_was_probably_not_meant_is_noted_and_no_error() {
        let odd = GOOD.replace("[]", "[{name: \"icr.io*\"}]");
        let (outcome, out) = run(&[("a.yaml", &odd)]);
        assert_eq!((outcome.notes, outcome.exit_status()), (1, 0));
        let lines: Vec<&str> = out.lines().collect();
        assert!(
            lines[0].starts_with("a.yaml:4:23: note: pattern \"icr.io*\" names a repository of Docker Hub"),
            "{out}"
        );
        assert_eq!(lines[1], "1 policy in 1 file, nothing wrong, 1 note");
    }

    #[test]
    fn bad_files_are_told_line_by_line() {
        let bad = GOOD.replace("repositories", "repostories");
        let (outcome, out) = run(&[("a.yaml", GOOD), ("b.yaml", &bad), ("c.txt", "kind: Pod\n")]);
        assert_eq!((outcome.files, outcome.problems, outcome.exit_status()), (3, 3, 2));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines[1],
            "b.yaml:4:8: error: unknown field \"repostories\" in spec; did you mean \"repositories\"?"
        );
        assert!(lines[0].starts_with("b.yaml:4:7: error: \"repositories\" is missing from spec"), "{out}");
        assert!(lines[2].starts_with("c.txt:1:7: error: not a policy: kind \"Pod\""), "{out}");
        assert_eq!(lines[3], "3 problems in 3 files");
    }

    #[test]
    fn a_file_s_name_commands_no_terminal() {
        let (_, out) = run(&[("\u{1b}[2J\n.yaml", "kind: Pod\n")]);
        assert!(out.starts_with("\u{fffd}[2J\u{fffd}.yaml:1:7: error: "), "{out:?}");
    }

    #[test]
    fn what_is_not_there_is_a_problem() {
        let mut out = Vec::new();
        let outcome = lint(&[PathBuf::from("/nowhere/at/all")], &mut out).unwrap();
        assert_eq!(outcome.exit_status(), 2);
        assert_eq!(run(&[]).0.exit_status(), 2);
    }
}
