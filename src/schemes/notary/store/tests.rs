//! What is stored: whole or not at all, verified again, and never gone back behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::thread;

use portreeve_test_support::signer::{Key, Repo, Signer};

use super::records::MAX_REPOSITORIES;
use super::*;
use crate::base::files::scratch::Scratch;
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::anchor::{Anchor, FirstUse, PinError, RootPin};
use portreeve_verify::tuf::gun::RoleName;
use portreeve_verify::tuf::key::{KeyId, SignerKey};
use portreeve_verify::tuf::refresh::RefreshError;
use portreeve_verify::tuf::repository::{Rejection, RequiredSigner, TargetQuery};
use portreeve_verify::tuf::source::{FetchError, MetadataName, MetadataSource};
use portreeve_verify::unavailable::{Unavailable, UnavailableCause};

const MAX_WEIGHT: u64 = 64 << 20;
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
    Anchor { pins: Vec::new(), first_use: FirstUse::Allowed }
}

fn pin(repo: &Repo) -> Anchor {
    let id = KeyId::from_hex(&repo.root_key_id()).unwrap();
    Anchor { pins: vec![RootPin::KeyId(id)], first_use: FirstUse::Allowed }
}

fn alice() -> BTreeSet<RoleName> {
    BTreeSet::from([RoleName::of_signer("alice").unwrap()])
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
        Store::new(Some(self.cache()), MAX_WEIGHT, Arc::new(Metrics::new()))
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
        let known = store.recall(&self.server, &self.gun, soon());
        let epoch = known.as_ref().map_or(0, |known| known.epoch());
        let repository = match known {
            Some(known) => {
                let refreshed = known.refresh(&mut source, &self.gun, anchor, &alice(), now);
                refreshed.map_err(|failed| failed.error)?
            }
            None => Repository::refresh(&mut source, &self.gun, anchor, None, &alice(), now)?,
        };
        let repository = Arc::new(repository);
        store.remember(&self.server, &self.gun, &repository, Some(now), epoch);
        store.admitted(&self.server, &self.gun);
        store.persist(&self.server, &self.gun, &repository, epoch, source.take_record(), soon());
        Ok(repository)
    }

    /// What stands in for a server that is away, in a process that starts now.
    fn stand_in(&self, now: Timestamp) -> Result<Option<(Repository, Duration)>, Rejection> {
        let known = self.start().recall(&self.server, &self.gun, soon());
        known.map_or(Ok(None), |known| known.stand_in(&first_use(), &alice(), now))
    }

    /// The versions of the timestamp that are read back, and whether all of it is.
    fn stored(&self) -> Option<(u64, bool)> {
        let known = self.start().recall(&self.server, &self.gun, soon())?;
        Some((timestamp_of(&known), known.has_data()))
    }

    fn state(&self) -> String {
        fs::read_to_string(self.directory().join("state.json")).unwrap()
    }
}

/// The version that binds a role with these keys.
fn version_of(known: &Known, role: &str, keys: &[Key]) -> u64 {
    let keys: BTreeSet<_> = keys.iter().map(|key| KeyId::from_hex(&key.bare().id())).collect();
    let marks = known.seen.minimum_versions().entries().filter(|(name, key, _)| *name == role && keys.contains(key));
    marks.map(|(_, _, header)| header.version).max().unwrap_or(0)
}

fn timestamp_of(known: &Known) -> u64 {
    known.seen.root().map_or(0, |root| known.seen.minimum_versions().version("timestamp", root.timestamp()))
}

fn code<T>(result: Result<T, RefreshError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(RefreshError::Rejected(rejection)) => rejection.code(),
        Err(RefreshError::Unavailable(_)) => "unavailable",
    }
}

fn judge(repository: &Repository, repo: &Repo, now: Timestamp) -> Result<String, Rejection> {
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

#[test]
fn what_was_verified_stands_in_after_a_restart() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let (stored, age) = bench.stand_in(later(3600)).unwrap().unwrap();
    assert_eq!(age, Duration::from_secs(3600));
    assert_eq!(judge(&stored, &repo, later(3600)).unwrap(), "01".repeat(32));
    // A clock that was set back makes nothing young.
    assert!(bench.stand_in(later(-1)).unwrap().is_none());
    // And nothing that has ended counts: the timestamp lives for 14 days.
    assert_eq!(bench.stand_in(later(15 * 86_400)).unwrap_err().code(), "expired");
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
    let known = bench.start().recall(&bench.server, &bench.gun, soon()).unwrap();
    let signers = |name: &str| BTreeSet::from([RoleName::of_signer(name).unwrap()]);
    assert!(known.stand_in(&first_use(), &signers("bob"), now()).unwrap().is_none());
    // That there is no such role, the stored snapshot says.
    assert!(known.stand_in(&first_use(), &signers("carol"), now()).unwrap().is_some());
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
            // A signer's role that went back denies those who ask for that signer.
            "targets/alice" => {
                let found = found.unwrap();
                assert_eq!(judge(&found, &new, now()).unwrap_err().code(), "rollback", "{role}");
                // Nor does it help to ask for the role once more.
                let found = found.with_signers(&mut Files(&back), &alice(), now()).unwrap();
                assert_eq!(judge(&found, &new, now()).unwrap_err().code(), "rollback", "{role}");
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
                assert_eq!(judge(&found, &new, now()).unwrap_err().code(), "rollback");
                let found = found.with_signers(&mut Files(&back), &alice(), now()).unwrap();
                assert_eq!(judge(&found, &new, now()).unwrap_err().code(), "rollback");
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
    // Somebody else's repository under the same name, newer in every number.
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
    let known = bench.start().recall(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(known.stand_in(&pin(&other), &alice(), now()).unwrap_err().code(), "root-not-trusted");
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    assert_eq!(code(bench.refresh_at(&bench.start(), &other, &pin(&other), now())), "accepted");
}

#[test]
fn row_047_a_damaged_root_denies_without_pins() {
    let repo = plant().publish();
    let root = format!("{}.json", Sha256::of(&repo.bytes("root")).hex());
    let spoilt = repo.bytes("timestamp");
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 6] = [
        ("gone", &|directory| fs::remove_file(directory.join(&root)).unwrap()),
        ("cut short", &|directory| fs::write(directory.join(&root), b"{").unwrap()),
        ("another file", &|directory| fs::write(directory.join(&root), &spoilt).unwrap()),
        ("index cut short", &|directory| fs::write(directory.join("state.json"), b"{\"format\":1").unwrap()),
        ("index empty", &|directory| fs::write(directory.join("state.json"), b"").unwrap()),
        ("index of another", &|directory| {
            let text = fs::read_to_string(directory.join("state.json")).unwrap();
            fs::write(directory.join("state.json"), text.replace("plant/plc", "plant/hmi")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let bench = Bench::new();
        bench.refresh(&bench.start(), &repo).unwrap();
        damage(&bench.directory());
        let metrics = Arc::new(Metrics::new());
        let store = Store::new(Some(bench.cache()), MAX_WEIGHT, Arc::clone(&metrics));
        let found = bench.refresh(&store, &repo);
        let Err(RefreshError::Rejected(rejection)) = found else { panic!("{what}: {found:?}") };
        assert_eq!(rejection.code(), "stored-root-damaged", "{what}");
        assert!(rejection.to_string().contains(&format!("portreeve check --reset {GUN}")), "{rejection}");
        let counted = "portreeve_reloads_total{what=\"stored_trust\",result=\"failed\"} 1";
        assert!(metrics.render().contains(counted), "{what}");
        assert!(bench.stand_in(now()).unwrap().is_none(), "{what}");
        // With pins it starts again from them, and is whole afterwards.
        assert_eq!(code(bench.refresh_at(&bench.start(), &repo, &pin(&repo), now())), "accepted", "{what}");
        assert_eq!(code(bench.refresh(&bench.start(), &repo)), "accepted", "{what}");
        assert!(bench.stand_in(now()).unwrap().is_some(), "{what}");
    }
}

#[test]
fn a_damaged_root_does_not_take_the_versions_along() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    bench.refresh(&bench.start(), &new).unwrap();
    fs::remove_file(bench.directory().join(format!("{}.json", Sha256::of(&new.bytes("root")).hex()))).unwrap();
    assert_eq!(code(bench.refresh_at(&bench.start(), &old, &pin(&old), now())), "rollback");
    assert_eq!(code(bench.refresh_at(&bench.start(), &new, &pin(&old), now())), "accepted");
}

/// The owner took a stolen key away. Whoever has it, and can damage the stored root, does not get it back.
#[test]
fn a_damaged_root_does_not_take_its_own_version_along() {
    let bench = Bench::new();
    let base = plant().publish();
    let stolen = base.keys("targets");
    let rotated = base.update(|signer| signer.rotate("targets", vec![Key::p256()]));
    bench.refresh(&bench.start(), &rotated).unwrap();
    fs::remove_file(bench.directory().join(format!("{}.json", Sha256::of(&rotated.bytes("root")).hex()))).unwrap();
    let forged = base.update(|signer| {
        let signer = signer.sign_with("targets", stolen).touch("targets").release("v1", [9; 32], 5, &["alice"]);
        ["timestamp", "snapshot", "targets"].into_iter().fold(signer, |signer, role| signer.version(role, 9))
    });
    for _ in 0..2 {
        let found = bench.refresh_at(&bench.start(), &forged, &pin(&base), now());
        let Err(RefreshError::Rejected(rejection)) = found else { panic!("{found:?}") };
        assert_eq!(rejection, Rejection::Rollback { role: "root".to_owned(), seen: 2, offered: 1 });
    }
    assert_eq!(code(bench.refresh_at(&bench.start(), &rotated, &pin(&base), now())), "accepted");
}

#[test]
fn damaged_data_is_fetched_anew_under_the_stored_root() {
    let repo = plant().publish();
    for role in ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let bench = Bench::new();
        bench.refresh(&bench.start(), &repo).unwrap();
        let file = bench.directory().join(format!("{}.json", Sha256::of(&repo.bytes(role)).hex()));
        let mut bytes = fs::read(&file).unwrap();
        bytes[40] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(bench.stored(), Some((1, false)), "{role}");
        assert!(bench.stand_in(now()).unwrap().is_none(), "{role}");
        assert_eq!(code(bench.refresh(&bench.start(), &repo)), "accepted");
        assert_eq!(bench.stored(), Some((1, true)), "{role}");
    }
}

/// The disk fills up, or the process dies, before any one of the operations of a write: what is read afterwards is the
/// old generation or the new one, whole.
#[test]
fn a_write_that_ends_anywhere_leaves_a_whole_generation() {
    let old = plant().publish();
    let new = old.update(|signer| signer.release("v1", [2; 32], 1, &["alice"]));
    let mut outcomes = BTreeSet::new();
    for steps in 0.. {
        let bench = Bench::new();
        bench.refresh(&bench.start(), &old).unwrap();
        let store = bench.start();
        *store.disk.as_ref().unwrap().steps.lock().unwrap() = Some(steps);
        // The answer does not depend on the disk.
        assert!(bench.refresh(&store, &new).is_ok());
        let left = store.disk.as_ref().unwrap().steps.lock().unwrap().unwrap();
        let found = bench.stored();
        let (stored, _) = bench.stand_in(now()).unwrap().unwrap();
        let digest = judge(&stored, &old, now()).unwrap();
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
        *store.disk.as_ref().unwrap().steps.lock().unwrap() = Some(steps);
        assert!(bench.refresh(&store, &repo).is_ok());
        assert!(matches!(bench.stored(), None | Some((1, true))), "after {steps} steps");
        // The process itself still knows what it saw.
        assert_eq!(timestamp_of(&store.recall(&bench.server, &bench.gun, soon()).unwrap()), 1);
        if store.disk.as_ref().unwrap().steps.lock().unwrap().unwrap() > 0 {
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
    assert_eq!(bench.stand_in(later(61)).unwrap().unwrap().1, Duration::ZERO);
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
fn an_older_generation_never_replaces_a_later_one() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    let (slow, fast) = (bench.start(), bench.start());
    bench.refresh(&slow, &old).unwrap();
    bench.refresh(&fast, &new).unwrap();
    // The slow one had fetched its data before, and writes it only now.
    let known = slow.records().get(&(bench.server.clone(), bench.gun.clone())).unwrap();
    assert_eq!(timestamp_of(&known), 1);
    let repository = known.repository.clone().unwrap();
    slow.persist(&bench.server, &bench.gun, &repository, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((2, true)));
    // And from then on knows what the other one has seen.
    assert_eq!(code(bench.refresh(&slow, &old)), "rollback");
}

#[test]
fn several_at_once_leave_the_latest() {
    let bench = Bench::new();
    let mut repos = vec![plant().publish()];
    for _ in 0..7 {
        let next = repos.last().unwrap().update(|signer| signer.touch("snapshot"));
        repos.push(next);
    }
    thread::scope(|scope| {
        for first in 0..4 {
            let (bench, repos) = (&bench, &repos);
            scope.spawn(move || {
                for repo in repos.iter().skip(first) {
                    // One that is behind the others is refused; nobody is let down otherwise.
                    let found = code(bench.refresh(&bench.start(), repo));
                    assert!(matches!(found, "accepted" | "rollback"), "{found}");
                    assert!(bench.stored().is_some_and(|(_, whole)| whole));
                }
            });
        }
    });
    assert_eq!(bench.stored(), Some((8, true)));
}

#[test]
fn a_reset_is_noticed_by_who_remembers() {
    let bench = Bench::new();
    let running = bench.start();
    let new = plant().touch("timestamp").publish();
    bench.refresh(&running, &new).unwrap();
    let anew = plant().publish();
    assert_ne!(code(bench.refresh(&running, &anew)), "accepted");
    let other = Gun::new("registry.local:9001/plant/hmi").unwrap();
    assert!(reset(bench.cache(), &other, &[]).unwrap().is_empty());
    assert_ne!(code(bench.refresh(&running, &anew)), "accepted");
    assert_eq!(reset(bench.cache(), &bench.gun, &[]).unwrap(), ["https://notary.local"]);
    assert_eq!(code(bench.refresh(&running, &anew)), "accepted");
    assert!(bench.stand_in(now()).unwrap().is_some());
    assert_eq!(code(bench.refresh(&bench.start(), &new)), "signature");
}

#[test]
fn who_had_fetched_before_a_reset_does_not_undo_it() {
    let bench = Bench::new();
    let running = bench.start();
    let repo = plant().publish();
    let repository = bench.refresh(&running, &repo).unwrap();
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let bytes = ["targets", "targets/alice", "targets/releases"].map(|role| repo.bytes(role));
    let record: Record = bytes.map(|bytes| (Sha256::of(&bytes), bytes)).into();
    running.persist(&bench.server, &bench.gun, &repository, 0, record, soon());
    assert_eq!(bench.stored(), Some((0, false)));
    assert_eq!(code(bench.refresh(&running, &plant().publish())), "accepted");
}

#[test]
fn what_could_not_be_written_is_remembered_beside_what_others_wrote() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("targets/alice"));
    let other = old.update(|signer| signer.touch("timestamp")).update(|signer| signer.touch("timestamp"));
    let running = bench.start();
    *running.disk.as_ref().unwrap().steps.lock().unwrap() = Some(0);
    bench.refresh(&running, &new).unwrap();
    bench.refresh(&bench.start(), &other).unwrap();
    assert_eq!(bench.stored(), Some((3, true)));
    // The other process has the newer timestamp, and has never seen the newer snapshot.
    assert_eq!(code(bench.refresh(&running, &other)), "rollback");
}

#[test]
fn what_is_read_slowly_does_not_undo_what_came_meanwhile() {
    let bench = Bench::new();
    let old = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &old).unwrap();
    let place = Place { server: &bench.server, gun: &bench.gun };
    let disk = store.disk.as_ref().unwrap();
    let read = read(disk, &store.metrics, &store.budget, place, disk.stamp(place), unhurried());
    bench.refresh(&store, &old.update(|signer| signer.touch("timestamp"))).unwrap();
    let known = store.take_in((bench.server.clone(), bench.gun.clone()), read).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
}

#[test]
fn what_others_have_seen_of_other_roles_counts_here_too() {
    let bench = Bench::new();
    let first = plant().publish();
    let second = first.update(|signer| signer.touch("targets/alice"));
    let third = second.update(|signer| signer.touch("timestamp"));
    let (store, other) = (bench.start(), bench.start());
    bench.refresh(&other, &second).unwrap();
    // This one never asked for alice, and does not look before it writes.
    let mut source = crate::schemes::notary::recorder::Recorder::new(
        Box::new(Files(&third)),
        true,
        &store.budget,
        "https://n",
        unhurried(),
    );
    let none = BTreeSet::new();
    let ours = Repository::refresh(&mut source, &bench.gun, &first_use(), None, &none, now()).unwrap();
    let ours = Arc::new(ours);
    store.remember(&bench.server, &bench.gun, &ours, Some(now()), 0);
    store.persist(&bench.server, &bench.gun, &ours, 0, source.take_record(), soon());
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!((timestamp_of(&known), version_of(&known, "targets/alice", &third.keys("targets/alice"))), (3, 2));
}

#[test]
fn what_failed_halfway_replaces_nothing_that_is_whole() {
    let bench = Bench::new();
    let old = plant().publish();
    // All files but two are the same, and so at hand for a write of the older data.
    let new = old.update(|signer| signer.touch("snapshot"));
    let (store, other) = (bench.start(), bench.start());
    let before = bench.refresh(&store, &old).unwrap();
    let after = bench.refresh(&other, &new).unwrap();
    let is_superseded = |store: &Store| {
        store.recall(&bench.server, &bench.gun, soon()).unwrap().repository.as_ref().unwrap().is_superseded()
    };
    // Another process has it whole.
    store.note(&bench.server, &bench.gun, after.trusted_state(), 0);
    store.persist_noted(&bench.server, &bench.gun, soon());
    assert_eq!(bench.stored(), Some((2, true)));
    assert!(!is_superseded(&store));
    // Nor does the data that it was noted beside, written late.
    let halfway = Arc::new(before.with_state(after.trusted_state()));
    store.remember(&bench.server, &bench.gun, &halfway, None, 0);
    store.persist(&bench.server, &bench.gun, &halfway, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((2, true)));
    assert!(!is_superseded(&store));
    // Another question of this process has it whole.
    other.remember(&bench.server, &bench.gun, &halfway, None, 0);
    other.note(&bench.server, &bench.gun, halfway.trusted_state(), 0);
    assert!(!is_superseded(&other));
}

#[test]
fn data_below_its_own_floor_stands_in_for_nothing() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&bench.state()).unwrap();
    let key = repo.keys("snapshot")[0].id();
    assert_eq!(state["seenUnder"]["snapshot"][&key]["version"], 1);
    state["seenUnder"]["snapshot"][&key]["version"] = 9.into();
    fs::write(bench.directory().join("state.json"), state.to_string()).unwrap();
    assert!(bench.stand_in(now()).unwrap().is_none());
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
    state["seenUnder"]["snapshot"][&key]["version"] = 1.into();
    state["seen"]["root"]["version"] = 2.into();
    fs::write(bench.directory().join("state.json"), state.to_string()).unwrap();
    assert!(bench.stand_in(now()).unwrap().is_none());
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
    // Another content than the one that was verified is damage.
    state["seen"]["root"]["version"] = 1.into();
    state["seenUnder"]["snapshot"][&key]["content"] = "0".repeat(64).into();
    fs::write(bench.directory().join("state.json"), state.to_string()).unwrap();
    let damage = bench.start().summary(&bench.server, &bench.gun).unwrap().damage.unwrap();
    assert_eq!(damage, "its snapshot is not the one that was verified");
    assert!(bench.stand_in(now()).unwrap().is_none());
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "equivocation");
}

/// A refresh that fails further on leaves what is stored as it was, and says what is wrong with what the server offers.
#[test]
fn row_109_a_refresh_that_failed_half_way_is_no_damage() {
    let base = plant().publish();
    type Change<'a> = &'a dyn Fn(Signer) -> Signer;
    let changes: [(&str, &str, Change<'_>); 5] = [
        // A signer's key was replaced, and nothing is signed with the new one yet (notary#1500).
        ("signature", "nothing", &|signer| {
            let old = base.bytes("targets/releases");
            signer.rotate("targets/releases", vec![Key::p256()]).edit_bytes("targets/releases", move |_| old.clone())
        }),
        ("expired", "nothing", &|signer| signer.expires("targets", now()).touch("timestamp")),
        ("unavailable", "snapshot", &|signer| signer.touch("snapshot")),
        ("unavailable", "targets.", &|signer| signer.touch("targets")),
        ("unavailable", "targets/releases.", &|signer| signer.touch("targets/releases").touch("targets")),
    ];
    for (expected, without, change) in changes {
        let bench = Bench::new();
        let mut store = bench.start();
        bench.refresh(&store, &base).unwrap();
        let halfway = base.update(change);
        for round in 0..3 {
            assert_eq!(fail(&bench, &store, &halfway, without), expected, "{without} {round}");
            let metrics = Arc::new(Metrics::new());
            store = Store::new(Some(bench.cache()), MAX_WEIGHT, Arc::clone(&metrics));
            let summary = store.summary(&bench.server, &bench.gun).unwrap();
            assert_eq!(summary.damage, None, "{without} {round}");
            let timestamp = summary.roles.iter().find(|role| role.role == "timestamp").unwrap();
            assert_eq!((timestamp.version, timestamp.file.is_some()), (2, false), "the one that was seen");
            // It stands in for nothing, as before the restart.
            let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
            assert!(known.has_data() && known.is_superseded());
            assert!(known.stand_in(&first_use(), &alice(), now()).unwrap().is_none());
            let failed = r#"portreeve_reloads_total{what="stored_trust",result="failed"} 0"#;
            assert!(metrics.render().contains(failed), "{without} {round}");
        }
        // The versions that were seen bind.
        assert_eq!(code(bench.refresh(&store, &base)), "rollback", "{without}");
        let mended = base.update(|signer| signer.version("timestamp", 3).version("snapshot", 3).version("targets", 3));
        let mended = mended.update(|signer| signer.version("targets/releases", 3));
        assert_eq!(code(bench.refresh(&store, &mended)), "accepted", "{without}");
    }
}

/// Only absence is absence. A disk that fails says nothing of what was stored, and what was seen may bind.
#[test]
fn a_disk_that_cannot_be_read_is_no_first_use() {
    use std::io;
    let bench = Bench::new();
    let repo = plant().publish();
    let newer = repo.update(|signer| signer.touch("timestamp"));
    bench.refresh(&bench.start(), &newer).unwrap();
    let faults: [fn() -> io::Result<()>; 2] =
        [|| Err(io::ErrorKind::PermissionDenied.into()), || Err(io::Error::from_raw_os_error(5))];
    for fault in faults {
        let store = bench.start();
        *store.disk.as_ref().unwrap().reading.lock().unwrap() = Some(fault);
        for anchor in [first_use(), pin(&repo)] {
            let failed = bench.refresh_at(&store, &repo, &anchor, now()).unwrap_err();
            let RefreshError::Unavailable(why) = failed else { panic!("{failed:?}") };
            let path = bench.directory().display().to_string();
            assert_eq!(why.cause, UnavailableCause::TrustState);
            assert!(why.message.starts_with("trust.cache cannot be read: ") && why.message.contains(&path), "{why}");
        }
        let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
        assert!(known.stand_in(&first_use(), &alice(), now()).unwrap().is_none());
        assert!(store.said_unreadable.load(Ordering::Relaxed));
        // It is not remembered: as soon as the disk can be read, what was seen binds.
        *store.disk.as_ref().unwrap().reading.lock().unwrap() = None;
        assert_eq!(code(bench.refresh(&store, &repo)), "rollback");
        assert_eq!(code(bench.refresh(&store, &newer)), "accepted");
        assert!(!store.said_unreadable.load(Ordering::Relaxed));
        // Who remembers needs no disk.
        *store.disk.as_ref().unwrap().reading.lock().unwrap() = Some(fault);
        let other = bench.start();
        bench.refresh(&other, &newer.update(|signer| signer.touch("snapshot"))).unwrap();
        assert_eq!(code(bench.refresh(&store, &repo)), "rollback");
        assert_eq!(code(bench.refresh(&store, &newer)), "accepted");
        let _ = fs::remove_dir_all(bench.directory());
        bench.refresh(&bench.start(), &newer).unwrap();
    }
    // As the system itself has it.
    let circle = bench.scratch.path().join("circle");
    symlink(&circle, &circle).unwrap();
    let long = bench.scratch.path().join("x".repeat(300));
    for base in [circle, long] {
        let store = Store::new(Some(base), MAX_WEIGHT, Arc::new(Metrics::new()));
        assert_eq!(code(bench.refresh(&store, &newer)), "unavailable");
    }
    // The root's file alone.
    let root = bench.directory().join(format!("{}.json", Sha256::of(&newer.bytes("root")).hex()));
    fs::remove_file(&root).unwrap();
    assert_eq!(code(bench.refresh(&bench.start(), &newer)), "stored-root-damaged", "it is gone, and nothing else");
    // What is not there was never there.
    let absent = bench.scratch.path().join("no/such/cache");
    let store = Store::new(Some(absent), MAX_WEIGHT, Arc::new(Metrics::new()));
    assert_eq!(code(bench.refresh(&store, &newer)), "accepted");
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_past_the_deadline() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let store = bench.start();
    *store.disk.as_ref().unwrap().reading.lock().unwrap() = Some(|| {
        thread::sleep(Duration::from_secs(8));
        Ok(())
    });
    let began = std::time::Instant::now();
    let known = store.recall(&bench.server, &bench.gun, Deadline::after(Duration::from_millis(2_400))).unwrap();
    assert!(known.why_unreadable().is_some_and(|why| why.contains("does not answer")));
    // Nobody waits again for what another has waited for in vain.
    assert!(store.recall(&bench.server, &bench.gun, soon()).unwrap().why_unreadable().is_some());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn a_reset_mends_whatever_is_there() {
    let bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    fs::write(bench.directory().join("state.json"), b"junk").unwrap();
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "stored-root-damaged");
    // Even where nobody can read whose it was: the server is known from the configuration.
    fs::write(bench.directory().join("name"), b"junk").unwrap();
    assert_eq!(reset(bench.cache(), &bench.gun, std::slice::from_ref(&bench.server)).unwrap().len(), 1);
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "accepted");
}

#[test]
fn names_cannot_lead_out_and_links_are_refused() {
    let bench = Bench::new();
    for name in ["a/b/c", "localhost/x", "a", "registry.local:9001/..x/y"] {
        let gun = Gun::new(name).unwrap();
        let directory = Disk::new(bench.cache()).directory(Place { server: &bench.server, gun: &gun });
        assert_eq!(directory.parent(), Some(bench.cache().as_path()), "{name}");
    }
    let repo = plant().publish();
    let outside = bench.scratch.path().join("outside");
    // The directory itself.
    fs::create_dir_all(&outside).unwrap();
    let store = bench.start();
    symlink(&outside, bench.directory()).unwrap();
    assert_eq!(code(bench.refresh(&store, &repo)), "stored-root-damaged");
    bench.refresh_at(&store, &repo, &pin(&repo), now()).unwrap();
    assert!(files_in(&outside).is_empty());
    fs::remove_file(bench.directory()).unwrap();
    // A file that is to be written, and one that is to be read.
    bench.refresh(&bench.start(), &repo).unwrap();
    let secret = bench.scratch.write("secret", b"untouched");
    for name in ["state.json", "lock"] {
        let path = bench.directory().join(name);
        fs::remove_file(&path).unwrap();
        symlink(&secret, &path).unwrap();
        let next = repo.update(|signer| signer.touch("timestamp"));
        let _ = bench.refresh_at(&bench.start(), &next, &pin(&repo), now());
        assert_eq!(fs::read(&secret).unwrap(), b"untouched", "{name}");
        fs::remove_file(&path).unwrap();
    }
    // A pipe would keep who opens it waiting.
    let pipe = bench.directory().join("state.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (done, wait) = std::sync::mpsc::channel();
    let disk = Disk::new(bench.cache());
    let (server, gun) = (bench.server.clone(), bench.gun.clone());
    thread::spawn(move || done.send(disk.load(Place { server: &server, gun: &gun }).is_err()));
    assert_eq!(wait.recv_timeout(Duration::from_secs(10)), Ok(true));
    // A directory that everybody may write was not left like that by us.
    fs::remove_dir_all(bench.directory()).unwrap();
    bench.refresh(&bench.start(), &repo).unwrap();
    fs::set_permissions(bench.directory(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(code(bench.refresh(&bench.start(), &repo)), "stored-root-damaged");
}

#[test]
fn without_a_directory_memory_lasts_as_long_as_the_process() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    let metrics = Arc::new(Metrics::new());
    let absent = bench.scratch.path().join("not/mounted");
    for store in
        [Store::new(None, MAX_WEIGHT, Arc::clone(&metrics)), Store::new(Some(absent), MAX_WEIGHT, Arc::clone(&metrics))]
    {
        bench.refresh(&store, &new).unwrap();
        // By whatever anchor.
        assert_eq!(code(bench.refresh_at(&store, &old, &pin(&old), now())), "rollback");
        let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
        assert!(known.stand_in(&pin(&old), &alice(), now()).unwrap().is_some());
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
    let anchor = Anchor { pins, first_use: FirstUse::Forbidden };
    assert_eq!(code(bench.refresh_at(&bench.start(), &repo, &anchor, now())), "accepted");
    Ok(())
}

#[test]
fn what_is_too_heavy_together_gives_up_data_but_no_version() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("timestamp"));
    let key = (bench.server.clone(), bench.gun.clone());
    let metrics = Arc::new(Metrics::new());
    for (store, kept) in [(Store::new(None, MAX_WEIGHT, metrics), false), (bench.start(), true)] {
        let repository = bench.refresh(&store, &new).unwrap();
        let other = (bench.server.clone(), Gun::new("another").unwrap());
        {
            let mut records = store.records();
            assert!(records.weight > repository.heap_size());
            records.weight += MAX_WEIGHT; // as if there were many more
            records.insert(other.clone(), Arc::new(Known::nothing()));
            // The heaviness is made up, so all that could be given up was.
            assert_eq!(records.by_key.keys().collect::<Vec<_>>(), [&other]);
            records.weight = 0;
            records.insert(key.clone(), Arc::new(Known::of(Arc::clone(&repository), None, 0)));
            assert!(records.lighten(&other));
            assert!(records.weight > 0 && records.weight < repository.heap_size(), "{}", records.weight);
        }
        let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
        assert_eq!(known.has_data(), kept, "the disk has it");
        assert_eq!(code(bench.refresh(&store, &old)), "rollback");
        assert_eq!(code(bench.refresh(&store, &new)), "accepted");
    }
}

#[test]
fn what_only_memory_knows_is_given_up_last() {
    let bench = Bench::new();
    let mut records = Records { max_weight: MAX_WEIGHT, ..Records::default() };
    let key = |name: &str| (bench.server.clone(), Gun::new(name).unwrap());
    let repository = bench.refresh(&bench.start(), &plant().publish()).unwrap();
    let stored = Known { on_disk: Some(State::empty(0)), ..Known::nothing() };
    records.insert(key("memory"), Arc::new(Known::nothing()));
    records.insert(key("disk"), Arc::new(stored));
    records.insert(key("data"), Arc::new(Known::of(repository, None, 0)));
    let names = |records: &Records| {
        let mut names: Vec<_> = records.by_key.keys().map(|(_, gun)| gun.as_str().to_owned()).collect();
        names.sort();
        names
    };
    assert!(records.lighten(&key("new")));
    assert_eq!(names(&records), ["data", "disk", "memory"]);
    assert!(!records.by_key[&key("data")].known.has_data());
    assert!(records.lighten(&key("new")));
    assert_eq!(names(&records), ["data", "memory"]);
    assert!(records.lighten(&key("new")));
    assert_eq!(names(&records), ["data"], "the oldest, as both are known nowhere else");
    assert!(records.lighten(&key("new")) && !records.lighten(&key("new")));
    assert_eq!(records.weight, 0);
}

#[test]
fn what_the_disk_has_an_older_floor_of_is_given_up_last_as_well() {
    let bench = Bench::new();
    let mut records = Records { max_weight: MAX_WEIGHT, ..Records::default() };
    let key = |name: &str| (bench.server.clone(), Gun::new(name).unwrap());
    let repository = bench.refresh(&bench.start(), &plant().publish()).unwrap();
    // It could not be written, as on a disk that is full.
    let beyond = Known { on_disk: Some(State::empty(0)), ..Known::of(repository, None, 0).without_data() };
    records.insert(key("beyond"), Arc::new(beyond));
    let stored = Known { on_disk: Some(State::empty(0)), ..Known::nothing() };
    records.insert(key("stored"), Arc::new(stored.clone()));
    assert!(records.lighten(&key("new")));
    assert_eq!(records.by_key.keys().collect::<Vec<_>>(), [&key("beyond")]);
    // Nor does it go for being one too many.
    for number in 0..MAX_REPOSITORIES {
        records.insert(key(&format!("made-up/{number}")), Arc::new(stored.clone()));
    }
    assert_eq!(records.by_key.len(), MAX_REPOSITORIES);
    assert!(records.by_key.contains_key(&key("beyond")) && !records.by_key.contains_key(&key("made-up/0")));
}

/// Other repositories are brought, and memory is short, between an answer and its writing.
#[test]
fn what_is_given_up_before_it_is_written_leaves_its_floor_on_the_disk() {
    for lost in ["data", "all"] {
        let bench = Bench::new();
        let old = plant().publish();
        let new = old.update(|signer| signer.touch("timestamp"));
        let store = bench.start();
        bench.refresh(&store, &old).unwrap();
        let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
        let found = known.refresh(&mut Files(&new), &bench.gun, &first_use(), &alice(), now()).unwrap();
        let found = Arc::new(found);
        store.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
        let other = (bench.server.clone(), Gun::new("another").unwrap());
        assert!(store.records().lighten(&other));
        assert!(lost == "data" || store.records().lighten(&other));
        store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
        assert_eq!(code(bench.refresh(&bench.start(), &old)), "rollback");
        assert_eq!(code(bench.refresh(&bench.start(), &new)), "accepted");
    }
}

#[test]
fn a_directory_that_was_emptied_is_filled_again() {
    let bench = Bench::new();
    let mut repo = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &repo).unwrap();
    for entirely in [true, false] {
        if entirely {
            fs::remove_dir_all(bench.directory()).unwrap();
        } else {
            for file in files_in(&bench.directory()) {
                fs::remove_file(bench.directory().join(file)).unwrap();
            }
        }
        for _ in 0..2 {
            repo = repo.update(|signer| signer.touch("timestamp"));
            bench.refresh(&store, &repo).unwrap();
        }
        assert!(bench.stored().is_some_and(|(_, whole)| whole), "{:?}", bench.stored());
        assert_eq!(bench.stored().unwrap().0, if entirely { 3 } else { 5 });
    }
}

#[test]
fn who_builds_on_what_was_reset_does_not_bring_it_back() {
    let bench = Bench::new();
    let repo = plant().publish();
    let store = bench.start();
    let before = bench.refresh(&store, &repo).unwrap();
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    // Somebody else has noticed already.
    let epoch = store.recall(&bench.server, &bench.gun, soon()).unwrap().epoch();
    assert!(epoch > 0);
    store.remember(&bench.server, &bench.gun, &before, None, 0);
    assert!(!store.recall(&bench.server, &bench.gun, soon()).unwrap().has_data());
    // A repository that was made anew is taken.
    bench.refresh(&store, &plant().publish()).unwrap();
    // And a reset that the clock puts before the last one is one all the same.
    let disk = Disk::new(bench.cache());
    disk.reset(Place { server: &bench.server, gun: &bench.gun }, 1).unwrap();
    assert!(store.recall(&bench.server, &bench.gun, soon()).unwrap().epoch() > epoch);
}

/// As high as nobody comes by himself.
const HIGH: u64 = u32::MAX as u64;

/// What alice's word is worth in what a new process makes of this.
fn after_restart(bench: &Bench, repo: &Repo) -> &'static str {
    match bench.refresh(&bench.start(), repo) {
        Ok(found) => judge(&found, repo, now()).map_or_else(|rejection| rejection.code(), |_| "accepted"),
        Err(error) => code::<()>(Err(error)),
    }
}

#[test]
fn an_owner_recovers_by_other_keys_across_restarts() {
    for role in ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let bench = Bench::new();
        let base = plant().publish();
        let driven = base.update(|signer| signer.version(role, HIGH));
        assert_eq!(after_restart(&bench, &base), "accepted");
        assert_eq!(after_restart(&bench, &driven), "accepted");
        let lower = driven.update(|signer| signer.version(role, 2));
        assert_eq!(after_restart(&bench, &lower), "rollback", "{role}");
        let both = [driven.keys(role), vec![Key::p256()]].concat();
        let shared = lower.update(|signer| signer.rotate(role, both).version(role, 2));
        assert_eq!(after_restart(&bench, &shared), "rollback", "{role}");
        let recovered = shared.update(|signer| signer.rotate(role, vec![Key::p256()]).version(role, 2));
        assert_eq!(after_restart(&bench, &recovered), "accepted", "{role}");
        assert!(bench.stored().unwrap().1, "{role}");
        assert!(bench.stand_in(now()).unwrap().is_some(), "{role}");
        assert_ne!(after_restart(&bench, &driven), "accepted", "{role}");
        let down = recovered.update(|signer| signer.version(role, 1));
        assert_eq!(after_restart(&bench, &down), "rollback", "{role}");
        let further = down.update(|signer| signer.version(role, 3));
        assert_eq!(after_restart(&bench, &further), "accepted", "{role}");
        // And the keys that were taken away find their floor, should they ever come back.
        let back = further.update(|signer| signer.rotate(role, driven.keys(role)).version(role, 5));
        assert_eq!(after_restart(&bench, &back), "rollback", "{role}");
    }
}

#[test]
fn a_recovery_holds_for_every_anchor_and_every_process() {
    let bench = Bench::new();
    let base = plant().publish();
    let driven = base.update(|signer| signer.version("timestamp", HIGH));
    let (slow, fast) = (bench.start(), bench.start());
    bench.refresh(&slow, &driven).unwrap();
    bench.refresh(&fast, &driven).unwrap();
    let recovered = driven.update(|signer| signer.rotate("timestamp", vec![Key::p256()]).version("timestamp", 3));
    assert_eq!(code(bench.refresh_at(&fast, &recovered, &pin(&base), now())), "accepted");
    // The slow one writes late what it has of the time before: neither the data nor the old version comes back.
    let old = slow.records().get(&(bench.server.clone(), bench.gun.clone())).unwrap().repository.clone().unwrap();
    slow.persist(&bench.server, &bench.gun, &old, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((3, true)));
    for store in [&slow, &fast, &bench.start()] {
        for anchor in [&first_use(), &pin(&base)] {
            let further = driven.update(|signer| signer.version("timestamp", HIGH + 1));
            assert_ne!(code(bench.refresh_at(store, &further, anchor, now())), "accepted");
            let back = recovered.update(|signer| signer.version("timestamp", 2));
            assert_eq!(code(bench.refresh_at(store, &back, anchor, now())), "rollback");
            assert_eq!(code(bench.refresh_at(store, &recovered, anchor, now())), "accepted");
        }
    }
}

/// The index as it was written before versions were bound to keys.
fn in_the_first_format(index: &str) -> String {
    let mut state: serde_json::Value = serde_json::from_str(index).unwrap();
    state["format"] = 1.into();
    let bound = state.as_object_mut().unwrap().remove("seenUnder").unwrap();
    for (role, marks) in bound.as_object().unwrap() {
        state["seen"][role] = marks.as_object().unwrap().values().next().unwrap().clone();
    }
    for (_, file) in state["files"].as_object_mut().unwrap() {
        file.as_object_mut().unwrap().remove("version");
    }
    state.to_string()
}

#[test]
fn a_floor_of_the_first_format_holds_whatever_the_keys() {
    let bench = Bench::new();
    let base = plant().publish();
    let driven = base.update(|signer| signer.version("timestamp", HIGH));
    bench.refresh(&bench.start(), &driven).unwrap();
    let first = in_the_first_format(&bench.state());
    fs::write(bench.directory().join("state.json"), &first).unwrap();
    assert_eq!(bench.stored(), Some((HIGH, true)));
    assert!(bench.stand_in(now()).unwrap().is_some());
    let recovered = driven.update(|signer| signer.rotate("timestamp", vec![Key::p256()]).version("timestamp", 3));
    for _ in 0..2 {
        assert_eq!(after_restart(&bench, &recovered), "rollback");
        assert_eq!(after_restart(&bench, &base), "rollback");
    }
    let further = recovered.update(|signer| signer.version("timestamp", HIGH + 1));
    assert_eq!(after_restart(&bench, &further), "accepted");
    assert_eq!(bench.stored(), Some((HIGH + 1, true)));
    // What is not known yet is not guessed at.
    for (bad, what) in [("\"format\":1", "\"format\":0"), ("\"format\":1", "\"format\":3")] {
        fs::write(bench.directory().join("state.json"), first.replace(bad, what)).unwrap();
        assert_eq!(after_restart(&bench, &further), "stored-root-damaged", "{what}");
    }
    // A field that is new is passed over, a key that is none is not.
    bench.refresh_at(&bench.start(), &further, &pin(&further), now()).unwrap();
    let state = bench.state().replace("\"format\": 2,", "\"format\": 2, \"later\": [],");
    fs::write(bench.directory().join("state.json"), &state).unwrap();
    assert_eq!(after_restart(&bench, &further), "accepted");
    let key = further.keys("targets")[0].id();
    assert!(state.contains("later") && state.contains(&key));
    fs::write(bench.directory().join("state.json"), state.replace(&key, "x")).unwrap();
    assert_eq!(after_restart(&bench, &further), "stored-root-damaged");
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
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    let failed = *known.refresh(&mut Without(repo, without), &bench.gun, &first_use(), &alice(), now()).unwrap_err();
    store.note(&bench.server, &bench.gun, &failed.state.unwrap(), known.epoch());
    store.persist_noted(&bench.server, &bench.gun, soon());
    code::<()>(Err(failed.error))
}

/// The owner takes a stolen key away; whoever has it makes the refresh that shows so fail, and hides the new root again.
#[test]
fn a_root_that_was_seen_once_is_not_forgotten_whatever_else_is_lost() {
    let base = plant().publish();
    let stolen = base.keys("targets");
    let rotated = base.update(|signer| signer.rotate("targets", vec![Key::p256()]));
    let forged = base.update(|signer| {
        signer.sign_with("targets", stolen.clone()).release("v1", [9; 32], 5, &["alice"]).touch("targets")
    });
    let key = |bench: &Bench| (bench.server.clone(), bench.gun.clone());
    let change = |bench: &Bench, store: &Store, change: &dyn Fn(&Known) -> Known| {
        let mut records = store.records();
        let known = records.get(&key(bench)).unwrap();
        records.insert(key(bench), Arc::new(change(&known)));
    };
    for lost in ["nothing", "bytes that were to be written", "the data in memory", "a file on the disk"] {
        for directory in [true, false] {
            let bench = Bench::new();
            let mut store = Store::new(directory.then(|| bench.cache()), MAX_WEIGHT, Arc::new(Metrics::new()));
            bench.refresh(&store, &base).unwrap();
            match lost {
                "bytes that were to be written" => {
                    change(&bench, &store, &|known| Known { incomplete: true, ..known.clone() });
                }
                "the data in memory" => {
                    change(&bench, &store, &|known| Known { stamp: known.stamp, ..known.without_data() });
                }
                "a file on the disk" if directory => {
                    let name = format!("{}.json", Sha256::of(&base.bytes("snapshot")).hex());
                    fs::remove_file(bench.directory().join(name)).unwrap();
                    store = bench.start();
                }
                _ => {}
            }
            assert_eq!(fail(&bench, &store, &rotated, "targets."), "unavailable", "{lost}");
            let stores = if directory { vec![store, bench.start()] } else { vec![store] };
            for store in &stores {
                // Nothing of the old keys counts, neither anew nor as it was.
                assert_ne!(code(bench.refresh(store, &forged)), "accepted", "{lost}");
                assert_ne!(code(bench.refresh(store, &base)), "accepted", "{lost}");
                let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
                let stood_in = known.stand_in(&first_use(), &alice(), now());
                assert!(
                    !matches!(stood_in.map(|found| found.map(|(data, _)| data.is_superseded())), Ok(Some(false))),
                    "{lost}"
                );
            }
            for store in &stores {
                assert_eq!(code(bench.refresh(store, &rotated)), "accepted", "{lost}");
            }
            // Once more where bytes were to be fetched anew.
            bench.refresh(&stores[0], &rotated).unwrap();
            assert!(!directory || bench.stored().unwrap().1, "{lost}");
        }
    }
}

#[test]
fn who_remembers_needs_no_index() {
    let bench = Bench::new();
    let old = plant().publish();
    let new = old.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    let store = bench.start();
    bench.refresh(&store, &new).unwrap();
    let before = bench.state();
    fs::write(bench.directory().join("state.json"), b"junk").unwrap();
    assert_eq!(code(bench.refresh(&store, &old)), "rollback");
    assert_eq!(code(bench.refresh(&store, &new)), "accepted");
    // Somebody's copy of the index from before a reset binds nobody who has seen the reset.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let anew = plant().publish();
    bench.refresh(&store, &anew).unwrap();
    fs::write(bench.directory().join("state.json"), before).unwrap();
    assert_eq!(code(bench.refresh(&store, &anew)), "accepted");
    let renewed = anew.update(|signer| signer.touch("timestamp"));
    assert_eq!(code(bench.refresh(&store, &renewed)), "accepted");
}

#[test]
fn a_first_contact_that_fails_binds_nobody() {
    let bench = Bench::new();
    let store = bench.start();
    let stranger = plant().version("timestamp", 9).expires("timestamp", now()).publish();
    assert_eq!(code(bench.refresh(&store, &stranger)), "expired");
    assert_eq!(code(bench.refresh(&store, &plant().publish())), "accepted");
    // Nor does the first one after a reset.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    let failed = *known.refresh(&mut Files(&stranger), &bench.gun, &first_use(), &alice(), now()).unwrap_err();
    assert!(failed.state.is_none());
}

#[test]
fn a_server_that_fails_again_and_again_costs_no_write() {
    let bench = Bench::new();
    let store = bench.start();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("snapshot"));
    bench.refresh(&store, &old).unwrap();
    let before = bench.state();
    assert_eq!(fail(&bench, &store, &new, "snapshot"), "unavailable");
    let after = bench.state();
    assert_ne!(before, after);
    *store.disk.as_ref().unwrap().steps.lock().unwrap() = Some(0);
    assert_eq!(fail(&bench, &store, &new, "snapshot"), "unavailable");
    assert_eq!(bench.state(), after);
    assert!(!store.said.load(Ordering::Relaxed), "it was not even tried");
    // The data is still there for whoever comes back to it, and stands in for nothing.
    let known = bench.start().recall(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    assert!(known.stand_in(&first_use(), &alice(), now()).unwrap().is_none());
}

#[test]
fn what_is_noted_late_brings_nothing_back() {
    let bench = Bench::new();
    let store = bench.start();
    let old = plant().publish();
    let new = old.update(|signer| signer.touch("snapshot"));
    let seen = bench.refresh(&store, &new).unwrap().trusted_state().clone();
    let older = Repository::refresh(&mut Files(&old), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    // Somebody else's failure, noted after the newer data came.
    store.note(&bench.server, &bench.gun, older.trusted_state(), 0);
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    assert!(known.stand_in(&first_use(), &alice(), now()).unwrap().is_some());
    assert_eq!(timestamp_of(&known), 2);
    // An older root takes no newer one's place.
    let rotated = new.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    bench.refresh(&store, &rotated).unwrap();
    store.note(&bench.server, &bench.gun, &seen, 0);
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(known.seen.root().unwrap().header().version, 2);
    assert!(!known.repository.as_ref().unwrap().is_superseded());
    // Nor older data a newer one's, and what was seen beside it counts.
    let further = rotated.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    let further = Repository::refresh(&mut Files(&further), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    let beside = Arc::new(older.with_state(further.trusted_state()));
    store.remember(&bench.server, &bench.gun, &beside, Some(now()), 0);
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!((known.age(), known.seen.root().unwrap().header().version), (Some((2, 3)), 3));
    assert!(known.stand_in(&first_use(), &alice(), now()).unwrap().is_none());
    // What was seen before a reset.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    assert!(store.recall(&bench.server, &bench.gun, soon()).unwrap().epoch() > 0);
    store.note(&bench.server, &bench.gun, &seen, 0);
    store.persist_noted(&bench.server, &bench.gun, soon());
    assert_eq!(code(bench.refresh(&store, &plant().publish())), "accepted");
    // What is remembered again takes nothing back that was noted meanwhile.
    let memory = Store::new(None, MAX_WEIGHT, Arc::new(Metrics::new()));
    let older = Arc::new(older);
    for noted in [false, true] {
        if noted {
            memory.note(&bench.server, &bench.gun, &seen, 0);
        }
        memory.remember(&bench.server, &bench.gun, &older, Some(now()), 0);
    }
    assert_eq!(code(bench.refresh(&memory, &old)), "rollback");
    // What was pushed out of memory in the meantime is remembered none the less.
    let light = Store::new(None, MAX_WEIGHT, Arc::new(Metrics::new()));
    light.note(&bench.server, &bench.gun, &seen, 0);
    assert_eq!(code(bench.refresh(&light, &old)), "rollback");
    assert_eq!(code(bench.refresh(&light, &new)), "accepted");
}

#[test]
fn past_the_bound_the_root_and_the_versions_are_stored_alone() {
    let mut bench = Bench::new();
    let repo = plant().publish();
    bench.refresh(&bench.start(), &repo).unwrap();
    let disk = Disk::new(bench.cache());
    let size = disk.usage().all;
    // There is room for this one as it is, and for what is small of another.
    let metrics = Arc::new(Metrics::new());
    let cache = bench.cache();
    let bounded = |room: u64| Store::new(Some(cache.clone()), MAX_WEIGHT, Arc::clone(&metrics)).with_room(room);
    let full = bounded(size * 2);
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    bench.refresh(&full, &renewed).unwrap();
    assert_eq!(bench.stored(), Some((2, true)));
    assert!(metrics.render().contains("portreeve_trust_store_failures_total 0"));
    let wider = bounded(8 * size);

    bench.gun = Gun::new("registry.local:9001/plant/hmi").unwrap();
    let other = Signer::new_at(bench.gun.as_str(), now()).signer("alice").release("v1", [1; 32], 1, &["alice"]);
    let other = other.publish();
    let new = other.update(|signer| signer.touch("snapshot"));
    for (round, served) in [&other, &new, &new].into_iter().enumerate() {
        let mut source = Counting(served, 0);
        let known = full.recall(&bench.server, &bench.gun, soon());
        let found = match &known {
            Some(known) => known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()).unwrap(),
            None => Repository::refresh(&mut source, &bench.gun, &first_use(), None, &alice(), now()).unwrap(),
        };
        // What is in memory is not fetched again for want of room on the disk.
        assert_eq!(source.1, [6, 2, 1][round]);
        let found = Arc::new(found);
        full.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
        full.admitted(&bench.server, &bench.gun);
        full.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
        assert_eq!(judge(&found, served, now()).unwrap(), "01".repeat(32));
        let known = full.recall(&bench.server, &bench.gun, soon()).unwrap();
        assert!(known.has_data());
    }
    assert_eq!(bench.stored(), Some((2, false)));
    assert!(full.said_full.was_due());
    assert!(!metrics.render().contains("portreeve_trust_store_failures_total 0"));
    // A restart knows the root and the versions, and nothing is damaged.
    let summary = bench.start().summary(&bench.server, &bench.gun).unwrap();
    assert_eq!((summary.damage, summary.confirmed), (None, None));
    assert_eq!(code(bench.refresh(&bounded(0), &other)), "rollback");
    assert!(bench.stand_in(now()).unwrap().is_none());
    // Where there is room again, the data is fetched once and stored.
    bench.refresh(&wider, &new).unwrap();
    assert_eq!(bench.stored(), Some((2, true)));
    // And goes where there is none any more: what would be read back is older than what was seen.
    let grown = new.update(|signer| {
        (0..99).fold(signer, |signer, number| signer.release(&format!("v2.{number}"), [2; 32], 1, &["alice"]))
    });
    let store = bounded(0);
    bench.refresh(&store, &grown).unwrap();
    assert_eq!(bench.stored(), Some((3, false)));
    assert_eq!(files_in(&bench.directory()).len(), 1 + 3);
    // The same process, where there is room again and nothing new.
    let store = store.with_room(u64::MAX);
    for _ in 0..2 {
        bench.refresh(&store, &grown).unwrap();
    }
    assert_eq!(bench.stored(), Some((3, true)));
    // What one process writes counts at once.
    let mut bench = Bench::new();
    let store = bench.start().with_room(size * 2);
    bench.refresh(&store, &repo).unwrap();
    assert_eq!(bench.stored(), Some((1, true)));
    bench.gun = Gun::new("registry.local:9001/plant/hmi").unwrap();
    bench.refresh(&store, &other).unwrap();
    assert_eq!(bench.stored(), Some((1, false)));
}

/// A server that counts what it is asked.
struct Counting<'a>(&'a Repo, usize);

impl MetadataSource for Counting<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        self.1 += 1;
        Files(self.0).fetch(name, cap)
    }
}

#[test]
fn a_part_of_a_publication_replaces_no_whole_one() {
    let bench = Bench::new();
    let repo = plant().publish();
    let (store, other) = (bench.start(), bench.start());
    bench.refresh(&other, &repo).unwrap();
    let before = bench.state();
    // This one has verified the same, and its bytes are not at hand.
    let found = Repository::refresh(&mut Files(&repo), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    let found = Arc::new(found);
    store.recall(&bench.server, &bench.gun, soon()).unwrap();
    store.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
    store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    assert_eq!((bench.stored(), bench.state()), (Some((1, true)), before.clone()));
    // Nor what another process has written since we looked.
    let next = repo.update(|signer| signer.touch("targets"));
    bench.refresh(&other, &next).unwrap();
    let found = Repository::refresh(&mut Files(&next), &bench.gun, &first_use(), None, &alice(), now()).unwrap();
    let found = Arc::new(found);
    store.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
    store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    assert_eq!(bench.stored(), Some((2, true)));
    // Where it has never looked, it is mended later.
    let store = bench.start();
    store.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
    store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    let renewed = next.update(|signer| signer.touch("timestamp"));
    bench.refresh(&store, &renewed).unwrap();
    bench.refresh(&store, &renewed).unwrap();
    assert_eq!(bench.stored(), Some((3, true)));
}

#[test]
fn a_disk_that_takes_nothing_makes_nobody_fetch_anything_twice() {
    let bench = Bench::new();
    let repo = plant().publish();
    let store = bench.start();
    bench.refresh(&store, &repo).unwrap();
    *store.disk.as_ref().unwrap().steps.lock().unwrap() = Some(0);
    let next = repo.update(|signer| signer.touch("targets"));
    for expected in [3, 1, 1] {
        let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
        let mut source = Counting(&next, 0);
        let found = known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()).unwrap();
        assert_eq!(source.1, expected);
        let found = Arc::new(found);
        store.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
        store.persist(&bench.server, &bench.gun, &found, 0, Record::new(), soon());
    }
    // Once it does, the bytes are fetched anew and stored.
    *store.disk.as_ref().unwrap().steps.lock().unwrap() = None;
    bench.refresh(&store, &next).unwrap();
    bench.refresh(&store, &next).unwrap();
    assert_eq!(bench.stored(), Some((2, true)));
}

/// Another process has seen the owner take a key away, and could read no more than the root.
#[test]
fn what_another_process_has_seen_lets_nothing_older_stand_in() {
    // In the second case nothing but the root is newer under the keys that are known here.
    for (role, away) in [("targets", "targets."), ("timestamp", "snapshot.")] {
        let bench = Bench::new();
        let base = plant().publish();
        let rotated = base.update(|signer| signer.rotate(role, vec![Key::p256()]));
        let (store, other) = (bench.start(), bench.start());
        let held = bench.refresh(&store, &base).unwrap();
        bench.refresh(&other, &base).unwrap();
        let stands_in = || {
            let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
            (known.stand_in(&first_use(), &alice(), now()).unwrap().is_some(), !known.is_beyond(&held))
        };
        assert_eq!(stands_in(), (true, true));
        assert_eq!(fail(&bench, &other, &rotated, away), "unavailable");
        assert_eq!(stands_in(), (false, false), "{role}");
    }
}

#[test]
fn a_publication_that_was_confirmed_in_a_refresh_that_failed_still_stands_in() {
    let bench = Bench::new();
    let repo = plant().signer("bob").release("v2", [2; 32], 1, &["bob"]).publish();
    let store = bench.start();
    bench.refresh(&store, &repo).unwrap();
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    let both: BTreeSet<RoleName> =
        ["alice", "bob"].into_iter().map(|name| RoleName::of_signer(name).unwrap()).collect();
    let mut source = Without(&renewed, "targets/bob");
    let failed = *known.refresh(&mut source, &bench.gun, &first_use(), &both, now()).unwrap_err();
    assert_eq!(code::<()>(Err(failed.error)), "unavailable");
    store.note(&bench.server, &bench.gun, &failed.state.unwrap(), known.epoch());
    let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
    assert_eq!(timestamp_of(&known), 2);
    assert!(known.stand_in(&first_use(), &alice(), now()).unwrap().is_some());
}

/// Two processes of several threads each, in which refreshes succeed, fail halfway and are given up at any moment.
#[test]
fn nothing_that_happens_at_once_loses_a_version() {
    let bench = Bench::new();
    let mut history = vec![plant().publish()];
    for number in 0..12 {
        let role = if number % 2 == 0 { "timestamp" } else { "targets" };
        history.push(history[number].update(|signer| signer.touch(role)));
    }
    let newest = history.last().unwrap();
    let (one, other) = (bench.start(), bench.start());
    bench.refresh(&one, &history[0]).unwrap();
    let behave = |store: &Store, repo: &Repo, how: usize| {
        let known = store.recall(&bench.server, &bench.gun, soon());
        let before = known.as_ref().map_or(0, |known| timestamp_of(known));
        let result = match (how % 3, known) {
            (0, Some(known)) => {
                let mut source = Without(repo, "snapshot");
                let failed = known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now());
                if let Some(seen) = failed.err().and_then(|failed| failed.state) {
                    store.note(&bench.server, &bench.gun, &seen, known.epoch());
                    store.persist_noted(&bench.server, &bench.gun, soon());
                }
                "failed"
            }
            (1, _) => {
                let other = (bench.server.clone(), Gun::new("another").unwrap());
                let mut records = store.records();
                let key = (bench.server.clone(), bench.gun.clone());
                // As far as it goes without a disk that fails: what is nowhere else goes last.
                while records.get(&key).is_some_and(|known| known.has_data() || known.is_on_disk()) {
                    records.lighten(&other);
                }
                "forgotten"
            }
            _ => code(bench.refresh(store, repo)),
        };
        let after = store.recall(&bench.server, &bench.gun, soon()).map_or(0, |known| timestamp_of(&known));
        assert!(after >= before, "{before} to {after}: {result}");
    };
    thread::scope(|scope| {
        for number in 0..6 {
            let (store, history, behave) = (if number % 2 == 0 { &one } else { &other }, &history, &behave);
            scope.spawn(move || {
                for (step, repo) in history.iter().enumerate() {
                    behave(store, repo, number + step);
                }
            });
        }
    });
    for store in [&one, &other, &bench.start()] {
        let known = store.recall(&bench.server, &bench.gun, soon()).unwrap();
        assert!(timestamp_of(&known) >= 11, "{}", timestamp_of(&known));
        assert_eq!(code(bench.refresh(store, newest)), "accepted");
        assert_eq!(code(bench.refresh(store, &history[0])), "rollback");
    }
    assert_eq!(bench.stored(), Some((13, true)));
}

/// Ever new names, each with a root of nearly a megabyte, and an index as long as keys and roles make it.
#[test]
fn ever_new_names_fill_no_disk() {
    const BOUND: u64 = 1 << 20;
    let mut bench = Bench::new();
    let metrics = Arc::new(Metrics::new());
    let store = Store::new(Some(bench.cache()), u64::MAX, Arc::clone(&metrics)).with_room(BOUND);
    let named = |bench: &mut Bench, name: &str| {
        bench.gun = Gun::new(&format!("registry.local:9001/{name}")).unwrap();
        let signer = Signer::new_at(bench.gun.as_str(), now()).signer("alice");
        signer.release("v1", [1; 32], 1, &["alice"])
    };
    let heavy = |signer: Signer| {
        let keys: Vec<Key> = (0..60).map(|_| Key::ed25519()).collect();
        let signer = ["timestamp", "snapshot", "targets"]
            .into_iter()
            .fold(signer, |signer, role| signer.rotate(role, keys.clone()));
        signer.version("root", 1).edit("root", |signed| signed["x"] = "x".repeat(900_000).into())
    };
    let ask = |bench: &Bench, repo: &Repo, admitted: bool| {
        let known = store.recall(&bench.server, &bench.gun, soon());
        let mut source = crate::schemes::notary::recorder::Recorder::new(
            Box::new(Files(repo)),
            true,
            &store.budget,
            "https://n",
            soon(),
        );
        let found = match known {
            Some(known) => known.refresh(&mut source, &bench.gun, &first_use(), &alice(), now()).unwrap(),
            None => Repository::refresh(&mut source, &bench.gun, &first_use(), None, &alice(), now()).unwrap(),
        };
        let found = Arc::new(found);
        store.remember(&bench.server, &bench.gun, &found, Some(now()), 0);
        if admitted {
            store.admitted(&bench.server, &bench.gun);
        }
        store.persist(&bench.server, &bench.gun, &found, 0, source.take_record(), soon());
    };
    let du = |bench: &Bench| {
        let du = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(bench.cache()).output().unwrap();
        String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let stored = |bench: &Bench| fs::read_dir(bench.cache()).unwrap().count() as u64;
    // One of the site's own, before.
    let honest = named(&mut bench, "line/before").publish();
    ask(&bench, &honest, true);
    let before = du(&bench);
    for number in 0..40 {
        let repo = heavy(named(&mut bench, &format!("made/up{number}"))).publish();
        ask(&bench, &repo, false);
    }
    assert!(du(&bench) - before <= BOUND / 4 + (64 << 10), "{}", du(&bench));
    assert!(stored(&bench) < 12);
    assert!(store.said_closed.was_due());
    assert!(!metrics.render().contains("portreeve_trust_store_failures_total 0"));
    // And one of the site's own, after: it has its place, whole.
    let mut own = Vec::new();
    for name in ["line/after", "line/later"] {
        let repo = named(&mut bench, name).publish();
        ask(&bench, &repo, true);
        assert_eq!(bench.stored(), Some((1, true)), "{name}");
        own.push((bench.gun.clone(), repo));
    }
    // Those that let an image in come to their end as well, and everything that is stored can still be raised.
    for number in 0..60 {
        let repo = heavy(named(&mut bench, &format!("signed/up{number}"))).publish();
        ask(&bench, &repo, true);
    }
    assert!(du(&bench) <= BOUND + (64 << 10), "{}", du(&bench));
    assert_eq!(Disk::new(bench.cache()).usage(), store.room.used_now(), "what is reckoned is what is there");
    for (gun, repo) in own {
        bench.gun = gun;
        let newer = repo.update(|signer| signer.touch("timestamp"));
        ask(&bench, &newer, true);
        assert_eq!(code(bench.refresh(&bench.start(), &repo)), "rollback");
    }
    assert!(du(&bench) <= BOUND + (64 << 10), "{}", du(&bench));
}

#[test]
fn a_root_that_is_known_by_its_hash_alone_is_fetched_again_and_binds() {
    let bench = Bench::new();
    let large = |signer: Signer| signer.edit("root", |signed| signed["x"] = "x".repeat(20_000).into());
    let repo = large(plant()).publish();
    let start = || bench.start().with_room(40 << 10);
    bench.refresh(&start(), &repo).unwrap();
    assert!(!files_in(&bench.directory()).iter().any(|name| name.ends_with(".json") && name.len() > 20), "no files");
    let known = start().recall(&bench.server, &bench.gun, soon()).unwrap();
    assert!(known.seen.root().is_none() && known.root_was.is_some() && known.damage.is_none());
    assert_eq!(start().summary(&bench.server, &bench.gun).unwrap().damage, None);
    assert_eq!(code(bench.refresh(&start(), &repo)), "accepted");
    // A rotation from it is followed, and what does not follow from it is refused, pins or no pins.
    let rotated = repo.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    let stranger = large(plant()).publish();
    for (served, expected) in [(&stranger, "equivocation"), (&rotated, "accepted"), (&repo, "rollback")] {
        assert_eq!(code(bench.refresh(&start(), served)), expected);
    }
    let pinned = bench.refresh_at(&start(), &stranger, &pin(&stranger), now());
    assert_ne!(code(pinned), "accepted");
    // A server that keeps the newest alone, and one that has nothing.
    let mut newest = rotated.clone();
    newest.files_mut().retain(|name, _| !name.ends_with(".root"));
    assert_eq!(code(bench.refresh(&start(), &newest)), "accepted");
    newest.files_mut().clear();
    assert_eq!(code(bench.refresh(&start(), &newest)), "deleted");
    // Where nothing leads from the one that was trusted to the one that is served.
    let mut gap = rotated.update(|signer| signer.rotate("root", vec![Key::root(GUN)]));
    gap.files_mut().retain(|name, _| !name.ends_with(".root"));
    assert_eq!(code(bench.refresh(&start(), &gap)), "root-version");
    // A process that has seen a reset, and then what another one stored after it.
    reset(bench.cache(), &bench.gun, &[]).unwrap();
    let watching = start();
    assert!(watching.recall(&bench.server, &bench.gun, soon()).unwrap().root_was.is_none());
    bench.refresh(&start(), &repo).unwrap();
    assert!(watching.recall(&bench.server, &bench.gun, soon()).unwrap().root_was.is_some());
    assert_eq!(code(bench.refresh(&watching, &stranger)), "equivocation");
    assert_eq!(code(bench.refresh(&watching, &repo)), "accepted");
}

#[test]
fn an_index_of_many_keys_is_shortened_and_still_binds() {
    let bench = Bench::new();
    let keys: Vec<Key> = (0..64).map(|_| Key::ed25519()).collect();
    let many = |signer: Signer| {
        let roles = ["timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];
        roles.into_iter().fold(signer, |signer, role| signer.rotate(role, keys.clone()))
    };
    let repo = many(plant()).version("root", 1).publish();
    let newer = repo.update(|signer| signer.touch("timestamp").touch("targets/alice"));
    let start = || bench.start().with_room(40 << 10);
    bench.refresh(&start(), &newer).unwrap();
    assert!(bench.state().len() <= 16 << 10, "{}", bench.state().len());
    assert_eq!(code(bench.refresh(&start(), &repo)), "rollback");
    assert_eq!(code(bench.refresh(&start(), &newer)), "accepted");
    let before = fs::metadata(bench.directory().join("state.json")).unwrap().modified().unwrap();
    assert_eq!(code(bench.refresh(&start(), &newer)), "accepted");
    let after = fs::metadata(bench.directory().join("state.json")).unwrap().modified().unwrap();
    assert_eq!(before, after, "nothing new, nothing written");
}
