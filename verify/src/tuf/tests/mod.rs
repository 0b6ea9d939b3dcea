//! The acceptance table of TRUST.md: each test has the name of its row. The repositories are signed by the tests themselves.

mod anchor;
mod content;
mod delegations;
mod properties;
mod recovery;
mod root;
mod tags;
mod together;
mod wire;

use jiff::{SignedDuration, Timestamp};
use portreeve_test_support::signer::{Key, Repo, Signer};

use super::*;
use crate::image::Sha256;
use crate::ordered::Set;
use crate::{Unavailable, UnavailableCause};

const GUN: &str = "registry.local:9001/plant/plc";
const DIGEST: [u8; 32] = [0xab; 32];
const OTHER: [u8; 32] = [0xcd; 32];

impl Repository {
    fn root_version(&self) -> u64 {
        self.root.header.version
    }
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn gun() -> Gun {
    Gun::new(GUN).unwrap()
}

fn first_use() -> Anchor {
    Anchor { pins: std::sync::Arc::default(), first_use: FirstUse::Allowed }
}

fn pinned(pins: Vec<RootPin>) -> Anchor {
    Anchor { pins: pins.into(), first_use: FirstUse::Allowed }
}

/// A repository with one signer and one release, not yet published.
fn plant() -> Signer {
    Signer::new_at(GUN, now()).signer("alice").release("v1", DIGEST, 1234, &["alice"])
}

/// A trust server in memory.
#[derive(Clone)]
struct Server {
    files: std::collections::BTreeMap<String, Vec<u8>>,
    /// Files that are unavailable at the moment.
    away: Set<String>,
    /// What the verifier took, in its order.
    asked: Vec<String>,
    /// What may be fetched at the same time.
    together: Vec<Vec<String>>,
    ahead: Vec<Ahead>,
}

/// A file that was fetched ahead, its cap and the result.
type Ahead = (MetadataName, usize, Result<Vec<u8>, FetchError>);

impl Server {
    fn of(repo: &Repo) -> Self {
        Self {
            files: repo.files().clone(),
            away: Set::new(),
            asked: Vec::new(),
            together: Vec::new(),
            ahead: Vec::new(),
        }
    }

    fn get(&self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let name = name.file_stem();
        if self.away.contains(&name) {
            return Err(Unavailable::other("the server is away").into());
        }
        match self.files.get(&name) {
            Some(bytes) if bytes.len() > cap => Err(FetchError::TooLarge { cap }),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(FetchError::NotFound),
        }
    }
}

impl MetadataSource for Server {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        self.asked.push(name.file_stem());
        match self.ahead.iter().position(|(known, with, _)| known == name && *with == cap) {
            Some(at) => self.ahead.remove(at).2,
            None => self.get(name, cap),
        }
    }

    fn prefetch(&mut self, files: &[(MetadataName, usize)], _: usize) {
        self.ahead = files.iter().map(|(name, cap)| (name.clone(), *cap, self.get(name, *cap))).collect();
        if !files.is_empty() {
            self.together.push(files.iter().map(|(name, _)| name.file_stem()).collect());
        }
    }
}

fn alice() -> Set<RoleName> {
    Set::from([RoleName::of_signer("alice").unwrap()])
}

/// First contact on first use.
fn open(repo: &Repo) -> Result<Repository, RefreshError> {
    open_at(repo, &first_use(), now())
}

fn open_at(repo: &Repo, anchor: &Anchor, now: Timestamp) -> Result<Repository, RefreshError> {
    Repository::refresh(&mut Server::of(repo), &gun(), anchor, None, &alice(), now)
}

/// The next refresh of a repository that was verified before.
fn again(repo: &Repo, previous: &Repository) -> Result<Repository, RefreshError> {
    Repository::refresh(&mut Server::of(repo), &gun(), &first_use(), Some(previous), &alice(), now())
}

/// The code of a rejection, or "accepted" or "unavailable".
fn code<T>(result: Result<T, RefreshError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(RefreshError::Rejected(rejection)) => {
            let words = rejection.to_string();
            assert!(!words.is_empty() && !words.ends_with('.') && !words.chars().any(char::is_control), "{words}");
            let code = rejection.code();
            let error = RefreshError::Rejected(rejection);
            assert_eq!((error.to_string(), std::error::Error::source(&error).is_some()), (words, true));
            code
        }
        Err(RefreshError::Unavailable(why)) => {
            assert_eq!(RefreshError::Unavailable(why.clone()).to_string(), why.message);
            "unavailable"
        }
    }
}

fn tag(tag: &str) -> TargetQuery<'_> {
    TargetQuery { tag: Some(tag), digest: None }
}

fn signer(name: &str, keys: &[&Key]) -> RequiredSigner {
    let keys = keys.iter().map(|key| SignerKey::from_pem(&key.public_pem()).unwrap()).collect();
    RequiredSigner { role: RoleName::of_signer(name).unwrap(), keys }
}

/// Alice with the key that she has in this repository.
fn as_alice(repo: &Repo) -> RequiredSigner {
    signer("alice", &[&repo.keys("targets/alice")[0]])
}

/// The result for v1 with alice as required signer: "accepted" or the code.
fn v1_by_alice(repo: &Repo) -> &'static str {
    match open(repo) {
        Ok(opened) => opened.find_target(tag("v1"), &[as_alice(repo)], now()).map_or_else(|r| r.code(), |_| "accepted"),
        Err(error) => code::<()>(Err(error)),
    }
}

#[test]
fn an_honest_repository_is_verified() {
    let repo = plant().publish();
    let mut server = Server::of(&repo);
    let opened = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now()).unwrap();
    let SignedTarget { digest, tag: found, released_by } =
        opened.find_target(tag("v1"), &[as_alice(&repo)], now()).unwrap();
    assert_eq!((digest.sha256(), found.as_str()), (Sha256::new(DIGEST), "v1"));
    assert_eq!(released_by, "targets/releases");
    // First contact: in this order, and only what is needed.
    let stems: Vec<_> = server.asked.iter().map(|name| name.split('.').next().unwrap()).collect();
    assert_eq!(stems, ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"]);
    assert_eq!(opened.root_key_ids(), [Sha256::from_hex(&repo.root_key_id()).unwrap()]);
    let roles: Vec<_> = opened.expiries().into_iter().map(|expiry| (expiry.role, expiry.version)).collect();
    let expected = ["root", "timestamp", "snapshot", "targets", "targets/alice", "targets/releases"];
    assert_eq!(roles, expected.map(|role| (role.to_owned(), 1)));
    assert!(format!("{opened:?}").len() < 300, "{opened:?}");
    assert_eq!(opened.files().root, repo.bytes("root"));
    assert_eq!(opened.files().timestamp, repo.bytes("timestamp"));
    assert_eq!(opened.files().snapshot, repo.bytes("snapshot"));
}

#[test]
fn an_unchanged_repository_costs_one_request() {
    let repo = plant().publish();
    let first = open(&repo).unwrap();
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    let mut server = Server::of(&renewed);
    let second = Repository::refresh(&mut server, &gun(), &first_use(), Some(&first), &alice(), now()).unwrap();
    assert_eq!(server.asked, ["timestamp"]);
    assert_eq!(second.expiries()[1].version, 2);
    assert!(second.find_target(tag("v1"), &[as_alice(&repo)], now()).is_ok());

    // One new release: only the roles that changed.
    let newer = renewed.update(|signer| signer.release("v2", OTHER, 5, &[]));
    let mut server = Server::of(&newer);
    let third = Repository::refresh(&mut server, &gun(), &first_use(), Some(&second), &alice(), now()).unwrap();
    let stems: Vec<_> = server.asked.iter().map(|name| name.split('.').next().unwrap()).collect();
    assert_eq!(stems, ["timestamp", "snapshot", "targets/releases"]);
    assert!(third.find_target(tag("v2"), &[], now()).is_ok());
}

#[test]
fn every_byte_is_read_once() {
    let read_by = |work: &mut dyn FnMut()| {
        let before = crate::json::BYTES_READ.get();
        work();
        crate::json::BYTES_READ.get() - before
    };
    let mut signer = plant();
    for number in 0..300 {
        signer = signer.release(&format!("v2.{number}"), OTHER, 5, &["alice"]);
    }
    let repo = signer.publish();
    let fetched: usize = (["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"].iter())
        .map(|role| repo.bytes(role).len())
        .sum();
    let mut opened = None;
    assert_eq!(read_by(&mut || opened = open(&repo).ok()), fetched);
    let opened = opened.unwrap();
    // No change: the timestamp alone, however large the repository is.
    assert_eq!(read_by(&mut || drop(again(&repo, &opened).unwrap())), repo.bytes("timestamp").len());
    for wanted in [tag("v2.7"), tag("v3"), TargetQuery { tag: None, digest: Some(Sha256::new(OTHER)) }] {
        assert_eq!(read_by(&mut || drop(opened.find_target(wanted, &[as_alice(&repo)], now()))), 0);
    }
}

#[test]
fn signers_may_be_added_later() {
    let repo = plant().publish();
    let mut server = Server::of(&repo);
    let none = Set::new();
    let opened = Repository::refresh(&mut server, &gun(), &first_use(), None, &none, now()).unwrap();
    assert!(opened.knows_delegations(&none) && !opened.knows_delegations(&alice()));
    let refusal = opened.find_target(tag("v1"), &[as_alice(&repo)], now()).unwrap_err();
    let why = NotSigned::NotFetched;
    assert_eq!(refusal, Rejection::NotSignedBy { role: "targets/alice".to_owned(), why });
    server.asked.clear();
    let opened = opened.with_signers(&mut server, &alice(), now()).unwrap();
    assert_eq!(server.asked, [repo.file_of("targets/alice")]);
    assert!(opened.knows_delegations(&alice()));
    assert!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).is_ok());
    server.asked.clear();
    let opened = opened.with_signers(&mut server, &alice(), now()).unwrap();
    assert!(server.asked.is_empty());
    assert_eq!(code(opened.with_signers(&mut server, &alice(), now() + hours(24 * 15))), "expired");
}

#[test]
fn a_signers_file_that_came_damaged_is_asked_for_again() {
    let repo = plant().publish();
    let mut server = Server::of(&repo);
    let sound = server.files.insert(repo.file_of("targets/alice"), b"{}".to_vec()).unwrap();
    let opened = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now()).unwrap();
    assert_eq!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).unwrap_err().code(), "length");
    server.files.insert(repo.file_of("targets/alice"), sound);
    let opened = opened.with_signers(&mut server, &alice(), now()).unwrap();
    assert!(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).is_ok());
}

#[test]
fn a_server_without_the_repository_says_no_and_one_that_is_away_says_nothing() {
    let repo = plant().publish();
    let mut server = Server::of(&repo);
    server.files.clear();
    let nothing = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
    assert_eq!(code(nothing), "no-trust-data");
    for name in ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"] {
        let mut server = Server::of(&repo);
        server.away.insert(repo.file_of(name));
        let result = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now());
        assert_eq!(code(result), "unavailable", "{name}");
    }
}

#[test]
fn seventy_five_thousand_targets() {
    let mut signer = Signer::new_at(GUN, now()).signer("alice");
    for index in 0..75_000u32 {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&index.to_be_bytes());
        signer = signer.target("targets/releases", &format!("v{index}"), digest, 1234);
    }
    let repo = signer.publish();
    assert!(repo.bytes("targets/releases").len() > 6_000_000);
    let opened = open(&repo).unwrap();
    assert!((3_600_000..4_600_000).contains(&opened.heap_size()), "{}", opened.heap_size());
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&74_321u32.to_be_bytes());
    let judged = opened.find_target(TargetQuery { tag: None, digest: Some(Sha256::new(digest)) }, &[], now()).unwrap();
    assert_eq!(judged.tag, "v74321");
    assert_eq!(opened.find_target(tag("v74321"), &[], now()).unwrap().digest.sha256(), Sha256::new(digest));
}

/// A server that answers at once, and a clock that reports the deadline after this many checks.
struct Hurried(Server, std::cell::Cell<usize>);

impl MetadataSource for Hurried {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        self.0.fetch(name, cap)
    }

    fn prefetch(&mut self, files: &[(MetadataName, usize)], later: usize) {
        self.0.prefetch(files, later);
    }

    fn is_late(&self) -> bool {
        let left = self.1.get();
        self.1.set(left.saturating_sub(1));
        left == 0
    }
}

#[test]
fn verifying_ends_with_the_time_and_says_no_word_of_the_data() {
    let mut signer = plant();
    for number in 0..3_000 {
        signer = signer.release(&format!("v2.{number}"), OTHER, 5, &["alice"]);
    }
    // A signer may sign many times, and each signature hashes the whole file.
    let repo = signer.edit_envelope("targets/releases", |envelope| {
        let signatures = envelope["signatures"].as_array_mut().unwrap();
        let wrong = serde_json::json!({"keyid": signatures[0]["keyid"], "method": "ecdsa", "sig": "AAAA"});
        (0..63).for_each(|_| signatures.insert(0, wrong.clone()));
    });
    let repo = repo.publish();
    let mut looks = 0;
    loop {
        let mut source = Hurried(Server::of(&repo), std::cell::Cell::new(looks));
        match Repository::refresh(&mut source, &gun(), &first_use(), None, &alice(), now()) {
            Ok(opened) => {
                assert_eq!(
                    code(opened.find_target(tag("v1"), &[as_alice(&repo)], now()).map_err(Into::into)),
                    "accepted"
                );
                break;
            }
            Err(RefreshError::Unavailable(why)) => {
                assert!(
                    why.message.contains("the deadline passed") && why.cause == UnavailableCause::OutOfTime,
                    "{why}"
                );
            }
            Err(RefreshError::Rejected(rejection)) => panic!("after {looks} looks: {rejection}"),
        }
        looks += 1;
    }
    assert!(looks > 80, "it was looked at {looks} times");
}

/// Run it alone, because other tests take memory too: `cargo test -p portreeve-verify -- --ignored weights`.
#[test]
#[ignore = "measures the memory of the whole process"]
fn weights_are_near_the_truth() {
    #[expect(clippy::disallowed_methods, reason = "the product reads no file here; this test measures its process")]
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let tags = |count: u32| {
        let signer = Signer::new_at(GUN, now()).signer("alice");
        (0..count).fold(signer, |signer, index| {
            let digest = [u8::try_from(index % 251).unwrap(); 32];
            signer.target("targets/releases", &format!("v1.2.{index}"), digest, 1234)
        })
    };
    let delegations = (0..64).fold(Signer::new_at(GUN, now()), |signer, index| signer.signer(&format!("s{index}")));
    let paths: Vec<String> = vec![String::new(); 10_000];
    let wide = tags(1).edit("targets", move |signed| {
        signed["delegations"]["roles"][0]["paths"] = serde_json::json!(paths);
    });
    let shapes = [
        ("few tags", tags(3), 2_000),
        ("tags", tags(2_000), 400),
        ("delegations", delegations, 1_000),
        ("paths", wide, 400),
    ];
    let mut all = Vec::new(); // freed memory would be used again, unmeasured
    for (shape, signer, copies) in shapes {
        let repo = signer.publish();
        drop(open(&repo)); // memory that is allocated once
        let before = resident();
        let held: Vec<_> = (0..copies).map(|_| open(&repo).unwrap()).collect();
        let (took, weighed) = (resident() - before, held.iter().map(Repository::heap_size).sum::<u64>());
        let wire: usize = repo.files().values().map(Vec::len).sum();
        println!("{shape}: {} bytes each, weighed {}, {wire} on the wire", took / copies, weighed / copies);
        assert!(weighed * 10 > took * 8 && weighed < took * 3, "{shape}: {took} bytes, weighed {weighed}");
        all.push(held);
    }
}
