use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;

use portreeve_test_support::temp::TempDir;

use super::*;
use crate::policy::{PolicySet, PolicySource, load};

fn dirs(directory: &TempDir) -> Vec<PathBuf> {
    vec![directory.path().to_owned()]
}

/// Mounts files as kubelet does: a dated directory, `..data` to it, a link for each name.
pub(crate) fn mount(directory: &Path, dated: &str, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(dated).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    symlink(dated, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    for (name, _) in files {
        let top = name.split('/').next().unwrap();
        let _ = symlink(format!("..data/{top}"), directory.join(top));
    }
}

fn policy(name: &str) -> String {
    format!(
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: {name}}}\nspec: {{repositories: []}}\n"
    )
}

/// Reads the site's policies alone.
struct SiteSource(PolicySource);

impl SiteSource {
    fn reload_if_changed(&self) -> Option<Result<usize, Vec<PolicyProblem>>> {
        self.0.reload_if_changed().site
    }
}

fn source(directory: &TempDir) -> SiteSource {
    SiteSource(PolicySource::new(PolicyPlaces { site: dirs(directory), namespaces: None }))
}

fn faults(result: Result<PolicySet, Vec<PolicyProblem>>) -> Vec<String> {
    result.expect_err("should not load").iter().map(ToString::to_string).collect()
}

#[test]
fn reads_what_kubelet_mounts() {
    let directory = TempDir::new();
    mount(directory.path(), "..2026_01", &[("a.yaml", &policy("a")), ("sub/b", &policy("b"))]);
    directory.write(".hidden", "not: [yaml");
    assert_eq!(load(&dirs(&directory)).unwrap().len(), 2, "each once, and no dated directory besides");
    mount(directory.path(), "..2026_02", &[("a.yaml", "tust: 1")]);
    let problems = faults(load(&dirs(&directory)));
    let shown = directory.path().join("a.yaml").display().to_string();
    assert!(problems[0].starts_with(&format!("{shown}:1:1: not a policy")), "{problems:?}");
}

#[test]
fn several_mounts_below_one_directory() {
    let directory = TempDir::new();
    directory.write("plain/c.yaml", policy("c"));
    mount(&directory.directory("mounted"), "..2026_01", &[("a.yaml", &policy("a"))]);
    assert_eq!(load(&dirs(&directory)).unwrap().len(), 2);
}

#[test]
fn one_bad_file_and_there_is_no_set_and_all_is_told() {
    let directory = TempDir::new();
    directory.write("a.yaml", policy("a"));
    directory.write("b.yaml", "kind: [");
    directory.write("c.yaml", "x: 1");
    fs::write(directory.path().join("d.yaml"), [0xff, 0xfe]).unwrap();
    fs::write(directory.path().join("e.yaml"), vec![b'a'; MAX_TEXT + 1]).unwrap();
    symlink("nowhere", directory.path().join("f.yaml")).unwrap();
    let problems = faults(load(&dirs(&directory)));
    assert_eq!(problems.len(), 5, "{problems:#?}");
}

/// Otherwise such a file, applied unchecked, would not count, and a laxer policy would decide.
#[test]
fn a_key_that_begins_with_a_dot_is_not_passed_over_in_silence() {
    let directory = TempDir::new();
    mount(directory.path(), "..2026_01", &[("a.yaml", &policy("a")), (".strict.yaml", &policy("b"))]);
    let problems = faults(load(&dirs(&directory)));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("/.strict.yaml:1:1: ") && problems[0].contains("begins with a dot"), "{problems:?}");
    mount(directory.path(), "..2026_02", &[("a.yaml", &policy("a"))]);
    assert_eq!(load(&dirs(&directory)).unwrap().len(), 1);
}

#[test]
fn no_policy_is_never_a_policy() {
    let directory = TempDir::new();
    assert!(faults(load(&dirs(&directory)))[0].contains("no policy file"));
    directory.write("a.yaml", "# later\n");
    assert!(faults(load(&dirs(&directory)))[0].contains("no policy in these files"));
    assert!(faults(load(&[directory.path().join("absent")]))[0].contains("cannot be read"));
    assert_eq!(load(&[]).unwrap_err().len(), 1);
}

#[test]
fn loops_of_links_end() {
    let directory = TempDir::new();
    directory.write("a.yaml", policy("a"));
    symlink(".", directory.path().join("loop")).unwrap();
    let problems = faults(load(&dirs(&directory)));
    assert!(problems.iter().any(|problem| problem.contains("levels deep")), "{problems:?}");
}

#[test]
fn what_is_no_file_is_not_opened() {
    let directory = TempDir::new();
    let _listener = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    assert!(faults(load(&dirs(&directory)))[0].contains("neither a regular file"));
}

#[test]
fn reads_again_only_what_changed() {
    let directory = TempDir::new();
    mount(directory.path(), "..2026_01", &[("a.yaml", &policy("a"))]);
    let source = source(&directory);
    assert_eq!(source.reload_if_changed().unwrap().unwrap(), 1);
    assert!(source.reload_if_changed().is_none());
    mount(directory.path(), "..2026_02", &[("a.yaml", &policy("a")), ("b.yaml", &policy("b"))]);
    assert_eq!(source.reload_if_changed().unwrap().unwrap(), 2);
    assert!(source.reload_if_changed().is_none());
    mount(directory.path(), "..2026_03", &[("a.yaml", "broken: ["), ("b.yaml", &policy("b"))]);
    assert!(source.reload_if_changed().unwrap().is_err());
    assert!(source.reload_if_changed().is_none(), "a bad one is told once");
}

#[test]
fn all_files_together_have_a_cap() {
    let directory = TempDir::new();
    let words = format!("# {}\n", "x".repeat(MAX_TEXT - 3));
    for number in 0..=MAX_TOTAL / MAX_TEXT {
        directory.write(&format!("p{number:02}.yaml"), &words);
    }
    let faults = faults(load(&dirs(&directory)));
    assert!(faults.len() == 1 && faults[0].contains("p32.yaml"), "{faults:?}");
}

#[test]
fn a_plain_file_edited_in_place_is_noticed() {
    let directory = TempDir::new();
    directory.write("a.yaml", policy("a"));
    let source = source(&directory);
    assert!(source.reload_if_changed().unwrap().is_ok());
    directory.write("a.yaml", policy("abc"));
    assert!(source.reload_if_changed().unwrap().is_ok());
    fs::remove_dir_all(directory.path()).unwrap();
    assert!(source.reload_if_changed().unwrap().is_err());
    assert!(source.reload_if_changed().is_some(), "what could not be read is tried again");
}

/// kubelet swaps while we read: whatever loads is wholly of one generation.
#[test]
fn never_half_old_and_half_new() {
    let directory = TempDir::new();
    let rules = |generation: usize, name: &str| {
        let repositories = format!("repositories: [{{name: reg.io/g{generation}/{name}}}]");
        policy(name).replace("repositories: []", &repositories)
    };
    let mount = |generation: usize| {
        let files = [("a.yaml", rules(generation, "a")), ("b.yaml", rules(generation, "b"))];
        mount(
            directory.path(),
            &format!("..{generation}"),
            &files.each_ref().map(|(name, text)| (*name, text.as_str())),
        );
        std::thread::sleep(std::time::Duration::from_millis(1));
        let _ = fs::remove_dir_all(directory.path().join(format!("..{}", generation.wrapping_sub(1))));
    };
    mount(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut loaded = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| (1..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(mount));
        for _ in 0..300 {
            if let Ok(set) = load(&dirs(&directory)) {
                let generations: Vec<&str> = set.rules().map(|rule| rule.pattern.split('/').nth(1).unwrap()).collect();
                assert_eq!(generations.len(), 2);
                assert_eq!(generations[0], generations[1]);
                loaded += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(loaded > 0);
    assert_eq!(load(&dirs(&directory)).unwrap().len(), 2);
}
