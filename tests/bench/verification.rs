//! What verifying trust data costs: how it grows with the bytes, how it compares with ring alone on the same bytes, how much
//! memory it takes beside what is kept, and that verified data is not read again.
//!
//! `cargo bench --bench verification` prints tables and asserts nothing. Times are processor times (Linux only).
//! Instructions are counted if valgrind is installed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may end with a panic")]

mod callgrind;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use portreeve::base::context::Deadline;
use portreeve::base::waiting::Waiting;
use portreeve::keychain::{Credentials, MountedCredentials};
use portreeve::metrics::Metrics;
use portreeve::schemes::notary::{Notary, PlainHttp, Query, Settings, TrustServer, WhenUnavailable};
use portreeve_test_support::signer::{Key, Repo, Signer, canonical};
use portreeve_test_support::temp::TempDir;
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::{
    Anchor, FetchError, FirstUse, Gun, MetadataName, MetadataSource, Repository, RoleName, SignerKey,
};
use portreeve_verify::tuf::{RequiredSigner, TargetQuery};
use ring::digest::{SHA256, SHA512, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use self::callgrind::Counter;
use self::table::{count, ratio, time};
use portreeve_verify::ordered::Set;

const GUN: &str = "registry.local/plant/plc";
const TAG: &str = "v1.0.7";
const TARGETS: [u32; 6] = [10, 100, 1_000, 10_000, 30_000, 75_000];
const DELEGATIONS: [u32; 4] = [1, 4, 16, 64];
/// The argument that starts this program as the counted process.
const COUNTED: &str = "--counted";
/// The argument that starts this program as the process whose memory is measured.
const WEIGHED: &str = "--weighed";
/// Tags of each delegation, if the number of delegations grows.
const TAGS_EACH: u32 = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, dir] = arguments.as_slice()
        && flag == COUNTED
    {
        return take_orders(&Case::open(Path::new(dir)));
    }
    if let [_, flag, small, dir] = arguments.as_slice()
        && flag == WEIGHED
    {
        return weigh(Path::new(small), Path::new(dir));
    }
    let scratch = TempDir::new();
    let sized = TARGETS.map(|tags| {
        let dir = scratch.path().join(format!("tags-{tags}"));
        Figures::of(tags, &Case::create(&dir, &signed_by(1, tags)))
    });
    let delegated = DELEGATIONS.map(|signers| {
        let dir = scratch.path().join(format!("delegations-{signers}"));
        Figures::of(signers, &Case::create(&dir, &signed_by(signers, TAGS_EACH)))
    });
    print_refreshes("A first refresh, by targets in each of two roles", "targets", &sized);
    print_refreshes("A first refresh, by delegations of 500 targets each, all required", "delegations", &delegated);
    print_remembered(&sized);
    print_memory(scratch.path());
}

/// A repository as `docker trust` lays it out: the same tags in `targets/releases` and in each signer's role.
fn signed_by(signers: u32, tags: u32) -> Repo {
    let names: Vec<String> = (0..signers).map(|number| format!("signer-{number}")).collect();
    let mut signer = Signer::new(GUN).delegate("targets/releases", vec![Key::p256()]);
    for name in &names {
        signer = signer.delegate(&format!("targets/{name}"), vec![Key::p256()]);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for number in 0..tags {
        let tag = format!("v{}.{}.{}", number / 10_000 + 1, number / 100 % 100, number % 100);
        signer = signer.release(&tag, *Sha256::of(tag.as_bytes()).as_bytes(), 1234, &names);
    }
    signer.publish()
}

/// The figures of one case.
struct Figures {
    number: u32,
    bytes: u64,
    /// Time, and instructions if they can be counted.
    works: BTreeMap<Work, (Duration, Option<u64>)>,
}

impl Figures {
    fn of(number: u32, case: &Case) -> Self {
        eprintln!("measuring {}", case.dir.display());
        let counts = if callgrind::is_there() { case.instructions() } else { BTreeMap::new() };
        let both = |work| (work, (case.time(work), counts.get(&work).copied()));
        Self { number, bytes: case.bytes(), works: Work::ALL.into_iter().map(both).collect() }
    }

    fn time(&self, work: Work) -> Duration {
        self.works[&work].0
    }

    fn instructions(&self, work: Work) -> String {
        self.works[&work].1.map(count).unwrap_or_default()
    }
}

fn print_refreshes(title: &str, of: &str, cases: &[Figures]) {
    let rows = cases.iter().map(|case| {
        let (took, floor) = (case.time(Work::Refresh), case.time(Work::Floor));
        let a_byte = |instructions: u64| format!("{:.1}", instructions as f64 / case.bytes as f64);
        vec![
            count(u64::from(case.number)),
            count(case.bytes),
            time(took),
            format!("{:.2}", took.as_nanos() as f64 / case.bytes as f64),
            time(floor),
            ratio(took.as_secs_f64(), floor.as_secs_f64()),
            case.instructions(Work::Refresh),
            case.works[&Work::Refresh].1.map(a_byte).unwrap_or_default(),
            case.instructions(Work::Floor),
        ]
    });
    let head = [
        of,
        "bytes",
        "time",
        "ns/byte",
        "ring alone",
        "ratio",
        "instructions",
        "of them a byte",
        "ring's instructions",
    ];
    table::print(title, &head, &rows.collect::<Vec<_>>());
}

fn print_remembered(cases: &[Figures]) {
    let rows = cases.iter().map(|case| {
        let mut row = vec![count(u64::from(case.number))];
        for work in [Work::Verdict, Work::Ask, Work::Unchanged] {
            row.extend([time(case.time(work)), case.instructions(work)]);
        }
        row
    });
    let head =
        ["targets", "verdict", "instructions", "warm lookup", "instructions", "refresh, nothing new", "instructions"];
    table::print("What is verified already", &head, &rows.collect::<Vec<_>>());
}

/// The memory of a first refresh, which reads one file after the other.
fn print_memory(scratch: &Path) {
    let dir = |tags: u32| scratch.join(format!("tags-{tags}"));
    let rows = TARGETS.map(|tags| {
        let output =
            Command::new(std::env::current_exe().unwrap()).arg(WEIGHED).args([dir(TARGETS[0]), dir(tags)]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let [most, kept, file] = [0, 1, 2].map(|at| text.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap());
        let kib = |bytes: u64| format!("{} KiB", count(bytes / 1024));
        let row = [count(u64::from(tags)), kib(file), kib(kept), kib(most)];
        row.into_iter().chain([ratio(most as f64, kept as f64)]).collect::<Vec<_>>()
    });
    let head = ["targets", "the largest file", "kept", "most while reading", "ratio"];
    table::print("Memory of a first refresh, by targets in each of two roles", &head, &rows);
}

/// The weighed process: the most memory that one refresh adds, what is kept of it, and the bytes of its largest file. A refresh
/// of little data goes before, so that the program's own pages do not count.
fn weigh(small: &Path, dir: &Path) {
    let resident = |field: &str| {
        let text = fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    };
    let [mut small, mut case] = [small, dir].map(Case::open);
    let largest = case.read_files().map(Vec::len).max().unwrap();
    [&mut small, &mut case].into_iter().for_each(|case| drop(std::mem::take(&mut case.files)));
    let refresh = |case: &Case| {
        let mut source = OnDisk(case.dir.join("trust").join(GUN));
        Repository::refresh(&mut source, &case.gun, &case.anchor, None, &case.roles, case.now).unwrap()
    };
    drop(refresh(&small));
    fs::write("/proc/self/clear_refs", "5").unwrap(); // begins to watch for the most memory
    let before = resident("VmRSS:");
    let held = refresh(&case);
    println!("{} {} {largest}", resident("VmHWM:") - before, held.heap_size());
}

/// The counted process: it prepares everything, then follows its standard input (`verdict 100`).
fn take_orders(case: &Case) {
    let mut turns = Work::ALL.map(|work| (work, work.prepared(case)));
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (name, number) = line.split_once(' ').unwrap();
        let (_, turn) = turns.iter_mut().find(|(work, _)| work.name() == name).unwrap();
        (0..number.parse::<u64>().unwrap()).for_each(|_| turn());
        println!("done");
    }
}

/// The measured work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// Verifies everything, as at first contact.
    Refresh,
    /// ring's part of that: both listed hashes of each file, one check of each signature.
    Floor,
    /// A refresh that finds the same snapshot as before.
    Unchanged,
    /// A verdict by the verified repository.
    Verdict,
    /// A query to the Notary service within `refreshAfter`.
    Ask,
}

impl Work {
    const ALL: [Self; 5] = [Self::Refresh, Self::Floor, Self::Unchanged, Self::Verdict, Self::Ask];

    fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Floor => "floor",
            Self::Unchanged => "unchanged",
            Self::Verdict => "verdict",
            Self::Ask => "ask",
        }
    }

    /// The number of turns that are timed, or counted, together.
    fn batch(self) -> u32 {
        match self {
            Self::Verdict | Self::Ask => 100,
            Self::Unchanged => 10,
            Self::Refresh | Self::Floor => 1,
        }
    }

    /// One turn, with all preparation done before.
    fn prepared(self, case: &Case) -> Box<dyn FnMut() + '_> {
        match self {
            Self::Refresh => Box::new(|| drop(black_box(case.refresh(None)))),
            Self::Floor => Box::new(|| case.hash_and_check()),
            Self::Unchanged => {
                let held = case.refresh(None);
                Box::new(move || drop(black_box(case.refresh(Some(&held)))))
            }
            Self::Verdict => {
                let held = case.refresh(None);
                Box::new(move || drop(black_box(held.find_target(wanted(), &case.signers, case.now).unwrap())))
            }
            Self::Ask => {
                let notary = Notary::new(Settings {
                    ca: None,
                    refresh_after: Duration::from_secs(3600),
                    plain_http: PlainHttp::Refused,
                    cache: None,
                    workers: 8,
                    waiting: Arc::new(Waiting::new(128)),
                    memory: 64 << 20,
                    verify_memory: 48 << 20,
                    cache_bytes: usize::MAX,
                    metrics: Arc::new(Metrics::new()),
                });
                let (notary, server) = (notary.unwrap(), case.server());
                let keychain = MountedCredentials::new(None);
                let ask = move || {
                    let query = Query {
                        gun: &case.gun,
                        server: &server,
                        wanted: wanted(),
                        tags: Default::default(),
                        anchor: &case.anchor,
                        signers: &case.signers,
                        credentials: &Credentials::new(&keychain, GUN, None),
                        when_unavailable: WhenUnavailable::Deny,
                        deadline: Deadline::after(Duration::from_secs(60)),
                        notice: portreeve::schemes::WaitNotice::NONE,
                    };
                    black_box(notary.ask(&query, case.now).unwrap());
                };
                ask();
                Box::new(ask)
            }
        }
    }
}

fn wanted() -> TargetQuery<'static> {
    TargetQuery { tag: Some(TAG), digest: None }
}

/// A published repository in a directory, and everything else that verifying needs.
struct Case {
    dir: PathBuf,
    gun: Gun,
    anchor: Anchor,
    now: Timestamp,
    files: BTreeMap<String, Vec<u8>>,
    signers: Vec<RequiredSigner>,
    roles: Set<RoleName>,
    checks: Vec<Check>,
}

/// A signature that a refresh checks.
struct Check {
    message: Vec<u8>,
    point: Vec<u8>,
    signature: Vec<u8>,
}

impl Case {
    /// Writes a case to a directory, for [`Case::open`] to read without the work of signing.
    fn create(dir: &Path, repo: &Repo) -> Self {
        for (stem, bytes) in repo.files() {
            let file = dir.join("trust").join(GUN).join(format!("{stem}.json"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        fs::create_dir_all(dir.join("signers")).unwrap();
        fs::create_dir_all(dir.join("checks")).unwrap();
        let roles: Vec<String> = repo.files().keys().filter_map(|stem| role_of(stem)).collect();
        for role in &roles {
            let key = &repo.keys(role)[0];
            if let Some(name) = role.strip_prefix("targets/").filter(|name| *name != "releases") {
                fs::write(dir.join("signers").join(name), key.public_pem()).unwrap();
            }
            let envelope: serde_json::Value = serde_json::from_slice(&repo.bytes(role)).unwrap();
            let signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();
            let spki = key.bare().public();
            let check = dir.join("checks").join(role.replace('/', "_"));
            fs::write(check.with_extension("message"), canonical(&envelope["signed"])).unwrap();
            fs::write(check.with_extension("point"), &spki[spki.len() - 65..]).unwrap();
            fs::write(check.with_extension("signature"), signature).unwrap();
        }
        Self::open(dir)
    }

    fn open(dir: &Path) -> Self {
        let trust = dir.join("trust").join(GUN);
        let mut files = BTreeMap::new();
        for (below, prefix) in [(trust.clone(), ""), (trust.join("targets"), "targets/")] {
            for path in listed(&below).into_iter().filter(|path| path.is_file()) {
                let stem = path.file_name().unwrap().to_str().unwrap().strip_suffix(".json").unwrap();
                files.insert(format!("{prefix}{stem}"), fs::read(&path).unwrap());
            }
        }
        let signer = |path: PathBuf| RequiredSigner {
            role: RoleName::of_signer(path.file_name().unwrap().to_str().unwrap()).unwrap(),
            keys: vec![SignerKey::from_pem(&fs::read_to_string(&path).unwrap()).unwrap()],
        };
        let signers: Vec<_> = listed(&dir.join("signers")).into_iter().map(signer).collect();
        let check = |message: PathBuf| Check {
            point: fs::read(message.with_extension("point")).unwrap(),
            signature: fs::read(message.with_extension("signature")).unwrap(),
            message: fs::read(message).unwrap(),
        };
        let messages = listed(&dir.join("checks")).into_iter().filter(|path| path.extension().unwrap() == "message");
        Self {
            dir: dir.to_owned(),
            gun: Gun::new(GUN).unwrap(),
            anchor: Anchor { pins: Arc::default(), first_use: FirstUse::Allowed },
            now: Timestamp::now(),
            files,
            roles: signers.iter().map(|signer| signer.role.clone()).collect(),
            signers,
            checks: messages.map(check).collect(),
        }
    }

    /// The bytes of one refresh. (`1.root` has the bytes of `root`.)
    fn bytes(&self) -> u64 {
        self.read_files().map(|bytes| bytes.len() as u64).sum()
    }

    fn read_files(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.files.iter().filter(|(stem, _)| role_of(stem).is_some()).map(|(_, bytes)| bytes)
    }

    fn refresh(&self, previous: Option<&Repository>) -> Repository {
        let mut source = InMemory(&self.files);
        Repository::refresh(&mut source, &self.gun, &self.anchor, previous, &self.roles, self.now).unwrap()
    }

    fn hash_and_check(&self) {
        for bytes in self.read_files() {
            black_box((digest(&SHA256, bytes), digest(&SHA512, bytes)));
        }
        for Check { message, point, signature } in &self.checks {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).unwrap();
        }
    }

    /// The repository as a directory in place of a trust server.
    fn server(&self) -> TrustServer {
        let url = format!("file://{}", self.dir.join("trust").display());
        TrustServer::parse(&url, PlainHttp::Refused).unwrap()
    }

    /// The processor time of one turn, over half a second of turns. The load of the machine hardly changes it.
    fn time(&self, work: Work) -> Duration {
        let mut turn = work.prepared(self);
        turn();
        let (begin, mut turns) = (on_cpu(), 0);
        loop {
            (0..work.batch()).for_each(|_| turn());
            turns += work.batch();
            let spent = on_cpu().saturating_sub(begin);
            if spent > Duration::from_millis(500) {
                return spent / turns;
            }
        }
    }

    /// The instructions of one turn of each work.
    fn instructions(&self) -> BTreeMap<Work, u64> {
        let mut counter = Counter::new();
        let mut command = counter.command(std::env::current_exe().unwrap());
        command.arg(COUNTED).arg(&self.dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (pid, mut orders) = (child.id(), child.stdin.take().unwrap());
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "ready");
        counter.begin(pid);
        let counts = Work::ALL.into_iter().map(|work| {
            let spent = counter.count(pid, || {
                writeln!(orders, "{} {}", work.name(), work.batch()).unwrap();
                assert_eq!(said.next().unwrap().unwrap(), "done");
            });
            (work, spent / u64::from(work.batch()))
        });
        let counts = counts.collect();
        drop(orders);
        assert!(child.wait().unwrap().success());
        counts
    }
}

/// The processor time of this thread, to some milliseconds.
fn on_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// The role of a metadata file that a refresh reads.
fn role_of(stem: &str) -> Option<String> {
    match stem.rsplit_once('.') {
        Some((role, hash)) if hash.len() == 64 => Some(role.to_owned()),
        _ => Some(stem.to_owned()).filter(|stem| stem == "root" || stem == "timestamp"),
    }
}

fn listed(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

struct InMemory<'a>(&'a BTreeMap<String, Vec<u8>>);

impl MetadataSource for InMemory<'_> {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        self.0.get(&name.file_stem()).cloned().ok_or(FetchError::NotFound)
    }
}

/// The files are read when they are asked for, and dropped after their use.
struct OnDisk(PathBuf);

impl MetadataSource for OnDisk {
    fn fetch(&mut self, name: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
        fs::read(self.0.join(format!("{}.json", name.file_stem()))).map_err(|_| FetchError::NotFound)
    }
}
