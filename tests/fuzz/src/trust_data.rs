//! Trust data, from its bytes to a verdict, through the public `Repository::refresh`.
//!
//! The input is a list of changes to a sound repository that is signed on the spot. The changes are those of either
//!
//! - a *thief* of the server's keys, who signs any snapshot and timestamp, and changes every other file only after it
//!   was signed. No tag then gets another digest or another signer than its own; or
//! - an odd *publisher*, who holds all keys and changes files before they are signed, so that the code behind the
//!   signatures is reached. A verified target must then be in the files by an obvious reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use portreeve_test_support::signer::{Repo, Signer};
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::{
    Anchor, FetchError, FirstUse, Gun, MetadataName, MetadataSource, RefreshError, Repository, RoleName, SignerKey,
};
use portreeve_verify::tuf::{RequiredSigner, TargetQuery};
use serde_json::Value;

use crate::strict_json::{self, Json};

const GUN: &str = "registry.local:9001/plant/plc";
const ROLES: [&str; 7] =
    ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice", "targets/bob"];
const TAGS: [&str; 4] = ["v1", "v2", "v3", "latest"];

pub fn check(data: &[u8]) {
    let world = World::shared();
    let mut input = Input(data);
    let flags = input.byte();
    let (thief, previous) = (flags & 1 == 0, (flags & 2 != 0).then_some(&world.opened));
    let (repo, served) = world.changed(&mut input, thief);
    let mut source = Files(&served);
    let signers = portreeve_verify::ordered::Set::from(["alice", "bob"].map(role));
    let opened = match Repository::refresh(&mut source, &gun(), &anchor(), previous, &signers, now()) {
        Ok(opened) => opened,
        Err(error) => {
            let words = error.to_string();
            assert!(!words.is_empty() && !words.chars().any(char::is_control), "{words:?}");
            assert!(!matches!(error, RefreshError::Unavailable(_)), "a server that answers is there: {words}");
            return;
        }
    };
    if previous.is_some() {
        let before: BTreeMap<_, _> = world.opened.expiries().into_iter().map(|e| (e.role, e.version)).collect();
        for expiry in opened.expiries() {
            assert!(before.get(&expiry.role).is_none_or(|seen| expiry.version >= *seen), "{} went back", expiry.role);
        }
    }
    for expiry in opened.expiries() {
        assert!(expiry.expires > now() || expiry.role.contains('/'), "{} has expired", expiry.role);
    }
    for tag in TAGS {
        for who in [&[][..], &["alice"], &["bob"], &["alice", "bob"]] {
            world.ask(&opened, &repo, thief, TargetQuery { tag: Some(tag), digest: None }, who);
        }
    }
    for digest in [1, 2, 3].map(digest) {
        world.ask(&opened, &repo, thief, TargetQuery { tag: None, digest: Some(digest) }, &["alice"]);
        world.ask(&opened, &repo, thief, TargetQuery { tag: Some("v1"), digest: Some(digest) }, &[]);
    }
}

struct World {
    repo: Repo,
    opened: Repository,
    keys: BTreeMap<&'static str, SignerKey>,
}

impl World {
    fn shared() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let repo = Signer::new_at(GUN, now())
                .signer("alice")
                .signer("bob")
                .release("v1", bytes(1), 10, &["alice"])
                .release("v2", bytes(2), 20, &["alice", "bob"])
                .publish();
            let repo = ROLES.iter().fold(repo, |repo, role| repo.update(|signer| signer.version(role, 5)));
            let signers = portreeve_verify::ordered::Set::from(["alice", "bob"].map(role));
            let opened = Repository::refresh(&mut Files(repo.files()), &gun(), &anchor(), None, &signers, now());
            let key = |name| SignerKey::from_pem(&repo.signer_public_key_pem(name)).expect("a key");
            let keys = BTreeMap::from(["alice", "bob"].map(|name| (name, key(name))));
            Self { opened: opened.expect("a sound repository"), repo, keys }
        })
    }

    /// The repository after the changes, and the served files.
    fn changed(&self, input: &mut Input<'_>, thief: bool) -> (Repo, BTreeMap<String, Vec<u8>>) {
        let (mut served, mut withheld) = (Vec::new(), BTreeSet::new());
        let repo = self.repo.update(|mut signer| {
            for _ in 0..4 {
                if input.is_done() {
                    break;
                }
                let role = ROLES[usize::from(input.byte()) % ROLES.len()];
                let servers = matches!(role, "timestamp" | "snapshot");
                signer = match input.byte() % 6 {
                    0 | 1 if !thief || servers => {
                        let edit = Edit::read(input);
                        signer.edit(role, move |signed| edit.apply(signed))
                    }
                    0..=2 => {
                        let edit = Edit::read(input);
                        signer.edit_envelope(role, move |envelope| edit.apply(envelope))
                    }
                    3 => {
                        let edit = Splice::read(input);
                        signer.edit_bytes(role, move |bytes| edit.apply(bytes))
                    }
                    4 if servers => signer.version(role, u64::from(input.byte())),
                    4 if thief => {
                        withheld.insert(role);
                        signer.withhold(role)
                    }
                    4 => signer.threshold(role, u64::from(input.byte() % 4)),
                    _ => {
                        served.push((role, Splice::read(input)));
                        signer
                    }
                };
            }
            signer
        });
        let mut files = repo.files().clone();
        for (role, splice) in served.into_iter().filter(|(role, _)| !withheld.contains(role)) {
            if let Some(file) = files.get_mut(&repo.file_of(role)) {
                *file = splice.apply(std::mem::take(file));
            }
        }
        (repo, files)
    }

    fn ask(&self, opened: &Repository, repo: &Repo, thief: bool, wanted: TargetQuery<'_>, who: &[&str]) {
        let required: Vec<_> =
            who.iter().map(|name| RequiredSigner { role: role(name), keys: vec![self.keys[name].clone()] }).collect();
        let judgement = match opened.find_target(wanted, &required, now()) {
            Ok(judgement) => judgement,
            Err(rejection) => return assert!(!rejection.to_string().chars().any(char::is_control), "{rejection}"),
        };
        let found = judgement.digest.sha256();
        assert!(wanted.digest.is_none_or(|digest| digest == found));
        assert!(wanted.tag.is_none_or(|tag| tag == judgement.tag));
        if thief {
            let number = match judgement.tag.as_str() {
                "v1" if !who.contains(&"bob") => 1,
                "v2" => 2,
                tag => panic!("{tag} was not released and signed by {who:?}"),
            };
            assert_eq!(found, digest(number), "{}", judgement.tag);
            assert_eq!(judgement.released_by, "targets/releases");
            return;
        }
        for role in who.iter().map(|name| format!("targets/{name}")).chain([judgement.released_by.to_owned()]) {
            let file = strict_json::read(&repo.bytes(&role)).expect("what was verified is strict JSON");
            let stands = at(&file, &["signed", "targets", &judgement.tag, "hashes", "sha256"]);
            assert_eq!(stands, Some(&Json::Text(STANDARD.encode(found.as_bytes()))), "{} in {role}", judgement.tag);
            assert_eq!(at(&file, &["signed", "_type"]), Some(&Json::Text("Targets".to_owned())), "{role}");
            let Some(Json::Text(expires)) = at(&file, &["signed", "expires"]) else { panic!("no expiry in {role}") };
            // jiff's last time is before the end of the year 9999.
            let ends = expires.parse::<Timestamp>().ok().or(expires.starts_with("9999-12-3").then_some(Timestamp::MAX));
            assert!(ends.expect("a time") > now(), "{role} has expired");
            if role.contains('/') {
                assert!(covers(repo, &role, &judgement.tag), "{role} has no authority over {}", judgement.tag);
            }
        }
    }
}

/// Do the paths of a delegation cover the tag, by an obvious reading of `targets`?
fn covers(repo: &Repo, role: &str, tag: &str) -> bool {
    let file = strict_json::read(&repo.bytes("targets")).expect("strict JSON");
    let Some(Json::List(roles)) = at(&file, &["signed", "delegations", "roles"]) else { return false };
    roles.iter().filter(|entry| at(entry, &["name"]) == Some(&Json::Text(role.to_owned()))).any(|entry| {
        let Some(Json::List(paths)) = at(entry, &["paths"]) else { return false };
        paths.iter().any(|path| matches!(path, Json::Text(path) if tag.starts_with(path.as_str())))
    })
}

fn at<'j>(json: &'j Json, path: &[&str]) -> Option<&'j Json> {
    path.iter().try_fold(json, |json, name| match json {
        Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
        _ => None,
    })
}

/// A change of a JSON value somewhere in a document.
#[derive(Clone)]
struct Edit {
    path: Vec<u8>,
    action: u8,
    value: Value,
}

impl Edit {
    fn read(input: &mut Input<'_>) -> Self {
        let steps = usize::from(input.byte() % 8);
        let path = (0..steps).map(|_| input.byte()).collect();
        let action = input.byte();
        let length = usize::from(input.byte() % 64);
        let text = input.take(length);
        // Any JSON, or the bytes as text.
        let value =
            serde_json::from_slice(text).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(text).into()));
        Self { path, action, value }
    }

    fn apply(&self, document: &mut Value) {
        let mut node = document;
        for step in &self.path {
            let step = usize::from(*step);
            let children = match &*node {
                Value::Array(items) => items.len(),
                Value::Object(members) => members.len(),
                _ => 0,
            };
            if children == 0 {
                break;
            }
            node = match node {
                Value::Array(items) => &mut items[step % children],
                Value::Object(members) => members.values_mut().nth(step % children).expect("a member"),
                _ => unreachable!("it has children"),
            };
        }
        match (self.action % 5, node) {
            (0, node) => *node = self.value.clone(),
            (1, Value::Array(items)) => drop(items.pop()),
            (1, Value::Object(members)) => {
                let name = members.keys().nth(usize::from(self.action / 5) % members.len().max(1)).cloned();
                name.and_then(|name| members.remove(&name));
            }
            (2, Value::Array(items)) => items.push(self.value.clone()),
            (2, Value::Object(members)) => {
                let last = members.values().next_back().cloned().unwrap_or_default();
                members.insert(self.value.as_str().unwrap_or("x").to_owned(), last);
            }
            (3, Value::Array(items)) => items.extend(items.clone()),
            (3, Value::Object(members)) => {
                members.insert("x".to_owned(), self.value.clone());
            }
            (_, Value::Number(number)) => {
                let step = i64::from(self.action) - 128;
                *number = number.as_i64().unwrap_or_default().saturating_add(step).into();
            }
            (_, Value::String(text)) => text.push_str(self.value.as_str().unwrap_or("\u{1}")),
            (_, node) => *node = Value::Null,
        }
    }
}

/// A change of bytes.
#[derive(Clone)]
struct Splice {
    at: usize,
    cut: usize,
    insert: Vec<u8>,
}

impl Splice {
    fn read(input: &mut Input<'_>) -> Self {
        let at = usize::from(input.byte()) << 8 | usize::from(input.byte());
        let cut = usize::from(input.byte() % 48);
        let length = usize::from(input.byte() % 96);
        Self { at, cut, insert: input.take(length).to_vec() }
    }

    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let start = self.at % (bytes.len() + 1);
        let end = (start + self.cut).min(bytes.len());
        bytes.splice(start..end, self.insert.iter().copied());
        bytes
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}

struct Files<'a>(&'a BTreeMap<String, Vec<u8>>);

impl MetadataSource for Files<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        match self.0.get(&name.file_stem()) {
            Some(bytes) if bytes.len() > cap => Err(FetchError::TooLarge { cap }),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(FetchError::NotFound),
        }
    }
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().expect("a time")
}

fn gun() -> Gun {
    Gun::new(GUN).expect("a GUN")
}

fn anchor() -> Anchor {
    Anchor { pins: std::sync::Arc::default(), first_use: FirstUse::Allowed }
}

fn role(name: &str) -> RoleName {
    RoleName::of_signer(name).expect("a signer's name")
}

fn bytes(number: u8) -> [u8; 32] {
    [number; 32]
}

fn digest(number: u8) -> Sha256 {
    Sha256::new(bytes(number))
}
