//! The command line's own words: help by command, suggestions, standard input, and what `--policies` takes.

use serde_json::json;

use crate::pki::Pki;
use crate::process::run;
use crate::product::{Site, executable};
use crate::review::{pod, policy_for};

const ALLOWED: i32 = 0;
const DENIED: i32 = 1;
const BAD_INPUT: i32 = 2;

const CONFIG_MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata: { name: portreeve-policies, namespace: portreeve }
data:
  plant.yaml: |
    apiVersion: portreeve/v1
    kind: ClusterImagePolicy
    metadata: { name: plant }
    spec:
      repositories:
        - name: registry.local:9001/plant/*
        - name: registry.local:9001/old/*
          policy: { deny: { message: use the new one } }
";

#[test]
fn help_is_by_command_and_no_error() {
    let overview = run(executable().arg("help"), "").expect(ALLOWED).stdout;
    for command in ["serve", "review", "check", "export", "lint", "version"] {
        assert!(overview.contains(&format!("\n  {command} ")), "{overview}");
        let help = run(executable().args(["help", command]), "").expect(ALLOWED);
        assert_eq!(help.stderr, "");
        assert!(help.stdout.starts_with(&format!("{command}: ")), "{help:?}");
        assert!(help.stdout.contains(&format!("portreeve {command}")), "{help:?}");
        assert_eq!(run(executable().args([command, "--help"]), "").expect(ALLOWED).stdout, help.stdout);
    }
}

#[test]
fn a_slip_has_its_message_last_and_a_suggestion() {
    for (arguments, last) in [
        (&["check", "--polices", "p", "i"][..], "portreeve: check has no option --polices; did you mean --policies?"),
        (&["chekc", "i"], "portreeve: there is no command \"chekc\"; did you mean \"check\"?"),
        (&["review"], "portreeve: review needs a FILE or DIR, - for standard input, or --cluster"),
        (&[], "portreeve: no command is given"),
    ] {
        let slip = run(executable().args(arguments), "").expect(BAD_INPUT);
        assert_eq!(slip.stdout, "");
        assert_eq!(slip.stderr.lines().last(), Some(last), "{slip:?}");
    }
}

/// On a machine without the configured policies, the message names the option, what it takes, and where policies are.
#[test]
fn without_policies_the_option_is_named() {
    let pki = Pki::new();
    let mut site = Site::new(&pki);
    let nowhere = site.file("x", "").parent().unwrap().join("nowhere");
    site.config["policies"] = json!([nowhere]);
    let workload = site.file("pod.json", &pod("registry.local:9001/plant/plc:v1").to_string());
    let told = site.review(&[], &workload).expect(BAD_INPUT);
    for words in [
        nowhere.to_str().unwrap(),
        "give them with --policies PATH, a file or directory of policies or of their ConfigMaps",
        "kubectl -n portreeve get configmap portreeve-policies -o yaml",
    ] {
        assert!(told.stderr.contains(words), "{told:?}");
    }
    assert_eq!((told.stdout.as_str(), told.stderr.lines().count()), ("", 1), "{told:?}");
    assert_eq!(run(&mut site.command("check", &["nginx"]), "").expect(BAD_INPUT).stderr, told.stderr);
    // What the command prints is taken.
    let policies = site.file("policies.yaml", CONFIG_MAP);
    site.review(&["--policies", policies.to_str().unwrap()], &workload).expect(ALLOWED);
}

#[test]
fn lint_reads_standard_input() {
    run(executable().args(["lint", "-"]), CONFIG_MAP).expect(ALLOWED);
    let told = run(executable().args(["lint", "-"]), &CONFIG_MAP.replace("deny:", "dney:")).expect(BAD_INPUT).stdout;
    assert!(told.starts_with("standard input:13:") && told.contains("did you mean \"deny\"?"), "{told}");
    let endless = "#".repeat((1 << 20) + 1);
    let told = run(executable().args(["lint", "-"]), &endless).expect(BAD_INPUT).stdout;
    assert!(told.contains("standard input:1:1: error: "), "{told}");
}

/// `lint --config` reads a configuration as `serve` does, and tells what it does without effect.
#[test]
fn lint_checks_a_configuration() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    let lint = |text: &str, more: &[&str]| {
        let file = site.file("portreeve.yaml", text);
        run(executable().args(["lint", "--config", file.to_str().unwrap()]).args(more), CONFIG_MAP)
    };
    assert_eq!(lint("log: { level: info }\n", &[]).expect(ALLOWED).stdout, "the configuration is valid\n");
    let noted = lint("trust: { maxStale: 1h }\n", &[]).expect(ALLOWED).stdout;
    assert!(noted.contains("note: trust.maxStale does nothing") && noted.ends_with("valid, 1 note\n"), "{noted}");
    let wrong = lint("trsut: {}\n", &[]).expect(BAD_INPUT).stdout;
    assert!(wrong.contains("portreeve.yaml:1:1") || wrong.contains("1:1"), "{wrong}");
    assert!(wrong.contains("\"trust\""), "{wrong}");
    // Beside it, policies.
    let both = lint("log: { level: info }\n", &["-"]).expect(ALLOWED).stdout;
    assert!(both.contains("the configuration is valid\n1 policy in 1 file"), "{both}");
    lint("trsut: {}\n", &["-"]).expect(BAD_INPUT);
}

/// The ConfigMap that is to be applied, a file of policies, and a directory of either.
#[test]
fn policies_are_taken_as_lint_takes_them() {
    let pki = Pki::new();
    let site = Site::new(&pki);
    // Those of the configuration would deny everything.
    site.policies(&[policy_for("nothing.example/*", json!({ "enabled": true }))]);
    let config_map = site.file("policies/config-map.yaml", CONFIG_MAP);
    let document = policy_for("registry.local:9001/plant/*", json!({ "enabled": false })).to_string();
    let file = site.file("one/policy.json", &document);
    let workload = site.file("pod.json", &pod("registry.local:9001/plant/plc:v1").to_string());
    let old = site.file("old.json", &pod("registry.local:9001/old/plc:v1").to_string());
    let site_s_own = site.review(&[], &workload).expect(DENIED).stdout;
    assert!(site_s_own.contains("registry.local:9001/plant/plc:v1"), "{site_s_own}");
    for path in [&config_map, &file, &file.parent().unwrap().to_owned(), &config_map.parent().unwrap().to_owned()] {
        let policies = ["--policies", path.to_str().unwrap()];
        site.review(&policies, &workload).expect(ALLOWED);
        site.review(&policies, &old).expect(DENIED);
        let check = [&policies[..], &["registry.local:9001/plant/plc:v1"]].concat();
        run(&mut site.command("check", &check), "").expect(ALLOWED);
    }
    let both = run(
        site.command("review", &["--policies", "-"]).arg(&workload),
        &CONFIG_MAP.replace("name: registry.local:9001/plant/*", "name: registry.local:9001/other/*"),
    );
    both.expect(DENIED);
    // What is faulty is told with its place in the manifest, and nothing is decided.
    let faulty = site.file("faulty/config-map.yaml", &CONFIG_MAP.replace("deny:", "dney:"));
    let told = site.review(&["--policies", faulty.to_str().unwrap()], &workload).expect(BAD_INPUT);
    assert_eq!(told.stdout, "");
    assert!(told.stderr.contains("config-map.yaml:13:"), "{told:?}");
    let told = site.review(&["--policies", "/nowhere"], &workload).expect(BAD_INPUT);
    assert!(told.stderr.contains("/nowhere"), "{told:?}");
}
