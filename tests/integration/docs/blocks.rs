//! The blocks of commands in the pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The page, from the top of the repository.
    pub(crate) page: String,
    /// The line of its first fence.
    pub(crate) line: usize,
    /// The names behind `test=`, with commas between them.
    pub(crate) tests: Vec<String>,
    /// The exit status that its last command must have.
    pub(crate) status: i32,
    /// The commands, without the indentation of the block.
    pub(crate) text: String,
}

impl Block {
    /// The place in words.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    pub(crate) fn has_line(&self, line: &str) -> bool {
        self.text.lines().any(|own| own.trim() == line)
    }
}

/// The blocks of one name in one page.
#[derive(Debug)]
pub(crate) struct Script {
    /// The name behind `test=`.
    pub(crate) name: String,
    /// In their order.
    pub(crate) blocks: Vec<Block>,
}

impl Script {
    pub(crate) fn needs_a_cluster(&self) -> bool {
        self.name.starts_with("cluster-") || self.name.starts_with("installed-")
    }
}

/// All blocks with commands of `README.md` and `docs/`.
pub(crate) fn blocks() -> Vec<Block> {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    add_pages(&root.join("docs"), &mut pages);
    let read = |page: &PathBuf| {
        let name = page.strip_prefix(&root).unwrap().to_str().unwrap();
        in_page(name, &fs::read_to_string(page).unwrap())
    };
    pages.iter().flat_map(read).collect()
}

/// The scripts that are run, in the order of pages and names.
pub(crate) fn scripts() -> Vec<Script> {
    let mut scripts: BTreeMap<(String, String), Vec<Block>> = BTreeMap::new();
    for block in blocks() {
        for name in &block.tests {
            scripts.entry((block.page.clone(), name.clone())).or_default().push(block.clone());
        }
    }
    scripts.into_iter().map(|((_, name), blocks)| Script { name, blocks }).collect()
}

/// The blocks of one page. A fence may be indented, as in a list.
pub(crate) fn in_page(page: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Option<Block>)> = None;
    for (at, line) in text.lines().enumerate() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        match &mut open {
            None if words.starts_with("```") => {
                let info = words.trim_start_matches('`');
                let mut words = info.split_whitespace();
                let is_shell = words.next() == Some("sh");
                let mut block =
                    Block { page: page.to_owned(), line: at + 1, tests: Vec::new(), status: 0, text: String::new() };
                for word in words.filter(|_| is_shell) {
                    match word.split_once('=') {
                        Some(("test", names)) => block.tests = names.split(',').map(str::to_owned).collect(),
                        Some(("status", number)) => block.status = number.parse().unwrap(),
                        _ => panic!("{}: {word} is not known", block.place()),
                    }
                }
                open = Some((indent, is_shell.then_some(block)));
            }
            None => {}
            Some(_) if words == "```" => found.extend(open.take().and_then(|(_, block)| block)),
            Some((indent, Some(block))) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            Some((_, None)) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block has no end");
    found
}

fn add_pages(directory: &Path, pages: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            add_pages(&path, pages);
        } else if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
