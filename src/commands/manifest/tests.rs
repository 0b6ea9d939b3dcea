//! What `review` takes, and what it refuses.

use super::*;
use crate::admission::custom::CustomKind;
use crate::admission::request::Review;

fn read(bytes: &[u8]) -> Result<Vec<Item>, ManifestError> {
    super::read(bytes, "default", CustomKinds::default())
}

fn labels(text: &str) -> Vec<String> {
    let label = |item: Item| match &item.content {
        Content::Review(body) => {
            Review::parse(body).unwrap();
            item.name.to_string()
        }
        Content::Workload(object) => {
            Review::parse(&item.review("u", object)).unwrap();
            item.name.to_string()
        }
        Content::Other { .. } => format!("skipped {}", item.name),
    };
    read(text.as_bytes()).unwrap().into_iter().map(label).collect()
}

/// The request of the review that is made for a workload.
fn request_of(item: &Item) -> crate::admission::request::Request {
    let Content::Workload(object) = &item.content else { panic!("{item:?}") };
    Review::parse(&item.review("u", object)).unwrap().request
}

#[test]
fn a_stream_of_manifests_becomes_reviews() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: n}\nspec: {template: {spec: \
                {containers: [{name: c, image: x}]}}}\n---\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n\
                ---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n";
    assert_eq!(labels(text), ["Deployment n/a", "skipped Service s", "Pod default/p"]);
    let request = request_of(&read(text.as_bytes()).unwrap()[0]);
    assert_eq!((request.kind.group.as_deref(), request.namespace.as_deref()), (Some("apps"), Some("n")));
}

#[test]
fn a_manifest_without_a_namespace_is_judged_in_the_one_that_is_given() {
    let text = b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n\
                 - {apiVersion: v1, kind: Pod, metadata: {name: q, namespace: own}}\n";
    let items = super::read(text, "line-1", CustomKinds::default()).unwrap();
    let namespaces = items.iter().map(|item| (item.name.to_string(), request_of(item).namespace.unwrap()));
    let expected = [("Pod line-1/p", "line-1"), ("Pod own/q", "own")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(namespaces.collect::<Vec<_>>(), expected);
}

/// The API server leaves out what each item of a list of one kind is.
#[test]
fn every_list_that_kubectl_prints_is_read() {
    let list = |version: &str, kind: &str, item: &str| format!("{{apiVersion: {version}, kind: {kind}, {item}}}");
    let item = "metadata: {resourceVersion: '7'}, items: [{metadata: {name: a}}, {metadata: {name: b}}]";
    for (version, kind) in KINDS.into_iter().filter(|(_, kind)| *kind != REVIEW) {
        let labels = labels(&list(version, &format!("{kind}List"), item));
        assert_eq!(labels, [format!("{kind} default/a"), format!("{kind} default/b")]);
    }
    for (version, kind) in [("v1", "ServiceList"), ("portieris.cloud.ibm.com/v1", "ImagePolicyList")] {
        let kind_of_item = kind.strip_suffix("List").unwrap();
        let labels = labels(&list(version, kind, item));
        assert_eq!(labels, [format!("skipped {kind_of_item} a"), format!("skipped {kind_of_item} b")]);
    }
    let items = "items: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}]";
    assert_eq!(labels(&list("v1", "List", items)), ["Deployment default/a"]);
    // As Go prints a list of nothing.
    for nothing in ["items: []", "items: null"] {
        assert!(labels(&list("v1", "PodList", nothing)).is_empty(), "{nothing}");
    }
    // A custom resource may be called so.
    assert_eq!(labels("{apiVersion: example.com/v1, kind: AllowList, spec: {}}"), ["skipped AllowList (unnamed)"]);
}

#[test]
fn a_json_review_stays_as_it_is() {
    let text = b" {\"kind\": \"AdmissionReview\",\n\"apiVersion\": 7}";
    let items = read(text).unwrap();
    assert_eq!(items, [Item { name: no_name(), content: Content::Review(text.to_vec()) }]);
    assert_eq!(items[0].name.to_string(), "AdmissionReview (unnamed)");
}

#[test]
fn a_review_is_called_by_its_object() {
    let review = r#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {"uid": "u", "operation": "CREATE", "kind": {"kind": "Pod"}, "namespace": "line-1", "name": "plc"}}"#;
    for text in [review.to_owned(), format!("# YAML\n{review}")] {
        assert_eq!(labels(&text), ["Pod line-1/plc"]);
    }
    assert_eq!(labels(&review.replace(", \"name\": \"plc\"", "")), ["Pod line-1/(unnamed)"]);
}

#[test]
fn json_values_may_follow_one_another() {
    let review = r#"{"kind": "AdmissionReview", "apiVersion": 7}"#;
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}"#;
    let items = read(format!("{review}\n{pod}{review}").as_bytes()).unwrap();
    assert_eq!(items.len(), 3);
    assert!(items[1].name.to_string() == "Pod default/p");
    // A key that stands twice is no better here.
    let twice = pod.replace("\"v1\"", "\"v1\", \"kind\": \"Pod\"");
    let error = read(format!("{pod}\n{twice}").as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("value 2: 2:"), "{error}");
}

#[test]
fn nothing_to_decide_is_no_error() {
    for text in ["", "---\n", "# a comment\n---\n"] {
        assert!(labels(text).is_empty(), "{text:?}");
    }
}

#[test]
fn what_is_no_manifest_is_told() {
    for (bytes, expected) in [
        (
            &b"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n"[..],
            "this is a kustomization; review what it renders: kubectl kustomize DIR | portreeve review -",
        ),
        (b"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n", "this is a kustomization"),
        (b"kind: Pod\n", "1:1: a Kubernetes object has apiVersion and kind, and this document lacks one or both"),
        (b"a: 1\n", "1:1: a Kubernetes object has apiVersion and kind, and this document lacks"),
        (b"kind: [\n", "1:7: "),
        (b"\xff\xfe", "not a text file"),
        // Passed over in silence, it would never be verified.
        (
            b"---\napiVersion: app/v1\nkind: Deployment\n",
            "3:7: Kubernetes has no Deployment in app/v1; did you mean kind \
            Deployment in apiVersion apps/v1?",
        ),
        (
            b"apiVersion: apps/v1\nkind: Deployement\n",
            "2:7: Kubernetes has no Deployement in apps/v1; did you mean kind \
            Deployment in",
        ),
        (b"apiVersion: v1\nkind: Deployment\n", "2:7: Kubernetes has no Deployment in v1; did you mean"),
        (b"apiVersion: v1\nkind: pod\n", "2:7: "),
        (b"apiVersion: extensions/v1beta1\nkind: StatefulSet\n", "2:7: "),
        (b"apiVersion: Batch/v1\nkind: CronJob\n", "2:7: "),
        (b"apiVersion: batch.k8s.io/v1\nkind: Job\n", "2:7: "),
        (b"apiVersion: admission.k8s.io/v1\nkind: AdmissionReviw\n", "2:7: "),
        (b"apiVersion: apps/v1\nkind: PodList\nitems: [{}]\n", "3:9: Kubernetes has no Pod in apps/v1"),
        // Beside its items, nothing of a list counts.
        (b"apiVersion: v1\nkind: List\nitems: []\nspec: {}\n", "4:1: \"spec\" beside its items has no effect"),
        (b"apiVersion: v1\nkind: PodList\nspec: {}\nitems: []\n", "3:1: \"spec\" beside its items has no effect"),
        (b"apiVersion: v1\nkind: List\n", "1:1: it has no \"items\""),
        (b"apiVersion: v1\nkind: List\nitems: {}\n", "3:8: its \"items\" are no list"),
        (b"apiVersion: v1\nkind: Lst\nitems: []\n", "1:1: it has \"items\""),
        (
            b"apiVersion: v1\nkind: List\nitems: [{}]\n",
            "3:9: a Kubernetes object has apiVersion and kind, and this document lacks",
        ),
        (
            b"apiVersion: v1\nkind: PodList\nitems: [{kind: Pod}]\n",
            "3:9: a Kubernetes object has apiVersion and kind, and this document lacks",
        ),
    ] {
        let error = read(bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Custom resources of the kinds that the configuration names, alone and in a list.
#[test]
fn custom_kinds_are_workloads_where_they_are_named() {
    let text = b"apiVersion: argoproj.io/v1alpha1\nkind: RolloutList\nitems:\n- metadata: {name: a}\n---\n\
                 apiVersion: argoproj.io/v1\nkind: Rollout\nmetadata: {name: b}\n---\n\
                 apiVersion: argoproj.io/v1\nkind: Workflow\nmetadata: {name: c}\n";
    let kinds = CustomKinds::new(vec![CustomKind::new("argoproj.io", "Rollout", "/spec/template/spec").unwrap()]);
    let decided = |kinds| {
        let items = super::read(text, "default", kinds).unwrap().into_iter();
        let label = |item: Item| match item.content {
            Content::Other { .. } => None,
            _ => Some(item.name.to_string()),
        };
        items.filter_map(label).collect::<Vec<_>>()
    };
    assert_eq!(decided(kinds.unwrap()), ["Rollout default/a", "Rollout default/b"]);
    assert_eq!(decided(CustomKinds::default()), Vec::<String>::new());
}

/// What is skipped says why, and more where it looks like a workload.
#[test]
fn a_kind_that_is_not_checked_is_named() {
    let rollout = CustomKind::new("argoproj.io", "Rollout", "/spec/template/spec").unwrap();
    let kinds = CustomKinds::new(vec![rollout]).unwrap();
    let template = "spec: {template: {spec: {containers: [{name: c, image: x}]}}}";
    let jobs = "spec: {jobTemplate: {spec: {template: {spec: {containers: []}}}}}";
    let near = "; did you mean Rollout, which admission.workloads names?";
    let pods = "; it has a pod template: if it is a workload, name its kind under admission.workloads";
    for (version, kind, spec, name, more) in [
        ("v1", "Service", "", "Service", ""),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", "", "ClusterRole.rbac.authorization.k8s.io", ""),
        ("argoproj.io/v1alpha1", "Rolout", "", "Rolout.argoproj.io", near),
        ("argoproj.io/v1alpha1", "Rollouts", template, "Rollouts.argoproj.io", near),
        ("argoproj.io/v1alpha1", "Workflow", "", "Workflow.argoproj.io", ""),
        ("argoproj.oi/v1alpha1", "Rollout", template, "Rollout.argoproj.oi", pods),
        ("example.com/v1", "Timer", jobs, "Timer.example.com", pods),
    ] {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n{spec}\n");
        let items = super::read(text.as_bytes(), "default", kinds).unwrap();
        let why = format!("kind {name} is not one that Portreeve checks{more}");
        assert_eq!(items[0].content, Content::Other { why, is_suspect: !more.is_empty() });
        // Whether it belongs to a namespace is not known.
        assert_eq!(items[0].name.namespace, None);
    }
}

/// Kubernetes' own kinds, and well-known foreign ones that share a name with one of them.
#[test]
fn no_kind_that_there_is_counts_as_a_slip() {
    for (version, kinds) in [
        (
            "v1",
            "Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume \
             PersistentVolumeClaim ResourceQuota Secret Service ServiceAccount Status",
        ),
        ("apps/v1", "ControllerRevision"),
        ("autoscaling/v2", "HorizontalPodAutoscaler Scale"),
        ("policy/v1", "PodDisruptionBudget PodSecurityPolicy Eviction"),
        ("networking.k8s.io/v1", "Ingress IngressClass NetworkPolicy IPAddress ServiceCIDR"),
        ("rbac.authorization.k8s.io/v1", "Role RoleBinding ClusterRole ClusterRoleBinding"),
        ("storage.k8s.io/v1", "StorageClass CSIDriver CSINode CSIStorageCapacity VolumeAttachment"),
        ("batch.k8s.io/v1", "Workload"),
        ("scheduling.k8s.io/v1", "PriorityClass Workload PodGroup"),
        ("coordination.k8s.io/v1", "Lease LeaseCandidate"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("node.k8s.io/v1", "RuntimeClass"),
        ("events.k8s.io/v1", "Event"),
        ("certificates.k8s.io/v1", "CertificateSigningRequest ClusterTrustBundle PodCertificateRequest"),
        ("authentication.k8s.io/v1", "TokenReview TokenRequest SelfSubjectReview"),
        ("authorization.k8s.io/v1", "SubjectAccessReview LocalSubjectAccessReview SelfSubjectAccessReview"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy MutatingWebhookConfiguration"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apiregistration.k8s.io/v1", "APIService"),
        ("resource.k8s.io/v1", "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice"),
        ("metrics.k8s.io/v1beta1", "NodeMetrics PodMetrics"),
        ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
        ("apps.kruise.io/v1alpha1", "StatefulSet DaemonSet BroadcastJob"),
        ("batch.volcano.sh/v1alpha1", "Job CronJob"),
        ("leaderworkerset.x-k8s.io/v1", "Deployment"),
    ] {
        for kind in kinds.split_whitespace() {
            let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n");
            assert_eq!(labels(&text), [format!("skipped {kind} x")], "{version}");
        }
    }
}
