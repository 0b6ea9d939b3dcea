//! How often a warm admission passes from one thread to another. It is a count of the kernel's, not a time: the threads of
//! the executable that begin to wait.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::https::{TlsStream, read_response, send_review};
use crate::plant::PLC;
use crate::product::Serving;
use crate::review::{assert_allowed, pod_review};
use crate::stage::Stage;

/// The admissions that are counted.
const ADMISSIONS: u32 = 400;
/// The most waits for one admission.
const MOST: f64 = 5.0;

/// How often the threads of the executable have begun to wait, by their names. Threads that have ended are not in it.
fn waits(serving: &Serving) -> BTreeMap<String, u64> {
    let mut waits = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", serving.id())).unwrap() {
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        *waits.entry(value("Name:")).or_default() += value("voluntary_ctxt_switches:").parse::<u64>().unwrap();
    }
    waits
}

fn admit(stream: &mut TlsStream, review: &serde_json::Value) {
    send_review(stream, "/admit?timeout=10s", review).unwrap();
    assert_allowed(&read_response(stream).unwrap().json());
}

#[test]
fn a_warm_admission_is_handed_over_a_few_times_at_most() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    let mut stream = serving.connect().unwrap();
    (0..50).for_each(|_| admit(&mut stream, &review));
    // What the start and the first admissions have set going ends: threads that tiny_http does not need, written files.
    thread::sleep(Duration::from_secs(6));
    let before = waits(&serving);
    (0..ADMISSIONS).for_each(|_| admit(&mut stream, &review));
    let mut each = BTreeMap::new();
    for (name, count) in waits(&serving) {
        let counted = count.saturating_sub(before.get(&name).copied().unwrap_or_default());
        each.insert(name, counted as f64 / f64::from(ADMISSIONS));
    }
    let total: f64 = each.values().sum();
    eprintln!("{total:.2} waits for each warm admission on a kept connection: {each:.2?}");
    // One at least, so that it is the right threads that are counted: the client waits for a response to each.
    assert!((1.0..=MOST).contains(&total), "{each:.2?}");
}
