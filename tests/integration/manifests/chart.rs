//! The Helm chart, rendered by the real helm: the same objects as kustomize makes of the base and the components. Skipped
//! without `helm`, which tests/helm/build makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portreeve_test_support::temp::TempDir;
use serde_json::{Value, json};

use super::sites::{by_name, kustomize};
use super::{WEBHOOKS, array, base, container, documents, find, manifests, parse, root};
use crate::process::{run, skip_for_want_of};
use crate::product::executable;

/// Values with which the chart renders the webhooks, with a certificate of the site's own.
const CALLED: [&str; 2] = ["webHooks.when=always", "UseGeneratedCerts.caCert=a CA"];
/// The same with cert-manager.
const BY_CERT_MANAGER: [&str; 2] = ["webHooks.when=always", "UseCertManager=true"];

#[test]
fn the_files_that_the_chart_reads_are_those_of_the_base() {
    let made = TempDir::new();
    run(Command::new(root().join("tools/chart-files")).arg(made.path()), "").expect(0);
    let texts = |directory: &Path| -> Vec<(String, String)> {
        let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let read =
            |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap());
        files.into_iter().map(read).collect()
    };
    assert_eq!(texts(&chart().join("files")), texts(made.path()), "run tools/chart-files");
}

#[test]
fn the_chart_makes_the_objects_of_the_base() {
    let Some(made) = rendered(&CALLED) else { return };
    let mut expected = without_namespace(base());
    for object in expected.iter_mut().filter(|object| WEBHOOKS.contains(&object["kind"].as_str().unwrap())) {
        for webhook in object["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = json!("YSBDQQ==");
        }
    }
    assert_same(made, expected);
}

#[test]
fn values_make_what_components_make() {
    let compare = |components: &[&str], values: &[&str]| {
        // The chart leaves out cert-manager's namespace, as manifests/sites/cert-manager does.
        let exempt = fs::read_to_string(manifests().join("sites/cert-manager/exempt-namespaces.yaml")).unwrap();
        let exempt = json!({ "target": { "group": "admissionregistration.k8s.io" }, "patch": exempt });
        let components: Vec<String> = components.iter().map(|name| format!("manifests/components/{name}")).collect();
        let site = TempDir::new();
        run(Command::new("cp").arg("-r").arg(manifests()).arg(site.path().join("manifests")), "").expect(0);
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["manifests/base"],
            "components": components,
            "patches": [exempt],
        });
        site.write("kustomization.yaml", kustomization.to_string());
        let (Some(expected), Some(made)) = (kustomize(site.path()), rendered(values)) else { return };
        assert_same(made, without_namespace(expected));
    };
    compare(&["cert-manager"], &BY_CERT_MANAGER);
    let values = [&BY_CERT_MANAGER[..], &["edgeSimplex=true"]].concat();
    compare(&["edge-simplex", "cert-manager"], &values);
    let values = [&BY_CERT_MANAGER[..], &["kubernetesCredentials=true"]].concat();
    compare(&["cert-manager", "api-credentials"], &values);
    let values = [&BY_CERT_MANAGER[..], &["reviewCronJob=true"]].concat();
    compare(&["cert-manager", "review-cronjob"], &values);
    let values = [&BY_CERT_MANAGER[..], &["compareChildren=true", "AllowAdmissionSkip=true"]].concat();
    compare(&["cert-manager", "compare-children", "skip-label"], &values);
}

#[test]
fn values_change_what_they_name() {
    let values = [
        &CALLED[..],
        &[
            "image.host=registry.example.com",
            "image.tag=v9",
            "image.pullSecret=harbor",
            "replicaCount=2",
            "service.port=8443",
            "webHooks.failurePolicy=Ignore",
            "exemptNamespaces={kube-system,storage}",
            "config.trust.whenUnavailable=useCached",
            "podDisruptionBudget.minAvailable=1",
            "priorityClass=",
            "nodeSelector.edge=plant",
        ],
    ]
    .concat();
    let Some(made) = rendered(&values) else { return };
    assert_eq!(container(&made)["image"], "registry.example.com/portreeve:v9");
    let account = find(&made, "ServiceAccount", "portreeve");
    assert_eq!(account["imagePullSecrets"], json!([{ "name": "harbor" }]));
    let spec = &find(&made, "Deployment", "portreeve")["spec"];
    assert_eq!(spec["replicas"], 2);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "edge": "plant", "kubernetes.io/os": "linux" }));
    assert!(pod.get("priorityClassName").is_none());
    let budget = &find(&made, "PodDisruptionBudget", "portreeve")["spec"];
    assert_eq!((&budget["minAvailable"], budget.get("maxUnavailable")), (&json!(1), None));
    assert_eq!(find(&made, "Service", "portreeve")["spec"]["ports"][0]["port"], 8443);
    for kind in WEBHOOKS {
        for webhook in array(&find(&made, kind, "portreeve")["webhooks"]) {
            assert_eq!(webhook["failurePolicy"], "Ignore");
            assert_eq!(webhook["clientConfig"]["service"]["port"], 8443);
        }
        let selector = &find(&made, kind, "portreeve")["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(selector["values"], json!(["portreeve", "kube-system", "storage"]));
    }
    // The site's keys, which Portreeve merges over those of the base.
    assert_eq!(super::configuration(&made), super::configuration(&base()));
    let site = find(&made, "ConfigMap", "portreeve-site-config")["data"]["site.yaml"].as_str().unwrap();
    assert_eq!(parse(site), [json!({ "trust": { "whenUnavailable": "useCached" } })]);
}

#[test]
fn policies_of_the_values_are_policies() {
    let file = TempDir::new();
    let policy = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: { name: site }\nspec: { repositories: [{ name: \"registry.local:9001/*\" }] }\n";
    let policy = file.write("site.yaml", policy);
    let Some(helm) = helm() else { return };
    let mut command = template(&helm, &["clusterPolicy.allowedRepositories[0].name=registry.k8s.io/*"]);
    command.arg("--set-file").arg(format!("policies.site\\.yaml={}", policy.display()));
    let made = parse(&run(&mut command, "").expect(0).stdout);
    let map = find(&made, "ConfigMap", "portreeve-policies");
    assert_eq!(map["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let map = file.write("map.json", map.to_string());
    let checked = run(executable().arg("lint").arg(map), "").expect(0).stdout;
    assert!(checked.contains("2 policies"), "{checked}");
}

#[test]
fn no_webhook_is_made_before_a_replica_is_ready() {
    // Without a cluster to ask, no replica is ready.
    for values in [&[][..], &["UseCertManager=true"], &["webHooks.when=never"]] {
        let Some(made) = rendered(values) else { return };
        assert!(made.iter().all(|object| !WEBHOOKS.contains(&object["kind"].as_str().unwrap())));
        find(&made, "Deployment", "portreeve");
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(helm) = helm() else { return };
    for (value, words) in [
        ("replicas=2", "additional properties 'replicas' not allowed"),
        ("replicaCount=two", "/replicaCount"),
        ("useHostNetwork=true", "additional properties 'useHostNetwork' not allowed"),
        (
            "ObjectSelectorAdmissionSkip.matchLabels.a=b",
            "additional properties 'ObjectSelectorAdmissionSkip' not allowed",
        ),
        ("webHooks.when=sometimes", "/webHooks/when"),
        ("PolicySet=IKS", "/PolicySet"),
        ("webHooks.when=always", "set UseCertManager, or UseGeneratedCerts.caCert"),
        ("UseGeneratedCerts.enabled=true", "UseGeneratedCerts needs caCert"),
    ] {
        let refused = run(&mut template(&helm, &[value]), "").expect(1).stderr;
        assert!(refused.contains(words), "{value}: {refused}");
    }
    let elsewhere = run(Command::new(&helm).args(["template", "portreeve"]).arg(chart()), "").expect(1).stderr;
    assert!(elsewhere.contains("Add --namespace portreeve"), "{elsewhere}");
    let linted = run(Command::new(&helm).args(["lint", "--strict", "--namespace", "portreeve"]).arg(chart()), "");
    assert_eq!(linted.status, Some(0), "{linted:?}");
}

#[test]
fn a_starlingx_application_is_made_of_the_chart() {
    let dir = TempDir::new();
    let archive = dir.path().join("portreeve.tgz");
    let tool = root().join("tools/starlingx-application");
    run(Command::new(&tool).arg(&archive), "").expect(0);
    let app = dir.directory("app");
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&app), "").expect(0);
    run(Command::new("md5sum").args(["--check", "--strict", "checksum.md5"]).current_dir(&app), "").expect(0);
    let version = env!("CARGO_PKG_VERSION");
    let metadata = &documents(&app.join("metadata.yaml"))[0];
    assert_eq!((&metadata["app_name"], &metadata["app_version"]), (&json!("portreeve"), &json!(version)));

    let Some(flux) = kustomize(&app.join("fluxcd-manifests")) else { return };
    let release = find(&flux, "HelmRelease", "portreeve");
    assert_eq!(release["metadata"]["namespace"], "portreeve");
    assert_eq!(release["spec"]["chart"]["spec"]["version"], version);
    for source in array(&release["spec"]["valuesFrom"]) {
        let secret = find(&flux, "Secret", source["name"].as_str().unwrap());
        let texts = [&secret["data"], &secret["stringData"]];
        assert!(texts.iter().any(|texts| texts.get(source["valuesKey"].as_str().unwrap()).is_some()), "{source}");
    }
    // `system application-remove` deletes these objects. The namespace has the policies and keys, so it must not be one of them.
    assert!(flux.iter().all(|object| object["kind"] != "Namespace"), "{flux:?}");
    assert!(flux.iter().all(|object| object["metadata"]["namespace"] == "portreeve"), "{flux:?}");

    let Some(helm) = helm() else { return };
    let mut command = Command::new(helm);
    command.args(["template", "portreeve", "--namespace", "portreeve", "--set", "webHooks.when=always"]);
    command.arg(app.join(format!("charts/portreeve-{version}.tgz")));
    command.arg("--values").arg(app.join("fluxcd-manifests/portreeve/portreeve-static-overrides.yaml"));
    let made = parse(&run(&mut command, "").expect(0).stdout);
    assert_eq!(find(&made, "Deployment", "portreeve")["spec"]["replicas"], 1);
    for kind in WEBHOOKS {
        let selector = &find(&made, kind, "portreeve")["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
        for namespace in ["portreeve", "kube-system", "cert-manager", "flux-helm"] {
            assert!(array(&selector["values"]).contains(&json!(namespace)), "{kind}: {namespace}");
        }
    }
    let again = dir.path().join("again.tgz");
    run(Command::new(&tool).arg(&again), "").expect(0);
    assert!(fs::read(&archive).unwrap() == fs::read(&again).unwrap(), "the same chart, other bytes");
}

fn chart() -> PathBuf {
    manifests().join("chart")
}

/// The objects that the chart makes with these values, without what only a chart has: the annotation that replaces the pods
/// when the configuration changes.
fn rendered(values: &[&str]) -> Option<Vec<Value>> {
    let mut objects = parse(&run(&mut template(&helm()?, values), "").expect(0).stdout);
    objects.iter_mut().for_each(|object| assert_eq!(*managed_by(object), "Helm"));
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        let metadata = object["spec"]["template"]["metadata"].as_object_mut().unwrap();
        let annotations = metadata.remove("annotations").unwrap();
        assert!(annotations["checksum/config"].is_string());
    }
    Some(objects)
}

/// The label of the tool that makes the object.
fn managed_by(object: &mut Value) -> &mut Value {
    &mut object["metadata"]["labels"]["app.kubernetes.io/managed-by"]
}

/// Object by object. kustomize puts a volume that it has changed first; their order means nothing.
#[track_caller]
fn assert_same(made: Vec<Value>, expected: Vec<Value>) {
    let [made, expected] = [made, expected].map(|mut objects| {
        for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
            let volumes = object["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap();
            volumes.sort_by_key(|volume| volume["name"].to_string());
        }
        objects.iter_mut().for_each(|object| *managed_by(object) = Value::Null);
        by_name(objects)
    });
    assert!(made.keys().eq(expected.keys()), "{:?}\n{:?}", made.keys(), expected.keys());
    for (name, object) in &made {
        assert_eq!(*object, expected[name], "{name}");
    }
}

fn template(helm: &Path, values: &[&str]) -> Command {
    let mut command = Command::new(helm);
    command.args(["template", "portreeve"]).arg(chart()).args(["--namespace", "portreeve"]);
    for value in values {
        command.args(["--set", value]);
    }
    command
}

/// The chart has no namespace: `helm install` needs one that exists, with its quota (docs/helm.md).
fn without_namespace(mut objects: Vec<Value>) -> Vec<Value> {
    let count = objects.len();
    objects.retain(|object| object["kind"] != "Namespace" && object["kind"] != "ResourceQuota");
    assert_eq!(objects.len() + 2, count);
    objects
}

/// helm, in the directory that `tests/helm/build` prints. If it is missing, the test is skipped; in CI it fails.
#[track_caller]
pub(crate) fn helm() -> Option<PathBuf> {
    let place = run(Command::new(root().join("tests/helm/build")).arg("--where"), "").expect(0).stdout;
    let helm = Path::new(place.trim()).join("helm");
    if helm.exists() {
        return Some(helm);
    }
    skip_for_want_of("helm (tests/helm/build makes it)");
    None
}
