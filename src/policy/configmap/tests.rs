use portreeve_test_support::signer::Key;

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
    let problems = check_data(&data(&[policy("p", 1_000)]), &Owner::Site).unwrap_err();
    assert_eq!(problems.len(), 500);
    let too_many = |texts: &[String]| {
        let problems = check_data(&data(texts), &Owner::Site).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("there are more than 20000 rules"), "{}", problems[0]);
    };
    too_many(&[policy("p", 20_000)]);
    too_many(&[policy("p", 10_000), policy("q", 10_000)]);
}

/// A key can be repeated in a few bytes. None is read beyond the limit, in one text or in all of them.
#[test]
fn keys_have_an_end() {
    let signers = |rule: usize| {
        let key = |n: usize| if (rule, n) == (0, 0) { "&k x" } else { "*k" };
        let signer = |n: usize| format!("{{name: s{n}, publicKey: {}}}", key(n));
        (0..90).map(signer).collect::<Vec<_>>().join(",")
    };
    let rule = |n| format!("{{name: r{n}, policy: {{anyOf: [{{cosign: {{signers: [{}]}}}}]}}}}", signers(n));
    // As many aliases as are read.
    let rules = (0..11).map(rule).collect::<Vec<_>>().join(",");
    let text = format!(
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: p}}\nspec: {{repositories: [{rules}]}}\n"
    );
    let data = |count: usize| (0..count).map(|n| (format!("{n:03}.yaml"), text.clone())).collect();
    let told = |count: usize| check_data(&data(count), &Owner::Site).unwrap_err();
    assert!(!told(10).iter().any(|problem| problem.to_string().contains("signers' keys")));
    let problems = told(20);
    assert_eq!(problems.len(), 1);
    let expected = "010.yaml:4:2536: there are more than 10000 signers' keys; ";
    assert!(problems[0].to_string().starts_with(expected), "{}", problems[0]);
}

/// A policy of ten kilobytes, which aliases make four hundred times as large.
fn repeated(name: &str) -> String {
    let rule = |rule: usize| {
        let value = |n: usize| if (rule, n) == (0, 0) { format!("&a {}", "x".repeat(8_000)) } else { "*a".to_owned() };
        let annotations = (0..90).map(|n| format!("k{n}: {}", value(n))).collect::<Vec<_>>().join(", ");
        format!(
            "  - {{name: r{rule}, policy: {{cosign: {{signerSecrets: [{{name: s}}], annotations: {{{annotations}}}}}}}}}\n"
        )
    };
    let rules: String = (0..5).map(rule).collect();
    format!(
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: {name}}}\nspec:\n  repositories:\n{rules}"
    )
}

/// The values of a tree, and the bytes of its strings.
fn size(node: &Node) -> (usize, usize) {
    let (own, within): (usize, Vec<&Node>) = match &node.value {
        Value::List(items) => (0, items.iter().collect()),
        Value::Map(entries) => (0, entries.iter().map(|(_, value)| value).collect()),
        Value::Text(text) => (text.len(), Vec::new()),
        _ => (0, Vec::new()),
    };
    within.into_iter().map(size).fold((1, own), |sum, size| (sum.0 + size.0, sum.1 + size.1))
}

/// The author of a ConfigMap that is not mounted yet may be a tenant. Each key alone may be read, and all of them would take
/// hundreds of megabytes.
#[test]
fn a_config_map_of_aliases_has_one_budget_for_all_of_its_keys() {
    let texts: BTreeMap<String, String> =
        (0..80).map(|n| (format!("{n:02}.yaml"), repeated(&format!("p{n}")))).collect();
    let written: usize = texts.values().map(String::len).sum();
    assert!((900_000..=MAX_TEXT).contains(&written), "{written}");
    assert!(check_data(&texts.clone().into_iter().take(1).collect(), &Owner::Site).is_ok());

    let mut budget = Budget::of(&Owner::Site);
    let (mut nodes, mut bytes, mut read) = (0, 0, 0);
    for text in texts.values() {
        let Ok(trees) = tree::parse_within(text, &mut budget.tree) else { break };
        let sizes: Vec<_> = trees.iter().map(size).collect();
        nodes += sizes.iter().map(|size| size.0).sum::<usize>();
        bytes += sizes.iter().map(|size| size.1).sum::<usize>();
        read += 1;
    }
    assert!(nodes <= Caps::FILE.nodes && bytes <= Caps::FILE.strings, "{nodes} values, {bytes} bytes");
    assert!(bytes > Caps::FILE.strings / 2 && read < 5, "{read} keys with {bytes} bytes");

    let problems = check_data(&texts, &Owner::Site).unwrap_err();
    assert_eq!(problems.len(), 1);
    let told = problems[0].to_string();
    assert!(told.contains("there is too much in it to be read at once; repeat less by aliases"), "{told}");
}

/// Two bytes of a text can take a hundred in memory.
#[test]
fn a_namespace_s_config_map_has_few_values() {
    let owner = Owner::Namespace("line-1".to_owned());
    let head =
        "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {name: p, namespace: line-1}\nspec: {repositories: [";
    // The most rules and keys.
    let key = Key::p256().public_pem().replace('\n', "\\n");
    let rule = |n: usize| {
        format!("{{name: \"r{n}/*\", policy: {{cosign: {{signers: [{{name: s, publicKey: \"{key}\"}}]}}}}}},")
    };
    let rules: String = (0..256).map(rule).collect();
    let check = |text: String| check_data(&BTreeMap::from([("a.yaml".to_owned(), text)]), &owner);
    assert_eq!(
        check([head, &rules, "]}\n"].concat()).map(|set| set.len()).map_err(|problems| problems[0].to_string()),
        Ok(1)
    );
    for unit in ["{?},", "[],", "~,", "- - - "] {
        let text = [head, "]}\nstatus: [", &unit.repeat(25_000), "]\n"].concat();
        let problems = check(text).unwrap_err();
        assert_eq!(problems.len(), 1, "{unit}");
        let mut budget = Budget::of(&owner);
        assert!(budget.tree.nodes <= 20_000);
        assert!(tree::parse_within(&["[", &unit.repeat(25_000), "]"].concat(), &mut budget.tree).is_err(), "{unit}");
    }
}

/// Teams that share their signers' keys by anchors, each in a key of its own.
#[test]
fn ordinary_anchors_are_read() {
    let key = serde_json::to_string(&Key::p256().public_pem()).unwrap();
    let team = |n: usize| {
        let first =
            format!("  - {{name: r.io/t{n}/a, policy: {{cosign: &c {{signers: [{{name: a, publicKey: {key}}}]}}}}}}\n");
        let others: String =
            (0..20).map(|m| format!("  - {{name: r.io/t{n}/b{m}, policy: {{cosign: *c}}}}\n")).collect();
        let head = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata:";
        (format!("t{n}.yaml"), format!("{head} {{name: t{n}}}\nspec:\n  repositories:\n{first}{others}"))
    };
    assert_eq!(check_data(&(0..100).map(team).collect(), &Owner::Site).unwrap().len(), 100);
}

/// Also a line that a message names beside its own.
#[test]
fn mistakes_in_cosign_name_the_lines_of_the_manifest() {
    let key = serde_json::to_string(&Key::p256().public_pem()).unwrap();
    let policy = |second: &str| {
        format!(
            "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: p}}\nspec:\n  repositories:\n  - name: r.io/*\n    \
             policy:\n      anyOf:\n      - cosign:\n          signers:\n          - {{name: a, publicKey: {key}}}\n{second}"
        )
    };
    let config_map =
        |second: &str| format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  p.yaml: |\n{}", indented(&policy(second), 4));
    assert_eq!(check(&config_map("          threshold: 1\n")), Ok(1));
    for (second, expected) in [
        (
            format!("          - {{name: b, publicKey: {key}}}\n"),
            "m.yaml:16:17: p.yaml: signer \"b\" has the key of signer \"a\" on line 15; ",
        ),
        (
            format!("          - {{name: a, publicKey: {key}}}\n"),
            "m.yaml:16:17: p.yaml: signer \"a\" stands twice, first on line 15; ",
        ),
        (
            "          treshold: 1\n".to_owned(),
            "m.yaml:16:15: p.yaml: unknown field \"treshold\" in policy.cosign; did you mean",
        ),
        (
            "        threshold: 1\n".to_owned(),
            "m.yaml:16:13: p.yaml: \"threshold\" does not belong in an element of policy.anyOf; it",
        ),
    ] {
        let problems = check(&config_map(&second)).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        // The webhook names the key and the line in its value.
        let refused = check_data(&BTreeMap::from([("p.yaml".to_owned(), policy(&second))]), &Owner::Site).unwrap_err();
        assert_eq!((refused.len(), refused[0].place.line), (1, 12), "{refused:?}");
    }
}

#[test]
fn a_key_that_would_be_passed_over_is_told() {
    let config_map = |key: &str| format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  {key}: |\n{}", indented(GOOD, 4));
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
    assert_eq!(check_data(&data("a.yaml", GOOD), &Owner::Site).unwrap().len(), 1);
    let problems = check_data(&data("a.yaml", "x: 1\nx: 2\n"), &Owner::Site).unwrap_err();
    assert_eq!(problems[0].to_string(), "a.yaml:2:1: \"x\" stands twice in one mapping");
    let problems = check_data(&BTreeMap::new(), &Owner::Site).unwrap_err();
    assert!(problems[0].to_string().starts_with("there is no policy"), "{}", problems[0]);
}

#[test]
fn contradictions_across_keys_have_the_manifests_places() {
    let policy = |name: &str, on: bool| {
        let rules = format!("repositories: [{{name: x, policy: {{trust: {{enabled: {on}}}}}}}]");
        indented(&GOOD.replace("repositories: []", &rules).replace("name: p", &format!("name: {name}")), 4)
    };
    let manifest =
        format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n{}  b: |\n{}", policy("a", true), policy("b", false));
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
        "\0", "\t", "\n", "é", "\u{2028}", "{", "[", "]", "*", "&a ", "*a", "!!str ", "|", ">", "'", "\"", "- ", ": ",
        "---", "<<: ",
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
