//! Policy files and ConfigMaps with policies: every part that asks for a check becomes a rule that checks, or a load
//! error.

use std::collections::BTreeMap;
use std::path::Path;

use portreeve::policy::{self, Checked, PolicyProblem, PolicySet};
use portreeve::schemes::{Check, Requirement};
use portreeve_verify::sigstore::Signer;
use serde_json::Value;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut checked = Checked::default();
    policy::check_manifests(text, Path::new("policy.yaml"), &mut checked);
    told(text, &checked.finish());
    let result =
        policy::check_data(&BTreeMap::from([("policy.yaml".to_owned(), text.to_owned())]), &policy::Owner::Site);
    told(text, &result);
    let Ok(set) = result else { return };
    // An obvious reading: every repository with `trust.enabled: true`, `cosign` or `anyOf` has a rule that requires checks, and
    // every rule that requires nothing comes from a repository without them.
    let Ok(documents) = portreeve::yaml::read_all(text) else { return };
    let repositories: Vec<&Value> = documents.iter().flat_map(repositories).collect();
    let enabled = |repository: &&&Value| {
        let policy = &repository["policy"];
        has_check(policy) || policy.get("anyOf").is_some()
    };
    let denies = |repository: &&&Value| {
        let requirements = repository["policy"]["simple"]["requirements"].as_array();
        let rejects = requirements.into_iter().flatten().any(|requirement| requirement["type"] == "reject");
        rejects || !repository["policy"]["deny"].is_null()
    };
    let (denying, repositories): (Vec<&Value>, Vec<&Value>) =
        repositories.iter().partition(|repository| denies(repository));
    let (asking, others) =
        (repositories.iter().filter(enabled).count(), repositories.iter().filter(|r| !enabled(r)).count());
    let (mut checking, mut nothing, mut denied) = (0, 0, 0);
    for rule in set.rules() {
        match &rule.requirement {
            Requirement::Signed(signed) => {
                checking += 1;
                // An alternative without a check would let every image in.
                assert!(!signed.any_of.is_empty() && signed.any_of.iter().all(|checks| !checks.is_empty()), "{text}");
                let rules = signed.any_of.iter().flatten();
                rules.for_each(|check| has_signers(check, text));
            }
            Requirement::Denied(_) => denied += 1,
            Requirement::Nothing => nothing += 1,
        }
    }
    // The same pattern twice in one scope is one rule.
    assert!(
        checking <= asking && (checking > 0) == (asking > 0),
        "{asking} ask for a check, {checking} rules do\n{text}"
    );
    assert!(
        (denied > 0) != denying.is_empty() && denied <= denying.len(),
        "{denying:?} deny, {denied} rules do\n{text}"
    );
    assert!(nothing <= others && (nothing > 0) == (others > 0), "{others} ask for nothing, {nothing} rules do\n{text}");
}

/// Does it ask for a check, apart from `anyOf`?
fn has_check(policy: &Value) -> bool {
    policy["trust"]["enabled"] == Value::Bool(true) || policy.get("cosign").is_some()
}

/// A rule of cosign has a signer, and a threshold that signers can reach.
fn has_signers(check: &Check, text: &str) {
    let Check::Cosign(rule) = check else { return };
    let signers = rule.signers.len() + rule.signer_secrets.len();
    assert!(rule.threshold.unwrap_or(1) > 0 && rule.threshold.unwrap_or(1) <= signers, "{signers} signers\n{text}");
    let others = |n: usize| rule.signers.iter().skip(n + 1).map(|signer| signer.by.id());
    let twice = |(n, signer): (usize, &Signer)| others(n).any(|id| id == signer.by.id());
    assert!(!rule.signers.iter().enumerate().any(twice), "a signer stands twice\n{text}");
}

/// `spec.repositories` of a policy, or of all in a List.
fn repositories(document: &Value) -> Vec<&Value> {
    let items = document["items"].as_array().into_iter().flatten().flat_map(repositories);
    document["spec"]["repositories"].as_array().into_iter().flatten().chain(items).collect()
}

fn told(text: &str, result: &Result<PolicySet, Vec<PolicyProblem>>) {
    match result {
        Ok(set) => assert!(!set.is_empty()),
        Err(problems) => {
            assert!(!problems.is_empty());
            // Every character that YAML or an editor takes for a line's end; and the line after the last.
            let ends = text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')).count();
            let lines = ends + 2;
            for problem in problems {
                assert!(!problem.to_string().chars().any(|c| c.is_control() && c != '\n'), "{problem}");
                assert!(problem.place.line <= lines, "{problem}");
            }
        }
    }
}
