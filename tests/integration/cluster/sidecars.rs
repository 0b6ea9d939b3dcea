//! Another mutating webhook, after Portreeve, that puts a container into every pod: what it adds is looked at as well
//! (Portieris' fault 3), for the API server calls Portreeve again.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Cluster;
use super::tenant::{SIGNED, UNSIGNED, images};
use crate::https::{HttpsServer, Reply, Request};
use crate::plant::{HMI, PLC};
use crate::process::wait_until;
use crate::review::pinned;

pub(super) fn a_later_webhook(cluster: &Cluster) {
    let tenant = cluster.tenant("sidecars");
    let signed = format!("{HMI}:v1");
    let injector = HttpsServer::start(&cluster.plant.pki, inject);
    let ca = STANDARD.encode(fs::read(cluster.plant.pki.ca()).unwrap());
    let webhook = json!({
        "name": "sidecar.example.com",
        "clientConfig": { "url": format!("{}/inject", injector.url()), "caBundle": ca },
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "sidecars" } },
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
    });
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "sidecar" }, // they are called in the order of their names
        "webhooks": [webhook],
    });
    cluster.admin().feed(&["create", "--filename=-"], &configuration.to_string()).expect(0);

    let run = |name: &str, sidecar: &str| {
        let annotation = format!("--annotations=sidecar={sidecar}");
        tenant.alice().run(&["run", name, "--image", SIGNED, &annotation])
    };
    let [plc, hmi] = [pinned(PLC, &cluster.plant.plc), pinned(HMI, &cluster.plant.hmi)];
    let spec = |name: &str| tenant.get("/api/v1", &format!("pods/{name}")).unwrap()["spec"].clone();
    // The API server takes a moment to know of it.
    let mut tries = 0;
    wait_until("the sidecar to be put in, and pinned", || {
        tries += 1;
        let name = format!("plc-{tries}");
        run(&name, &signed).expect(0);
        images(&spec(&name)) == [&plc, &hmi]
    });
    let refused = run("bad", UNSIGNED).expect(1).stderr;
    assert!(
        refused.contains(".portreeve.svc\" denied the request: portreeve denied Pod sidecars/bad: 1 of 2 images is"),
        "{refused}"
    );
    assert!(refused.contains("container \"sidecar\", image registry.local:9001/plant/plc:unsigned"), "{refused}");
    assert_eq!(tenant.get("/api/v1", "pods/bad"), None);
    cluster.admin().ok(&["delete", "mutatingwebhookconfiguration", "sidecar"]);
}

/// Puts in the sidecar that the pod's annotation names, once.
fn inject(request: &Request) -> Reply {
    let review: Value = serde_json::from_str(&request.body).unwrap();
    let pod = &review["request"]["object"];
    let image = &pod["metadata"]["annotations"]["sidecar"];
    let mut response = json!({ "uid": review["request"]["uid"], "allowed": true });
    if image.is_string() && pod["spec"]["containers"].as_array().unwrap().len() == 1 {
        let container = json!({ "name": "sidecar", "image": image });
        let patch = json!([{ "op": "add", "path": "/spec/containers/-", "value": container }]).to_string();
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(patch));
    }
    Reply::json(200, json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}
