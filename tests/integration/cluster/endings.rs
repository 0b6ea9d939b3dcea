//! A certificate that is out of date, and what the API server counts while it reaches no webhook.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use portreeve_test_support::certificates::Leaf;
use portreeve_test_support::signer::Key;
use serde_json::{Value, json};

use super::Cluster;
use super::tenant::SIGNED;
use crate::process::wait_until;

const SECRET: &str = "/api/v1/namespaces/portreeve/secrets/portreeve-certs";

/// A certificate that has expired, and one that is not valid yet, are put into the Secret: nothing happens to admissions. After
/// a restart, Portreeve is alive and not ready, until a good one is there.
pub(super) fn a_certificate_that_is_out_of_date(cluster: &Cluster) {
    let (site, admin) = (&cluster.installation, cluster.admin().within("portreeve"));
    let tenant = cluster.tenant("dates");
    let alice = tenant.alice();
    let good = cluster.get(SECRET).unwrap()["data"].clone();
    let put = |data: &Value| {
        let patch = json!({ "data": data }).to_string();
        admin.ok(&["patch", "secret", "portreeve-certs", "--type=merge", "--patch", &patch]);
        assert_eq!(site.mount(&cluster.control), ["certs"]);
    };
    let bad = |from: i64, until: i64| {
        let at = |days: i64| Timestamp::now() + SignedDuration::from_hours(24 * days);
        let key = Key::p256();
        let certificate = Leaf::new("portreeve.portreeve.svc").valid(at(from), at(until)).self_signed(&key);
        json!({ "tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key.private_pem()) })
    };
    let fails = || site.metric("portreeve_reload_failing", &["certificate"]) > 0.0;
    for (name, bad) in [("expired", bad(-9, -1)), ("early", bad(1, 9))] {
        put(&bad);
        wait_until("the certificate to be refused", fails);
        assert!(site.is_ready());
        // A new connection is made too: the API server keeps its own.
        alice.ok(&["run", name, "--image", SIGNED]);
        assert!(site.serving().as_ref().unwrap().is_ready());
    }
    site.stop();
    site.start(&cluster.control);
    wait_until("Portreeve to be alive", || site.serving().as_ref().unwrap().is_alive());
    assert!(fails() && !site.is_ready());
    put(&good);
    wait_until("Portreeve to be ready", || site.is_ready());
    assert!(!fails());
    alice.ok(&["run", "again", "--image", SIGNED]);
}

/// The API server's counters of which the alerts `PortreeveNotReached` and `PortreeveBypassed` speak, with this webhook.
pub(super) fn has_counted(cluster: &Cluster, alert: &str, webhook: &str) -> bool {
    let (counter, labels) = match alert {
        "PortreeveNotReached" => {
            ("apiserver_admission_webhook_rejection_count{", vec![r#"error_type="calling_webhook_error""#.to_owned()])
        }
        _ => ("apiserver_admission_webhook_fail_open_count{", Vec::new()),
    };
    let name = format!("name=\"{webhook}\"");
    let metrics = cluster.admin().ok(&["get", "--raw", "/metrics"]);
    metrics
        .lines()
        .any(|line| line.starts_with(counter) && line.contains(&name) && labels.iter().all(|l| line.contains(l)))
}
