//! The decision log: one line for each admission, with the request and the verdict on each image.
//!
//! It never contains a body, a token or a key. A tenant's text is truncated and made printable. No line is longer than
//! container runtimes store in one piece.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use log::Level;

use super::Endpoint;
use crate::admission::combine::{CheckVerdict, RuleVerdict};
use crate::admission::decide::{Basis, Decision, ImageFinding};
use crate::admission::evaluate::Verdict;
use crate::admission::messages;
use crate::admission::request::{GroupVersionKind, Request, UserInfo};
use crate::base::clock;
use crate::base::json_writer::JsonWriter;
use crate::logging::{Format, Line};
use crate::metrics::{self, Outcome};
use crate::schemes::{Freshness, Subject};
use portreeve_verify::text::{printable, to_printable};

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
    if log::log_enabled!(decision.level()) {
        line(Format::in_use(), clock::now(), endpoint, request, decision, took).write();
    }
}

fn line(
    format: Format,
    now: Timestamp,
    endpoint: Endpoint,
    request: &LoggedRequest<'_>,
    decision: &LoggedDecision<'_>,
    took: Duration,
) -> Line {
    let word = match decision.outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Error => "refused",
    };
    let mut line = Line::begin(format, decision.level(), word, now);
    line.string("uid", &to_printable(request.uid, 64));
    line.string("endpoint", endpoint.path());
    line.string("operation", &to_printable(request.operation, 16));
    line.string("kind", &request.kind.map(GroupVersionKind::describe).unwrap_or_default());
    line.string("namespace", &name(request.namespace));
    line.string("name", &name(request.name));
    line.string("user", &name(request.user.and_then(|user| user.username.as_deref())));
    line.truth("dryRun", request.dry_run);
    line.truth("allowed", decision.outcome == Outcome::Allowed);
    line.string("basis", decision.basis);
    if let Some(why) = &decision.why {
        line.string("why", &one_line(why));
    }
    if !decision.images.is_empty() {
        line.number("imageCount", decision.images.len() as u64);
        match line.json() {
            Some(mut json) => write_images(&mut json, decision.images),
            None => line.string("images", &describe_images(decision.images)),
        }
    }
    line.number("micros", micros(took));
    line
}

/// A name of Kubernetes, as far as it has one.
fn name(value: Option<&str>) -> Cow<'_, str> {
    to_printable(value.unwrap_or_default(), 253)
}

/// A message as one printable line.
fn one_line(words: &str) -> Cow<'_, str> {
    if words.contains('\n') {
        return Cow::Owned(printable(&words.replace('\n', " "), MAX_MESSAGE));
    }
    to_printable(words, MAX_MESSAGE)
}

/// The images as JSON. If there is no room for all, those that deny come first.
fn write_images(json: &mut JsonWriter<'_>, findings: &[ImageFinding]) {
    json.key("images");
    json.begin(b'[');
    let mut room = MAX_IMAGES_BYTES;
    for finding in worst_first(findings) {
        let before = json.text().len();
        write_image(json, finding);
        // The comma in front of it is not counted.
        let comma = usize::from(json.text().get(before) == Some(&b','));
        match room.checked_sub(json.text().len() - before - comma) {
            Some(left) => room = left,
            None => {
                json.text().truncate(before);
                break;
            }
        }
    }
    json.end(b']');
}

/// The images as text, in the same order.
fn describe_images(findings: &[ImageFinding]) -> String {
    // The log format quotes it, which may double its length.
    let mut room = MAX_IMAGES_BYTES / 2;
    let mut text = String::new();
    for finding in worst_first(findings) {
        let entry = printable(&messages::describe(finding), MAX_MESSAGE);
        let Some(left) = room.checked_sub(entry.len()) else { break };
        room = left;
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&entry);
    }
    text
}

/// The findings, those that are bad first.
fn worst_first(findings: &[ImageFinding]) -> impl Iterator<Item = &ImageFinding> {
    let in_order = |is_bad| findings.iter().filter(move |finding| finding.is_bad() == is_bad);
    in_order(true).chain(in_order(false))
}

/// One image in a line. The names of its fields are stable. A field that does not apply is left out.
fn write_image(json: &mut JsonWriter<'_>, finding: &ImageFinding) {
    let evaluation = &finding.evaluation;
    let verdict = &evaluation.verdict;
    json.begin(b'{');
    json.string("list", finding.list.as_str());
    json.string("name", &to_printable(&finding.name, 63));
    json.string("image", &to_printable(&finding.image, 300));
    json.string("verdict", verdict.word());
    // A fixed word, the same as in the metrics.
    json.string("reason", verdict.code());
    json.truth("denies", finding.denies);
    // The scope of the policy: `namespace`, `cluster` or `none`.
    json.string("scope", metrics::Scope::from(evaluation.scope).as_str());
    if let Some(rule) = &evaluation.rule {
        json.string("policy", &rule.policy_name());
        json.string("file", &to_printable(&rule.place.file_name(), 300));
        json.number("line", rule.place.line as u64);
        json.string("pattern", &to_printable(&rule.pattern, 300));
    }
    // The scheme of the check that decides: `trust` or `cosign`.
    json.optional("scheme", evaluation.scheme);
    json.optional("server", evaluation.subject.as_ref().and_then(Subject::server));
    if let Verdict::Verified(verified) = verdict {
        json.string("digest", &verified.digest.sha256().text());
        json.optional("tag", verified.evidence.tag());
        json.key("signers");
        json.begin(b'[');
        verified.signers.iter().take(MAX_SIGNERS).for_each(|signer| json.element(signer));
        json.end(b']');
        // Where the trust data came from: `fetched`, `remembered` or `stood-in`.
        json.string("source", verdict.code());
        if let Freshness::Stale { age } = verified.freshness {
            // The age of stale trust data: the time since the server confirmed it.
            json.number("ageSeconds", age.as_secs());
        }
    }
    // Why the image is not trusted.
    json.optional("message", verdict.reason().map(one_line).as_deref());
    write_checks(json, &evaluation.checks);
    write_others(json, &evaluation.others);
    json.number("micros", micros(evaluation.times.total()));
    json.end(b'}');
}

/// The checks that were made, if there were several.
fn write_checks(json: &mut JsonWriter<'_>, checks: &[CheckVerdict]) {
    if checks.is_empty() {
        return;
    }
    json.key("checks");
    json.begin(b'[');
    for check in checks.iter().take(MAX_CHECKS) {
        json.begin(b'{');
        json.string("scheme", check.scheme);
        json.string("verdict", check.verdict.word());
        json.string("reason", check.verdict.code());
        let server = check.subject.as_ref().and_then(Subject::server);
        json.optional("server", server.map(|server| to_printable(server, MAX_SERVER)).as_deref());
        json.end(b'}');
    }
    json.end(b']');
}

/// The verdicts of the other rules that apply.
fn write_others(json: &mut JsonWriter<'_>, others: &[RuleVerdict]) {
    if others.is_empty() {
        return;
    }
    json.key("others");
    json.begin(b'[');
    for other in others.iter().take(MAX_OTHERS) {
        json.begin(b'{');
        json.string("policy", &other.rule.policy_name());
        json.string("pattern", &to_printable(&other.rule.pattern, 300));
        json.string("verdict", other.verdict.word());
        json.string("reason", other.verdict.code());
        json.end(b'}');
    }
    json.end(b']');
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

    fn finding(image: &str, verdict: Verdict) -> ImageFinding {
        let denies = !matches!(verdict, Verdict::Unchecked);
        let (name, image) = ("c".to_owned(), image.to_owned());
        ImageFinding { list: List::Containers, name, image, evaluation: Box::new(Evaluation::of(verdict)), denies }
    }

    fn rejected(reason: &str) -> Verdict {
        Verdict::Rejected { code: "no-such-tag", reason: reason.into() }
    }

    fn line(format: Format, request: &LoggedRequest<'_>, images: &[ImageFinding]) -> String {
        let decision = LoggedDecision { outcome: Outcome::Denied, basis: "images", why: None, images };
        let took = Duration::from_micros(7);
        super::line(format, Timestamp::UNIX_EPOCH, Endpoint::Admit, request, &decision, took).into_text()
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
