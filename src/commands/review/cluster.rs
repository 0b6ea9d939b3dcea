//! What a cluster runs: its workloads and Pods, read from the Kubernetes API, and reviewed as if they were created now. The custom
//! kinds that the configuration names are read where the API server says that it serves them.
//!
//! Left out is what another object stands for, or what has ended: a ReplicaSet or Job that a reviewed object made (its Pods are
//! reviewed, one by one), and Jobs and Pods that have ended. A Pod that mirrors a static pod is skipped: kubelet runs nothing for
//! it, and the API server lets nobody make a mirror of another Pod later.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::arguments::Output;
use super::super::manifest::{self, Content, Item};
use super::super::{ExitStatus, complain};
use super::Review;
use super::text::line;
use super::webhooks::Webhooks;
use crate::admission::custom::CustomKinds;
use crate::admission::workload::WorkloadKind;
use crate::base::context::Deadline;
use crate::base::text::nearest;
use crate::kube::api::{Api, ApiSettings, Purpose};
use crate::kube::discovery::Served;
use crate::kube::error::{ApiError, ApiSetupError};
use crate::kube::lists::{List, Page, TOO_LARGE};
use crate::kube::object_name::Resource;
use crate::metrics::Metrics;
use portreeve_verify::text::printable;

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

/// What to do where a custom kind may not be listed.
const RIGHTS: &str = ", and for custom kinds manifests/examples/custom-workloads/review-rights.yaml";

/// What to do where there is no API server.
const ON_A_WORKSTATION: &str = "review --cluster runs in a pod (components/review-cronjob). Here: kubectl get \
                                deploy,sts,ds,cronjob,job,pod -A -o yaml | portreeve review --policies PATH -; or set \
                                credentials.api.server, .token and .ca in a --config";

/// A client of the API server for a review.
pub(super) fn api(settings: &ApiSettings) -> Result<Arc<Api>, String> {
    Api::new(settings, Purpose::Review, Arc::new(Metrics::new())).map_err(|error| match error {
        ApiSetupError::NoServer => ON_A_WORKSTATION.to_owned(),
        error => error.to_string(),
    })
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
    loop {
        match api.next_page(&mut list, Deadline::after(REQUEST_TIME)) {
            Ok(Some(Page::Objects(namespaces))) => namespaces.iter().for_each(|one| webhooks.add_namespace(one)),
            Ok(Some(Page::TooLarge(_, name))) => {
                let name = printable(&name.unwrap_or_default(), 63);
                return Err(["namespace ", &name, " could not be read: ", TOO_LARGE].concat());
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(format!("namespaces {error}")),
        }
    }
}

/// Reviews everything that runs, in one namespace or in all.
pub(super) fn review(api: &Api, namespace: Option<&str>, review: &mut Review<'_>) -> ExitStatus {
    let mut running = Running { api, namespace, review, status: ExitStatus::Allowed, read: Vec::new() };
    running.custom_kinds();
    for kind in KINDS {
        let resource = kind.resource();
        if let Err(error) = running.kind(kind, resource) {
            running.not_read(resource.plural, &error.to_string());
        }
    }
    running.status
}

/// A review of what runs.
struct Running<'a, 'r> {
    api: &'a Api,
    namespace: Option<&'a str>,
    review: &'a mut Review<'r>,
    status: ExitStatus,
    /// The custom kinds of which all objects were read.
    read: Vec<WorkloadKind>,
}

impl Running<'_, '_> {
    fn custom_kinds(&mut self) {
        let mut kinds = self.review.engine.custom_kinds().all().peekable();
        if kinds.peek().is_none() {
            return;
        }
        let groups = match self.api.groups(Deadline::after(REQUEST_TIME)) {
            Ok(groups) => groups,
            Err(error) => return self.not_read("the list of API groups", &error.to_string()),
        };
        for kind in kinds {
            let Resource { api, kind: name, .. } = kind.resource();
            let label = [name, ".", api.trim_start_matches("apis/")].concat();
            match self.api.find_kind(&groups, (api, name), Deadline::after(REQUEST_TIME)) {
                Ok(Served::As { is_namespaced: false, .. }) if self.namespace.is_some() => {}
                Ok(Served::As { resource, .. }) => match self.kind(kind, resource) {
                    Ok(()) => self.read.push(kind),
                    Err(error) => {
                        let hint = if error.is_forbidden() { RIGHTS } else { "" };
                        self.not_read(resource.plural, &[&error.to_string(), hint].concat());
                    }
                },
                // A configuration can serve several clusters, and not all of them have the kind.
                Ok(Served::NoGroup) => self.not_served(&label, "the API server has no such API group"),
                Ok(Served::NoKind(others)) => {
                    let mut why = "the API server has no such kind in this API group".to_owned();
                    if let Some(near) = nearest(name, others.iter().map(String::as_str)) {
                        why.push_str("; admission.workloads probably means ");
                        why.push_str(&printable(near, 63));
                    }
                    self.not_served(&label, &why);
                }
                Err(error) => self.not_read(&label, &error.to_string()),
            }
        }
    }

    fn not_served(&mut self, label: &str, why: &str) {
        self.review.bad.push(["not served: ", label].concat());
        self.review.print(line("skipped", label, why));
        if self.review.output == Output::Json {
            log::warn!("{label}: {why}");
        }
    }

    fn not_read(&mut self, what: &str, why: &str) {
        complain(&[what, " ", why].concat());
        self.review.counts.unread += 1;
        self.review.bad.push(["not read: ", what].concat());
        self.status = self.status.worse(ExitStatus::Undecided);
    }

    /// Reviews all objects of a kind.
    fn kind(&mut self, kind: WorkloadKind, resource: Resource) -> Result<(), ApiError> {
        let mut list = List::of(resource, self.namespace);
        while let Some(page) = self.api.next_page(&mut list, Deadline::after(REQUEST_TIME))? {
            let objects = match page {
                Page::Objects(objects) => objects,
                Page::TooLarge(namespace, name) => {
                    let head = json!({ "metadata": { "namespace": namespace, "name": name } });
                    let name = manifest::name_of(&head, identity(resource), "");
                    let told = self.review.not_decided(resource.plural, "review", &name, TOO_LARGE);
                    self.status = self.status.worse(told);
                    continue;
                }
            };
            for object in objects {
                if !is_left_out(kind, &object, self.review.engine.custom_kinds(), &self.read) {
                    self.status = self.status.worse(one(self.review, kind, resource, object));
                }
            }
        }
        Ok(())
    }
}

/// The API version and the kind of the objects.
fn identity(resource: Resource) -> (&'static str, &'static str) {
    (resource.api.trim_start_matches("apis/").trim_start_matches("api/"), resource.kind)
}

fn one(review: &mut Review<'_>, kind: WorkloadKind, resource: Resource, object: Value) -> ExitStatus {
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or("review").to_owned();
    let is_mirror = kind == WorkloadKind::Pod
        && object.pointer("/metadata/annotations").is_some_and(|all| all.get("kubernetes.io/config.mirror").is_some());
    let item = Item { name: manifest::name_of(&object, identity(resource), ""), content: Content::Workload(object) };
    if is_mirror {
        return review.skip(&uid, &item.name, "the mirror of a static pod, which its node runs from its own disk");
    }
    review.item(resource.plural, &uid, &item)
}

/// Does another object stand for this one, or has it ended? `read` are the custom kinds that were reviewed.
fn is_left_out(kind: WorkloadKind, object: &Value, custom: CustomKinds, read: &[WorkloadKind]) -> bool {
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
        let maker = custom.kind(group, &text(owner, "kind"));
        let maker = maker.filter(|maker| !matches!(maker, WorkloadKind::Custom(_)) || read.contains(maker));
        owner.get("controller").and_then(Value::as_bool) == Some(true) && maker.is_some_and(|maker| maker.makes(kind))
    };
    // A Pod can have images that its owner's template does not have.
    has_ended || (kind != WorkloadKind::Pod && list("/metadata/ownerReferences").iter().any(is_made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::custom::CustomKind;

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
            assert_eq!(is_left_out(kind, &object, CustomKinds::default(), &[]), expected, "{kind:?} {object}");
        }
        // A custom resource stands for what its controller made, if it was read.
        let rollout = CustomKind::new("argoproj.io", "Rollout", "/spec/template/spec").unwrap();
        let custom = CustomKinds::new(vec![rollout]).unwrap();
        let read: Vec<WorkloadKind> = custom.all().collect();
        let made = owned("argoproj.io/v1alpha1", "Rollout", true);
        for (kind, read, expected) in [
            (ReplicaSet, &read[..], true),
            (ReplicaSet, &[], false),
            (Pod, &read[..], false),
            (Deployment, &read, false),
        ] {
            assert_eq!(is_left_out(kind, &made, custom, read), expected, "{kind:?}");
        }
    }
}
