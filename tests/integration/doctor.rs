//! `doctor` with the real executable: real servers, servers with faults, files that end, a full disk, a pod.

use std::process::Command;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use portreeve_test_support::certificates::Authority;
use rcgen::{BasicConstraints, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::pki::{Pki, params};
use crate::process::run;
use crate::product::Site;

mod files;
mod pod;
mod servers;
mod stored;
mod trust_stores;

const WELL: i32 = 0;
const WRONG: i32 = 1;
const NOT_ASKED: i32 = 3;

/// The Service's name, which the serving certificate must have.
const SERVICE: &str = "portreeve.portreeve.svc";

/// What `doctor` printed as JSON.
struct Report(Value);

impl Report {
    /// Runs a command that ends with `doctor --output json`.
    #[track_caller]
    fn of(command: &mut Command, status: i32) -> Self {
        let run = run(command, "").expect(status);
        let report = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error} in {run:?}"));
        let worst = match status {
            WRONG => vec!["wrong"],
            NOT_ASKED => vec!["unknown"],
            _ => vec!["ok", "skipped", "note", "soon"],
        };
        let report = Self(report);
        assert!(worst.contains(&report.0["state"].as_str().unwrap()), "{report:?}");
        report
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.0["findings"].as_array().unwrap().iter()
    }

    /// The finding of this state and check whose other fields contain these words.
    #[track_caller]
    fn has(&self, state: &str, check: &str, words: &str) -> &Value {
        let found = self
            .findings()
            .find(|finding| finding["state"] == state && finding["check"] == check && text_of(finding).contains(words));
        found.unwrap_or_else(|| panic!("no {state} {check} with {words:?} in {self:?}"))
    }

    /// Nothing but these checks is in one of the bad states.
    #[track_caller]
    fn is_well_but_for(&self, checks: &[&str]) -> &Self {
        let bad = self.findings().filter(|finding| ["wrong", "unknown"].contains(&finding["state"].as_str().unwrap()));
        let other: Vec<_> = bad.filter(|finding| !checks.contains(&finding["check"].as_str().unwrap())).collect();
        assert!(other.is_empty(), "{other:#?}");
        self
    }
}

fn text_of(finding: &Value) -> String {
    ["subject", "found", "action"].map(|field| finding[field].as_str().unwrap_or_default()).join(" ")
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Runs `doctor` at a site.
#[track_caller]
fn doctor(site: &Site, options: &[&str], status: i32) -> Report {
    Report::of(&mut site.command("doctor", &[&["--output", "json"], options].concat()), status)
}

/// A site with a serving certificate for the Service, one policy that asks for nothing, and no server.
fn sound() -> Site {
    under(&Pki::new())
}

/// The same, which trusts the CA of a PKI.
fn under(pki: &Arc<Pki>) -> Site {
    let mut site = Site::new(pki);
    let (chain, key) = Authority::new().server(&[SERVICE]);
    serve_with(&mut site, &chain, &key);
    site.policies(&[json!({
        "apiVersion": "portreeve/v1", "kind": "ClusterImagePolicy", "metadata": { "name": "plant" },
        "spec": { "repositories": [{ "name": "registry.local:9001/plant/*" }] },
    })]);
    site
}

fn serve_with(site: &mut Site, chain: &str, key: &str) {
    site.config["tls"] = json!({ "certificate": site.file("tls.crt", chain), "key": site.file("tls.key", key) });
}

/// A CA, a certificate under it for these names that ends in so many days, and its key; in PEM.
fn ending_in(days: i64, names: &[&str]) -> [String; 3] {
    let date = (Timestamp::now() + (24 * days).hours()).to_zoned(jiff::tz::TimeZone::UTC).date();
    let end = rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
    let mut ca = params(&[], "a CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let mut leaf = params(names, "a server");
    leaf.not_after = end;
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    [ca_pem, certificate.pem(), key.serialize_pem()]
}
