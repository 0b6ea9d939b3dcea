//! The keychain of a pod: its pull secrets, and the mounted docker configs of Portreeve.

use std::sync::OnceLock;

use super::candidates::merge;
use super::mounted::MountedCredentials;
use super::pulled::{PodConfigs, PulledConfigs};
use super::{Found, Keychain};
use crate::base::context::Deadline;
use crate::kube::pull_secrets::PullContext;

/// The credentials that a pod's images are pulled with. Makes no request before it is asked.
#[derive(Clone, Copy, Debug)]
pub struct PodKeychain<'a> {
    /// Pull secrets from the Kubernetes API, if that is switched on.
    pub pull_secrets: Option<&'a PulledConfigs>,
    /// Mounted docker configs.
    pub mounted: &'a MountedCredentials,
    /// What the pod says.
    pub context: &'a PullContext<'a>,
    /// Its docker configs, once they were read. They are read once for all images of a workload: a tenant's pull secrets can have
    /// megabytes.
    pub pulled: &'a OnceLock<PodConfigs>,
}

impl PodKeychain<'_> {
    fn pulled(&self, deadline: Deadline) -> &PodConfigs {
        let get = || self.pull_secrets.map(|secrets| secrets.get(self.context, deadline)).unwrap_or_default();
        self.pulled.get_or_init(get)
    }
}

impl Keychain for PodKeychain<'_> {
    /// For each repository the pod's pull secrets first, as kubelet has it.
    fn credentials(&self, repositories: &[&str], deadline: Deadline) -> Found {
        let pulled = self.pulled(deadline);
        let of_name = |name: &&str| [pulled.candidates(name), self.mounted.candidates(name)];
        let credentials = merge(repositories.iter().flat_map(of_name));
        let mut problems = pulled.problems.clone();
        problems.extend(self.mounted.problems());
        Found { credentials, problems }
    }

    fn of_namespace(&self, repositories: &[&str], deadline: Deadline) -> Found {
        let pulled = self.pulled(deadline);
        let credentials = merge(repositories.iter().map(|name| pulled.candidates(name)));
        Found { credentials, problems: pulled.problems.clone() }
    }
}

/// Without a pod.
impl Keychain for MountedCredentials {
    fn credentials(&self, repositories: &[&str], _: Deadline) -> Found {
        let credentials = merge(repositories.iter().map(|name| self.candidates(name)));
        Found { credentials, problems: self.problems() }
    }

    fn of_namespace(&self, _: &[&str], _: Deadline) -> Found {
        Found::default()
    }
}
