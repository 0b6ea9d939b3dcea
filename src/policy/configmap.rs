//! Checks policies in ConfigMaps before they are mounted: for `lint`, and for the review of a ConfigMap that is applied.
//!
//! Each value of `data` is a policy file. If a value is a literal block of a manifest, problems name the line of the manifest.
//! Otherwise they name the key, and the line within its value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{self, Document};
use super::fault::Fault;
use super::fields::{MAX_KEYS, Problems};
use super::load::{self, FoundFile, finish};
use super::problem::PolicyProblem;
use super::{Place, PolicySet};
use crate::yaml::list::Identity;
use crate::yaml::tree::{self, At, Caps, Node, Value};
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
        if let (Fault::SignerTwice { first, .. }, Some(block)) = (fault, &self.block) {
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
mod tests {
    use super::*;

    const GOOD: &str =
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {repositories: []}\n";

    fn check(text: &str) -> Result<usize, Vec<String>> {
        let mut checked = Checked::default();
        check_manifests(text, Path::new("m.yaml"), &mut checked);
        checked.finish().map(|set| set.len()).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// A ConfigMap that is cheap to write must not be costly to review.
    #[test]
    fn rules_and_problems_have_an_end() {
        let policy = |name: &str, rules: usize| {
            let rules = "{name: a},".repeat(rules);
            format!(
                "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: {name}}}\nspec: {{repositories: [\
                 {{name: a, policy: {{deny: {{message: x}}}}}},{rules}]}}\n"
            )
        };
        let data = |texts: &[String]| -> BTreeMap<String, String> {
            texts.iter().enumerate().map(|(n, text)| (format!("{n}.yaml"), text.clone())).collect()
        };
        let problems = check_data(&data(&[policy("p", 1_000)])).unwrap_err();
        assert_eq!(problems.len(), 500);
        let too_many = |texts: &[String]| {
            let problems = check_data(&data(texts)).unwrap_err();
            assert_eq!(problems.len(), 1);
            assert!(problems[0].to_string().contains("there are more than 20000 rules"), "{}", problems[0]);
        };
        too_many(&[policy("p", 20_000)]);
        too_many(&[policy("p", 10_000), policy("q", 10_000)]);
    }

    /// A key can be repeated in a few bytes. None is read beyond the limit, in one text or in all of them.
    #[test]
    fn keys_have_an_end() {
        for (check, end) in [("cosign: ", ""), ("anyOf: [{cosign: ", "}]")] {
            let signers = |rule: usize| {
                let key = if rule == 0 { "&k x" } else { "*k" };
                let signer = |n: usize| format!("{{name: s{n}, publicKey: {}}}", if n == 0 { key } else { "*k" });
                (0..90).map(signer).collect::<Vec<_>>().join(",")
            };
            let text = |rules: usize| {
                let rule = |n| format!("{{name: r{n}, policy: {{{check}{{signers: [{}]}}{end}}}}}", signers(n));
                let rules = (0..rules).map(rule).collect::<Vec<_>>().join(",");
                format!(
                    "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: p}}\nspec: {{repositories: [{rules}]}}\n"
                )
            };
            // As many aliases as are read.
            let text = text(11);
            let data = |count: usize| (0..count).map(|n| (format!("{n:03}.yaml"), text.clone())).collect();
            let told = |count: usize| check_data(&data(count)).unwrap_err();
            assert!(!told(10).iter().any(|problem| problem.to_string().contains("signers' keys")));
            let problems = told(20);
            assert_eq!(problems.len(), 1);
            let expected = "010.yaml:1:1: there are more than 10000 signers' keys; ";
            assert!(problems[0].to_string().starts_with(expected), "{}", problems[0]);
        }
    }

    #[test]
    fn a_key_that_would_be_passed_over_is_told() {
        let config_map =
            |key: &str| format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  {key}: |\n{}", indented(GOOD, 4));
        assert_eq!(check(&config_map("p.yaml")), Ok(1));
        let problems = check(&config_map(".p.yaml")).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains("begins with a dot"), "{problems:?}");
    }

    fn indented(text: &str, indent: usize) -> String {
        text.lines().map(|line| format!("{}{line}\n", " ".repeat(indent))).collect()
    }

    #[test]
    fn problems_are_told_by_the_manifests_own_lines() {
        let bad = GOOD.replace("repositories: []", "repository: []");
        let manifest = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  good.yaml: |\n{}  bad.yaml: |\n\n    # why\n{}",
            indented(&GOOD.replace("name: p", "name: q"), 4),
            indented(&bad, 4),
        );
        let problems = check(&manifest).unwrap_err();
        let line = manifest.lines().position(|line| line.contains("repository:")).unwrap() + 1;
        let column = manifest.lines().nth(line - 1).unwrap().find("repository:").unwrap() + 1;
        assert!(
            problems[1].starts_with(&format!("m.yaml:{line}:{column}: bad.yaml: unknown field \"repository\"")),
            "{problems:?}"
        );
    }

    #[test]
    fn without_a_block_the_key_and_the_line_are_told() {
        let value = GOOD.replace("repositories", "repository").replace('\n', "\\n").replace('"', "");
        let manifest = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  k: \"{value}\"\n");
        let problems = check(&manifest).unwrap_err();
        assert!(problems[1].starts_with("m.yaml:4:6: k, line 4 of its value: unknown field"), "{problems:?}");
    }

    #[test]
    fn takes_lists_json_binary_data_and_policies_themselves() {
        let value = GOOD.replace('\n', "\\n");
        let json = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\
             \"data\":{{\"k\":\"{value}\"}}}}]}}"
        );
        assert_eq!(check(&json), Ok(1));
        let binary = STANDARD.encode(GOOD);
        assert_eq!(check(&format!("apiVersion: v1\nkind: ConfigMap\nbinaryData: {{k: {binary}}}\n")), Ok(1));
        assert!(check("apiVersion: v1\nkind: ConfigMap\nbinaryData: {k: \"%\"}\n").is_err());
        assert_eq!(check(GOOD), Ok(1));
        assert_eq!(check(&format!("{GOOD}---\n{}", GOOD.replace("name: p", "name: q"))), Ok(2));
    }

    #[test]
    fn what_holds_no_policy_is_told() {
        for (text, expected) in [
            ("", "no policy"),
            ("apiVersion: v1\nkind: Pod\n", "m.yaml:2:7: not a policy: kind \"Pod\""),
            ("apiVersion: v1\nkind: ConfigMap\n", "\"data\" is missing from the ConfigMap"),
            ("apiVersion: v1\nkind: ConfigMap\ndata: {k: 1}\n", "\"k\" must be a string"),
            ("apiVersion: v1\nkind: ConfigMap\ndata: []\n", "\"data\" must be a mapping"),
            (
                "apiVersion: v1\nkind: ConfigMap\ndata: {k: nonsense}\n",
                "k, line 1 of its value: not a policy, but a string",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\ndata:\n  notes.txt: |\n    ask: bob: or alice\n",
                "notes.txt: not readable as YAML or JSON: ",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\ndata:\n  notes.txt: |\n    ask bob\n",
                "notes.txt: not a policy, but a string; every file and every key here is read as policies: keep other texts",
            ),
            ("apiVersion: v1\nkind: ConfigMap\ndata: {k: \"\"}\n", "no policy"),
        ] {
            let problems = check(text).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}{problems:?}");
        }
    }

    #[test]
    fn one_config_map_by_itself() {
        let data = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
        assert_eq!(check_data(&data("a.yaml", GOOD)).unwrap().len(), 1);
        let problems = check_data(&data("a.yaml", "x: 1\nx: 2\n")).unwrap_err();
        assert_eq!(problems[0].to_string(), "a.yaml:2:1: \"x\" stands twice in one mapping");
        let problems = check_data(&BTreeMap::new()).unwrap_err();
        assert!(problems[0].to_string().starts_with("there is no policy"), "{}", problems[0]);
    }

    #[test]
    fn contradictions_across_keys_have_the_manifests_places() {
        let policy = |name: &str, on: bool| {
            let rules = format!("repositories: [{{name: x, policy: {{trust: {{enabled: {on}}}}}}}]");
            indented(&GOOD.replace("repositories: []", &rules).replace("name: p", &format!("name: {name}")), 4)
        };
        let manifest = format!(
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n{}  b: |\n{}",
            policy("a", true),
            policy("b", false)
        );
        let problems = check(&manifest).unwrap_err();
        assert!(problems[0].starts_with("m.yaml:13:27: pattern \"x\""), "{problems:?}");
        assert!(problems[0].contains("ClusterImagePolicy a, m.yaml:8:27"), "{problems:?}");
    }

    /// Whatever is cut out of manifests, doubled or thrown in, nothing panics.
    #[test]
    fn random_damage_never_panics() {
        let policy = "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {name: p, namespace: n}\nspec:\n  repositories:\n  \
             - name: \"reg.io/*\"\n    policy:\n      mode: warn\n      trust:\n        enabled: true\n        \
             signerSecrets: [{name: a}]\n        roots: [{keyId: ab}]\n        maxStale: 24h\n";
        let manifest = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  é.yaml: |\n{}", indented(policy, 4));
        const PIECES: &[&str] = &[
            "\0", "\t", "\n", "é", "\u{2028}", "{", "[", "]", "*", "&a ", "*a", "!!str ", "|", ">", "'", "\"", "- ",
            ": ", "---", "<<: ",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 1_000_003).unwrap() % limit
        };
        for _ in 0..2_000 {
            let mut text: Vec<char> = if next(2) == 0 { policy.chars().collect() } else { manifest.chars().collect() };
            for _ in 0..=next(4) {
                let from = next(text.len());
                let to = (from + next(20)).min(text.len());
                let piece: Vec<char> = match next(3) {
                    0 => Vec::new(),
                    1 => text[from..to].to_vec().repeat(2),
                    _ => PIECES[next(PIECES.len())].chars().collect(),
                };
                text.splice(from..to, piece);
            }
            let text: String = text.into_iter().collect();
            if let Err(problems) = check(&text) {
                assert!(!problems.is_empty());
                assert!(problems.iter().all(|problem| !problem.chars().any(char::is_control)), "{problems:?}");
            }
        }
    }
}
