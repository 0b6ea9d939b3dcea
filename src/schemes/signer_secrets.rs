//! Reads the signers' secrets that a rule names: the mounted one, or the one from the Kubernetes API.

use super::{Query, Refusal};
use crate::kube::error::ObjectError;
use crate::kube::signer_secrets::{ClusterSigners, SecretError, SecretStore, SignerSecret};
use portreeve_verify::Unavailable;

/// A signer's secret in the namespace of the query.
pub(super) fn read(
    mounted: &SecretStore,
    cluster: Option<&ClusterSigners>,
    name: &str,
    query: &Query<'_>,
) -> Result<SignerSecret, Refusal> {
    let namespace = query.key_namespace;
    match (mounted.read(namespace, name), cluster) {
        (Ok(secret), _) => Ok(secret),
        (Err(SecretError::NotMounted { .. }), Some(cluster)) => {
            query.notice.give();
            cluster.get(namespace, name, query.deadline).map_err(|error| match error {
                ObjectError::Unusable(error) => bad(namespace, name, &format!("it {error}")),
                ObjectError::Unavailable(error) => {
                    let message = format!("the signer's secret {namespace}/{name} {error}");
                    Refusal::Unavailable(Unavailable::other(message))
                }
            })
        }
        // Nobody could know the key: a workstation has no secrets at all.
        (Err(error @ SecretError::NotMounted { absent: Some(_), .. }), None) => {
            Err(Refusal::Unavailable(Unavailable::other(error.to_string())))
        }
        (Err(error), _) => Err(bad(namespace, name, &error.to_string())),
    }
}

/// A secret that cannot be used.
pub(super) fn bad(namespace: &str, name: &str, error: &str) -> Refusal {
    let message = format!("the signer's secret {namespace}/{name} cannot be used: {error}");
    Refusal::Rejected { code: "signer-secret", message }
}

/// Two keys for one signer, or one key for two: neither counts (PORTIERIS.md, fault 8).
pub(super) fn conflict(namespace: &str, name: &str, signer: &str, is_key: bool) -> Refusal {
    let (what, once) = match is_key {
        false => ("two different keys are configured for", "signer"),
        true => ("two signers have the key of", "key"),
    };
    let message =
        format!("{what} the signer \"{signer}\", one of them in the secret {namespace}/{name}; name each {once} once");
    Refusal::Rejected { code: "signer-secret", message }
}
