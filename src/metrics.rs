//! What is counted, and how Prometheus reads it.
//!
//! Names are `portreeve_*` and stable. Labels come from enums and fixed words alone: nothing a tenant writes ever
//! becomes a label, so that nobody can grow the registry.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::server::Endpoint;

/// All metrics of the process; shared, every method may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    admissions: Family<AdmissionLabels, Counter>,
    admission_seconds: Family<EndpointLabels, Histogram>,
    images: Family<ImageLabels, Counter>,
    limit_hits: Family<LimitLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    connections: Family<ListenerLabels, Gauge>,
    threads: Gauge,
    panics: Counter,
    trust_store_failures: Counter,
    trust_server_not_asked: Family<NotAskedLabels, Counter>,
    certificate_not_after: Gauge,
    portieris_allow: Gauge<u64, AtomicU64>,
    portieris_deny: Gauge<u64, AtomicU64>,
}

/// `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// Registers everything, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            admissions: Family::default(),
            admission_seconds: Family::new_with_constructor(admission_buckets),
            images: Family::default(),
            limit_hits: Family::default(),
            reloads: Family::default(),
            connections: Family::default(),
            threads: Gauge::default(),
            panics: Counter::default(),
            trust_store_failures: Counter::default(),
            trust_server_not_asked: Family::default(),
            certificate_not_after: Gauge::default(),
            portieris_allow: Gauge::default(),
            portieris_deny: Gauge::default(),
            registry: Registry::default(),
        };
        // Counters get their `_total` from the encoder.
        registry.register(
            "portreeve_admissions",
            "Admission requests answered, by endpoint and outcome",
            metrics.admissions.clone(),
        );
        registry.register(
            "portreeve_admission_duration_seconds",
            "How long admissions took",
            metrics.admission_seconds.clone(),
        );
        registry.register(
            "portreeve_images",
            "Images decided, by verdict and the reason for it",
            metrics.images.clone(),
        );
        registry.register(
            "portreeve_limit_hits",
            "Connections and requests that were cut or refused, by the limit they ran into",
            metrics.limit_hits.clone(),
        );
        registry.register(
            "portreeve_reloads",
            "Files re-read after a change, by what they hold and whether they took effect",
            metrics.reloads.clone(),
        );
        registry.register("portreeve_connections", "Open connections, by listener", metrics.connections.clone());
        registry.register("portreeve_threads", "Threads of the process, for whatever work", metrics.threads.clone());
        registry.register(
            "portreeve_panics",
            "Requests or chores that hit a bug and were contained",
            metrics.panics.clone(),
        );
        registry.register(
            "portreeve_trust_store_failures",
            "Times that verified trust data could not be written to trust.cache",
            metrics.trust_store_failures.clone(),
        );
        registry.register(
            "portreeve_trust_server_not_asked",
            "Times that a trust server or token service was not asked, by why: it is down, or too many wait for it",
            metrics.trust_server_not_asked.clone(),
        );
        registry.register(
            "portreeve_certificate_not_after_timestamp_seconds",
            "When the serving certificate in force ends, as a Unix time",
            metrics.certificate_not_after.clone(),
        );
        registry.register("portreeve_build", "The running version", Info::new([("version", VERSION)]));
        // Portieris' own two names, for dashboards that carry over. OpenMetrics would force `_total` onto a counter's
        // name, so they are exposed as gauges; they only ever rise.
        registry.register(
            "portieris_pod_admission_decision_allow_count",
            "Admissions allowed by /admit, under the name that Portieris gives it",
            metrics.portieris_allow.clone(),
        );
        registry.register(
            "portieris_pod_admission_decision_deny_count",
            "Admissions denied by /admit, under the name that Portieris gives it",
            metrics.portieris_deny.clone(),
        );
        for endpoint in [Endpoint::Admit, Endpoint::Validate, Endpoint::ValidatePolicy] {
            for outcome in [Outcome::Allowed, Outcome::Denied, Outcome::Error] {
                // A series that exists from the start can be alerted on from the start.
                drop(metrics.admissions.get_or_create(&AdmissionLabels { endpoint, outcome }));
            }
        }
        Self { registry, ..metrics }
    }

    /// One admission was answered.
    pub fn admission(&self, endpoint: Endpoint, outcome: Outcome, took: Duration) {
        self.admissions.get_or_create(&AdmissionLabels { endpoint, outcome }).inc();
        self.admission_seconds.get_or_create(&EndpointLabels { endpoint }).observe(took.as_secs_f64());
        match (endpoint, outcome) {
            (Endpoint::Admit, Outcome::Allowed) => drop(self.portieris_allow.inc()),
            (Endpoint::Admit, Outcome::Denied) => drop(self.portieris_deny.inc()),
            _ => {}
        }
    }

    /// One image was decided. `reason` is a fixed word such as `not_signed`, never text from a request.
    pub fn image(&self, verdict: Verdict, reason: &'static str) {
        self.images.get_or_create(&ImageLabels { verdict, reason }).inc();
    }

    /// A limit cut or refused something.
    pub fn limit(&self, limit: Limit) {
        self.limit_hits.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Files were read again after a change.
    pub fn reload(&self, what: What, ok: bool) {
        let result = if ok { ReloadResult::Ok } else { ReloadResult::Failed };
        self.reloads.get_or_create(&ReloadLabels { what, result }).inc();
    }

    /// How many connections a listener has open now.
    pub fn connections(&self, listener: Listener, open: usize) {
        self.connections.get_or_create(&ListenerLabels { listener }).set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// How many threads there are now.
    pub fn threads(&self, running: usize) {
        self.threads.set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    /// A bug was contained.
    pub fn panic(&self) {
        self.panics.inc();
    }

    /// Verified trust data could not be stored.
    pub fn trust_store_failure(&self) {
        self.trust_store_failures.inc();
    }

    /// Somebody would have asked a trust server or a token service, and was not let.
    pub fn trust_server_not_asked(&self, why: NotAsked) {
        self.trust_server_not_asked.get_or_create(&NotAskedLabels { why }).inc();
    }

    /// When the serving certificate now in force ends.
    pub fn certificate_not_after(&self, unix_seconds: i64) {
        self.certificate_not_after.set(unix_seconds);
    }

    /// The OpenMetrics text of everything.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        // Writing into a String cannot fail, and every label here is a fixed word.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            log::error!("metrics could not be encoded");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// From a warm admission (well under a millisecond) to Kubernetes' longest timeout (30 s).
fn admission_buckets() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// Declares an enum whose variants are label values.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    };
}

labels! {
    /// How an admission ended.
    Outcome {
        /// Let in.
        Allowed => "allowed",
        /// Denied, for whatever reason.
        Denied => "denied",
        /// No decision: the body was no AdmissionReview, or a bug was contained.
        Error => "error",
    }
}

labels! {
    /// What was found of one image.
    Verdict {
        /// Signed as policy asks.
        Verified => "verified",
        /// The trust data says no.
        Rejected => "rejected",
        /// Nobody could say.
        Unavailable => "unavailable",
        /// Policy asks for nothing.
        Unchecked => "unchecked",
        /// Not looked at: a trusted controller's child, a mirror pod, nothing new.
        Exempt => "exempt",
    }
}

labels! {
    /// Which limit was run into.
    Limit {
        /// `limits.connections`.
        Connections => "connections",
        /// The system gave no socket or thread for a connection.
        Accept => "accept",
        /// `limits.handshakeTime`.
        HandshakeTime => "handshake_time",
        /// `limits.headTime`.
        HeadTime => "head_time",
        /// `limits.headBytes`.
        HeadBytes => "head_bytes",
        /// `limits.requestBytes`.
        RequestBytes => "request_bytes",
        /// `limits.bodyMemory`.
        BodyMemory => "body_memory",
        /// `limits.requestTime`.
        RequestTime => "request_time",
        /// `limits.idleTime`.
        IdleTime => "idle_time",
        /// `limits.answerTime`.
        AnswerTime => "answer_time",
        /// The answer was not ready by the end of Kubernetes' longest timeout.
        RelayTime => "relay_time",
        /// `limits.queue`.
        Queue => "queue",
        /// No worker was free before the client had given up.
        QueueTime => "queue_time",
        /// `limits.drainTime`.
        DrainTime => "drain_time",
    }
}

labels! {
    /// What was read again.
    What {
        /// The serving certificate, its key and the client CA.
        Certificate => "certificate",
        /// Policies.
        Policies => "policies",
        /// Mounted secrets.
        Secrets => "secrets",
        /// Registry credentials.
        Credentials => "credentials",
        /// The CA bundle for trust servers.
        TrustCa => "trust_ca",
        /// Verified trust data that an earlier process, or another one, has stored.
        StoredTrust => "stored_trust",
    }
}

labels! {
    /// Why a trust server was not asked.
    NotAsked {
        /// It does not answer, which is tried in pauses.
        Down => "down",
        /// Half of the workers wait for it already, and it says nothing.
        Crowded => "crowded",
    }
}

labels! {
    /// A listener.
    Listener {
        /// The TLS one.
        Tls => "tls",
        /// The plain one for metrics and probes.
        Plain => "plain",
    }
}

labels! {
    /// Did a re-read take effect?
    ReloadResult {
        /// It did.
        Ok => "ok",
        /// It did not; what was in force stays in force.
        Failed => "failed",
    }
}

impl EncodeLabelValue for Endpoint {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
            Self::ValidatePolicy => "validate-policy",
        };
        word.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    endpoint: Endpoint,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ImageLabels {
    verdict: Verdict,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: What,
    result: ReloadResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NotAskedLabels {
    why: NotAsked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: Listener,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_stable_name() {
        let metrics = Metrics::new();
        metrics.admission(Endpoint::Admit, Outcome::Allowed, Duration::from_millis(2));
        metrics.admission(Endpoint::Admit, Outcome::Denied, Duration::from_millis(2));
        metrics.admission(Endpoint::Validate, Outcome::Denied, Duration::from_millis(2));
        metrics.image(Verdict::Rejected, "not_signed");
        metrics.limit(Limit::Queue);
        metrics.reload(What::Policies, false);
        metrics.connections(Listener::Tls, 3);
        metrics.certificate_not_after(1_900_000_000);
        metrics.panic();
        metrics.trust_server_not_asked(NotAsked::Crowded);
        let text = metrics.render();
        for line in [
            r#"portreeve_admissions_total{endpoint="admit",outcome="allowed"} 1"#,
            r#"portreeve_admissions_total{endpoint="validate",outcome="denied"} 1"#,
            r#"portreeve_admissions_total{endpoint="validate",outcome="error"} 0"#,
            r#"portreeve_admission_duration_seconds_bucket{le="0.0025",endpoint="validate"} 1"#,
            r#"portreeve_images_total{verdict="rejected",reason="not_signed"} 1"#,
            r#"portreeve_limit_hits_total{limit="queue"} 1"#,
            r#"portreeve_reloads_total{what="policies",result="failed"} 1"#,
            r#"portreeve_connections{listener="tls"} 3"#,
            "portreeve_panics_total 1",
            r#"portreeve_trust_server_not_asked_total{why="crowded"} 1"#,
            "portreeve_certificate_not_after_timestamp_seconds 1900000000",
            // Portieris counts only what it mutates: /admit.
            "portieris_pod_admission_decision_allow_count 1",
            "portieris_pod_admission_decision_deny_count 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("portreeve_build_info{version=\""), "{text}");
    }
}
