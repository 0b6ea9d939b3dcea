//! Reads stored trust data back: everything is verified again, as if a server had sent it. Damage
//! to the data leaves the root and the minimum versions in force. The anchor and the expiry are not checked here: they are
//! checked before a target is looked up.

use std::sync::Arc;

use super::disk::{Disk, Place};
use super::repository_record::RepositoryRecord;
use super::state::State;
use crate::base::context::Deadline;
use crate::base::files::Stamp;
use crate::metrics::{Metrics, Reloaded};
use crate::schemes::memory_budget::MemoryBudget;
use crate::schemes::notary::recorder::Recorder;
use portreeve_verify::tuf::{MinimumVersions, RefreshError, Repository, RoleName, Root, TrustedState};
use portreeve_verify::{Unavailable, UnavailableCause, ordered};

/// How often a generation is read again because another process replaced it while it was read.
const READ_ATTEMPTS: usize = 4;

/// Why a generation was not read back whole.
pub(crate) enum ReadBackError {
    /// It is damaged.
    Damaged(String),
    /// There was no time, or no memory. Nothing is known to be wrong with it.
    NotNow,
}

/// The record that the disk has; `None` where nothing is stored.
pub(crate) fn read(
    disk: &Disk,
    metrics: &Metrics,
    budget: &MemoryBudget,
    place: Place<'_>,
    stamp: Option<Stamp>,
    by: Deadline,
) -> Option<RepositoryRecord> {
    let mut damaged = None;
    for _ in 0..READ_ATTEMPTS {
        let loaded = disk.load(place);
        let (found, error) = match loaded {
            Ok(None) => return None,
            Ok(Some(state)) => read_back(disk, place, &state, budget, by),
            Err(error) if error.is_of_the_disk() => {
                (RepositoryRecord::unreadable(&error), Some(ReadBackError::Damaged(error.to_string())))
            }
            Err(error) => {
                let damage = Some(error.to_string());
                let found = RepositoryRecord { damage, ..RepositoryRecord::nothing() };
                (found, Some(ReadBackError::Damaged(error.to_string())))
            }
        };
        let damage = match error {
            Some(ReadBackError::Damaged(damage)) => damage,
            Some(ReadBackError::NotNow) => return Some(RepositoryRecord { stamp: None, ..found }),
            None => {
                metrics.reload(Reloaded::StoredTrust, true);
                return Some(RepositoryRecord { stamp, ..found });
            }
        };
        let is_unchanged = disk.stamp(place) == stamp;
        damaged = Some((RepositoryRecord { stamp, ..found }, damage));
        if is_unchanged {
            break;
        }
        // Another process replaced it while it was read: the next attempt reads the new generation.
    }
    let (record, damage) = damaged?;
    metrics.reload(Reloaded::StoredTrust, false);
    if record.unreadable.is_none() {
        log::warn!(
            gun = place.gun.as_str(), server = place.server.as_str();
            "the stored trust data cannot be used: {damage}"
        );
    }
    Some(record)
}

/// Verifies a generation again.
pub(crate) fn read_back(
    disk: &Disk,
    place: Place<'_>,
    state: &State,
    budget: &MemoryBudget,
    by: Deadline,
) -> (RepositoryRecord, Option<ReadBackError>) {
    let trusted_state = TrustedState::new(None, state.minimum_versions.clone());
    let mut record =
        RepositoryRecord { epoch: state.epoch, trusted_state, admitted: state.admitted, ..RepositoryRecord::nothing() };
    if state.files.is_empty() && state.minimum_versions == MinimumVersions::default() {
        record.on_disk = Some(state.clone());
        return (record, None); // it was reset
    }
    if let Some(root) = state.files.get("root").filter(|root| !root.kept) {
        (record.unstored_root, record.on_disk) = (Some(*root), Some(state.clone()));
        return (record, None);
    }
    let files = disk.files(place, state);
    let root = match files.root() {
        Some(Ok(bytes)) => Root::read(bytes, None, place.gun, &|| false).map_err(|rejection| rejection.to_string()),
        Some(Err(error)) if error.is_of_the_disk() => {
            return (RepositoryRecord::unreadable(&error), Some(ReadBackError::Damaged(error.to_string())));
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err("root is not stored".to_owned()),
    };
    let root = match root {
        Ok(root) => Arc::new(root),
        Err(why) => {
            record.damage = Some(why.clone());
            return (record, Some(ReadBackError::Damaged(format!("its root: {why}"))));
        }
    };
    record.trusted_state = TrustedState::new(Some(Arc::clone(&root)), state.minimum_versions.clone());
    if state.is_without_data() {
        record.on_disk = Some(state.clone());
        return (record, None);
    }
    let delegations = ordered::set(state.files.keys().filter_map(|role| RoleName::parse(role)));
    let mut files = Recorder::new(Box::new(files), false, budget, &place.server.to_string(), by);
    match Repository::restore(&mut files, place.gun, &root, &state.minimum_versions, &delegations) {
        Ok(repository) => {
            record.repository = Some(Arc::new(repository));
            record.confirmed = state.confirmed;
            record.incomplete = false;
            record.on_disk = Some(state.clone());
            (record, None)
        }
        // The next query reads it again.
        Err(RefreshError::Unavailable(Unavailable {
            cause: UnavailableCause::OutOfTime | UnavailableCause::Memory,
            ..
        })) => {
            record.on_disk = Some(state.clone());
            (record, Some(ReadBackError::NotNow))
        }
        Err(error) => (record, Some(ReadBackError::Damaged(error.to_string()))),
    }
}
