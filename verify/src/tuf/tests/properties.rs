//! Properties of every input, checked on many: changed bytes never have another meaning, and the order of a file's members has
//! none. The random numbers have a fixed seed, so a failure can be repeated.

use serde_json::{Value, json};

use super::*;
use crate::tuf::metadata::{SnapshotRole, TimestampRole};
use crate::tuf::root::Root;
use crate::tuf::targets::TargetsRole;

const ROLES: [&str; 6] = ["root", "timestamp", "snapshot", "targets", "targets/releases", "targets/alice"];

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// The files of a repository, each opened as if it were the listed one.
struct Opener {
    repo: Repo,
    root: Root,
    snapshot: SnapshotRole,
    targets: TargetsRole,
}

impl Opener {
    fn new() -> Self {
        let repo = plant().publish();
        let root = Root::read(repo.bytes("root"), None, &gun(), &|| false).unwrap();
        let snapshot = SnapshotRole::open(repo.bytes("snapshot"), &root.snapshot, &|| false).unwrap();
        let bytes = repo.bytes("targets");
        let targets = TargetsRole::open("targets", &bytes, &snapshot.targets, &root.targets, &|| false).unwrap();
        Self { repo, root, snapshot, targets }
    }

    /// The hash of the signed content of these bytes as this role's file. `None` if they are rejected.
    fn content(&self, role: &str, bytes: &[u8]) -> Option<Sha256> {
        let header = match role {
            "root" => Root::read(bytes.to_vec(), None, &gun(), &|| false).ok()?.header,
            "timestamp" => TimestampRole::open(bytes.to_vec(), &self.root.timestamp, &|| false).ok()?.header,
            "snapshot" => SnapshotRole::open(bytes.to_vec(), &self.root.snapshot, &|| false).ok()?.header,
            "targets" => {
                TargetsRole::open(role, bytes, &self.snapshot.targets, &self.root.targets, &|| false).ok()?.header
            }
            delegation => {
                let keys = &self.targets.delegation(&RoleName::parse(delegation).unwrap()).unwrap().keys;
                TargetsRole::open(delegation, bytes, &self.snapshot.targets, keys, &|| false).ok()?.header
            }
        };
        Some(header.content)
    }

    /// The signed content, if there is any.
    fn check(&self, role: &str, bytes: &[u8], what: &str) {
        let found = self.content(role, bytes);
        let signed = self.content(role, &self.repo.bytes(role));
        assert!(signed.is_some());
        assert!(found.is_none() || found == signed, "{role}: {what}\n{}", String::from_utf8_lossy(bytes));
    }
}

/// Every byte of every file, changed in three ways.
fn no_byte_can_be_changed(role: &str) {
    let opener = Opener::new();
    let honest = opener.repo.bytes(role);
    let signed = opener.content(role, &honest).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut same = 0;
    for at in 0..honest.len() {
        let other = u8::try_from(random.below(255)).unwrap();
        for change in [1, 0x20, other + 1] {
            let mut bytes = honest.clone();
            bytes[at] ^= change;
            match opener.content(role, &bytes) {
                None => {}
                Some(found) if found == signed => same += 1,
                Some(_) => panic!("{role}: byte {at} ^ {change:#x}\n{}", String::from_utf8_lossy(&bytes)),
            }
        }
    }
    // The case of "ecdsa", and bytes that the canonical form does not have. Any other change must be rejected.
    assert!(same < honest.len() / 50, "{role}: {same} changes of {} bytes made no difference", honest.len());
}

#[test]
fn no_byte_of_the_root_can_be_changed() {
    no_byte_can_be_changed("root");
}

#[test]
fn no_byte_of_the_timestamp_can_be_changed() {
    no_byte_can_be_changed("timestamp");
}

#[test]
fn no_byte_of_the_snapshot_can_be_changed() {
    no_byte_can_be_changed("snapshot");
}

#[test]
fn no_byte_of_targets_can_be_changed() {
    no_byte_can_be_changed("targets");
}

#[test]
fn no_byte_of_releases_can_be_changed() {
    no_byte_can_be_changed("targets/releases");
}

#[test]
fn no_byte_of_a_signers_role_can_be_changed() {
    no_byte_can_be_changed("targets/alice");
}

/// Bytes inserted, removed and cut off, several at once.
#[test]
fn changed_bytes_never_say_anything_else() {
    let opener = Opener::new();
    let mut random = Random(1);
    for role in ROLES {
        let honest = opener.repo.bytes(role);
        for _ in 0..300 {
            let mut bytes = honest.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                    1 => bytes.insert(at, b" \n{}[],:\"\\"[random.below(10)]),
                    2 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
                    3 => {
                        // A part of it again, elsewhere: a parser that merges members would accept it.
                        let piece = bytes[at..(at + random.below(80)).min(bytes.len())].to_vec();
                        let to = random.below(bytes.len());
                        bytes.splice(to..to, piece);
                    }
                    _ => bytes.truncate(bytes.len() - random.below(3)),
                }
            }
            opener.check(role, &bytes, "spoilt");
        }
    }
}

/// The file of one role as that of another.
#[test]
fn no_file_stands_in_for_another() {
    let opener = Opener::new();
    for role in ROLES {
        for other in ROLES.into_iter().filter(|other| *other != role) {
            let bytes = opener.repo.bytes(other);
            // Alice may release, so her key belongs to both roles. Otherwise the keys alone would decide.
            let is_delegation = |role: &str| role.contains('/');
            if !(is_delegation(role) && is_delegation(other)) {
                assert_eq!(opener.content(role, &bytes), None, "{other} as {role}");
            }
        }
    }
}

/// The whole refresh, with every 31st byte of each role's file changed and everything that the server signs itself adapted to
/// the changed file.
#[test]
fn a_thief_of_the_servers_keys_changes_no_verdict() {
    let base = plant().publish();
    let honest = open(&base).unwrap().find_target(tag("v1"), &[as_alice(&base)], now()).unwrap().digest;
    for (start, role) in ROLES.into_iter().enumerate() {
        for at in (start..base.bytes(role).len()).step_by(31) {
            let repo = base.update(|signer| {
                signer.version(role, 1).edit_bytes(role, move |mut bytes| {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1;
                    }
                    bytes
                })
            });
            if let Ok(opened) = open(&repo) {
                for signers in [vec![], vec![as_alice(&base)]] {
                    let judged = opened.find_target(tag("v1"), &signers, now());
                    assert!(judged.is_err() || judged.unwrap().digest == honest, "{role}: byte {at}");
                    assert!(opened.find_target(tag("v2"), &signers, now()).is_err(), "{role}: byte {at}");
                }
            }
        }
    }
}

/// The document with the members of every object, at every level, in some order.
fn in_some_order(value: &Value, random: &mut Random) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| in_some_order(item, random)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(key, value)| format!("{}:{}", json!(key), in_some_order(value, random))).collect();
            for last in (1..members.len()).rev() {
                members.swap(last, random.below(last + 1));
            }
            format!("{{{}}}", members.join(","))
        }
        plain => plain.to_string(),
    }
}

#[test]
fn no_verdict_depends_on_the_order_of_members() {
    type Change = fn(Signer) -> Signer;
    let repositories: [Change; 9] = [
        |s| s,
        |s| s.signer("bob").release("v1", DIGEST, 1, &["bob"]),
        |s| s.target("targets", "v1", OTHER, 1).target("targets/releases", "v2", OTHER, 1),
        |s| s.target("targets/alice", "v1", OTHER, 1),
        |s| s.expires("targets/alice", now()),
        |s| s.expires("snapshot", now()),
        |s| s.threshold("targets/releases", 2),
        |s| s.edit("targets", |signed| signed["delegations"]["roles"][0]["paths"] = json!(["w", "v"])),
        |s| s.edit("snapshot", |signed| signed["meta"]["targets/alice"] = json!(null)),
    ];
    let mut random = Random(7);
    let mut verdicts = Set::new();
    for change in repositories {
        let base = change(plant());
        // The same keys, so that nothing but the order differs.
        let verdict = v1_by_alice(&base.clone().publish());
        verdicts.insert(verdict);
        for _ in 0..5 {
            let seed = u64::try_from(random.below(1 << 30)).unwrap() + 1;
            let shuffled = ROLES.into_iter().fold(base.clone(), |signer, role| {
                signer.edit_bytes(role, move |bytes| {
                    let value = serde_json::from_slice(&bytes).unwrap();
                    in_some_order(&value, &mut Random(seed)).into_bytes()
                })
            });
            let repo = shuffled.publish();
            assert_eq!(v1_by_alice(&repo), verdict, "seed {seed}");
            if verdict == "accepted" {
                let judged = open(&repo).unwrap().find_target(tag("v1"), &[as_alice(&repo)], now()).unwrap();
                assert_eq!(judged.digest.sha256(), Sha256::new(DIGEST));
            }
        }
    }
    assert!(verdicts.len() >= 5, "the repositories differ: {verdicts:?}");
}
