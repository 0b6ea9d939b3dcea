//! The policies: can they be used, what in them was probably not meant, and are the signers' keys and the trust stores there
//! that they name?

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::files::{IN_THE_POD, is_elsewhere};
use super::finding::{Findings, State};
use crate::commands::lint;
use crate::config::{AskApi, Config};
use crate::kube::signer_secrets::{SecretError, SecretForm, SecretStore};
use crate::policy::{self, NamespaceChange, PolicyProblem, PolicySet, Rule, Scope};
use crate::schemes::Check;
use crate::schemes::notation::Stores;
use crate::webhook::Engine;
use portreeve_verify::ordered;
use portreeve_verify::sigstore::TrustedRoot;
use portreeve_verify::text::printable;

const CHECK: &str = "policies";
/// The most problems, notes and missing keys that are printed; `lint` prints all.
const MAX_PRINTED: usize = 20;

/// Loads the policies. `None` if they cannot be used.
pub(super) fn load(config: &Config, given: &[PathBuf], findings: &mut Findings) -> Option<PolicySet> {
    let names: Vec<String> = config.policies.iter().map(|path| path.display().to_string()).collect();
    let subject = names.join(", ");
    if !config.policies.is_empty() && config.policies.iter().all(|path| is_elsewhere(path)) {
        findings.add(State::Skipped, CHECK, &subject, IN_THE_POD, "name others: --policies PATH");
        return None;
    }
    let loaded = match given {
        [] => policy::load_all(&config.policy_places()),
        paths => lint::policies(paths).map(|policies| (policies, Vec::new())),
    };
    match loaded {
        Ok((policies, namespaces)) => {
            findings.ok(CHECK, &subject, &format!("{} can be used", policies.len()));
            for NamespaceChange { namespace, result, .. } in &namespaces {
                of_namespace(namespace, result, findings);
            }
            let notes = policies.notes();
            for note in policies.exempt(&config.namespace).iter().chain(notes.iter().take(MAX_PRINTED)) {
                findings.add(State::Note, CHECK, "", &note.to_string(), "");
            }
            signer_secrets(config, &policies, findings);
            Some(policies)
        }
        Err(problems) => {
            let action = match given.iter().all(|path| path.exists()) {
                true => {
                    "correct it: the webhook goes on with the policies that it read before, and after a restart denies all"
                }
                false => "name a file that exists",
            };
            for problem in problems.iter().take(MAX_PRINTED) {
                findings.add(State::Wrong, CHECK, "", &problem.to_string(), action);
            }
            None
        }
    }
}

/// The policies of a namespace's own.
fn of_namespace(namespace: &str, result: &Result<usize, Vec<PolicyProblem>>, findings: &mut Findings) {
    const CHECK: &str = "namespace_policies";
    match result {
        Ok(number) => findings.ok(CHECK, namespace, &format!("{number} can be used")),
        Err(problems) => {
            let action = "its own people must correct it: the last good ones stay in force, and after a restart its images are denied";
            for problem in problems.iter().take(MAX_PRINTED) {
                findings.add(State::Wrong, CHECK, namespace, &problem.to_string(), action);
            }
        }
    }
}

/// The mounted keys of signers that policies name.
fn signer_secrets(config: &Config, policies: &PolicySet, findings: &mut Findings) {
    const CHECK: &str = "signer_secret";
    let store = SecretStore::new(config.secrets.clone());
    let mut seen = ordered::set([]);
    let mut left_out = ordered::set([]);
    for rule in site_first(policies) {
        for (secret, form) in named(rule) {
            let namespace = match &rule.scope {
                Scope::Namespace(namespace) => namespace,
                Scope::Cluster => &config.namespace,
            };
            let subject = format!("{namespace}/{secret}");
            if seen.contains(&subject) {
                continue;
            }
            if seen.len() >= MAX_PRINTED {
                left_out.insert(subject);
                continue;
            }
            seen.insert(subject.clone());
            match store.clone().of_form(form).read(namespace, secret) {
                Ok(signer) => findings.ok(CHECK, &subject, &format!("has the key of {}", signer.name)),
                Err(SecretError::NotMounted { .. }) if config.ask_api == AskApi::Yes => {
                    let found = "is not mounted, and is read from the Kubernetes API when it is needed";
                    findings.add(State::Skipped, CHECK, &subject, found, "");
                }
                Err(SecretError::NotMounted { .. }) if is_elsewhere(&config.secrets) => {
                    findings.add(
                        State::Skipped,
                        CHECK,
                        &subject,
                        IN_THE_POD,
                        "name their directory in a --config: secrets",
                    );
                }
                Err(error) => {
                    let action = "mount it (docs/credentials.md): until then the images of its policies are denied";
                    findings.add(State::Wrong, CHECK, &subject, &format!("{error} ({})", rule.policy_name()), action);
                }
            }
        }
    }
    if !left_out.is_empty() {
        let found = format!("{} more are named by policies, and were not looked at", left_out.len());
        findings.add(State::Unknown, CHECK, "", &found, "");
    }
}

/// Notation's trust stores and the trusted roots: can they be read, and is there each one that a policy names?
pub(super) fn trust(engine: &Engine, findings: &mut Findings) {
    let schemes = &engine.evaluator().schemes;
    let (stores, roots) = (schemes.notation.stores.current(), schemes.cosign.trusted_roots.current());
    let (mut of_notation, mut of_cosign) = (Vec::new(), Vec::new());
    let policies = engine.policies().get();
    for rule in policies.iter().flat_map(|policies| site_first(policies)) {
        for check in rule.signed().iter().flat_map(|signed| signed.any_of.iter().flatten()) {
            match check {
                Check::Notation(notation) => {
                    of_notation.extend(notation.stores.iter().map(|store| Named {
                        name: store.to_string(),
                        place: Stores::place_of(store, schemes.notation.stores.directory()),
                        is_there: stores.has(store) || stores.problem_of(store).is_some(),
                        rule,
                    }));
                }
                Check::Cosign(cosign) => of_cosign.extend(cosign.trusted_root.iter().map(|name| {
                    let place = schemes.cosign.trusted_roots.directory().join([name, ".json"].concat());
                    let is_there = roots.get(name).is_some() || roots.problem_of(name).is_some();
                    Named { name: name.clone(), place, is_there, rule }
                })),
                Check::NotaryV1(_) => {}
            }
        }
    }
    let (key, directory) = ("notation.trustStores", schemes.notation.stores.directory());
    let mounted = Mounted { check: "trust_stores", key, directory, names: stores.names(), problems: stores.problems() };
    mounted.examine(of_notation, findings);
    let (key, directory) = ("sigstore.trustedRoots", schemes.cosign.trusted_roots.directory());
    let names = roots.list().iter().map(|(name, _)| name.clone()).collect();
    Mounted { check: "trusted_roots", key, directory, names, problems: roots.problems() }.examine(of_cosign, findings);
    for (name, root) in roots.list() {
        findings.ok("trusted_roots", name, &known_logs(root));
    }
}

/// The logs that a trusted root knows, so that people see which one it lacks: a denial names that one by its ID.
fn known_logs(root: &TrustedRoot) -> String {
    let logs: Vec<String> =
        root.logs().take(MAX_PRINTED).map(|(name, id)| [name, " (", &STANDARD.encode(id), ")"].concat()).collect();
    if logs.is_empty() {
        return ["it is of ", &root.date(), " and knows no log: no signature counts"].concat();
    }
    let logs = logs.join(", ");
    ["it is of ", &root.date(), " and knows the log ", &logs, "; signatures in other logs do not count"].concat()
}

/// What a policy names.
struct Named<'a> {
    name: String,
    /// Where it belongs.
    place: PathBuf,
    /// Is it there? One that cannot be used is told of as a problem.
    is_there: bool,
    rule: &'a Rule,
}

/// A directory with what policies name.
struct Mounted<'a> {
    check: &'static str,
    /// Its key in the configuration.
    key: &'static str,
    directory: &'a Path,
    /// What of it can be used.
    names: Vec<String>,
    problems: &'a [String],
}

impl Mounted<'_> {
    fn examine(&self, mut named: Vec<Named<'_>>, findings: &mut Findings) {
        let subject = printable(&self.directory.display().to_string(), 300);
        if is_elsewhere(self.directory) {
            if !named.is_empty() {
                let action = ["name another in a --config: ", self.key].concat();
                findings.add(State::Skipped, self.check, &subject, IN_THE_POD, &action);
            }
            return;
        }
        for problem in self.problems {
            findings.add(State::Wrong, self.check, "", problem, "correct the files that are mounted there");
        }
        if !self.names.is_empty() {
            findings.ok(self.check, &subject, &format!("{} can be used", self.names.len()));
        }
        let there = match self.names.as_slice() {
            [] => "nothing".to_owned(),
            names => names.get(..MAX_PRINTED).unwrap_or(names).join(", "),
        };
        let mut known = ordered::set([]);
        named.retain(|one| !one.is_there && known.len() < MAX_PRINTED && known.insert(one.name.clone()));
        for Named { name, place, rule, .. } in named {
            let found = ["it is not there (", &rule.policy_name(), ")"].concat();
            let place = printable(&place.to_string_lossy(), 300);
            let action = [
                "put it into ",
                &place,
                " (",
                self.key,
                "), where ",
                &there,
                " can be used: until then the images of its policies are denied",
            ];
            let action = action.concat();
            findings.add(State::Wrong, self.check, &name, &found, &action);
        }
    }
}

/// All rules, those of the site first: the number of things that are looked at is limited, and a namespace's people must not
/// take the places of the site's.
pub(super) fn site_first(policies: &PolicySet) -> impl Iterator<Item = &Rule> {
    let of = |is_delegated| policies.rules().filter(move |rule| rule.is_delegated == is_delegated);
    of(false).chain(of(true))
}

/// The Secrets that a rule names.
fn named(rule: &Rule) -> Vec<(&str, SecretForm)> {
    let mut secrets = Vec::new();
    for check in rule.signed().iter().flat_map(|signed| signed.any_of.iter().flatten()) {
        let (names, form) = match check {
            Check::NotaryV1(rule) => (&rule.signer_secrets, SecretForm::Named),
            Check::Cosign(rule) => (&rule.signer_secrets, SecretForm::Cosign),
            Check::Notation(_) => continue,
        };
        secrets.extend(names.iter().map(|name| (name.as_str(), form)));
    }
    secrets
}
