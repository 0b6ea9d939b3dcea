//! Policies inside ConfigMaps, before they are mounted: for `lint`, and for reviewing ConfigMaps as they are applied.
//!
//! Each value of `data` is a policy file. Where a value is a block of text in a manifest, problems are told by the
//! manifest's own lines; else by the key, and the line within its value.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{self, Document};
use super::fields::Problems;
use super::load::{self, FoundFile, finish};
use super::problem::{At, Fault, PolicyProblem};
use super::tree::{self, Node, Value};
use super::{Place, PolicySet};
use crate::text::printable;

/// What was found in files that are not mounted yet.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many files were looked at.
    pub files: usize,
    documents: Vec<Document>,
    /// What is wrong so far.
    pub problems: Vec<PolicyProblem>,
}

impl Checked {
    /// Puts all that was found together, which may bring further problems: one pattern in two policies.
    pub fn finish(self) -> Result<PolicySet, Vec<PolicyProblem>> {
        finish(self.documents, self.problems)
    }
}

/// Checks the `data` of one ConfigMap by itself: key by key, and all of them together. Problems name the key as file.
pub fn check_data(data: &BTreeMap<String, String>) -> Result<PolicySet, Vec<PolicyProblem>> {
    let mut checked = Checked::default();
    for (key, text) in data {
        let (documents, problems) = document::read_text(text, Path::new(key));
        checked.documents.extend(documents);
        checked.problems.extend(problems.into_list());
    }
    checked.finish()
}

/// Checks a file, or every file below a directory: manifests, or policies as they would be mounted.
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

/// Checks a text of manifests: ConfigMaps of policies, policies, and lists of either.
pub fn check_manifests(text: &str, file: &Path, checked: &mut Checked) {
    let mut problems = Problems::new(file);
    match tree::parse(text) {
        Ok(nodes) => {
            for node in &nodes {
                for item in document::items_of_list(node).unwrap_or(std::slice::from_ref(node)) {
                    check_manifest(item, text, file, &mut problems, checked);
                }
            }
            if nodes.is_empty() {
                problems.report(At::START, Fault::NoPolicies);
            }
        }
        Err((at, fault)) => problems.report(at, fault),
    }
    checked.problems.extend(problems.into_list());
}

fn check_manifest(node: &Node, text: &str, file: &Path, problems: &mut Problems, checked: &mut Checked) {
    let word = |field| node.get(field).and_then(Node::text).unwrap_or_default();
    if (word("apiVersion"), word("kind")) != ("v1", "ConfigMap") {
        document::read_node(node, &mut checked.documents, problems);
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

/// kubelet writes these as files too.
fn decode_binary(typed: &str) -> Result<String, Fault> {
    let compact: String = typed.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(compact).map_err(|_| Fault::NotBase64)?;
    String::from_utf8(bytes).map_err(|_| Fault::NotUtf8)
}

/// Checks one value; every place it gives is then put into the manifest's terms.
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

/// From lines of a value to lines of the manifest that holds it.
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

    /// What the place alone cannot say: the key, and without a block the line within its value.
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

    /// A fault that names a line of its own.
    fn move_fault(&self, fault: &mut Fault) {
        if let (Fault::SignerTwice { first, .. }, Some(block)) = (fault, &self.block) {
            *first += block.lines_before;
        }
    }
}

/// A value that stands in the manifest line by line, indented (`key: |`).
struct Block {
    lines_before: usize,
    indent: usize,
}

impl Block {
    /// Is the value there, word for word? Anything else (quotes, folding, an alias) has no lines to map to.
    fn find(manifest: &str, value: &str, at: At) -> Option<Self> {
        // The reader gives the place of the first line that is not blank.
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
        // One line may as well be a plain scalar behind its key; then the margin above was not blank.
        Some(Self { lines_before, indent })
    }
}
