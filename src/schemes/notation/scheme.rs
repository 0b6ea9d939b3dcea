//! Notation behind the seam: from a policy's rule to a requirement with the certificates of its trust stores.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::required::Required;
use super::rule::Rule;
use super::stores::SiteStores;
use crate::metrics::Metrics;
use crate::schemes::image_signatures::{ImageSignatures, Requirement};
use crate::schemes::{Query, Refusal, Scheme, Trace, Verified};
use jiff::Timestamp;

/// The scheme's settings.
pub struct Settings {
    /// The directory of the trust stores (`notation.trustStores`).
    pub trust_stores: PathBuf,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Notation. All workers share it.
pub struct Notation {
    /// The site's trust stores.
    pub stores: SiteStores,
    pub(super) images: Arc<ImageSignatures>,
}

impl Notation {
    /// The scheme. `images` is what all schemes that read registries share.
    pub fn new(images: Arc<ImageSignatures>, settings: Settings) -> Self {
        Self { stores: SiteStores::new(settings.trust_stores, settings.metrics), images }
    }

    /// What a rule requires now.
    pub(crate) fn required(&self, rule: &Arc<Rule>, now: Timestamp) -> Result<Required, Refusal> {
        let stores = self.stores.current();
        match stores.choose(&rule.stores) {
            Ok(trusted) => Ok(Required { rule: Arc::clone(rule), trusted, stores, now }),
            Err(name) => {
                let message = stores.missing(name, self.stores.directory());
                Err(Refusal::Rejected { code: "trust-store", message })
            }
        }
    }
}

impl Scheme for Notation {
    type Rule = Arc<Rule>;

    fn verify(&self, rule: &Arc<Rule>, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        let begun = self.images.begin(query, "Notation", trace)?;
        let required = self.required(rule, query.now)?;
        let when_away = (rule.when_unavailable, rule.max_stale);
        self.images.verify(&begun, Requirement::Notation(&required, query.effort), when_away, query, trace)
    }
}

impl fmt::Debug for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notation").field(&self.stores).finish()
    }
}
