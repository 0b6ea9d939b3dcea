//! Which generation a record makes on the disk: its index, and the bytes that its files need.

use super::repository_record::RepositoryRecord;
use super::state::{State, StoredFile};
use crate::schemes::notary::recorder::Record;
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered::Map;
use portreeve_verify::tuf::{Delegation, FileMeta, Header, Repository};

impl RepositoryRecord {
    /// The generation with this data, or with the newest root alone. The bytes of it that are in memory are added to `bytes`.
    pub(crate) fn to_state(&self, data: Option<&Repository>, bytes: &mut Record) -> State {
        let mut files = Map::new();
        let mut put = |role: &str, header: Header, content: &[u8]| {
            let sha256 = Sha256::of(content);
            let file = StoredFile { sha256, length: content.len(), version: header.version, kept: true };
            files.insert(role.to_owned(), file);
            bytes.insert(sha256, content.to_vec());
        };
        let root = data.map(|repository| repository.root()).or(self.trusted_state.root());
        if let Some(root) = root {
            put("root", *root.header(), root.bytes());
        }
        if let Some((timestamp, snapshot)) = data.map(|data| (data.timestamp(), data.snapshot())) {
            put("timestamp", *timestamp.header(), timestamp.bytes());
            put("snapshot", *snapshot.header(), snapshot.bytes());
        }
        if let (None, Some(unstored)) = (root, self.unstored_root) {
            files.insert("root".to_owned(), unstored);
        }
        let mut state = State {
            epoch: self.epoch,
            confirmed: self.confirmed.filter(|_| data.is_some()),
            files,
            minimum_versions: self.trusted_state.minimum_versions().clone(),
            admitted: self.admitted,
        };
        for (role, FileMeta { sha256, .. }, version) in data.into_iter().flat_map(lists) {
            let on_disk = self.on_disk.as_ref().and_then(|old| old.files.get(&role)).copied();
            let on_disk = on_disk.filter(|file| file.kept && file.sha256 == *sha256);
            let length = bytes.get(sha256).map(Vec::len).or(on_disk.map(|file| file.length));
            if let Some(length) = length {
                state.files.insert(role, StoredFile { sha256: *sha256, length, version, kept: true });
            }
        }
        state
    }

    /// The same generation with all of the data, wherever its bytes are: what it would take on the disk.
    pub(crate) fn completed(&self, state: &State) -> State {
        let mut state = state.clone();
        for (role, FileMeta { sha256, length, .. }, version) in self.repository.iter().flat_map(|data| lists(data)) {
            let length = usize::try_from(*length).unwrap_or(usize::MAX);
            let file = StoredFile { sha256: *sha256, length, version, kept: true };
            state.files.get_or_insert(role, file);
        }
        state
    }

    /// Is all of the data in this generation?
    pub(crate) fn is_whole_in(&self, state: &State) -> bool {
        let mut lists = self.repository.iter().flat_map(|data| lists(data));
        lists.all(|(role, ..)| state.files.contains_key(&role))
    }
}

/// The files that the server was asked for and that only [`Record`] has. All others are a part of the repository.
pub(super) fn listed_files(repository: &Repository) -> impl Iterator<Item = Sha256> {
    lists(repository).map(|(_, file, _)| file.sha256)
}

/// The verified lists of targets: role, file and version.
fn lists(repository: &Repository) -> impl Iterator<Item = (String, &FileMeta, u64)> {
    let delegations = repository.delegations().iter().filter_map(|(role, found)| match found {
        Delegation::Verified(targets) => Some((role.to_string(), &**targets)),
        Delegation::Absent | Delegation::Rejected(_) => None,
    });
    let lists = std::iter::once(("targets".to_owned(), repository.targets())).chain(delegations);
    lists.map(|(role, targets)| (role, targets.file(), targets.header().version))
}
