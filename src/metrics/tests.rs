use super::*;

#[test]
fn every_metric_has_its_stable_name() {
    let metrics = Metrics::new();
    metrics.admission(Endpoint::Admit, Outcome::Allowed, Duration::from_millis(2));
    metrics.admission(Endpoint::Admit, Outcome::Denied, Duration::from_millis(2));
    metrics.admission(Endpoint::Validate, Outcome::Denied, Duration::from_millis(2));
    metrics.phase(Phase::Verify, Duration::from_millis(2));
    metrics.image(Endpoint::Admit, Verdict::Rejected, "no-such-tag", Scope::Cluster);
    metrics.check(Endpoint::Validate, "cosign", Verdict::Rejected, "not-signed");
    metrics.trust_lookup(Source::Remembered);
    metrics.signature_lookup(Source::Refreshed);
    metrics.stale_signature(Duration::from_secs(9_000));
    metrics.stale(Duration::from_secs(90));
    metrics.trust_request(Peer::TokenService, RequestOutcome::Timeout, 7, Duration::from_secs(2));
    metrics.limit(Limit::Queue);
    metrics.reload(Reloaded::Policies, false);
    metrics.connections(Listener::Tls, 3);
    metrics.workers(8);
    metrics.certificate_not_after(1_900_000_000);
    metrics.panic();
    metrics.request_not_sent(NotSent::BulkheadFull);
    let (_queued, deciding) = (metrics.in_progress(InProgress::Queued), metrics.in_progress(InProgress::Deciding));
    drop(deciding);
    let text = metrics.render();
    for line in [
        r#"portreeve_admissions_total{endpoint="admit",outcome="allowed"} 1"#,
        r#"portreeve_admissions_total{endpoint="validate",outcome="denied"} 1"#,
        r#"portreeve_admissions_total{endpoint="validate-policy",outcome="error"} 0"#,
        r#"portreeve_admission_duration_seconds_bucket{le="0.0025",endpoint="validate"} 1"#,
        r#"portreeve_phase_duration_seconds_bucket{le="0.01",phase="verify"} 1"#,
        r#"portreeve_phase_duration_seconds_count{phase="request"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="rejected",reason="no-such-tag",scope="cluster"} 1"#,
        r#"portreeve_images_total{endpoint="admit",verdict="unavailable",reason="trust-server",scope="namespace"} 0"#,
        r#"portreeve_images_total{endpoint="admit",verdict="unavailable",reason="registry",scope="cluster"} 0"#,
        r#"portreeve_checks_total{endpoint="validate",scheme="cosign",verdict="rejected",reason="not-signed"} 1"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="cosign",verdict="unavailable",reason="registry"} 0"#,
        r#"portreeve_checks_total{endpoint="admit",scheme="trust",verdict="unavailable",reason="trust-server"} 0"#,
        r#"portreeve_signature_lookups_total{source="refreshed"} 1"#,
        r#"portreeve_signature_lookups_total{source="stood_in"} 1"#,
        r#"portreeve_stood_in_age_seconds_bucket{le="21600.0"} 2"#,
        r#"portreeve_trust_lookups_total{source="remembered"} 1"#,
        r#"portreeve_trust_lookups_total{source="stood_in"} 1"#,
        r#"portreeve_stood_in_age_seconds_bucket{le="600.0"} 1"#,
        r#"portreeve_trust_requests_total{peer="token_service",outcome="timeout"} 1"#,
        r#"portreeve_trust_requests_total{peer="trust_server",outcome="ok"} 0"#,
        "portreeve_trust_received_bytes_total 7",
        "portreeve_trust_store_failures_total 0",
        r#"portreeve_limit_hits_total{limit="queue"} 1"#,
        r#"portreeve_limit_hits_total{limit="accept"} 0"#,
        r#"portreeve_reloads_total{what="policies",result="failed"} 1"#,
        r#"portreeve_connections{listener="tls"} 3"#,
        r#"portreeve_admissions_in_hand{state="queued"} 1"#,
        r#"portreeve_admissions_in_hand{state="deciding"} 0"#,
        "portreeve_workers 8",
        "portreeve_panics_total 1",
        r#"portreeve_trust_server_not_asked_total{why="crowded"} 1"#,
        "portreeve_certificate_not_after_timestamp_seconds 1900000000",
        // Portieris counts only /admit.
        "portieris_pod_admission_decision_allow_count 1",
        "portieris_pod_admission_decision_deny_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
    }
    assert!(text.contains("portreeve_build_info{version=\""), "{text}");
}

#[test]
fn only_what_took_effect_has_a_time_of_success() {
    let metrics = Metrics::new();
    metrics.reload(Reloaded::Policies, false);
    assert!(!metrics.render().contains("portreeve_reload_success_timestamp_seconds{"));
    metrics.reload(Reloaded::Policies, true);
    let before = since_epoch().as_secs();
    let text = metrics.render();
    let line = text.lines().find_map(|line| {
        line.strip_prefix("portreeve_reload_success_timestamp_seconds{what=\"policies\"} ")?.parse::<u64>().ok()
    });
    assert!(line.is_some_and(|at| at <= before && before - at < 60), "{text}");
}
