//! What a policy can require of cosign signatures: the fields of `policy.cosign`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::schemes::UnavailableRule;
use portreeve_verify::sigstore::Signer;

/// A rule. It has a signer or a signer's secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `signers`, each with its key or its identity. No name, no key and no identity is in it twice.
    pub signers: Vec<Signer>,
    /// `signerSecrets`: the names of secrets with further signers' keys.
    pub signer_secrets: Vec<String>,
    /// `trustedRoot`: the name of the trusted root by which identities and logs are verified.
    pub trusted_root: Option<String>,
    /// `transparencyLog: required`: must a log have the signatures of keys? Those of identities it must always have.
    pub log_required: bool,
    /// `certificateTransparency: ignored`: does a certificate count that no log of certificates has promised to have?
    pub ignores_certificate_transparency: bool,
    /// `threshold`: how many of the signers are enough; `None` for all.
    pub threshold: Option<usize>,
    /// `annotations`: what each signature must have signed besides the digest.
    pub annotations: BTreeMap<String, String>,
    /// `sameRepository`: must the signed reference name the image's repository? Only the old format has one.
    pub same_repository: bool,
    /// `whenUnavailable`. Without it, the configuration decides.
    pub when_unavailable: Option<UnavailableRule>,
    /// `maxStale`. Without it, the limit of the configuration applies.
    pub max_stale: Option<Duration>,
}

impl Rule {
    /// A rule that asks for signatures by all of these signers, and for nothing else.
    pub fn signed_by(signers: Vec<Signer>) -> Self {
        Self {
            signers,
            signer_secrets: Vec::new(),
            trusted_root: None,
            log_required: false,
            ignores_certificate_transparency: false,
            threshold: None,
            annotations: BTreeMap::new(),
            same_repository: false,
            when_unavailable: None,
            max_stale: None,
        }
    }
}
