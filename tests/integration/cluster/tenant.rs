//! A tenant of the cluster: alice, with the built-in role `edit` in a namespace.

use serde_json::{Value, json};

use super::Cluster;
use super::kubectl::Kubectl;
use crate::process::{Run, wait_patiently};

/// An image that alice signed, and an unsigned one.
pub(super) const SIGNED: &str = "registry.local:9001/plant/plc:v1";
pub(super) const UNSIGNED: &str = "registry.local:9001/plant/plc:unsigned";

/// A namespace in which alice has the role `edit`.
pub(super) struct Tenant<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'static str,
}

impl<'a> Tenant<'a> {
    /// Creates it, and waits until the controllers have added the default objects.
    pub(super) fn new(cluster: &'a Cluster, namespace: &'static str) -> Self {
        let admin = cluster.admin();
        admin.ok(&["create", "namespace", namespace]);
        admin.within(namespace).ok(&["create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice"]);
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        wait_patiently("the default ServiceAccount", || cluster.get(&account).is_some());
        Self { cluster, namespace }
    }

    /// kubectl as alice.
    pub(super) fn alice(&self) -> Kubectl {
        self.cluster.control.kubectl("alice").within(self.namespace)
    }

    /// `kubectl create` of an object by alice.
    #[track_caller]
    pub(super) fn create(&self, object: &Value) -> Run {
        self.alice().feed(&["create", "--filename=-"], &object.to_string())
    }

    /// An object of the namespace; `None` if there is none.
    pub(super) fn get(&self, api: &str, path: &str) -> Option<Value> {
        self.cluster.get(&format!("{api}/namespaces/{}/{path}", self.namespace))
    }

    /// The Pods of the namespace.
    pub(super) fn pods(&self) -> Vec<Value> {
        self.get("/api/v1", "pods").unwrap()["items"].as_array().unwrap().clone()
    }

    /// Waits until this number of Pods has this owner.
    #[track_caller]
    pub(super) fn pods_of(&self, kind: &str, count: usize) -> Vec<Value> {
        let owned = || -> Vec<Value> {
            let is_owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["kind"] == kind;
            self.pods().into_iter().filter(is_owned).collect()
        };
        wait_patiently(&format!("{count} pods of a {kind} in {}", self.namespace), || owned().len() == count);
        owned()
    }

    /// Waits for this controller's first request for a resource. Fails the test unless all of its requests were exempt
    /// as children of this kind of owner.
    #[track_caller]
    pub(super) fn made_by(&self, controller: &str, resource: &str, owner: &str) {
        let made = || -> Vec<Value> {
            let all = self.cluster.decided(self.namespace, resource, "create").into_iter();
            all.filter(|(user, _)| user == controller).map(|(_, annotations)| annotations).collect()
        };
        wait_patiently(&format!("{controller} to make {resource}"), || !made().is_empty());
        for annotations in made() {
            assert_eq!(annotations["decision"], "allowed", "{annotations}");
            let exempt = annotations["exempt"].as_str().unwrap_or_default();
            assert!(exempt.starts_with(&format!("made by a trusted controller for {owner} ")), "{annotations}");
        }
    }
}

/// The images in all lists of a Pod's spec.
pub(super) fn images(spec: &Value) -> Vec<&str> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists
        .iter()
        .flat_map(|list| spec[list].as_array().into_iter().flatten())
        .map(|container| container["image"].as_str().unwrap())
        .collect()
}

/// A Pod template with one container.
pub(super) fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "plc" } },
        "spec": { "containers": [{ "name": "plc", "image": image }] },
    })
}

/// An object of this kind.
pub(super) fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A selector for the Pods of [`template`].
pub(super) fn selector() -> Value {
    json!({ "matchLabels": { "app": "plc" } })
}
