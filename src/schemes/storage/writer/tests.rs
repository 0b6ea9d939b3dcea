use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;

/// Writes that do not end before the sender is dropped.
struct Disk {
    release: Option<Sender<()>>,
    held: Arc<Mutex<Receiver<()>>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Disk {
    fn new() -> Self {
        let (release, held) = channel();
        Self { release: Some(release), held: Arc::new(Mutex::new(held)), written: Arc::default() }
    }

    fn job(&self, key: u8, kind: Kind, number: u8) -> Job {
        let (held, written) = (Arc::clone(&self.held), Arc::clone(&self.written));
        let write = Box::new(move || {
            let _ = held.lock().unwrap().recv();
            written.lock().unwrap().push(number);
        });
        Job { key: Sha256::of(&[key]), kind, write }
    }

    fn written(&self) -> Vec<u8> {
        self.written.lock().unwrap().clone()
    }
}

#[test]
fn nobody_waits_and_all_is_written() {
    let (writer, mut disk) = (Writer::default(), Disk::new());
    writer.start(disk.job(1, Kind::TrustData, 1)).unwrap();
    assert_eq!(writer.finish(Deadline::after(Duration::from_millis(20))), 1);
    assert!(disk.written().is_empty());
    drop(disk.release.take());
    assert_eq!(writer.finish(Deadline::after(Duration::from_secs(60))), 0);
    assert_eq!(disk.written(), [1]);
    let panics = Job { key: Sha256::of(b""), kind: Kind::Evidence, write: Box::new(|| panic!("made up")) };
    writer.start(panics).unwrap();
    writer.settle();
    writer.start(disk.job(1, Kind::TrustData, 2)).unwrap();
    writer.settle();
    assert_eq!(disk.written(), [1, 2]);
}

#[test]
fn one_thing_is_written_in_order_and_others_do_not_wait_for_it() {
    let (writer, mut disk) = (Writer::default(), Disk::new());
    for number in 0..50 {
        writer.start(disk.job(1, Kind::TrustData, number)).unwrap();
    }
    assert_eq!(writer.0.lock().threads, 1);
    let other = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&other);
    let write = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    writer.start(Job { key: Sha256::of(b"other"), kind: Kind::TrustData, write }).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while other.load(Ordering::SeqCst) == 0 {
        assert!(std::time::Instant::now() < end, "it waits for the others");
        thread::sleep(Duration::from_millis(2));
    }
    drop(disk.release.take());
    writer.settle();
    assert_eq!(disk.written(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_does_not_answer_costs_few_threads_and_leaves_trust_data_its_place() {
    let (writer, mut disk) = (Writer::default(), Disk::new());
    let evidence = |number: usize| {
        let mut job = disk.job(0, Kind::Evidence, 0);
        job.key = Sha256::of(&number.to_be_bytes());
        job
    };
    let begun = (0..2 * MAX_WAITING).filter(|number| writer.start(evidence(*number)).is_ok()).count();
    assert_eq!(begun, (MAX_WRITES + MAX_WAITING) / EVIDENCE_SHARE);
    let trust_data = |number: usize| Job { kind: Kind::TrustData, ..evidence(number + 10 * MAX_WAITING) };
    let begun = (0..2 * MAX_WAITING).filter(|number| writer.start(trust_data(*number)).is_ok()).count();
    assert_eq!(begun, (MAX_WRITES + MAX_WAITING) / EVIDENCE_SHARE);
    let state = writer.0.lock();
    assert_eq!((state.threads, state.waiting.len()), (MAX_WRITES, MAX_WAITING));
    drop(state);
    drop(disk.release.take());
    writer.settle();
    assert_eq!(disk.written().len(), MAX_WRITES + MAX_WAITING);
}

#[test]
fn few_bytes_wait_for_the_disk() {
    let writer = Writer::default();
    let large = writer.room(2 * MAX_BYTES).unwrap();
    assert!(writer.room(1).is_none());
    assert!(writer.room(0).is_some(), "versions alone take none");
    drop(large);
    let _held = writer.room(MAX_BYTES - 1);
    let _also = writer.room(1).unwrap();
    assert!(writer.room(1).is_none());
}
