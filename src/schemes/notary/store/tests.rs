//! What is stored: whole or not at all, verified again, and never gone back behind.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Instant;
use std::{fs, thread};

use portreeve_test_support::signer::{Key, Repo, Signer};

use jiff::SignedDuration;

use super::records::MAX_REPOSITORIES;
use super::state::State;
use super::*;
use crate::base::files::scratch::Scratch;
use crate::schemes::notary::recorder::Record;
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered::Set;
use portreeve_verify::tuf::{
    Anchor, FetchError, FirstUse, KeyId, MetadataName, MetadataSource, PinError, RefreshError, Rejection,
    RequiredSigner, RoleName, RootPin, SignerKey, TargetQuery,
};
use portreeve_verify::{Unavailable, UnavailableCause};

mod behind;
mod damage;
mod eviction;
mod failed_refresh;
mod processes;
mod quota;
mod recovery;

const MAX_BYTES: u64 = 64 << 20;
const GUN: &str = "registry.local:9001/plant/plc";

/// One cache directory, and a server that the test plays itself.
struct Bench {
    scratch: Scratch,
    server: TrustServer,
    gun: Gun,
}

/// A server's files.
struct Files<'a>(&'a Repo);

impl MetadataSource for Files<'_> {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        self.0.files().get(&name.file_stem()).cloned().ok_or(FetchError::NotFound)
    }
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn confirmed(time: Timestamp) -> Confirmation {
    Confirmation { time, asked: Instant::now() }
}

fn unhurried() -> Deadline {
    Deadline::after(Duration::MAX)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn first_use() -> Anchor {
    Anchor { pins: Arc::default(), first_use: FirstUse::Allowed }
}

fn pin(repo: &Repo) -> Anchor {
    let id = KeyId::from_hex(&repo.root_key_id()).unwrap();
    Anchor { pins: vec![RootPin::KeyId(id)].into(), first_use: FirstUse::Allowed }
}

fn alice() -> Set<RoleName> {
    Set::from([RoleName::of_signer("alice").unwrap()])
}

fn plant() -> Signer {
    Signer::new_at(GUN, now()).signer("alice").release("v1", [1; 32], 1, &["alice"])
}

impl Bench {
    fn new() -> Self {
        let server = TrustServer::parse("https://notary.local", crate::http::url::PlainHttp::Refused).unwrap();
        Self { scratch: Scratch::new(), server, gun: Gun::new(GUN).unwrap() }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path().join("cache")
    }

    /// A process that starts.
    fn start(&self) -> Store {
        Store::new(Some(self.cache()), MAX_BYTES, Arc::new(Metrics::new()))
    }

    fn directory(&self) -> PathBuf {
        Disk::new(self.cache()).directory(self.place())
    }

    fn place(&self) -> Place<'_> {
        Place { server: &self.server, gun: &self.gun }
    }

    /// One refresh from a server that has these files.
    fn refresh(&self, store: &Store, repo: &Repo) -> Result<Arc<Repository>, RefreshError> {
        self.refresh_at(store, repo, &first_use(), now())
    }

    fn refresh_at(
        &self,
        store: &Store,
        repo: &Repo,
        anchor: &Anchor,
        now: Timestamp,
    ) -> Result<Arc<Repository>, RefreshError> {
        let mut source = crate::schemes::notary::recorder::Recorder::new(
            Box::new(Files(repo)),
            true,
            &store.budget,
            "https://n",
            unhurried(),
        );
        let known = store.get(&self.server, &self.gun, soon());
        let epoch = known.as_ref().map_or(0, |known| known.epoch());
        let repository = match known {
            Some(known) => {
                let refreshed = known.refresh(&mut source, &self.gun, anchor, &alice(), now);
                refreshed.map_err(|failed| failed.error)?
            }
            None => Repository::refresh(&mut source, &self.gun, anchor, None, &alice(), now)?,
        };
        let repository = Arc::new(repository);
        store.insert(&self.server, &self.gun, anchor, &repository, Some(confirmed(now)), epoch);
        store.admitted(&self.server, &self.gun);
        store.persist(&self.server, &self.gun, &repository, epoch, source.take_record(), soon());
        Ok(repository)
    }

    /// The data that is used while the server is away, in a process that starts now.
    fn stale(&self, now: Timestamp) -> Result<Option<(Arc<Repository>, Duration)>, Rejection> {
        let known = self.start().get(&self.server, &self.gun, soon());
        known.map_or(Ok(None), |known| known.stale(&first_use(), &alice(), now))
    }

    /// The versions of the timestamp that are read back, and whether all of it is.
    fn stored(&self) -> Option<(u64, bool)> {
        let known = self.start().get(&self.server, &self.gun, soon())?;
        Some((timestamp_of(&known), known.has_data()))
    }

    fn state(&self) -> String {
        fs::read_to_string(self.directory().join("state.json")).unwrap()
    }
}

/// The version that binds a role with these keys.
fn version_of(known: &RepositoryRecord, role: &str, keys: &[Key]) -> u64 {
    let keys: Set<_> = keys.iter().map(|key| KeyId::from_hex(&key.bare().id())).collect();
    let minimums =
        known.trusted_state.minimum_versions().entries().filter(|(name, key, _)| *name == role && keys.contains(key));
    minimums.map(|(_, _, header)| header.version).max().unwrap_or(0)
}

fn timestamp_of(known: &RepositoryRecord) -> u64 {
    known
        .trusted_state
        .root()
        .map_or(0, |root| known.trusted_state.minimum_versions().version("timestamp", root.timestamp()))
}

fn code<T>(result: Result<T, RefreshError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(RefreshError::Rejected(rejection)) => rejection.code(),
        Err(RefreshError::Unavailable(_)) => "unavailable",
    }
}

fn signed_digest(repository: &Repository, repo: &Repo, now: Timestamp) -> Result<String, Rejection> {
    let keys = vec![SignerKey::from_pem(&repo.signer_public_key_pem("alice")).unwrap()];
    let signer = RequiredSigner { role: RoleName::of_signer("alice").unwrap(), keys };
    let wanted = TargetQuery { tag: Some("v1"), digest: None };
    repository.find_target(wanted, &[signer], now).map(|judgement| judgement.digest.sha256().hex())
}

fn files_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A server where some files cannot be had.
struct Without<'a>(&'a Repo, &'a str);

impl MetadataSource for Without<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        match name.file_stem() {
            stem if stem.starts_with(self.1) => Err(Unavailable::other("away").into()),
            _ => Files(self.0).fetch(name, cap),
        }
    }
}

/// A refresh that fails: what it has seen is remembered and stored, as the service does it.
fn fail(bench: &Bench, store: &Store, repo: &Repo, without: &str) -> &'static str {
    let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
    let failed = *known.refresh(&mut Without(repo, without), &bench.gun, &first_use(), &alice(), now()).unwrap_err();
    store.record(&bench.server, &bench.gun, &failed.state.unwrap(), known.epoch());
    store.persist_versions(&bench.server, &bench.gun, soon());
    code::<()>(Err(failed.error))
}

#[test]
fn what_was_verified_stands_in_after_a_restart() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let (stored, age) = bench.stale(later(3600)).unwrap().unwrap();
    assert_eq!(age, Duration::from_secs(3600));
    assert_eq!(signed_digest(&stored, &repo, later(3600)).unwrap(), "01".repeat(32));
    // A clock that was set back makes nothing young.
    assert!(bench.stale(later(-1)).unwrap().is_none());
    // And nothing that has ended counts: the timestamp lives for 14 days.
    assert_eq!(bench.stale(later(15 * 86_400)).unwrap_err().code(), "expired");
    // It is kept from the eyes and hands of others.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&bench.cache()), mode(&bench.directory())), (0o700, 0o700));
    for name in files_in(&bench.directory()) {
        assert_eq!(mode(&bench.directory().join(&name)), 0o600, "{name}");
    }
}

#[test]
fn a_signer_that_nobody_asked_for_is_not_stored() {
    let bench = Bench::new();
    let repo = plant().signer("bob").release("v2", [2; 32], 1, &["bob"]).publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let known = bench.start().get(&bench.server, &bench.gun, soon()).unwrap();
    let signers = |name: &str| Set::from([RoleName::of_signer(name).unwrap()]);
    assert!(known.stale(&first_use(), &signers("bob"), now()).unwrap().is_none());
    // That there is no such role, the stored snapshot says.
    assert!(known.stale(&first_use(), &signers("carol"), now()).unwrap().is_some());
}

#[test]
fn no_role_goes_back_across_restarts() {
    for role in ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let bench = Bench::new();
        let old = plant().publish();
        let new = old.update(|signer| signer.touch(role));
        // The same chain, with this one role at its old version and everything above it newer.
        let back = match role {
            "root" => old.clone(),
            _ => new.update(|signer| signer.version(role, 1).expires(role, later(86_400 * 13))),
        };
        bench.refresh(&bench.start(), &new).unwrap();
        let found = bench.refresh(&bench.start(), &back);
        match role {
            // A signer's role that went back to an older version denies queries that require that signer.
            "targets/alice" => {
                let found = found.unwrap();
                assert_eq!(signed_digest(&found, &new, now()).unwrap_err().code(), "rollback", "{role}");
                // Nor does it help to ask for the role once more.
                let found = found.with_signers(&mut Files(&back), &alice(), now()).unwrap();
                assert_eq!(signed_digest(&found, &new, now()).unwrap_err().code(), "rollback", "{role}");
            }
            _ => assert_eq!(code(found), "rollback", "{role}"),
        }
        // The same without the data, by the versions alone.
        let hash = |role: &str| {
            let files = fs::read_to_string(bench.directory().join("state.json")).unwrap();
            let files: serde_json::Value = serde_json::from_str(&files).unwrap();
            files["files"][role]["sha256"].as_str().unwrap().to_owned()
        };
        fs::remove_file(bench.directory().join(format!("{}.json", hash("snapshot")))).unwrap();
        assert!(!bench.stored().unwrap().1);
        let found = bench.refresh(&bench.start(), &back);
        match role {
            "targets/alice" => {
                let found = found.unwrap();
                assert_eq!(signed_digest(&found, &new, now()).unwrap_err().code(), "rollback");
                let found = found.with_signers(&mut Files(&back), &alice(), now()).unwrap();
                assert_eq!(signed_digest(&found, &new, now()).unwrap_err().code(), "rollback");
            }
            _ => assert_eq!(code(found), "rollback", "{role}"),
        }
    }
}

#[test]
fn a_releases_role_does_not_vanish_across_restarts() {
    let bench = Bench::new();
    let old = plant().target("targets", "v1", [9; 32], 1).publish();
    bench.refresh(&bench.start(), &old).unwrap();
    let gone = old.update(|signer| signer.withhold("targets/releases"));
    assert_eq!(code(bench.refresh(&bench.start(), &gone)), "vanished");
    // Nor where the data is lost and only the versions are left.
    for name in files_in(&bench.directory()) {
        let root = Sha256::of(&old.bytes("root")).hex();
        if name.ends_with(".json") && name != "state.json" && !name.starts_with(&root) {
            fs::remove_file(bench.directory().join(name)).unwrap();
        }
    }
    assert_eq!(code(bench.refresh(&bench.start(), &gone)), "vanished");
    assert_eq!(code(bench.refresh(&bench.start(), &old)), "accepted");
    assert_eq!(bench.stored(), Some((1, true)));
}

#[test]
fn first_use_is_the_first_use_ever() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    // A foreign repository under the same name, newer in every number.
    let stranger = plant().version("root", 5).version("timestamp", 9).version("snapshot", 9).publish();
    let found = code(bench.refresh(&bench.start(), &stranger));
    assert!(matches!(found, "signature" | "hash"), "{found}");
    // The owner's rotation is followed from the stored root.
    let rotated = repo.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    assert_eq!(code(bench.refresh(&bench.start(), &rotated)), "accepted");
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
}

#[test]
fn row_042_a_stored_root_may_have_expired() {
    let bench = Bench::new();
    let repo = plant().expires("root", later(3600)).publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let day = later(86_400);
    assert_eq!(code(bench.refresh_at(&bench.start(), &repo, &first_use(), day)), "expired");
    let renewed = repo.update(|signer| signer.expires("root", later(86_400 * 300)));
    assert_eq!(code(bench.refresh_at(&bench.start(), &renewed, &first_use(), day)), "accepted");
}

#[test]
fn row_044_a_stored_root_is_held_against_the_pins() {
    let bench = Bench::new();
    let repo = plant().publish();
    let other = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    assert_eq!(code(bench.refresh_at(&bench.start(), &repo, &pin(&repo), now())), "accepted");
    // Neither what is stored nor what the server has may count: the operator must decide.
    for served in [&repo, &other] {
        let found = bench.refresh_at(&bench.start(), served, &pin(&other), now());
        let Err(RefreshError::Rejected(rejection)) = found else { panic!("{found:?}") };
        assert_eq!(rejection.code(), "root-not-trusted");
        assert!(rejection.to_string().contains(&format!("portreeve check --reset {GUN}")), "{rejection}");
    }
    let known = bench.start().get(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(known.stale(&pin(&other), &alice(), now()).unwrap_err().code(), "root-not-trusted");
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    assert_eq!(code(bench.refresh_at(&bench.start(), &other, &pin(&other), now())), "accepted");
}

/// The disk fills up, or the process dies, before any one of the operations of a write: what is read afterwards is the
/// old generation or the new one, whole.
#[test]
fn a_write_that_ends_anywhere_leaves_a_whole_generation() {
    let old = plant().publish();
    let new = old.update(|signer| signer.release("v1", [2; 32], 1, &["alice"]));
    let mut outcomes = Set::new();
    for steps in 0.. {
        let bench = Bench::new();
        bench.refresh(&bench.start(), &old).unwrap();
        let store = bench.start();
        *store.disk.as_ref().unwrap().files.steps.lock().unwrap() = Some(steps);
        // The answer does not depend on the disk.
        assert!(bench.refresh(&store, &new).is_ok());
        let left = store.disk.as_ref().unwrap().files.steps.lock().unwrap().unwrap();
        let found = bench.stored();
        let (stored, _) = bench.stale(now()).unwrap().unwrap();
        let digest = signed_digest(&stored, &old, now()).unwrap();
        let expected = if found == Some((2, true)) { (2, "02") } else { (1, "01") };
        assert_eq!(found, Some((expected.0, true)), "after {steps} steps");
        assert_eq!(digest, expected.1.repeat(32), "after {steps} steps");
        outcomes.insert(found);
        // What was left over does not stay for ever, and the next refresh is written.
        bench.refresh(&bench.start(), &new.update(|signer| signer.touch("timestamp"))).unwrap();
        assert_eq!(bench.stored(), Some((3, true)));
        assert!(!files_in(&bench.directory()).iter().any(|name| name.starts_with(".new-")), "after {steps} steps");
        assert_eq!(files_in(&bench.directory()).len(), 6 + 3);
        if left > 0 {
            break;
        }
    }
    assert_eq!(outcomes.len(), 2, "some writes ended before the switch, and some after it");
}

#[test]
fn a_first_write_that_ends_anywhere_leaves_nothing_or_all() {
    let repo = plant().publish();
    for steps in 0.. {
        let bench = Bench::new();
        let store = bench.start();
        *store.disk.as_ref().unwrap().files.steps.lock().unwrap() = Some(steps);
        assert!(bench.refresh(&store, &repo).is_ok());
        assert!(matches!(bench.stored(), None | Some((1, true))), "after {steps} steps");
        // The process itself still knows what it saw.
        assert_eq!(timestamp_of(&store.get(&bench.server, &bench.gun, soon()).unwrap()), 1);
        if store.disk.as_ref().unwrap().files.steps.lock().unwrap().unwrap() > 0 {
            return;
        }
    }
}

#[test]
fn only_what_changed_is_written() {
    let bench = Bench::new();
    let store = bench.start();
    let repo = plant().publish();
    bench.refresh(&store, &repo).unwrap();
    let before = bench.state();
    // Within a minute the same confirmation is not written again.
    bench.refresh_at(&store, &repo, &first_use(), later(59)).unwrap();
    assert_eq!(bench.state(), before);
    bench.refresh_at(&store, &repo, &first_use(), later(61)).unwrap();
    assert_ne!(bench.state(), before);
    assert_eq!(bench.stale(later(61)).unwrap().unwrap().1, Duration::ZERO);
    // Files that stay are not touched.
    let file = bench.directory().join(format!("{}.json", Sha256::of(&repo.bytes("targets")).hex()));
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let was = inode(&file);
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    bench.refresh_at(&store, &renewed, &first_use(), later(61)).unwrap();
    assert_eq!(inode(&file), was);
    assert_eq!(bench.stored(), Some((2, true)));
}

#[test]
fn without_a_directory_memory_lasts_as_long_as_the_process() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    let metrics = Arc::new(Metrics::new());
    let absent = bench.scratch.path().join("not/mounted");
    for store in
        [Store::new(None, MAX_BYTES, Arc::clone(&metrics)), Store::new(Some(absent), MAX_BYTES, Arc::clone(&metrics))]
    {
        bench.refresh(&store, &new).unwrap();
        // By whatever anchor.
        assert_eq!(code(bench.refresh_at(&store, &old, &pin(&old), now())), "rollback");
        let known = store.get(&bench.server, &bench.gun, soon()).unwrap();
        assert!(known.stale(&pin(&old), &alice(), now()).unwrap().is_some());
    }
    assert!(metrics.render().contains("portreeve_trust_store_failures_total 2"), "{}", metrics.render());
}

#[test]
fn people_are_told_what_is_stored() {
    let bench = Bench::new();
    let repo = plant().publish();
    assert!(bench.start().summary(&bench.server, &bench.gun).is_none());
    bench.refresh(&bench.start(), &repo).unwrap();
    let summary = bench.start().summary(&bench.server, &bench.gun).unwrap();
    assert_eq!((summary.confirmed, summary.damage), (Some(now()), None));
    let roles: Vec<_> =
        summary.roles.iter().map(|role| (role.role.as_str(), role.version, role.file.is_some())).collect();
    let expected = ["root", "snapshot", "targets", "targets/alice", "targets/releases", "timestamp"];
    assert_eq!(roles, expected.map(|role| (role, 1, true)));
    let name = fs::read_to_string(bench.directory().join("name")).unwrap();
    assert_eq!(name, format!("https://notary.local\n{GUN}\n"));
    fs::write(bench.directory().join("state.json"), b"junk").unwrap();
    assert!(bench.start().summary(&bench.server, &bench.gun).unwrap().damage.is_some());
}

#[test]
fn a_pinned_certificate_counts_for_what_is_stored() -> Result<(), PinError> {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let pins = vec![RootPin::certificate_from_pem(&repo.root_certificate_pem())?];
    let anchor = Anchor { pins: pins.into(), first_use: FirstUse::Forbidden };
    assert_eq!(code(bench.refresh_at(&bench.start(), &repo, &anchor, now())), "accepted");
    Ok(())
}
