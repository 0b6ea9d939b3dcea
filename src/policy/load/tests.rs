use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portreeve-load-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn dirs(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    /// Mounts files as kubelet does: a dated directory, `..data` to it, a link for each name.
    fn mount(&self, dated: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            self.write(&format!("{dated}/{name}"), text);
        }
        symlink(dated, self.0.join("..data_tmp")).unwrap();
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
        for (name, _) in files {
            let top = name.split('/').next().unwrap();
            let _ = symlink(format!("..data/{top}"), self.0.join(top));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn policy(name: &str) -> String {
    format!(
        "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: {name}}}\nspec: {{repositories: []}}\n"
    )
}

fn faults(result: Result<PolicySet, Vec<PolicyProblem>>) -> Vec<String> {
    result.expect_err("should not load").iter().map(ToString::to_string).collect()
}

#[test]
fn reads_what_kubelet_mounts() {
    let scratch = Scratch::new();
    scratch.mount("..2026_01", &[("a.yaml", &policy("a")), ("sub/b", &policy("b"))]);
    scratch.write(".hidden", "not: [yaml");
    assert_eq!(load(&scratch.dirs()).unwrap().len(), 2, "each once, and no dated directory besides");
    scratch.mount("..2026_02", &[("a.yaml", "tust: 1")]);
    let problems = faults(load(&scratch.dirs()));
    let shown = scratch.0.join("a.yaml").display().to_string();
    assert!(problems[0].starts_with(&format!("{shown}:1:1: not a policy")), "{problems:?}");
}

#[test]
fn several_mounts_below_one_directory() {
    let scratch = Scratch::new();
    scratch.write("plain/c.yaml", &policy("c"));
    let below = Scratch(scratch.0.join("mounted"));
    fs::create_dir_all(&below.0).unwrap();
    below.mount("..2026_01", &[("a.yaml", &policy("a"))]);
    assert_eq!(load(&scratch.dirs()).unwrap().len(), 2);
}

#[test]
fn one_bad_file_and_there_is_no_set_and_all_is_told() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", &policy("a"));
    scratch.write("b.yaml", "kind: [");
    scratch.write("c.yaml", "x: 1");
    fs::write(scratch.0.join("d.yaml"), [0xff, 0xfe]).unwrap();
    fs::write(scratch.0.join("e.yaml"), vec![b'a'; MAX_TEXT + 1]).unwrap();
    symlink("nowhere", scratch.0.join("f.yaml")).unwrap();
    let problems = faults(load(&scratch.dirs()));
    assert_eq!(problems.len(), 5, "{problems:#?}");
}

/// Applied while nobody looked it over, it would else count for nothing, and a laxer policy in its place.
#[test]
fn a_key_that_begins_with_a_dot_is_not_passed_over_in_silence() {
    let scratch = Scratch::new();
    scratch.mount("..2026_01", &[("a.yaml", &policy("a")), (".strict.yaml", &policy("b"))]);
    let problems = faults(load(&scratch.dirs()));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("/.strict.yaml:1:1: ") && problems[0].contains("begins with a dot"), "{problems:?}");
    scratch.mount("..2026_02", &[("a.yaml", &policy("a"))]);
    assert_eq!(load(&scratch.dirs()).unwrap().len(), 1);
}

#[test]
fn no_policy_is_never_a_policy() {
    let scratch = Scratch::new();
    assert!(faults(load(&scratch.dirs()))[0].contains("no policy file"));
    scratch.write("a.yaml", "# later\n");
    assert!(faults(load(&scratch.dirs()))[0].contains("no policy in these files"));
    assert!(faults(load(&[scratch.0.join("absent")]))[0].contains("cannot be read"));
    assert_eq!(load(&[]).unwrap_err().len(), 1);
}

#[test]
fn loops_of_links_end() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", &policy("a"));
    symlink(".", scratch.0.join("loop")).unwrap();
    let problems = faults(load(&scratch.dirs()));
    assert!(problems.iter().any(|problem| problem.contains("levels deep")), "{problems:?}");
}

#[test]
fn what_is_no_file_is_not_opened() {
    let scratch = Scratch::new();
    let _listener = std::os::unix::net::UnixListener::bind(scratch.0.join("socket")).unwrap();
    assert!(faults(load(&scratch.dirs()))[0].contains("neither a regular file"));
}

#[test]
fn reads_again_only_what_changed() {
    let scratch = Scratch::new();
    scratch.mount("..2026_01", &[("a.yaml", &policy("a"))]);
    let source = PolicySource::new(scratch.dirs());
    assert_eq!(source.reload_if_changed().unwrap().unwrap().len(), 1);
    assert!(source.reload_if_changed().is_none());
    scratch.mount("..2026_02", &[("a.yaml", &policy("a")), ("b.yaml", &policy("b"))]);
    assert_eq!(source.reload_if_changed().unwrap().unwrap().len(), 2);
    assert!(source.reload_if_changed().is_none());
    scratch.mount("..2026_03", &[("a.yaml", "broken: ["), ("b.yaml", &policy("b"))]);
    assert!(source.reload_if_changed().unwrap().is_err());
    assert!(source.reload_if_changed().is_none(), "a bad one is told once");
}

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

#[test]
fn all_files_together_have_a_cap() {
    let scratch = Scratch::new();
    let words = format!("# {}\n", "x".repeat(MAX_TEXT - 3));
    for number in 0..=MAX_TOTAL / MAX_TEXT {
        scratch.write(&format!("p{number:02}.yaml"), &words);
    }
    let faults = faults(load(&scratch.dirs()));
    assert!(faults.len() == 1 && faults[0].contains("p32.yaml"), "{faults:?}");
}

#[test]
fn a_plain_file_edited_in_place_is_noticed() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", &policy("a"));
    let source = PolicySource::new(scratch.dirs());
    assert!(source.reload_if_changed().unwrap().is_ok());
    scratch.write("a.yaml", &policy("abc"));
    assert!(source.reload_if_changed().unwrap().is_ok());
    fs::remove_dir_all(&scratch.0).unwrap();
    assert!(source.reload_if_changed().unwrap().is_err());
    assert!(source.reload_if_changed().is_some(), "what could not be read is tried again");
}

/// kubelet swaps while we read: whatever loads is wholly of one generation.
#[test]
fn never_half_old_and_half_new() {
    let scratch = Scratch::new();
    let rules = |generation: usize, name: &str| {
        let repositories = format!("repositories: [{{name: reg.io/g{generation}/{name}}}]");
        policy(name).replace("repositories: []", &repositories)
    };
    let mount = |generation: usize| {
        let files = [("a.yaml", rules(generation, "a")), ("b.yaml", rules(generation, "b"))];
        scratch.mount(&format!("..{generation}"), &files.each_ref().map(|(name, text)| (*name, text.as_str())));
        std::thread::sleep(std::time::Duration::from_millis(1));
        let _ = fs::remove_dir_all(scratch.0.join(format!("..{}", generation.wrapping_sub(1))));
    };
    mount(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut loaded = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| (1..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(mount));
        for _ in 0..300 {
            if let Ok(set) = load(&scratch.dirs()) {
                let generations: Vec<&str> = set.rules().map(|rule| rule.pattern.split('/').nth(1).unwrap()).collect();
                assert_eq!(generations.len(), 2);
                assert_eq!(generations[0], generations[1]);
                loaded += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(loaded > 0);
    assert_eq!(load(&scratch.dirs()).unwrap().len(), 2);
}
