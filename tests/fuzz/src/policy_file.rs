//! Policy files and ConfigMaps with policies: every part that asks for a check becomes a rule that checks, or a load
//! error.

use std::collections::BTreeMap;
use std::path::Path;

use portreeve::policy::{self, Checked, PolicyProblem, PolicySet};
use portreeve::schemes::Requirement;
use serde_json::Value;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut checked = Checked::default();
    policy::check_manifests(text, Path::new("policy.yaml"), &mut checked);
    told(text, &checked.finish());
    let result = policy::check_data(&BTreeMap::from([("policy.yaml".to_owned(), text.to_owned())]));
    told(text, &result);
    let Ok(set) = result else { return };
    // An obvious reading: every repository with `trust.enabled: true` has a rule that requires trust data, and every
    // rule that requires nothing comes from a repository without it.
    let Ok(documents) = portreeve::yaml::read_all::<Value>(text) else { return };
    let repositories: Vec<&Value> = documents.iter().flat_map(repositories).collect();
    let enabled = |repository: &&&Value| repository["policy"]["trust"]["enabled"] == Value::Bool(true);
    let denies = |repository: &&&Value| {
        let requirements = repository["policy"]["simple"]["requirements"].as_array();
        let rejects = requirements.into_iter().flatten().any(|requirement| requirement["type"] == "reject");
        rejects || !repository["policy"]["deny"].is_null()
    };
    let (denying, repositories): (Vec<&Value>, Vec<&Value>) =
        repositories.iter().partition(|repository| denies(repository));
    let (asking, others) =
        (repositories.iter().filter(enabled).count(), repositories.iter().filter(|r| !enabled(r)).count());
    let (mut trusting, mut nothing, mut denied) = (0, 0, 0);
    for rule in set.rules() {
        match rule.requirement {
            Requirement::Signed(_) => trusting += 1,
            Requirement::Denied(_) => denied += 1,
            Requirement::Nothing => nothing += 1,
        }
    }
    // The same pattern twice in one scope is one rule.
    assert!(
        trusting <= asking && (trusting > 0) == (asking > 0),
        "{asking} ask for trust, {trusting} rules do\n{text}"
    );
    assert!(
        (denied > 0) != denying.is_empty() && denied <= denying.len(),
        "{denying:?} deny, {denied} rules do\n{text}"
    );
    assert!(nothing <= others && (nothing > 0) == (others > 0), "{others} ask for nothing, {nothing} rules do\n{text}");
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
