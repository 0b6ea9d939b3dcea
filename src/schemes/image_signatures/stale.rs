//! The digest that a tag had, where the registry could not be asked (stale-if-error, RFC 5861), as far as the query allows it. A
//! tag is not signed, so this is only for policies that say `useCached`. The digest itself is verified by stored evidence.

use std::time::Duration;

use super::lookup::Lookup;
use crate::schemes::evidence::Tagged;
use crate::schemes::{Freshness, Refusal, Verified, WhenUnavailable};
use portreeve_verify::Unavailable;
use portreeve_verify::image::Sha256;

impl Lookup<'_> {
    /// The result where something could not be fetched. `resolved`: the digest that the registry gave for the tag before that. If
    /// it is another one, the remembered digest is known to be wrong, and does not stand in.
    pub(super) fn stale(
        &self,
        remembered: Option<Tagged>,
        refusal: Refusal,
        resolved: Option<Sha256>,
    ) -> Result<Verified, Refusal> {
        let Refusal::Unavailable(Unavailable { cause, message }) = refusal else { return Err(refusal) };
        let refuse = |why_not: &str| {
            let message = if why_not.is_empty() { message.clone() } else { format!("{message}; {why_not}") };
            Err(Refusal::Unavailable(Unavailable::new(cause, message)))
        };
        let WhenUnavailable::UseCached { max_stale } = self.when_unavailable else { return refuse("") };
        if self.digest.is_some() {
            return refuse("nothing is stored by which this digest could be verified under the policy");
        }
        let Some(Tagged { digest, age, .. }) = remembered else {
            return refuse("it is not known which digest the tag had, so nothing stored can be used instead");
        };
        if let Some(now) = resolved.filter(|now| *now != digest) {
            return refuse(&format!("the tag had the digest {digest}, and the registry says that it is {now} now"));
        }
        let Some(age) = age else {
            return refuse("the clock went back since the tag was last confirmed, so the stored digest may be too old");
        };
        if age > max_stale {
            let (age, max_stale) = (describe(age), describe(max_stale));
            return refuse(&format!("the tag was confirmed {age} ago, and maxStale allows {max_stale}"));
        }
        let Some(verified) = self.by_evidence(digest, Freshness::Stale { age }) else {
            return refuse(&format!("the tag had the digest {digest}, and nothing is stored by which it is verified"));
        };
        self.service.shared.metrics.stale_signature(age);
        Ok(verified)
    }
}

fn describe(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}
