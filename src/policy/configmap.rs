//! Checks policies in ConfigMaps before they are mounted: for `lint`, and for the review of a ConfigMap that is applied.
//!
//! Each value of `data` is a policy file. If a value is a literal block of a manifest, problems name the line of the manifest.
//! Otherwise they name the key, and the line within its value.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{self, Document};
use super::fault::Fault;
use super::fields::Problems;
use super::load::{self, Finder, FoundFile, finish};
use super::namespaces::Namespaces;
use super::notes::{Note, PolicyNote};
use super::owner::{Budget, CONFIG_MAP, NAMESPACE, Owner};
use super::problem::PolicyProblem;
use super::{Place, PolicySet};
use crate::base::files::{into_text, read_to_end};
use crate::base::text::nearest;
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
    /// Those of ConfigMaps that belong to one namespace.
    own: Vec<Document>,
    /// The problems so far.
    pub problems: Vec<PolicyProblem>,
    /// ConfigMaps that are probably meant to be the site's, and are not.
    pub notes: Vec<PolicyNote>,
}

impl Checked {
    /// Builds one set of all policies. This can find further problems, such as one pattern in two policies.
    pub fn finish(mut self) -> Result<PolicySet, Vec<PolicyProblem>> {
        if self.documents.is_empty() && self.own.is_empty() && self.problems.is_empty() {
            self.problems.push(load::problem(&self.first.unwrap_or_default(), Fault::NoPolicies));
        }
        let own = finish(self.own, self.problems);
        let (own, problems) = own.map_or_else(|problems| (None, problems), |own| (Some(own), Vec::new()));
        let site = finish(self.documents, problems)?;
        Ok(site.with(own.map(Namespaces::of).unwrap_or_default()))
    }
}

/// Checks the `data` of one ConfigMap of this owner: each key, and all keys together. Problems name the key as the file.
pub fn check_data(data: &BTreeMap<String, String>, owner: &Owner) -> Result<PolicySet, Vec<PolicyProblem>> {
    let mut checked = Checked::default();
    let (mut budget, caps) = (Budget::of(owner), owner.caps());
    let bytes = data.values().map(String::len).fold(0, usize::saturating_add);
    if bytes > caps.bytes || data.len() > caps.files {
        let fault = match bytes > caps.bytes {
            true => Fault::TooLargeTogether { limit: caps.bytes },
            false => Fault::TooManyFiles { limit: caps.files },
        };
        return Err(vec![load::problem(Path::new(""), fault)]);
    }
    for (key, text) in data {
        if is_passed_over(key) {
            checked.problems.push(load::problem(Path::new(key), Fault::PassedOver));
        }
        // All keys share the budget: each could repeat as much by aliases as a whole file may hold.
        let (documents, problems) = document::read_within(&mut budget, text, Path::new(key));
        checked.documents.extend(documents);
        checked.problems.extend(problems.into_list());
        if let Some(excess) = Budget::excess(&mut checked.problems) {
            return Err(excess);
        }
    }
    owner.take(&checked.documents, &mut checked.problems);
    let is_empty = checked.documents.is_empty() && checked.problems.is_empty();
    match data.keys().next() {
        None if *owner != Owner::Site => {}
        first if is_empty => {
            let file = first.map(String::as_str).unwrap_or_default();
            checked.problems.push(load::problem(Path::new(file), owner.no_policies()));
        }
        _ => {}
    }
    finish(checked.documents, checked.problems)
}

/// The files by which kustomize and Helm know a directory with the source of manifests. A site's has keys beside it.
const SOURCES: [&str; 4] = ["kustomization.yaml", "kustomization.yml", "Kustomization", "Chart.yaml"];

/// Checks a file, or every file below a directory. A file holds manifests, or policies as they are mounted. Of a directory with the
/// source of manifests no file is read.
pub fn check_path(path: &Path, checked: &mut Checked) {
    let mut files = Vec::new();
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        files.push(FoundFile { shown: path.to_owned(), real: path.to_owned() });
    } else {
        let mut finder = Finder::new(load::MAX_FILES);
        finder.find(path, path, load::MAX_DEPTH);
        if finder.files.is_empty() && finder.problems.is_empty() {
            checked.problems.push(load::problem(path, Fault::NoFiles));
        }
        checked.problems.append(&mut finder.problems);
        files = finder.files;
        leave_out_sources(&mut files, &mut checked.problems);
    }
    for file in files {
        checked.files += 1;
        match load::read_file(&file.real) {
            Ok(text) => check_manifests(&text, &file.shown, checked),
            Err(fault) => checked.problems.push(load::problem(&file.shown, fault)),
        }
    }
}

/// Removes the files below directories that are the source of manifests. Reports the outermost of these directories.
fn leave_out_sources(files: &mut Vec<FoundFile>, problems: &mut Vec<PolicyProblem>) {
    let source_of = |found: &FoundFile| {
        let file = SOURCES.into_iter().find(|name| found.shown.ends_with(name))?;
        Some((found.shown.parent()?.to_owned(), file))
    };
    let sources: Vec<(PathBuf, &'static str)> = files.iter().filter_map(source_of).collect();
    for (directory, file) in &sources {
        if !sources.iter().any(|(outer, _)| outer != directory && directory.starts_with(outer)) {
            problems.push(load::problem(directory, Fault::Source { file }));
        }
    }
    files.retain(|found| !sources.iter().any(|(directory, _)| found.shown.starts_with(directory)));
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
    let metadata = |field| node.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Node::text);
    let name = metadata("name");
    let known = name.and_then(Owner::of_config_map);
    if let Some(found) = other_than_the_sites(name.unwrap_or_default(), metadata("namespace"), known.as_ref()) {
        checked.notes.push(PolicyNote {
            place: Place::new(file, node.at),
            own: None,
            note: Note::OtherConfigMap { found },
        });
    }
    let owner = known.unwrap_or(Owner::Site);
    let data = (node.get("data"), node.get("binaryData"));
    if matches!(data, (None, None)) && owner == Owner::Site {
        problems.report(node.at, Fault::Missing { field: "data", inside: "the ConfigMap" });
    }
    let mut held = Held::default();
    for (field, data, decode) in [("data", data.0, false), ("binaryData", data.1, true)] {
        let Some(data) = data else { continue };
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
                    Ok(decoded) => {
                        held.check(&owner, &decoded, &Mapping::new(&key.text, None, value.at, file), checked)
                    }
                    Err(fault) => problems.report(value.at, fault),
                }
            } else {
                let block = Block::find(text, typed, value.at);
                held.check(&owner, typed, &Mapping::new(&key.text, block, value.at, file), checked);
            }
        }
    }
    held.finish(&owner, node.at, problems, checked);
}

/// The namespace and the name of a ConfigMap that is nearly the site's. Without a namespace, kustomize or kubectl gives it one.
fn other_than_the_sites(name: &str, namespace: Option<&str>, known: Option<&Owner>) -> Option<String> {
    let is_other = match known {
        Some(Owner::Site) => namespace.is_some_and(|namespace| namespace != NAMESPACE),
        Some(Owner::Namespace(_)) => false,
        None => nearest(name, [CONFIG_MAP]).is_some(),
    };
    is_other.then(|| [namespace.unwrap_or(NAMESPACE), "/", name].concat())
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

/// What one ConfigMap holds.
#[derive(Default)]
struct Held {
    files: usize,
    bytes: usize,
    /// What is left for a namespace's own policies.
    budget: Option<Budget>,
    documents: Vec<Document>,
}

impl Held {
    /// Checks one value, and converts every place in it to a place in the manifest.
    fn check(&mut self, owner: &Owner, text: &str, mapping: &Mapping<'_>, checked: &mut Checked) {
        let budget = match owner {
            Owner::Site => &mut Budget::of(owner),
            Owner::Namespace(_) => self.budget.get_or_insert_with(|| Budget::of(owner)),
        };
        let (mut documents, problems) = document::read_within(budget, text, mapping.file);
        self.files += 1;
        self.bytes += text.len();
        for document in &mut documents {
            mapping.move_place(&mut document.place);
            // Nothing shares them yet.
            for rule in document.rules.iter_mut().filter_map(|(_, rule)| Arc::get_mut(rule)) {
                mapping.move_place(&mut rule.place);
            }
        }
        self.documents.extend(documents);
        checked.problems.extend(problems.into_list().into_iter().map(|mut problem| {
            problem.within = Some(mapping.within(&problem.place));
            mapping.move_place(&mut problem.place);
            mapping.move_fault(&mut problem.fault);
            problem
        }));
    }

    /// Checks what the owner of the ConfigMap may write.
    fn finish(mut self, owner: &Owner, at: At, problems: &mut Problems, checked: &mut Checked) {
        if *owner == Owner::Site {
            checked.documents.append(&mut self.documents);
            return;
        }
        let caps = owner.caps();
        if self.bytes > caps.bytes {
            problems.report(at, Fault::TooLargeTogether { limit: caps.bytes });
        }
        if self.files > caps.files {
            problems.report(at, Fault::TooManyFiles { limit: caps.files });
        }
        if self.documents.is_empty() && self.files > 0 && checked.problems.is_empty() {
            problems.report(at, owner.no_policies());
        }
        owner.take(&self.documents, &mut checked.problems);
        checked.own.append(&mut self.documents);
    }
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
