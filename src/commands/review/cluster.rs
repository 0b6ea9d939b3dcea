//! What a cluster runs: its workloads and Pods, read from the Kubernetes API, and reviewed as if they were created now.
//!
//! Left out is what another object stands for, or what has ended: a ReplicaSet or Job that a reviewed object made (its Pods are
//! reviewed, one by one), and Jobs and Pods that have ended. A Pod that mirrors a static pod is skipped: kubelet runs nothing for
//! it, and the API server lets nobody make a mirror of another Pod later.

use std::sync::Arc;

use serde_json::Value;

use super::super::manifest::{self, Content, Item};
use super::super::{ExitStatus, complain};
use super::Review;
use super::webhooks::Webhooks;
use crate::admission::workload::WorkloadKind;
use crate::base::context::Deadline;
use crate::kube::api::{Api, ApiSettings, Purpose};
use crate::kube::lists::List;
use crate::kube::object_name::Resource;
use crate::metrics::Metrics;

/// How long one request to the API server may take.
const REQUEST_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// The kinds that are read. PodTemplates run nothing.
const KINDS: [WorkloadKind; 8] = [
    WorkloadKind::Deployment,
    WorkloadKind::DaemonSet,
    WorkloadKind::StatefulSet,
    WorkloadKind::ReplicaSet,
    WorkloadKind::ReplicationController,
    WorkloadKind::CronJob,
    WorkloadKind::Job,
    WorkloadKind::Pod,
];

const NAMESPACES: Resource = Resource { api: "api/v1", plural: "namespaces", kind: "Namespace" };

/// The webhook configurations of `manifests/base`.
const CONFIGURATIONS: [Resource; 2] = [
    Resource {
        api: "apis/admissionregistration.k8s.io/v1",
        plural: "mutatingwebhookconfigurations",
        kind: "MutatingWebhookConfiguration",
    },
    Resource {
        api: "apis/admissionregistration.k8s.io/v1",
        plural: "validatingwebhookconfigurations",
        kind: "ValidatingWebhookConfiguration",
    },
];
const CONFIGURATION: &str = "portreeve";

/// A client of the API server for a review.
pub(super) fn api(settings: &ApiSettings) -> Result<Arc<Api>, String> {
    Api::new(settings, Purpose::Review, Arc::new(Metrics::new())).map_err(|error| error.to_string())
}

/// What the webhooks leave out: their selectors, and the labels of the namespaces.
pub(super) fn read_webhooks(api: &Api, namespace: Option<&str>, webhooks: &mut Webhooks) -> Result<(), String> {
    for resource in CONFIGURATIONS {
        match api.cluster_object(resource, CONFIGURATION, Deadline::after(REQUEST_TIME)) {
            Ok(configuration) => webhooks.add(&configuration)?,
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(format!("{} {CONFIGURATION} {error}", resource.kind)),
        }
    }
    if !webhooks.is_known() {
        log::warn!(
            "there is no webhook configuration {CONFIGURATION}: only Portreeve's own namespace counts as exempt"
        );
        return Ok(());
    }
    if let Some(name) = namespace {
        let found = api.cluster_object(NAMESPACES, name, Deadline::after(REQUEST_TIME));
        let found = found.map_err(|error| format!("namespace {name} {error}"))?;
        webhooks.add_namespace(&found);
        return Ok(());
    }
    let mut list = List::of(NAMESPACES, None);
    while let Some(namespaces) =
        api.next_page(&mut list, Deadline::after(REQUEST_TIME)).map_err(|error| format!("namespaces {error}"))?
    {
        namespaces.iter().for_each(|namespace| webhooks.add_namespace(namespace));
    }
    Ok(())
}

/// Reviews everything that runs, in one namespace or in all.
pub(super) fn review(api: &Api, namespace: Option<&str>, review: &mut Review<'_>) -> ExitStatus {
    let mut status = ExitStatus::Allowed;
    for kind in KINDS {
        let resource = kind.resource();
        let mut list = List::of(resource, namespace);
        loop {
            match api.next_page(&mut list, Deadline::after(REQUEST_TIME)) {
                Ok(Some(objects)) => {
                    for object in objects {
                        if !is_left_out(kind, &object) {
                            status = status.worse(one(review, kind, resource, object));
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    complain(&format!("{} {error}", resource.plural));
                    review.bad.push(["not read: ", resource.plural].concat());
                    status = status.worse(ExitStatus::Undecided);
                    break;
                }
            }
        }
    }
    status
}

fn one(review: &mut Review<'_>, kind: WorkloadKind, resource: Resource, object: Value) -> ExitStatus {
    let version = resource.api.trim_start_matches("apis/").trim_start_matches("api/");
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or("review").to_owned();
    let is_mirror = kind == WorkloadKind::Pod
        && object.pointer("/metadata/annotations").is_some_and(|all| all.get("kubernetes.io/config.mirror").is_some());
    let item =
        Item { name: manifest::name_of(&object, (version, resource.kind), ""), content: Content::Workload(object) };
    if is_mirror {
        return review.skip(&uid, &item.name, "the mirror of a static pod, which its node runs from its own disk");
    }
    review.item(resource.plural, &uid, &item)
}

/// Does another object stand for this one, or has it ended?
fn is_left_out(kind: WorkloadKind, object: &Value) -> bool {
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has_ended = match kind {
        WorkloadKind::Pod => {
            matches!(object.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"))
        }
        WorkloadKind::Job => list("/status/conditions").iter().any(|condition| {
            matches!(text(condition, "type").as_str(), "Complete" | "Failed") && text(condition, "status") == "True"
        }),
        _ => false,
    };
    let is_made = |owner: &Value| {
        let version = text(owner, "apiVersion");
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let maker = WorkloadKind::of(group, &text(owner, "kind"));
        owner.get("controller").and_then(Value::as_bool) == Some(true) && maker.is_some_and(|maker| maker.makes(kind))
    };
    // A Pod can have images that its owner's template does not have.
    has_ended || (kind != WorkloadKind::Pod && list("/metadata/ownerReferences").iter().any(is_made))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_ended_or_is_stood_for_is_left_out() {
        let owned = |version: &str, kind: &str, controller: bool| json!({ "metadata": { "ownerReferences": [{ "apiVersion": version, "kind": kind, "controller": controller }] } });
        let job =
            |kind: &str, status: &str| json!({ "status": { "conditions": [{ "type": kind, "status": status }] } });
        use WorkloadKind::*;
        for (kind, object, expected) in [
            (Pod, json!({ "status": { "phase": "Running" } }), false),
            (Pod, json!({ "status": { "phase": "Succeeded" } }), true),
            (Pod, json!({ "status": { "phase": "Failed" } }), true),
            (Pod, json!({}), false),
            (Pod, owned("apps/v1", "ReplicaSet", true), false),
            (ReplicaSet, owned("apps/v1", "Deployment", true), true),
            (ReplicaSet, owned("apps/v1", "Deployment", false), false),
            (ReplicaSet, owned("argoproj.io/v1alpha1", "Rollout", true), false),
            (ReplicaSet, owned("apps/v1", "StatefulSet", true), false),
            (Job, owned("batch/v1", "CronJob", true), true),
            (Job, job("Complete", "True"), true),
            (Job, job("Failed", "True"), true),
            (Job, job("Failed", "False"), false),
            (Job, job("Suspended", "True"), false),
            (Deployment, owned("apps/v1", "Deployment", true), false),
            (CronJob, json!({ "metadata": 7, "status": [] }), false),
        ] {
            assert_eq!(is_left_out(kind, &object), expected, "{kind:?} {object}");
        }
    }
}
