//! Checks policies in ConfigMaps before they are mounted: for `lint`, and for the review of a ConfigMap that is applied.
//!
//! Each value of `data` is a policy file. If a value is a literal block of a manifest, problems name the line of the manifest.
//! Otherwise they name the key, and the line within its value.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{self, Document};
use super::fault::Fault;
use super::fields::{MAX_KEYS, Problems};
use super::load::{self, FoundFile, finish};
use super::problem::PolicyProblem;
use super::{Place, PolicySet};
use crate::base::files::{into_text, read_to_end};
use crate::yaml::list::Identity;
use crate::yaml::tree::{self, At, Caps, MAX_TEXT, Node, Value};
use portreeve_verify::text::printable;

/// The policies and problems in files that are not mounted yet.
#[derive(Debug, Default)]
pub struct Checked {
    /// The number of files.
    pub files: usize,
    /// The first file. If there is no policy at all, the problem names this file.
    first: Option<PathBuf>,
    documents: Vec<Document>,
    /// The problems so far.
    pub problems: Vec<PolicyProblem>,
}

impl Checked {
    /// Builds one set of all policies. This can find further problems, such as one pattern in two policies.
    pub fn finish(mut self) -> Result<PolicySet, Vec<PolicyProblem>> {
        if self.documents.is_empty() && self.problems.is_empty() {
            self.problems.push(load::problem(&self.first.unwrap_or_default(), Fault::NoPolicies));
        }
        finish(self.documents, self.problems)
    }
}

/// Checks the `data` of one ConfigMap: each key, and all keys together. Problems name the key as the file.
pub fn check_data(data: &BTreeMap<String, String>) -> Result<PolicySet, Vec<PolicyProblem>> {
    let mut checked = Checked::default();
    let mut keys = 0;
    for (key, text) in data {
        checked.first.get_or_insert_with(|| PathBuf::from(key));
        if is_passed_over(key) {
            checked.problems.push(load::problem(Path::new(key), Fault::PassedOver));
        }
        let (documents, problems) = document::read_text(text, Path::new(key));
        checked.documents.extend(documents);
        keys += problems.keys();
        checked.problems.extend(problems.into_list());
        if keys > MAX_KEYS {
            return Err(vec![load::problem(Path::new(key), Fault::TooManyKeys { limit: MAX_KEYS })]);
        }
        if checked.documents.iter().map(|document| document.rules.len()).sum::<usize>() > document::MAX_RULES {
            let fault = Fault::TooManyRules { limit: document::MAX_RULES };
            return Err(vec![load::problem(Path::new(key), fault)]);
        }
    }
    checked.finish()
}

/// Checks a file, or every file below a directory. A file holds manifests, or policies as they are mounted.
pub fn check_path(path: &Path, checked: &mut Checked) {
    let mut files = Vec::new();
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        files.push(FoundFile { shown: path.to_owned(), real: path.to_owned() });
    } else {
        let before = checked.problems.len();
        load::find_files(path, path, load::MAX_DEPTH, &mut files, &mut checked.problems);
        if files.is_empty() && checked.problems.len() == before {
            checked.problems.push(load::problem(path, Fault::NoFiles));
        }
    }
    for file in files {
        checked.files += 1;
        match load::read_file(&file.real) {
            Ok(text) => check_manifests(&text, &file.shown, checked),
            Err(fault) => checked.problems.push(load::problem(&file.shown, fault)),
        }
    }
}

/// Checks manifests that are read from a stream. `name` stands for their file in messages.
pub fn check_stream(input: impl Read, name: &Path, checked: &mut Checked) {
    checked.files += 1;
    match read_to_end(input, Vec::new(), MAX_TEXT).and_then(into_text) {
        Ok(text) => check_manifests(&text, name, checked),
        Err(error) => checked.problems.push(load::problem(name, error.into())),
    }
}

/// Checks manifests: ConfigMaps with policies, policies, and lists of either.
pub fn check_manifests(text: &str, file: &Path, checked: &mut Checked) {
    checked.first.get_or_insert_with(|| file.to_owned());
    let mut problems = Problems::new(file);
    match tree::parse(text, Caps::FILE) {
        Ok(nodes) => {
            for node in &nodes {
                for (item, identity) in document::items_of(node, &mut problems) {
                    check_manifest(item, identity, text, file, &mut problems, checked);
                }
            }
        }
        Err(error) => problems.report(error.at, error.fault.into()),
    }
    checked.problems.extend(problems.into_list());
}

fn check_manifest(
    node: &Node,
    identity: Identity<'_>,
    text: &str,
    file: &Path,
    problems: &mut Problems,
    checked: &mut Checked,
) {
    if identity != ("v1", "ConfigMap") {
        checked.documents.extend(document::read_policy(node, identity, problems));
        return;
    }
    if node.get("data").is_none() && node.get("binaryData").is_none() {
        problems.report(node.at, Fault::Missing { field: "data", inside: "the ConfigMap" });
    }
    for (field, decode) in [("data", false), ("binaryData", true)] {
        let Some(data) = node.get(field) else { continue };
        let Value::Map(entries) = &data.value else {
            problems.wrong_type(field, "a mapping", data);
            continue;
        };
        for (key, value) in entries {
            let Some(typed) = value.text() else {
                problems.wrong_type(&key.text, "a string", value);
                continue;
            };
            if is_passed_over(&key.text) {
                problems.report(value.at, Fault::PassedOver);
            }
            if decode {
                match decode_binary(typed) {
                    Ok(decoded) => check_value(&decoded, &Mapping::new(&key.text, None, value.at, file), checked),
                    Err(fault) => problems.report(value.at, fault),
                }
            } else {
                let block = Block::find(text, typed, value.at);
                check_value(typed, &Mapping::new(&key.text, block, value.at, file), checked);
            }
        }
    }
}

/// Once mounted, a file with such a name is not read (see `load`), and its rules would have no effect.
fn is_passed_over(key: &str) -> bool {
    key.starts_with('.')
}

/// kubelet mounts binary data as files too.
fn decode_binary(typed: &str) -> Result<String, Fault> {
    let compact: String = typed.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(compact).map_err(|_| Fault::NotBase64)?;
    String::from_utf8(bytes).map_err(|_| Fault::NotUtf8)
}

/// Checks one value, and converts every place in it to a place in the manifest.
fn check_value(text: &str, mapping: &Mapping<'_>, checked: &mut Checked) {
    let (mut documents, problems) = document::read_text(text, mapping.file);
    for document in &mut documents {
        mapping.move_place(&mut document.place);
        document.rules.iter_mut().for_each(|(_, rule)| mapping.move_place(&mut rule.place));
    }
    checked.documents.extend(documents);
    checked.problems.extend(problems.into_list().into_iter().map(|mut problem| {
        problem.within = Some(mapping.within(&problem.place));
        mapping.move_place(&mut problem.place);
        mapping.move_fault(&mut problem.fault);
        problem
    }));
}

/// Converts lines of a value to lines of the manifest.
struct Mapping<'a> {
    key: &'a str,
    block: Option<Block>,
    value: At,
    file: &'a Path,
}

impl<'a> Mapping<'a> {
    fn new(key: &'a str, block: Option<Block>, value: At, file: &'a Path) -> Self {
        Self { key, block, value, file }
    }

    /// The key, and, if the value is no literal block, the line within it.
    fn within(&self, place: &Place) -> String {
        let key = printable(self.key, 80);
        match self.block {
            Some(_) => key,
            None => format!("{key}, line {} of its value", place.line),
        }
    }

    fn move_place(&self, place: &mut Place) {
        match &self.block {
            Some(block) => {
                place.line += block.lines_before;
                place.column += block.indent;
            }
            None => (place.line, place.column) = (self.value.line, self.value.column),
        }
    }

    /// Converts the line that a fault itself names.
    fn move_fault(&self, fault: &mut Fault) {
        if let (Fault::SignerTwice { first, .. } | Fault::KeyTwice { first, .. }, Some(block)) = (fault, &self.block) {
            *first += block.lines_before;
        }
    }
}

/// A literal block: a value that is written in the manifest line by line, indented (`key: |`).
struct Block {
    lines_before: usize,
    indent: usize,
}

impl Block {
    /// The block, if the manifest has the value word for word. Quotes, folding and aliases have no lines to convert to.
    fn find(manifest: &str, value: &str, at: At) -> Option<Self> {
        // The parser gives the place of the first line that is not blank.
        let leading = value.lines().take_while(|line| line.trim().is_empty()).count();
        let lines_before = at.line.checked_sub(leading + 1)?;
        let indent = at.column.checked_sub(1)?;
        let mut lines = manifest.lines().skip(lines_before);
        for line in value.lines() {
            let written = lines.next()?;
            let blank = line.is_empty() && written.trim().is_empty();
            let same =
                written.split_at_checked(indent).is_some_and(|(margin, rest)| margin.trim().is_empty() && rest == line);
            if !blank && !same {
                return None;
            }
        }
        // A value of one line can be a plain scalar after its key. Then the margin above was not blank.
        Some(Self { lines_before, indent })
    }
}

#[cfg(test)]
mod tests;
