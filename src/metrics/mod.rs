//! The metrics, and how Prometheus reads them.
//!
//! Names are `portreeve_*` and stable; `docs/metrics.md` lists all of them. Labels come only from enums and fixed words: no
//! text of a tenant or of a server becomes a label, so that no request can make the registry grow.

mod exposition;
mod families;
mod labels;
mod process;

use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::base::ending::{Ending, EndingKind};
pub use crate::metrics::exposition::CONTENT_TYPE;
use crate::metrics::exposition::{plain_text, sample};
use crate::metrics::families::{
    Counters, Gauges, Histograms, Registration, admission_buckets, age_buckets, phase_buckets, series,
};
use crate::metrics::labels::Labels;
pub use crate::metrics::labels::{
    Endpoint, InProgress, Limit, Listener, NotSent, Outcome, Peer, Phase, ReloadResult, Reloaded, RequestOutcome,
    Scope, Source, Verdict,
};

/// All metrics of the process. Every method may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    /// By endpoint and outcome.
    admissions: Vec<Counter>,
    /// By endpoint.
    admission_seconds: Vec<Histogram>,
    /// By phase.
    phase_seconds: Vec<Histogram>,
    images: Counters,
    checks: Counters,
    /// By source, as the next.
    trust_lookups: Vec<Counter>,
    signature_lookups: Vec<Counter>,
    stale_age: Histograms,
    trust_requests: Counters,
    trust_received_bytes: Counters,
    trust_store_failures: Counters,
    requests_not_sent: Counters,
    ends: Gauges,
    trust_data_ends: Gauges,
    reloads: Counters,
    reload_success: Gauges,
    reload_failing: Gauges,
    certificate_not_after: Gauges,
    policy_rules: Gauges,
    everything_unchecked: Gauges,
    namespace_policies: Gauges,
    limit_hits: Counters,
    panics: Counters,
    connections: Gauges,
    /// By state.
    in_progress: Vec<Gauge>,
    workers: Gauges,
    registry: Registry,
    started: Duration,
}

impl Metrics {
    /// Registers all metrics. Series whose labels are known in advance begin at zero.
    pub fn new() -> Self {
        let mut new = Registration::default();
        let metrics = Self {
            // The encoder adds `_total` to counters and a full stop to help texts.
            admissions: series(
                &new.counters("portreeve_admissions", "Admission requests answered, by endpoint and outcome"),
                Endpoint::ALL.iter().flat_map(|endpoint| Outcome::ALL.iter().map(|of| of_admission(*endpoint, *of))),
            ),
            admission_seconds: series(
                &new.histograms(
                    "portreeve_admission_duration_seconds",
                    "How long admissions took, by endpoint",
                    admission_buckets,
                ),
                Endpoint::ALL.iter().map(|endpoint| Labels::one("endpoint", endpoint.as_str())),
            ),
            phase_seconds: series(
                &new.histograms(
                    "portreeve_phase_duration_seconds",
                    "How long the parts of admissions took, by phase",
                    phase_buckets,
                ),
                Phase::ALL.iter().map(|phase| Labels::one("phase", phase.as_str())),
            ),
            images: new.counters(
                "portreeve_images",
                "Images decided, by endpoint, verdict, its reason and the scope of the policy",
            ),
            checks: new.counters(
                "portreeve_checks",
                "Checks of the rules that decided, by endpoint, signature scheme, verdict and reason",
            ),
            trust_lookups: series(
                &new.counters(
                    "portreeve_trust_lookups",
                    "Queries for a repository's trust data, by where the data came from",
                ),
                Source::ALL.iter().map(|source| Labels::one("source", source.as_str())),
            ),
            signature_lookups: series(
                &new.counters(
                    "portreeve_signature_lookups",
                    "Queries for an image's signatures in a registry, by where they came from",
                ),
                Source::ALL.iter().map(|source| Labels::one("source", source.as_str())),
            ),
            stale_age: new.histograms(
                "portreeve_stood_in_age_seconds",
                "The age of stored data that was used because its trust server or registry was unavailable",
                age_buckets,
            ),
            trust_requests: new.counters(
                "portreeve_trust_requests",
                "Requests to trust servers, token services and the Kubernetes API, by service and outcome",
            ),
            trust_received_bytes: new.counters(
                "portreeve_trust_received_bytes",
                "Bytes of bodies received from trust servers, token services and the Kubernetes API",
            ),
            trust_store_failures: new
                .counters("portreeve_trust_store_failures", "Failures to write verified trust data to trust.cache"),
            requests_not_sent: new.counters(
                "portreeve_trust_server_not_asked",
                "Requests that were not sent, by reason: the server is down, or too many requests wait for it",
            ),
            ends: new.gauges(
                "portreeve_ends_timestamp_seconds",
                "When certificates, CAs, pins and trust data end, the soonest of each kind, as a Unix time",
            ),
            trust_data_ends: new.gauges(
                "portreeve_trust_data_ends_timestamp_seconds",
                "When trust data in use expires, the soonest by role, as a Unix time",
            ),
            reloads: new.counters("portreeve_reloads", "Files read again after a change, by content and result"),
            reload_success: new.gauges(
                "portreeve_reload_success_timestamp_seconds",
                "When files last took effect, by content, as a Unix time",
            ),
            reload_failing: new.gauges(
                "portreeve_reload_failing",
                "Whether files are not in force as they are now, by content: 1 if the last attempt to use them failed",
            ),
            certificate_not_after: new.gauges(
                "portreeve_certificate_not_after_timestamp_seconds",
                "When the serving certificate in force expires, as a Unix time",
            ),
            policy_rules: new
                .gauges("portreeve_policy_rules", "Rules of the policies in force, by what they require of an image"),
            everything_unchecked: new.gauges(
                "portreeve_everything_unchecked",
                "Scopes in which a policy lets every image in unchecked beside other policies, by scope",
            ),
            namespace_policies: new.gauges(
                "portreeve_namespace_policies_unusable",
                "Namespaces whose own policies cannot be used, by what holds instead: their last good ones, or a denial",
            ),
            limit_hits: new
                .counters("portreeve_limit_hits", "Connections and requests that were closed or refused, by limit"),
            panics: new.counters("portreeve_panics", "Panics of requests and of periodic tasks that were contained"),
            connections: new.gauges("portreeve_connections", "Open connections, by listener"),
            in_progress: series(
                &new.gauges("portreeve_admissions_in_hand", "Admissions that wait for a worker or are being decided"),
                InProgress::ALL.iter().map(|state| Labels::one("state", state.as_str())),
            ),
            workers: new.gauges("portreeve_workers", "Workers that can decide on admissions"),
            registry: {
                new.gauges("portreeve_build_info", "The running version")
                    .get_or_create(&Labels::one("version", VERSION))
                    .set(1);
                new.into_registry()
            },
            started: since_epoch(),
        };
        metrics.create_series();
        metrics
    }

    /// Creates the series whose labels are known. An alert can then see the first event as a rise.
    fn create_series(&self) {
        let count = |family: &Counters, labels| drop(family.get_or_create(&labels));
        drop(self.stale_age.get_or_create(&Labels::NONE));
        for endpoint in [Endpoint::Admit, Endpoint::Validate] {
            for scope in [Scope::Namespace, Scope::Cluster] {
                count(&self.images, of_image(endpoint, Verdict::Unchecked, REASON_POLICY, scope));
                count(&self.images, of_image(endpoint, Verdict::Unavailable, REASON_TRUST_SERVER, scope));
                count(&self.images, of_image(endpoint, Verdict::Unavailable, REASON_REGISTRY, scope));
                count(&self.images, of_image(endpoint, Verdict::Rejected, "expired", scope));
            }
            for (scheme, unavailable) in
                [("trust", REASON_TRUST_SERVER), ("cosign", REASON_REGISTRY), ("notation", REASON_REGISTRY)]
            {
                count(&self.checks, of_check(endpoint, scheme, Verdict::Unavailable, unavailable));
            }
        }
        for peer in Peer::ALL {
            for outcome in RequestOutcome::ALL {
                count(&self.trust_requests, of_request(*peer, *outcome));
            }
        }
        for what in Reloaded::ALL {
            for result in ReloadResult::ALL {
                count(&self.reloads, of_reload(*what, *result));
            }
            self.reload_failing(*what, false);
        }
        for why in NotSent::ALL {
            count(&self.requests_not_sent, Labels::one("why", why.as_str()));
        }
        for limit in Limit::ALL {
            count(&self.limit_hits, Labels::one("limit", limit.as_str()));
        }
        for family in [&self.trust_received_bytes, &self.trust_store_failures, &self.panics] {
            count(family, Labels::NONE);
        }
        for listener in Listener::ALL {
            self.connections(*listener, 0);
        }
        for scope in [Scope::Namespace, Scope::Cluster] {
            self.everything_unchecked(scope, 0);
        }
        self.namespace_policies(0, 0);
    }

    /// One admission was answered.
    pub fn admission(&self, endpoint: Endpoint, outcome: Outcome, took: Duration) {
        inc(&self.admissions, admission_index(endpoint, outcome));
        observe(&self.admission_seconds, endpoint as usize, took);
    }

    /// A part of an admission ended.
    pub fn phase(&self, phase: Phase, took: Duration) {
        observe(&self.phase_seconds, phase as usize, took);
    }

    /// One image was decided for this endpoint. Most objects pass both endpoints. `reason` is a fixed word such as
    /// `no-such-tag`, never a text of a request.
    pub fn image(&self, endpoint: Endpoint, verdict: Verdict, reason: &'static str, scope: Scope) {
        self.images.get_or_create(&of_image(endpoint, verdict, reason, scope)).inc();
    }

    /// One check of an image was made. `scheme` and `reason` are fixed words, never texts of a request.
    pub fn check(&self, endpoint: Endpoint, scheme: &'static str, verdict: Verdict, reason: &'static str) {
        self.checks.get_or_create(&of_check(endpoint, scheme, verdict, reason)).inc();
    }

    /// Trust data was needed, and came from `source`.
    pub fn trust_lookup(&self, source: Source) {
        inc(&self.trust_lookups, source as usize);
    }

    /// Signatures of an image were needed, and came from `source`.
    pub fn signature_lookup(&self, source: Source) {
        inc(&self.signature_lookups, source as usize);
    }

    /// Stored trust data of this age was used because its server is unavailable.
    pub fn stale(&self, age: Duration) {
        self.trust_lookup(Source::Stale);
        self.stale_age.get_or_create(&Labels::NONE).observe(age.as_secs_f64());
    }

    /// Stored signatures were used for a tag that its registry last confirmed so long ago, because the registry is unavailable.
    pub fn stale_signature(&self, age: Duration) {
        self.signature_lookup(Source::Stale);
        self.stale_age.get_or_create(&Labels::NONE).observe(age.as_secs_f64());
    }

    /// A request to a trust server, a token service or the Kubernetes API ended. Its response had `bytes` bytes of body.
    pub fn trust_request(&self, peer: Peer, outcome: RequestOutcome, bytes: usize, took: Duration) {
        self.trust_requests.get_or_create(&of_request(peer, outcome)).inc();
        self.trust_received_bytes.get_or_create(&Labels::NONE).inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.phase(Phase::Request, took);
    }

    /// A connection or a request was closed or refused because of a limit.
    pub fn limit(&self, limit: Limit) {
        self.limit_hits.get_or_create(&Labels::one("limit", limit.as_str())).inc();
    }

    /// Files were read again after a change.
    pub fn reload(&self, what: Reloaded, ok: bool) {
        let result = if ok { ReloadResult::Ok } else { ReloadResult::Failed };
        self.reloads.get_or_create(&of_reload(what, result)).inc();
        self.reload_failing(what, !ok);
        if ok {
            self.in_force(what);
        }
    }

    fn reload_failing(&self, what: Reloaded, fails: bool) {
        // Of these there are many files, and the others may be good.
        if !matches!(what, Reloaded::StoredTrust | Reloaded::NamespacePolicies) {
            set(&self.reload_failing, Labels::one("what", what.as_str()), usize::from(fails));
        }
    }

    /// Files took effect, now or at the start.
    pub fn in_force(&self, what: Reloaded) {
        let now = i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX);
        self.reload_success.get_or_create(&Labels::one("what", what.as_str())).set(now);
    }

    /// Sets the number of open connections of a listener.
    pub fn connections(&self, listener: Listener, open: usize) {
        set(&self.connections, Labels::one("listener", listener.as_str()), open);
    }

    /// An admission enters a state. It leaves the state when the returned value is dropped.
    pub fn in_progress(&self, state: InProgress) -> Counted {
        let gauge = self.in_progress.get(state as usize).cloned().unwrap_or_default();
        gauge.inc();
        Counted(gauge)
    }

    /// Sets the number of workers that are alive.
    pub fn workers(&self, alive: usize) {
        set(&self.workers, Labels::NONE, alive);
    }

    /// A panic was contained.
    pub fn panic(&self) {
        self.panics.get_or_create(&Labels::NONE).inc();
    }

    /// Verified trust data could not be stored.
    pub fn trust_store_failure(&self) {
        self.trust_store_failures.get_or_create(&Labels::NONE).inc();
    }

    /// A request to a trust server, a token service or the Kubernetes API was not sent.
    pub fn request_not_sent(&self, why: NotSent) {
        self.requests_not_sent.get_or_create(&Labels::one("why", why.as_str())).inc();
    }

    /// Sets when things end: the soonest of each kind. There is nothing of a kind that is not given.
    pub fn ends(&self, endings: &[Ending]) {
        for kind in EndingKind::ALL {
            let soonest = endings.iter().filter(|ending| ending.kind == kind).map(|ending| ending.at.as_second()).min();
            for (family, labels) in self.of_ending(kind) {
                match soonest {
                    Some(at) => drop(family.get_or_create(&labels).set(at)),
                    None => drop(family.remove(&labels)),
                }
            }
        }
    }

    /// Something of this kind ends at `at`. An earlier time that is known already stays.
    pub fn ends_by(&self, kind: EndingKind, at: i64) {
        for (family, labels) in self.of_ending(kind) {
            let gauge = family.get_or_create_owned(&labels);
            if gauge.get() == 0 || at < gauge.get() {
                gauge.set(at);
            }
        }
    }

    /// The series of a kind. Trust data has two, of which one is older.
    fn of_ending(&self, kind: EndingKind) -> impl Iterator<Item = (&Gauges, Labels)> {
        let older = kind.is_trust_data().then(|| (&self.trust_data_ends, Labels::one("role", kind.as_str())));
        [(&self.ends, Labels::one("what", kind.as_str()))].into_iter().chain(older)
    }

    /// Sets the number of rules in force that require a signature, that require nothing, and that deny.
    pub fn policy_rules(&self, signed: usize, nothing: usize, denied: usize) {
        for (requirement, rules) in [("signed", signed), ("nothing", nothing), ("denied", denied)] {
            set(&self.policy_rules, Labels::one("requirement", requirement), rules);
        }
    }

    /// Sets in how many scopes of this kind every image is let in unchecked beside other policies.
    pub fn everything_unchecked(&self, scope: Scope, scopes: usize) {
        set(&self.everything_unchecked, Labels::one("scope", scope.as_str()), scopes);
    }

    /// Sets the number of namespaces whose own policies cannot be used: those with earlier ones, and those without.
    pub fn namespace_policies(&self, last_good: usize, denied: usize) {
        for (state, namespaces) in [("last_good", last_good), ("denied", denied)] {
            set(&self.namespace_policies, Labels::one("state", state), namespaces);
        }
        self.reload_failing(Reloaded::NamespacePolicies, last_good + denied > 0);
    }

    /// A serving certificate took effect that expires at this time.
    pub fn certificate_not_after(&self, unix_seconds: i64) {
        self.in_force(Reloaded::Certificate);
        self.certificate_not_after.get_or_create(&Labels::NONE).set(unix_seconds);
    }

    /// All metrics as text, in the format of [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut open_metrics = String::with_capacity(32 << 10);
        // Writing to a String cannot fail, and every label is a fixed word.
        if prometheus_client::encoding::text::encode(&mut open_metrics, &self.registry).is_err() {
            log::error!("metrics could not be encoded");
        }
        let mut text = plain_text(&open_metrics);
        for (name, outcome, help) in [
            (PORTIERIS_ALLOW, Outcome::Allowed, "Admissions allowed by /admit, as Portieris names it."),
            (PORTIERIS_DENY, Outcome::Denied, "Admissions denied by /admit, as Portieris names it."),
        ] {
            let count = self.admissions.get(admission_index(Endpoint::Admit, outcome)).map_or(0, Counter::get);
            // A counter's name would have to end in `_total`, and a histogram's alone may end in `_count`.
            sample(&mut text, name, "untyped", help, count);
        }
        process::write(&mut text, self.started);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The reason of [`Verdict::Unchecked`].
const REASON_POLICY: &str = "policy";
/// The reason of [`Verdict::Unavailable`] for Notary v1, and where there was no check.
const REASON_TRUST_SERVER: &str = "trust-server";
/// The reason of [`Verdict::Unavailable`] for schemes that read registries.
const REASON_REGISTRY: &str = "registry";

/// The two names of Portieris, for dashboards that were made for it. As there, they count only `/admit`.
const PORTIERIS_ALLOW: &str = "portieris_pod_admission_decision_allow_count";
const PORTIERIS_DENY: &str = "portieris_pod_admission_decision_deny_count";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Counts a state for as long as it lasts.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn set(family: &Gauges, labels: Labels, value: usize) {
    family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// The place of a series among those of admissions.
fn admission_index(endpoint: Endpoint, outcome: Outcome) -> usize {
    endpoint as usize * Outcome::ALL.len() + outcome as usize
}

fn inc(series: &[Counter], index: usize) {
    if let Some(series) = series.get(index) {
        series.inc();
    }
}

fn observe(series: &[Histogram], index: usize, took: Duration) {
    if let Some(series) = series.get(index) {
        series.observe(took.as_secs_f64());
    }
}

fn of_admission(endpoint: Endpoint, outcome: Outcome) -> Labels {
    Labels::two(("endpoint", endpoint.as_str()), ("outcome", outcome.as_str()))
}

fn of_image(endpoint: Endpoint, verdict: Verdict, reason: &'static str, scope: Scope) -> Labels {
    Labels::four([
        ("endpoint", endpoint.as_str()),
        ("verdict", verdict.as_str()),
        ("reason", reason),
        ("scope", scope.as_str()),
    ])
}

fn of_check(endpoint: Endpoint, scheme: &'static str, verdict: Verdict, reason: &'static str) -> Labels {
    Labels::four([
        ("endpoint", endpoint.as_str()),
        ("scheme", scheme),
        ("verdict", verdict.as_str()),
        ("reason", reason),
    ])
}

fn of_request(peer: Peer, outcome: RequestOutcome) -> Labels {
    Labels::two(("peer", peer.as_str()), ("outcome", outcome.as_str()))
}

fn of_reload(what: Reloaded, result: ReloadResult) -> Labels {
    Labels::two(("what", what.as_str()), ("result", result.as_str()))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
