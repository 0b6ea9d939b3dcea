//! The endpoints of the webhook: what the server routes, and the labels under which they are counted.

use crate::metrics;
use crate::server::{Route, Workers};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /admit`: a decision and a patch.
    Admit,
    /// `POST /validate`: a decision without a patch.
    Validate,
    /// `POST /validate-policy`: a check of the policies in a ConfigMap before it is stored.
    ValidatePolicy,
}

impl Endpoint {
    /// The routes of all endpoints. A review of policies is rare and costs far more than an admission, so it has a thread
    /// of its own.
    pub(super) const ROUTES: &'static [Route] = &[
        Self::Admit.route(Workers::Shared),
        Self::Validate.route(Workers::Shared),
        Self::ValidatePolicy.route(Workers::Single),
    ];

    /// The path at which it is served.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Admit => "/admit",
            Self::Validate => "/validate",
            Self::ValidatePolicy => "/validate-policy",
        }
    }

    const fn route(self, workers: Workers) -> Route {
        Route { path: self.path(), label: self.label(), workers }
    }

    /// Its label in metrics.
    pub(super) const fn label(self) -> metrics::Endpoint {
        match self {
            Self::Admit => metrics::Endpoint::Admit,
            Self::Validate => metrics::Endpoint::Validate,
            Self::ValidatePolicy => metrics::Endpoint::ValidatePolicy,
        }
    }
}

impl From<&Route> for Endpoint {
    fn from(route: &Route) -> Self {
        match route.label {
            metrics::Endpoint::Admit => Self::Admit,
            metrics::Endpoint::Validate => Self::Validate,
            metrics::Endpoint::ValidatePolicy => Self::ValidatePolicy,
        }
    }
}
