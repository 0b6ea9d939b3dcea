//! From the configuration to the engine: the only place where the parts of the program are put together.

use std::fmt;
use std::sync::Arc;

use crate::admission::children::{Children, Templates};
use crate::admission::decide::DecisionRules;
use crate::admission::evaluate::{Evaluator, PoliciesInForce};
use crate::base::waiting::Waiting;
use crate::config::{AskApi, Config};
use crate::keychain::mounted::MountedCredentials;
use crate::keychain::pulled::PulledConfigs;
use crate::kube::api::{Api, Purpose};
use crate::kube::error::ApiSetupError;
use crate::kube::signer_secrets::{ClusterSigners, SecretStore};
use crate::metrics::Metrics;
use crate::schemes::Schemes;
use crate::schemes::cosign::Cosign;
use crate::schemes::evidence::EvidenceStore;
use crate::schemes::image_signatures::ImageSignatures;
use crate::schemes::notary::scheme::NotaryV1;
use crate::schemes::notary::{Notary, NotaryError};
use crate::schemes::notation::Notation;
use crate::webhook::Engine;

/// The engine that the configuration describes, with no policies in force yet. `waiting` counts the requests that wait
/// for another server.
pub fn engine(config: &Config, waiting: Arc<Waiting>, metrics: Arc<Metrics>) -> Result<Engine, SetupError> {
    let service = Notary::new(config.notary(waiting, Arc::clone(&metrics))).map_err(SetupError::Notary)?;
    let api = |purpose| Api::new(&config.api, purpose, Arc::clone(&metrics)).map_err(SetupError::Api);
    let secrets_api = match config.ask_api {
        AskApi::No => None,
        AskApi::Yes => Some(api(Purpose::Credentials)?),
    };
    let evidence = Arc::new(EvidenceStore::new(config.evidence(Arc::clone(&metrics))).beside(&service));
    let image_signatures = Arc::new(ImageSignatures::new(service.shared(), evidence, config.image_signatures()));
    let cluster_signers = secrets_api.clone().map(ClusterSigners::new);
    let cosign = Cosign::new(Arc::clone(&image_signatures), config.cosign(cluster_signers, Arc::clone(&metrics)));
    let notation = Notation::new(Arc::clone(&image_signatures), config.notation(Arc::clone(&metrics)));
    let notary_v1 = NotaryV1 {
        service,
        secrets: SecretStore::new(config.secrets.clone()),
        cluster_signers: secrets_api.clone().map(ClusterSigners::new),
        servers: config.trust.servers.clone(),
        when_unavailable: config.trust.when_unavailable,
        first_use: config.trust.first_use,
    };
    let evaluator = Evaluator {
        policies: PoliciesInForce::default(),
        schemes: Schemes { notary_v1, image_signatures, cosign, notation },
        credentials: MountedCredentials::new(Some(config.mounted_credentials.clone())).counted_by(Arc::clone(&metrics)),
        pull_secrets: secrets_api.map(PulledConfigs::new),
        own_namespace: config.namespace.clone(),
    };
    let rules = DecisionRules {
        mode: config.mode,
        trusted_controllers: config.trusted_controllers.clone(),
        unchanged_templates: config.unchanged_templates,
        custom_kinds: config.custom_kinds,
        templates: match config.children {
            Children::Trust => None,
            Children::Compare => Some(Templates::new(api(Purpose::Owners)?)),
        },
    };
    Ok(Engine::new(evaluator, rules, metrics))
}

/// The engine of a command that decides one thing after the other and has no workers.
pub fn standalone_engine(config: &Config) -> Result<Engine, SetupError> {
    engine(config, Arc::new(Waiting::new(config.server.limits.waiting())), Arc::new(Metrics::new()))
}

/// The engine cannot be set up.
#[derive(Debug)]
pub enum SetupError {
    /// The CA bundle or the proxy for trust servers cannot be used.
    Notary(NotaryError),
    /// The Kubernetes API cannot be reached as configured.
    Api(ApiSetupError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notary(error) => error.fmt(f),
            Self::Api(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Notary(error) => Some(error),
            Self::Api(error) => Some(error),
        }
    }
}
