//! The kinds that are or make pods, the images in them, and the JSON pointer to each image.
//!
//! Every list of a pod's spec that can name an image must be here: an image in a list that is missing would run unverified.

use std::collections::HashMap;
use std::fmt;

use super::custom::CustomKind;
use super::request::{Container, Object, Spec};
use crate::kube::object_name::Resource;
use crate::kube::pull_secrets::PullContext;

/// A kind that is, or makes, pods. The API group is part of it: a `Job` of another group is another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// core
    Pod,
    /// core
    ReplicationController,
    /// core
    PodTemplate,
    /// apps, extensions
    Deployment,
    /// apps, extensions
    ReplicaSet,
    /// apps, extensions
    DaemonSet,
    /// apps
    StatefulSet,
    /// batch
    Job,
    /// batch
    CronJob,
    /// A kind of the configuration's list `admission.workloads`.
    Custom(&'static CustomKind),
}

impl WorkloadKind {
    /// Kubernetes' own kind by its group and name, in every served version; `None` for any other kind.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            ("", "Pod") => Self::Pod,
            ("", "ReplicationController") => Self::ReplicationController,
            ("", "PodTemplate") => Self::PodTemplate,
            ("apps" | "extensions", "Deployment") => Self::Deployment,
            ("apps" | "extensions", "ReplicaSet") => Self::ReplicaSet,
            ("apps" | "extensions", "DaemonSet") => Self::DaemonSet,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            _ => return None,
        })
    }

    /// Where the API server serves objects of this kind.
    pub fn resource(self) -> Resource {
        let (api, plural, kind) = match self {
            Self::Pod => ("api/v1", "pods", "Pod"),
            Self::ReplicationController => ("api/v1", "replicationcontrollers", "ReplicationController"),
            Self::PodTemplate => ("api/v1", "podtemplates", "PodTemplate"),
            Self::Deployment => ("apis/apps/v1", "deployments", "Deployment"),
            Self::ReplicaSet => ("apis/apps/v1", "replicasets", "ReplicaSet"),
            Self::DaemonSet => ("apis/apps/v1", "daemonsets", "DaemonSet"),
            Self::StatefulSet => ("apis/apps/v1", "statefulsets", "StatefulSet"),
            Self::Job => ("apis/batch/v1", "jobs", "Job"),
            Self::CronJob => ("apis/batch/v1", "cronjobs", "CronJob"),
            Self::Custom(custom) => return custom.resource(),
        };
        Resource { api, plural, kind }
    }

    /// Does the controller of this kind make objects of that kind from a template? The controller of a custom kind may make any
    /// of the kinds that other controllers make.
    pub fn makes(self, child: Self) -> bool {
        match child {
            Self::Pod => matches!(
                self,
                Self::ReplicaSet
                    | Self::ReplicationController
                    | Self::DaemonSet
                    | Self::StatefulSet
                    | Self::Job
                    | Self::Custom(_)
            ),
            Self::ReplicaSet => matches!(self, Self::Deployment | Self::Custom(_)),
            Self::Job => matches!(self, Self::CronJob | Self::Custom(_)),
            _ => false,
        }
    }

    /// The pods' spec in an object of this kind, and the JSON pointer (RFC 6901) to it. `None` if there is no spec: no pod
    /// could run, and the API server refuses the object, unless it is a custom resource ([`super::custom`]).
    fn pod_spec(self, object: &Object) -> Option<(&'static str, &Spec)> {
        let spec = object.spec.as_ref();
        match self {
            Self::Pod => Some(("/spec", spec?)),
            // `CustomKind` put it there.
            Self::Custom(custom) => Some((custom.pointer(), spec?)),
            Self::PodTemplate => Some(("/template/spec", object.template.as_ref()?.spec.as_deref()?)),
            Self::CronJob => {
                let job = spec?.job_template.as_ref()?.spec.as_deref()?;
                Some(("/spec/jobTemplate/spec/template/spec", job.template.as_ref()?.spec.as_deref()?))
            }
            Self::ReplicationController
            | Self::Deployment
            | Self::ReplicaSet
            | Self::DaemonSet
            | Self::StatefulSet
            | Self::Job => Some(("/spec/template/spec", spec?.template.as_ref()?.spec.as_deref()?)),
        }
    }

    /// Why an object of this kind cannot be without a pod spec, if it is and cannot.
    pub(super) fn lacks_pod_spec(self, object: &Object) -> Option<String> {
        match self {
            Self::Custom(custom) if object.spec.is_none() => custom.denies_absent(),
            _ => None,
        }
    }

    /// The object of this kind in a text.
    pub(super) fn read(self, text: &str) -> Option<Object> {
        match self {
            Self::Custom(custom) => custom.read(text).ok(),
            _ => serde_json::from_str(text).ok(),
        }
    }

    /// The images that an UPDATE adds: those that the stored object does not have in the same place. A place is a list, a
    /// name, and the position among the elements of that name.
    pub fn new_images<'a>(self, object: &'a Object, stored: &Object) -> Vec<ImageUse<'a>> {
        let known = self.images(stored);
        let known: HashMap<_, _> = places(&known).zip(known.iter().map(|known| known.image)).collect();
        let images = self.images(object);
        let new =
            |(place, image): (Place<'_>, &ImageUse<'a>)| (known.get(&place) != Some(&image.image)).then_some(*image);
        places(&images).zip(&images).filter_map(new).collect()
    }

    /// The pod that pulls the images of an object of this kind in `namespace`.
    pub fn pull_context<'a>(self, object: &'a Object, namespace: &'a str) -> PullContext<'a> {
        let mut context = PullContext::in_namespace(namespace);
        if let Some((_, spec)) = self.pod_spec(object) {
            let references = spec.image_pull_secrets.iter().flatten();
            context.pull_secrets = references.map(|reference| reference.name.as_deref().unwrap_or_default()).collect();
            let named = |name: &'a Option<String>| name.as_deref().filter(|name| !name.is_empty());
            context.service_account = named(&spec.service_account_name).or_else(|| named(&spec.service_account));
        }
        context
    }

    /// Every image of an object of this kind, in the order in which kubelet pulls them.
    pub fn images(self, object: &Object) -> Vec<ImageUse<'_>> {
        let Some((pointer, spec)) = self.pod_spec(object) else { return Vec::new() };
        let mut images = Vec::new();
        for (list, containers) in [
            (List::InitContainers, &spec.init_containers),
            (List::Containers, &spec.containers),
            (List::EphemeralContainers, &spec.ephemeral_containers),
        ] {
            for (index, Container { name, image }) in containers.iter().flatten().enumerate() {
                images.push((list, index, name.as_deref(), image.as_deref()));
            }
        }
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            if let Some(image) = &volume.image {
                images.push((List::Volumes, index, volume.name.as_deref(), image.reference.as_deref()));
            }
        }
        images
            .into_iter()
            // An empty image cannot be pulled. The API server refuses it in every pod.
            .filter_map(|(list, index, name, image)| {
                let image = image.filter(|image| !image.is_empty())?;
                Some(ImageUse { list, name: name.unwrap_or_default(), image, index, spec_pointer: pointer })
            })
            .collect()
    }
}

/// The place of an image: its list, its name, and its position among the elements of that name.
type Place<'a> = (List, &'a str, usize);

fn places<'a>(images: &[ImageUse<'a>]) -> impl Iterator<Item = Place<'a>> {
    let mut seen = HashMap::new();
    images.iter().map(move |image| {
        let count = seen.entry((image.list, image.name)).or_insert(0_usize);
        *count += 1;
        (image.list, image.name, *count)
    })
}

/// A list of a pod's spec that can name images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// `initContainers`
    InitContainers,
    /// `containers`
    Containers,
    /// `ephemeralContainers`
    EphemeralContainers,
    /// `volumes` that are made from an image
    Volumes,
}

impl List {
    fn field(self) -> &'static str {
        match self {
            Self::InitContainers => "initContainers",
            Self::Containers => "containers",
            Self::EphemeralContainers => "ephemeralContainers",
            Self::Volumes => "volumes",
        }
    }

    /// The name of an element in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitContainers => "init container",
            Self::Containers => "container",
            Self::EphemeralContainers => "ephemeral container",
            Self::Volumes => "image volume",
        }
    }

    /// The path to the image inside an element.
    fn leaf(self) -> &'static str {
        match self {
            Self::InitContainers | Self::Containers | Self::EphemeralContainers => "image",
            Self::Volumes => "image/reference",
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One use of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageUse<'a> {
    /// The list that names it.
    pub list: List,
    /// The container's or volume's name; may be empty.
    pub name: &'a str,
    /// The image as written.
    pub image: &'a str,
    index: usize,
    spec_pointer: &'static str,
}

impl ImageUse<'_> {
    /// The JSON pointer to the image (RFC 6901).
    pub fn pointer(&self) -> String {
        [self.spec_pointer, "/", self.list.field(), "/", &self.index.to_string(), "/", self.list.leaf()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        serde_json::from_str(json).unwrap()
    }

    fn pointers(kind: WorkloadKind, json: &str) -> Vec<(String, String)> {
        let object = object(json);
        kind.images(&object).iter().map(|image| (image.pointer(), image.image.to_owned())).collect()
    }

    const POD_SPEC: &str = r#"{"initContainers":[{"name":"i","image":"a"}],"containers":[{"name":"c","image":"b"},
        {"name":"blank"},{"name":"d","image":"c"}],"ephemeralContainers":[{"name":"e","image":"d"}],
        "volumes":[{"name":"x","emptyDir":{}},{"name":"v","image":{"reference":"e","pullPolicy":"Always"}}]}"#;

    const AT: [(&str, &str); 6] = [
        ("/initContainers/0/image", "a"),
        ("/containers/0/image", "b"),
        ("/containers/2/image", "c"),
        ("/ephemeralContainers/0/image", "d"),
        ("/volumes/1/image/reference", "e"),
        ("", ""),
    ];

    fn expected(prefix: &str) -> Vec<(String, String)> {
        AT[..5].iter().map(|(pointer, image)| (format!("{prefix}{pointer}"), (*image).to_owned())).collect()
    }

    #[test]
    fn every_list_of_every_kind_is_found() {
        let template = format!(r#"{{"spec":{{"template":{{"spec":{POD_SPEC}}}}}}}"#);
        for kind in [
            WorkloadKind::ReplicationController,
            WorkloadKind::Deployment,
            WorkloadKind::ReplicaSet,
            WorkloadKind::DaemonSet,
            WorkloadKind::StatefulSet,
            WorkloadKind::Job,
        ] {
            assert_eq!(pointers(kind, &template), expected("/spec/template/spec"), "{kind:?}");
        }
        assert_eq!(pointers(WorkloadKind::Pod, &format!(r#"{{"spec":{POD_SPEC}}}"#)), expected("/spec"));
        let pod_template = format!(r#"{{"template":{{"spec":{POD_SPEC}}}}}"#);
        assert_eq!(pointers(WorkloadKind::PodTemplate, &pod_template), expected("/template/spec"));
        let cron = format!(r#"{{"spec":{{"jobTemplate":{{"spec":{{"template":{{"spec":{POD_SPEC}}}}}}}}}}}"#);
        assert_eq!(pointers(WorkloadKind::CronJob, &cron), expected("/spec/jobTemplate/spec/template/spec"));
    }

    #[test]
    fn what_has_no_pods_has_no_images() {
        for json in ["{}", r#"{"spec":null}"#, r#"{"spec":{}}"#, r#"{"spec":{"template":null}}"#] {
            for kind in [WorkloadKind::ReplicationController, WorkloadKind::CronJob, WorkloadKind::PodTemplate] {
                assert_eq!(pointers(kind, json), [], "{kind:?} {json}");
            }
        }
    }

    #[test]
    fn an_image_is_new_where_it_did_not_stand() {
        let spec = |containers: &[(&str, &str)]| {
            let containers: Vec<_> =
                containers.iter().map(|(name, image)| format!(r#"{{"name":"{name}","image":"{image}"}}"#)).collect();
            object(&format!(r#"{{"spec":{{"containers":[{}]}}}}"#, containers.join(",")))
        };
        for (now, stored, expected) in [
            (&[("c", "a")][..], &[("c", "a")][..], &[][..]),
            (&[("c", "b")], &[("c", "a")], &["b"]),
            (&[("d", "a")], &[("c", "a")], &["a"]),
            (&[("d", "b"), ("c", "a")], &[("c", "a"), ("d", "b")], &[]),
            (&[("c", "a")], &[("c", "a"), ("d", "b")], &[]),
            // Elements that share a name are told apart by their order, and each counts once.
            (&[("c", "a"), ("c", "b")], &[("c", "a"), ("c", "b")], &[]),
            (&[("c", "b"), ("c", "a")], &[("c", "a"), ("c", "b")], &["b", "a"]),
            (&[("c", "a"), ("c", "a")], &[("c", "a")], &["a"]),
            (&[("", "a"), ("", "b")], &[("", "a")], &["b"]),
        ] {
            let (now, stored) = (spec(now), spec(stored));
            let new = WorkloadKind::Pod.new_images(&now, &stored);
            assert_eq!(new.iter().map(|new| new.image).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_puller_is_what_the_pod_s_spec_says() {
        let pulled_with = |kind: WorkloadKind, json: &str| {
            let object = object(json);
            let PullContext { namespace, pull_secrets, service_account } = kind.pull_context(&object, "line-1");
            assert_eq!(namespace, "line-1");
            (pull_secrets.join(","), service_account.map(str::to_owned))
        };
        let account = |name: &str| Some(name.to_owned());
        let spec =
            r#"{"imagePullSecrets":[{"name":"a"},{},{"name":"b"}],"serviceAccountName":"plc","serviceAccount":"x"}"#;
        let expected = ("a,,b".to_owned(), account("plc"));
        assert_eq!(pulled_with(WorkloadKind::Pod, &format!(r#"{{"metadata":{{}},"spec":{spec}}}"#)), expected);
        let template = format!(r#"{{"template":{{"spec":{spec}}}}}"#);
        assert_eq!(pulled_with(WorkloadKind::PodTemplate, &template), expected);
        assert_eq!(pulled_with(WorkloadKind::Deployment, &format!(r#"{{"spec":{template}}}"#)), expected);
        let job = format!(r#"{{"spec":{{"jobTemplate":{{"spec":{template}}}}}}}"#);
        assert_eq!(pulled_with(WorkloadKind::CronJob, &job), expected);
        // What stands beside the pod's spec is not the pod's.
        let beside = r#"{"spec":{"serviceAccountName":"x","imagePullSecrets":[{"name":"x"}],"template":{"spec":{}}}}"#;
        assert_eq!(pulled_with(WorkloadKind::Deployment, beside), (String::new(), None));
        for (spec, expected) in [
            (r#"{"serviceAccount":"old"}"#, account("old")),
            (r#"{"serviceAccountName":"","serviceAccount":""}"#, None),
            ("{}", None),
        ] {
            assert_eq!(pulled_with(WorkloadKind::Pod, &format!(r#"{{"spec":{spec}}}"#)).1, expected, "{spec}");
        }
    }

    #[test]
    fn kinds_are_known_only_in_their_own_group() {
        use WorkloadKind::*;
        let kinds = [
            ("Pod", Pod, [""].as_slice()),
            ("ReplicationController", ReplicationController, &[""]),
            ("PodTemplate", PodTemplate, &[""]),
            ("Deployment", Deployment, &["apps", "extensions"]),
            ("ReplicaSet", ReplicaSet, &["apps", "extensions"]),
            ("DaemonSet", DaemonSet, &["apps", "extensions"]),
            ("StatefulSet", StatefulSet, &["apps"]),
            ("Job", Job, &["batch"]),
            ("CronJob", CronJob, &["batch"]),
        ];
        for (name, kind, own) in kinds {
            for group in ["", "apps", "batch", "extensions", "v1", "batch.example.com", "apps.example.com", "policy"] {
                let expected = own.contains(&group).then_some(kind);
                assert_eq!(WorkloadKind::of(group, name), expected, "{group}/{name}");
            }
        }
    }
}
