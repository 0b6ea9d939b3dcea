//! A disk on which each sync takes 200 ms more: `strace` delays the system calls of the real executable. Everything is answered
//! first and written behind, and what was answered is stored when the process has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::signer::Signer;
use serde_json::json;

use crate::process::skip_for_want_of;
use crate::product::{Serving, Site};
use crate::review::{assert_allowed, assert_denied, pod_review, policy_for};
use crate::stage::Stage;

const STRACE: &str = "/usr/bin/strace";
const SYNC: Duration = Duration::from_millis(200);
/// Repositories that are asked for one after the other.
const REPOSITORIES: u32 = 20;

/// Starts the webhook on a slow disk. `log` is where the syncs are noted.
fn serve_slowly(site: &Site, log: &Path) -> Serving {
    let mut strace = Command::new(STRACE);
    // The tracer is a process of its own (-D): the webhook keeps the place of the child.
    strace.env_clear().args(["-D", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o"]).arg(log);
    strace.args(["-e", &format!("inject=fsync,fdatasync:delay_enter={}", SYNC.as_micros())]);
    site.serve_under(strace)
}

fn gun(number: u32) -> String {
    format!("registry.local:9001/plant/x{number}")
}

/// Signs repositories, and trusts all of them.
fn many() -> Stage {
    let stage = Stage::new();
    for number in 0..REPOSITORIES {
        stage.server.publish(&Signer::new(&gun(number)).release("v1", [7; 32], 1234, &[]).publish());
    }
    stage.site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    stage
}

/// The first admission of each repository, one after the other.
fn admit_all(serving: &Serving) -> Duration {
    let begin = Instant::now();
    for number in 0..REPOSITORIES {
        assert_allowed(&serving.admit("/admit", &pod_review(&format!("{}:v1", gun(number)))));
    }
    begin.elapsed()
}

fn indexes(site: &Site) -> usize {
    let cache = PathBuf::from(site.config["trust"]["cache"].as_str().unwrap());
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().join("state.json").exists()).count()
}

#[test]
fn a_slow_disk_delays_no_answer_and_loses_none() {
    if !Path::new(STRACE).exists() {
        return skip_for_want_of("strace (Debian package strace)");
    }
    let stage = many();
    let fast = admit_all(&stage.site.serve());
    fs::remove_dir_all(stage.site.config["trust"]["cache"].as_str().unwrap()).unwrap();
    let log = stage.site.file("syncs", "");
    let mut serving = serve_slowly(&stage.site, &log);
    let slow = admit_all(&serving);
    let behind = indexes(&stage.site);
    // All at once: those that wait for another's refresh, and those whose repository is being written.
    let begin = Instant::now();
    thread::scope(|scope| {
        for number in 0..REPOSITORIES {
            let serving = &serving;
            scope.spawn(move || {
                let missing = format!("{}:missing", gun(number % 4));
                assert_denied(&serving.admit("/admit", &pod_review(&missing)), &["missing"]);
            });
        }
    });
    let denied = begin.elapsed();
    assert_eq!(serving.terminate(), Some(0), "{}", serving.log());
    let syncs = fs::read_to_string(&log).unwrap().matches("(DELAYED)").count();
    eprintln!(
        "{REPOSITORIES} first admissions took {fast:?}, and {slow:?} with {syncs} syncs of {SYNC:?}; {behind} were stored \
         when the last was answered; {REPOSITORIES} denials at once took {denied:?}"
    );
    // Each repository has at least eight syncs. The machine may be busy with other tests.
    let syncs = u32::try_from(syncs).unwrap();
    assert!(syncs >= 8 * REPOSITORIES, "the disk was not slow: {syncs}");
    assert!(slow < 3 * SYNC * REPOSITORIES && denied < 3 * SYNC * REPOSITORIES, "{slow:?}, {denied:?}");
    assert!(behind < usize::try_from(REPOSITORIES).unwrap(), "the answers came after the disk");
    // What was answered is stored: no older version is accepted, and no file is fetched again.
    assert_eq!(indexes(&stage.site), usize::try_from(REPOSITORIES).unwrap(), "{}", serving.log());
    assert!(!serving.log().contains("did not end in time"), "{}", serving.log());
    let serving = stage.site.serve();
    stage.server.forget_requests();
    admit_all(&serving);
    assert!(
        stage.server.requests().iter().all(|request| request.target.contains("timestamp")),
        "{:?}",
        stage.server.requests()
    );
}
