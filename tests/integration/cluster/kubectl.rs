//! kubectl as one user of the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Run, run};

/// The API server's words before the text of a denial.
const DENIED: &str = "admission webhook \"admit.portreeve.svc\" denied the request: portreeve denied ";

/// kubectl with one user's credentials.
pub(super) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    /// The first arguments: a namespace.
    first: Vec<String>,
}

impl Kubectl {
    pub(super) fn new(program: &Path, kubeconfig: &Path, home: &Path) -> Self {
        let [program, kubeconfig, home] = [program, kubeconfig, home].map(Path::to_path_buf);
        Self { program, kubeconfig, home, first: Vec::new() }
    }

    /// The same, in a namespace.
    pub(super) fn within(mut self, namespace: &str) -> Self {
        self.first = vec!["--namespace".to_owned(), namespace.to_owned()];
        self
    }

    /// Runs it, whatever its exit status.
    #[track_caller]
    pub(super) fn run(&self, args: &[&str]) -> Run {
        self.feed(args, "")
    }

    /// The same with standard input (`-f -`).
    #[track_caller]
    pub(super) fn feed(&self, args: &[&str], stdin: &str) -> Run {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", &self.home).env("KUBECONFIG", &self.kubeconfig);
        run(command.args(&self.first).args(args), stdin)
    }

    /// Runs it, and returns its output. Fails the test if it fails.
    #[track_caller]
    pub(super) fn ok(&self, args: &[&str]) -> String {
        self.run(args).expect(0).stdout
    }

    /// Runs it. Fails the test unless Portreeve denies the request with a message that contains these words.
    #[track_caller]
    pub(super) fn denied(&self, args: &[&str], words: &[&str]) {
        assert_denied(&self.run(args), words);
    }
}

/// Fails the test unless kubectl failed because Portreeve denied the request with a message that contains these words.
#[track_caller]
pub(super) fn assert_denied(run: &Run, words: &[&str]) {
    assert_eq!(run.status, Some(1), "{run:?}");
    for word in [&[DENIED], words].concat() {
        assert!(run.stderr.contains(word), "no {word:?} in {run:?}");
    }
}
