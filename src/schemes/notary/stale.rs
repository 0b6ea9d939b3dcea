//! What is answered where the server could not be asked: stored data, as far as the question allows it.

use std::sync::Arc;
use std::time::Duration;

use super::cached::{Failure, Held};
use super::lookup::{Asking, verified};
use super::query::{Refusal, Verified, WhenUnavailable};
use crate::schemes::Freshness;
use portreeve_verify::tuf::RefreshError;
use portreeve_verify::tuf::Rejection;
use portreeve_verify::{Unavailable, UnavailableCause};

impl Asking<'_> {
    /// The server could not be asked, or what it says is bad.
    pub(crate) fn without_server(&self, failure: Failure, remembered: Option<Rejection>) -> Result<Verified, Refusal> {
        let unavailable = match *failure.error {
            RefreshError::Rejected(rejection) => return Err(Refusal::Rejected(rejection)),
            RefreshError::Unavailable(unavailable) => unavailable,
        };
        // What the server said within `refresh_after` still holds.
        if let Some(rejection) = remembered {
            return Err(Refusal::Rejected(rejection));
        }
        let WhenUnavailable::UseCached { max_stale } = self.question.when_unavailable else {
            return Err(Refusal::Unavailable(unavailable));
        };
        if unavailable.cause == UnavailableCause::TrustState {
            return Err(Refusal::Unavailable(unavailable));
        }
        let Unavailable { cause, message } = unavailable;
        let refuse =
            |why_not: &str| Err(Refusal::Unavailable(Unavailable::new(cause, format!("{message}; {why_not}"))));
        let superseded = "newer trust data was seen but could not be read whole, so the stored data may not stand in";
        let Some((held, age)) = self.stand_in().map_err(Refusal::Rejected)? else {
            let known = self.recall();
            let why_not = match &known {
                Some(known) if known.is_deleted() => "the server had deleted the trust data when it last answered",
                Some(known) if known.is_superseded() => superseded,
                Some(known) => known.why_unreadable().unwrap_or("nothing is stored that could stand in"),
                None => "nothing is stored that could stand in",
            };
            return refuse(why_not);
        };
        if held.repository.is_superseded() {
            return refuse(superseded);
        }
        if age > max_stale {
            let (age, max_stale) = (spoken(age), spoken(max_stale));
            return refuse(&format!("the stored data was confirmed {age} ago, and maxStale allows {max_stale}"));
        }
        // TRUST.md, rows 55 and 56: expired data stands in for nothing.
        match self.judge(&held) {
            Ok(judgement) => {
                self.notary.metrics.stale(age);
                Ok(verified(&held, judgement, Freshness::Stale { age }))
            }
            Err(rejection) => Err(Refusal::Rejected(rejection)),
        }
    }

    /// What this process has verified by this anchor, unless newer data was seen by another; then, or where there is
    /// none, what is known by whatever anchor. And how old that is.
    fn stand_in(&self) -> Result<Option<(Arc<Held>, Duration)>, Rejection> {
        let anchor = self.question.anchor;
        let held = self.entry.value().filter(|held| held.repository.knows_delegations(&self.roles));
        let known = self.recall();
        // Or it was reset since.
        let newer = |held: &Held| {
            known.as_ref().is_some_and(|known| known.epoch() != held.epoch || known.is_beyond(&held.repository))
        };
        if let Some(held) = held.as_ref().filter(|held| !held.repository.is_superseded() && !newer(held)) {
            return Ok(Some((Arc::clone(held), held.age())));
        }
        let found = known.as_ref().map_or(Ok(None), |known| known.stand_in(anchor, &self.roles, self.now));
        match (found, held) {
            (Ok(Some((repository, age))), _) => {
                let epoch = known.as_ref().map_or(0, |known| known.epoch());
                let (repository, roles) = (Arc::new(repository), self.roles.clone());
                Ok(Some((Arc::new(Held { repository, confirmed: self.began, roles, epoch }), age)))
            }
            // It says why nothing stands in.
            (_, Some(held)) if held.repository.is_superseded() => {
                let age = held.age();
                Ok(Some((held, age)))
            }
            (found, _) => found.map(|_| None),
        }
    }
}

fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}
