//! The decision on one request: its exemption, or the verdicts on all of its images. One bad image denies the workload. The
//! response gives the reasons for all bad images.
//!
//! A request that cannot be understood is denied.

use jiff::Timestamp;

use super::children::{Compared, Templates};
use super::custom::CustomKinds;
use super::evaluate::{Evaluation, Evaluator};
use super::exempt::Exemption;
use super::images::evaluate_all;
use super::patch::Operation;
use super::request::Request;
use super::workload::{ImageUse, List, WorkloadKind};
use crate::base::context::Deadline;
use crate::schemes::Mode;

/// The most images of one workload. A body of 8 MiB could name 300,000, and each would cost a request to a server
/// and a line in every log.
const MAX_IMAGES: usize = 256;

/// The settings for decisions, besides those of [`Evaluator`].
#[derive(Debug)]
pub struct DecisionRules {
    /// `warn`: a workload that would be denied is let in with a warning.
    pub mode: Mode,
    /// The users whose children pass.
    pub trusted_controllers: Vec<String>,
    /// Does an UPDATE verify the images of a pod template if it changes none of them?
    pub unchanged_templates: UnchangedTemplates,
    /// The kinds of custom resources that are verified as Kubernetes' own are.
    pub custom_kinds: CustomKinds,
    /// The templates that children are compared with; `None`: all images of a child pass.
    pub templates: Option<Templates>,
}

/// Does an UPDATE verify the images of a pod template if it changes none of them?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnchangedTemplates {
    /// No. Labels, owners and replicas can be written while a trust server or registry is down. An image whose signature was withdrawn
    /// stays until an UPDATE changes the template's images.
    #[default]
    Skip,
    /// Yes, on every write. No field is patched then: a field that the write does not change may be immutable.
    Verify,
}

/// The decision on one request.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Is it admitted?
    pub allowed: bool,
    /// Its basis.
    pub basis: Basis,
    /// The patch's operations, in order; empty if there is no patch.
    pub operations: Vec<Operation>,
    /// Why the images of a trusted controller's child were verified, if they were.
    pub compared: Option<Compared>,
}

/// The basis of a decision.
#[derive(Clone, Debug)]
pub enum Basis {
    /// No image was verified, for a reason that rests on facts from the API server.
    Exempt(Exemption),
    /// No new image can run: a deletion, or an UPDATE that changes no image.
    NothingNew(&'static str),
    /// Portreeve cannot decide on such a request. Denied.
    NotOurs(String),
    /// Too many images. Denied, and none was evaluated.
    TooMany {
        /// The number of images.
        found: usize,
    },
    /// The verdicts on its images; empty for a workload without images.
    Images(Vec<ImageFinding>),
}

/// The finding on one image.
#[derive(Clone, Debug)]
pub struct ImageFinding {
    /// The list that names it.
    pub list: List,
    /// The container's or volume's name.
    pub name: String,
    /// The image as written.
    pub image: String,
    /// The verdict.
    pub evaluation: Box<Evaluation>,
    /// Does it deny the workload? A bad verdict under `warn` does not.
    pub denies: bool,
}

impl Basis {
    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exempt(exemption) => exemption.code(),
            Self::NothingNew(_) => "nothing-new",
            Self::NotOurs(_) => "not-ours",
            Self::TooMany { .. } => "too-many-images",
            Self::Images(_) => "images",
        }
    }

    /// The reason in words; `None` if the findings on the images are the reason.
    pub fn describe(&self) -> Option<String> {
        Some(match self {
            Self::Exempt(exemption) => exemption.to_string(),
            Self::NothingNew(why) => (*why).to_owned(),
            Self::NotOurs(reason) => reason.clone(),
            Self::TooMany { found } => {
                format!("{found} images in one workload are too many to decide on; {MAX_IMAGES} are the most")
            }
            Self::Images(_) => return None,
        })
    }
}

impl ImageFinding {
    /// Is the verdict bad? Then it denies, or warns.
    pub fn is_bad(&self) -> bool {
        self.evaluation.verdict.is_bad()
    }
}

/// Decides on a request. Only the signature schemes and the Kubernetes API are waited for, until the deadline.
pub fn decide(
    evaluator: &Evaluator,
    rules: &DecisionRules,
    request: &Request,
    deadline: Deadline,
    now: Timestamp,
) -> Decision {
    match request.operation.as_str() {
        "CREATE" | "UPDATE" => {}
        "DELETE" => return Decision::allow(Basis::NothingNew("a deletion starts nothing")),
        other => return Decision::not_ours(&format!("the operation {}", printable(other))),
    }
    let kind = match rules.custom_kinds.kind_of(&request.kind) {
        Some(kind) => kind,
        None => {
            return Decision::not_ours("this kind (that of a custom resource must be named under admission.workloads)");
        }
    };
    let sub_resource = request.sub_resource.as_deref().unwrap_or_default();
    let Some(object) = &request.object else { return Decision::not_ours("a request without an object") };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let mut images = kind.images(object);
    let mut compared = None;
    if let Some(exemption) = Exemption::of(request, kind, object, &rules.trusted_controllers, rules.custom_kinds) {
        // An UPDATE that is exempt adds no image.
        if let (Exemption::Child { owner }, None) = (&exemption, request.stored()) {
            // The rules of so many images are not looked for. If some rule pins Pods, these images remain, and are too many.
            let is_any_pinned = (images.len() > MAX_IMAGES).then(|| evaluator.pins_pods(namespace));
            // Such an image of a template was verified and not pinned. A digest is what was verified.
            let is_pinned_now = |image: &ImageUse<'_>| {
                kind == WorkloadKind::Pod
                    && match is_any_pinned {
                        Some(is_any) => is_any && !image.image.contains('@'),
                        None => evaluator.is_pinned_in_pods(namespace, image.image),
                    }
            };
            compared = match &rules.templates {
                Some(templates) => templates.compare(owner, namespace, &mut images, &is_pinned_now, deadline),
                None => {
                    images.retain(is_pinned_now);
                    (!images.is_empty()).then_some(Compared::PinnedNow)
                }
            };
        }
        if compared.is_none() {
            return Decision::allow(Basis::Exempt(exemption));
        }
    }
    if let Some(why) = kind.lacks_pod_spec(object) {
        return Decision::denied(why);
    }
    let mut changes_images = true;
    if let Some(stored) = request.stored() {
        let new = kind.new_images(object, stored);
        changes_images = !new.is_empty();
        let is_pod = kind == WorkloadKind::Pod;
        if !changes_images && (is_pod || rules.unchanged_templates == UnchangedTemplates::Skip) {
            return Decision::allow(Basis::NothingNew("no image changes"));
        }
        // An image that the stored pod already runs in the same place is not evaluated again: it was admitted, and a patch
        // would restart a running container. A template with a new image makes new pods of all of its images.
        if is_pod {
            images = new;
        }
    }
    if !matches!((kind, sub_resource), (_, "") | (WorkloadKind::Pod, "ephemeralcontainers" | "resize")) {
        return Decision::not_ours(&format!("the subresource {}", printable(sub_resource)));
    }
    if images.len() > MAX_IMAGES {
        let basis = Basis::TooMany { found: images.len() };
        return Decision { allowed: false, basis, operations: Vec::new(), compared };
    }
    let context = kind.pull_context(object, namespace);
    let evaluations = evaluate_all(evaluator, &context, &images, deadline, now);
    let mut decision = Decision::from_images(rules, kind, &images, evaluations);
    if !changes_images {
        // The template of a Job is immutable, and the API server refuses a patch of it.
        decision.operations.clear();
    }
    decision.compared = compared;
    decision
}

impl Decision {
    fn allow(basis: Basis) -> Self {
        Self { allowed: true, basis, operations: Vec::new(), compared: None }
    }

    fn not_ours(what: &str) -> Self {
        let reason = format!(
            "{what} is not something that Portreeve can decide on; correct the webhook configuration's rules so that it \
             is not sent here"
        );
        Self::denied(reason)
    }

    fn denied(reason: String) -> Self {
        Self { allowed: false, basis: Basis::NotOurs(reason), operations: Vec::new(), compared: None }
    }

    #[expect(clippy::vec_box, reason = "the findings keep the boxes")]
    fn from_images(
        rules: &DecisionRules,
        kind: WorkloadKind,
        images: &[ImageUse<'_>],
        evaluations: Vec<Box<Evaluation>>,
    ) -> Self {
        let mut operations = Vec::new();
        let mut findings = Vec::with_capacity(images.len());
        for (image, evaluation) in images.iter().zip(evaluations) {
            if let Some(pin) = evaluation.pin.filter(|pin| pin.applies_to(kind))
                && let Some(reference) = &evaluation.reference
            {
                operations.extend(Operation::pin(image, reference, pin.digest));
            }
            let mode = evaluation.mode(rules.mode);
            findings.push(ImageFinding {
                list: image.list,
                name: truncated(image.name),
                image: truncated(image.image),
                denies: evaluation.verdict.is_bad() && mode == Mode::Enforce,
                evaluation,
            });
        }
        let allowed = !findings.iter().any(|finding| finding.denies);
        if !allowed {
            operations.clear();
        }
        Self { allowed, basis: Basis::Images(findings), operations, compared: None }
    }
}

/// A name, cut to a little more than a message ever shows, so that the cut is visible. A request can hold names of megabytes.
fn truncated(name: &str) -> String {
    if name.len() <= 400 {
        return name.to_owned();
    }
    let end = name.char_indices().nth(400).map_or(name.len(), |(end, _)| end);
    name.get(..end).unwrap_or_default().to_owned()
}

fn printable(text: &str) -> String {
    format!("\"{}\"", portreeve_verify::text::printable(text, 63))
}
