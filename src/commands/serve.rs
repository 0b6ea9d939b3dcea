//! `portreeve serve`: the webhook, from its configuration to its shutdown.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::endings::EndingsWatch;
use super::policy_task::PolicyTask;
use super::setup::{self, SetupError};
use super::{ExitStatus, complain, finish_writes};
use crate::base::waiting::Waiting;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::server::{EndSignals, PeriodicTask, Server, StartError, raise_descriptor_limit};
use crate::webhook::Engine;

/// A running webhook. Dropping it stops it at once.
pub struct Webhook {
    server: Server,
    engine: Arc<Engine>,
}

impl Webhook {
    /// Starts the webhook. Without policies that can be used it still starts, but it is not ready and admits nothing until
    /// there is a good set. A certificate that cannot be used is an error.
    pub fn start(config: &Config) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new());
        let waiting = Arc::new(Waiting::new(config.server.limits.waiting()));
        let engine = setup::engine(config, Arc::clone(&waiting), Arc::clone(&metrics)).map_err(ServeError::Setup)?;
        let engine = Arc::new(engine);
        let mut policies = PolicyTask::new(config, Arc::clone(&engine), Arc::clone(&metrics));
        policies.run();
        log_notes(config, &engine);
        let tasks = {
            let endings = EndingsWatch::new(config.clone(), Arc::clone(&engine), Arc::clone(&metrics));
            vec![
                PeriodicTask::new("policies", move || policies.run()),
                PeriodicTask::new("endings", move || endings.look()),
            ]
        };
        let server = Server::start(config.server.clone(), Arc::clone(&engine) as _, &waiting, metrics, tasks)
            .map_err(ServeError::Server)?;
        Ok(Self { server, engine })
    }

    /// The address at which `/admit` is served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The address at which `/metrics` is served, if it is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.metrics_address()
    }
}

/// Logs what in the configuration was probably not intended.
fn log_notes(config: &Config, engine: &Engine) {
    let policies = engine.policies().get();
    let named = policies.iter().flat_map(|policies| policies.directories()).collect::<Vec<_>>();
    for note in config::notes(config, &named) {
        log::warn!("configuration: {note}");
    }
}

/// Runs the webhook until SIGTERM or SIGINT.
pub(super) fn run(config: &Config) -> ExitStatus {
    crate::logging::start(config.log_format, config.log_level);
    let signals = match EndSignals::catch() {
        Ok(signals) => signals,
        Err(error) => return complain(&error.to_string()),
    };
    raise_descriptor_limit(&config.server.limits);
    match Webhook::start(config) {
        Ok(webhook) => {
            let end = webhook.server.run_until(signals);
            let left = finish_writes(&webhook.engine, end);
            if left > 0 {
                log::error!("{left} writes to trust.cache did not end in time: what they would have stored is lost");
            }
            log::info!("stopped");
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
    /// The server cannot start.
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
