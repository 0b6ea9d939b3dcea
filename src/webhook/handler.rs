//! The engine behind the endpoints and the commands. It gives the same response to the same request for both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decision_log::{self, LoggedDecision, LoggedRequest};
use super::{Endpoint, counting, policy_review, response};
use crate::admission::custom::CustomKinds;
use crate::admission::decide::{Decision, DecisionRules, decide};
use crate::admission::evaluate::{Evaluator, PoliciesInForce};
use crate::admission::messages;
use crate::admission::request::{Review, ReviewError};
use crate::base::clock;
use crate::base::context::Deadline;
use crate::metrics::{Metrics, Outcome, Phase};
use crate::schemes::Mode;
use crate::server::{Application, HttpResponse, Route};

/// The engine. All workers share it.
#[derive(Debug)]
pub struct Engine {
    evaluator: Evaluator,
    rules: DecisionRules,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An engine.
    pub fn new(evaluator: Evaluator, rules: DecisionRules, metrics: Arc<Metrics>) -> Self {
        Self { evaluator, rules, metrics }
    }

    /// The policies in force.
    pub fn policies(&self) -> &PoliciesInForce {
        &self.evaluator.policies
    }

    /// Evaluates single images.
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// The mode that the configuration sets for all rules.
    pub fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// The kinds of custom resources that the configuration names.
    pub fn custom_kinds(&self) -> CustomKinds {
        self.rules.custom_kinds
    }

    /// The response to the bytes of a review, with the decision, or with the reason why there is none.
    pub fn review(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        deadline: Deadline,
    ) -> (HttpResponse, Result<(Review, Decision), ReviewError>) {
        let started = Instant::now();
        let parsed = self.rules.custom_kinds.parse(body, self.rules.unchanged_templates);
        self.metrics.phase(Phase::Read, started.elapsed());
        let (response, outcome, decided) = match parsed {
            Ok(review) => {
                let mut decision = decide(&self.evaluator, &self.rules, &review.request, deadline, clock::now());
                let decided = Instant::now();
                if endpoint != Endpoint::Admit {
                    decision.operations.clear();
                }
                let response = messages::response(&review.api_version, &review.request, &decision);
                let response = response::review(&response);
                self.metrics.phase(Phase::Response, decided.elapsed());
                let outcome = if decision.allowed { Outcome::Allowed } else { Outcome::Denied };
                (response, outcome, Ok((review, decision)))
            }
            Err(error) => {
                let (response, outcome) = response::unreadable(&error, &error.to_string());
                (response, outcome, Err(error))
            }
        };
        self.metrics.admission(endpoint.label(), outcome, started.elapsed());
        if let Ok((_, decision)) = &decided {
            counting::count(&self.metrics, endpoint.label(), decision);
        }
        (response, decided)
    }
}

impl Application for Engine {
    fn routes(&self) -> &'static [Route] {
        Endpoint::ROUTES
    }

    fn respond(&self, route: &Route, body: &[u8], deadline: Deadline) -> HttpResponse {
        let started = Instant::now();
        let endpoint = Endpoint::from(route);
        if endpoint == Endpoint::ValidatePolicy {
            let (response, outcome) = policy_review::respond(body, self.evaluator.policies.get().as_deref());
            self.metrics.admission(endpoint.label(), outcome, started.elapsed());
            return response;
        }
        let (response, decided) = self.review(endpoint, body, deadline);
        match &decided {
            Ok((review, decision)) => {
                let request = LoggedRequest::from(&review.request);
                decision_log::write(endpoint, &request, &LoggedDecision::of(decision), started.elapsed());
            }
            Err(error) => log_unreadable(endpoint, error, error.to_string(), started.elapsed()),
        }
        response
    }

    fn ready(&self) -> Result<(), String> {
        match self.evaluator.policies.get() {
            Some(_) => Ok(()),
            None => Err("no policies are loaded; the log says what is wrong with them".to_owned()),
        }
    }
}

/// Writes the log line for a body that cannot be read.
pub(super) fn log_unreadable(endpoint: Endpoint, error: &ReviewError, message: String, took: Duration) {
    let (uid, basis, outcome) = match error {
        ReviewError::Undecodable { uid, .. } => (uid.as_str(), "undecodable", Outcome::Denied),
        _ => ("", "not-a-review", Outcome::Error),
    };
    let decision = LoggedDecision { outcome, basis, why: Some(message), images: &[] };
    decision_log::write(endpoint, &LoggedRequest { uid, ..LoggedRequest::default() }, &decision, took);
}
