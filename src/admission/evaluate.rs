//! One image: which policy applies, what it asks for, and whether trust data says so. Used by the webhook and by
//! `portreeve check` alike.

use std::cell::OnceCell;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::combine::{Combined, RuleVerdict};
use crate::base::context::Deadline;
use crate::http::url::TrustServer;
use crate::keychain::Credential;
use crate::keychain::candidates::{Candidates, one_after_another};
use crate::keychain::mounted::MountedCredentials;
use crate::keychain::pulled::PulledConfigs;
use crate::kube::error::ObjectError;
use crate::kube::pull_secrets::PullContext;
use crate::kube::signer_secrets::{ClusterSigners, SecretError, SecretStore, SignerSecret};
use crate::metrics;
use crate::policy::{
    MAX_DENIAL, Mode, Place, PolicySet, Remap, Requirement, Rule, Scope, Selection, Together, TrustRule,
    UnavailableRule,
};
use crate::schemes::notary::Notary;
use crate::schemes::notary::query::{Origin, Question, Refusal, Verified, WhenUnavailable};
use crate::schemes::notary::servers::TrustServers;
use portreeve_verify::image::{Digest, Glob, Reference};
use portreeve_verify::text::printable;
use portreeve_verify::tuf::anchor::{Anchor, FirstUse};
use portreeve_verify::tuf::gun::{Gun, RoleName};
use portreeve_verify::tuf::key::SignerKey;
use portreeve_verify::tuf::rejection::SourceKind;
use portreeve_verify::tuf::repository::VerifiedDigest;
use portreeve_verify::tuf::repository::{Rejection, RequiredSigner, TagFilter, TargetQuery};
use portreeve_verify::unavailable::{Unavailable, UnavailableCause};

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
    /// Pull secrets from the Kubernetes API, if that is switched on.
    pub pull_secrets: Option<PulledConfigs>,
    /// Signers' keys from the Kubernetes API, if that is switched on.
    pub cluster_signers: Option<ClusterSigners>,
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
    pub fn replace(&self, policies: impl Into<Arc<PolicySet>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(policies.into());
    }
}

/// What was found out about one image.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// The image, normalised; `None` where it is no image name.
    pub reference: Option<Reference>,
    /// The rule that decided, for people.
    pub rule: Option<RuleSummary>,
    /// What other rules say that were asked as well: those that are equally specific, and for a digest alone those that its
    /// name could match with a tag.
    pub others: Vec<RuleVerdict>,
    /// Whose policies decided.
    pub scope: metrics::Scope,
    /// The verdict.
    pub verdict: Verdict,
    /// The digest to pin the image to, if a rule that has verified it asks for that.
    pub pin: Option<VerifiedDigest>,
    /// What took the time.
    pub spent: Spent,
}

/// How long the parts of one image's assessment took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Finding its policy.
    pub policy: Duration,
    /// Collecting signers' keys and credentials.
    pub credentials: Duration,
    /// The question to the trust service; `None` where none was put.
    pub trust: Option<Duration>,
}

impl Spent {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.policy + self.credentials + self.trust.unwrap_or_default()
    }
}

/// The rule that decided, for people and logs.
#[derive(Clone, Debug)]
pub struct RuleSummary {
    /// `ImagePolicy line-1/plant-floor (file, line 7)`.
    pub description: String,
    /// `ImagePolicy line-1/plant-floor`.
    pub policy: String,
    /// Where the rule stands.
    pub place: Place,
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

impl Verdict {
    /// Does it stand against the image?
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Unavailable { .. })
    }

    /// The verdict and its reason as stable words, for metrics and logs; of a verified image, where the data is from.
    pub fn code(&self) -> (metrics::Verdict, &'static str) {
        match self {
            Self::Unchecked => (metrics::Verdict::Unchecked, metrics::REASON_POLICY),
            Self::Verified(verified) => {
                let origin = match verified.origin {
                    Origin::Fetched => "fetched",
                    Origin::Remembered => "remembered",
                    Origin::StoodIn { .. } => "stood-in",
                };
                (metrics::Verdict::Verified, origin)
            }
            Self::Rejected { code, .. } => (metrics::Verdict::Rejected, code),
            Self::Unavailable { .. } => (metrics::Verdict::Unavailable, metrics::REASON_TRUST_SERVER),
        }
    }
}

impl Judge {
    /// The verdict on one image of a workload, by the deadline. The puller's namespace may be empty: none.
    pub fn assess(&self, puller: &PullContext<'_>, image: &str, deadline: Deadline, now: Timestamp) -> Assessment {
        let namespace = puller.namespace;
        let reference = match Reference::parse(image) {
            Ok(reference) => reference,
            Err(error) => {
                let reason = format!("invalid image name \"{}\": {error}", printable(image, 300));
                return Assessment::rejected(None, "invalid-image-name", reason);
            }
        };
        let Some(policies) = self.policies.get() else {
            let reason = "no policies are loaded; the log says what is wrong with them".to_owned();
            let verdict = Verdict::Unavailable { reason };
            return Assessment { reference: Some(reference), ..Assessment::of(verdict) };
        };
        let began = Instant::now();
        let selection = policies.select(namespace, &reference);
        let spent = Spent { policy: began.elapsed(), ..Spent::default() };
        let alternatives = match selection {
            Selection::Rules(alternatives) => alternatives,
            Selection::TooMany => {
                let reason = format!(
                    "more rules match {} than are ever asked about one image; name it with its tag, or write fewer rules",
                    reference.name()
                );
                return Assessment { spent, ..Assessment::rejected(Some(reference), "too-many-rules", reason) };
            }
            Selection::NoMatch { scope, policies } => {
                let whose = match &scope {
                    Scope::Namespace(name) => format!("the {policies} ImagePolicy object(s) of namespace {name}"),
                    Scope::Cluster => format!("the {policies} ClusterImagePolicy object(s)"),
                };
                let reason = format!(
                    "no repository pattern in {whose} matches {reference}; add one, or use an image that is allowed"
                );
                let scope = scope_label(&scope);
                let rejected = Assessment::rejected(Some(reference), "no-matching-policy", reason);
                return Assessment { scope, spent, ..rejected };
            }
            Selection::NoPolicy => {
                let reason = format!(
                    "there is no ImagePolicy for namespace \"{}\" and no ClusterImagePolicy; add one that names {}",
                    printable(namespace, 63),
                    reference.name()
                );
                return Assessment { spent, ..Assessment::rejected(Some(reference), "no-policy", reason) };
            }
        };
        let mut spent = spent;
        let mut combined = Combined::default();
        let mut scope = metrics::Scope::Nobody;
        for Together { rules, except } in &alternatives {
            let asking = Asking { image: &reference, except, puller, deadline, now };
            scope = rules.first().map_or(scope, |rule| scope_label(&rule.scope));
            let verdicts = rules.iter().map(|rule| self.judge_by(rule, &asking, &mut spent)).collect();
            combined = combined.or(Combined::all_of(verdicts));
            if combined.is_good() {
                break;
            }
        }
        Assessment::by_rules(reference, scope, combined, spent)
    }

    /// What one rule says of the image.
    fn judge_by(&self, rule: &Rule, asking: &Asking<'_>, spent: &mut Spent) -> RuleVerdict {
        let mut summary = RuleSummary::of(rule);
        let verdict = match &rule.requirement {
            Requirement::Nothing => Verdict::Unchecked,
            Requirement::Denied(why) => {
                let mut reason = format!("denied by policy: {}", printable(why, MAX_DENIAL));
                if rule.tags.is_some() && asking.image.tag().is_none() {
                    reason.push_str(
                        " (the image names no tag, so the strictest rule for its name counts; name its tag as well)",
                    );
                }
                Verdict::Rejected { code: "denied-by-policy", reason }
            }
            Requirement::Trust(trust) => {
                summary.mode = trust.mode;
                summary.mutate_image = trust.mutate_image;
                self.ask(rule, trust, asking, &mut summary, spent).unwrap_or_else(Verdict::from)
            }
        };
        RuleVerdict { rule: summary, verdict }
    }

    /// Puts the question to the trust service. `Err`: the question itself cannot be put.
    fn ask(
        &self,
        rule: &Rule,
        trust: &TrustRule,
        asking: &Asking<'_>,
        summary: &mut RuleSummary,
        spent: &mut Spent,
    ) -> Result<Verdict, Refused> {
        let Asking { image, except, deadline, now, .. } = *asking;
        let gun = gun_of(image, trust.remap.as_ref())?;
        let began = Instant::now();
        summary.gun = Some(gun.to_string());
        let server = match &trust.server {
            Some(server) => server.clone(),
            None => self.server_of(gun.host())?,
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
            let (candidates, trouble) = self.credentials_for(trust, asking, &server, &gun, deadline);
            let _ = problems.set(trouble); // it is looked for once
            candidates
        });
        let question = Question {
            gun: &gun,
            server: &server,
            wanted: TargetQuery { tag: image.tag(), digest },
            tags: TagFilter { among: rule.tags.as_ref(), except },
            anchor: &anchor,
            signers: &signers,
            credentials: &credentials,
            when_unavailable: self.unavailable_rule(trust),
            deadline,
        };
        let collected = began.elapsed();
        let asked = self.notary.ask(&question, now);
        spent.credentials += collected;
        spent.trust = Some(spent.trust.unwrap_or_default() + began.elapsed().saturating_sub(collected));
        let slip = server.slip().map(|slip| format!("; {slip}")).unwrap_or_default();
        Ok(match asked {
            Ok(verified) => Verdict::Verified(Box::new(verified)),
            Err(Refusal::Rejected(rejection)) => {
                let told = rejection.describe(server.source_kind());
                let among = match &rejection {
                    Rejection::NoSuchDigest { .. } => tags_that_count(rule, except),
                    _ => String::new(),
                };
                let reason = format!("{told}{among} (asked {server} for {gun}{slip})");
                Verdict::Rejected { code: rejection.code(), reason }
            }
            Err(Refusal::Unavailable(Unavailable { cause: UnavailableCause::TrustState, message })) => {
                Verdict::Unavailable { reason: format!("{gun} cannot be judged: {message}") }
            }
            Err(Refusal::Unavailable(tried)) => {
                let failed = match server.source_kind() {
                    SourceKind::Server => "the trust server did not answer",
                    SourceKind::Directory => "no trust data could be read",
                };
                let mut reason = format!("{failed} for {gun}: {tried}{slip}");
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
                bad(format!("a signer cannot be called \"{}\": {}", printable(&signer, 128), RoleName::SIGNER_RULE))
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
        match (self.secrets.read(namespace, name), &self.cluster_signers) {
            (Ok(secret), _) => Ok(secret),
            (Err(SecretError::NotMounted { .. }), Some(cluster)) => {
                cluster.get(namespace, name, deadline).map_err(|error| match error {
                    ObjectError::Unusable(error) => bad_secret(namespace, name, &format!("it {error}")),
                    ObjectError::Unavailable { message: error, .. } => {
                        Refused::Unavailable { reason: format!("the signer's secret {namespace}/{name} {error}") }
                    }
                })
            }
            (Err(error), _) => Err(bad_secret(namespace, name, &error.to_string())),
        }
    }

    /// The server that the configuration names for a registry.
    fn server_of(&self, host: &str) -> Result<TrustServer, Refused> {
        let configured = self.servers.for_host(host).ok_or_else(|| {
            let reason = format!(
                "no trust server is known for {host}; set trustServer in the policy or trust.servers in the configuration"
            );
            Refused::Rejected { code: "no-trust-server", reason }
        })?;
        configured.map_err(|error| Refused::Rejected { code: "no-trust-server", reason: error.to_string() })
    }

    /// Candidates for the image's own repository first, then for the one that it mirrors; for each the pod's pull secrets
    /// first, as kubelet has it. And what is wrong with the pull secrets. Credentials go only to a server that policy or
    /// configuration names for their registry: one that was found by the signed name never sees those of the mirror.
    fn credentials_for(
        &self,
        trust: &TrustRule,
        asking: &Asking<'_>,
        server: &TrustServer,
        gun: &Gun,
        deadline: Deadline,
    ) -> (Vec<Credential>, Vec<String>) {
        let Asking { image, puller, .. } = *asking;
        let mut pulled = self.pull_secrets.as_ref().map(|secrets| secrets.get(puller, deadline)).unwrap_or_default();
        let mut problems = std::mem::take(&mut pulled.problems);
        let mut names = Vec::new();
        if trust.server.is_some() || self.server_of(image.host()).is_ok_and(|own| own == *server) {
            names.push(image.repository());
        } else {
            problems.push(format!(
                "credentials for {} are not sent to {server}, which was found by the signed name; set trustServer in the \
                 policy if they are meant for it",
                image.host()
            ));
        }
        names.extend((names.first() != Some(&gun.as_str())).then_some(gun.as_str()));
        let lists = names.into_iter().flat_map(|name| [pulled.candidates(name), self.credentials.candidates(name)]);
        (one_after_another(lists), problems)
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

fn scope_label(scope: &Scope) -> metrics::Scope {
    match scope {
        Scope::Namespace(_) => metrics::Scope::Namespace,
        Scope::Cluster => metrics::Scope::Cluster,
    }
}

/// What every rule is asked with.
#[derive(Clone, Copy)]
struct Asking<'a> {
    image: &'a Reference,
    /// See [`Together::except`].
    except: &'a [&'a Glob],
    puller: &'a PullContext<'a>,
    deadline: Deadline,
    now: Timestamp,
}

/// Which tags a digest alone may be released under, if not all.
fn tags_that_count(rule: &Rule, except: &[&Glob]) -> String {
    let among = rule.tags.as_ref().map(|tags| format!(" {tags}")).unwrap_or_default();
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

/// The image's name in trust data.
fn gun_of(image: &Reference, remap: Option<&Remap>) -> Result<Gun, Refused> {
    let invalid = |reason: String| Refused::Rejected { code: "invalid-image-name", reason };
    let signed = remap.map(|remap| remap.signed(image)).transpose().map_err(|error| {
        invalid(format!("the policy's remap makes no name of {} that could be signed: {error}", image.repository()))
    })?;
    Gun::of(signed.as_ref().unwrap_or(image)).map_err(|error| invalid(error.to_string()))
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
    pub(crate) fn lost() -> Self {
        let reason = "an internal error ended its verification; the log has more".to_owned();
        Self::of(Verdict::Unavailable { reason })
    }

    fn rejected(reference: Option<Reference>, code: &'static str, reason: String) -> Self {
        Self { reference, ..Self::of(Verdict::Rejected { code, reason }) }
    }

    /// A verdict that rests on no policy.
    pub(crate) fn of(verdict: Verdict) -> Self {
        Self {
            reference: None,
            rule: None,
            others: Vec::new(),
            scope: metrics::Scope::Nobody,
            verdict,
            pin: None,
            spent: Spent::default(),
        }
    }

    fn by_rules(reference: Reference, scope: metrics::Scope, combined: Combined, spent: Spent) -> Self {
        let Combined { verdicts, pin } = combined;
        let mut verdicts = verdicts.into_iter();
        let Some(RuleVerdict { rule, verdict }) = verdicts.next() else { return Self::lost() };
        let (rule, others) = (Some(rule), verdicts.collect());
        Self { reference: Some(reference), rule, others, scope, verdict, pin, spent }
    }
}

impl RuleSummary {
    fn of(rule: &Rule) -> Self {
        Self {
            description: rule.describe(),
            policy: rule.policy_name(),
            place: rule.place.clone(),
            pattern: rule.pattern.clone(),
            mode: Mode::Enforce,
            mutate_image: false,
            server: None,
            gun: None,
        }
    }
}
