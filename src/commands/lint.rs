//! `portreeve lint FILE|DIR|-…`: checks policy files, directories of them, and manifests of ConfigMaps with policies, in the same
//! way as they are loaded. A problem has its file, line and column, and a hint. If there is no problem, notes tell of settings
//! that are valid and probably not intended. `--config FILE` checks a configuration in the same way. Changes nothing and sends no request.
//!
//! Of a `trustpolicy.json` of Notation's, it prints what it amounts to here.

mod trust_policy;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::arguments::Input;
use super::doctor;
use super::without_control;
use crate::config::{self, Config};
use crate::policy::{Checked, Fault, PolicyNote, PolicyProblem, PolicySet, check_path, check_stream};
use portreeve_verify::text::printable;
use trust_policy::Imported;

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LintOutcome {
    /// The number of files.
    pub(super) files: usize,
    /// The number of policies; 0 if there is a problem, because then none would be loaded.
    pub(super) policies: usize,
    /// The number of problems.
    pub(super) problems: usize,
    /// The number of notes.
    pub(super) notes: usize,
}

/// Checks all inputs together, as if they were mounted together and used with this configuration. Writes a line for each problem
/// (`file:line:column: error: …`) or note, and a summary.
pub(super) fn lint(inputs: &[Input], config: Option<&Config>, out: &mut dyn Write) -> io::Result<LintOutcome> {
    let mut checked = Checked::default();
    let mut imported = Imported::default();
    for input in inputs {
        match input {
            Input::File(path) if imported.take(path, &mut checked) => {}
            _ => check(input, &mut checked),
        }
    }
    // What is printed can then be written to a file of policies.
    let mark = if imported.is_any { "# " } else { "" };
    out.write_all(imported.text.as_bytes())?;
    for problem in &imported.problems {
        writeln!(out, "{mark}error: {problem}")?;
    }
    for note in &imported.notes {
        writeln!(out, "{mark}note: {note}")?;
    }
    let files = checked.files;
    let mut notes = std::mem::take(&mut checked.notes);
    let outcome = match checked.finish() {
        Ok(set) => {
            notes.extend(set.notes());
            for PolicyNote { place, note, .. } in &notes {
                writeln!(out, "{mark}{place}: note: {note}")?;
            }
            let nowhere = config.map(|config| doctor::without_server(config, &set)).unwrap_or_default();
            for (host, policy) in &nowhere {
                writeln!(out, "{mark}{policy}: note: no trust server is known for {host}: {}", doctor::NAME_SERVER)?;
            }
            let notes = imported.notes.len() + notes.len() + nowhere.len();
            LintOutcome { files, policies: set.len(), problems: imported.problems.len(), notes }
        }
        Err(mut problems) => {
            // A trust policy that gives none says why.
            problems.retain(|problem| imported.problems.is_empty() || !matches!(problem.fault, Fault::NoPolicies));
            for problem in &problems {
                writeln!(out, "{mark}{}: error: {}", problem.place, problem.message())?;
            }
            LintOutcome { files, policies: 0, problems: imported.problems.len() + problems.len(), notes: 0 }
        }
    };
    let files = count(outcome.files, "file", "files");
    out.write_all(mark.as_bytes())?;
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

/// Checks a configuration. Returns the number of problems: the first problem is the only one that is told.
pub(super) fn configuration(path: &Path, out: &mut dyn Write) -> io::Result<usize> {
    let shown = printable(&path.display().to_string(), 400);
    let config = match Config::load(Some(path)) {
        Ok(config) => config,
        Err(error) => {
            writeln!(out, "{}", without_control(&error.to_string()))?;
            writeln!(out, "1 problem in the configuration")?;
            return Ok(1);
        }
    };
    let notes = config::notes(&config, &[]);
    for note in &notes {
        writeln!(out, "{shown}: note: {note}")?;
    }
    write!(out, "the configuration is valid")?;
    match notes.len() {
        0 => writeln!(out)?,
        notes => writeln!(out, ", {}", count(notes, "note", "notes"))?,
    }
    Ok(0)
}

/// The policies in files, directories and manifests, as [`lint`] reads them.
pub(super) fn policies(paths: &[PathBuf]) -> Result<PolicySet, Vec<PolicyProblem>> {
    let mut checked = Checked::default();
    paths.iter().for_each(|path| check(&Input::from(path.clone().into_os_string()), &mut checked));
    checked.finish()
}

fn check(input: &Input, checked: &mut Checked) {
    match input {
        Input::File(path) => check_path(path, checked),
        Input::StandardInput => check_stream(io::stdin().lock(), Path::new("standard input"), checked),
    }
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
        let outcome = lint(&[Input::File(directory.path().to_owned())], None, &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn good_files_are_counted() {
        let (outcome, out) = run(&[("a.yaml", &GOOD.replace("[]", "[{name: icr.io/x}]"))]);
        assert_eq!(outcome, LintOutcome { files: 1, policies: 1, problems: 0, notes: 0 });
        assert_eq!(out, "1 policy in 1 file, nothing wrong\n");
    }

    #[test]
    fn what_was_probably_not_meant_is_noted_and_no_error() {
        let odd = GOOD.replace("[]", "[{name: \"icr.io*\"}]");
        let (outcome, out) = run(&[("a.yaml", &odd)]);
        assert_eq!((outcome.notes, outcome.problems), (1, 0));
        let lines: Vec<&str> = out.lines().collect();
        assert!(
            lines[0].starts_with("a.yaml:4:23: note: pattern \"icr.io*\" names a repository of Docker Hub"),
            "{out}"
        );
        assert_eq!(lines[1], "1 policy in 1 file, nothing wrong, 1 note");
    }

    #[test]
    fn policies_that_deny_everything_or_go_nowhere_are_noted() {
        let (outcome, out) = run(&[("a.yaml", GOOD)]);
        assert_eq!((outcome.notes, outcome.problems), (1, 0));
        assert!(out.starts_with("a.yaml:1:1: note: this policy has no repositories: every image is denied\n"), "{out}");
        let some = GOOD.replace("[]", "[{name: r.local/*, policy: {trust: {enabled: true}}}]");
        let map = |metadata: &str| {
            let data = some.replace('\n', "\n    ");
            run(&[(
                "m.yaml",
                &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\ndata:\n  p: |\n    {data}\n"),
            )])
        };
        for (metadata, other) in [
            ("{name: portreeve-polices}", Some("portreeve/portreeve-polices")),
            ("{name: portreeve-policies, namespace: default}", Some("default/portreeve-policies")),
            ("{name: portreeve-policies, namespace: portreeve}", None),
            ("{name: portreeve-policies}", None),
            ("{name: site-policies}", None),
        ] {
            let (outcome, out) = map(metadata);
            assert_eq!((outcome.notes, outcome.problems), (usize::from(other.is_some()), 0), "{out}");
            let words = other.map(|other| {
                format!(
                    "m.yaml:1:1: note: ConfigMap {other} is not read: the site's policies are in ConfigMap portreeve-policies of \
                     namespace portreeve"
                )
            });
            assert!(out.starts_with(&words.unwrap_or_default()), "{out}");
        }
        // With the configuration, it is known which registries have a trust server.
        let directory = TempDir::new();
        let inputs = [Input::File(directory.write("p.yaml", &some))];
        for (servers, notes) in [("{}", 1), ("{r.local: \"https://n.local\"}", 0)] {
            let file = directory.write("c.yaml", format!("trust: {{servers: {servers}}}\n"));
            let mut out = Vec::new();
            let outcome = lint(&inputs, Some(&Config::load(Some(&file)).unwrap()), &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(outcome.notes, notes, "{out}");
            let words =
                "ClusterImagePolicy p: note: no trust server is known for r.local: set trustServer in the policy, or ";
            assert_eq!(out.starts_with(words), notes == 1, "{out}");
        }
    }

    #[test]
    fn a_placeholder_is_no_key() {
        let key = "-----BEGIN PUBLIC KEY-----\\n…\\n-----END PUBLIC KEY-----";
        for check in ["trust: {enabled: true, ", "cosign: {"] {
            let rule =
                format!("[{{name: r.local/*, policy: {{{check}signers: [{{name: a, publicKey: \"{key}\"}}]}}}}}}]");
            let (_, out) = run(&[("a.yaml", &GOOD.replace("[]", &rule))]);
            assert!(out.contains("; is \"…\" still in place of the key?\n"), "{out}");
        }
    }

    #[test]
    fn bad_files_are_told_line_by_line() {
        let bad = GOOD.replace("repositories", "repostories");
        let (outcome, out) = run(&[("a.yaml", GOOD), ("b.yaml", &bad), ("c.txt", "kind: Pod\n")]);
        assert_eq!((outcome.files, outcome.problems), (3, 3));
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

    /// A site's directory has private keys, which are not read as policies and not quoted.
    #[test]
    fn the_source_of_manifests_is_no_directory_of_policies() {
        let key = "-----BEGIN PRIVATE KEY-----\n";
        let (outcome, out) = run(&[
            ("a.yaml", GOOD),
            ("site/certs/ca.key", key),
            ("site/certs/kustomization.yaml", "kind: Component\n"),
            ("site/kustomization.yaml", "kind: Kustomization\n"),
            ("site/policies.yaml", GOOD),
            ("chart/Chart.yaml", "name: c\n"),
            ("chart/templates/a.yaml", "{{ }}\n"),
        ]);
        assert_eq!((outcome.files, outcome.problems), (1, 2), "{out}");
        assert!(
            out.contains("chart:1:1: error: this directory is no directory of policies: it has a Chart.yaml; name"),
            "{out}"
        );
        assert!(
            out.contains(
                "site:1:1: error: this directory is no directory of policies: it has a kustomization.yaml; name"
            ),
            "{out}"
        );
        // By its name, a file of it is read.
        let directory = TempDir::new();
        directory.write("kustomization.yaml", "kind: Kustomization\n");
        let file = directory.write("policies.yaml", GOOD);
        assert_eq!(lint(&[Input::File(file)], None, &mut Vec::new()).unwrap().policies, 1);
    }

    #[test]
    fn a_document_without_a_kind_and_a_file_without_a_policy_say_what_to_write() {
        let (_, out) = run(&[("site.yaml", "trust: { maxStale: 24h }\n")]);
        assert!(
            out.starts_with(
                "site.yaml:1:1: error: not a policy: the document has no kind; write apiVersion and kind, "
            ),
            "{out}"
        );
        assert!(out.contains("lint --config FILE"), "{out}");
        let (_, out) = run(&[("a.yaml", "# nothing yet\n")]);
        assert!(
            out.starts_with("a.yaml:1:1: error: there is no policy in these files; write one; to deny everything, "),
            "{out}"
        );
    }

    #[test]
    fn a_manifest_is_no_configuration() {
        let directory = TempDir::new();
        for (text, kind) in [
            ("apiVersion: v1\nkind: ConfigMap\ndata:\n  portreeve.yaml: |\n    log: { level: debug }\n", "ConfigMap"),
            ("apiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: Secret\n", "ConfigMap"),
            ("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMapList\",\"items\":[]}", "ConfigMapList"),
        ] {
            let mut out = Vec::new();
            assert_eq!(configuration(&directory.write("c.yaml", text), &mut out).unwrap(), 1);
            let out = String::from_utf8(out).unwrap();
            let expected = format!("c.yaml: this is a {kind}, and not a configuration: put the text of one key ");
            assert!(out.contains(&expected), "{out}");
        }
        let told = |path: &Path| {
            let mut out = Vec::new();
            assert_eq!(configuration(path, &mut out).unwrap(), 1);
            String::from_utf8(out).unwrap()
        };
        let policy = directory.write("p.yaml", GOOD.replace("Cluster", ""));
        let shown = policy.display();
        assert!(
            told(&policy)
                .starts_with(&format!("{shown}: this is an ImagePolicy: check it with portreeve lint {shown}\n"))
        );
        let site = directory.write("site/kustomization.yaml", "kind: Kustomization\n");
        let site = site.parent().unwrap();
        let words =
            format!("{0} is a kustomization, and no directory of configurations: name {0}/site.yaml\n", site.display());
        assert!(told(site).starts_with(&words), "{}", told(site));
        let mut out = Vec::new();
        configuration(&directory.write("c.yaml", "kind: ConfigMap\n"), &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("unknown field \"kind\""));
    }

    #[test]
    fn what_is_not_there_is_a_problem() {
        let mut out = Vec::new();
        let outcome = lint(&[Input::File("/nowhere/at/all".into())], None, &mut out).unwrap();
        assert_eq!(outcome.problems, 1);
        assert_eq!(run(&[]).0.problems, 1);
    }
}
