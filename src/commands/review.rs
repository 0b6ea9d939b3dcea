//! `portreeve review`: decides on files, or on what a cluster runs, with the engine of the webhook.
//!
//! Objects that no webhook would be asked about are skipped, and each is named. An input with nothing to decide is no error, as
//! long as there was something to decide in another one.

mod cluster;
mod input;
mod text;
mod webhooks;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{Input, Output};
use super::manifest::{self, Content, Item, ObjectName};
use super::{ExitStatus, complain, finish_writes};
use crate::admission::decide::{Basis, Decision};
use crate::admission::evaluate::Verdict;
use crate::admission::response::Response;
use crate::base::context::Deadline;
use crate::base::files::{FileError, read_any, read_capped, read_to_end};
use crate::base::json_writer::{Hidden, JsonWriter};
use crate::config::Config;
use crate::kube::api::Api;
use crate::webhook::{Endpoint, Engine};
use input::{Files, hint, shown};
use text::{Counts, line, lines, terminal_width, wrapped};
use webhooks::Webhooks;

/// The most bytes of one input.
const INPUT_CAP: usize = 256 << 20;
/// The most bytes of a summary in a file: kubelet takes no more of a termination message.
const SUMMARY_CAP: usize = 4096;

/// What `review` is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The files; empty: what the cluster runs.
    pub(super) inputs: Vec<Input>,
    pub(super) output: Output,
    /// The namespace of manifests that name none, or the only one of the cluster.
    pub(super) namespace: Option<String>,
    /// Files with the webhook configurations.
    pub(super) webhooks: Vec<PathBuf>,
    /// The file that gets the summary.
    pub(super) summary: Option<PathBuf>,
}

/// Reviews every input and prints the results to standard output, problems to standard error.
pub(super) fn run(config: &Config, engine: &Engine, wanted: &Wanted, timeout: Duration) -> ExitStatus {
    let mut webhooks = Webhooks::of_base(&engine.evaluator().own_namespace);
    for path in &wanted.webhooks {
        if let Err(error) = webhooks.read_file(path) {
            return complain(&error);
        }
    }
    let namespace = wanted.namespace.as_deref();
    let api = match wanted.inputs.is_empty().then(|| cluster::api(&config.api)).transpose() {
        Ok(api) => api,
        Err(error) => return complain(&error),
    };
    let mut out = std::io::stdout().lock();
    let mut review = Review {
        engine,
        webhooks,
        output: wanted.output,
        timeout,
        width: terminal_width(),
        out: &mut out,
        counts: Counts::default(),
        exempt: 0,
        bad: Vec::new(),
    };
    let mut status = match &api {
        Some(api) => review.cluster(api, namespace),
        None => review.inputs(&wanted.inputs, namespace.unwrap_or("default")),
    };
    status = status.worse(review.end(wanted.summary.as_deref()));
    if finish_writes(engine, Deadline::after(timeout)) > 0 {
        log::warn!("trust.cache is slow: not all that was verified is stored");
    }
    status
}

/// A review under way.
struct Review<'a> {
    engine: &'a Engine,
    webhooks: Webhooks,
    output: Output,
    timeout: Duration,
    /// The width of the terminal.
    width: Option<usize>,
    out: &'a mut dyn Write,
    counts: Counts,
    /// Workloads that no webhook would be asked about.
    exempt: usize,
    /// Denied and undecided objects, and what was not read or checked, for the summary.
    bad: Vec<String>,
}

impl Review<'_> {
    fn cluster(&mut self, api: &Api, namespace: Option<&str>) -> ExitStatus {
        if !self.webhooks.is_known()
            && let Err(error) = cluster::read_webhooks(api, namespace, &mut self.webhooks)
        {
            complain(&error);
            self.counts.unread += 1;
            self.bad.push(["not read: ", &error].concat());
            // What is exempt is not known, so no verdict would be right.
            return ExitStatus::Undecided;
        }
        cluster::review(api, namespace, self)
    }

    fn inputs(&mut self, inputs: &[Input], namespace: &str) -> ExitStatus {
        let mut status = ExitStatus::Allowed;
        for input in inputs {
            status = status.worse(self.input(input, namespace));
        }
        if self.counts.decided() + self.exempt == 0 && status == ExitStatus::Allowed {
            status = complain("there was nothing to decide: no input has a workload or an AdmissionReview");
        }
        status
    }

    fn input(&mut self, input: &Input, namespace: &str) -> ExitStatus {
        let path = match input {
            Input::StandardInput => {
                let bytes = read_to_end(std::io::stdin().lock(), Vec::new(), INPUT_CAP);
                return self.file(None, bytes, namespace);
            }
            Input::File(path) => path,
        };
        let found = match Files::of(path) {
            Ok(found) => found,
            Err(error) => return self.not_read(&shown(path), &error),
        };
        let mut status = ExitStatus::Allowed;
        if found.files.is_empty() {
            self.print(line("nothing", &shown(path), "the directory has no .yaml, .yml or .json file"));
        }
        for file in &found.files {
            // A pipe may be named on the command line. One that is in a directory would be waited for.
            let bytes = if path == file { read_any(file, INPUT_CAP) } else { read_capped(file, INPUT_CAP) };
            status = status.worse(self.file(Some(file), bytes, namespace));
        }
        for directory in &found.directories {
            self.print(line("nothing", &shown(directory), "directories in a directory are not read: name it as well"));
        }
        status
    }

    fn file(&mut self, path: Option<&Path>, bytes: Result<Vec<u8>, FileError>, namespace: &str) -> ExitStatus {
        let name = path.map_or_else(|| "standard input".to_owned(), shown);
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return self.not_read(&name, &error.to_string()),
        };
        let items = match manifest::read(&bytes, namespace, self.engine.custom_kinds()) {
            Ok(items) => items,
            Err(error) => {
                let hint = hint(path, &bytes, &error).map(|hint| ["; ", hint].concat()).unwrap_or_default();
                return self.not_read(&name, &format!("{error}{hint}"));
            }
        };
        drop(bytes);
        if items.iter().all(|item| matches!(item.content, Content::Other { .. })) {
            self.print(line("nothing", &name, "has no workload and no AdmissionReview"));
        }
        let mut status = ExitStatus::Allowed;
        for (index, item) in items.iter().enumerate() {
            status = status.worse(self.item(&name, &format!("review-{}", index + 1), item));
        }
        status
    }

    /// Tells of an input that cannot be read. The summary tells of it again, because the message may be far above it.
    fn not_read(&mut self, name: &str, why: &str) -> ExitStatus {
        self.counts.unread += 1;
        self.bad.push(["not read: ", name].concat());
        complain(&[name, ": ", why].concat())
    }

    /// Tells of an object that was found and is not decided on, because it is no review or too large for one. In JSON it is denied:
    /// the API server takes no answer for that.
    fn not_decided(&mut self, file: &str, uid: &str, name: &ObjectName, why: &str) -> ExitStatus {
        let label = name.to_string();
        self.counts.not_decided += 1;
        self.bad.push(["not reviewed: ", &label].concat());
        self.print_note(uid, name, false, ("notReviewed", why));
        complain(&[file, ": ", &label, " is not reviewed: ", why].concat())
    }

    /// Reviews one object.
    fn item(&mut self, file: &str, uid: &str, item: &Item) -> ExitStatus {
        match &item.content {
            Content::Review(body) => self.decide(file, uid, &item.name, body),
            Content::Workload(object) => match self.webhooks.skip(&item.name, object) {
                Some(why) => {
                    self.exempt += 1;
                    self.skip(uid, &item.name, &why)
                }
                None => self.decide(file, uid, &item.name, &item.review(uid, object)),
            },
            Content::Other { why, is_suspect } => {
                if *is_suspect {
                    self.counts.suspect += 1;
                    self.bad.push(["not checked: ", &item.name.to_string()].concat());
                }
                self.skip(uid, &item.name, why)
            }
        }
    }

    /// Names an object that no webhook would be asked about. In JSON it has the answer that the API server would act on.
    fn skip(&mut self, uid: &str, name: &ObjectName, why: &str) -> ExitStatus {
        self.counts.skipped += 1;
        self.print(line("skipped", &name.to_string(), why));
        self.print_note(uid, name, true, ("skipped", why));
        ExitStatus::Allowed
    }

    /// Prints an answer with one annotation, if the output is JSON.
    fn print_note(&mut self, uid: &str, name: &ObjectName, allowed: bool, (key, why): (&'static str, &str)) {
        if self.output == Output::Json {
            let answer = Response {
                api_version: "admission.k8s.io/v1".to_owned(),
                uid: uid.to_owned(),
                allowed,
                message: if allowed { String::new() } else { why.to_owned() },
                patch: None,
                warnings: Vec::new(),
                audit_annotations: vec![(key, why.to_owned())],
            };
            self.print_answer(answer.to_json(), uid, name);
        }
    }

    fn decide(&mut self, file: &str, uid: &str, name: &ObjectName, body: &[u8]) -> ExitStatus {
        let (answer, decided) = self.engine.review(Endpoint::Admit, body, Deadline::after(self.timeout));
        let is_answer = answer.status == 200;
        if self.output == Output::Json && is_answer {
            let uid = decided.as_ref().map_or(uid, |(review, _)| review.request.uid.as_str());
            self.print_answer(answer.body, uid, name);
        }
        let label = name.to_string();
        let (status, text) = match &decided {
            Ok((_, decision)) => (status_of(decision), lines(&label, decision)),
            Err(error) if !is_answer => return self.not_decided(file, uid, name, &error.to_string()),
            Err(error) => (ExitStatus::Denied, vec![line("denied", &label, &error.to_string())]),
        };
        match status {
            ExitStatus::Allowed if decided.as_ref().is_ok_and(|(_, decision)| has_warning(decision)) => {
                self.counts.warned += 1;
            }
            ExitStatus::Allowed => self.counts.allowed += 1,
            ExitStatus::Undecided => {
                self.counts.undecided += 1;
                self.bad.push(["undecided ", &label].concat());
            }
            ExitStatus::Denied | ExitStatus::BadInput => {
                self.counts.denied += 1;
                self.bad.push(["denied ", &label].concat());
            }
        }
        text.into_iter().for_each(|line| self.print(line));
        status
    }

    /// Prints a line, if the output is text.
    fn print(&mut self, mut line: String) {
        if self.output == Output::Text {
            if let Some(width) = self.width {
                line = wrapped(&line, width);
            }
            line.push('\n');
            let _ = self.out.write_all(line.as_bytes()); // a closed pipe is no error
        }
    }

    /// Prints an AdmissionReview with the object that it answers, in the place that a request has in it.
    fn print_answer(&mut self, mut answer: Vec<u8>, uid: &str, name: &ObjectName) {
        while answer.pop_if(|byte| *byte != b'}').is_some() {}
        answer.pop();
        let mut json = JsonWriter::new(&mut answer, Hidden::Escaped);
        json.key("request");
        json.begin(b'{');
        json.string("uid", uid);
        json.key("kind");
        json.begin(b'{');
        json.string("group", &name.group);
        json.string("version", &name.version);
        json.string("kind", &name.kind);
        json.end(b'}');
        json.optional("namespace", name.namespace.as_deref());
        json.optional("name", name.name.as_deref());
        json.end(b'}');
        json.end(b'}');
        answer.push(b'\n');
        let _ = self.out.write_all(&answer);
    }

    /// Prints the summary, and writes it to a file.
    fn end(&mut self, file: Option<&Path>) -> ExitStatus {
        let summary = self.counts.summary();
        let mut status = ExitStatus::Allowed;
        if let Some(file) = file
            && let Err(error) = std::fs::write(file, in_file(&summary, &self.bad))
        {
            status = complain(&format!("{}: the summary cannot be written: {error}", shown(file)));
        }
        self.print(summary);
        status
    }
}

/// The summary with the objects that were denied or undecided, as many as a termination message has room for.
fn in_file(summary: &str, bad: &[String]) -> String {
    let mut text = summary.to_owned();
    text.push('\n');
    for (index, object) in bad.iter().enumerate() {
        // Room for the line that counts the others.
        if text.len() + object.len() + 40 > SUMMARY_CAP {
            text.push_str(&format!("and {} more\n", bad.len() - index));
            break;
        }
        text.push_str(object);
        text.push('\n');
    }
    text
}

fn has_warning(decision: &Decision) -> bool {
    matches!(&decision.basis, Basis::Images(findings) if findings.iter().any(|finding| finding.is_bad()))
}

/// 1 if an image is rejected; 3 if all bad verdicts are `unavailable`.
fn status_of(decision: &Decision) -> ExitStatus {
    if decision.allowed {
        return ExitStatus::Allowed;
    }
    let Basis::Images(findings) = &decision.basis else { return ExitStatus::Denied };
    let mut denying = findings.iter().filter(|finding| finding.denies);
    if denying.all(|finding| matches!(finding.evaluation.verdict, Verdict::Unavailable { .. })) {
        ExitStatus::Undecided
    } else {
        ExitStatus::Denied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_fits_into_a_termination_message() {
        assert_eq!(in_file("s", &[]), "s\n");
        let bad: Vec<String> = (0..500).map(|number| format!("denied Deployment line-1/plc-{number}")).collect();
        let text = in_file("s", &bad);
        assert!(text.len() <= SUMMARY_CAP, "{}", text.len());
        let told = text.lines().count() - 2;
        assert!(told > 100 && text.ends_with(&format!("\nand {} more\n", 500 - told)), "{text}");
    }
}
