//! Rows 49 to 69: timestamp, snapshot and targets; hashes, lengths, versions and expiry.

use serde_json::{Value, json};

use super::*;

const ROLES: [&str; 5] = ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];

#[test]
fn row_049_expired_metadata_never_counts() {
    for role in ROLES {
        let repo = plant().expires(role, now()).publish();
        assert_eq!(v1_by_alice(&repo), "expired", "{role}");
        // The refresh already rejects it. A signer's role is only rejected for images that need this signer.
        assert_eq!(code(open(&repo)), if role == "targets/alice" { "accepted" } else { "expired" }, "{role}");
        let repo = plant().expires(role, now() + hours(1)).publish();
        assert_eq!(v1_by_alice(&repo), "accepted", "{role}");
        // Metadata that was verified in time is checked again when it is used.
        let opened = open(&repo).unwrap();
        let later = opened.find_target(tag("v1"), &[as_alice(&repo)], now() + hours(1)).unwrap_err();
        assert_eq!(later, Rejection::Expired { role: role.to_owned(), expired: now() + hours(1) });
        // So is metadata that was carried over.
        let carried = repo.update(|s| s.touch("timestamp").expires("timestamp", now() + hours(9)));
        let result = Repository::refresh(
            &mut Server::of(&carried),
            &gun(),
            &first_use(),
            Some(&opened),
            &alice(),
            now() + hours(1),
        );
        match (role, result) {
            ("timestamp", result) => assert_eq!(code(result), "accepted"),
            ("targets/alice", result) => {
                let refusal = result.unwrap().find_target(tag("v1"), &[as_alice(&repo)], now() + hours(1)).unwrap_err();
                assert_eq!(refusal.code(), "expired");
            }
            (_, result) => assert_eq!(code(result), "expired", "{role}"),
        }
    }
    let opened = open(&plant().expires("root", now() + hours(1)).publish()).unwrap();
    assert_eq!(opened.find_target(tag("v1"), &[], now() + hours(1)).unwrap_err().code(), "expired");
}

#[test]
fn row_050_expires_is_a_time() {
    for role in ROLES.into_iter().chain(["root"]) {
        for bad in [json!(null), json!(""), json!("2031-01-01"), json!(1_893_456_000), json!("2031-01-01 00:00:00Z")] {
            let repo = plant().edit(role, move |s| s["expires"] = bad.clone()).publish();
            assert_eq!(v1_by_alice(&repo), "structure", "{role}");
        }
        let repo = plant().edit(role, |s| drop(s.as_object_mut().unwrap().remove("expires"))).publish();
        assert_eq!(v1_by_alice(&repo), "structure", "{role}");
    }
}

/// All roles were verified at version 5. Then only this role has another version.
fn from_five_to(role: &'static str, version: u64) -> &'static str {
    let base = ROLES.into_iter().fold(plant(), |signer, role| signer.version(role, 5)).publish();
    let held = open(&base).unwrap();
    // The versions of the files above it increase as usual.
    let result = again(&base.update(|s| s.version(role, version)), &held);
    let judged = result.map(|opened| opened.find_target(tag("v1"), &[as_alice(&base)], now()).map(|_| ()));
    match judged {
        Ok(judged) => judged.map_or_else(|rejection| rejection.code(), |()| "accepted"),
        Err(error) => code::<()>(Err(error)),
    }
}

#[test]
fn row_051_the_timestamp_does_not_go_back() {
    assert_eq!(from_five_to("timestamp", 4), "rollback");
    assert_eq!(from_five_to("timestamp", 6), "accepted");
}

#[test]
fn row_058_snapshot_and_targets_do_not_go_back() {
    for role in ["snapshot", "targets"] {
        assert_eq!(from_five_to(role, 4), "rollback", "{role}");
        assert_eq!(from_five_to(role, 6), "accepted", "{role}");
    }
}

#[test]
fn row_059_delegations_do_not_go_back() {
    for role in ["targets/releases", "targets/alice"] {
        assert_eq!(from_five_to(role, 4), "rollback", "{role}");
        assert_eq!(from_five_to(role, 6), "accepted", "{role}");
    }
}

#[test]
fn a_delegation_does_not_go_back_over_a_gap() {
    let base = plant().version("targets/alice", 5).publish();
    let held = open(&base).unwrap();
    let without = again(&base.update(|s| s.withhold("targets/alice")), &held).unwrap();
    let refusal = without.find_target(tag("v1"), &[as_alice(&base)], now()).unwrap_err();
    assert!(matches!(refusal, Rejection::NotSignedBy { why: NotSigned::NoRole, .. }), "{refusal}");
    let back = base.update(|s| s.version("targets/alice", 4).touch("snapshot").version("snapshot", 9));
    let back = back.update(|s| s.version("timestamp", 9));
    let opened = again(&back, &without).unwrap();
    assert_eq!(opened.find_target(tag("v1"), &[as_alice(&base)], now()).unwrap_err().code(), "rollback");
}

#[test]
fn row_052_one_version_has_one_content() {
    let base = plant().publish();
    let held = open(&base).unwrap();
    assert_eq!(code(again(&base.update(|s| s.version("timestamp", 1)), &held)), "accepted"); // signed again
    for role in ROLES {
        let other = base.update(|s| s.expires(role, now() + hours(33)).version(role, 1));
        let result = again(&other, &held).map(|opened| opened.find_target(tag("v1"), &[as_alice(&base)], now()));
        match result {
            Ok(judged) => assert_eq!((role, judged.unwrap_err().code()), ("targets/alice", "equivocation")),
            Err(error) => assert_eq!(code::<()>(Err(error)), "equivocation", "{role}"),
        }
    }
}

#[test]
fn row_053_white_space_in_the_timestamp_is_nothing() {
    let base = plant().publish();
    let held = open(&base).unwrap();
    let mut server = Server::of(&base);
    let value: Value = serde_json::from_slice(&base.bytes("timestamp")).unwrap();
    server.files.insert("timestamp".to_owned(), serde_json::to_vec_pretty(&value).unwrap());
    let result = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(result), "accepted");
}

#[test]
fn row_054_files_have_caps() {
    let repo = plant().edit_bytes("timestamp", |mut bytes| {
        bytes.resize((64 << 10) + 1, b' ');
        bytes
    });
    assert_eq!(code(open(&repo.publish())), "too-large");
    let full = |name: &'static str, length: usize| {
        plant().edit_bytes(name, move |mut bytes| {
            bytes.resize(length, b' ');
            bytes
        })
    };
    assert_eq!(code(open(&full("timestamp", 64 << 10).publish())), "accepted");
    assert_eq!(code(open(&full("root", 1 << 20).publish())), "accepted");
    assert_eq!(code(open(&full("snapshot", 16 << 20).publish())), "accepted");
    // A source that ignores its cap.
    struct Careless(std::collections::BTreeMap<String, Vec<u8>>);
    impl MetadataSource for Careless {
        fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
            self.0.get(&name.file_stem()).cloned().ok_or(FetchError::NotFound)
        }
    }
    for (name, cap) in [("timestamp", 64 << 10), ("root", 1 << 20)] {
        for (length, expected) in [(cap, "accepted"), (cap + 1, "too-large")] {
            let mut source = Careless(full(name, length).publish().files().clone());
            let result = Repository::refresh(&mut source, &gun(), &first_use(), None, &alice(), now());
            assert_eq!(code(result), expected, "{name}: {length}");
        }
    }
    // A snapshot that lists a length beyond the cap: the file is not even fetched.
    let repo = plant().edit("timestamp", |s| s["meta"]["snapshot"]["length"] = json!((16 << 20) + 1)).publish();
    let mut server = Server::of(&repo);
    let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
    assert_eq!(code(result), "too-large");
    assert!(!server.asked.contains(&repo.file_of("snapshot")));
}

#[test]
fn row_055_a_server_without_a_timestamp_says_nothing() {
    let repo = plant().publish();
    let held = open(&repo).unwrap();
    for previous in [None, Some(&held)] {
        let mut server = Server::of(&repo);
        server.files.remove("timestamp");
        let result = Repository::refresh(&mut server, &gun(), &first_use(), previous, &alice(), now());
        let Err(RefreshError::Unavailable(unavailable)) = result else { panic!("{result:?}") };
        assert_eq!(unavailable.cause, UnavailableCause::Incomplete);
        for words in ["the timestamp is gone", "restore the data from a backup", &format!("notary publish {GUN}")] {
            assert!(unavailable.message.contains(words), "{unavailable}");
        }
    }
    // The cached data may be used, if the policy allows it.
    assert!(held.find_target(tag("v1"), &[], now()).is_ok());
}

#[test]
fn advice_fits_the_role_and_the_place_of_the_data() {
    let expired = |role: &str| Rejection::Expired { role: role.to_owned(), expired: now() };
    let signatures = |role: &str, keys_of: Option<&str>| Rejection::Signatures {
        role: role.to_owned(),
        keys_of: keys_of.map(str::to_owned),
        threshold: 1,
        valid: 0,
    };
    for (rejection, source_kind, words) in [
        (expired("timestamp"), SourceKind::Server, "the trust server renews it by itself"),
        (expired("timestamp"), SourceKind::Directory, "nothing renews data in a directory: export it again"),
        (expired("targets"), SourceKind::Server, "its owner must sign it again"),
        (expired("targets"), SourceKind::Directory, "its owner must sign it again; then export it again"),
        (signatures("targets/releases", None), SourceKind::Server, "notary witness -p NAME targets/releases"),
    ] {
        let told = rejection.describe(source_kind, "NAME").to_string();
        assert!(told.contains(words), "{told}");
        assert_eq!(
            told.contains("the trust server"),
            source_kind == SourceKind::Server && words.contains("the trust server")
        );
        assert_eq!(rejection.to_string() == told, source_kind == SourceKind::Server);
    }
}

#[test]
fn a_repository_that_was_made_anew_has_two_ways_out() {
    for (role, keys_of) in
        [("timestamp", None), ("snapshot", None), ("targets", None), ("root", Some("root version 1"))]
    {
        let keys_of = keys_of.map(str::to_owned);
        let told = Rejection::Signatures { role: role.to_owned(), keys_of, threshold: 1, valid: 0 };
        let told = told.describe(SourceKind::Server, GUN).to_string();
        for words in [
            "ask its owner",
            "made anew on purpose, reset what is stored with: portreeve check --reset registry.local:9001/plant/plc",
            "restore its data on the trust server from a backup",
        ] {
            assert!(told.contains(words), "{told}");
        }
    }
    // One of two keys has signed: nothing was made anew.
    let told = Rejection::Signatures { role: "targets".to_owned(), keys_of: None, threshold: 2, valid: 1 }.to_string();
    assert!(told.contains("signed by 1 of its keys") && !told.contains("reset"), "{told}");
}

#[test]
fn row_107_what_was_deleted_is_gone() {
    let repo = plant().publish();
    let held = open(&repo).unwrap();
    let mut server = Server::of(&repo);
    server.files.clear();
    let mut deleted = || Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(deleted()), "deleted");
    let words = deleted().unwrap_err().to_string();
    for word in ["the trust server", GUN, "deleted", "portreeve check --reset registry.local:9001/plant/plc"] {
        assert!(words.contains(word), "{words}");
    }
    // A server that does not answer has not said that the data was deleted.
    let mut server = Server::of(&repo);
    server.files.remove("timestamp");
    server.away.insert("root".to_owned());
    let result = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(result), "unavailable");
    let mut server = Server::of(&repo);
    server.files.clear();
    server.away.insert("timestamp".to_owned());
    let result = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
    assert_eq!(code(result), "unavailable");
}

#[test]
fn row_056_expired_data_never_stands_in() {
    let held = open(&plant().publish()).unwrap();
    assert_eq!(held.find_target(tag("v1"), &[], now() + hours(24 * 15)).unwrap_err().code(), "expired");
}

#[test]
fn row_057_files_are_the_listed_ones() {
    // Without sha512, sha256 alone must detect it.
    let drop_sha512 = |s: &mut Value| {
        for (_, entry) in s["meta"].as_object_mut().unwrap() {
            entry["hashes"].as_object_mut().unwrap().remove("sha512");
        }
    };
    let sha256_alone = plant().edit("timestamp", drop_sha512).edit("snapshot", drop_sha512).publish();
    assert_eq!(v1_by_alice(&sha256_alone), "accepted");
    let repo = plant().publish();
    let roles = ["snapshot", "targets", "targets/releases", "targets/alice"];
    for (repo, role) in [&repo, &sha256_alone].into_iter().flat_map(|repo| roles.map(|role| (repo, role))) {
        let mut server = Server::of(repo);
        let file = server.files.get_mut(&repo.file_of(role)).unwrap();
        let expires = file.windows(7).position(|window| window == b"expires").unwrap();
        file[expires + 9..].iter_mut().find(|byte| byte.is_ascii_digit()).unwrap().clone_from(&b'9');
        let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
        let judged = result.map(|opened| opened.find_target(tag("v1"), &[as_alice(repo)], now()).unwrap_err().code());
        assert_eq!(judged.unwrap_or_else(|error| code::<()>(Err(error))), "hash", "{role}");
        server.files.remove(&repo.file_of(role));
        let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
        let judged = result.map(|opened| opened.find_target(tag("v1"), &[as_alice(repo)], now()).unwrap_err().code());
        assert_eq!(judged.unwrap_or_else(|error| code::<()>(Err(error))), "missing", "{role}");
    }
}

#[test]
fn row_061_the_root_is_the_listed_one() {
    let repo = plant().publish();
    // On first contact too.
    let other = repo.update(|s| s.touch("root").version("root", 1));
    let mut server = Server::of(&repo);
    server.files.insert("root".to_owned(), other.bytes("root"));
    let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
    assert_eq!(code(result), "hash");
    // A rotation that is published while we read is followed.
    let rotated = repo.update(|s| s.rotate("root", vec![Key::root(GUN)]));
    let mut server = Server::of(&rotated);
    server.files.insert("root".to_owned(), repo.bytes("root"));
    let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
    assert_eq!(result.unwrap().root_version(), 2);
}

/// Edits what `by` lists of `of`.
fn listed(by: &'static str, of: &'static str, edit: fn(&mut Value)) -> &'static str {
    v1_by_alice(&plant().edit(by, move |s| edit(&mut s["meta"][of])).publish())
}

/// Every file that another one lists: (by, of).
const LISTED: [(&str, &str); 5] = [
    ("timestamp", "snapshot"),
    ("snapshot", "root"),
    ("snapshot", "targets"),
    ("snapshot", "targets/releases"),
    ("snapshot", "targets/alice"),
];

/// The results of an edit of every entry that lists a file.
fn each_listed(edit: fn(&mut Value), expected: &str) {
    for (by, of) in LISTED {
        assert_eq!(listed(by, of, edit), expected, "{by}: {of}");
    }
}

#[test]
fn row_060_listed_files_have_a_sha256() {
    each_listed(|m| drop(m["hashes"].as_object_mut().unwrap().remove("sha256")), "structure");
    each_listed(|m| m["hashes"] = json!(null), "structure");
    each_listed(|m| m["hashes"]["sha256"] = json!("AAAA"), "structure");
    let gone = |by: &'static str, of: &'static str| {
        v1_by_alice(&plant().edit(by, move |s| drop(s["meta"].as_object_mut().unwrap().remove(of))).publish())
    };
    assert_eq!(gone("timestamp", "snapshot"), "structure");
    assert_eq!(gone("snapshot", "root"), "structure");
    assert_eq!(gone("snapshot", "targets"), "structure");
}

#[test]
fn row_062_every_listed_hash_must_match() {
    each_listed(|m| m["hashes"]["sha512"] = json!("A".repeat(86) + "=="), "hash");
    each_listed(|m| m["hashes"]["sha512"] = json!("not base64"), "structure");
    each_listed(|m| m["hashes"]["sha512"] = json!("A".repeat(84)), "structure");
    each_listed(|m| drop(m["hashes"].as_object_mut().unwrap().remove("sha512")), "accepted");
}

#[test]
fn row_063_hashes_of_other_kinds_are_passed_over() {
    each_listed(|m| m["hashes"]["md5"] = json!(["whatever"]), "accepted");
    each_listed(|m| m["extra"] = json!(true), "accepted");
}

#[test]
fn row_064_a_listed_length_is_not_larger() {
    each_listed(|m| m["length"] = json!(m["length"].as_u64().unwrap() + 1), "length");
    each_listed(|m| m["length"] = json!(-1), "structure");
    each_listed(|m| m["length"] = json!(null), "structure");
}

#[test]
fn row_065_a_listed_length_is_not_smaller() {
    each_listed(|m| m["length"] = json!(m["length"].as_u64().unwrap() - 1), "length");
    each_listed(|m| m["length"] = json!(0), "length");
}

#[test]
fn row_068_a_file_is_of_its_own_kind() {
    for role in ROLES.into_iter().chain(["root"]) {
        for kind in
            ["Root", "Targets", "Snapshot", "Timestamp", "targets", "root", "snapshot", "timestamp", "Mirrors", ""]
        {
            let repo = plant().publish();
            let honest: Value = serde_json::from_slice(&repo.bytes(role)).unwrap();
            let repo = plant().edit(role, move |s| s["_type"] = json!(kind)).publish();
            let expected = if honest["signed"]["_type"] == json!(kind) { "accepted" } else { "structure" };
            assert_eq!(v1_by_alice(&repo), expected, "{role} as {kind}");
        }
    }
}

#[test]
fn row_069_rotated_keys_no_longer_count() {
    for role in ["timestamp", "snapshot", "targets", "targets/releases"] {
        let base = plant().publish();
        let held = open(&base).unwrap();
        let old = base.keys(role);
        let revoked = base.update(|s| s.rotate(role, vec![Key::p256()]).sign_with(role, old));
        assert_eq!(code(again(&revoked, &held)), "signature", "{role}");
        assert_eq!(code(open(&revoked)), "signature", "{role}");
        let rotated = base.update(|s| s.rotate(role, vec![Key::p256()]));
        assert_eq!(code(again(&rotated, &held)), "accepted", "{role}");
        // The same file under other keys is verified again, although its hash has not changed.
        if role == "targets" {
            let mut server = Server::of(&rotated);
            let result = Repository::refresh(&mut server, &gun(), &first_use(), Some(&held), &alice(), now());
            assert!(result.is_ok() && server.asked.contains(&rotated.file_of("targets")));
        }
    }
    // Unchanged bytes, new keys: nothing may be carried over.
    let base = plant().publish();
    let held = open(&base).unwrap();
    let stale = base.update(|s| {
        s.rotate("root", vec![Key::root(GUN)]).edit("root", |signed| {
            let id = signed["roles"]["timestamp"]["keyids"].clone();
            signed["roles"]["targets"]["keyids"] = id;
        })
    });
    assert_eq!(code(again(&stale, &held)), "signature");
}

/// The state that a failed refresh from `server` leaves.
pub(crate) fn failed_refresh(server: &mut Server, held: &Repository) -> (&'static str, Repository) {
    let result = Repository::refresh_with_state(server, &gun(), &first_use(), Some(held), &alice(), now());
    let failed = *result.expect_err("a failure");
    (code::<()>(Err(failed.error)), held.with_state(&failed.state.expect("what is to be remembered")))
}

#[test]
fn a_refresh_that_fails_forgets_nothing_that_it_verified() {
    let base = plant().publish();
    let newer = base.update(|s| s.release("v1", OTHER, 5, &["alice"]).touch("targets"));
    for (role, away, expected) in [
        ("snapshot", false, "missing"),
        ("snapshot", true, "unavailable"),
        ("targets", false, "missing"),
        ("targets", true, "unavailable"),
        ("targets/releases", false, "missing"),
        ("targets/releases", true, "unavailable"),
        ("targets/alice", true, "unavailable"),
    ] {
        let held = open(&base).unwrap();
        let mut server = Server::of(&newer);
        let file = newer.file_of(role);
        if away {
            server.away.insert(file)
        } else {
            server.files.remove(&file).is_some()
        };
        let (failure, superseded) = failed_refresh(&mut server, &held);
        assert_eq!(failure, expected, "{role}");
        // The old data no longer counts, and the server cannot go back to it.
        assert!(superseded.is_superseded() && !held.is_superseded());
        assert_eq!(superseded.find_target(tag("v1"), &[], now()).unwrap_err().code(), "superseded", "{role}");
        assert_eq!(code(again(&base, &superseded)), "rollback", "{role}");
        // The newer data is accepted once the server has it.
        let found = again(&newer, &superseded).unwrap();
        assert!(!found.is_superseded());
        assert_eq!(found.find_target(tag("v1"), &[], now()).unwrap().digest.sha256(), Sha256::new(OTHER));
    }
    // If nothing newer was verified, nothing is lost.
    let held = open(&base).unwrap();
    let mut server = Server::of(&newer);
    server.away.insert("timestamp".to_owned());
    let (_, after) = failed_refresh(&mut server, &held);
    assert!(!after.is_superseded() && after.find_target(tag("v1"), &[], now()).is_ok());
}

#[test]
fn a_failed_refresh_does_not_forget_each_role_that_it_verified() {
    let base = ROLES.into_iter().fold(plant(), |signer, role| signer.version(role, 5)).publish();
    let newer = base.update(|s| ROLES[..4].iter().fold(s, |s, role| s.version(role, 9)).touch("targets/alice"));
    let mut server = Server::of(&newer);
    server.away.insert(newer.file_of("targets/alice"));
    let (_, after) = failed_refresh(&mut server, &open(&base).unwrap());
    for (index, role) in ROLES[..4].iter().enumerate() {
        // All roles above this role increase. The role itself goes back to between the two versions.
        let next = newer.update(|s| ROLES[..index].iter().fold(s, |s, role| s.version(role, 10)).version(role, 7));
        assert_eq!(code(again(&next, &after)), "rollback", "{role}");
    }
}

#[test]
fn row_110_a_value_costs_little_before_signatures_are_known() {
    // Three bytes each in the file, eight in memory: a million of them in a field that a signer may fill freely.
    let repo = plant().edit("targets/releases", |signed| {
        signed["targets"]["v1"]["custom"] = Value::Array(vec![json!({}); 1_000_000]);
    });
    let repo = repo.publish();
    let bytes = repo.bytes("targets/releases");
    assert!(crate::json::Document::of(&bytes).unwrap().memory() < 9_000_000);
    assert_eq!(v1_by_alice(&repo), "accepted");
    // These are not signed, and not even parsed completely.
    let crowds: [(&str, usize); 4] =
        [("root", 300_000), ("timestamp", 20_000), ("snapshot", 100_000), ("targets/releases", 1_100_000)];
    for (role, values) in crowds {
        let crowd = format!("{{\"signed\":{{\"x\":[{}0]}},\"signatures\":[]}}", "{},".repeat(values));
        assert!(crowd.len() < 1 << 20 || role.starts_with("targets") || role == "snapshot");
        let repo = plant().edit_bytes(role, move |_| crowd.clone().into_bytes()).publish();
        let Err(RefreshError::Rejected(rejection)) =
            open(&repo).and_then(|held| Ok(held.find_target(tag("v1"), &[], now())?))
        else {
            panic!("{role} was accepted")
        };
        assert!(rejection.to_string().contains("more values than a file of this kind may have"), "{rejection}");
    }
    // Files of Notary's client stay far below these limits.
    let signers = (0..63).fold(plant(), |signer, number| signer.signer(&format!("signer-{number}"))).publish();
    let rotated = signers.update(|signer| signer.rotate("root", (0..63).map(|_| Key::root(GUN)).collect()));
    assert_eq!((v1_by_alice(&signers), v1_by_alice(&rotated)), ("accepted", "accepted"));
}
