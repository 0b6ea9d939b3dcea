use std::cell::Cell;

use portreeve_test_support::temp::TempDir;

use super::*;
use crate::policy::Rule;

/// What was read while the files changed is read again, and never taken for their new state.
#[test]
fn what_changes_while_it_is_read_is_read_again() {
    for (changes, expected) in [(0, (1, 0)), (1, (2, 1)), (2, (3, 2)), (3, (4, 3)), (9, (4, 3))] {
        let (reads, state) = (Cell::new(0), Cell::new(0));
        let read = || {
            reads.set(reads.get() + 1);
            state.set(state.get().max(reads.get().min(changes)));
            reads.get()
        };
        assert_eq!(steadily(|| state.get(), read), expected, "{changes} changes");
    }
}

fn policy(kind: &str, metadata: &str, repositories: &str) -> String {
    format!(
        "apiVersion: portreeve/v1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{repositories: [{repositories}]}}\n"
    )
}

/// The site's files and a namespace's are read by the same steps: what did not change is not read, what is wrong is told once,
/// and what could not be read is tried again.
#[test]
fn the_files_of_every_owner_are_read_when_they_change() {
    let namespace = Owner::Namespace("line-1".to_owned());
    let of_site = policy("ClusterImagePolicy", "name: p", "");
    let of_namespace = policy("ImagePolicy", "name: p, namespace: line-1", "");
    for (owner, good) in [(Owner::Site, of_site), (namespace, of_namespace)] {
        let dir = TempDir::new();
        let directories = [dir.path().to_owned()];
        let files = Files { owner: &owner, directories: &directories, namespaces: None };
        let mut reader = Reader::default();
        let mut look = || match reader.check(&files, None) {
            None => ("unchanged".to_owned(), reader.is_retrying()),
            Some(Ok(set)) => (set.len().to_string(), reader.is_retrying()),
            Some(Err(problems)) => (problems[0].message().to_string(), reader.is_retrying()),
        };
        dir.write("a.yaml", &good);
        assert_eq!(look(), ("1".to_owned(), false), "{owner:?}");
        assert_eq!(look(), ("unchanged".to_owned(), false));
        dir.write("a.yaml", format!("{good}spec: {{}}\n"));
        assert!(look().0.contains("\"spec\" stands twice"));
        assert_eq!(look(), ("unchanged".to_owned(), false));
        dir.write("a.yaml", &good);
        std::os::unix::fs::symlink("nowhere", dir.path().join("b.yaml")).unwrap();
        for _ in 0..3 {
            let (told, retries) = look();
            assert!(told.starts_with("cannot be read") && retries, "{owner:?}: {told}");
        }
        std::fs::remove_file(dir.path().join("b.yaml")).unwrap();
        assert_eq!(look(), ("1".to_owned(), false));
        assert_eq!(look(), ("unchanged".to_owned(), false));
        // Files without a policy are a mistake of every owner's.
        dir.write("a.yaml", "# later\n");
        assert!(look().0.starts_with("there is no policy in these files"));
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        let none = if owner == Owner::Site { "there is no policy file" } else { "0" };
        assert!(look().0.starts_with(none), "{owner:?}");
    }
}

/// Both sets are in memory until the new one is in force.
#[test]
fn a_new_set_shares_the_rules_that_did_not_change() {
    let dir = TempDir::new();
    let file = |number: usize, message: &str| {
        let rule =
            |rule: usize| format!("{{name: \"reg.io/a{number}-{rule}/*\", policy: {{deny: {{message: {message}}}}}}}");
        let rules = (0..10).map(rule).collect::<Vec<_>>().join(", ");
        dir.write(
            &format!("site/p{number}.yaml"),
            policy("ImagePolicy", &format!("name: p{number}, namespace: line-{}", number % 3), &rules),
        );
    };
    (0..10).for_each(|number| file(number, "no"));
    let source = PolicySource::new(PolicyPlaces { site: vec![dir.path().join("site")], namespaces: None });
    let old = source.reload_if_changed().in_force.unwrap();
    let shared = |new: &PolicySet| {
        let is_old = |rule: &&Arc<Rule>| old.shared_rules().any(|other| Arc::ptr_eq(rule, other));
        (new.shared_rules().filter(is_old).count(), new.shared_rules().count())
    };
    assert_eq!(shared(&old), (100, 100));

    // A set that cannot be used replaces nothing.
    dir.write("site/p3.yaml", "kind: [");
    assert!(matches!(source.reload_if_changed(), Changes { site: Some(Err(_)), in_force: None, .. }));
    file(3, "never");
    let new = source.reload_if_changed().in_force.unwrap();
    assert_eq!(shared(&new), (90, 100));
    let messages = new.shared_rules().filter(|rule| format!("{:?}", rule.requirement).contains("never"));
    assert_eq!(messages.count(), 10);

    // What moved by a line has another place, which denials name.
    dir.write(
        "site/p4.yaml",
        format!("# moved\n{}", std::fs::read_to_string(dir.path().join("site/p4.yaml")).unwrap()),
    );
    let moved = source.reload_if_changed().in_force.unwrap();
    assert_eq!(shared(&moved), (80, 100));
    assert!(moved.shared_rules().all(|rule| rule.place.line == if rule.policy == "p4" { 5 } else { 4 }));
}
