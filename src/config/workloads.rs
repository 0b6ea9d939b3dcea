//! `admission.workloads`: the kinds of custom resources that have a pod template. A mistake is an error with its place: a kind
//! that is misspelt would be verified nowhere.

use super::ConfigError;
use super::check::Checker;
use crate::admission::custom::{CustomKind, CustomKinds, WhenAbsent};
use crate::yaml::YamlError;
use crate::yaml::tree::{Node, Value};
use portreeve_verify::text::printable;

/// The kinds of the list; none if it is absent.
pub(super) fn read(read: &Checker<'_>) -> Result<CustomKinds, ConfigError> {
    let Some(list) = read.find("admission.workloads") else { return Ok(CustomKinds::default()) };
    let Value::List(entries) = &list.value else { return Ok(CustomKinds::default()) };
    let wrong = |node: &Node, message: String| {
        let source = YamlError { line: node.at.line, column: node.at.column, message, hint: None };
        ConfigError::Syntax { file: read.file("admission.workloads"), source }
    };
    let mut kinds = Vec::new();
    for entry in entries {
        let required = |key: &'static str| {
            let missing = || {
                wrong(
                    entry,
                    ["an entry of admission.workloads needs group, kind and podSpec; it has no ", key].concat(),
                )
            };
            entry.get(key).and_then(Node::text).ok_or_else(missing)
        };
        let refused = |(key, expected): (&'static str, &'static str)| {
            let node = entry.get(key).unwrap_or(entry);
            let found = printable(node.text().unwrap_or_default(), 120);
            wrong(node, ["admission.workloads: ", key, ": found \"", &found, "\", expected ", expected].concat())
        };
        let mut kind = CustomKind::new(required("group")?, required("kind")?, required("podSpec")?).map_err(refused)?;
        if let Some(plural) = entry.get("resource").and_then(Node::text) {
            kind = kind.named(plural).map_err(refused)?;
        }
        if entry.get("whenAbsent").and_then(Node::text) == Some("allow") {
            kind = kind.when_absent(WhenAbsent::Allow);
        }
        kinds.push(kind);
    }
    CustomKinds::new(kinds).map_err(|expected| wrong(list, ["admission.workloads: expected ", expected].concat()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;

    const ROLLOUT: &str = "{group: argoproj.io, kind: Rollout, podSpec: /spec/template/spec}";

    fn list(entries: &str) -> Result<Config, String> {
        Config::parse(&format!("admission:\n  workloads: [{entries}]\n"), Path::new("f")).map_err(|e| e.to_string())
    }

    #[test]
    fn kinds_are_read() {
        let more = "{group: serving.knative.dev, kind: Revision, podSpec: /spec}";
        let whole = "{group: a.b, kind: X, podSpec: /spec/a~1b/c~0d, resource: xes, whenAbsent: allow}";
        let kinds = list(&format!("{ROLLOUT}, {more}, {whole}")).unwrap().custom_kinds;
        for (group, kind, known) in [
            ("argoproj.io", "Rollout", true),
            ("argoproj.io", "rollout", false),
            ("argoproj.io", "Revision", false),
            ("serving.knative.dev", "Revision", true),
            ("a.b", "X", true),
            ("apps", "Rollout", false),
            ("", "Rollout", false),
            ("apps", "Deployment", true),
        ] {
            assert_eq!(kinds.kind(group, kind).is_some(), known, "{group} {kind}");
        }
        assert!(list("").unwrap().custom_kinds.kind("argoproj.io", "Rollout").is_none());
    }

    #[test]
    fn mistakes_are_errors_with_their_place() {
        let entry =
            |group: &str, kind: &str, path: &str| format!("{{group: \"{group}\", kind: {kind}, podSpec: \"{path}\"}}");
        let path = |path: &str| entry("a.b", "X", path);
        for (entries, expected) in [
            (
                "{kind: X, podSpec: /spec}".to_owned(),
                "f:2:15: an entry of admission.workloads needs group, kind and podSpec; it has no group",
            ),
            ("{group: a.b, podSpec: /spec}".to_owned(), "it has no kind"),
            ("{group: a.b, kind: X}".to_owned(), "it has no podSpec"),
            ("{group: a.b, kind: X, podspec: /spec}".to_owned(), "did you mean \"podSpec\"?"),
            (format!("{ROLLOUT}, {ROLLOUT}"), "f:2:14: admission.workloads: expected each kind once"),
            (
                entry("apps", "Deployment", "/spec/template/spec"),
                "kind: found \"Deployment\", expected a custom resource's kind",
            ),
            (entry("", "Pod", "/spec"), "kind: found \"Pod\", expected a custom resource's kind"),
            (entry("apps", "Rollout", "/spec"), "group: found \"apps\", expected the API group of a custom resource"),
            (entry("argoproj.io/v1alpha1", "Rollout", "/spec"), "without its version"),
            (entry("Argoproj.io", "Rollout", "/spec"), "group: "),
            (entry("a.b", "rollout", "/spec"), "kind: found \"rollout\", expected a kind such as Rollout"),
            (entry("a.b", "\"X y\"", "/spec"), "a kind such as Rollout"),
            (
                path("spec.template.spec"),
                "podSpec: found \"spec.template.spec\", expected a JSON pointer such as /spec/template/spec",
            ),
            (path(""), "a JSON pointer"),
            (path("/"), "a JSON pointer"),
            (path("/spec/"), "a JSON pointer"),
            (path("/spec/a~2"), "a JSON pointer"),
            (path("/spec/a~"), "a JSON pointer"),
            (path("/spec/sets/0/template/spec"), "a path without elements of lists"),
            (path("/spec/-"), "a path without elements of lists"),
            (path("/status/template"), "a path in what users write"),
            (path(&"/a".repeat(17)), "a shorter path"),
            (path(&"/abcdefgh".repeat(40)), "a JSON pointer"),
            (ROLLOUT.replace('}', ", resource: a/b}"), "resource: found \"a/b\", expected the name in URLs"),
            (ROLLOUT.replace('}', ", whenAbsent: never}"), "unknown value \"never\""),
            (
                (0..65).map(|i| format!("{{group: a.b, kind: X{i}, podSpec: /spec}}")).collect::<Vec<_>>().join(", "),
                "expected at most 64 kinds",
            ),
        ] {
            let error = list(&entries).unwrap_err();
            assert!(error.contains(expected), "{entries}: {error}");
        }
    }
}
