//! One image: which policy applies, what it asks for, and whether trust data says so. Used by the webhook and by
//! `portreeve check` alike.

use std::cell::OnceCell;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::credentials::{
    Candidates, ClusterSecrets, Credential, MountedCredentials, NotHad, Puller, SecretError, SecretStore, SignerSecret,
    one_after_another,
};
use crate::deadline::Deadline;
use crate::image::{Digest, Reference};
use crate::policy::{Mode, PolicySet, Remap, Requirement, Rule, Scope, Selection, TrustRule, UnavailableRule};
use crate::text::printable;
use crate::trust::notary::{Notary, Question, Refusal, Verified, WhenUnavailable};
use crate::trust::repository::{RequiredSigner, Wanted};
use crate::trust::servers::TrustServers;
use crate::trust::{Anchor, FirstUse, Gun, RoleName, SignerKey};

/// Everything that one image's verdict depends on.
#[derive(Debug)]
pub struct Judge {
    /// The policies in force; `None` until a good set was loaded.
    pub policies: PoliciesInForce,
    /// The trust service.
    pub notary: Notary,
    /// Mounted docker configs.
    pub credentials: MountedCredentials,
    /// Mounted signers' keys.
    pub secrets: SecretStore,
    /// Pull secrets and signers' keys from the Kubernetes API, if that is switched on.
    pub cluster: Option<ClusterSecrets>,
    /// Default trust servers.
    pub servers: TrustServers,
    /// Where policy does not say.
    pub when_unavailable: WhenUnavailable,
    /// Where no roots are pinned.
    pub first_use: FirstUse,
    /// Portreeve's own namespace.
    pub own_namespace: String,
}

/// The policies in force, swapped as a whole while others read.
#[derive(Debug, Default)]
pub struct PoliciesInForce(RwLock<Option<Arc<PolicySet>>>);

impl PoliciesInForce {
    /// The set, if one was ever good.
    pub fn get(&self) -> Option<Arc<PolicySet>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new set in force.
    pub fn replace(&self, policies: PolicySet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(policies));
    }
}

/// What was found out about one image.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// The image, normalised; `None` where it is no image name.
    pub reference: Option<Reference>,
    /// The rule that decided, for people.
    pub rule: Option<RuleSummary>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The rule that decided, for people and logs.
#[derive(Clone, Debug)]
pub struct RuleSummary {
    /// `ImagePolicy line-1/plant-floor (file, line 7)`.
    pub description: String,
    /// The pattern that matched.
    pub pattern: String,
    /// Does the rule deny, or only warn?
    pub mode: Mode,
    /// Is a verified tag to be replaced by its digest?
    pub mutate_image: bool,
    /// The trust server that was, or would have been, asked; `None` where none was needed or known.
    pub server: Option<String>,
    /// The name in trust data.
    pub gun: Option<String>,
}

/// The verdict on one image.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Policy asks for nothing.
    Unchecked,
    /// Trust data says yes.
    Verified(Box<Verified>),
    /// Policy or trust data says no.
    Rejected {
        /// A stable name for metrics.
        code: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Nobody could say.
    Unavailable {
        /// What was tried.
        reason: String,
    },
}

impl Judge {
    /// The verdict on one image of a workload, by the deadline. The puller's namespace may be empty: none.
    pub fn assess(&self, puller: &Puller<'_>, image: &str, deadline: Deadline, now: Timestamp) -> Assessment {
        let namespace = puller.namespace;
        let reference = match Reference::parse(image) {
            Ok(reference) => reference,
            Err(error) => {
                let reason = format!("invalid image name \"{}\": {error}", printable(image, 300));
                return Assessment::rejected(None, None, "invalid-image-name", reason);
            }
        };
        let Some(policies) = self.policies.get() else {
            let reason = "no policies are loaded; the log says what is wrong with them".to_owned();
            return Assessment { reference: Some(reference), rule: None, verdict: Verdict::Unavailable { reason } };
        };
        let rule = match policies.select(namespace, &reference) {
            Selection::Rule(rule) => rule,
            Selection::NoMatch { scope, policies } => {
                let whose = match scope {
                    Scope::Namespace(name) => format!("the {policies} ImagePolicy object(s) of namespace {name}"),
                    Scope::Cluster => format!("the {policies} ClusterImagePolicy object(s)"),
                };
                let reason = format!(
                    "no repository pattern in {whose} matches {}; add one, or use an image that is allowed",
                    reference.name()
                );
                return Assessment::rejected(Some(reference), None, "no-matching-policy", reason);
            }
            Selection::NoPolicy => {
                let reason = format!(
                    "there is no ImagePolicy for namespace \"{}\" and no ClusterImagePolicy; add one that names {}",
                    printable(namespace, 63),
                    reference.name()
                );
                return Assessment::rejected(Some(reference), None, "no-policy", reason);
            }
        };
        let mut summary = RuleSummary::of(rule);
        let verdict = match &rule.requirement {
            Requirement::Nothing => Verdict::Unchecked,
            Requirement::Trust(trust) => {
                summary.mode = trust.mode;
                summary.mutate_image = trust.mutate_image;
                let asked = Asked { rule, trust, image: &reference, puller };
                self.ask(&asked, &mut summary, deadline, now).unwrap_or_else(Verdict::from)
            }
        };
        Assessment { reference: Some(reference), rule: Some(summary), verdict }
    }

    /// Puts the question to the trust service. `Err`: the question itself cannot be put.
    fn ask(
        &self,
        asked: &Asked<'_>,
        summary: &mut RuleSummary,
        deadline: Deadline,
        now: Timestamp,
    ) -> Result<Verdict, Refused> {
        let Asked { rule, trust, image, puller } = *asked;
        let gun = gun_of(image, trust.remap.as_ref())?;
        summary.gun = Some(gun.to_string());
        let server = match &trust.server {
            Some(server) => server.clone(),
            None => {
                let host = gun.as_str().split('/').next().unwrap_or_default();
                let configured = self.servers.for_host(host).ok_or_else(|| {
                    let reason = format!(
                        "no trust server is known for {host}; set trustServer in the policy or trust.servers in the \
                         configuration"
                    );
                    Refused::Rejected { code: "no-trust-server", reason }
                })?;
                configured.map_err(|error| Refused::Rejected { code: "no-trust-server", reason: error.to_string() })?
            }
        };
        summary.server = Some(server.to_string());
        let signers = self.required_signers(&rule.scope, trust, deadline)?;
        let digest = match image.digest() {
            None => None,
            Some(Digest::Sha256(digest)) => Some(digest),
            Some(other @ Digest::Sha512(_)) => {
                let reason = format!("trust data holds sha256 digests only, so that nothing can vouch for {other}");
                return Err(Refused::Rejected { code: "digest-not-signed", reason });
            }
        };
        let anchor = Anchor { pins: trust.roots.clone(), first_use: self.first_use };
        let problems = OnceCell::new();
        let credentials = Candidates::looked_for(|deadline| {
            let (candidates, trouble) = self.credentials_for(puller, image, &gun, deadline);
            let _ = problems.set(trouble); // it is looked for once
            candidates
        });
        let question = Question {
            gun: &gun,
            server: &server,
            wanted: Wanted { tag: image.tag(), digest },
            anchor: &anchor,
            signers: &signers,
            credentials: &credentials,
            when_unavailable: self.unavailable_rule(trust),
            deadline,
        };
        Ok(match self.notary.ask(&question, now) {
            Ok(verified) => Verdict::Verified(Box::new(verified)),
            Err(Refusal::Rejected(rejection)) => {
                Verdict::Rejected { code: rejection.code(), reason: format!("{rejection} (asked {server} for {gun})") }
            }
            Err(Refusal::Unavailable(tried)) => {
                let mut reason = format!("the trust server did not answer for {gun}: {tried}");
                // A credential that could not be read may be the one that was missing.
                for problem in
                    problems.get().cloned().unwrap_or_default().into_iter().chain(self.credentials.problems())
                {
                    reason.push_str("; ");
                    reason.push_str(&problem);
                }
                Verdict::Unavailable { reason }
            }
        })
    }

    /// The inline signers and those whose keys stand in secrets. A namespace's policy reads its own namespace; a
    /// cluster policy reads Portreeve's, so that a tenant never chooses the key that the cluster trusts.
    fn required_signers(
        &self,
        scope: &Scope,
        trust: &TrustRule,
        deadline: Deadline,
    ) -> Result<Vec<RequiredSigner>, Refused> {
        let mut signers = trust.signers.clone();
        let namespace = match scope {
            Scope::Namespace(name) => name,
            Scope::Cluster => &self.own_namespace,
        };
        for name in &trust.signer_secrets {
            let SignerSecret { name: signer, public_key } = self.signer_secret(namespace, name, deadline)?;
            let bad = |error: String| bad_secret(namespace, name, &error);
            let role = RoleName::of_signer(&signer).ok_or_else(|| {
                bad(format!("\"{}\" cannot be a signer's name: only a-z, 0-9, - and _ can", printable(&signer, 128)))
            })?;
            let key = SignerKey::from_pem(&public_key).map_err(|error| bad(error.to_string()))?;
            let signer = RequiredSigner { role, keys: vec![key] };
            match signers.iter_mut().find(|known| known.role == signer.role) {
                // Portieris' fault 8: of two keys for one name, neither wins.
                Some(known) if known.keys != signer.keys => {
                    let reason = format!(
                        "two different keys are configured for the signer \"{}\", one of them in the secret \
                         {namespace}/{name}; name each signer once",
                        signer.role.signer()
                    );
                    return Err(Refused::Rejected { code: "signer-secret", reason });
                }
                Some(_) => {}
                None => signers.push(signer),
            }
        }
        Ok(signers)
    }

    /// A signer's secret: the mounted one, or else the cluster's.
    fn signer_secret(&self, namespace: &str, name: &str, deadline: Deadline) -> Result<SignerSecret, Refused> {
        match (self.secrets.read(namespace, name), &self.cluster) {
            (Ok(secret), _) => Ok(secret),
            (Err(SecretError::NotMounted { .. }), Some(cluster)) => {
                cluster.signer(namespace, name, deadline).map_err(|error| match error {
                    NotHad::Bad(error) => bad_secret(namespace, name, &format!("it {error}")),
                    NotHad::Unavailable(error) => {
                        Refused::Unavailable { reason: format!("the signer's secret {namespace}/{name} {error}") }
                    }
                })
            }
            (Err(error), _) => Err(bad_secret(namespace, name, &error.to_string())),
        }
    }

    /// Candidates for the image's own repository first, then for the one that it mirrors; for each the pod's pull secrets
    /// first, as kubelet has it. And what is wrong with the pull secrets.
    fn credentials_for(
        &self,
        puller: &Puller<'_>,
        image: &Reference,
        gun: &Gun,
        deadline: Deadline,
    ) -> (Vec<Credential>, Vec<String>) {
        let pulled = self.cluster.as_ref().map(|cluster| cluster.pull_secrets(puller, deadline)).unwrap_or_default();
        let mut names = vec![image.name()];
        names.extend((gun.as_str() != image.name()).then_some(gun.as_str()));
        let lists = names.into_iter().flat_map(|name| [pulled.candidates(name), self.credentials.candidates(name)]);
        (one_after_another(lists), pulled.problems)
    }

    fn unavailable_rule(&self, trust: &TrustRule) -> WhenUnavailable {
        match trust.when_unavailable {
            None => self.when_unavailable,
            Some(UnavailableRule::Deny) => WhenUnavailable::Deny,
            // Without a bound of its own the policy has the configuration's, and without either none may stand in.
            Some(UnavailableRule::UseCached) => match (trust.max_stale, self.when_unavailable) {
                (Some(max_stale), _) => WhenUnavailable::UseCached { max_stale },
                (None, configured) => configured,
            },
        }
    }
}

/// One question, before it is put.
#[derive(Clone, Copy)]
struct Asked<'a> {
    rule: &'a Rule,
    trust: &'a TrustRule,
    image: &'a Reference,
    puller: &'a Puller<'a>,
}

/// The image's name in trust data.
fn gun_of(image: &Reference, remap: Option<&Remap>) -> Result<Gun, Refused> {
    let name = remap.map_or_else(|| image.name().to_owned(), |remap| remap.signed_name(image.name()));
    Gun::new(&name).map_err(|error| Refused::Rejected { code: "invalid-image-name", reason: error.to_string() })
}

fn bad_secret(namespace: &str, name: &str, error: &str) -> Refused {
    let reason = format!("the signer's secret {namespace}/{name} cannot be used: {error}");
    Refused::Rejected { code: "signer-secret", reason }
}

/// Why a question cannot be put.
enum Refused {
    Rejected { code: &'static str, reason: String },
    Unavailable { reason: String },
}

impl From<Refused> for Verdict {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rejected { code, reason } => Self::Rejected { code, reason },
            Refused::Unavailable { reason } => Self::Unavailable { reason },
        }
    }
}

impl Assessment {
    /// An image whose verdict never came, because the lane that was to find it broke.
    pub(super) fn lost() -> Self {
        let reason = "an internal error ended its verification; the log has more".to_owned();
        Self { reference: None, rule: None, verdict: Verdict::Unavailable { reason } }
    }

    fn rejected(reference: Option<Reference>, rule: Option<RuleSummary>, code: &'static str, reason: String) -> Self {
        Self { reference, rule, verdict: Verdict::Rejected { code, reason } }
    }
}

impl RuleSummary {
    fn of(rule: &Rule) -> Self {
        Self {
            description: rule.describe(),
            pattern: rule.pattern.clone(),
            mode: Mode::Enforce,
            mutate_image: false,
            server: None,
            gun: None,
        }
    }
}
