//! Another mutating webhook, called after Portreeve, adds a container to every Pod. The added image is checked as well
//! (Portieris' fault 3), because the API server calls Portreeve again.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Cluster;
use super::tenant::{SIGNED, UNSIGNED, images, object, template};
use crate::https::{HttpsServer, Reply, Request};
use crate::plant::{HMI, PLC};
use crate::process::{wait_patiently, wait_until};
use crate::review::pinned;

/// A webhook that adds a container to the Pods of a namespace, until it is dropped.
struct Injector<'a> {
    cluster: &'a Cluster,
    _server: HttpsServer,
}

impl<'a> Injector<'a> {
    fn start(cluster: &'a Cluster, namespace: &str) -> Self {
        let server = HttpsServer::start(&cluster.plant.pki, inject);
        let configuration = configuration(cluster, &server.url(), namespace);
        cluster.admin().feed(&["create", "--filename=-"], &configuration.to_string()).expect(0);
        Self { cluster, _server: server }
    }
}

impl Drop for Injector<'_> {
    fn drop(&mut self) {
        self.cluster.admin().run(&["delete", "mutatingwebhookconfiguration", "sidecar"]);
    }
}

fn configuration(cluster: &Cluster, url: &str, namespace: &str) -> Value {
    let ca = STANDARD.encode(fs::read(cluster.plant.pki.ca()).unwrap());
    let webhook = json!({
        "name": "sidecar.example.com",
        "clientConfig": { "url": format!("{url}/inject"), "caBundle": ca },
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "sidecar" }, // webhooks are called in the order of their names
        "webhooks": [webhook],
    })
}

pub(super) fn a_later_webhook(cluster: &Cluster) {
    let tenant = cluster.tenant("sidecars");
    let signed = format!("{HMI}:v1");
    let _injector = Injector::start(cluster, "sidecars");
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
}

/// The same for a Pod that a controller creates: by default its images count as its owner's. With `admission.children:
/// compare` Portreeve reads the owner, and verifies the images that its template does not have.
pub(super) fn injected_into_a_child(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin());
    let tenant = cluster.tenant("injected");
    let _injector = Injector::start(cluster, "injected");
    // The tenant chooses the image by an annotation.
    let deployment = |name: &str, sidecar: Option<&str>| {
        let mut template = template(SIGNED);
        template["metadata"]["labels"]["app"] = json!(name);
        if let Some(image) = sidecar {
            template["metadata"]["annotations"] = json!({ "sidecar": image });
        }
        let selector = json!({ "matchLabels": { "app": name } });
        tenant
            .create(&object("apps/v1", "Deployment", name, json!({ "selector": selector, "template": template })))
            .expect(0);
    };
    let pods = |name: &str| -> Vec<Value> {
        tenant.pods().into_iter().filter(|pod| pod["metadata"]["labels"]["app"] == name).collect()
    };
    let [plc, hmi] = [pinned(PLC, &cluster.plant.plc), pinned(HMI, &cluster.plant.hmi)];
    // The API server takes a moment to know of it.
    let mut tries = 0;
    wait_patiently("an unsigned container to run", || {
        tries += 1;
        let name = format!("trusted-{tries}");
        deployment(&name, Some(UNSIGNED));
        wait_patiently("the pod", || pods(&name).len() == 1);
        images(&pods(&name)[0]["spec"]) == [&plc, UNSIGNED]
    });

    let part = |name: &str| site.manifests(&format!("components/compare-children/{name}"));
    admin.ok(&["apply", "--filename", part("rights.yaml").to_str().unwrap()]);
    let patch = part("deployment.yaml");
    cluster.admin().within("portreeve").ok(&[
        "patch",
        "deployment",
        "portreeve",
        "--type=json",
        "--patch-file",
        patch.to_str().unwrap(),
    ]);
    site.stop();
    site.serve(&cluster.control);

    deployment("denied", Some(UNSIGNED));
    let told = || {
        tenant.alice().ok(&["get", "events", "--field-selector=reason=FailedCreate", "--output=jsonpath={..message}"])
    };
    wait_patiently("the controller to be refused", || {
        told().contains("1 of 1 image is not trusted (only images in the template of ReplicaSet injected/denied-")
    });
    assert!(
        told().contains("container \"sidecar\", image registry.local:9001/plant/plc:unsigned: rejected: "),
        "{}",
        told()
    );
    assert!(pods("denied").is_empty());

    deployment("signed", Some(&format!("{HMI}:v1")));
    wait_patiently("the signed container to run", || pods("signed").len() == 1);
    assert_eq!(images(&pods("signed")[0]["spec"]), [&plc, &hmi]);
    // Without the annotation, the Pod is an exempt child of its owner.
    deployment("plain", None);
    wait_patiently("the pod without it", || pods("plain").len() == 1);
    assert_eq!(images(&pods("plain")[0]["spec"]), [&plc]);
    tenant.alice().ok(&["create", "job", "plc", "--image", SIGNED]);
    let children = || -> Vec<Value> {
        let of_pods = cluster.decided("injected", "pods", "create").into_iter();
        of_pods.map(|(_, annotations)| annotations).filter(|annotations| annotations["exempt"].is_string()).collect()
    };
    let of = |kind: &str| children().iter().any(|child| child["exempt"].as_str().unwrap().contains(kind));
    wait_patiently("a Job's pod", || of("Job "));
    assert!(of("ReplicaSet plain-"));

    // Back to the first configuration.
    admin.ok(&["delete", "--filename", part("rights.yaml").to_str().unwrap()]);
    let args = "[{\"op\":\"remove\",\"path\":\"/spec/template/spec/containers/0/args/4\"}]";
    cluster.admin().within("portreeve").ok(&["patch", "deployment", "portreeve", "--type=json", "--patch", args]);
    site.stop();
    site.serve(&cluster.control);
}

/// Adds the sidecar that the Pod's annotation names, once.
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
