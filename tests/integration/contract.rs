//! The contract's tables have a test for each row.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// TRUST.md's table has 110 rows. Each is the name of a test: `row_001_…`.
#[test]
fn every_row_of_the_acceptance_table_has_a_test() {
    let missing = missing("row_", &["verify/src", "src"], &[1..=110]);
    assert!(missing.is_empty(), "no test is named after {missing:?}");
}

/// The rows of SCHEMES.md about registries, cosign and evidence. Each is the name of a test: `scheme_row_001_…`.
#[test]
fn every_row_of_the_schemes_table_has_a_test() {
    let missing = missing("scheme_row_", &["verify/src", "src", "tests/integration"], &[1..=116, 129..=138]);
    assert!(missing.is_empty(), "no test is named after {missing:?}");
}

/// The rows that no test in these folders is named after.
fn missing(prefix: &str, folders: &[&str], rows: &[RangeInclusive<u32>]) -> Vec<u32> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    folders.iter().for_each(|folder| collect(&root.join(folder), prefix, &mut found));
    rows.iter().cloned().flatten().filter(|row| !found.contains(row)).collect()
}

fn collect(directory: &Path, prefix: &str, rows: &mut BTreeSet<u32>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, prefix, rows);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut is_test = false;
            for line in fs::read_to_string(&path).unwrap().lines().map(str::trim_start) {
                let name = line.strip_prefix("fn ").and_then(|line| line.strip_prefix(prefix)).filter(|_| is_test);
                rows.extend(name.and_then(|name| name.get(..3)?.parse::<u32>().ok()));
                is_test = line == "#[test]" || is_test && line.starts_with('#');
            }
        }
    }
}
