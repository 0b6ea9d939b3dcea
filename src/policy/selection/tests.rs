//! What a lookup costs, counted in comparisons.

use std::collections::BTreeMap;

use super::*;
use crate::policy::{Owner, check_data};

/// The most rules of a namespace's own ConfigMap.
const RULES: usize = 256;

/// The rules of a namespace's own ConfigMap with these patterns, each with a message of its own.
fn own(patterns: impl Iterator<Item = String>) -> Arc<Rules> {
    let rule = |(n, pattern): (usize, String)| {
        format!("  - {{name: \"{pattern}\", policy: {{deny: {{message: \"{}{n}\"}}}}}}\n", "x".repeat(400))
    };
    let rules: String = patterns.enumerate().map(rule).collect();
    let text = format!(
        "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {{name: a, namespace: line-1}}\nspec:\n  repositories:\n{rules}"
    );
    let data = BTreeMap::from([("p.yaml".to_owned(), text)]);
    let set = check_data(&data, &Owner::Namespace("line-1".to_owned())).unwrap();
    set.into_namespaces().remove("line-1").unwrap()
}

/// The number of comparisons for this image, and what was found.
fn compared<'r>(rules: &'r Rules, image: &str) -> (usize, Found<'r>) {
    let mut compared = 0;
    let found = rules.find_counting(&Reference::parse(image).unwrap(), &mut compared);
    (compared, found)
}

fn digest(name: &str) -> String {
    format!("{name}@sha256:{}", "0".repeat(64))
}

/// Each of 256 rules is compared once with an image, whatever the image is.
#[test]
fn a_rule_of_a_namespace_is_compared_once_with_an_image() {
    let rules = own((0..RULES).map(|n| format!("*a*a*a*/*a*a*a*a{n:03}")));
    let name = format!("a{}/{}", "a.a".repeat(20), "a".repeat(150));
    for image in [format!("{name}:v1"), digest(&name)] {
        let (compared, found) = compared(&rules, &image);
        assert!(matches!(found, Found::Nothing), "{found:?}");
        assert_eq!(compared, RULES);
    }
    // All of them match: they are not compared with one another.
    let rules = own((0..RULES).map(|n| format!("*/*:*{}*{n:03}*", "v".repeat(20))));
    let (count, found) = compared(&rules, &digest("a.io/a"));
    assert!(matches!(found, Found::TooMany), "{found:?}");
    assert_eq!(count, RULES);
}

/// As many rules as are compared with one another, and all others beside them, in the shapes that cost the most.
#[test]
fn the_rules_of_a_namespace_are_compared_with_one_another_within_a_bound() {
    const MOST: usize = RULES + 2 * MAX_DELEGATED_CANDIDATES * MAX_DELEGATED_CANDIDATES;
    let most = MAX_DELEGATED_CANDIDATES;
    let others = |shape: Vec<String>| {
        let left = RULES - shape.len();
        own(shape.into_iter().chain((0..left).map(|n| format!("*b.io/*b*b*b{n:03}"))))
    };
    for shape in [
        // Equally specific, and none matches all tags of another.
        (0..most).map(|n| format!("a.io/a:*v*{n:03}*")).collect(),
        // Each more specific than the one before it.
        (0..most).map(|n| format!("a.io/a:*v{}*w*{n:03}*", "x".repeat(n))).collect(),
        // Equally specific, and each matches the tags of each other.
        (0..most).map(|n| format!("a.io/{}*{}:v*", "a".repeat(n), "a".repeat(most - n))).collect(),
    ] as [Vec<String>; 3]
    {
        let rules = others(shape);
        let long = format!("a.io/{}", "a".repeat(most));
        let counts = [digest(&long), digest("a.io/a"), format!("{long}:v1")].map(|image| compared(&rules, &image).0);
        assert!(counts.iter().all(|count| *count <= MOST), "{counts:?}");
        // Not because nothing was compared.
        assert!(counts.iter().any(|count| *count >= most * most / 2), "{counts:?}");
    }
    let rules = others((0..most).map(|n| format!("a.io/a:*v*{n:03}*")).collect());
    let (count, found) = compared(&rules, &digest("a.io/a"));
    assert!(matches!(&found, Found::Rules(lists) if lists.len() == most), "{found:?}");
    assert!(count >= most * most, "{count}");
}

/// What one namespace pays for its many stars: none of them is in force.
#[test]
fn a_namespace_s_pattern_with_many_stars_is_refused() {
    let check = |owner: &Owner, stars: usize| {
        let text = format!(
            "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {{name: a, namespace: line-1}}\nspec:\n  \
             repositories:\n  - name: \"a.io/{}\"\n",
            "*a".repeat(stars)
        );
        let result = check_data(&BTreeMap::from([("p.yaml".to_owned(), text)]), owner);
        result.map(drop).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let own = Owner::Namespace("line-1".to_owned());
    for (owner, most) in [(own, 8), (Owner::Site, 32)] {
        assert_eq!(check(&owner, most), Ok(()));
        let problem = check(&owner, most + 1).unwrap_err();
        assert_eq!(
            problem.split_once(": ").map(|(place, words)| (place.starts_with("p.yaml:6:"), words.to_owned())),
            Some((
                true,
                format!(
                    "the pattern has {} stars, the most is {most}; write several patterns with fewer stars",
                    most + 1
                )
            )),
            "{problem}"
        );
    }
}
