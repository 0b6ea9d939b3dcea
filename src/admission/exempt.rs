//! Requests that need no verification: a trusted controller's child, a mirror pod, an object that is being deleted.
//!
//! Each exemption rests on facts from the API server (the user's name, the stored object), never only on fields that the
//! author of the object wrote. An UPDATE that adds an image is never exempt.

use std::fmt;

use super::custom::CustomKinds;
use super::request::{Object, OwnerReference, Request};
use super::workload::WorkloadKind;

/// The controllers of Kubernetes itself. A cluster runs them as service accounts of their own, or all as one user.
pub const DEFAULT_TRUSTED_CONTROLLERS: [&str; 8] = [
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:cronjob-controller",
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:serviceaccount:kube-system:deployment-controller",
    "system:serviceaccount:kube-system:job-controller",
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:replication-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
];

/// Why an object is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// A trusted controller made it for an owner that was verified when it was written, and whose kind makes such children.
    Child {
        /// The owner.
        owner: Owner,
    },
    /// It mirrors a static pod, which the node already runs from its own disk.
    MirrorPod,
    /// The stored object is being deleted. Its controller starts no more pods.
    BeingDeleted,
}

/// The managing controller of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub(super) kind: WorkloadKind,
    /// For a custom kind, the version in which it is read from the API server; otherwise empty.
    pub(super) version: String,
    /// Its name.
    pub(super) name: String,
    /// Its uid; empty where the reference has none.
    pub(super) uid: String,
}

impl Exemption {
    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Child { .. } => "parent",
            Self::MirrorPod => "mirror-pod",
            Self::BeingDeleted => "being-deleted",
        }
    }

    /// The exemption of a request; `None` if it must be verified.
    pub fn of(
        request: &Request,
        kind: WorkloadKind,
        object: &Object,
        trusted_controllers: &[String],
        custom: CustomKinds,
    ) -> Option<Self> {
        let stored = request.stored();
        // A finalizer keeps a deleted ReplicaSet writable, and a rollback copies its template.
        if stored.is_some_and(|stored| !kind.new_images(object, stored).is_empty()) {
            return None;
        }
        if request.is_being_deleted() {
            return Some(Self::BeingDeleted);
        }
        let username = request.user_info.as_ref()?.username.as_deref()?;
        if kind == WorkloadKind::Pod && is_mirror_pod(request, object, username) {
            return Some(Self::MirrorPod);
        }
        if trusted_controllers.iter().any(|trusted| trusted == username) {
            let owners = object.metadata.as_ref()?.owner_references.as_deref()?;
            return Some(Self::Child { owner: owners.iter().find_map(|owner| maker(owner, kind, custom))? });
        }
        None
    }
}

/// The owner, if the reference names the managing controller, and the owner's kind and API group make such children. A
/// Deployment never has such an owner: its author wrote the reference, and the Deployment's own controller can roll it back to
/// other images.
fn maker(owner: &OwnerReference, child: WorkloadKind, custom: CustomKinds) -> Option<Owner> {
    let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
    let kind = custom.kind(group, &owner.kind).filter(|kind| owner.controller == Some(true) && kind.makes(child))?;
    let version = match kind {
        WorkloadKind::Custom(_) if version.is_empty() => return None,
        WorkloadKind::Custom(_) => version,
        _ => "",
    };
    let (version, name) = (version.to_owned(), owner.name.clone());
    Some(Owner { kind, version, name, uid: owner.uid.clone().unwrap_or_default() })
}

/// Only the node that a mirror pod is bound to can create it: the user `system:node:<name>` in the group `system:nodes`.
fn is_mirror_pod(request: &Request, object: &Object, username: &str) -> bool {
    let is_marked = object
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.annotations.as_ref())
        .is_some_and(|annotations| annotations.mirror.is_some());
    let node = object.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
    let groups = request.user_info.as_ref().and_then(|user| user.groups.as_deref()).unwrap_or_default();
    is_marked
        && groups.iter().any(|group| group == "system:nodes")
        && node.is_some_and(|node| username.strip_prefix("system:node:") == Some(node))
}

impl fmt::Display for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Child { owner } => {
                let name = portreeve_verify::text::printable(&owner.name, 253);
                write!(f, "made by a trusted controller for {} {name}", owner.kind.resource().kind)
            }
            Self::MirrorPod => f.write_str("the mirror of a static pod, made by its node"),
            Self::BeingDeleted => f.write_str("the object is being deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemption(operation: &str, user: &str, groups: &str, object: &str, old: &str) -> Option<&'static str> {
        exemption_of(WorkloadKind::Pod, operation, user, groups, object, old)
    }

    fn exemption_of(
        kind: WorkloadKind,
        operation: &str,
        user: &str,
        groups: &str,
        object: &str,
        old: &str,
    ) -> Option<&'static str> {
        let request: Request = serde_json::from_str(&format!(
            r#"{{"uid":"u","kind":{{"kind":"Pod"}},"operation":"{operation}","object":{object},"oldObject":{old},
                "userInfo":{{"username":"{user}","groups":[{groups}]}}}}"#
        ))
        .unwrap();
        let trusted: Vec<String> = DEFAULT_TRUSTED_CONTROLLERS.iter().map(|&name| name.to_owned()).collect();
        let object = request.object.as_deref().unwrap();
        Exemption::of(&request, kind, object, &trusted, CustomKinds::default()).map(|exemption| exemption.code())
    }

    fn owned(api_version: &str, kind: &str, controller: &str) -> String {
        format!(
            r#"{{"metadata":{{"ownerReferences":[{{"apiVersion":"{api_version}","kind":"{kind}","name":"x","uid":"1"
                {controller}}}]}}}}"#
        )
    }

    #[test]
    fn only_a_trusted_controller_s_child_is_let_in() {
        const RS: &str = "system:serviceaccount:kube-system:replicaset-controller";
        let child = |user: &str, version: &str, kind: &str, controller: &str| {
            exemption("CREATE", user, "", &owned(version, kind, controller), "null")
        };
        assert_eq!(child(RS, "apps/v1", "ReplicaSet", ",\"controller\":true"), Some("parent"));
        assert_eq!(
            child("system:kube-controller-manager", "v1", "ReplicationController", ",\"controller\":true"),
            Some("parent")
        );
        // Portieris' fault 1: an owner that a user wrote.
        assert_eq!(child("kubernetes-admin", "batch/v1", "Job", ",\"controller\":true"), None);
        assert_eq!(
            child(
                "system:serviceaccount:default:replicaset-controller",
                "apps/v1",
                "ReplicaSet",
                ",\"controller\":true"
            ),
            None
        );
        assert_eq!(child(RS, "apps/v1", "ReplicaSet", ""), None);
        assert_eq!(child(RS, "apps/v1", "ReplicaSet", ",\"controller\":false"), None);
        assert_eq!(child(RS, "apps.evil.io/v1", "ReplicaSet", ",\"controller\":true"), None);
        assert_eq!(child(RS, "v1", "ReplicaSet", ",\"controller\":true"), None);
        assert_eq!(child(RS, "v1", "Pod", ",\"controller\":true"), None);
        assert_eq!(exemption("CREATE", RS, "", "{}", "null"), None);
        // The whole name is the user.
        for user in ["", "system:", "system:kube-controller-manager2", "system:serviceaccount:kube-system:replicaset"] {
            assert_eq!(child(user, "apps/v1", "ReplicaSet", ",\"controller\":true"), None, "{user}");
        }
    }

    /// Only these pairs exist; whatever else names an owner had it written by its author.
    #[test]
    fn a_child_is_of_a_kind_that_its_owner_makes() {
        use WorkloadKind::*;
        const OWNERS: [(&str, &str, WorkloadKind); 10] = [
            ("extensions/v1beta1", "Deployment", Deployment),
            ("extensions/v1beta1", "ReplicaSet", ReplicaSet),
            ("extensions/v1beta1", "DaemonSet", DaemonSet),
            ("v1", "ReplicationController", ReplicationController),
            ("apps/v1", "Deployment", Deployment),
            ("apps/v1", "ReplicaSet", ReplicaSet),
            ("apps/v1", "DaemonSet", DaemonSet),
            ("apps/v1", "StatefulSet", StatefulSet),
            ("batch/v1", "Job", Job),
            ("batch/v1", "CronJob", CronJob),
        ];
        const CHILDREN: [WorkloadKind; 9] =
            [Pod, ReplicationController, PodTemplate, Deployment, ReplicaSet, DaemonSet, StatefulSet, Job, CronJob];
        let expected = |owner, child| match child {
            Pod => matches!(owner, ReplicationController | ReplicaSet | DaemonSet | StatefulSet | Job),
            ReplicaSet => owner == Deployment,
            Job => owner == CronJob,
            _ => false,
        };
        for (version, kind, owner) in OWNERS {
            for child in CHILDREN {
                let object = owned(version, kind, ",\"controller\":true");
                let found = exemption_of(child, "CREATE", "system:kube-controller-manager", "", &object, "null");
                assert_eq!(found.is_some(), expected(owner, child), "{child:?} of {owner:?}");
            }
        }
    }

    #[test]
    fn no_update_that_brings_in_an_image_is_exempt() {
        let template = |metadata: &str, image: &str| {
            let containers = format!(r#""containers":[{{"name":"c","image":"{image}"}}]"#);
            format!(r#"{{"metadata":{{{metadata}}},"spec":{{"template":{{"spec":{{{containers}}}}}}}}}"#)
        };
        let owner = r#""ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"d","controller":true}]"#;
        let deleted = r#""deletionTimestamp":"2026-01-01T00:00:00Z""#;
        let update = |user, metadata, image| {
            let (object, old) = (template(metadata, image), template(metadata, "a"));
            exemption_of(WorkloadKind::ReplicaSet, "UPDATE", user, "", &object, &old)
        };
        assert_eq!(update("alice", deleted, "a"), Some("being-deleted"));
        assert_eq!(update("alice", deleted, "b"), None);
        assert_eq!(update("system:kube-controller-manager", owner, "a"), Some("parent"));
        assert_eq!(update("system:kube-controller-manager", owner, "b"), None);
    }

    #[test]
    fn a_mirror_pod_comes_from_its_own_node() {
        let pod = r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":"h"}},"spec":{"nodeName":"n1"}}"#;
        let unmarked = r#"{"metadata":{"annotations":{}},"spec":{"nodeName":"n1"}}"#;
        let homeless = r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":"h"}},"spec":{"nodeName":""}}"#;
        const NODES: &str = "\"system:nodes\"";
        assert_eq!(exemption("CREATE", "system:node:n1", NODES, pod, "null"), Some("mirror-pod"));
        // Nodes show pods alone.
        for kind in [WorkloadKind::PodTemplate, WorkloadKind::DaemonSet, WorkloadKind::Job] {
            assert_eq!(exemption_of(kind, "CREATE", "system:node:n1", NODES, pod, "null"), None, "{kind:?}");
        }
        assert_eq!(exemption("CREATE", "system:node:n2", NODES, pod, "null"), None);
        assert_eq!(exemption("CREATE", "system:node:n1", "", pod, "null"), None);
        // Only this group is the nodes': an authenticator may give any user any name.
        for others in ["\"system:authenticated\"", "\"system:node\",\"system:nodes2\",\"\"", "\"system:masters\""] {
            assert_eq!(exemption("CREATE", "system:node:n1", others, pod, "null"), None, "{others}");
        }
        assert_eq!(exemption("CREATE", "system:node:n1", "\"a\",\"system:nodes\"", pod, "null"), Some("mirror-pod"));
        assert_eq!(exemption("CREATE", "kubernetes-admin", NODES, pod, "null"), None);
        assert_eq!(exemption("CREATE", "system:node:n1", NODES, unmarked, "null"), None);
        assert_eq!(exemption("CREATE", "system:node:", NODES, homeless, "null"), None);
    }

    #[test]
    fn only_the_stored_object_can_be_in_deletion() {
        let deleted = r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}"#;
        assert_eq!(exemption("UPDATE", "u", "", "{}", deleted), Some("being-deleted"));
        assert_eq!(exemption("UPDATE", "u", "", deleted, "{}"), None);
        assert_eq!(exemption("CREATE", "u", "", deleted, "null"), None);
        assert_eq!(exemption("CREATE", "u", "", deleted, deleted), None);
    }
}
