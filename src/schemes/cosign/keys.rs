//! The signers of a rule: those in the policy, and those whose keys are in secrets.

use std::borrow::Cow;

use super::rule::Rule;
use super::scheme::Cosign;
use crate::kube::signer_secrets::SignerSecret;
use crate::schemes::{Query, Refusal, signer_secrets};
use portreeve_verify::sigstore::{Signer, SigstoreKey};
use portreeve_verify::text::printable;

/// The longest name of a signer that is printed.
const SHOWN: usize = 128;

/// All signers of a rule. No name and no key is among them twice.
pub(super) fn signers<'r>(cosign: &Cosign, rule: &'r Rule, query: &Query<'_>) -> Result<Cow<'r, [Signer]>, Refusal> {
    let namespace = query.key_namespace;
    let mut signers = Cow::Borrowed(rule.signers.as_slice());
    for object in &rule.signer_secrets {
        let cluster = cosign.cluster_signers.as_ref();
        let secret = signer_secrets::read(&cosign.secrets, cluster, object, query)?;
        let SignerSecret { name, public_key } = secret;
        let key = SigstoreKey::from_pem(&public_key)
            .map_err(|error| signer_secrets::bad(namespace, object, &error.to_string()))?;
        let signer = Signer::with_key(printable(&name, SHOWN), key);
        let known = signers.iter().find(|known| known.name == signer.name || known.by == signer.by);
        match known {
            None => signers.to_mut().push(signer),
            Some(known) if *known == signer => {}
            Some(known) => {
                let is_key = known.by == signer.by;
                return Err(signer_secrets::conflict(namespace, object, &known.name, is_key));
            }
        }
    }
    Ok(signers)
}
