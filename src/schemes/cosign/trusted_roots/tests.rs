use std::fs;

use portreeve_test_support::cosign::plant::Plant;
use portreeve_verify::image::Sha256;

use super::*;
use crate::base::files::scratch::Scratch;

struct Bench {
    scratch: Scratch,
    roots: TrustedRoots,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new() -> Self {
        let (scratch, metrics) = (Scratch::new(), Arc::new(Metrics::new()));
        let directory = scratch.path().join("roots");
        let roots = TrustedRoots::checked_every(directory, Arc::clone(&metrics), Duration::ZERO);
        Self { scratch, roots, metrics }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        self.scratch.write(&format!("roots/{name}"), content)
    }

    fn id(&self, name: &str) -> Option<Sha256> {
        self.roots.current().get(name).map(|root| root.id())
    }

    fn reloads(&self, result: &str) -> String {
        let series = format!("portreeve_reloads_total{{what=\"trusted_roots\",result=\"{result}\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(series.as_str())).unwrap_or_default().to_owned()
    }
}

fn a_root() -> String {
    Plant::new().trusted_root().to_string()
}

#[test]
fn each_file_is_a_root_that_is_read_again_when_it_changes() {
    let bench = Bench::new();
    assert!(bench.roots.current().list().is_empty(), "no directory is fine");
    let texts = [a_root(), a_root(), a_root()];
    bench.write("plant.json", &texts[0]);
    bench.write("public-good.json", &texts[1]);
    let names = |roots: &Roots| roots.list().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&bench.roots.current()), ["plant", "public-good"]);
    let ids = texts.each_ref().map(|text| Some(Sha256::of(text.as_bytes())));
    assert_eq!((bench.id("plant"), bench.id("public-good")), (ids[0], ids[1]));
    let path = bench.write("plant.json", &texts[2]);
    assert_eq!((bench.id("plant"), bench.id("public-good")), (ids[2], ids[1]));
    fs::remove_file(path).unwrap();
    assert_eq!(bench.id("plant"), None, "a root that is removed is gone");
    let message = bench.roots.current().missing("plant", bench.roots.directory());
    assert!(message.contains("roots/plant.json (sigstore.trustedRoots of the configuration)"), "{message}");
    assert_eq!((bench.reloads("ok"), bench.reloads("failed")), ("3".to_owned(), "0".to_owned()));
    // A file that is there and cannot be used is not to be put there.
    bench.write("plant.json", "{");
    let message = bench.roots.current().missing("plant", bench.roots.directory());
    let words = "the policy names the trusted root \"plant\": /";
    assert!(message.starts_with(words) && message.matches("plant.json").count() == 1, "{message}");
    assert!(message.contains("plant.json cannot be used: it is not strict JSON: it ends too early"), "{message}");
}

#[test]
fn scheme_row_089_a_root_that_cannot_be_used_any_more_leaves_the_last_good_one_in_force() {
    let bench = Bench::new();
    let good = a_root();
    bench.write("plant.json", &good);
    let id = bench.id("plant");
    assert!(id.is_some());
    let (cut, _) = good.split_at(good.len() / 2);
    let large = format!("{}{good}", " ".repeat(MAX_TRUSTED_ROOT));
    for bad in ["", "{}", cut, &large] {
        bench.write("plant.json", bad);
        assert_eq!(bench.id("plant"), id, "{} bytes", bad.len());
        let roots = bench.roots.current();
        let [problem] = roots.problems() else { panic!("{:?}", roots.problems()) };
        assert!(problem.starts_with("trusted root plant: ") && problem.contains("plant.json"), "{problem}");
        assert!(problem.ends_with("; what it held before stays in force"), "{problem}");
    }
    assert_eq!((bench.reloads("ok"), bench.reloads("failed")), ("1".to_owned(), "4".to_owned()));
    let next = a_root();
    bench.write("plant.json", &next);
    assert_eq!(bench.id("plant"), Some(Sha256::of(next.as_bytes())));
    assert!(bench.roots.current().problems().is_empty());
}

#[test]
fn what_is_no_root_is_told_and_hurts_no_other() {
    let bench = Bench::new();
    for (name, content) in [("a b.json", "{}"), ("notes.txt", ""), (".hidden.json", ""), ("..data/x.json", "")] {
        bench.write(name, content);
    }
    fs::create_dir_all(bench.scratch.path().join("roots/directory.json")).unwrap();
    bench.write("bad.json", "no JSON");
    bench.write("plant.json", &a_root());
    let roots = bench.roots.current();
    assert_eq!(roots.list().len(), 1);
    let told = roots.problems().join("\n");
    for expected in ["a b.json is no trusted root", "notes.txt is no trusted root", "directory.json", "root bad: "] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(roots.problems().len(), 4, "{told}");
    assert!(!told.contains("stays in force"), "{told}");
    // A denial says what is wrong with the file.
    let message = roots.missing("bad", bench.roots.directory());
    assert!(message.contains("root \"bad\": ") && message.contains("not strict JSON"), "{message}");
}

#[test]
fn files_that_are_too_much_together_are_left_out() {
    let bench = Bench::new();
    let padded = format!("{}{}", " ".repeat(MAX_TRUSTED_ROOT - (8 << 10)), a_root());
    for index in 0..6 {
        bench.write(&format!("root-{index}.json"), &padded);
    }
    let roots = bench.roots.current();
    assert_eq!((roots.list().len(), roots.problems().len()), (4, 2), "{:?}", roots.problems());
}
