//! Credentials from the pull secrets of a pod, read from the Kubernetes API. A Secret is used only if its type is one of the
//! two for pull secrets. A Secret that cannot be used is reported without its content, and the others are still used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Credential;
use super::candidates::best_first;
use super::docker_config::{self, DockerConfig, Format, MAX_ENTRIES};
use crate::base::context::Deadline;
use crate::kube::api::Api;
use crate::kube::cache::{KEEP, KEEP_FAILURE, text_size};
use crate::kube::objects::{SecretObject, no_key};
use crate::kube::pull_secrets::{PullContext, PullSecrets};
use portreeve_verify::text::printable;

/// Most credentials of a pod that are tried for one image. Each is a request to a token service, and other requests may wait
/// for the same data.
const MAX_CANDIDATES: usize = 8;
/// Most problems that are reported of one docker config, and of all pull secrets of a pod. The denial of each image repeats
/// them.
const MAX_TOLD: usize = 3;
const MAX_PROBLEMS: usize = 8;

/// The docker configs in the pull secrets of pods. Shared by all workers. Of one pod, they have at most [`MAX_ENTRIES`] entries,
/// because each is compared with every image.
pub struct PulledConfigs(PullSecrets<DockerConfig>);

/// The docker configs of one pod.
#[derive(Default)]
pub struct PodConfigs {
    /// Each by the description of its Secret.
    configs: Vec<(String, Arc<DockerConfig>)>,
    /// The problems with the pull secrets, for messages. Contains no secrets.
    pub problems: Vec<String>,
}

impl PulledConfigs {
    /// The pull secrets behind an API server. Sends no request yet.
    pub fn new(api: Arc<Api>) -> Self {
        Self::keeping(api, KEEP, KEEP_FAILURE)
    }

    fn keeping(api: Arc<Api>, keep: Duration, keep_failure: Duration) -> Self {
        Self(PullSecrets::new(api, read_secret, heap_size, keep, keep_failure))
    }

    /// The docker configs of a pod. Takes at most half of the time that is left.
    pub fn get(&self, context: &PullContext<'_>, deadline: Deadline) -> PodConfigs {
        let pulled = self.0.get(context, deadline);
        let mut entries = 0;
        let mut found = PodConfigs { configs: Vec::new(), problems: pulled.problem.into_iter().collect() };
        for (secret, config) in pulled.secrets {
            match config {
                Err(error) => found.problems.push(format!("{secret} {error}")),
                Ok(config) if entries + config.entries.len() > MAX_ENTRIES => found.problems.push(format!(
                    "{secret} is not looked at: the pull secrets before it name so many registries that {MAX_ENTRIES} are exceeded"
                )),
                Ok(config) => {
                    entries += config.entries.len();
                    let told = config.problems.iter().take(MAX_TOLD);
                    found.problems.extend(told.map(|problem| format!("{secret} {problem}")));
                    found.configs.push((secret, config));
                }
            }
        }
        if found.problems.len() > MAX_PROBLEMS {
            let more = found.problems.len() - MAX_PROBLEMS;
            found.problems.truncate(MAX_PROBLEMS);
            found.problems.push(format!("and {more} more problems with pull secrets"));
        }
        found
    }
}

impl fmt::Debug for PulledConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PodConfigs {
    /// The credentials for a repository, most specific first. `name` is normalised and without tag.
    pub fn candidates(&self, name: &str) -> Vec<Credential> {
        let entries =
            self.configs.iter().flat_map(|(secret, config)| config.entries.iter().map(move |entry| (secret, entry)));
        best_first(name, entries, MAX_CANDIDATES)
    }
}

impl fmt::Debug for PodConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<_> = self.configs.iter().map(|(secret, _)| secret).collect();
        f.debug_struct("PodConfigs").field("secrets", &secrets).field("problems", &self.problems).finish()
    }
}

/// The docker config in a Secret. The words of an error follow the Secret's description.
fn read_secret(secret: &SecretObject) -> Result<DockerConfig, String> {
    let (key, format) = match secret.secret_type() {
        "kubernetes.io/dockerconfigjson" => (".dockerconfigjson", Format::Json),
        "kubernetes.io/dockercfg" => (".dockercfg", Format::Cfg),
        other => {
            return Err(format!(
                "is of type {}; pull secrets are of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg",
                printable(other, 100)
            ));
        }
    };
    let bytes = secret.value(key).ok_or_else(|| no_key(key))?;
    docker_config::parse(&bytes, format).map_err(|error| error.to_string())
}

fn heap_size(config: &DockerConfig) -> u64 {
    // A pattern holds the whole name of the registry, up to its cap.
    let of_entries: u64 = config
        .entries
        .iter()
        .map(|entry| {
            1024 + text_size(&entry.registry) + text_size(&entry.username) + text_size(entry.password.reveal())
        })
        .sum();
    of_entries + config.problems.iter().map(|problem| text_size(problem)).sum::<u64>()
}

#[cfg(test)]
mod tests;
