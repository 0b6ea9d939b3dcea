//! The periodic task of `serve` that reads policies which changed, puts them in force, and says what is wrong with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::metrics::{Metrics, Reloaded, Scope};
use crate::policy::{Changes, NamespaceChange, NamespaceState, Note, PolicyNote, PolicySet, PolicySource};
use crate::schemes::Requirement;
use crate::webhook::Engine;

/// The most notes on policies that are logged at each load: on the site's, and on those of each namespace. `portreeve lint`
/// prints all.
const NOTES_LOGGED: usize = 20;
const OWN_NOTES_LOGGED: usize = 5;
/// The most problems of a namespace's own policies that are logged.
const OWN_PROBLEMS_LOGGED: usize = 10;
/// How often the log says that everything is let in unchecked.
const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// The task.
pub(super) struct PolicyTask {
    source: PolicySource,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    own_namespace: String,
    /// When the log said last whether everything is let in unchecked.
    noted: Option<Instant>,
}

impl PolicyTask {
    pub(super) fn new(config: &Config, engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        let source = PolicySource::new(config.policy_places());
        Self { source, engine, metrics, own_namespace: config.namespace.clone(), noted: None }
    }

    /// Reads what has changed.
    pub(super) fn run(&mut self) {
        let Changes { site, namespaces, in_force } = self.source.reload_if_changed();
        if let Some(policies) = &in_force {
            self.engine.policies().replace(Arc::clone(policies));
        }
        let policies = self.engine.policies().get();
        let is_new = matches!(site, Some(Ok(_)));
        match site {
            None => {}
            Some(Ok(count)) => {
                log::info!(policies = count as u64; "policies are in force");
                self.metrics.reload(Reloaded::Policies, true);
            }
            Some(Err(problems)) => {
                for problem in &problems {
                    log::error!("policy: {problem}");
                }
                let fallback = match policies {
                    Some(_) => "the last good set stays in force",
                    None => "nothing is admitted until they are corrected",
                };
                log::error!(problems = problems.len() as u64; "the policies cannot be used: {fallback}");
                self.metrics.reload(Reloaded::Policies, false);
            }
        }
        namespaces.iter().for_each(|change| self.tell(change));
        if let Some(policies) = &in_force {
            self.count(policies);
        }
        let Some(policies) = policies else { return };
        if is_new || !namespaces.is_empty() {
            self.log_notes(&policies, is_new, &namespaces);
        } else if self.noted.is_none_or(|noted| noted.elapsed() >= REMINDER) {
            self.noted = Some(Instant::now());
            let unchecked = |note: &&PolicyNote| matches!(note.note, Note::EverythingUnchecked { beside: 1.., .. });
            policies.notes().iter().filter(unchecked).take(NOTES_LOGGED).for_each(|note| log::warn!("policy: {note}"));
        }
    }

    /// Logs and counts a change of a namespace's own policies.
    fn tell(&self, change: &NamespaceChange) {
        let NamespaceChange { namespace, result, state } = change;
        match result {
            Ok(count) => {
                log::info!(policies = *count as u64, namespace = namespace.as_str(); "the namespace's own policies are in force")
            }
            Err(problems) => {
                for problem in problems.iter().take(OWN_PROBLEMS_LOGGED) {
                    log::error!(namespace = namespace.as_str(); "policy: {problem}");
                }
                let fallback = match state {
                    NamespaceState::LastGood => "its last good ones stay in force",
                    _ => "all of its images are denied until they are corrected",
                };
                log::error!(problems = problems.len() as u64, namespace = namespace.as_str(); "the namespace's own policies cannot be used: {fallback}");
            }
        }
        self.metrics.reload(Reloaded::NamespacePolicies, result.is_ok());
    }

    fn count(&self, policies: &PolicySet) {
        let (mut signed, mut nothing, mut denied) = (0, 0, 0);
        for rule in policies.rules() {
            *match rule.requirement {
                Requirement::Signed(_) => &mut signed,
                Requirement::Nothing => &mut nothing,
                Requirement::Denied(_) => &mut denied,
            } += 1;
        }
        self.metrics.policy_rules(signed, nothing, denied);
        let (cluster, namespaces) = policies.everything_unchecked_beside_others();
        self.metrics.everything_unchecked(Scope::Cluster, usize::from(cluster));
        self.metrics.everything_unchecked(Scope::Namespace, namespaces);
        let with = |wanted| policies.mounted().states().filter(|(_, state)| *state == wanted).count();
        self.metrics.namespace_policies(with(NamespaceState::LastGood), with(NamespaceState::Denied));
    }

    /// Logs the notes on the site's policies, if that is due, and on those of the namespaces that changed.
    fn log_notes(&mut self, policies: &PolicySet, site: bool, namespaces: &[NamespaceChange]) {
        let notes = policies.notes();
        let log = |notes: &mut dyn Iterator<Item = &PolicyNote>| notes.for_each(|note| log::warn!("policy: {note}"));
        if site {
            self.noted = Some(Instant::now());
            log(&mut policies.exempt(&self.own_namespace).iter());
            log(&mut notes.iter().filter(|note| note.own.is_none()).take(NOTES_LOGGED));
        }
        for NamespaceChange { namespace, .. } in namespaces {
            let own = notes.iter().filter(|note| note.own.as_deref() == Some(namespace));
            log(&mut own.take(OWN_NOTES_LOGGED));
        }
    }
}
