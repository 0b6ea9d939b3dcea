//! What `portreeve review` takes and prints: files, directories and what only looks like manifests, objects that the webhooks
//! leave out, names in JSON, the summary, the width of a terminal.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::pki::Pki;
use crate::process::run;
use crate::product::Site;
use crate::review::{pod, policy_for};

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const BAD_INPUT: i32 = 2;
const UNDECIDED: i32 = 3;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: plc, namespace: line-1 }\n";

/// A site that lets in what is below `registry.local:9001/open/`, denies `…/closed/`, and asks a server that does not answer for
/// `…/plant/`.
fn site() -> Site {
    let site = Site::with_server(&Pki::new(), "https://127.0.0.1:1");
    let open = policy_for("registry.local:9001/open/*", json!({ "enabled": false }));
    let mut closed = policy_for("registry.local:9001/closed/*", json!({}));
    closed["metadata"]["name"] = json!("closed");
    closed["spec"]["repositories"][0]["policy"] = json!({ "deny": { "message": "use the mirror" } });
    let mut plant = policy_for("registry.local:9001/plant/*", json!({ "enabled": true }));
    plant["metadata"]["name"] = json!("signed");
    let mut warned = closed.clone();
    warned["metadata"]["name"] = json!("warned");
    warned["spec"]["repositories"][0] = json!({
        "name": "registry.local:9001/warned/*", "policy": { "mode": "warn", "trust": { "enabled": true } },
    });
    site.policies(&[open, closed, plant, warned]);
    site
}

/// A Deployment with one image of a folder.
fn deployment(namespace: &str, name: &str, folder: &str) -> Value {
    let container = json!({ "name": "c", "image": format!("registry.local:9001/{folder}/plc:v1") });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": { "template": { "spec": { "containers": [container] } } },
    })
}

fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

fn review(site: &Site, args: &[&str], input: &str) -> crate::process::Run {
    run(&mut site.command("review", &[args, &["-"]].concat()), input)
}

/// F9: `kubectl get deployments -A -o yaml | portreeve review -` has Portreeve's own Deployment in it.
#[test]
fn objects_that_no_webhook_is_asked_about_are_skipped() {
    let site = site();
    let cluster = list(&[
        deployment("portreeve", "portreeve", "closed"),
        deployment("kube-system", "dns", "closed"),
        deployment("line-1", "plc", "open"),
    ]);
    let told = review(&site, &[], &cluster).expect(DENIED).stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "skipped  Deployment portreeve/portreeve: namespace portreeve is Portreeve's own, which is exempt"
    );
    assert!(lines[1].starts_with("denied   Deployment kube-system/dns: container \"c\""), "{told}");
    assert!(lines[2].starts_with("allowed  Deployment line-1/plc: "), "{told}");
    assert_eq!(
        lines[3],
        "3 objects reviewed: 1 allowed".replace('3', "2")
            + ", 0 let in with a warning, 1 denied, 0 undecided; 1 skipped"
    );
    // The site's own webhooks leave out more. The plain manifest has them.
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/portreeve.yaml")).unwrap();
    let more = site.file("webhooks.yaml", &manifest.replace("values: [portreeve]", "values: [portreeve, kube-system]"));
    let told = review(&site, &["--webhooks", more.to_str().unwrap()], &cluster).expect(ALLOWED).stdout;
    let exempt =
        "skipped  Deployment kube-system/dns: namespace kube-system is exempt by the webhooks' namespaceSelector";
    assert!(told.contains(exempt), "{told}");
    // Labels of namespaces count if they are known, and what is reviewed exempts nothing.
    let label = manifest
        .replace("operator: NotIn\n          values: [portreeve]", "operator: Exists")
        .replace("kubernetes.io/metadata.name\n          operator: Exists", "checked\n          operator: Exists");
    assert_ne!(label, manifest);
    let namespaces = |dns: Value| {
        let namespace = |name: &str, labels: &Value| {
            let metadata = json!({ "name": name, "labels": labels });
            format!("\n---\n{}\n", json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
        };
        [label.as_str(), &namespace("kube-system", &dns), &namespace("portreeve", &json!({}))].concat()
    };
    let file = site.file("by-label.yaml", &namespaces(json!({})));
    let told = review(&site, &["--webhooks", file.to_str().unwrap()], &cluster).expect(ALLOWED).stdout;
    assert!(told.contains("skipped  Deployment kube-system/dns"), "{told}");
    assert!(told.contains("allowed  Deployment line-1/plc"), "a namespace whose labels are not known: {told}");
    let file = site.file("by-label.yaml", &namespaces(json!({ "checked": "yes" })));
    review(&site, &["--webhooks", file.to_str().unwrap()], &cluster).expect(DENIED);
    let claim = [&fs::read_to_string(&more).unwrap(), "\n---\n", &cluster].concat();
    review(&site, &[], &claim).expect(DENIED);
    // A file without webhooks would exempt nothing, and is not what was meant.
    let file = site.file("none.yaml", SERVICE);
    let told = review(&site, &["--webhooks", file.to_str().unwrap()], &cluster).expect(BAD_INPUT).stderr;
    assert!(told.contains("has no webhook whose path is /admit or /validate"), "{told}");
}

/// Each line is an AdmissionReview with a response, as before, and names its object where a request does.
#[test]
fn json_names_every_object() {
    let site = site();
    let service =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "plc", "namespace": "line-1" } });
    let mut unnamed = pod("registry.local:9001/open/plc:v1");
    unnamed["metadata"] = json!({ "generateName": "job-" });
    let mut undecodable = deployment("line-1", "broken", "open");
    undecodable["spec"]["template"]["spec"]["containers"][0]["image"] = json!(7);
    let input = list(&[
        deployment("portreeve", "portreeve", "closed"),
        deployment("line-1", "plc", "open"),
        deployment("line-1", "hmi", "closed"),
        service,
        unnamed,
        undecodable,
    ]);
    let run = review(&site, &["--output", "json", "--namespace", "line-2"], &input).expect(DENIED);
    assert_eq!(run.stderr, "");
    let answers: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(
                (&answer["apiVersion"], &answer["kind"]),
                (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
            );
            let (request, response) = (&answer["request"], &answer["response"]);
            assert_eq!(request["uid"], response["uid"]);
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let object = [&request["kind"]["group"], &request["kind"]["kind"], &request["namespace"], &request["name"]];
            let skipped = &response["auditAnnotations"]["skipped"];
            (object.map(text).join(" "), response["allowed"].as_bool().unwrap(), !skipped.is_null())
        })
        .collect();
    let expected = [
        ("apps Deployment portreeve portreeve", true, true),
        ("apps Deployment line-1 plc", true, false),
        ("apps Deployment line-1 hmi", false, false),
        (" Service line-1 plc", true, true),
        (" Pod line-2 job-", true, false),
        ("apps Deployment line-1 broken", false, false),
    ];
    assert_eq!(told, expected.map(|(object, allowed, skipped)| (object.to_owned(), allowed, skipped)));
}

#[test]
fn a_directory_is_read_and_nothing_to_decide_is_no_error() {
    let site = site();
    let write = |name: &str, text: &str| site.file(&format!("k8s/{name}"), text);
    let directory: PathBuf = write("b-service.yaml", SERVICE).parent().unwrap().to_owned();
    write("a-deployment.json", &deployment("line-1", "plc", "open").to_string());
    write("c-notes.yml", "# nothing yet\n---\n");
    write("README.md", "{{ not yaml");
    let told = site.review(&[], &directory).expect(ALLOWED);
    assert_eq!(told.stderr, "");
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[0].starts_with("allowed  Deployment line-1/plc: "), "{told:?}");
    assert!(
        lines[1].starts_with("nothing  ")
            && lines[1].ends_with("b-service.yaml: has no workload and no AdmissionReview"),
        "{told:?}"
    );
    assert_eq!(lines[2], "skipped  Service line-1/plc: kind Service is not one that Portreeve checks");
    assert!(lines[3].ends_with("c-notes.yml: has no workload and no AdmissionReview"), "{told:?}");
    assert_eq!(lines[4], "1 object reviewed: 1 allowed, 0 let in with a warning, 0 denied, 0 undecided; 1 skipped");
    // As a shell expands k8s/*.yaml: a file of Services beside one with a workload.
    let service = directory.join("b-service.yaml");
    run(site.command("review", &[]).arg(&service).arg(directory.join("a-deployment.json")), "").expect(ALLOWED);
    // Nothing at all was decided.
    let told = site.review(&[], &service).expect(BAD_INPUT).stderr;
    assert!(told.contains("there was nothing to decide"), "{told}");
    for nothing in ["", "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}"] {
        review(&site, &[], nothing).expect(BAD_INPUT);
    }
    // A file that cannot be read counts, whatever the others say.
    write("d.yaml", "a: [");
    let told = site.review(&[], &directory).expect(BAD_INPUT);
    assert!(told.stderr.contains("d.yaml: 1:") && told.stdout.contains("1 object reviewed"), "{told:?}");
    // And the last line that people see says it, as the file does that they find later.
    let summary = site.file("summary", "");
    let mut both = site.command("review", &["--summary", summary.to_str().unwrap(), "/no/such.yaml"]);
    let told = run(both.arg(directory.join("a-deployment.json")), "").expect(BAD_INPUT);
    assert!(told.stderr.contains("/no/such.yaml: "), "{told:?}");
    assert!(told.stdout.ends_with(" 0 skipped; 1 input not read\n"), "{told:?}");
    assert!(fs::read_to_string(&summary).unwrap().ends_with("; 1 input not read\nnot read: /no/such.yaml\n"));
    fs::remove_file(directory.join("d.yaml")).unwrap();
    // Directories in it are named, and read if they are named.
    write("more/deployment.yaml", &deployment("line-1", "hmi", "closed").to_string());
    let told = site.review(&[], &directory).expect(ALLOWED).stdout;
    assert!(told.contains("more: directories in a directory are not read: name it as well"), "{told}");
    run(site.command("review", &[]).arg(&directory).arg(directory.join("more")), "").expect(DENIED);
}

#[test]
fn the_source_of_manifests_is_told_from_manifests() {
    let site = site();
    let template = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ include \"plc.name\" . }}\n";
    let template = site.file("chart/templates/deployment.yaml", template);
    let chart = site.file("chart/Chart.yaml", "apiVersion: v2\nname: plc\nversion: 1.0.0\n");
    let values = site.file("chart/values.yaml", "image: registry.local:9001/open/plc:v1\n");
    let kustomization = site.file("kustomize/kustomization.yaml", "resources: [deployment.yaml]\n");
    site.file("kustomize/deployment.yaml", &deployment("line-1", "plc", "open").to_string());
    let directory = |file: &PathBuf| file.parent().unwrap().to_owned();
    for path in [&template, &chart, &values, &directory(&chart), &directory(&template)] {
        let told = site.review(&[], path).expect(BAD_INPUT).stderr;
        assert!(told.contains("helm template CHART | portreeve review -"), "{told}");
    }
    for path in [&kustomization, &directory(&kustomization)] {
        let told = site.review(&[], path).expect(BAD_INPUT).stderr;
        assert!(told.contains("kubectl kustomize DIR | portreeve review -"), "{told}");
    }
}

#[test]
fn the_summary_can_be_a_termination_message() {
    let site = site();
    let input = list(&[
        deployment("line-1", "plc", "closed"),
        deployment("line-1", "hmi", "plant"),
        deployment("line-1", "scada", "warned"),
        deployment("portreeve", "portreeve", "closed"),
    ]);
    let file = site.file("summary", "");
    let arguments = ["--output", "json", "--summary", file.to_str().unwrap()];
    review(&site, &arguments, &input).expect(DENIED);
    let summary = fs::read_to_string(&file).unwrap();
    assert_eq!(
        summary,
        "3 objects reviewed: 0 allowed, 1 let in with a warning, 1 denied, 1 undecided; 1 skipped\n\
         denied Deployment line-1/plc\nundecided Deployment line-1/hmi\n"
    );
    let told = review(&site, &[], &list(&[deployment("line-1", "hmi", "plant")])).expect(UNDECIDED).stdout;
    assert!(told.starts_with("undecided Deployment line-1/hmi: container \"c\""), "{told}");
    let told = review(&site, &["--summary", "/nowhere/at/all"], &input).expect(BAD_INPUT);
    assert!(told.stderr.contains("/nowhere/at/all: the summary cannot be written"), "{told:?}");
}

/// A workload whose kind nobody knows is not checked, and that must be seen.
#[test]
fn a_kind_that_is_not_checked_is_told() {
    let site = site();
    let mut rollout = deployment("line-1", "plc", "closed");
    rollout["apiVersion"] = json!("argoproj.io/v1alpha1");
    rollout["kind"] = json!("Rolout");
    let role =
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "r" } });
    let input = list(&[rollout, role, deployment("line-1", "hmi", "open")]);
    let file = site.file("summary", "");
    let told = review(&site, &["--summary", file.to_str().unwrap()], &input).expect(ALLOWED).stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "skipped  Rolout line-1/plc: kind Rolout.argoproj.io is not one that Portreeve checks; it has a pod template: if it is \
         a workload, name its kind under admission.workloads"
    );
    // No namespace is named for an object that may have none.
    assert_eq!(
        lines[1],
        "skipped  ClusterRole r: kind ClusterRole.rbac.authorization.k8s.io is not one that Portreeve checks"
    );
    let summary = "1 object reviewed: 1 allowed, 0 let in with a warning, 0 denied, 0 undecided; 2 skipped, 1 of them probably \
                   a workload";
    assert_eq!(lines[3], summary);
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(written, [summary, "\nnot checked: Rolout line-1/plc\n"].concat());
    let told = review(&site, &["--output", "json"], &input).expect(ALLOWED).stdout;
    let answers: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let why = answers[0]["response"]["auditAnnotations"]["skipped"].as_str().unwrap();
    assert!(why.starts_with("kind Rolout.argoproj.io is not one that Portreeve checks; "), "{why}");
    assert_eq!(answers[1]["request"].get("namespace"), None);
}

/// A workstation has no signers' Secrets, so that nobody can say there whether an image is signed.
#[test]
fn keys_that_are_not_on_this_machine_leave_it_undecided() {
    let mut site = site();
    let secrets = json!([{ "name": "alice-key" }]);
    let mut trust = policy_for("registry.local:9001/open/*", json!({ "enabled": true, "signerSecrets": secrets }));
    let mut cosign = trust.clone();
    cosign["metadata"]["name"] = json!("cosign");
    cosign["spec"]["repositories"][0] =
        json!({ "name": "registry.local:9001/closed/*", "policy": { "cosign": { "signerSecrets": secrets } } });
    for policy in [&mut trust, &mut cosign] {
        policy["kind"] = json!("ImagePolicy");
        policy["metadata"]["namespace"] = json!("line-1");
    }
    site.policies(&[trust, cosign]);
    let file = site.file("secrets.yaml", &list(&["open", "closed"].map(|folder| deployment("line-1", "plc", folder))));
    let told = site.review(&[], &file).expect(DENIED).stdout;
    assert_eq!(told.matches("is not mounted: mount it into Portreeve's pod").count(), 2, "{told}");
    site.config["secrets"] = json!("/no/such");
    let words = "unavailable: the signer's Secret line-1/alice-key is not on this machine (/no/such does not exist): name a \
                 directory with the keys in a --config: secrets";
    let told = site.review(&[], &file).expect(UNDECIDED).stdout;
    assert_eq!(told.matches(words).count(), 2, "{told}");
    let image = "registry.local:9001/open/plc:v1";
    let told = run(&mut site.command("check", &["--namespace", "line-1", image]), "").expect(UNDECIDED).stdout;
    assert!(told.contains("the signer's Secret line-1/alice-key is not on this machine"), "{told}");
}

/// The API server would refuse them, or drop the field. No image of them was looked at.
#[test]
fn a_workload_without_an_image_is_suspicious() {
    let mut container = deployment("line-1", "a", "closed");
    let spec = container["spec"]["template"]["spec"].as_object_mut().unwrap();
    let containers = spec.remove("containers").unwrap();
    spec.insert("container".to_owned(), containers);
    let mut image = deployment("line-1", "b", "closed");
    image["spec"]["template"]["spec"]["containers"] =
        json!([{ "name": "c", "imag": "registry.local:9001/closed/plc:v1" }]);
    let told = review(&site(), &[], &list(&[container, image])).expect(ALLOWED).stdout;
    for name in ["a", "b"] {
        let line = format!("allowed  Deployment line-1/{name}: names no image; is `containers` or `image` misspelt?\n");
        assert!(told.contains(&line), "{told}");
    }
}

/// `script` gives the command a terminal of a known width.
#[test]
fn no_line_is_wider_than_the_terminal() {
    let site = site();
    let file = site.file("deployment.json", &deployment("line-1", "plc", "closed").to_string());
    let plain = site.review(&[], &file).expect(DENIED).stdout;
    assert!(plain.lines().any(|line| line.len() > 100), "{plain}");
    let mut command = site.command("review", &[]);
    command.arg(&file);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let script = format!("stty cols 60 rows 24 && exec {}", words.join(" "));
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &script, "/dev/null"]).env("SHELL", "/bin/sh");
    let shown = run(&mut terminal, "").expect(DENIED).stdout.replace('\r', "");
    assert!(shown.lines().count() > plain.lines().count(), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 60), "{shown}");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&shown), words(&plain));
}
