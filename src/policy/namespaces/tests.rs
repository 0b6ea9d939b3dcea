use std::path::PathBuf;

use portreeve_test_support::temp::TempDir;
use portreeve_verify::image::Reference;

use super::*;
use crate::policy::load::tests::mount;
use crate::policy::{Changes, PolicyPlaces, PolicySource, Selection, load_all};

/// The site's policies, and the directory of the namespaces.
struct Site {
    dir: TempDir,
    source: PolicySource,
    generation: std::cell::Cell<usize>,
}

const SITE: &str = "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {name: site}\nspec:\n  repositories:\n  \
                    - {name: reg.io/site}\n";

/// An ImagePolicy that denies this pattern.
fn policy(namespace: &str, pattern: &str) -> String {
    let deny = "policy: {deny: {message: no}}";
    format!(
        "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {{name: own, namespace: {namespace}}}\nspec:\n  \
         repositories:\n  - {{name: \"{pattern}\", {deny}}}\n"
    )
}

impl Site {
    fn new() -> Self {
        let dir = TempDir::new();
        dir.write("site/p.yaml", SITE);
        dir.directory("own");
        let source = PolicySource::new(Self::places(&dir));
        Self { dir, source, generation: std::cell::Cell::new(0) }
    }

    fn places(dir: &TempDir) -> PolicyPlaces {
        PolicyPlaces { site: vec![dir.path().join("site")], namespaces: Some(dir.path().join("own")) }
    }

    /// Mounts a namespace's ConfigMap as kubelet does; without files, an empty or absent one.
    fn mount(&self, namespace: &str, files: &[(&str, &str)]) {
        self.generation.set(self.generation.get() + 1);
        let directory = self.dir.directory(&format!("own/{namespace}"));
        for old in std::fs::read_dir(&directory).unwrap().flatten() {
            if !old.file_name().to_string_lossy().starts_with('.') {
                std::fs::remove_file(old.path()).unwrap();
            }
        }
        std::fs::create_dir_all(directory.join(format!("..{}", self.generation.get()))).unwrap();
        mount(&directory, &format!("..{}", self.generation.get()), files);
    }

    /// What is new: each change in words, and the policies in force.
    fn look(&self) -> (Vec<String>, Option<Arc<PolicySet>>) {
        let Changes { namespaces, in_force, .. } = self.source.reload_if_changed();
        let told = namespaces.iter().map(|change| {
            let result = match &change.result {
                Ok(count) => count.to_string(),
                Err(problems) => {
                    problems.iter().map(|problem| problem.message().to_string()).collect::<Vec<_>>().join("|")
                }
            };
            format!("{} {:?} {result}", change.namespace, change.state)
        });
        (told.collect(), in_force)
    }

    /// The set of a process that has just started.
    fn started(&self) -> PolicySet {
        load_all(&Self::places(&self.dir)).unwrap().0
    }
}

/// Which policies decide on an image: `site`, `own`, both, `nothing` or `unusable`.
fn decides(set: &PolicySet, namespace: &str, image: &str) -> String {
    match set.select(namespace, &Reference::parse(image).unwrap()) {
        Selection::Rules(lists) => {
            let rules = lists.iter().flat_map(|list| &list.rules);
            rules.map(|rule| rule.policy.clone()).collect::<Vec<_>>().join("+")
        }
        Selection::Unusable(fault) => format!("unusable: {fault}"),
        Selection::NoMatch { .. } => "no match".to_owned(),
        Selection::NoPolicy | Selection::TooMany => "nothing".to_owned(),
    }
}

#[test]
fn a_namespace_has_the_policies_of_its_own_directory() {
    let site = Site::new();
    site.mount("line-1", &[("p.yaml", &policy("line-1", "reg.io/site"))]);
    site.mount("line-2", &[]);
    let (told, set) = site.look();
    assert_eq!(told, ["line-1 InForce 1"], "an empty ConfigMap says nothing");
    let set = set.unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(decides(&set, "line-1", "reg.io/site"), "own");
    assert_eq!(decides(&set, "line-1", "reg.io/other"), "no match", "ClusterImagePolicies do not count beside it");
    for other in ["line-2", "line-3"] {
        assert_eq!(decides(&set, other, "reg.io/site"), "site");
    }
    assert!(set.rules().all(|rule| rule.is_delegated == (rule.policy == "own")));
    assert!(set.mounted().has("line-2") && !set.mounted().has("line-3"));
    assert_eq!(site.look().0, [""; 0]);
    site.mount("line-1", &[]);
    let (told, set) = site.look();
    assert_eq!(told, ["line-1 Absent 0"]);
    assert_eq!(decides(&set.unwrap(), "line-1", "reg.io/site"), "site");
}

#[test]
fn a_fault_concerns_its_own_namespace_alone() {
    let site = Site::new();
    let good = policy("line-1", "reg.io/site");
    site.mount("line-1", &[("p.yaml", &good)]);
    site.mount("line-2", &[("p.yaml", &policy("line-2", "reg.io/site"))]);
    assert!(site.look().1.is_some());
    site.mount("line-1", &[("p.yaml", &good.replace("deny", "dney"))]);
    let (told, set) = site.look();
    assert!(told.len() == 1 && told[0].starts_with("line-1 LastGood unknown field \"dney\""), "{told:?}");
    for set in [&set.unwrap(), &site.started()] {
        assert_eq!(decides(set, "line-2", "reg.io/site"), "own");
        assert_eq!(decides(set, "line-3", "reg.io/site"), "site");
    }
    assert_eq!(site.look().0, [""; 0], "told once");

    // A process that starts with it denies the namespace's images, and knows the others.
    let started = site.started();
    let denied = decides(&started, "line-1", "reg.io/site");
    assert!(
        denied.starts_with("unusable: ") && denied.contains("line-1/p.yaml:6:") && denied.contains("dney"),
        "{denied}"
    );
    assert_eq!(
        started.mounted().states().collect::<Vec<_>>(),
        [("line-1", NamespaceState::Denied), ("line-2", NamespaceState::InForce)]
    );

    // Good again.
    site.mount("line-1", &[("p.yaml", &good)]);
    let (told, set) = site.look();
    assert_eq!(
        (told, decides(&set.unwrap(), "line-1", "reg.io/site")),
        (vec!["line-1 InForce 1".to_owned()], "own".into())
    );
}

/// The ClusterImagePolicies could ask for less than what its people wanted.
#[test]
fn first_policies_that_cannot_be_used_do_not_leave_the_namespace_to_cluster_policies() {
    let site = Site::new();
    site.mount("line-1", &[]);
    assert!(site.look().1.is_some());
    for text in ["kind: [", "# nothing yet\n", ""] {
        site.mount("line-1", &[("p.yaml", text)]);
        let (told, set) = site.look();
        assert!(told.len() == 1 && told[0].starts_with("line-1 Denied "), "{told:?}");
        assert!(decides(&set.unwrap(), "line-1", "reg.io/site").starts_with("unusable"), "{text}");
    }
    site.mount("line-1", &[(".p.yaml", &policy("line-1", "reg.io/*"))]);
    assert!(site.look().0[0].contains("begins with a dot"));
    site.mount("line-1", &[]);
    assert_eq!(site.look().0, ["line-1 Absent 0"]);
}

#[test]
fn only_the_namespace_s_own_policies_are_taken() {
    for foreign in [SITE.to_owned(), policy("line-2", "reg.io/*")] {
        let site = Site::new();
        let text = format!("{}---\n{foreign}", policy("line-1", "reg.io/*"));
        site.mount("line-1", &[("p.yaml", &text)]);
        let (told, set) = site.look();
        assert!(told[0].contains("does not belong here: there are only ImagePolicies of namespace line-1"), "{told:?}");
        let set = set.unwrap();
        assert_eq!(decides(&set, "line-2", "reg.io/site"), "site");
        assert!(decides(&set, "line-1", "reg.io/site").starts_with("unusable"));
    }
}

#[test]
fn a_pattern_twice_is_a_fault_in_one_configmap_and_counts_twice_in_two() {
    let site = Site::new();
    let own = policy("line-1", "reg.io/x");
    let other = own.replace("name: own", "name: other").replace("message: no", "message: never");
    site.mount("line-1", &[("a.yaml", &own), ("b.yaml", &other)]);
    let (told, _) = site.look();
    assert!(told[0].starts_with("line-1 Denied pattern \"reg.io/x\" asks for something else"), "{told:?}");

    // The site's policies never depend on a namespace's, and neither is ignored.
    let site = Site::new();
    site.dir.write(
        "site/line-1.yaml",
        policy("line-1", "reg.io/x").replace("own", "of-site").replace("deny: {message: no}", "trust: {enabled: true}"),
    );
    site.mount("line-1", &[("a.yaml", &own)]);
    let set = site.look().1.unwrap();
    assert_eq!(decides(&set, "line-1", "reg.io/x"), "of-site+own");
    // The same name, the same rule: once, and the site's.
    site.dir.write("site/line-1.yaml", policy("line-1", "reg.io/x"));
    let set = site.look().1.unwrap();
    assert_eq!((decides(&set, "line-1", "reg.io/x"), set.rules().all(|rule| !rule.is_delegated)), ("own".into(), true));
}

#[test]
fn a_namespace_may_take_only_so_much() {
    let rule = |number: usize| format!("  - {{name: reg.io/a{number}}}\n");
    let rules = |count: usize| policy("line-1", "reg.io/x") + &(0..count).map(rule).collect::<String>();
    let key = "{name: a, publicKey: x}";
    let signers = vec![key; 100].join(", ");
    let keys = |count: usize| {
        let policy = format!("policy: {{cosign: {{signers: [{signers}]}}}}");
        policy_with(&(0..count).map(|number| format!("  - {{name: reg.io/k{number}, {policy}}}\n")).collect::<String>())
    };
    let words = format!("# {}\n", "x".repeat(200 << 10));
    let site = Site::new();
    for (files, fault) in [
        (vec![("p.yaml".to_owned(), rules(255))], ""),
        (vec![("p.yaml".to_owned(), rules(256))], "more than 256 rules"),
        (vec![("p.yaml".to_owned(), rules(150)), ("q.yaml".to_owned(), rules(150))], "more than 256 rules"),
        (vec![("p.yaml".to_owned(), keys(3))], "more than 256 signers' keys"),
        (vec![("p.yaml".to_owned(), words.clone()), ("q.yaml".to_owned(), words)], "more than 262144 bytes"),
        (vec![("p.yaml".to_owned(), policy_with("  - &a {name: reg.io/a}\n  - *a\n"))], "an alias cannot be used here"),
        ((0..65).map(|n| (format!("{n}.yaml"), String::new())).collect(), "more than 64 policy files"),
        ((0..300).map(|n| (format!("{n}.yaml"), String::new())).collect(), "more than 64 policy files"),
    ] {
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        site.mount("line-1", &files);
        let (told, set) = site.look();
        assert!(
            told[0].contains(fault) && (fault.is_empty() == told[0].starts_with("line-1 InForce")),
            "{fault}: {told:.300?}"
        );
        assert_eq!(decides(&set.unwrap(), "line-2", "reg.io/site"), "site");
    }
}

#[test]
fn one_denial_of_a_namespace_is_enough_for_an_image() {
    let site = Site::new();
    let rule =
        |number: usize| format!("  - {{name: \"reg.io/a*{number}x\", policy: {{deny: {{message: m{number}}}}}}}\n");
    site.mount("line-1", &[("p.yaml", &policy_with(&(0..9).map(rule).collect::<String>()))]);
    let set = site.look().1.unwrap();
    assert_eq!(decides(&set, "line-1", "reg.io/a-0x1x2x3x"), "own");
    // More rules than are looked at for one image of such a namespace.
    let rules: String = (0..40).map(|number| format!("  - {{name: \"reg.io/a:t{number}\"}}\n")).collect();
    site.mount("line-1", &[("p.yaml", &policy_with(&rules))]);
    let set = site.look().1.unwrap();
    let digest = format!("reg.io/a@sha256:{}", "0".repeat(64));
    assert_eq!(decides(&set, "line-1", &digest), "nothing");
    assert!(set.pins_in_pods("line-1", &Reference::parse(&digest).unwrap()), "nobody can say");
}

/// The verdict would say which directories are in the pod.
#[test]
fn a_namespace_s_own_policy_names_no_directory() {
    let rule = |url: &str| {
        format!("  - name: reg.io/a\n    policy:\n      trust:\n        enabled: true\n        trustServer: {url}\n")
    };
    for url in ["file:///etc/portreeve", "FILE:///nowhere", "file://x", "file:///a/../b"] {
        let site = Site::new();
        site.mount("line-1", &[("p.yaml", &policy_with(&rule(url)))]);
        let Changes { namespaces, .. } = site.source.reload_if_changed();
        let problems = namespaces[0].result.as_ref().unwrap_err();
        assert_eq!(problems.len(), 1, "{url}: {problems:?}");
        let told = problems[0].to_string();
        assert!(
            told.contains("line-1/p.yaml:10:22: \"trustServer\" of a namespace's own policy cannot be a directory; "),
            "{told}"
        );
        assert!(told.ends_with("name the directory in trust.servers of the configuration"), "{told}");
    }
    let site = Site::new();
    site.mount("line-1", &[("p.yaml", &policy_with(&rule("https://notary.local")))]);
    assert_eq!(site.look().0, ["line-1 InForce 1"]);
    // The site's operators know which directories there are.
    site.dir.write("site/p.yaml", policy_with(&rule("file:///etc/portreeve")));
    assert!(matches!(site.source.reload_if_changed().site, Some(Ok(1))));
}

fn policy_with(rules: &str) -> String {
    format!(
        "apiVersion: portreeve/v1\nkind: ImagePolicy\nmetadata: {{name: own, namespace: line-1}}\nspec:\n  repositories:\n{rules}"
    )
}

/// What is there and would count nowhere is the operator's mistake, and no namespace's.
#[test]
fn the_directory_of_namespaces_holds_only_those() {
    for entry in ["policy.yaml", "Line-1/p.yaml", "a.b/p.yaml"] {
        let site = Site::new();
        site.mount("line-1", &[("p.yaml", &policy("line-1", "reg.io/*"))]);
        assert!(site.look().1.is_some());
        site.dir.write(&format!("own/{entry}"), policy("line-2", "reg.io/*"));
        let changes = site.source.reload_if_changed();
        let problems = changes.site.unwrap().unwrap_err();
        assert!(problems[0].to_string().contains("is no directory with the name of a namespace"), "{problems:?}");
        assert!(changes.in_force.is_none(), "everything stays as it was");
        assert!(load_all(&Site::places(&site.dir)).is_err());
    }
    let places = PolicyPlaces { namespaces: Some(PathBuf::from("/nowhere/at/all")), ..Site::places(&Site::new().dir) };
    assert!(places.namespaces.as_deref().is_some_and(|root| find(root).1.is_empty()), "it may be absent");
}

#[test]
fn a_directory_that_is_gone_leaves_the_others() {
    let site = Site::new();
    for name in ["a", "b", "c", "d"] {
        site.mount(name, &[("p.yaml", &policy(name, "reg.io/site"))]);
    }
    assert_eq!(site.look().0.len(), 4);
    for name in ["a", "c", "d"] {
        std::fs::remove_dir_all(site.dir.path().join("own").join(name)).unwrap();
    }
    site.mount("b2", &[("p.yaml", &policy("b2", "reg.io/site"))]);
    let (told, set) = site.look();
    assert_eq!(told, ["a Absent 0", "b2 InForce 1", "c Absent 0", "d Absent 0"]);
    let set = set.unwrap();
    assert_eq!(["a", "b", "b2", "c"].map(|name| decides(&set, name, "reg.io/site")), ["site", "own", "own", "site"]);
    assert_eq!(site.look().0, [""; 0]);
}

#[test]
fn what_cannot_be_read_is_tried_again_and_told_once() {
    let site = Site::new();
    std::os::unix::fs::symlink("nowhere", site.dir.path().join("own/line-1")).unwrap();
    let (told, set) = site.look();
    assert!(told.len() == 1 && told[0].starts_with("line-1 Denied cannot be read"), "{told:?}");
    assert!(decides(&set.unwrap(), "line-1", "reg.io/site").starts_with("unusable"));
    assert_eq!(site.look().0, [""; 0]);
    std::fs::create_dir(site.dir.path().join("own/nowhere")).unwrap();
    assert_eq!(site.look().0, ["line-1 Absent 0"]);
}
