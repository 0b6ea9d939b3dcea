//! Notary v1 behind the seam: makes a query from a policy's rule, and a message for operators from the result.
//!
//! Keys come from the rule itself and from the secrets of the namespace that the query names. If a rule cannot be applied to an
//! image, the image is rejected.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::Notary;
use super::query;
use super::rule::{Remap, Rule};
use super::servers::TrustServers;
use crate::keychain::OfNamespace;
use crate::keychain::credentials::Credentials;
use crate::kube::signer_secrets::{ClusterSigners, SecretStore, SignerSecret};
use crate::schemes::notary::trust_server::TrustServer;
use crate::schemes::{
    Data, Evidence, Query, Refusal, Scheme, Subject, Trace, Verified, WhenUnavailable, signer_secrets,
};
use portreeve_verify::image::{Digest, Glob, Reference};
use portreeve_verify::text::printable;
use portreeve_verify::tuf::{
    Anchor, FirstUse, Gun, RefreshError, Rejection, RequiredSigner, RoleName, SignedTarget, SignerKey, SourceKind,
    TagFilter, TargetQuery,
};
use portreeve_verify::{Unavailable, UnavailableCause};

/// Notary v1, with the settings that apply where a policy has none.
#[derive(Debug)]
pub struct NotaryV1 {
    /// The service that asks trust servers.
    pub service: Notary,
    /// The trust servers of the configuration.
    pub servers: TrustServers,
    /// May stored data be used while a server is unavailable?
    pub when_unavailable: WhenUnavailable,
    /// May the first root be trusted if a rule pins none?
    pub first_use: FirstUse,
    /// Mounted signers' keys.
    pub secrets: SecretStore,
    /// Signers' keys from the Kubernetes API, if this is enabled.
    pub cluster_signers: Option<ClusterSigners>,
}

impl Scheme for NotaryV1 {
    type Rule = Rule;

    fn verify(&self, rule: &Rule, query: &Query<'_>, trace: &mut Trace) -> Result<Verified, Refusal> {
        let gun = gun_of(query.image, rule.remap.as_ref())?;
        let began = Instant::now();
        let subject = |server| Some(Subject::NotaryV1 { gun: gun.clone(), server });
        let configured;
        let server = match &rule.server {
            Some(server) => server,
            None => {
                trace.subject = subject(None);
                configured = self.server_of(gun.host())?;
                &configured
            }
        };
        trace.subject = subject(Some(server.clone()));
        self.ask(rule, query, &gun, server, began, trace)
    }
}

impl NotaryV1 {
    fn ask(
        &self,
        rule: &Rule,
        query: &Query<'_>,
        gun: &Gun,
        server: &TrustServer,
        began: Instant,
        trace: &mut Trace,
    ) -> Result<Verified, Refusal> {
        let Query { image, tags, except, keychain, deadline, now, notice, .. } = *query;
        let signers = self.required_signers(rule, query)?;
        let digest = match image.digest() {
            None => None,
            Some(Digest::Sha256(digest)) => Some(digest),
            Some(other @ Digest::Sha512(_)) => {
                let message = format!("trust data has only sha256 digests, so {other} cannot be verified");
                return Err(Refusal::Rejected { code: "digest-not-signed", message });
            }
        };
        let anchor = Anchor { pins: Arc::clone(&rule.roots), first_use: self.first_use };
        // Who names a server decides who receives the credentials for it.
        let is_configured = || self.server_of(gun.host()).is_ok_and(|own| own == *server);
        let is_stranger = query.is_delegated && rule.server.is_some() && !is_configured();
        let of_namespace = OfNamespace(keychain);
        let keychain = if is_stranger { &of_namespace } else { keychain };
        let is_named = rule.server.is_some() && (is_stranger || !query.is_delegated);
        let mirror = self.mirror(rule, image, gun, server, is_named);
        let credentials = Credentials::new(keychain, gun.as_str(), mirror);
        let lookup = query::Query {
            gun,
            server,
            wanted: TargetQuery { tag: image.tag(), digest },
            tags: TagFilter { among: tags, except },
            anchor: &anchor,
            signers: &signers,
            credentials: &credentials,
            when_unavailable: self.when_unavailable.under(rule.when_unavailable, rule.max_stale),
            deadline,
            notice,
        };
        let collected = began.elapsed();
        let asked = self.service.ask(&lookup, now);
        trace.credentials = collected;
        trace.trust = Some(began.elapsed().saturating_sub(collected));
        let slip = || server.slip().map(|slip| format!("; {slip}")).unwrap_or_default();
        match asked {
            Ok(verified) => Ok(verified.signed_by(&signers)),
            Err(RefreshError::Rejected(rejection)) => {
                let told = rejection.describe(server.source_kind(), gun.as_str());
                let among = match &rejection {
                    Rejection::NoSuchDigest { .. } => tags_that_count(tags, except),
                    _ => String::new(),
                };
                let message = format!("{told}{among} (asked {server} for {gun}{})", slip());
                Err(Refusal::Rejected { code: rejection.code(), message })
            }
            Err(RefreshError::Unavailable(Unavailable { cause: UnavailableCause::TrustState, message })) => {
                let message = format!("{gun} cannot be judged: {message}");
                Err(Refusal::Unavailable(Unavailable::new(UnavailableCause::TrustState, message)))
            }
            Err(RefreshError::Unavailable(Unavailable { cause, message: tried })) => {
                let failed = match server.source_kind() {
                    _ if cause == UnavailableCause::Incomplete => "the trust data is incomplete",
                    SourceKind::Server => "the trust server did not answer",
                    SourceKind::Directory => "no trust data could be read",
                };
                let mut message = format!("{failed} for {gun}: {tried}{}", slip());
                // A credential that could not be read could be the one that was needed.
                let found = credentials.found();
                for problem in found.into_iter().flat_map(|found| &found.problems) {
                    message.push_str("; ");
                    message.push_str(problem);
                }
                if found.is_some() && is_stranger {
                    message.push_str(&format!(
                        "; the site's credentials are not sent to {server}, which a policy of namespace {} names: if they are meant \
                         for it, name it for {} in trust.servers of the configuration",
                        query.key_namespace,
                        gun.host()
                    ));
                }
                if found.is_some() && mirror.is_none() {
                    message.push_str(&format!(
                        "; credentials for {} are not sent to {server}, which was found by the signed name; set \
                         trustServer in the policy if they are meant for it",
                        image.host()
                    ));
                }
                Err(Refusal::Unavailable(Unavailable { cause, message }))
            }
        }
    }

    /// The inline signers, and those whose keys are in secrets.
    fn required_signers<'r>(&self, rule: &'r Rule, query: &Query<'_>) -> Result<Cow<'r, [RequiredSigner]>, Refusal> {
        let namespace = query.key_namespace;
        let mut signers = Cow::Borrowed(rule.signers.as_slice());
        for name in &rule.signer_secrets {
            let cluster = self.cluster_signers.as_ref();
            let secret = signer_secrets::read(&self.secrets, cluster, name, query)?;
            let SignerSecret { name: signer, public_key } = secret;
            let bad = |error: String| signer_secrets::bad(namespace, name, &error);
            let role = RoleName::of_signer(&signer).ok_or_else(|| {
                bad(format!("a signer cannot be called \"{}\": {}", printable(&signer, 128), RoleName::SIGNER_RULE))
            })?;
            let key = SignerKey::from_pem(&public_key).map_err(|error| bad(error.to_string()))?;
            let signer = RequiredSigner { role, keys: vec![key] };
            match signers.iter().find(|known| known.role == signer.role) {
                // PORTIERIS.md, fault 8: with two keys for one name, neither counts.
                Some(known) if known.keys != signer.keys => {
                    return Err(signer_secrets::conflict(namespace, name, signer.role.signer(), false));
                }
                Some(_) => {}
                None => signers.to_mut().push(signer),
            }
        }
        Ok(signers)
    }

    /// The server that the configuration names for a registry.
    fn server_of(&self, host: &str) -> Result<TrustServer, Refusal> {
        let refuse = |message| Refusal::Rejected { code: "no-trust-server", message };
        let configured = self.servers.for_host(host).ok_or_else(|| {
            refuse(format!(
                "no trust server is known for {host}; set trustServer in the policy or trust.servers in the configuration"
            ))
        })?;
        configured.map_err(|error| refuse(error.to_string()))
    }

    /// The repository of the image, if credentials for it may be sent to the server, which the policy may have named. Credentials are sent only to a server that
    /// the policy or the configuration names for their registry. A server that was found by the signed name never receives
    /// those of the mirror.
    fn mirror<'i>(
        &self,
        rule: &Rule,
        image: &'i Reference,
        gun: &Gun,
        server: &TrustServer,
        is_named: bool,
    ) -> Option<&'i str> {
        let may_see = is_named
            || rule.remap.is_none()
            || image.host() == gun.host()
            || self.server_of(image.host()).is_ok_and(|own| own == *server);
        may_see.then(|| image.repository())
    }
}

impl query::Verified {
    /// The result of a query for these signers.
    pub(crate) fn signed_by(self, signers: &[RequiredSigner]) -> Verified {
        let Self { target: SignedTarget { digest, tag, released_by }, freshness, repository } = self;
        let signers = signers.iter().map(|signer| signer.role.signer().to_owned()).collect();
        Verified { digest, signers, freshness, evidence: Evidence(Data::NotaryV1 { tag, released_by, repository }) }
    }
}

/// For an image without a tag: the tags under which its digest may be released, if not all.
fn tags_that_count(tags: Option<&Glob>, except: &[&Glob]) -> String {
    let among = tags.map(|tags| format!(" {tags}")).unwrap_or_default();
    match except {
        [] if among.is_empty() => String::new(),
        [] => format!(", and under this pattern tags{among} count"),
        [first, ..] => {
            format!(
                ", and under this pattern tags{among} count but for those like {first}, which have a rule of their own"
            )
        }
    }
}

/// The name of the image in trust data.
fn gun_of(image: &Reference, remap: Option<&Remap>) -> Result<Gun, Refusal> {
    let invalid = |message: String| Refusal::Rejected { code: "invalid-image-name", message };
    let signed = remap.map(|remap| remap.signed(image)).transpose().map_err(|error| {
        invalid(format!("the policy's remap makes no name of {} that could be signed: {error}", image.repository()))
    })?;
    Gun::of(signed.as_ref().unwrap_or(image)).map_err(|error| invalid(error.to_string()))
}
