//! The Prometheus operator's CustomResourceDefinitions, with their schemas, in the real API server: what the component
//! `monitoring-operator` brings has only fields that the operator knows. The operator itself does not run.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Cluster;
use crate::process::{run, skip_for_want_of};

/// The definitions of PodMonitor and PrometheusRule, which the program prints that `tests/operator/build` makes. If it is missing,
/// what needs it is skipped; in CI it fails.
#[track_caller]
pub(super) fn definitions() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/build");
    let places = run(Command::new(script).arg("--where"), "").expect(0).stdout;
    let program = places.lines().map(|place| Path::new(place).join("operator-crds")).find(|path| path.exists());
    if program.is_none() {
        skip_for_want_of("the Prometheus operator's definitions (tests/operator/build makes them)");
    }
    Some(run(&mut Command::new(program?), "").expect(0).stdout)
}

/// The API server holds the component's objects against the schemas: it refuses each with one field changed.
pub(super) fn slips_are_refused(cluster: &Cluster) {
    let site = &cluster.installation;
    let apply = |name: &str, patches: &[Value]| {
        let directory =
            site.kustomization(name, "manifests/base", &["manifests/components/monitoring-operator"], patches);
        let kustomize = ["apply", "--kustomize", directory.to_str().unwrap()];
        cluster.admin().run(&[&kustomize[..], &["--dry-run=server", "--validate=strict"]].concat())
    };
    let sound = apply("operator", &[]);
    for kind in ["podmonitor", "prometheusrule"] {
        let created = format!("{kind}.monitoring.coreos.com/portreeve created (server dry run)");
        assert!(sound.stdout.contains(&created) && sound.stderr.is_empty(), "{sound:?}");
    }
    for (kind, path, value, words) in [
        ("PodMonitor", "/spec/podMetricEndpoints", json!([]), "unknown field \"spec.podMetricEndpoints\""),
        ("PodMonitor", "/spec/podMetricsEndpoints/0/interval", json!("often"), "spec.podMetricsEndpoints[0].interval"),
        (
            "PrometheusRule",
            "/spec/groups/0/rules/0/summary",
            json!("x"),
            "unknown field \"spec.groups[0].rules[0].summary\"",
        ),
        ("PrometheusRule", "/spec/groups/0/rules/0/for", json!("a while"), "spec.groups[0].rules[0].for"),
    ] {
        let patch = json!([{ "op": "add", "path": path, "value": value }]).to_string();
        let refused = apply("operator-slip", &[json!({ "target": { "kind": kind }, "patch": patch })]).expect(1);
        assert!(refused.stderr.contains(words), "no {words} in {refused:?}");
    }
}
