//! The shell of a reader: a directory of its own with a copy of `manifests/`, and the programs of the pages.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use portreeve_test_support::temp::TempDir;

use super::blocks::Script;
use crate::process::{run, run_within};
use crate::product::executable;

/// A directory, and the programs.
pub(crate) struct Shell {
    directory: TempDir,
    /// Not in the directory of the reader.
    programs: TempDir,
}

impl Shell {
    /// kubectl asks the cluster of this kubeconfig, if there is one.
    pub(crate) fn new(kubectl: &Path, kubeconfig: Option<&Path>) -> Self {
        let (directory, programs) = (TempDir::new(), TempDir::new());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let copy = directory.path().join("manifests");
        run(Command::new("cp").arg("-r").arg(root.join("manifests")).arg(copy), "").expect(0);
        let shell = Self { directory, programs };
        shell.program("portreeve", &format!("exec {} \"$@\"", executable().get_program().display()));
        static BUILT: Once = Once::new();
        // Once, and without a limit of time: cargo may have to compile it.
        BUILT.call_once(|| assert!(cargo(root).args(["--", "--version"]).output().unwrap().status.success()));
        let home = std::env::var("HOME").unwrap_or_default();
        let path = std::env::var("PATH").unwrap();
        shell.program("certs-gen", &format!("HOME={home} PATH={path} exec {} -- \"$@\"", words(&cargo(root))));
        let kubeconfig = kubeconfig.map(|path| format!("KUBECONFIG={} ", path.display())).unwrap_or_default();
        shell.program("kubectl", &format!("{kubeconfig}exec {} \"$@\"", kubectl.display()));
        shell
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a program of these lines of bash, in place of another one of this name.
    pub(crate) fn program(&self, name: &str, lines: &str) {
        // Beside the old one and moved over it: bash reads a program while it runs.
        let fresh = self.programs.write(&format!("{name}.new"), format!("#!/bin/bash\n{lines}\n"));
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(fresh, self.programs.path().join(name)).unwrap();
    }

    /// Runs lines that are in no page.
    pub(crate) fn bash(&self, lines: &str) -> Result<String, String> {
        self.execute("a step of the test", &format!("set -eu\nexec 2>&1\n{lines}\n"))
    }

    /// Runs a script. If it fails: the place of the block, and all output.
    pub(crate) fn run(&self, script: &Script) -> Result<String, String> {
        let mut text = "set -eu\nexec 2>&1\n".to_owned();
        for block in &script.blocks {
            let _ = writeln!(text, "echo '== {}'", block.place());
            if block.status == 0 {
                text.push_str(&block.text);
            } else {
                // In a subshell of its own, so that the exit status can be looked at.
                let _ = writeln!(text, "set +e\n(set -e\n{})\nstatus=$?\nset -e", block.text);
                let _ =
                    writeln!(text, "test $status = {} || {{ echo \"exit status $status\"; exit 1; }}", block.status);
            }
        }
        self.execute(&script.name, &text)
    }

    fn execute(&self, name: &str, text: &str) -> Result<String, String> {
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", self.programs.path().display());
        let mut command = Command::new("/bin/bash");
        command.env_clear().env("PATH", path).env("HOME", self.directory()).current_dir(self.directory());
        let ended = run_within(Duration::from_secs(400), command.arg("-c").arg(text), "");
        match ended.status {
            Some(0) => Ok(ended.stdout),
            status => Err(format!("--- {name}: exit status {status:?}\n{}", ended.text())),
        }
    }
}

/// certs-gen belongs to another package, so cargo finds it.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(root.join("Cargo.toml"));
    command.args(["--package", "certs-gen"]);
    command
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}
