//! Owners that recover from stolen keys: minimum versions bind by key, in the first format as well.

use super::*;

/// A version that an owner never reaches without a thief.
const HIGH: u64 = u32::MAX as u64;

/// The result for alice's signature in a new process.
fn after_restart(bench: &Bench, repo: &Repo) -> &'static str {
    match bench.refresh(&bench.start(), repo) {
        Ok(found) => signed_digest(&found, repo, now()).map_or_else(|rejection| rejection.code(), |_| "accepted"),
        Err(error) => code::<()>(Err(error)),
    }
}

#[test]
fn an_owner_recovers_by_other_keys_across_restarts() {
    for role in ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let bench = Bench::new();
        let base = plant().publish();
        let driven = base.update(|signer| signer.version(role, HIGH));
        assert_eq!(after_restart(&bench, &base), "accepted");
        assert_eq!(after_restart(&bench, &driven), "accepted");
        let lower = driven.update(|signer| signer.version(role, 2));
        assert_eq!(after_restart(&bench, &lower), "rollback", "{role}");
        let both = [driven.keys(role), vec![Key::p256()]].concat();
        let shared = lower.update(|signer| signer.rotate(role, both).version(role, 2));
        assert_eq!(after_restart(&bench, &shared), "rollback", "{role}");
        let recovered = shared.update(|signer| signer.rotate(role, vec![Key::p256()]).version(role, 2));
        assert_eq!(after_restart(&bench, &recovered), "accepted", "{role}");
        assert!(bench.stored().unwrap().1, "{role}");
        assert!(bench.stale(now()).unwrap().is_some(), "{role}");
        assert_ne!(after_restart(&bench, &driven), "accepted", "{role}");
        let down = recovered.update(|signer| signer.version(role, 1));
        assert_eq!(after_restart(&bench, &down), "rollback", "{role}");
        let further = down.update(|signer| signer.version(role, 3));
        assert_eq!(after_restart(&bench, &further), "accepted", "{role}");
        // If the removed keys come back, their minimum versions still bind.
        let back = further.update(|signer| signer.rotate(role, driven.keys(role)).version(role, 5));
        assert_eq!(after_restart(&bench, &back), "rollback", "{role}");
    }
}

#[test]
fn a_recovery_holds_for_every_anchor_and_every_process() {
    let bench = Bench::new();
    let base = plant().publish();
    let driven = base.update(|signer| signer.version("timestamp", HIGH));
    let (slow, fast) = (bench.start(), bench.start());
    bench.refresh(&slow, &driven).unwrap();
    bench.refresh(&fast, &driven).unwrap();
    let recovered = driven.update(|signer| signer.rotate("timestamp", vec![Key::p256()]).version("timestamp", 3));
    assert_eq!(code(bench.refresh_at(&fast, &recovered, &pin(&base), now())), "accepted");
    // The slow one writes late what it has of the time before: neither the data nor the old version comes back.
    let old = slow.records().get(&(bench.server.clone(), bench.gun.clone())).unwrap().repository.clone().unwrap();
    slow.persist(&bench.server, &bench.gun, &old, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((3, true)));
    for store in [&slow, &fast, &bench.start()] {
        for anchor in [&first_use(), &pin(&base)] {
            let further = driven.update(|signer| signer.version("timestamp", HIGH + 1));
            assert_ne!(code(bench.refresh_at(store, &further, anchor, now())), "accepted");
            let back = recovered.update(|signer| signer.version("timestamp", 2));
            assert_eq!(code(bench.refresh_at(store, &back, anchor, now())), "rollback");
            assert_eq!(code(bench.refresh_at(store, &recovered, anchor, now())), "accepted");
        }
    }
}

/// The index as it was written before versions were bound to keys.
fn in_the_first_format(index: &str) -> String {
    let mut state: serde_json::Value = serde_json::from_str(index).unwrap();
    state["format"] = 1.into();
    let bound = state.as_object_mut().unwrap().remove("seenUnder").unwrap();
    for (role, minimums) in bound.as_object().unwrap() {
        state["seen"][role] = minimums.as_object().unwrap().values().next().unwrap().clone();
    }
    for (_, file) in state["files"].as_object_mut().unwrap() {
        file.as_object_mut().unwrap().remove("version");
    }
    state.to_string()
}

#[test]
fn a_floor_of_the_first_format_holds_whatever_the_keys() {
    let bench = Bench::new();
    let base = plant().publish();
    let driven = base.update(|signer| signer.version("timestamp", HIGH));
    bench.refresh(&bench.start(), &driven).unwrap();
    let first = in_the_first_format(&bench.state());
    fs::write(bench.directory().join("state.json"), &first).unwrap();
    assert_eq!(bench.stored(), Some((HIGH, true)));
    assert!(bench.stale(now()).unwrap().is_some());
    let recovered = driven.update(|signer| signer.rotate("timestamp", vec![Key::p256()]).version("timestamp", 3));
    for _ in 0..2 {
        assert_eq!(after_restart(&bench, &recovered), "rollback");
        assert_eq!(after_restart(&bench, &base), "rollback");
    }
    let further = recovered.update(|signer| signer.version("timestamp", HIGH + 1));
    assert_eq!(after_restart(&bench, &further), "accepted");
    assert_eq!(bench.stored(), Some((HIGH + 1, true)));
    // What is not known yet is not guessed at.
    for (bad, what) in [("\"format\":1", "\"format\":0"), ("\"format\":1", "\"format\":3")] {
        fs::write(bench.directory().join("state.json"), first.replace(bad, what)).unwrap();
        assert_eq!(after_restart(&bench, &further), "stored-root-damaged", "{what}");
    }
    // A field that is new is passed over, a key that is none is not.
    bench.refresh_at(&bench.start(), &further, &pin(&further), now()).unwrap();
    let state = bench.state().replace("\"format\": 2,", "\"format\": 2, \"later\": [],");
    fs::write(bench.directory().join("state.json"), &state).unwrap();
    assert_eq!(after_restart(&bench, &further), "accepted");
    let key = further.keys("targets")[0].id();
    assert!(state.contains("later") && state.contains(&key));
    fs::write(bench.directory().join("state.json"), state.replace(&key, "x")).unwrap();
    assert_eq!(after_restart(&bench, &further), "stored-root-damaged");
}
