//! A repository that is emptied, deleted or made anew on a real Notary server by the real client: what is said, and the ways out.

use serde_json::{Value, json};

use crate::notary::{Digest, RealNotary, Signer, needs_notary};
use crate::pki::Pki;
use crate::process::run;
use crate::product::Site;
use crate::review::policy_for;

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const RELEASED: [&str; 2] = ["targets/releases", "targets/alice"];

#[test]
fn a_repository_that_was_made_anew_is_told_from_one_that_lost_its_data() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let alice = Signer::new("alice");
    let mut site = Site::new(&pki);
    site.config["trust"]["refreshAfter"] = json!("0s");
    let trust = json!({ "enabled": true, "trustServer": notary.url() });
    site.policies(&[policy_for("registry.local:9001/plant/*", trust)]);
    let check = |gun: &str, status: i32| -> Value {
        let checked = run(&mut site.command("check", &["--output", "json", &format!("{gun}:v1")]), "").expect(status);
        serde_json::from_str(&checked.stdout).unwrap()
    };
    let reason = |gun: &str| {
        let report = check(gun, DENIED);
        assert_eq!(report["verdict"], "rejected", "{report:#}");
        report["reason"].as_str().unwrap().to_owned()
    };
    let say = |told: &str, words: &[&str]| words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
    let digest = Digest::of("v1");
    let made = |gun: &str| {
        let repository = notary.repository(gun);
        repository.add_signer(&alice).sign("v1", &digest, &RELEASED);
        check(gun, ALLOWED);
        repository
    };

    // All tags are gone. The keys are the same.
    let gun = "registry.local:9001/plant/emptied";
    made(gun).unsign("v1", &RELEASED);
    say(&reason(gun), &["the tag \"v1\" of registry.local:9001/plant/emptied is not signed"]);

    let gun = "registry.local:9001/plant/deleted";
    let reset = format!("portreeve check --reset {gun}");
    made(gun).delete();
    say(&reason(gun), &["it was deleted there", "if that was a mistake, restore it", &reset]);

    // Made anew: with the snapshot's key at the client, and as Docker does.
    for (name, in_dockers_layout) in [("by-hand", false), ("anew", true)] {
        let gun = format!("registry.local:9001/plant/{name}");
        made(&gun).delete();
        let anew = if in_dockers_layout { notary.repository(&gun) } else { notary.initialised(&gun) };
        anew.add_signer(&alice).sign("v1", &digest, &RELEASED);
        let reset = format!("reset what is stored with: portreeve check --reset {gun}");
        for _ in 0..2 {
            let told = reason(&gun);
            say(&told, &["signed by none of the keys that the trusted root lists", "the repository was made anew"]);
            say(&told, &["ask its owner", &reset, "restore its data on the trust server from a backup"]);
            assert!(!told.contains("NAME"), "{told}");
        }
        // The way out that was printed.
        run(&mut site.command("check", &["--reset", &gun]), "").expect(ALLOWED);
        check(&gun, ALLOWED);
    }
}
