//! The engine behind `/admit`, `/validate` and the commands: everything that a decision needs, set up once from the
//! configuration, and the same bytes in and out wherever it is asked from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::decision_log::{self, Asked, Came};
use super::policy_review;
use crate::admission::children::{Children, Templates};
use crate::admission::decide::{Basis, Decision, DecisionRules, decide};
use crate::admission::evaluate::{Judge, PoliciesInForce, Spent};
use crate::admission::messages;
use crate::admission::request::{Response, Review, ReviewError};
use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::config::{AskApi, Config};
use crate::keychain::mounted::MountedCredentials;
use crate::keychain::pulled::PulledConfigs;
use crate::kube::api::{Api, Purpose};
use crate::kube::error::ApiSetupError;
use crate::kube::signer_secrets::{ClusterSigners, SecretStore};
use crate::metrics::{self, Metrics, Phase};
use crate::policy::Mode;
use crate::schemes::notary::{Notary, NotaryError, NotarySettings};
use crate::server::{Answer, Endpoint, Handler};

/// The engine. Shared by all workers.
#[derive(Debug)]
pub struct Engine {
    judge: Judge,
    rules: DecisionRules,
    metrics: Arc<Metrics>,
    waiting: Arc<Waiting>,
}

impl Engine {
    /// An engine with no policies in force yet.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, EngineError> {
        let waiting = Arc::new(Waiting::new(config.limits.connections));
        let notary = Notary::new(NotarySettings {
            ca: Some(config.trust.ca.clone()),
            refresh_after: config.trust.refresh_after,
            plain_http: config.trust.plain_http,
            cache: config.trust.cache.clone(),
            workers: config.limits.workers,
            waiting: Arc::clone(&waiting),
            memory: config.limits.trust_memory,
            verify_memory: config.limits.verify_memory,
            cache_bytes: config.limits.trust_cache,
            metrics: Arc::clone(&metrics),
        })
        .map_err(EngineError::Notary)?;
        let api = match config.ask_api {
            AskApi::No => None,
            AskApi::Yes => {
                let api = Api::new(&config.api, Purpose::Credentials, Arc::clone(&metrics));
                Some(api.map_err(EngineError::Api)?)
            }
        };
        let judge = Judge {
            policies: PoliciesInForce::default(),
            notary,
            credentials: MountedCredentials::new(Some(config.registries.clone())).counted_by(Arc::clone(&metrics)),
            secrets: SecretStore::new(config.secrets.clone()),
            pull_secrets: api.clone().map(PulledConfigs::new),
            cluster_signers: api.map(ClusterSigners::new),
            servers: config.trust.servers.clone(),
            when_unavailable: config.trust.when_unavailable,
            first_use: config.trust.first_use,
            own_namespace: config.namespace.clone(),
        };
        let rules = DecisionRules {
            mode: config.mode,
            trusted_controllers: config.trusted_controllers.clone(),
            unchanged_templates: config.unchanged_templates,
            templates: match config.children {
                Children::Trust => None,
                Children::Compare => Some(Templates::new(&config.api, Arc::clone(&metrics)).map_err(EngineError::Api)?),
            },
        };
        Ok(Self { judge, rules, metrics, waiting })
    }

    /// The policies in force.
    pub fn policies(&self) -> &PoliciesInForce {
        &self.judge.policies
    }

    /// The requests that wait for somebody else's server.
    pub fn waiting(&self) -> &Arc<Waiting> {
        &self.waiting
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

    /// The answer's bytes to a request's bytes, with the decision, or why none was made.
    pub fn answer(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        deadline: Deadline,
    ) -> (Answer, Result<(Review, Decision), ReviewError>) {
        let started = Instant::now();
        let parsed = Review::parse(body);
        self.metrics.phase(Phase::Read, started.elapsed());
        let (answer, outcome, decided) = match parsed {
            Ok(review) => {
                let decision = self.decide(&review, deadline);
                let decided = Instant::now();
                let answer =
                    json_answer(&messages::response(endpoint, &review.api_version, &review.request, &decision));
                self.metrics.phase(Phase::Answer, decided.elapsed());
                let outcome = if decision.allowed { metrics::Outcome::Allowed } else { metrics::Outcome::Denied };
                (answer, outcome, Ok((review, decision)))
            }
            Err(error) => {
                let (answer, outcome) = refusal(&error);
                (answer, outcome, Err(error))
            }
        };
        self.metrics.admission(endpoint, outcome, started.elapsed());
        if let Ok((_, decision)) = &decided {
            self.count(decision);
        }
        (answer, decided)
    }

    fn count(&self, decision: &Decision) {
        let nobody = metrics::Scope::Nobody;
        match &decision.basis {
            basis @ (Basis::Exempt(_) | Basis::NothingNew(_)) => {
                self.metrics.image(metrics::Verdict::Exempt, basis.code(), nobody);
            }
            basis @ (Basis::TooMany { .. } | Basis::NotOurs(_)) => {
                self.metrics.image(metrics::Verdict::Rejected, basis.code(), nobody);
            }
            Basis::Images(findings) => {
                let mut timed = BTreeSet::new();
                for finding in findings {
                    let (verdict, reason) = finding.assessment.verdict.code();
                    self.metrics.image(verdict, reason, finding.assessment.scope);
                    // One that stands in several places was assessed once.
                    if timed.insert(finding.image.as_str()) {
                        self.count_phases(&finding.assessment.spent);
                    }
                }
            }
        }
    }

    fn count_phases(&self, spent: &Spent) {
        self.metrics.phase(Phase::Policy, spent.policy);
        if let Some(trust) = spent.trust {
            self.metrics.phase(Phase::Credentials, spent.credentials);
            self.metrics.phase(Phase::Trust, trust);
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
            Ok((review, decision)) => {
                let asked = Asked::from(&review.request);
                decision_log::write(endpoint, &asked, &Came::of(decision), started.elapsed());
            }
            Err(error) => log_refusal(endpoint, error, error.to_string(), started.elapsed()),
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

pub(crate) fn json_answer(response: &Response) -> Answer {
    Answer { status: 200, content_type: "application/json", body: response.to_json() }
}

/// A denial that rests on nothing but the request itself.
pub(crate) fn denied(api_version: &str, uid: String, message: String) -> Response {
    Response {
        api_version: api_version.to_owned(),
        uid,
        allowed: false,
        message,
        patch: None,
        warnings: Vec::new(),
        audit_annotations: BTreeMap::new(),
    }
}

/// The answer to what is no review, or one whose object cannot be read.
fn refusal(error: &ReviewError) -> (Answer, metrics::Outcome) {
    match error {
        ReviewError::Undecodable { version, uid, .. } => {
            (json_answer(&denied(version, uid.clone(), format!("portreeve: {error}"))), metrics::Outcome::Denied)
        }
        error => (Answer::text(400, format!("{error}\n")), metrics::Outcome::Error),
    }
}

/// The line for what came to no decision.
pub(crate) fn log_refusal(endpoint: Endpoint, error: &ReviewError, words: String, took: Duration) {
    let (uid, basis, outcome) = match error {
        ReviewError::Undecodable { uid, .. } => (uid.as_str(), "undecodable", metrics::Outcome::Denied),
        _ => ("", "not-a-review", metrics::Outcome::Error),
    };
    let came = Came { outcome, basis, why: Some(words), images: &[] };
    decision_log::write(endpoint, &Asked { uid, ..Asked::default() }, &came, took);
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
