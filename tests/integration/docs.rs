//! The commands of the documentation, run as they are printed. Every block of `README.md` and `docs/` that begins with
//! ```` ```sh ```` is either run by a test or listed in [`not_run`], with the reason.
//!
//! A block whose first line is ```` ```sh test=NAME ```` is run. All blocks of one name in one page are one script of bash, in their
//! order, with `set -eu`, in an empty directory with a copy of `manifests/`. `portreeve`, `certs-gen` and `kubectl` are the real
//! ones. A block of several scripts has their names with commas between them. With `status=N` behind the name, the last command of the block has to end with this exit status. The name decides where:
//!
//! - `cluster-…`: against a real API server with nothing installed. `installed-…`: the same, with Portreeve installed by hand in
//!   `site/`, and the first policy in force. `cluster/documentation.rs` runs both.
//! - any other name: without a cluster.
//!
//! What a page needs beside this (files that an operator has) is in [`prepared`], by name.

pub(crate) mod blocks;
mod not_run;
pub(crate) mod prepared;
pub(crate) mod shell;

use blocks::{Block, blocks, scripts};
use not_run::NOT_RUN;
use shell::Shell;

#[test]
fn every_block_is_run_or_listed_with_a_reason() {
    let mut unused: Vec<_> = NOT_RUN.iter().collect();
    let mut problems = Vec::new();
    for block in blocks() {
        let listed = |entry: &&(&str, &str, &str)| entry.0 == block.page && block.has_line(entry.1);
        let entries: Vec<_> = NOT_RUN.iter().filter(listed).collect();
        match (!block.tests.is_empty(), entries.len()) {
            (true, 0) | (false, 1) => {}
            (true, _) => problems.push(format!("{} is run, and listed as not run", block.place())),
            (false, 0) => problems.push(format!("{} is neither run nor listed:\n{}", block.place(), block.text)),
            (false, _) => problems.push(format!("{} is listed more than once", block.place())),
        }
        unused.retain(|entry| !entries.contains(entry));
    }
    problems.extend(unused.iter().map(|entry| format!("{}: there is no block with the line {:?}", entry.0, entry.1)));
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    assert!(NOT_RUN.iter().all(|(_, _, reason)| reason.split(' ').count() > 2), "a reason is a sentence");
}

#[test]
fn commands_without_a_cluster() {
    let Some(kubectl) = crate::cluster::control_plane::program("kubectl") else { return };
    let mut failed = Vec::new();
    for script in scripts().iter().filter(|script| !script.needs_a_cluster()) {
        let shell = Shell::new(&kubectl, None);
        prepared::prepare(&script.name, shell.directory());
        failed.extend(shell.run(script).err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// The reader of pages finds what it should.
#[test]
fn blocks_are_found_by_their_fences() {
    let page = "a\n```sh test=one\nx\n```\n- b\n\n  ```sh test=one,two status=1\n  if y; then\n      z\n  fi\n  ```\n```yaml\nno\n```\n\
                ```sh\nw\n```\n";
    let found = blocks::in_page("p.md", page);
    let told: Vec<_> = found
        .iter()
        .map(|Block { line, tests, status, text, .. }| (*line, tests.join("+"), *status, &**text))
        .collect();
    assert_eq!(
        told,
        [
            (2, "one".to_owned(), 0, "x\n"),
            (7, "one+two".to_owned(), 1, "if y; then\n    z\nfi\n"),
            (15, String::new(), 0, "w\n"),
        ]
    );
}
