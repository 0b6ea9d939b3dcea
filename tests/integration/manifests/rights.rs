//! The rights that the optional components grant: GETs of named kinds, and nothing else. The base grants none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{array, base, documents, find, manifests};

#[test]
fn the_rights_to_read_secrets_are_to_get_them_and_nothing_more() {
    let rights = documents(&manifests().join("components/api-credentials/rights.yaml"));
    let examples = documents(&manifests().join("examples/api-credentials-by-namespace.yaml"));
    for role in rights.iter().chain(&examples).filter(|object| object["kind"].as_str().unwrap().ends_with("Role")) {
        let mut resources = BTreeSet::new();
        for rule in array(&role["rules"]) {
            assert_eq!((&rule["apiGroups"], &rule["verbs"]), (&json!([""]), &json!(["get"])), "{role}");
            resources.extend(array(&rule["resources"]).iter().map(|resource| resource.as_str().unwrap()));
        }
        assert_eq!(resources, BTreeSet::from(["secrets", "serviceaccounts"]), "{role}");
    }
    let account = json!([{ "kind": "ServiceAccount", "name": "portreeve", "namespace": "portreeve" }]);
    let is_binding = |object: &&Value| object["kind"].as_str().unwrap().ends_with("RoleBinding");
    let bindings: Vec<&Value> = rights.iter().chain(&examples).filter(is_binding).collect();
    assert_eq!(bindings.len(), 3);
    for binding in bindings {
        assert_eq!(binding["subjects"], account);
        let role = &binding["roleRef"];
        assert_eq!(role["apiGroup"], "rbac.authorization.k8s.io");
        let is_it = |object: &&Value| {
            object["kind"] == role["kind"]
                && object["metadata"]["name"] == role["name"]
                && (role["kind"] == "ClusterRole"
                    || object["metadata"]["namespace"] == binding["metadata"]["namespace"])
        };
        assert!(rights.iter().chain(&examples).any(|object| is_it(&object)), "{binding} binds nothing that is here");
    }
    assert_eq!(find(&base(), "ServiceAccount", "portreeve")["metadata"]["name"], account[0]["name"]);
    assert!(base().iter().all(|object| !object["kind"].as_str().unwrap().contains("Role")), "the base has no rights");
}

/// The executable reads a child's owner. Owners are of the kinds that create Pods, Jobs or ReplicaSets.
#[test]
fn the_rights_to_compare_children_are_to_get_their_owners() {
    let rights = documents(&manifests().join("components/compare-children/rights.yaml"));
    let role = find(&rights, "ClusterRole", "portreeve-compare-children");
    let mut resources = BTreeSet::new();
    for rule in array(&role["rules"]) {
        assert_eq!(rule["verbs"], json!(["get"]));
        let group = rule["apiGroups"][0].as_str().unwrap();
        resources
            .extend(array(&rule["resources"]).iter().map(|plural| format!("{group}/{}", plural.as_str().unwrap())));
    }
    let expected = [
        "/replicationcontrollers",
        "apps/daemonsets",
        "apps/deployments",
        "apps/replicasets",
        "apps/statefulsets",
        "batch/cronjobs",
        "batch/jobs",
    ];
    assert_eq!(resources, expected.map(str::to_owned).into());
    let binding = find(&rights, "ClusterRoleBinding", "portreeve-compare-children");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = json!([{ "kind": "ServiceAccount", "name": "portreeve", "namespace": "portreeve" }]);
    assert_eq!(binding["subjects"], account);
}

/// `review --cluster` lists what it reviews and the namespaces, and gets the webhook configurations of Portreeve.
#[test]
fn the_rights_to_review_what_runs_are_to_list_it() {
    let rights = documents(&manifests().join("components/review-cronjob/rights.yaml"));
    let role = find(&rights, "ClusterRole", "portreeve-review");
    let mut granted = BTreeSet::new();
    for rule in array(&role["rules"]) {
        let (group, names) = (rule["apiGroups"][0].as_str().unwrap(), &rule["resourceNames"]);
        for (resource, verb) in array(&rule["resources"])
            .iter()
            .flat_map(|resource| array(&rule["verbs"]).iter().map(move |verb| (resource, verb)))
        {
            let (resource, verb) = (resource.as_str().unwrap(), verb.as_str().unwrap());
            let named = if names.is_null() { String::new() } else { format!(" {names}") };
            granted.insert(format!("{verb} {group}/{resource}{named}"));
        }
    }
    let expected = [
        "get /namespaces",
        "get admissionregistration.k8s.io/mutatingwebhookconfigurations [\"portreeve\"]",
        "get admissionregistration.k8s.io/validatingwebhookconfigurations [\"portreeve\"]",
        "list /namespaces",
        "list /pods",
        "list /replicationcontrollers",
        "list apps/daemonsets",
        "list apps/deployments",
        "list apps/replicasets",
        "list apps/statefulsets",
        "list batch/cronjobs",
        "list batch/jobs",
    ];
    assert_eq!(granted, expected.map(str::to_owned).into());
    let binding = find(&rights, "ClusterRoleBinding", "portreeve-review");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = json!([{ "kind": "ServiceAccount", "name": "portreeve-review", "namespace": "portreeve" }]);
    assert_eq!(binding["subjects"], account);
}

/// What the example's webhooks are called for, `review --cluster` may list with the example's rights.
#[test]
fn the_examples_of_custom_workloads_name_the_same_kinds() {
    let example = |name: &str| documents(&manifests().join("examples/custom-workloads").join(name));
    let resources = |rule: &Value| {
        let names = array(&rule["resources"]).iter().map(|name| name.as_str().unwrap().to_owned());
        names.map(|name| (rule["apiGroups"][0].as_str().unwrap().to_owned(), name)).collect::<Vec<_>>()
    };
    let called: BTreeSet<_> =
        array(&example("webhooks.yaml")[0]).iter().flat_map(|change| resources(&change["value"])).collect();
    let rights = example("review-rights.yaml");
    let role = find(&rights, "ClusterRole", "portreeve-review-custom-workloads");
    assert!(array(&role["rules"]).iter().all(|rule| rule["verbs"] == json!(["list"])));
    let listed: BTreeSet<_> = array(&role["rules"]).iter().flat_map(resources).collect();
    assert_eq!(listed, called);
    let binding = find(&rights, "ClusterRoleBinding", "portreeve-review-custom-workloads");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = json!([{ "kind": "ServiceAccount", "name": "portreeve-review", "namespace": "portreeve" }]);
    assert_eq!(binding["subjects"], account);
}
