//! Trust data that needs much memory and time, honest or not, against an executable under the Deployment's own memory
//! limit. Every request is answered in time and rightly, and the process is not killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use portreeve_test_support::signer as tuf;
use portreeve_test_support::temp::TempDir;
use portreeve_test_support::trust_server::TrustServer;
use serde_json::{Value, json};

use crate::notary::{Digest, RealNotary, needs_notary};
use crate::pki::Pki;
use crate::product::{Serving, Site};
use crate::review::{DID_NOT_ANSWER, assert_allowed, assert_denied, pod_review, policy};

/// Tags of a large repository (TRUST.md, "Limits").
const TAGS: u32 = 75_000;
const IMAGES: usize = 8;
/// The longest timeout that Kubernetes allows.
const LONGEST: &str = "/admit?timeout=30s";
/// The time that a request and its response may take on a busy machine.
const MARGIN: Duration = Duration::from_secs(1);

/// The memory limit in the Deployment, in bytes.
fn memory_limit() -> u64 {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base/deployment.yaml")).unwrap();
    let limits = text.split_once("limits:").unwrap().1;
    let limit = limits.split_once("memory: ").unwrap().1.lines().next().unwrap();
    limit.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20
}

fn image(number: usize) -> String {
    format!("registry.local:9001/plant/large-{number}")
}

/// A Pod that runs `v1` of this number of images.
fn review_of(images: usize) -> Value {
    let mut review = pod_review("");
    let container = |number| json!({ "name": format!("c{number}"), "image": format!("{}:v1", image(number)) });
    review["request"]["object"]["spec"]["containers"] = (0..images).map(container).collect();
    review
}

/// A signer whose root certificate is valid for every image here.
fn signer() -> tuf::Signer {
    tuf::Signer::new("registry.local:9001/plant/*").release("v1", [7; 32], 1234, &[])
}

fn large() -> &'static tuf::Repo {
    static LARGE: OnceLock<tuf::Repo> = OnceLock::new();
    LARGE.get_or_init(|| {
        (0..TAGS).fold(signer(), |signer, number| signer.release(&format!("v2.{number}"), [8; 32], 1234, &[])).publish()
    })
}

/// A million empty objects in `custom`, whose content the signer chooses.
fn custom() -> Value {
    Value::Array(vec![json!({}); 1_000_000])
}

/// A trust server that has the same repository for every image, and a site that asks it.
fn plant(repo: &tuf::Repo) -> (TrustServer, Site) {
    let server = TrustServer::start();
    for number in 0..IMAGES {
        for (stem, bytes) in repo.files() {
            server.put(&image(number), stem, bytes.clone());
        }
    }
    let mut site = Site::with_server(&Pki::new(), &server.url());
    site.config["trust"]["ca"] = json!(site.file("trust-ca.pem", server.ca_pem()));
    site.policies(&[policy(&[])]);
    (server, site)
}

/// The same repositories as files, and a site that reads them.
fn mounted(repo: &tuf::Repo) -> (TempDir, Site) {
    let dir = TempDir::new();
    for number in 0..IMAGES {
        for (stem, bytes) in repo.files() {
            let file = dir.path().join(image(number)).join(format!("{stem}.json"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
    }
    let site = Site::with_server(&Pki::new(), &format!("file://{}", dir.path().display()));
    site.policies(&[policy(&[])]);
    (dir, site)
}

/// An executable under the Deployment's memory limit, if the system allows a control group.
pub(crate) struct Limited {
    pub(crate) serving: Serving,
    group: Option<Group>,
}

impl Limited {
    #[track_caller]
    pub(crate) fn start(site: &Site) -> Self {
        let group = Group::new(memory_limit());
        let serving = site.serve_in(group.as_ref().map(|group| group.0.as_path()));
        Self { serving, group }
    }

    /// A request with this timeout. The response is in time, and the process still runs.
    #[track_caller]
    pub(crate) fn ask(&mut self, target: &str, seconds: u64, review: &Value) -> Value {
        let begin = Instant::now();
        let answer = self.serving.admit(target, review);
        let took = begin.elapsed();
        eprintln!("{target}: answered after {took:?}, {} KiB at most so far", self.peak());
        assert!(took < Duration::from_secs(seconds) + MARGIN, "answered after {took:?}");
        self.is_well();
        answer
    }

    #[track_caller]
    pub(crate) fn is_well(&mut self) {
        assert!(!self.serving.has_ended() && self.serving.is_ready(), "{}", self.serving.log());
        let most = memory_limit() >> 10;
        assert!(self.peak() < most, "{} KiB were resident, and {most} KiB may be", self.peak());
        let killed = self.group.as_ref().map_or(0, Group::killed);
        assert_eq!(killed, 0, "the process was killed for memory");
    }

    /// The most resident memory, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.serving.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}

/// A control group (v1 or v2) with a memory limit, removed on drop.
pub(crate) struct Group(PathBuf);

impl Group {
    /// `None` if the system allows none. The test then compares only the maximum.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("portreeve-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        for (base, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Self(Path::new(base).join(&name));
            if fs::create_dir(&group.0).is_err() {
                continue;
            }
            if fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        eprintln!("no control group can be made here: the peak of memory is looked at instead");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn killed(&self) -> u64 {
        ["memory.oom_control", "memory.events"]
            .iter()
            .filter_map(|file| fs::read_to_string(self.0.join(file)).ok())
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0); // its process was killed before
    }
}

#[test]
fn large_repositories_are_verified_within_the_deployments_memory() {
    let (_server, site) = plant(large());
    for images in [3, IMAGES] {
        assert_allowed(&Limited::start(&site).ask(LONGEST, 30, &review_of(images)));
    }
    // The second process reads the stored data.
    assert_allowed(&Limited::start(&site).ask(LONGEST, 30, &review_of(IMAGES)));
}

#[test]
fn verifying_ends_before_the_answer_is_due() {
    let (_files, site) = mounted(large());
    let mut limited = Limited::start(&site);
    for seconds in [1, 2] {
        let answer = limited.ask(&format!("/admit?timeout={seconds}s"), seconds, &review_of(IMAGES));
        if answer["response"]["allowed"] != true {
            assert_denied(&answer, &["no trust data could be read"]);
        }
    }
    // A request that was too late does not change the result of the next.
    assert_allowed(&limited.ask(LONGEST, 30, &review_of(IMAGES)));
}

#[test]
fn crowds_of_values_take_no_more_memory_than_there_is() {
    let honest = signer().publish();
    let (server, site) = plant(&honest);
    let mut limited = Limited::start(&site);
    for body in [
        format!("{{\"signed\":{{\"x\":[{}0]}},\"signatures\":[]}}", "{},".repeat(340_000)),
        format!("{{\"signed\":{{\"x\":[{}0]}},\"signatures\":[]}}", "0,".repeat(510_000)),
        format!("[{}\"\"]", "\"\\n\\n\\n\\n\\n\\n\",".repeat(65_000)),
    ] {
        for number in 0..IMAGES {
            server.put(&image(number), "root", body.clone());
        }
        let answer = limited.ask(LONGEST, 30, &review_of(IMAGES));
        assert_denied(&answer, &["large-0", "large-7"]);
        assert!(!answer.to_string().contains(DID_NOT_ANSWER), "{answer}");
    }
    let crowded =
        honest.update(|signer| signer.edit("targets/releases", |signed| signed["targets"]["v1"]["custom"] = custom()));
    let (_server, site) = plant(&crowded);
    let mut limited = Limited::start(&site);
    for images in [1, 3] {
        assert_allowed(&limited.ask(LONGEST, 30, &review_of(images)));
    }
    // A hundred thousand names in no order, each of which must be sorted.
    let names = |number: u32| format!("\"{:x}\":0,", number.wrapping_mul(0x9e37_79b1));
    let unsorted: String = (0..100_000).map(names).collect();
    let odd = honest.update(|signer| {
        signer.edit_bytes("targets/releases", move |bytes| {
            format!("{{{unsorted}{}", String::from_utf8(bytes).unwrap().strip_prefix('{').unwrap()).into_bytes()
        })
    });
    let (_server, site) = plant(&odd);
    assert_allowed(&Limited::start(&site).ask(LONGEST, 30, &review_of(IMAGES)));
}

#[test]
fn the_stock_client_signs_nothing_that_kills() {
    needs_notary!();
    let pki = Pki::new();
    let notary = RealNotary::start(&pki);
    let site = Site::with_server(&pki, &notary.url());
    site.policies(&[policy(&[])]);
    let file = site.file("custom.json", &custom().to_string());
    notary.repository(&image(0)).sign_with_custom("v1", &Digest::of("large"), &file);
    let mut limited = Limited::start(&site);
    let answer = limited.ask("/admit?timeout=10s", 10, &review_of(1));
    assert!(!answer.to_string().contains(DID_NOT_ANSWER), "{answer}");
    assert_allowed(&answer);
}
