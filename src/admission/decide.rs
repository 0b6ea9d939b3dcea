//! The decision on one request: its exemption, or the verdicts on all of its images. One bad image denies the workload. The
//! response gives the reasons for all bad images.
//!
//! A request that cannot be understood is denied.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::Timestamp;

use super::children::{Compared, Templates};
use super::evaluate::{Evaluation, Evaluator};
use super::exempt::Exemption;
use super::patch::Operation;
use super::request::Request;
use super::workload::{ImageUse, List, WorkloadKind};
use crate::base::context::Deadline;
use crate::kube::pull_secrets::PullContext;
use crate::schemes::Mode;
use portreeve_verify::ordered;

/// Images of one workload that are verified at the same time.
const PARALLEL_IMAGES: usize = 8;
/// Further threads for images, of all workloads together. Many workloads can wait for a slow server at once, and each
/// keeps its threads until then.
const MAX_THREADS: usize = 64;
static THREADS_IN_USE: AtomicUsize = AtomicUsize::new(0);

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
    pub evaluation: Evaluation,
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
    let kind = match WorkloadKind::of_request(&request.kind) {
        Some(kind) => kind,
        None => return Decision::not_ours("this kind"),
    };
    let sub_resource = request.sub_resource.as_deref().unwrap_or_default();
    let Some(object) = &request.object else { return Decision::not_ours("a request without an object") };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let mut images = kind.images(object);
    let mut compared = None;
    if let Some(exemption) = Exemption::of(request, kind, object, &rules.trusted_controllers) {
        // An UPDATE that is exempt adds no image.
        if let (Exemption::Child { owner }, Some(templates), None) = (&exemption, &rules.templates, request.stored()) {
            compared = templates.compare(owner, namespace, &mut images, deadline);
        }
        if compared.is_none() {
            return Decision::allow(Basis::Exempt(exemption));
        }
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
    let mut decision = Decision::from_images(rules, &images, evaluations);
    if !changes_images {
        // The template of a Job is immutable, and the API server refuses a patch of it.
        decision.operations.clear();
    }
    decision.compared = compared;
    decision
}

/// Evaluates each different image once, and several at the same time.
fn evaluate_all<'a>(
    evaluator: &Evaluator,
    context: &PullContext<'_>,
    images: &[ImageUse<'a>],
    deadline: Deadline,
    now: Timestamp,
) -> BTreeMap<&'a str, Evaluation> {
    let different: Vec<&str> = match images {
        [image] => vec![image.image],
        images => ordered::set(images.iter().map(|image| image.image)).into_iter().collect(),
    };
    let evaluate = |image: &'a str| (image, evaluator.evaluate(context, image, deadline, now));
    if different.len() <= 1 {
        return ordered::map(different.into_iter().map(evaluate));
    }
    let share = different.len().div_ceil(PARALLEL_IMAGES);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut left = Vec::new();
        for images in different.chunks(share) {
            let run = move || images.iter().map(|image| evaluate(image)).collect::<Vec<_>>();
            // Without a permit these images are evaluated on this thread, one after the other.
            let Some(permit) = ThreadPermit::take() else {
                left.push(run);
                continue;
            };
            let run_there = move || {
                let _permit = permit;
                run()
            };
            match thread::Builder::new().name("images".into()).spawn_scoped(scope, run_there) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    log::warn!("no thread for verifying images side by side: {error}");
                    left.push(run);
                }
            }
        }
        let left: Vec<_> = left.into_iter().flat_map(|run| run()).collect();
        // A thread that panicked leaves its images without an evaluation, which denies them.
        ordered::map(threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().chain(left))
    })
}

/// One of [`MAX_THREADS`], until it is dropped.
struct ThreadPermit;

impl ThreadPermit {
    fn take() -> Option<Self> {
        let free = |used: usize| (used < MAX_THREADS).then_some(used + 1);
        THREADS_IN_USE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok().map(|_| Self)
    }
}

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        THREADS_IN_USE.fetch_sub(1, Ordering::SeqCst);
    }
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
        Self { allowed: false, basis: Basis::NotOurs(reason), operations: Vec::new(), compared: None }
    }

    fn from_images(
        rules: &DecisionRules,
        images: &[ImageUse<'_>],
        mut evaluations: BTreeMap<&str, Evaluation>,
    ) -> Self {
        let mut operations = Vec::new();
        let mut findings = Vec::with_capacity(images.len());
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        images.iter().for_each(|image| *uses.entry(image.image).or_default() += 1);
        for image in images {
            let uses_left = uses.get_mut(image.image).map_or(0, |uses| {
                *uses -= 1;
                *uses
            });
            let evaluation = match uses_left {
                0 => evaluations.remove(image.image),
                _ => evaluations.get(image.image).cloned(),
            };
            let evaluation = evaluation.unwrap_or_else(Evaluation::lost);
            if let (Some(digest), Some(reference)) = (evaluation.pin, &evaluation.reference) {
                operations.extend(Operation::pin(image, reference, digest));
            }
            let mode = evaluation.mode(rules.mode);
            let mut finding = ImageFinding {
                list: image.list,
                name: truncated(image.name),
                image: truncated(image.image),
                evaluation,
                denies: false,
            };
            finding.denies = finding.is_bad() && mode == Mode::Enforce;
            findings.push(finding);
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
    name.chars().take(400).collect()
}

fn printable(text: &str) -> String {
    format!("\"{}\"", portreeve_verify::text::printable(text, 63))
}
