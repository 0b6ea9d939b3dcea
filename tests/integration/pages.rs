//! The documentation: every link and anchor resolves, every file that a page names exists, and the index of `docs/` lists
//! every page.

use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders whose text may name pages of `docs/`.
const SOURCES: [&str; 10] =
    ["src", "verify", "tests", "examples", "manifests", "tools", "certs-gen", ".ci", "Cargo.toml", "Containerfile"];
/// Folders whose files are checked when a page names them.
const FOLDERS: [&str; 4] = ["docs/", "examples/", "manifests/", "tools/"];

#[test]
fn what_the_documentation_points_at_is_there() {
    let mut seen = 0;
    for page in pages() {
        let (text, here) = (fs::read_to_string(&page).unwrap(), page.parent().unwrap());
        let page = page.display();
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { PathBuf::from(page.to_string()) } else { here.join(path) };
            assert!(target.exists(), "{page} links to {link}");
            if !anchor.is_empty() {
                let linked = fs::read_to_string(&target).unwrap();
                assert!(anchors(&linked).iter().any(|there| there == anchor), "{page}: there is no heading {link}");
            }
            seen += 1;
        }
        seen += assert_named_files_exist(&text, &FOLDERS, &page.to_string());
    }
    let containerfile = fs::read_to_string(root().join("Containerfile")).unwrap();
    seen += assert_named_files_exist(&containerfile, &FOLDERS, "Containerfile");
    assert!(seen > 100, "{seen}");
}

#[test]
fn the_pages_that_sources_name_are_there() {
    let mut files = Vec::new();
    SOURCES.iter().for_each(|source| walk(&root().join(source), &mut files));
    let mut seen = 0;
    for file in files {
        // A binary file names no page.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        seen += assert_named_files_exist(&text, &["docs/"], &file.display().to_string());
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_index_lists_every_page() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let listed: Vec<&str> = links(&index).collect();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // For a folder, a link to any page in it is enough.
        let is_listed = listed.iter().any(|link| link.split(['#', '/']).next() == Some(&name));
        assert!(is_listed || name == "README.md", "docs/README.md does not list {name}");
    }
}

/// Every Markdown page at the top level and below `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    walk(&root().join("docs"), &mut files);
    files.retain(|path| path.extension().is_some_and(|end| end == "md"));
    files
}

/// All files below a directory, except what builds and tests write there.
fn walk(path: &Path, files: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        files.push(path.to_owned());
    } else if !path.ends_with("target") && !path.ends_with("tests/cache") {
        fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), files));
    }
}

/// The links of a page to files of this repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    targets.filter(|link| !link.contains("://"))
}

/// The anchors of a page's headings: lower case, hyphens for spaces, no other punctuation. A `#` in a code block is no
/// heading.
fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if line.starts_with('#') && !is_code {
            let words = line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
            anchors.push(words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect());
        }
    }
    anchors
}

/// Checks that each file of these folders that a text names exists. Returns their number.
fn assert_named_files_exist(text: &str, folders: &[&str], file: &str) -> usize {
    let words = text.split(|c: char| c.is_whitespace() || "`(),;\"[]".contains(c));
    let named = words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    // A link's anchor is checked where links are.
    let named = named.map(|word| word.split('#').next().unwrap_or(word).trim_end_matches(['.', ':']));
    // `…` is a placeholder.
    let named: Vec<&str> = named.filter(|path| !path.contains('…')).collect();
    named.iter().for_each(|path| assert!(root().join(path).exists(), "{file} names {path}, which is not there"));
    named.len()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
