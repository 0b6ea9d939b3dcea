//! Trust data on disk and without a server: the real executable killed, without disk space, and several times at once
//! on one cache; restarts while the server is away; data that is exported from a real Notary server and used where
//! there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

use portreeve_test_support::signer::{Key, Repo, Signer};
use portreeve_test_support::temp::TempDir;
use portreeve_test_support::trust_server::Fault;
use serde_json::{Value, json};

use crate::mount::Mount;
use crate::notary::{Digest, needs_notary};
use crate::plant::{HMI, PLC, Plant};
use crate::process::{Run, run, wait_until};
use crate::product::Site;
use crate::review::{assert_allowed, assert_denied, in_policy, patch, pinned, pod_review, policy_for, warnings};
use crate::stage::Stage;

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const BAD_INPUT: i32 = 2;
const UNDECIDED: i32 = 3;

fn image() -> String {
    format!("{PLC}:v1")
}

fn check(site: &Site) -> Run {
    run(&mut site.command("check", &["--output", "json", &image()]), "")
}

#[track_caller]
fn report(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// A site that uses stored data for up to an hour while the server is away.
fn patient_stage() -> Stage {
    let mut stage = Stage::new();
    stage.site.config["trust"]["whenUnavailable"] = json!("useCached");
    stage.site.config["trust"]["maxStale"] = json!("1h");
    stage
}

fn cache(site: &Site) -> PathBuf {
    PathBuf::from(site.config["trust"]["cache"].as_str().unwrap())
}

/// The stored version of a role, as `check` prints it.
#[track_caller]
fn stored_version(report: &Value, role: &str) -> u64 {
    let roles = report["stored"]["roles"].as_array().unwrap_or_else(|| panic!("nothing is stored: {report:#}"));
    let role = roles.iter().find(|stored| stored["role"] == role).unwrap();
    role["version"].as_u64().unwrap()
}

/// A kill may hit any instant of a refresh. The data that was stored before it must be complete after it.
/// `PORTREEVE_KILLS=200` kills 200 times.
#[test]
fn a_kill_at_any_instant_leaves_a_cache_that_loads() {
    let kills: u32 = std::env::var("PORTREEVE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let stage = patient_stage();
    let began = Instant::now();
    check(&stage.site).expect(ALLOWED);
    let mut usual = began.elapsed();
    let (mut repo, mut killed, mut last, mut fresh) = (stage.repo.clone(), 0, 1, 0);
    for round in 1..=kills {
        let mark = u8::try_from(round % 251).unwrap();
        repo = repo.update(|signer| signer.release("v1", [mark; 32], 1, &["alice"]));
        stage.server.publish(&repo);
        let mut command = stage.site.command("check", &[&image()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Writing begins late in the process's life.
        thread::sleep(usual * (40 + round * 37 % 70) / 100);
        child.kill().unwrap();
        let was_killed = child.wait().unwrap().code().is_none();
        killed += u32::from(was_killed);

        stage.server.misbehave("", Fault::Status(503));
        let run = check(&stage.site).expect(ALLOWED);
        stage.server.behave();
        let report = report(&run);
        assert!(!run.stderr.contains("cannot be used"), "{run:?}");
        assert!(report["trustData"].as_str().unwrap().starts_with("stored"), "{report:#}");
        assert!(report["stored"].get("damage").is_none(), "{report:#}");
        let version = stored_version(&report, "timestamp");
        assert!(version >= last, "{last} → {version}");
        fresh += u32::from(version > last);
        // The load of the machine changes. The kills stay near the instant of writing.
        usual = usual * if was_killed && version == last { 105 } else { 95 } / 100;
        last = version;
        // All files belong to one publication.
        let mark = if version == 1 { 7 } else { (version - 1) % 251 };
        assert_eq!(report["digest"], format!("sha256:{}", format!("{mark:02x}").repeat(32)), "version {version}");
    }
    assert!(killed > kills / 4, "only {killed} of {kills} were killed while they ran");
    assert!(fresh > 0, "not one refresh was stored in {kills} rounds");
    println!("{killed} of {kills} killed, {fresh} generations stored");
}

#[test]
fn several_processes_share_one_cache() {
    let stage = patient_stage();
    let mut repo = stage.repo.clone();
    for round in 2..6 {
        repo = repo.update(|signer| signer.release("v1", [round; 32], 1, &["alice"]));
        stage.server.publish(&repo);
        thread::scope(|scope| {
            // Creating a command writes the configuration file. No process may read it half-written.
            let commands: Vec<Command> = (0..6).map(|_| stage.site.command("check", &[&image()])).collect();
            let runs: Vec<_> = commands.into_iter().map(|mut one| scope.spawn(move || run(&mut one, ""))).collect();
            for run in runs {
                let run = run.join().unwrap().expect(ALLOWED);
                assert!(!run.stderr.contains("cannot be"), "{run:?}");
            }
        });
        assert_eq!(stored_version(&report(&check(&stage.site)), "timestamp"), u64::from(round));
    }
    // No process accepts an older version than any of them has verified.
    stage.server.publish(&stage.repo);
    let run = check(&stage.site).expect(DENIED);
    assert!(run.stdout.contains("was seen before"), "{run:?}");
}

#[test]
fn a_restart_while_the_server_is_away_admits_what_was_admitted() {
    let mut stage = patient_stage();
    let review = pod_review(&image());
    let mut serving = stage.site.serve();
    assert_allowed(&serving.admit("/admit", &review));
    assert_eq!(serving.terminate(), Some(0)); // it ends when all is stored
    stage.server.stop();
    let serving = stage.site.serve();
    let answer = serving.admit("/admit", &review);
    assert_allowed(&answer);
    assert_eq!(patch(&answer)[0]["value"], format!("{PLC}:v1@sha256:{}", "07".repeat(32)));
    assert!(warnings(&answer).contains("stored trust data"), "{answer:#}");
    let metrics = serving.get_plain("/metrics").unwrap().body;
    assert!(
        metrics.contains(
            r#"portreeve_images_total{endpoint="admit",verdict="verified",reason="stood-in",scope="cluster"} 1"#
        ),
        "{metrics}"
    );
    assert!(serving.log().contains(r#""source":"stood-in","ageSeconds":"#), "{}", serving.log());
    assert_denied(&serving.admit("/admit", &pod_review(&format!("{PLC}:unsigned"))), &["unsigned"]);
    // A policy that forbids it is obeyed.
    let mut strict = stage.site;
    strict.config["trust"]["whenUnavailable"] = json!("deny");
    check(&strict).expect(UNDECIDED);
}

#[test]
fn a_disk_without_room_costs_no_answer_and_no_old_data() {
    let stage = patient_stage();
    check(&stage.site).expect(ALLOWED);
    let next = stage.repo.update(|signer| signer.release("v1", [9; 32], 1, &["alice"]));
    stage.server.publish(&next);
    // No file may grow beyond one block, so writes fail half-way as on a full disk.
    let inner = stage.site.command("check", &["--output", "json", &image()]);
    let mut starved = Command::new("/bin/sh");
    starved.env_clear().args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]);
    starved.arg(inner.get_program()).args(inner.get_args());
    let starved = run(&mut starved, "").expect(ALLOWED);
    assert!(starved.stderr.contains("trust.cache cannot be written"), "{starved:?}");
    assert_eq!(report(&starved)["digest"], format!("sha256:{}", "09".repeat(32)));
    stage.server.misbehave("", Fault::Status(503));
    let away = report(&check(&stage.site).expect(ALLOWED));
    assert_eq!(away["digest"], format!("sha256:{}", "07".repeat(32)), "the old generation stays whole");
    stage.server.behave();
    check(&stage.site).expect(ALLOWED);
    assert_eq!(stored_version(&report(&check(&stage.site)), "timestamp"), 2);
}

#[test]
fn a_cache_that_cannot_be_is_a_warning() {
    let mut stage = Stage::new();
    stage.site.config["trust"]["cache"] = json!("/dev/null/cache");
    let serving = stage.site.serve();
    assert_allowed(&serving.admit("/admit", &pod_review(&image())));
    assert_allowed(&serving.admit("/admit", &pod_review(&image())));
    wait_until("the warning", || serving.log().contains("trust.cache cannot be written"));
    assert_eq!(serving.log().matches("trust.cache cannot be written").count(), 1, "{}", serving.log());
    let metrics = serving.get_plain("/metrics").unwrap().body;
    assert!(!metrics.contains("portreeve_trust_store_failures_total 0"), "{metrics}");
    check(&stage.site).expect(ALLOWED);
}

#[test]
fn a_cache_that_cannot_be_read_is_told_and_denies() {
    let mut stage = Stage::new();
    let circle = cache(&stage.site).with_file_name("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    stage.site.config["trust"]["cache"] = json!(circle);
    let run = check(&stage.site).expect(UNDECIDED);
    let reason = report(&run)["reason"].as_str().unwrap().to_owned();
    for word in ["cannot be judged", "trust.cache cannot be read", "circle", "mend the disk"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert!(!reason.contains("trust server"), "{reason}");
    let serving = stage.site.serve();
    for _ in 0..2 {
        assert_denied(&serving.admit("/admit", &pod_review(&image())), &["trust.cache cannot be read"]);
    }
    assert_eq!(serving.log().matches("trust.cache cannot be read").count(), 3, "once, and in two decisions");
    let metrics = serving.get_plain("/metrics").unwrap().body;
    assert!(!metrics.contains(r#"portreeve_reloads_total{what="stored_trust",result="failed"} 0"#), "{metrics}");
    fs::remove_file(&circle).unwrap();
    assert_allowed(&serving.admit("/admit", &pod_review(&image())));
}

/// TUF 1.0 §5.3.11. Each process knows only what is stored.
#[test]
fn an_owner_recovers_from_versions_that_a_thief_drove_up() {
    let stage = Stage::new();
    for role in ["timestamp", "snapshot", "targets/releases"] {
        let publish = |repo: &Repo| {
            stage.server.publish(repo);
            check(&stage.site)
        };
        fs::remove_dir_all(cache(&stage.site)).unwrap_or_default();
        publish(&stage.repo).expect(ALLOWED);
        let driven = stage.repo.update(|signer| signer.version(role, u64::from(u32::MAX)));
        publish(&driven).expect(ALLOWED);
        let lower = driven.update(|signer| signer.version(role, 3));
        let told = publish(&lower).expect(DENIED);
        assert!(told.stdout.contains("was seen before"), "{told:?}");
        let recovered = lower.update(|signer| signer.rotate(role, vec![Key::p256()]).version(role, 3));
        let found = report(&publish(&recovered).expect(ALLOWED));
        assert_eq!(stored_version(&found, role), 3, "{found:#}");
        publish(&driven).expect(DENIED);
        publish(&lower).expect(DENIED);
        publish(&recovered).expect(ALLOWED);
    }
}

#[test]
fn a_cache_that_is_full_by_its_bound_costs_no_answer_and_no_version() {
    let mut stage = Stage::new();
    // Too little for the smallest record.
    stage.site.config["limits"] = json!({ "trustCache": "1KiB" });
    let run = check(&stage.site).expect(ALLOWED);
    assert!(run.stderr.contains("nothing is kept there of repositories that are not in it yet"), "{run:?}");
    assert!(report(&run).get("stored").is_none(), "{run:?}");
    // Enough for the record, not for the data.
    stage.site.config["limits"] = json!({ "trustCache": "40KiB" });
    let run = check(&stage.site).expect(ALLOWED);
    assert!(run.stderr.contains("only the root and the versions are kept"), "{run:?}");
    let newer = stage.repo.update(|signer| signer.touch("timestamp"));
    stage.server.publish(&newer);
    let found = report(&check(&stage.site).expect(ALLOWED));
    assert_eq!(stored_version(&found, "timestamp"), 2, "{found:#}");
    assert!(found["stored"].get("damage").is_none(), "{found:#}");
    stage.server.publish(&stage.repo);
    let run = check(&stage.site).expect(DENIED);
    assert!(run.stdout.contains("was seen before"), "{run:?}");
}

/// Each name costs the tenant one denied Pod, and without a limit would cost a stored root of 0.9 MB.
#[test]
fn ever_new_names_in_denied_workloads_fill_no_disk() {
    let mut stage = Stage::new();
    stage.site.config["limits"] = json!({ "trustCache": "1MiB" });
    stage.site.policies(&[policy_for("registry.local:9001/*", json!({ "enabled": true }))]);
    let serving = stage.site.serve();
    for number in 0..40 {
        let gun = format!("registry.local:9001/made/up{number}");
        let heavy = Signer::new(&gun).edit("root", |signed| signed["x"] = "x".repeat(900_000).into());
        stage.server.publish(&heavy.target("targets", "v1", [1; 32], 1).publish());
        assert_denied(&serving.admit("/admit", &pod_review(&format!("{gun}:nope"))), &["is not signed"]);
    }
    let du = || {
        let run = run(Command::new("/usr/bin/du").args(["-s", "--block-size=1"]).arg(cache(&stage.site)), "").expect(0);
        run.stdout.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let full = "trust.cache is full (limits.trustCache, a quarter for";
    wait_until("the warning", || serving.log().contains(full));
    assert!(du() <= 256 << 10, "{} bytes", du());
    assert!(serving.metric("portreeve_trust_store_failures_total").unwrap() > 0);
    assert_eq!(serving.log().matches(full).count(), 1, "{}", serving.log());
    // Repositories of admitted images still have room.
    assert_allowed(&serving.admit("/admit", &pod_review(&image())));
    let report = report(&check(&stage.site).expect(ALLOWED));
    assert_eq!(stored_version(&report, "timestamp"), 1, "{report:#}");
    assert!(du() <= 1 << 20, "{} bytes", du());
}

#[test]
fn check_shows_what_is_stored_and_what_to_pin_and_resets() {
    let stage = Stage::new();
    let text = run(&mut stage.site.command("check", &[&image()]), "").expect(ALLOWED).stdout;
    let id = stage.repo.root_key_id();
    for word in [format!("- keyId: \"{id}\""), "stored timestamp".into(), "confirmed 0 s ago".into()] {
        assert!(text.contains(&word), "no {word:?} in {text}");
    }
    // The snippet is valid in a policy.
    let found = report(&check(&stage.site));
    let signer = json!({ "name": "alice", "publicKey": stage.repo.signer_public_key_pem("alice") });
    let trust = json!({ "enabled": true, "signers": [signer], "roots": found["rootsToPin"] });
    stage.site.policies(&[policy_for("registry.local:9001/*", trust)]);
    check(&stage.site).expect(ALLOWED);

    // A repository that was created again is refused until a reset.
    let trust = json!({ "enabled": true });
    stage.site.policies(&[policy_for("registry.local:9001/*", trust)]);
    let serving = stage.site.serve();
    assert_allowed(&serving.admit("/admit", &pod_review(&image())));
    let anew = Stage::new().repo;
    stage.server.publish(&anew);
    check(&stage.site).expect(DENIED);
    run(&mut stage.site.command("check", &["--reset", HMI]), "").expect(ALLOWED);
    check(&stage.site).expect(DENIED);
    let told = run(&mut stage.site.command("check", &["--reset", PLC]), "").expect(ALLOWED).stdout;
    assert!(told.contains("removed the stored trust data of") && told.contains(PLC), "{told}");
    check(&stage.site).expect(ALLOWED);
    run(&mut stage.site.command("check", &["--reset", "../etc"]), "").expect(BAD_INPUT);
    let told = run(&mut stage.site.command("check", &["--reset", PLC, "--cache", "/no/such"]), "").expect(BAD_INPUT);
    assert!(told.stderr.contains("the directory /no/such does not exist; nothing was reset"), "{told:?}");

    // A damaged root denies, and the denial says what to do.
    for entry in fs::read_dir(cache(&stage.site)).unwrap() {
        fs::write(entry.unwrap().path().join("state.json"), "{").unwrap();
    }
    let run = check(&stage.site).expect(DENIED);
    assert!(run.stdout.contains(&format!("portreeve check --reset {PLC}")), "{run:?}");
    assert!(report(&run)["stored"]["damage"].is_string(), "{run:?}");
}

/// All files below a directory.
fn tree(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn trust_data_is_carried_to_where_there_is_no_server() {
    needs_notary!();
    let mut plant = Plant::build();
    let (dir, home) = (TempDir::new(), Site::new(&plant.pki));
    let url = plant.notary.url();
    let out = dir.path().join("stick");
    let export = |args: &[&str]| {
        let all = [&["--server", &url, "--gun"], args, &[out.to_str().unwrap()]].concat();
        run(&mut home.command("export", &all), "")
    };
    plant.notary.repository("registry.local:9001/plant/rotated").sign("v1", &plant.plc, &[]).rotate_root();
    let told = export(&[PLC, "--signer", "alice"]).expect(ALLOWED).stdout;
    for word in ["targets/alice", "targets/releases", "root key to pin", "counts until"] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
    export(&[HMI, "--flat"]).expect(ALLOWED);
    export(&["registry.local:9001/plant/rotated"]).expect(ALLOWED);
    assert!(out.join("registry.local:9001/plant/rotated/2.root.json").exists());
    export(&[PLC, "--signer", "bob"]).expect(DENIED);
    export(&["registry.local:9001/plant/none"]).expect(DENIED);
    let id = "0".repeat(64);
    export(&[PLC, "--root-key", &id]).expect(DENIED);
    export(&[PLC, "--root-key", "x"]).expect(BAD_INPUT);
    // A second export over the first leaves the same files.
    let before = tree(&out.join(PLC));
    export(&[PLC]).expect(ALLOWED);
    assert_eq!(tree(&out.join(PLC)), before);

    // The site without a server.
    let carried = dir.path().join("carried");
    fs::rename(&out, &carried).unwrap();
    // One repository is mounted as a ConfigMap: flat names, kubelet's links.
    let flat = carried.join("registry.local_9001_plant_hmi");
    let files = tree(&flat);
    fs::remove_dir_all(&flat).unwrap();
    fs::create_dir(&flat).unwrap();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.file_name().unwrap().to_str().unwrap(), text.as_str())).collect();
    Mount::at(flat).swap(&files);
    plant.notary.stop();
    let export = |args: &[&str]| run(&mut home.command("export", args), "");
    export(&["--server", &url, "--gun", PLC, carried.to_str().unwrap()]).expect(UNDECIDED);

    let site = Site::new(&plant.pki);
    let trust = json!({
        "enabled": true, "trustServer": format!("file://{}", carried.display()), "signers": in_policy(&[&plant.alice]),
    });
    site.policies(&[policy_for("registry.local:9001/plant/*", trust)]);
    let serving = site.serve();
    for (name, digest) in [(PLC, &plant.plc), (HMI, &plant.hmi)] {
        let answer = serving.admit("/admit", &pod_review(&format!("{name}:v1")));
        assert_allowed(&answer);
        assert_eq!(patch(&answer)[0]["value"], pinned(name, digest));
        assert_eq!(warnings(&answer), "");
    }
    for (image, word) in [
        (format!("{PLC}:unsigned"), "unsigned"),
        (format!("{HMI}:draft"), "draft"),
        ("registry.local:9001/plant/bare:v1".to_owned(), "the directory has no trust data"),
        ("registry.local:9001/plant/rotated:v1".to_owned(), "alice"),
    ] {
        assert_denied(&serving.admit("/admit", &pod_review(&image)), &[word]);
    }
    // The configuration can name the directory too.
    let mut site = Site::with_server(&plant.pki, &format!("file://{}", carried.display()));
    site.policies(&[policy_for("registry.local:9001/plant/*", json!({ "enabled": true }))]);
    check(&site).expect(ALLOWED);
    // One changed byte is a rejection.
    let timestamp = carried.join(PLC).join("timestamp.json");
    let text = fs::read_to_string(&timestamp).unwrap();
    fs::write(&timestamp, text.replacen("\"version\":", "\"version\":1", 1)).unwrap();
    site.config["trust"].as_object_mut().unwrap().remove("cache");
    check(&site).expect(DENIED);
    // A directory that is not mounted is unavailable.
    fs::remove_dir_all(&carried).unwrap();
    let told = check(&site).expect(UNDECIDED).stdout;
    assert!(told.contains("no trust data could be read for") && !told.contains("server did not answer"), "{told}");
}

#[test]
fn a_restart_does_not_forget_what_a_real_server_had() {
    needs_notary!();
    let mut plant = Plant::build();
    let mut site = plant.site();
    site.config["trust"]["whenUnavailable"] = json!("useCached");
    site.config["trust"]["maxStale"] = json!("1h");
    site.policies(&[policy_for("registry.local:9001/plant/*", json!({ "enabled": true }))]);
    check(&site).expect(ALLOWED);
    plant.notary.stop();
    let report = report(&check(&site).expect(ALLOWED));
    assert!(report["trustData"].as_str().unwrap().starts_with("stored"), "{report:#}");
    assert_eq!(report["digest"], plant.plc.to_string());
}

/// A site of a real server that uses stored data for up to an hour while the server is away.
fn patient_plant() -> (Plant, Site) {
    let plant = Plant::build();
    let mut site = plant.site();
    site.config["trust"]["whenUnavailable"] = json!("useCached");
    site.config["trust"]["maxStale"] = json!("1h");
    (plant, site)
}

#[test]
fn a_signers_new_key_that_has_signed_nothing_yet_is_no_damage() {
    needs_notary!();
    let (plant, site) = patient_plant();
    site.policies(&[policy_for("registry.local:9001/plant/*", json!({ "enabled": true }))]);
    let gun = "registry.local:9001/plant/handover";
    let repository = plant.notary.repository(gun);
    let digest = Digest::of("v1");
    repository.add_signer(&plant.alice).sign("v1", &digest, &["targets/releases", "targets/alice"]);
    let check = || run(&mut site.command("check", &["--output", "json", &format!("{gun}:v1")]), "");
    check().expect(ALLOWED);
    repository.replace_delegate("targets/releases", &plant.bob);
    let first = report(&check().expect(DENIED));
    for _ in 0..2 {
        let run = check().expect(DENIED);
        let again = report(&run);
        assert_eq!(again["reason"], first["reason"], "{again:#}");
        assert!(again["stored"].get("damage").is_none(), "{again:#}");
        for word in ["seen before", "reset", "damage", "cannot be used"] {
            assert!(!run.stderr.contains(word) && !again["reason"].as_str().unwrap().contains(word), "{run:?}");
        }
    }
    // It is verified once the new key has signed.
    repository.import(&plant.bob, "targets/releases").witness("targets/releases");
    check().expect(ALLOWED);
}

#[test]
fn what_was_deleted_at_the_server_stands_in_for_nothing() {
    needs_notary!();
    let (plant, site) = patient_plant();
    site.policies(&[policy_for("registry.local:9001/plant/*", json!({ "enabled": true }))]);
    let gun = "registry.local:9001/plant/withdrawn";
    let repository = plant.notary.repository(gun);
    repository.sign("v1", &Digest::of("v1"), &[]);
    let check = || run(&mut site.command("check", &["--output", "json", &format!("{gun}:v1")]), "");
    check().expect(ALLOWED);
    repository.delete();
    for _ in 0..2 {
        let report = report(&check().expect(DENIED));
        assert_eq!(report["verdict"], "rejected", "{report:#}");
        let reason = report["reason"].as_str().unwrap();
        assert!(reason.contains("deleted") && reason.contains("portreeve check --reset"), "{reason}");
    }
}
