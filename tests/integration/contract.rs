//! The contract's tables have a test for each row.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// TRUST.md's table has 110 rows. Each is the name of a test: `row_001_…`.
#[test]
fn every_row_of_the_acceptance_table_has_a_test() {
    fn collect(directory: &Path, rows: &mut BTreeSet<u32>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, rows);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn row_"));
                rows.extend(names.filter_map(|name| name.get(..3)?.parse::<u32>().ok()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rows = BTreeSet::new();
    collect(&root.join("verify/src"), &mut rows);
    collect(&root.join("src"), &mut rows);
    let missing: Vec<u32> = (1..=110).filter(|row| !rows.contains(row)).collect();
    assert!(missing.is_empty(), "no test is named after {missing:?}");
}
