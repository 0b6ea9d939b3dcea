//! Programs that tests run. Each must end within a time, and none outlives its test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest that a test waits for a program.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program's exit status and output.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Fails the test and prints the output, unless the exit status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Everything that was printed.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command, stdin: &str) -> Run {
    run_within(PATIENCE, command, stdin)
}

/// The same with another limit of time.
#[track_caller]
pub(crate) fn run_within(patience: Duration, command: &mut Command, stdin: &str) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    thread::spawn(move || {
        let _ = input.write_all(stdin.as_bytes()); // the program may close it unread
    });
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let status = wait(&mut child, patience).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} had not ended after {patience:?}")
    });
    Run { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Waits for a child's end. `None` if time runs out; `Some(None)` if a signal ended it.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        if Instant::now() > end {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal (`TERM`, `STOP`, `CONT`) to a child.
pub(crate) fn signal(child: &Child, name: &str) {
    let script = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success(), "{script}");
}

/// Waits until the condition holds. Fails the test if time runs out.
#[track_caller]
pub(crate) fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_for(what, PATIENCE / 3, Duration::from_millis(10), holds);
}

/// The same with more time, and less often.
#[track_caller]
pub(crate) fn wait_patiently(what: &str, holds: impl FnMut() -> bool) {
    wait_for(what, PATIENCE * 2, Duration::from_millis(200), holds);
}

#[track_caller]
fn wait_for(what: &str, patience: Duration, pause: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::sleep(pause);
    }
}

/// Says that the calling test is skipped because something is missing. In CI that fails the test.
#[track_caller]
pub(crate) fn skip_for_want_of(missing: &str) {
    assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "skipped: needs {missing}");
    skip(&format!("needs {missing}"));
}

/// Says that the calling test is skipped, and why.
pub(crate) fn skip(why: &str) {
    // Written to the stream itself: the test runner captures what `eprintln!` prints.
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}

/// A free port. It is below the range that the kernel gives to outgoing connections, so no test that runs at the same
/// time gets it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 199).unwrap() * 60;
    loop {
        let port = 20_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
