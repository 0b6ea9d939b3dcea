//! `--trusted-root FILE`: what `check` and `export` require of cosign signatures by certificates, whatever the policies say.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::files::read_capped;
use crate::schemes::Finding;
use crate::schemes::cosign::{Rule, is_trusted_root};
use portreeve_verify::sigstore::{BY_CERTIFICATE, Identity, MAX_TRUSTED_ROOT, SignedBy, Signer, TrustedRoot};
use portreeve_verify::text::printable;

/// Who must have signed where no identity is named.
const ANYBODY: &str = "any identity of the trusted root";

/// The options of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Certificates {
    /// `--trusted-root`.
    pub(in crate::commands) root: PathBuf,
    /// `--issuer` and `--subject`.
    pub(in crate::commands) identity: Option<(String, String)>,
}

impl Certificates {
    /// The trusted root, and the rule: a signature by the identity and by each of these keys. Without an identity the signatures
    /// of the keys must be in a log, and without a key as well, any identity is enough.
    pub(in crate::commands) fn rule(&self, mut signers: Vec<Signer>) -> Result<(Rule, Arc<TrustedRoot>), String> {
        let shown = printable(&self.root.to_string_lossy(), 400);
        let wrong = |why: &str| [&shown, ": ", why].concat();
        let bytes = read_capped(&self.root, MAX_TRUSTED_ROOT).map_err(|error| wrong(&error.to_string()))?;
        let root = TrustedRoot::read(&bytes).map_err(|error| wrong(&error.to_string()))?;
        let name = self.root.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
        let name = name.filter(|name| is_trusted_root(name));
        let name = name.ok_or_else(|| wrong("call the file NAME.json: NAME is what a policy calls it"))?;
        let identity = match &self.identity {
            Some((issuer, subject)) => Some(Identity::new(issuer, subject).map_err(|error| error.to_string())?),
            None => signers.is_empty().then(Identity::anybody),
        };
        let (log_required, has_identity) = (identity.is_none(), identity.is_some());
        signers.extend(identity.map(as_typed));
        let rule = Rule {
            trusted_root: Some(name.to_owned()),
            log_required,
            // Without a log of certificates in it no certificate could count.
            ignores_certificate_transparency: has_identity && !root.has_certificate_logs(),
            ..Rule::signed_by(signers)
        };
        Ok((rule, Arc::new(root)))
    }
}

/// A signer with this identity, called as messages are to call it.
fn as_typed(identity: Identity) -> Signer {
    let name = if identity.is_anybody() { ANYBODY.to_owned() } else { identity.subject() };
    Signer { name, by: SignedBy::Identity(identity) }
}

/// The name that a policy may give a signer.
pub(super) fn policy_name(signer: &Signer) -> String {
    match signer.by.identity() {
        Some(identity) if identity.subject() == signer.name => named(identity.clone(), 1).name,
        _ => signer.name.clone(),
    }
}

/// A signer with this identity, and the name that a policy may give it.
fn named(identity: Identity, number: usize) -> Signer {
    let subject = identity.subject();
    let subject = subject.split_once("://").map_or(&*subject, |(_, rest)| rest);
    let mut name = super::signer_name(subject);
    if number > 1 {
        name = [&number.to_string(), "-", &name].concat().chars().take(super::MAX_NAME).collect();
    }
    Signer { name, by: SignedBy::Identity(identity) }
}

/// Are they all by certificates?
pub(super) fn are_all_by_certificates(findings: &[Finding]) -> bool {
    !findings.is_empty() && findings.iter().all(|finding| finding.passed_over.as_deref() == Some(BY_CERTIFICATE))
}

/// Does a rule ask for any identity?
pub(super) fn is_for_anybody(rule: &Rule) -> bool {
    rule.signers.iter().any(|signer| signer.by.identity().is_some_and(Identity::is_anybody))
}

/// The rule that asks for these identities in place of any. `None` if there is one that a policy cannot have, or none.
pub(super) fn narrowed(rule: &Rule, identities: &[(String, String)]) -> Option<Rule> {
    let mut signers = Vec::new();
    for (number, (issuer, subject)) in (1..).zip(identities) {
        // In a policy a star stands for other characters as well.
        let is_exact = !issuer.contains('*') && !subject.contains('*');
        let identity = Identity::new(issuer, subject).ok().filter(|_| is_exact)?;
        signers.push(named(identity, number));
    }
    (!signers.is_empty()).then(|| Rule {
        trusted_root: rule.trusted_root.clone(),
        ignores_certificate_transparency: rule.ignores_certificate_transparency,
        ..Rule::signed_by(signers)
    })
}
