//! Stored data where the server could not be asked (stale-if-error, RFC 5861), as far as the query allows it. Expired data is
//! never used, nor is data that newer trust data was seen of.

use std::time::Duration;

use super::cached::{CachedRepository, Failure};
use super::lookup::{Lookup, verified};
use super::query::Verified;
use crate::schemes::{Freshness, WhenUnavailable};
use portreeve_verify::tuf::{RefreshError, Rejection};
use portreeve_verify::{Unavailable, UnavailableCause};

impl Lookup<'_> {
    /// The result where a refresh failed. `cached` is the rejection by the cached data, if that is recent enough to count.
    pub(crate) fn stale(&self, failure: Failure, cached: Option<Rejection>) -> Result<Verified, RefreshError> {
        let unavailable = match *failure.error {
            RefreshError::Unavailable(unavailable) => unavailable,
            rejected => return Err(rejected),
        };
        // Data that the server confirmed within `refresh_after` still counts.
        if let Some(rejection) = cached {
            return Err(rejection.into());
        }
        let WhenUnavailable::UseCached { max_stale } = self.query.when_unavailable else {
            return Err(unavailable.into());
        };
        if unavailable.cause == UnavailableCause::TrustState {
            return Err(unavailable.into());
        }
        let Unavailable { cause, message } = unavailable;
        let refuse = |why_not: &str| Err(Unavailable::new(cause, format!("{message}; {why_not}")).into());
        let superseded = "newer trust data was seen but could not be read whole, so the stored data may not be used";
        let Some((cached, age)) = self.stored()? else {
            let record = self.record();
            let why_not = match &record {
                Some(record) if record.is_deleted() => "the server had deleted the trust data when it last answered",
                Some(record) if record.is_superseded() => superseded,
                Some(record) => record.why_unreadable().unwrap_or("nothing is stored that could be used instead"),
                None => "nothing is stored that could be used instead",
            };
            return refuse(why_not);
        };
        if age > max_stale {
            let (age, max_stale) = (describe(age), describe(max_stale));
            return refuse(&format!("the stored data was confirmed {age} ago, and maxStale allows {max_stale}"));
        }
        // TRUST.md, rows 55 and 56: expired data is not used.
        let target = self.find_target(&cached)?;
        self.notary.metrics.stale(age);
        self.notary.store.stood_in(self.query.server, self.query.gun, self.now);
        Ok(verified(&cached, target, Freshness::Stale { age }))
    }

    /// The newest data under this anchor, and how long ago the server confirmed it. Nothing, where newer data was seen.
    fn stored(&self) -> Result<Option<(CachedRepository, Duration)>, Rejection> {
        let Some(record) = self.record() else { return Ok(None) };
        if record.is_superseded() {
            return Ok(None);
        }
        let is_current = |cached: &CachedRepository| {
            cached.epoch == record.epoch()
                && record.publication_version() == Some(cached.repository.publication_version())
                && cached.repository.knows_delegations(&self.roles)
        };
        if let Some(cached) = self.cached().filter(is_current) {
            let age = cached.age();
            return Ok(Some((cached, age)));
        }
        let found = record.stale(self.query.anchor, &self.roles, self.now)?;
        let (confirmed, epoch) = (self.began, record.epoch());
        Ok(found.map(|(repository, age)| (CachedRepository { repository, confirmed, epoch, admitted: false }, age)))
    }
}

fn describe(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}
