//! Fetches an image's manifest and signatures: by joining another request's fetch, or by leading one for all.
//!
//! A request joins only where it helps: a fetch with credentials that are refused is left, and another one is made beside it. A
//! failure is shared where it does not depend on the credentials. A leader fetches no more than its own rule needs; a request
//! with another rule goes on from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collect::Collector;
use super::collected::{Collected, Tried};
use super::flight::{Failure, Key, Scope, SideName, Wanted, is_general};
use super::kind::Kind;
use super::lookup::Lookup;
use super::memory::{Account, Patience, SMALL, as_u64};
use super::message;
use super::requirement::Accepted;
use crate::base::context::Deadline;
use crate::base::single_flight::{Call, Entry, Join, Leader, Outcome};
use crate::http::origin::Origin;
use crate::http::origin::bulkhead::NoPermit;
use crate::keychain::credentials::Fingerprint;
use crate::metrics::Source;
use crate::registry::oci::places::Place;
use crate::registry::oci::repository::{self, FetchError, Repository};
use crate::registry::session::{no_permit, out_of_time};
use crate::schemes::{Freshness, Verified, WhenUnavailable};
use portreeve_verify::Unavailable;
use portreeve_verify::image::Sha256;
use portreeve_verify::oci::MAX_MANIFEST;

/// No rejection rests on data that is older than this. So a new signature counts at once, and a workload that is tried again and
/// again costs at most one fetch in this time.
const RECHECK_AFTER: Duration = Duration::from_secs(2);
/// How often a request that waits for a fetch checks how that one comes along with signing in.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// What meets the rule.
pub(super) enum Met {
    /// Signatures that were fetched, by this request or by another.
    Fetched(Arc<Collected>, Accepted, Freshness),
    /// Evidence that another request has kept since this one looked.
    Kept(Box<Verified>),
}

/// A step of a fetch, at one side.
type Step<'a> = dyn Fn(&dyn Repository, Patience<'_>) -> Result<Arc<Collected>, FetchError> + 'a;
type Ended = Outcome<Arc<Collected>, Box<Failure>>;
type Flight = Entry<Arc<Collected>, Scope, Box<Failure>>;

impl Lookup<'_> {
    /// Fetches until the rule is met, or until there is nothing more to be fetched. `has_data`: may stored data be used if nothing
    /// can be fetched?
    pub(super) fn fetch(&self, has_data: bool) -> Result<Met, Box<Failure>> {
        self.query.notice.give();
        let key = self.key();
        let entry = self.service.flights.entry(&key);
        let fetched = self.fetch_by(&key, &entry, has_data);
        self.service.flights.release(&key, entry);
        if fetched.as_ref().is_err_and(|failure| !failure.is_definite()) {
            self.service.shared.metrics.signature_lookup(Source::Nowhere);
        }
        fetched
    }

    fn fetch_by(&self, key: &Key, entry: &Flight, has_data: bool) -> Result<Met, Box<Failure>> {
        let known = self.negative_key();
        if let Some(failure) = self.known_failure(known) {
            return Err(failure);
        }
        let deadline = self.fetch_deadline(has_data);
        let _wait = self.service.shared.waiting.begin(deadline.request());
        let mut have = self.fetched_meanwhile(entry);
        let mut freshness = Freshness::Cached;
        // Once a fetch with other credentials was slow, only a fetch with the same credentials is joined.
        let mut only_with: Option<Tried> = None;
        loop {
            if let Some(collected) = &have {
                match self.judge(collected) {
                    Ok(accepted) => {
                        self.service.shared.metrics.signature_lookup(Source::Shared);
                        self.keep(collected);
                        return Ok(Met::Fetched(Arc::clone(collected), accepted, freshness));
                    }
                    // A registry may show less to a user without rights.
                    Err(_) if !self.would_try(&collected.tried) => {
                        only_with = Some(self.fingerprints());
                        have = None;
                    }
                    // Its leader ran out of time: this request may have more.
                    Err(_) if collected.failed().is_some_and(|failed| !is_general(failed)) => have = None,
                    Err(rejection) if collected.is_complete() => return Err(self.refuse(collected, &rejection)),
                    Err(_) => {}
                }
            }
            if deadline.remaining().is_none() {
                return Err(self.late(self.began).into());
            }
            let next = if have.is_some() { self.sides.of_signatures() } else { SideName::Image };
            self.check_server(next, deadline, has_data)?;
            let can_use = |scope: &Scope| only_with.is_none_or(|own| self.is_with(scope, &own));
            let new = || only_with.as_ref().map_or_else(Scope::default, Scope::with);
            match entry.join_if(can_use, new) {
                Join::Lead(leader) => {
                    // The fetch that this request could have joined has ended.
                    if let Some(verified) = self.kept_meanwhile() {
                        return Ok(Met::Kept(Box::new(verified)));
                    }
                    let have = have.or_else(|| self.fetched_meanwhile(entry).filter(|it| self.would_try(&it.tried)));
                    return self.lead(leader, key, have, known, deadline);
                }
                Join::Follow(call) => {
                    // Nobody waits while it holds memory that the leader may need.
                    have = have.filter(|collected| !collected.account.has_drawn());
                    match self.wait(&call, deadline)? {
                        None => only_with = Some(self.fingerprints()),
                        Some(Outcome::Fetched(fetched)) => {
                            freshness = Freshness::Fetched;
                            let is_more = |have: &Arc<Collected>| have.progress() <= fetched.progress();
                            if have.as_ref().is_none_or(is_more) {
                                have = Some(fetched);
                            }
                        }
                        Some(Outcome::Failed(failure)) if failure.is_general() && self.would_try(&failure.tried) => {
                            return Err(failure);
                        }
                        // Its credentials or its deadline were others, or its leader panicked.
                        Some(Outcome::Failed(_) | Outcome::Abandoned) => {}
                    }
                }
            }
        }
    }

    /// Fetches, for this request and for those that follow.
    fn lead(
        &self,
        leader: Leader<'_, Arc<Collected>, Scope, Box<Failure>>,
        key: &Key,
        have: Option<Arc<Collected>>,
        known: Sha256,
        deadline: Deadline,
    ) -> Result<Met, Box<Failure>> {
        if let Some(failure) = self.known_failure(known) {
            return Err(failure);
        }
        let collected = match self.collect(key, have, leader.scope(), deadline) {
            Ok(collected) => collected,
            Err(failure) => {
                self.service.refusals.record(known, &failure);
                leader.tell(&Err(failure.clone()));
                return Err(failure);
            }
        };
        let judged = self.judge(&collected).map_err(|rejection| self.refuse(&collected, &rejection));
        match &judged {
            Ok(_) => self.service.refusals.evict(known),
            Err(failure) => self.service.refusals.record(known, failure),
        }
        let keep = || {
            if judged.is_ok() {
                self.keep(&collected);
            }
        };
        // Requests that come later find the value, or what is kept.
        let shared = Ok(Arc::clone(&collected));
        if collected.may_stay() {
            leader.finish(&shared);
            keep();
        } else {
            keep();
            leader.tell(&shared);
        }
        let accepted = judged?;
        self.service.shared.metrics.signature_lookup(Source::Refreshed);
        Ok(Met::Fetched(collected, accepted, Freshness::Fetched))
    }

    /// Asks for one part after the other, until the rule is met.
    fn collect(
        &self,
        key: &Key,
        have: Option<Arc<Collected>>,
        scope: &Scope,
        deadline: Deadline,
    ) -> Result<Arc<Collected>, Box<Failure>> {
        if let Some(collected) = have.as_ref().filter(|collected| self.is_enough(collected)) {
            return Ok(Arc::clone(collected));
        }
        let image = |repository: &dyn Repository, patience: Patience<'_>| match &have {
            Some(collected) => Ok(Arc::clone(collected)),
            None => self.image(key, repository, patience),
        };
        let collected = match self.sides.of_signatures() {
            SideName::Image => self.ask(SideName::Image, scope, deadline, &|repository, patience| {
                self.parts(key.kind, image(repository, patience)?, repository, patience)
            }),
            SideName::Signatures => {
                let collected = match &have {
                    Some(collected) => Ok(Arc::clone(collected)),
                    None => self.ask(SideName::Image, scope, deadline, &image),
                };
                match collected {
                    Ok(collected) if !self.is_enough(&collected) => {
                        self.ask(SideName::Signatures, scope, deadline, &|repository, patience| {
                            self.parts(key.kind, Arc::clone(&collected), repository, patience)
                        })
                    }
                    collected => collected,
                }
            }
        };
        collected.map_err(|error| {
            let refusal = message::not_fetched(self.query.image, error);
            let before = have.as_ref().map(|collected| collected.tried).unwrap_or_default();
            let resolved = have.as_ref().map(|collected| collected.image.digest).or(self.resolved.get());
            Box::new(Failure { refusal, tried: self.tried(&before), resolved, findings: Vec::new() })
        })
    }

    fn is_enough(&self, collected: &Collected) -> bool {
        collected.is_complete() || self.judge(collected).is_ok()
    }

    /// The image's manifest. For a digest, the list of its referrers is asked for at the same time if it is at the same place: no
    /// image is admitted without that list.
    fn image(
        &self,
        key: &Key,
        repository: &dyn Repository,
        patience: Patience<'_>,
    ) -> Result<Arc<Collected>, FetchError> {
        let account = Account::new(&self.service.shared.budget, &self.sides.image.place.to_string());
        let list = match (&key.wanted, self.sides.of_signatures()) {
            (Wanted::Digest(image), SideName::Image) => {
                let taken = account.take(as_u64(SMALL), patience).map_err(FetchError::Unavailable)?;
                repository.prefetch(*image, SMALL);
                Some(taken)
            }
            _ => None,
        };
        let read = |cap| repository.image(key.wanted.as_ref(), cap);
        let (fetched, taken) = account.read(MAX_MANIFEST, patience, read)?;
        taken.keep(fetched.bytes.len());
        drop(list);
        self.resolved.set(Some(fetched.image.digest));
        Ok(Arc::new(Collected {
            image: fetched.image,
            manifest: fetched.bytes.into(),
            asked: self.query.now,
            ended: Instant::now(),
            referrers: None,
            tags: None,
            tried: self.tried(&Tried::default()),
            tag_kept: Arc::default(),
            account,
        }))
    }

    /// The image's signatures, as far as they are needed.
    fn parts(
        &self,
        kind: Kind,
        mut collected: Arc<Collected>,
        repository: &dyn Repository,
        patience: Patience<'_>,
    ) -> Result<Arc<Collected>, FetchError> {
        while !self.is_enough(&collected) {
            let mut next = Collected::clone(&collected);
            let (image, account) = (collected.image.digest, &*collected.account);
            let collector = Collector { repository, image, kind, account, patience };
            match &collected.referrers {
                None => next.referrers = Some(Arc::new(collector.referrers().map_err(FetchError::Unavailable)?)),
                Some(referrers) => next.tags = Some(Arc::new(collector.tags(referrers))),
            }
            next.ended = Instant::now();
            next.tried = self.tried(&collected.tried);
            collected = Arc::new(next);
        }
        Ok(collected)
    }

    /// Asks one side, under its permit.
    fn ask(
        &self,
        name: SideName,
        scope: &Scope,
        deadline: Deadline,
        run: &Step<'_>,
    ) -> Result<Arc<Collected>, FetchError> {
        scope.ask(name);
        let (side, began) = (self.sides.get(name), Instant::now());
        let permit = self.origin(name).map(|origin| origin.permit(self.began, deadline)).transpose();
        let permit = permit.map_err(|refusal| FetchError::Unavailable(self.no_permit(name, &refusal, began)))?;
        let tell = || {
            if let Some(permit) = &permit {
                permit.responded();
            }
        };
        let (client, sign_in) = (&self.service.shared.client, scope.sign_in(name));
        let repository = repository::open(client, side.place, side.credentials, deadline, permit.as_ref(), sign_in);
        run(&*repository, Patience { deadline, tell: &tell })
    }

    /// Waits for another request's fetch; `None` where it is slow to sign in with other credentials than this query's.
    fn wait(
        &self,
        call: &Call<Arc<Collected>, Scope, Box<Failure>>,
        deadline: Deadline,
    ) -> Result<Option<Ended>, Box<Failure>> {
        let began = Instant::now();
        loop {
            let side = call.scope.side();
            let waiter = self.origin(side).map(|origin| origin.wait(self.began, deadline.request()));
            while call.scope.side() == side {
                let again = match &waiter {
                    Some(waiter) => waiter.may_wait().map_err(|refusal| self.no_permit(side, &refusal, began))?,
                    None => Duration::MAX,
                };
                if let Some(outcome) = call.wait(deadline.at_most(again.min(CHECK_EVERY))) {
                    return Ok(Some(outcome));
                }
                // The credentials are looked up first: the leader may be looking up the same.
                let is_slow = |name| call.scope.sign_in(name).state().is_slow();
                if self.sides.names().any(is_slow) {
                    let own = self.fingerprints();
                    let is_other = |(name, own): (SideName, &Option<Fingerprint>)| {
                        let state = call.scope.sign_in(name).state();
                        state.is_slow() && own.is_some_and(|own| !state.is_with(own))
                    };
                    if self.sides.names().zip(&own).any(is_other) {
                        return Ok(None);
                    }
                }
                if deadline.remaining().is_none() {
                    return Err(self.late(began).into());
                }
                self.check_server(side, deadline, false)?;
            }
        }
    }

    /// Does a fetch sign in with these credentials?
    fn is_with(&self, scope: &Scope, own: &Tried) -> bool {
        let is_with = |name, own: &Option<_>| own.is_none_or(|own| scope.sign_in(name).state().is_with(own));
        self.sides.names().zip(own).all(|(name, own)| is_with(name, own))
    }

    /// What was fetched a moment ago, or since this query came.
    fn fetched_meanwhile(&self, entry: &Flight) -> Option<Arc<Collected>> {
        entry.value().filter(|collected| collected.is_recent(self.recheck_after(), self.began))
    }

    /// The definite failure of a fetch a moment ago, if it holds for this query.
    fn known_failure(&self, known: Sha256) -> Option<Box<Failure>> {
        let failure = self.service.refusals.get(known, self.recheck_after())?;
        self.would_try(&failure.tried).then_some(failure)
    }

    fn recheck_after(&self) -> Duration {
        RECHECK_AFTER.min(self.service.settings.refresh_after)
    }

    fn key(&self) -> Key {
        let image = self.query.image;
        let wanted = match self.digest {
            Some(digest) => Wanted::Digest(digest),
            None => Wanted::Tag(image.tag().unwrap_or_default().to_owned()),
        };
        Key {
            image: self.sides.image.place.clone(),
            signatures: self.sides.signatures.map(|side| side.place.clone()),
            wanted,
            kind: self.requirement.kind(),
        }
    }

    /// The image and the rule with all its keys.
    fn negative_key(&self) -> Sha256 {
        let image = self.query.image;
        let (name, tag) = (image.repository().as_bytes(), image.tag().unwrap_or_default().as_bytes());
        let digest = self.digest.as_ref().map_or(&[][..], |digest| digest.as_bytes().as_slice());
        Sha256::of_parts([name, tag, digest, self.requirement.id().as_bytes()])
    }

    /// The credentials that were looked up for this fetch, else those of the fetch before it.
    fn tried(&self, before: &Tried) -> Tried {
        let mut tried = *before;
        for (name, tried) in self.sides.names().zip(&mut tried) {
            *tried = self.sides.get(name).credentials.fingerprint().or(*tried);
        }
        tried
    }

    /// Half of the time, where stored data may be used if the registry does not respond.
    fn fetch_deadline(&self, has_data: bool) -> Deadline {
        match self.when_unavailable {
            WhenUnavailable::UseCached { .. } if has_data => self.query.deadline.half(),
            _ => self.query.deadline,
        }
    }

    /// The server's state, as all requests share it. A layout has none.
    fn origin(&self, name: SideName) -> Option<Origin<'_>> {
        match self.sides.get(name).place {
            Place::Registry { url, .. } => Some(self.service.shared.client.origin(url)),
            Place::Layout { .. } => None,
        }
    }

    /// Fails if the server is down. A query with stored data does not wait for the next probe either.
    fn check_server(&self, name: SideName, deadline: Deadline, has_data: bool) -> Result<(), Unavailable> {
        let Some(origin) = self.origin(name) else { return Ok(()) };
        let checked = match self.when_unavailable {
            WhenUnavailable::UseCached { .. } if has_data => origin.check(),
            WhenUnavailable::UseCached { .. } | WhenUnavailable::Deny => origin.check_or_wait(deadline),
        };
        checked.map_err(|open| Unavailable::other(format!("{}: {open}", message::of_place(self.sides.get(name).place))))
    }

    fn no_permit(&self, name: SideName, refusal: &NoPermit, began: Instant) -> Unavailable {
        let place = message::of_place(self.sides.get(name).place);
        no_permit(&place, self.query.image.repository(), refusal, began.elapsed())
    }

    /// The deadline has passed.
    fn late(&self, began: Instant) -> Unavailable {
        let waited = began.elapsed().as_secs_f64();
        let why = format_args!(
            "{waited:.1} s waiting for a worker (limits.workers), or for other requests that were asking it"
        );
        out_of_time(&message::of_place(self.sides.image.place), self.query.image.repository(), &why)
    }
}
