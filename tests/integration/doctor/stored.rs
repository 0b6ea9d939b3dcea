//! `trust.cache`: what is stored, and a volume that is full, read-only or absent. The mounts are in a namespace of their own, which
//! ends with the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::*;
use crate::process::skip_for_want_of;
use crate::review::{assert_allowed, pod_review};
use crate::stage::Stage;

const UNSHARE: &str = "/usr/bin/unshare";

/// Can this user mount anything?
#[track_caller]
pub(super) fn may_mount() -> bool {
    let script = "mount -t tmpfs -o size=64k none /mnt";
    let may = Command::new(UNSHARE).args(["--mount", "/bin/sh", "-c", script]).output();
    if may.is_ok_and(|output| output.status.success()) {
        return true;
    }
    skip_for_want_of("the right to mount a file system");
    false
}

/// The command, after a shell's lines in a mount namespace of its own. `$0` is the directory.
fn after_mounting(script: &str, directory: &Path, command: &Command) -> Command {
    let mut wrapped = Command::new(UNSHARE);
    wrapped.env_clear().env("PATH", "/usr/bin:/bin").args(["--mount", "/bin/sh", "-c"]);
    wrapped.arg(format!("set -e; {script}; exec \"$@\"")).arg(directory);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

fn cache_of(site: &Site) -> PathBuf {
    site.config["trust"]["cache"].as_str().unwrap().into()
}

#[test]
fn a_full_disk_is_told() {
    if !may_mount() {
        return;
    }
    let site = sound();
    let plain = site.command("doctor", &["--output", "json"]);
    let with = |script| after_mounting(script, &cache_of(&site), &plain);
    let mut full = with("mount -t tmpfs -o size=64k none \"$0\"; ! cat /dev/zero >\"$0/full\" 2>/dev/null");
    let report = Report::of(&mut full, WRONG);
    report.is_well_but_for(&["trust_cache"]);
    let finding = report.has("wrong", "trust_cache", "cannot be written");
    assert!(text_of(finding).contains("No space left on device"), "{finding}");
    report.has("wrong", "trust_cache", "make room on the volume");
    let report = Report::of(&mut with("mount -t tmpfs -o size=64k none \"$0\""), WRONG);
    report.has("wrong", "trust_cache", "the volume has 0 MiB free");
    let report = Report::of(&mut with("mount -t tmpfs -o size=100m none \"$0\""), WELL);
    report.has("note", "trust_cache", "the volume has 100 MiB free, which is less than limits.trustCache still allows");
    let mut read_only = with("mount -t tmpfs -o size=600m none \"$0\"; mount -o remount,ro \"$0\"");
    Report::of(&mut read_only, WRONG).has("wrong", "trust_cache", "Read-only file system");
}

#[test]
fn an_absent_or_unset_directory_is_told() {
    let mut site = sound();
    fs::remove_dir(cache_of(&site)).unwrap();
    doctor(&site, &[], WELL).has("ok", "trust_cache", "is not there yet");
    assert!(!cache_of(&site).exists());
    site.config["trust"]["cache"] = json!("");
    doctor(&site, &[], WELL).has("note", "trust_cache", "is not set");
    site.config["trust"]["cache"] = json!("/nowhere/cache");
    doctor(&site, &[], WRONG).has("wrong", "trust_cache", "No such file or directory");
}

#[test]
fn stored_trust_data_is_read_beside_a_running_webhook() {
    let mut stage = Stage::new();
    let (chain, key) = Authority::new().server(&[SERVICE]);
    let tls = stage.site.config["tls"].clone();
    let mut serving = stage.site.serve();
    assert_allowed(&serving.admit("/admit", &pod_review("registry.local:9001/plant/plc:v1")));
    let index = || {
        let entries = fs::read_dir(cache_of(&stage.site)).unwrap().flatten();
        let mut files: Vec<_> =
            entries.map(|entry| entry.path().join("state.json")).filter(|path| path.exists()).collect();
        assert!(files.len() < 2);
        files.pop()
    };
    crate::process::wait_until("the trust data to be stored", || index().is_some());
    let index = index().unwrap();
    let before = fs::read(&index).unwrap();
    let requests = stage.server.requests().len();
    serve_with(&mut stage.site, &chain, &key);
    let report = doctor(&stage.site, &[], WELL);
    report.is_well_but_for(&[]);
    for check in ["root", "targets", "releases", "delegation"] {
        report.has("ok", check, "registry.local:9001/plant/plc");
    }
    report.has("ok", "trust_cache", "1 repositories");
    // It asks about a repository that is there, and for nothing but its shortest file.
    let asked = &stage.server.requests()[requests..];
    assert!(
        asked
            .iter()
            .all(|request| request.target == "/v2/" || request.target.ends_with("plant/plc/_trust/tuf/timestamp.json")),
        "{asked:?}"
    );
    assert_eq!(fs::read(&index).unwrap(), before, "the webhook's data is as it was");
    // Nothing is left beside it.
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(
        names(&cache_of(&stage.site)),
        1,
        "{:?}",
        fs::read_dir(cache_of(&stage.site)).unwrap().collect::<Vec<_>>()
    );
    assert_allowed(&serving.admit("/admit", &pod_review("registry.local:9001/plant/plc:v1")));
    stage.site.config["tls"] = tls;
    // A damaged index.
    assert_eq!(serving.terminate(), Some(0));
    fs::write(&index, "{").unwrap();
    doctor(&stage.site, &[], WRONG).has("wrong", "trust_cache", "registry.local:9001/plant/plc: ");
}
