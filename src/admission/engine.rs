//! The engine behind `/admit`, `/validate` and the commands: everything that a decision needs, set up once from the
//! configuration, and the same bytes in and out wherever it is asked from.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::answer;
use super::decide::{Basis, Decision, DecisionRules, ImageFinding, decide};
use super::judge::{Judge, PoliciesInForce, Verdict};
use super::policy_review;
use super::review::{Response, Review, ReviewError};
use crate::config::{AskApi, Config};
use crate::credentials::{ApiSetupError, ClusterSecrets, MountedCredentials, SecretStore};
use crate::deadline::Deadline;
use crate::metrics::{self, Metrics};
use crate::policy::Mode;
use crate::server::{Answer, Endpoint, Handler};
use crate::text::printable;
use crate::trust::notary::{Notary, NotaryError, NotarySettings, Origin};

/// The engine. Shared by all workers.
#[derive(Debug)]
pub struct Engine {
    judge: Judge,
    rules: DecisionRules,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An engine with no policies in force yet.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, EngineError> {
        let notary = Notary::new(NotarySettings {
            ca: Some(config.trust.ca.clone()),
            refresh_after: config.trust.refresh_after,
            plain_http: config.trust.plain_http,
            cache: config.trust.cache.clone(),
            metrics: Arc::clone(&metrics),
        })
        .map_err(EngineError::Notary)?;
        let judge = Judge {
            policies: PoliciesInForce::default(),
            notary,
            credentials: MountedCredentials::new(Some(config.registries.clone())),
            secrets: SecretStore::new(config.secrets.clone()),
            cluster: match config.ask_api {
                AskApi::No => None,
                AskApi::Yes => Some(ClusterSecrets::new(&config.api).map_err(EngineError::Api)?),
            },
            servers: config.trust.servers.clone(),
            when_unavailable: config.trust.when_unavailable,
            first_use: config.trust.first_use,
            own_namespace: config.namespace.clone(),
        };
        let rules = DecisionRules {
            mode: config.mode,
            trusted_controllers: config.trusted_controllers.clone(),
            unchanged_templates: config.unchanged_templates,
        };
        Ok(Self { judge, rules, metrics })
    }

    /// The policies in force.
    pub fn policies(&self) -> &PoliciesInForce {
        &self.judge.policies
    }

    /// The judge of single images.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// What the configuration makes of a bad verdict, where the rule would deny.
    pub fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// Decides on a review that was read already.
    pub fn decide(&self, review: &Review, deadline: Deadline) -> Decision {
        decide(&self.judge, &self.rules, &review.request, deadline, Timestamp::now())
    }

    /// The answer's bytes to a request's bytes, with the decision where one was made.
    pub fn answer(&self, endpoint: Endpoint, body: &[u8], deadline: Deadline) -> (Answer, Option<(Review, Decision)>) {
        let started = Instant::now();
        let (answer, outcome, decided) = match Review::parse(body) {
            Ok(review) => {
                let decision = self.decide(&review, deadline);
                let response = answer::response(endpoint, &review.api_version, &review.request, &decision);
                let outcome = if decision.allowed { metrics::Outcome::Allowed } else { metrics::Outcome::Denied };
                (json_answer(&response), outcome, Some((review, decision)))
            }
            Err(ref error @ ReviewError::Undecodable { version, ref uid, .. }) => {
                let denial = denied(version, uid.clone(), format!("portreeve: {error}"));
                (json_answer(&denial), metrics::Outcome::Denied, None)
            }
            Err(error) => (Answer::text(400, format!("{error}\n")), metrics::Outcome::Error, None),
        };
        self.metrics.admission(endpoint, outcome, started.elapsed());
        if let Some((_, decision)) = &decided {
            self.count(decision);
        }
        (answer, decided)
    }

    fn count(&self, decision: &Decision) {
        match &decision.basis {
            Basis::Exempt(exemption) => self.metrics.image(metrics::Verdict::Exempt, exemption.code()),
            Basis::NothingNew(_) => self.metrics.image(metrics::Verdict::Exempt, "nothing-new"),
            Basis::TooMany { .. } => self.metrics.image(metrics::Verdict::Rejected, "too-many-images"),
            Basis::NotOurs(_) => self.metrics.image(metrics::Verdict::Rejected, "not-ours"),
            Basis::Images(findings) => {
                for finding in findings {
                    match &finding.assessment.verdict {
                        Verdict::Unchecked => self.metrics.image(metrics::Verdict::Unchecked, "policy"),
                        Verdict::Verified(verified) => {
                            let origin = match verified.origin {
                                Origin::Fetched => "fetched",
                                Origin::Remembered => "remembered",
                                Origin::StoodIn { .. } => "stood-in",
                            };
                            self.metrics.image(metrics::Verdict::Verified, origin);
                        }
                        Verdict::Rejected { code, .. } => self.metrics.image(metrics::Verdict::Rejected, code),
                        Verdict::Unavailable { .. } => {
                            self.metrics.image(metrics::Verdict::Unavailable, "trust-server");
                        }
                    }
                }
            }
        }
    }
}

impl Handler for Engine {
    fn admit(&self, endpoint: Endpoint, body: &[u8], deadline: Deadline) -> Answer {
        let started = Instant::now();
        if endpoint == Endpoint::ValidatePolicy {
            let (answer, outcome) = policy_review::answer(body);
            self.metrics.admission(endpoint, outcome, started.elapsed());
            return answer;
        }
        let (answer, decided) = self.answer(endpoint, body, deadline);
        match &decided {
            Some((review, decision)) => log_decision(endpoint, review, decision, started),
            None => log::warn!(
                endpoint = endpoint.path(), status = u64::from(answer.status);
                "refused a request that cannot be decided: {}", printable(&String::from_utf8_lossy(&answer.body), 300)
            ),
        }
        answer
    }

    fn ready(&self) -> Result<(), String> {
        match self.judge.policies.get() {
            Some(_) => Ok(()),
            None => Err("no policies are loaded; the log says what is wrong with them".to_owned()),
        }
    }
}

pub(super) fn json_answer(response: &Response) -> Answer {
    Answer { status: 200, content_type: "application/json", body: response.to_json() }
}

/// A denial that rests on nothing but the request itself.
pub(super) fn denied(api_version: &str, uid: String, message: String) -> Response {
    Response {
        api_version: api_version.to_owned(),
        uid,
        allowed: false,
        message,
        patch: None,
        warnings: Vec::new(),
        audit_annotations: [("decision".to_owned(), "denied".to_owned())].into(),
    }
}

/// One line a decision: who asked for what, and what each image came to. No secrets, no bodies.
fn log_decision(endpoint: Endpoint, review: &Review, decision: &Decision, started: Instant) {
    let request = &review.request;
    let images = match &decision.basis {
        Basis::Images(findings) => findings.iter().map(answer::describe).collect::<Vec<_>>().join("; "),
        basis => basis.in_words().unwrap_or_default(),
    };
    let field = |value: &Option<String>| printable(value.as_deref().unwrap_or_default(), 253);
    let user = request.user_info.as_ref().map(|user| field(&user.username)).unwrap_or_default();
    let is_bad = matches!(&decision.basis, Basis::Images(findings) if findings.iter().any(ImageFinding::is_bad));
    let level = if decision.allowed && !is_bad { log::Level::Info } else { log::Level::Warn };
    log::log!(
        level,
        uid = printable(&request.uid, 64).as_str(),
        endpoint = endpoint.path(),
        operation = printable(&request.operation, 16).as_str(),
        kind = request.kind.to_string().as_str(),
        namespace = field(&request.namespace).as_str(),
        name = field(&request.name).as_str(),
        user = user.as_str(),
        allowed = decision.allowed,
        images = images.as_str(),
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        "{}", if decision.allowed { "allowed" } else { "denied" }
    );
}

/// The engine cannot be set up.
#[derive(Debug)]
pub enum EngineError {
    /// The trust service cannot.
    Notary(NotaryError),
    /// The way to the Kubernetes API cannot.
    Api(ApiSetupError),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notary(error) => error.fmt(f),
            Self::Api(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Notary(error) => Some(error),
            Self::Api(error) => Some(error),
        }
    }
}
