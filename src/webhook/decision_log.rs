//! The decision log: one line for each admission, with the request and the verdict on each image.
//!
//! It never contains a body, a token or a key. A tenant's text is truncated and made printable. No line is longer than
//! container runtimes store in one piece.

use std::fmt;
use std::time::Duration;

use log::kv::Value;
use log::{Level, Record};
use serde::Serialize;

use super::Endpoint;
use crate::admission::combine::{CheckVerdict, RuleVerdict};
use crate::admission::decide::{Basis, Decision, ImageFinding};
use crate::admission::evaluate::Verdict;
use crate::admission::messages;
use crate::admission::request::{GroupVersionKind, Request, UserInfo};
use crate::metrics::{self, Outcome};
use crate::policy::Rule;
use crate::schemes::{Freshness, Subject};
use portreeve_verify::text::printable;

/// The most bytes of the images in a line. With the other fields a line stays below 16 KiB, at which container runtimes split
/// lines.
const MAX_IMAGES_BYTES: usize = 10 << 10;
/// The most characters of the message about one image, and of that about a request.
const MAX_MESSAGE: usize = 1_000;
/// The most signers that are named.
const MAX_SIGNERS: usize = 16;
/// The most rules that are named besides the one that decided.
const MAX_OTHERS: usize = 4;
/// The most checks that are named.
const MAX_CHECKS: usize = 8;
/// The most characters of the server of each.
const MAX_SERVER: usize = 200;

/// A request, as far as it could be read.
#[derive(Debug, Default)]
pub(crate) struct LoggedRequest<'a> {
    pub(crate) uid: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) kind: Option<&'a GroupVersionKind>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) user: Option<&'a UserInfo>,
    pub(crate) dry_run: bool,
}

impl<'a> From<&'a Request> for LoggedRequest<'a> {
    fn from(request: &'a Request) -> Self {
        Self {
            uid: &request.uid,
            operation: &request.operation,
            kind: Some(&request.kind),
            namespace: request.namespace.as_deref(),
            name: request.name.as_deref(),
            user: request.user_info.as_ref(),
            dry_run: request.dry_run == Some(true),
        }
    }
}

/// The decision on a request.
#[derive(Debug)]
pub(crate) struct LoggedDecision<'a> {
    /// The outcome.
    pub(crate) outcome: Outcome,
    /// A fixed word for the basis of the decision.
    pub(crate) basis: &'static str,
    /// The basis as a sentence, if it is not the images.
    pub(crate) why: Option<String>,
    /// The findings on the images.
    pub(crate) images: &'a [ImageFinding],
}

impl<'a> LoggedDecision<'a> {
    pub(crate) fn of(decision: &'a Decision) -> Self {
        let images = match &decision.basis {
            Basis::Images(findings) => findings.as_slice(),
            _ => &[],
        };
        let outcome = if decision.allowed { Outcome::Allowed } else { Outcome::Denied };
        let why = decision.basis.describe().or_else(|| decision.compared.as_ref().map(ToString::to_string));
        Self { outcome, basis: decision.basis.code(), why, images }
    }

    fn level(&self) -> Level {
        let is_bad = self.outcome != Outcome::Allowed || self.images.iter().any(ImageFinding::is_bad);
        if is_bad { Level::Warn } else { Level::Info }
    }
}

/// Writes the line of a request.
pub(crate) fn write(endpoint: Endpoint, request: &LoggedRequest<'_>, decision: &LoggedDecision<'_>, took: Duration) {
    let level = decision.level();
    if log::log_enabled!(level) {
        with_record(endpoint, request, decision, took, |record| log::logger().log(record));
    }
}

fn with_record(
    endpoint: Endpoint,
    request: &LoggedRequest<'_>,
    decision: &LoggedDecision<'_>,
    took: Duration,
    log: impl FnOnce(&Record<'_>),
) {
    let name = |value: Option<&str>| printable(value.unwrap_or_default(), 253);
    let uid = printable(request.uid, 64);
    let operation = printable(request.operation, 16);
    let kind = request.kind.map(ToString::to_string).unwrap_or_default();
    let (namespace, object) = (name(request.namespace), name(request.name));
    let user = name(request.user.and_then(|user| user.username.as_deref()));
    let why = decision.why.as_ref().map(|words| printable(&words.replace('\n', " "), MAX_MESSAGE));
    let (json, text) = (ImagesAsJson(decision.images), ImagesAsText(decision.images));
    let mut fields = vec![
        ("uid", Value::from(uid.as_str())),
        ("endpoint", Value::from(endpoint.path())),
        ("operation", Value::from(operation.as_str())),
        ("kind", Value::from(kind.as_str())),
        ("namespace", Value::from(namespace.as_str())),
        ("name", Value::from(object.as_str())),
        ("user", Value::from(user.as_str())),
        ("dryRun", Value::from(request.dry_run)),
        ("allowed", Value::from(decision.outcome == Outcome::Allowed)),
        ("basis", Value::from(decision.basis)),
    ];
    if let Some(why) = &why {
        fields.push(("why", Value::from(why.as_str())));
    }
    if !decision.images.is_empty() {
        fields.push(("imageCount", Value::from(decision.images.len() as u64)));
        // Formatted only for the log format in use.
        fields.push(("images:json", Value::from_display(&json)));
        fields.push(("images:text", Value::from_display(&text)));
    }
    fields.push(("micros", Value::from(micros(took))));
    let word = match decision.outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Error => "refused",
    };
    log(&Record::builder()
        .level(decision.level())
        .target(module_path!())
        .args(format_args!("{word}"))
        .key_values(&fields)
        .build());
}

/// A JSON array of [`Image`]s. If there is no room for all, those that deny come first.
struct ImagesAsJson<'a>(&'a [ImageFinding]);

impl fmt::Display for ImagesAsJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        let mut separator = "";
        for entry in worst_first(self.0, MAX_IMAGES_BYTES, |finding| {
            serde_json::to_string(&Image::of(finding)).unwrap_or_default()
        }) {
            write!(f, "{separator}{entry}")?;
            separator = ",";
        }
        f.write_str("]")
    }
}

/// The images as text, in the same order.
struct ImagesAsText<'a>(&'a [ImageFinding]);

impl fmt::Display for ImagesAsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The log format quotes it, which may double its length.
        let room = MAX_IMAGES_BYTES / 2;
        let entries = worst_first(self.0, room, |finding| printable(&messages::describe(finding), MAX_MESSAGE));
        f.write_str(&entries.collect::<Vec<_>>().join("; "))
    }
}

/// The texts of the findings, those that are bad first, until the room is used up.
fn worst_first(
    findings: &[ImageFinding],
    mut room: usize,
    write: impl Fn(&ImageFinding) -> String,
) -> impl Iterator<Item = String> {
    let bad = findings.iter().filter(|finding| finding.is_bad());
    let good = findings.iter().filter(|finding| !finding.is_bad());
    bad.chain(good).map(write).take_while(move |entry| {
        let fits = room.checked_sub(entry.len());
        room = fits.unwrap_or_default();
        fits.is_some()
    })
}

/// One image in a line. The names of its fields are stable. A field that does not apply is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    list: String,
    name: String,
    image: String,
    verdict: &'static str,
    /// A fixed word, the same as in the metrics.
    reason: &'static str,
    denies: bool,
    /// The scope of the policy: `namespace`, `cluster` or `none`.
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// The scheme of the check that decides: `trust` or `cosign`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signers: Option<Vec<&'a str>>,
    /// Where the trust data came from: `fetched`, `remembered` or `stood-in`.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    /// The age of stale trust data: the time since the server confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    /// Why the image is not trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The checks that were made, if there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Check>,
    /// The verdicts of the other rules that apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
    micros: u64,
}

/// The verdict of one check.
#[derive(Serialize)]
struct Check {
    scheme: &'static str,
    verdict: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

impl Check {
    fn of(check: &CheckVerdict) -> Self {
        let (verdict, reason) = (check.verdict.word(), check.verdict.code());
        let server = check.subject.as_ref().and_then(Subject::server).map(|server| printable(server, MAX_SERVER));
        Self { scheme: check.scheme, verdict, reason, server }
    }
}

/// The verdict of another rule on the image.
#[derive(Serialize)]
struct Other {
    policy: String,
    pattern: String,
    verdict: &'static str,
    reason: &'static str,
}

impl Other {
    fn of(other: &RuleVerdict) -> Self {
        let pattern = printable(&other.rule.pattern, 300);
        Self { policy: other.rule.policy_name(), pattern, verdict: other.verdict.word(), reason: other.verdict.code() }
    }
}

impl<'a> Image<'a> {
    fn of(finding: &'a ImageFinding) -> Self {
        let evaluation = &finding.evaluation;
        let rule = evaluation.rule.as_deref();
        let reason = evaluation.verdict.code();
        let mut image = Self {
            list: finding.list.to_string(),
            name: printable(&finding.name, 63),
            image: printable(&finding.image, 300),
            verdict: evaluation.verdict.word(),
            reason,
            denies: finding.denies,
            scope: metrics::Scope::from(evaluation.scope).as_str(),
            policy: rule.map(Rule::policy_name),
            file: rule.map(|rule| printable(&rule.place.file_name(), 300)),
            line: rule.map(|rule| rule.place.line),
            pattern: rule.map(|rule| printable(&rule.pattern, 300)),
            scheme: evaluation.scheme,
            server: evaluation.subject.as_ref().and_then(Subject::server),
            digest: None,
            tag: None,
            signers: None,
            source: None,
            age_seconds: None,
            message: evaluation.verdict.reason().map(|reason| printable(&reason.replace('\n', " "), MAX_MESSAGE)),
            checks: evaluation.checks.iter().take(MAX_CHECKS).map(Check::of).collect(),
            others: evaluation.others.iter().take(MAX_OTHERS).map(Other::of).collect(),
            micros: micros(evaluation.times.total()),
        };
        if let Verdict::Verified(verified) = &evaluation.verdict {
            image.digest = Some(verified.digest.sha256().to_string());
            image.tag = verified.evidence.tag();
            image.signers = Some(verified.signers.iter().take(MAX_SIGNERS).map(String::as_str).collect());
            image.source = Some(reason);
            if let Freshness::Stale { age } = verified.freshness {
                image.age_seconds = Some(age.as_secs());
            }
        }
        image
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::admission::evaluate::Evaluation;
    use crate::admission::workload::List;
    use crate::logging::{Format, render};

    fn finding(image: &str, verdict: Verdict) -> ImageFinding {
        let denies = !matches!(verdict, Verdict::Unchecked);
        let (name, image) = ("c".to_owned(), image.to_owned());
        ImageFinding { list: List::Containers, name, image, evaluation: Evaluation::of(verdict), denies }
    }

    fn rejected(reason: &str) -> Verdict {
        Verdict::Rejected { code: "no-such-tag", reason: reason.to_owned() }
    }

    fn line(format: Format, request: &LoggedRequest<'_>, images: &[ImageFinding]) -> String {
        let decision = LoggedDecision { outcome: Outcome::Denied, basis: "images", why: None, images };
        let mut line = String::new();
        with_record(Endpoint::Admit, request, &decision, Duration::from_micros(7), |record| {
            line = render(format, record, jiff::Timestamp::UNIX_EPOCH);
        });
        line
    }

    fn json(request: &LoggedRequest<'_>, images: &[ImageFinding]) -> Json {
        serde_json::from_str(&line(Format::Json, request, images)).unwrap()
    }

    #[test]
    fn hostile_words_stay_in_their_field() {
        const HOSTILE: &str =
            "x\",\"allowed\":true,\"y\":\"\n{\"level\":\"info\"}\r\u{1b}[2J\u{9b}1m\u{202e}\u{2028}\\";
        let user = UserInfo { username: Some(HOSTILE.to_owned()), groups: None };
        let kind = GroupVersionKind { group: Some(HOSTILE.to_owned()), version: None, kind: HOSTILE.to_owned() };
        let request = LoggedRequest {
            uid: HOSTILE,
            operation: HOSTILE,
            kind: Some(&kind),
            namespace: Some(HOSTILE),
            name: Some(HOSTILE),
            user: Some(&user),
            dry_run: false,
        };
        let mut images = [finding(HOSTILE, rejected(HOSTILE))];
        images[0].name = HOSTILE.to_owned();
        for format in [Format::Json, Format::Text] {
            let line = line(format, &request, &images);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            let shown = line.trim_end_matches('\n');
            assert!(shown.chars().all(|c| portreeve_verify::text::visible(c) == c), "{line:?}");
        }
        let json = json(&request, &images);
        let printed = printable(HOSTILE, 253);
        assert_eq!((&json["allowed"], &json["level"]), (&false.into(), &"warn".into()));
        assert_eq!(
            (&json["name"], &json["user"], &json["namespace"]),
            (&printed.clone().into(), &printed.clone().into(), &printed.clone().into())
        );
        assert_eq!(json["images"][0]["image"], printed);
        assert_eq!(json.as_object().unwrap().get("y"), None);
        assert_eq!(json["images"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_line_is_never_longer_than_a_runtime_takes() {
        let long = "\u{10ffff}\"\\".repeat(5_000);
        let user = UserInfo { username: Some(long.clone()), groups: None };
        let kind = GroupVersionKind { group: Some(long.clone()), version: None, kind: long.clone() };
        let request = LoggedRequest {
            uid: &long,
            operation: &long,
            kind: Some(&kind),
            namespace: Some(&long),
            name: Some(&long),
            user: Some(&user),
            dry_run: true,
        };
        let mut images: Vec<_> = (0..200).map(|_| finding(&long, Verdict::Unchecked)).collect();
        images.push(finding("the-bad-one", rejected(&long)));
        for words in ["\\", "\"", "\u{10ffff}"] {
            let hostile: Vec<_> =
                (0..256).map(|_| finding(&words.repeat(400), rejected(&words.repeat(2_000)))).collect();
            for format in [Format::Json, Format::Text] {
                let line = line(format, &request, &hostile);
                assert!(line.len() < 16 << 10, "{} bytes", line.len());
            }
        }
        for format in [Format::Json, Format::Text] {
            let line = line(format, &request, &images);
            assert!(line.len() < 16 << 10, "{} bytes", line.len());
            assert!(line.contains("the-bad-one"), "what denies comes first: {line}");
        }
        let json = json(&request, &images);
        assert_eq!((&json["imageCount"], &json["dryRun"]), (&201.into(), &true.into()));
        assert!(json["images"].as_array().is_some_and(|images| (1..200).contains(&images.len())), "{json}");
    }

    #[test]
    fn several_checks_are_listed_by_their_schemes() {
        let check = |scheme, counts| {
            let server = format!("https://{scheme}.local");
            let subject = Subject::Registry { repository: "plant/plc".to_owned(), server };
            let verdict = rejected("no");
            CheckVerdict { scheme, subject: Some(subject), findings: Vec::new(), verdict, counts }
        };
        let mut images = [finding("plc", rejected("no"))];
        let only = json(&LoggedRequest::default(), &images);
        assert_eq!((only["images"][0].get("scheme"), only["images"][0].get("checks")), (None, None));
        images[0].evaluation.scheme = Some("cosign");
        let only = json(&LoggedRequest::default(), &images);
        assert_eq!((&only["images"][0]["scheme"], only["images"][0].get("checks")), (&"cosign".into(), None));
        images[0].evaluation.checks = vec![check("cosign", true), check("trust", false)];
        let several = json(&LoggedRequest::default(), &images);
        let told = |scheme: &str| {
            serde_json::json!({ "scheme": scheme, "verdict": "rejected", "reason": "no-such-tag",
                                "server": format!("https://{scheme}.local") })
        };
        assert_eq!(several["images"][0]["checks"], serde_json::json!([told("cosign"), told("trust")]));
    }

    #[test]
    fn words_stand_where_it_is_not_about_images() {
        let decision = LoggedDecision::of(&Decision {
            allowed: true,
            basis: Basis::NothingNew("a deletion starts nothing"),
            operations: Vec::new(),
            compared: None,
        })
        .why
        .unwrap();
        assert_eq!(decision, "a deletion starts nothing");
        let line = line(Format::Json, &LoggedRequest::default(), &[]);
        assert!(!line.contains("imageCount") && !line.contains("\"images\":"), "{line}");
    }
}
