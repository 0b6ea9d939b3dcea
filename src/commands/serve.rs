//! `portreeve serve`: the webhook, from configuration to a clean end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::setup::{self, SetupError};
use super::{ExitStatus, complain};
use crate::base::waiting::Waiting;
use crate::config::Config;
use crate::metrics::{Metrics, What};
use crate::policy::PolicySource;
use crate::server::{Chore, EndSignals, Server, StartError};
use crate::webhook::Engine;

/// Notes on policies that are logged at each load; `lint` tells all.
const NOTES_LOGGED: usize = 20;

/// A running webhook. Dropping it ends it without ceremony.
pub struct Webhook {
    server: Server,
}

impl Webhook {
    /// Starts the webhook. Policies that cannot be read do not keep it from starting: it is then not ready, admits
    /// nothing, and takes the first good set that it finds. A certificate that cannot be read does.
    pub fn start(config: &Config) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new());
        let waiting = Arc::new(Waiting::new(config.server.limits.connections));
        let engine = setup::engine(config, Arc::clone(&waiting), Arc::clone(&metrics)).map_err(ServeError::Setup)?;
        let engine = Arc::new(engine);
        let policies = PolicySource::new(config.policies.clone());
        take_policies(&engine, &metrics, &policies);
        let chores = {
            let (engine, looking) = (Arc::clone(&engine), Arc::clone(&engine));
            let metrics = Arc::clone(&metrics);
            vec![
                Chore::new("policies", move || take_policies(&engine, &metrics, &policies)),
                Chore::new("ends of trust data", move || {
                    looking.evaluator().schemes.notary_v1.service.look_at_ends(Timestamp::now());
                }),
            ]
        };
        let server =
            Server::start(config.server.clone(), engine, &waiting, metrics, chores).map_err(ServeError::Server)?;
        Ok(Self { server })
    }

    /// Where `/admit` is served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where `/metrics` is served, if it is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.metrics_address()
    }
}

/// Looks whether the policies changed, and puts them in force if they are good.
fn take_policies(engine: &Engine, metrics: &Metrics, source: &PolicySource) {
    match source.reload_if_changed() {
        None => {}
        Some(Ok(policies)) => {
            log::info!(policies = policies.len() as u64; "policies are in force");
            engine.policies().replace(policies);
            metrics.reload(What::Policies, true);
            let notes = engine.policies().get().map(|policies| policies.notes()).unwrap_or_default();
            for note in notes.iter().take(NOTES_LOGGED) {
                log::warn!("policy: {note}");
            }
        }
        Some(Err(problems)) => {
            for problem in &problems {
                log::error!("policy: {problem}");
            }
            let fallback = match engine.policies().get() {
                Some(_) => "the last good set stays in force",
                None => "nothing is admitted until they are put right",
            };
            log::error!(problems = problems.len() as u64; "the policies cannot be used: {fallback}");
            metrics.reload(What::Policies, false);
        }
    }
}

/// Runs the webhook until SIGTERM or SIGINT.
pub(super) fn run(config: &Config) -> ExitStatus {
    crate::logging::start(config.log_format, config.log_level);
    let signals = match EndSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return complain(&error.to_string()),
    };
    match Webhook::start(config) {
        Ok(webhook) => {
            webhook.server.run_until(signals);
            ExitStatus::Allowed
        }
        Err(error) => complain(&error.to_string()),
    }
}

/// The webhook cannot start.
#[derive(Debug)]
pub enum ServeError {
    /// The engine cannot be set up.
    Setup(SetupError),
    /// The server cannot.
    Server(StartError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::Server(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Setup(error) => Some(error),
            Self::Server(error) => Some(error),
        }
    }
}
