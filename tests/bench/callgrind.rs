//! Instructions, counted by callgrind. They do not depend on the load of the machine. A program runs under valgrind
//! uncounted, and is counted only during the measured work.
//!
//! `PROFILES=/some/directory` in the environment keeps the counts there for `callgrind_annotate`. A program that is not
//! stripped then shows its functions.
//!
//! Valgrind has no SHA instructions, so hashing counts more than it costs on a processor that has them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use portreeve_test_support::temp::TempDir;

/// Are valgrind and its tools installed? Without them the tables have gaps.
pub(crate) fn is_there() -> bool {
    let answers = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    answers("valgrind") && answers("callgrind_control")
}

/// The counter of one program.
pub(crate) struct Counter {
    scratch: TempDir,
    dumps: u32,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Self { scratch: TempDir::new(), dumps: 0 }
    }

    /// The program under valgrind. The caller adds arguments.
    pub(crate) fn command(&self, program: impl Into<PathBuf>) -> Command {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--tool=callgrind", "--instr-atstart=no"]);
        command.arg(format!("--callgrind-out-file={}", self.out().display())).arg(program.into());
        command
    }

    /// Begins to count the process. It is slow from now on.
    pub(crate) fn begin(&self, pid: u32) {
        control(pid, &["-i", "on"]);
    }

    /// The number of instructions that the process needs for this work.
    pub(crate) fn count(&mut self, pid: u32, work: impl FnOnce()) -> u64 {
        control(pid, &["-z"]);
        work();
        control(pid, &["-d"]);
        self.dumps += 1;
        let dump = format!("{}.{}", self.out().display(), self.dumps);
        if let Some(kept) = std::env::var_os("PROFILES") {
            let name = format!("{}-{}", self.scratch.path().file_name().unwrap().display(), self.dumps);
            fs::copy(&dump, PathBuf::from(kept).join(name)).unwrap();
        }
        let text = fs::read_to_string(&dump).unwrap();
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        totals.trim().parse().unwrap()
    }

    fn out(&self) -> PathBuf {
        self.scratch.path().join("out")
    }
}

fn control(pid: u32, args: &[&str]) {
    let output = Command::new("callgrind_control").args(args).arg(pid.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
