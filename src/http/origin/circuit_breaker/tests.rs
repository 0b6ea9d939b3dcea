//! Knocks whose outcome the test decides.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const DOOR: &str = "https://notary.local/v2/";
/// Pauses so short that a test need not wait, and knocks so long that none ends by itself.
const SHORT: Times = Times {
    suspect_after: Duration::ZERO,
    knock: Duration::from_secs(60),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
    forget_after: Duration::from_secs(60),
};

/// What each knock finds is sent by the test.
struct Bench {
    outages: Arc<Outages>,
    find: Sender<Result<(), String>>,
    knocks: Receiver<()>,
}

impl Bench {
    fn suspecting(times: Times) -> Self {
        let outages = Arc::new(Outages::new(times, Arc::new(Metrics::new())));
        let (find, found) = channel::<Result<(), String>>();
        let (tell, knocks) = channel();
        let found = Mutex::new(found);
        outages.suspect(DOOR, move |_, _| {
            tell.send(()).ok()?;
            found.lock().unwrap().recv().ok()
        });
        Self { outages, find, knocks }
    }

    fn find(&self, what: Result<(), &str>) {
        self.find.send(what.map_err(str::to_owned)).unwrap();
    }

    fn wait_until(&self, done: impl Fn(&Outages) -> bool) {
        for _ in 0..2_000 {
            if done(&self.outages) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it never came to that");
    }
}

#[test]
fn only_a_knock_in_vain_makes_a_server_down_and_one_answer_brings_it_back() {
    let bench = Bench::suspecting(SHORT);
    bench.knocks.recv().unwrap();
    assert_eq!(bench.outages.check(DOOR), Ok(()), "suspicion stops nobody");
    bench.find(Err("did not answer in time"));
    bench.wait_until(|outages| outages.is_down(DOOR));
    let words = bench.outages.check(DOOR).unwrap_err().to_string();
    assert!(words.starts_with("did not answer in time 0.") && words.contains("not asked again before"), "{words}");
    assert_eq!(bench.outages.check("https://other.local/v2/"), Ok(()));
    // It goes on knocking while it is down.
    bench.find(Err("did not answer in time"));
    bench.knocks.recv().unwrap();
    bench.knocks.recv().unwrap();
    assert!(bench.outages.check(DOOR).is_err());
    bench.find(Ok(()));
    bench.wait_until(|outages| outages.is_fine(DOOR));
    assert_eq!(bench.outages.check(DOOR), Ok(()));
}

#[test]
fn one_may_wait_for_the_next_knock_and_the_others_are_told() {
    let long = || Deadline::after(Duration::from_secs(20));
    let bench = Bench::suspecting(Times { longest_pause: Duration::from_millis(1), ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|outages| outages.is_down(DOOR));
    let is_awaited = |outages: &Outages| outages.lock().down(DOOR).is_some_and(|down| down.awaited);
    bench.knocks.recv().unwrap();
    thread::scope(|scope| {
        for (knock, expected) in [(Err("did not answer in time"), false), (Ok(()), true)] {
            bench.knocks.recv().unwrap();
            let waiting = scope.spawn(|| bench.outages.check_or_wait(DOOR, long()).is_ok());
            bench.wait_until(is_awaited);
            assert!(bench.outages.check_or_wait(DOOR, long()).is_err());
            // The one under way began before somebody waited for it.
            bench.find(Err("did not answer in time"));
            bench.knocks.recv().unwrap();
            bench.find(knock);
            assert_eq!(waiting.join().unwrap(), expected);
        }
    });
    assert!(bench.outages.check_or_wait(DOOR, long()).is_ok());
    // Nobody waits beyond its time, nor for what comes too late; and whoever has waited makes room.
    let bench = Bench::suspecting(SHORT);
    bench.find(Err("did not answer in time"));
    bench.wait_until(|outages| outages.is_down(DOOR));
    assert!(bench.outages.check_or_wait(DOOR, Deadline::after(Duration::from_millis(30))).is_err());
    assert!(!is_awaited(&bench.outages));
    let bench = Bench::suspecting(Times { first_pause: Duration::from_secs(60), ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|outages| outages.is_down(DOOR));
    assert!(bench.outages.wait_for_knock(DOOR, long()).is_none());
}

#[test]
fn a_server_that_answers_a_knock_was_never_down() {
    let bench = Bench::suspecting(SHORT);
    bench.find(Ok(()));
    bench.wait_until(|outages| outages.is_fine(DOOR));
}

#[test]
fn a_knock_that_fails_at_once_keeps_nobody_away() {
    let bench = Bench::suspecting(Times { suspect_after: Duration::from_secs(60), ..SHORT });
    bench.find(Err("connection refused"));
    bench.wait_until(|outages| outages.is_fine(DOOR));
}

#[test]
fn an_answer_to_anybody_ends_it_at_once() {
    let bench = Bench::suspecting(Times { first_pause: Duration::from_secs(60), ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|outages| outages.is_down(DOOR));
    bench.outages.answered(DOOR);
    assert_eq!(bench.outages.check(DOOR), Ok(()));
    // The old knocker says nothing about a new suspicion.
    assert_eq!(bench.outages.found_down(DOOR, 1, Instant::now(), String::new()), None);
}

#[test]
fn one_knocks_however_many_suspect_and_a_panic_ends_it() {
    let outages = Arc::new(Outages::new(SHORT, Arc::new(Metrics::new())));
    let knocks = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(Barrier::new(2));
    for _ in 0..9 {
        let (knocks, barrier) = (Arc::clone(&knocks), Arc::clone(&barrier));
        outages.suspect(DOOR, move |_, _| {
            knocks.fetch_add(1, Ordering::SeqCst);
            barrier.wait();
            panic!("made up");
        });
    }
    barrier.wait();
    let bench = Bench { outages, find: channel().0, knocks: channel().1 };
    bench.wait_until(|outages| outages.is_fine(DOOR));
    assert_eq!(knocks.load(Ordering::SeqCst), 1);
}

#[test]
fn a_server_that_did_answer_is_left_in_peace_for_a_moment() {
    let knocks = |times: Times| {
        let outages = Arc::new(Outages::new(times, Arc::new(Metrics::new())));
        let knocks = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let count = Arc::clone(&knocks);
            outages.suspect(DOOR, move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                Some(Ok(()))
            });
            let bench = Bench { outages: Arc::clone(&outages), find: channel().0, knocks: channel().1 };
            bench.wait_until(|outages| outages.is_fine(DOOR));
            thread::sleep(Duration::from_millis(5));
        }
        knocks.load(Ordering::SeqCst)
    };
    assert_eq!(knocks(SHORT), 3);
    assert_eq!(knocks(Times { first_pause: Duration::from_secs(60), ..SHORT }), 1);
}

#[test]
fn whom_nobody_wants_is_not_knocked_at_for_ever() {
    let bench = Bench::suspecting(Times { forget_after: Duration::ZERO, ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|outages| outages.is_fine(DOOR));
}

#[test]
fn made_up_servers_are_bounded() {
    let outages = Arc::new(Outages::new(SHORT, Arc::new(Metrics::new())));
    let (hold, held) = channel::<()>();
    let held = Arc::new(Mutex::new(held));
    for number in 0..MAX_DOORS + 5 {
        let held = Arc::clone(&held);
        outages.suspect(&format!("https://h{number}/v2/"), move |_, _| {
            let _ = held.lock().unwrap().recv();
            None
        });
    }
    assert_eq!(outages.lock().by_url.len(), MAX_DOORS);
    drop(hold);
}

#[test]
fn pauses_grow_to_their_bound_and_differ() {
    let outages = Outages::new(Times::USUAL, Arc::new(Metrics::new()));
    let trouble = Trouble { knocker: 7, wanted: Instant::now(), state: State::Suspected };
    outages.lock().by_url.insert(DOOR.to_owned(), trouble);
    let pause = || outages.found_down(DOOR, 7, Instant::now(), String::new()).unwrap();
    for seconds in [1, 2, 4, 5, 5] {
        let (pause, whole) = (pause(), Duration::from_secs(seconds));
        assert!(pause >= whole * 3 / 4 && pause <= whole, "{pause:?}");
    }
    assert!((0..50).map(|_| pause()).collect::<std::collections::BTreeSet<_>>().len() > 5);
}
