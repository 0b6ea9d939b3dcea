//! Probes whose outcome the test decides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;

use super::super::*;

const PROBE: &str = "https://notary.local/v2/";
/// Pauses so short that a test need not wait, and probes so long that none ends by itself.
const SHORT: Times = Times {
    half_open_after: Duration::ZERO,
    probe: Duration::from_secs(60),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
    forget_after: Duration::from_secs(60),
    silent_after: Duration::from_secs(60),
};

fn origins(
    times: Times,
    send_probe: impl Fn(&str, Duration) -> Option<Result<(), String>> + Send + Sync + 'static,
) -> Arc<Origins> {
    let limits = Limits { times, ..Limits::NO_BULKHEAD };
    Arc::new(Origins::new(limits, Arc::new(Metrics::new()), Box::new(send_probe)))
}

/// The test sends the result of each probe.
struct Bench {
    origins: Arc<Origins>,
    find: Sender<Result<(), String>>,
    probes: Receiver<()>,
}

impl Bench {
    fn half_open(times: Times) -> Self {
        let (find, found) = channel::<Result<(), String>>();
        let (tell, probes) = channel();
        let found = Mutex::new(found);
        let origins = origins(times, move |_, _| {
            tell.send(()).ok()?;
            found.lock().unwrap().recv().ok()
        });
        origins.half_open(PROBE);
        Self { origins, find, probes }
    }

    /// Servers whose probes the test has set up itself.
    fn over(origins: &Arc<Origins>) -> Self {
        Self { origins: Arc::clone(origins), find: channel().0, probes: channel().1 }
    }

    fn find(&self, what: Result<(), &str>) {
        self.find.send(what.map_err(str::to_owned)).unwrap();
    }

    fn wait_until(&self, done: impl Fn(&Origins) -> bool) {
        for _ in 0..2_000 {
            if done(&self.origins) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it never came to that");
    }
}

#[test]
fn only_a_knock_in_vain_makes_a_server_down_and_one_answer_brings_it_back() {
    let bench = Bench::half_open(SHORT);
    bench.probes.recv().unwrap();
    let patience = bench.origins.check(PROBE);
    assert_eq!(patience, Ok(Some(SHORT.probe)), "a half-open circuit stops no request, but gives it less time");
    bench.find(Err("did not answer in time"));
    bench.wait_until(|origins| origins.is_open(PROBE));
    let words = bench.origins.check(PROBE).unwrap_err().to_string();
    assert!(words.starts_with("did not answer in time 0.") && words.contains("not asked again before"), "{words}");
    assert_eq!(bench.origins.check("https://other.local/v2/"), Ok(None));
    // It is probed again while it is down.
    bench.find(Err("did not answer in time"));
    bench.probes.recv().unwrap();
    bench.probes.recv().unwrap();
    assert!(bench.origins.check(PROBE).is_err());
    bench.find(Ok(()));
    bench.wait_until(|origins| origins.is_closed(PROBE));
    assert_eq!(bench.origins.check(PROBE), Ok(None));
}

#[test]
fn one_may_wait_for_the_next_knock_and_the_others_are_told() {
    let long = || Deadline::after(Duration::from_secs(20));
    let bench = Bench::half_open(Times { longest_pause: Duration::from_millis(1), ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|origins| origins.is_open(PROBE));
    let is_awaited =
        |origins: &Origins| origins.lock().circuit(PROBE).and_then(Circuit::open).is_some_and(|open| open.awaited);
    bench.probes.recv().unwrap();
    thread::scope(|scope| {
        for (probe, expected) in [(Err("did not answer in time"), false), (Ok(()), true)] {
            bench.probes.recv().unwrap();
            let waiting = scope.spawn(|| bench.origins.origin(PROBE).check_or_wait(long()).is_ok());
            bench.wait_until(is_awaited);
            assert!(bench.origins.origin(PROBE).check_or_wait(long()).is_err());
            // The probe that is under way began before the request waited for one.
            bench.find(Err("did not answer in time"));
            bench.probes.recv().unwrap();
            bench.find(probe);
            assert_eq!(waiting.join().unwrap(), expected);
        }
    });
    assert!(bench.origins.origin(PROBE).check_or_wait(long()).is_ok());
    // No request waits beyond its deadline; one that has waited leaves its place.
    let bench = Bench::half_open(SHORT);
    bench.find(Err("did not answer in time"));
    bench.wait_until(|origins| origins.is_open(PROBE));
    assert!(bench.origins.origin(PROBE).check_or_wait(Deadline::after(Duration::from_millis(30))).is_err());
    assert!(!is_awaited(&bench.origins));
}

#[test]
fn a_request_that_waits_is_not_kept_by_the_pause() {
    let long = || Deadline::after(Duration::from_secs(20));
    let pause = Duration::from_secs(600);
    let bench = Bench::half_open(Times { first_pause: pause, longest_pause: pause, ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|origins| origins.is_open(PROBE));
    bench.probes.recv().unwrap();
    thread::scope(|scope| {
        for (probe, expected) in [(Err("did not answer in time"), false), (Ok(()), true)] {
            let waiting = scope.spawn(|| bench.origins.origin(PROBE).check_or_wait(long()).is_ok());
            bench.probes.recv().unwrap();
            bench.find(probe);
            assert_eq!(waiting.join().unwrap(), expected);
        }
    });
    // Nor does it wait longer than a probe takes, also for one that was under way.
    let short = Times { probe: Duration::from_millis(30), first_pause: pause, ..SHORT };
    let bench = Bench::half_open(short);
    bench.find(Err("did not answer in time"));
    bench.wait_until(|origins| origins.is_open(PROBE));
    for _ in 0..3 {
        let began = Instant::now();
        assert!(bench.origins.origin(PROBE).check_or_wait(long()).is_err());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn a_server_that_answers_a_knock_was_never_down() {
    let bench = Bench::half_open(SHORT);
    bench.find(Ok(()));
    bench.wait_until(|origins| origins.is_closed(PROBE));
}

#[test]
fn a_knock_that_fails_at_once_keeps_nobody_away() {
    let bench = Bench::half_open(Times { half_open_after: Duration::from_secs(60), ..SHORT });
    bench.find(Err("connection refused"));
    bench.wait_until(|origins| origins.is_closed(PROBE));
}

#[test]
fn an_answer_to_anybody_ends_it_at_once() {
    let bench = Bench::half_open(Times { first_pause: Duration::from_secs(60), ..SHORT });
    bench.find(Err("did not answer in time"));
    bench.wait_until(|origins| origins.is_open(PROBE));
    bench.origins.responded(PROBE);
    assert_eq!(bench.origins.check(PROBE), Ok(None));
    // An old prober changes nothing in a circuit that was half-opened later.
    assert_eq!(bench.origins.probe_failed(PROBE, 1, Instant::now(), String::new()), None);
}

#[test]
fn one_knocks_however_many_suspect_and_a_panic_ends_it() {
    let probes = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(Barrier::new(2));
    let (count, reached) = (Arc::clone(&probes), Arc::clone(&barrier));
    let origins = origins(SHORT, move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        reached.wait();
        panic!("made up");
    });
    for _ in 0..9 {
        origins.half_open(PROBE);
    }
    barrier.wait();
    Bench::over(&origins).wait_until(|origins| origins.is_closed(PROBE));
    assert_eq!(probes.load(Ordering::SeqCst), 1);
}

#[test]
fn a_server_that_did_answer_is_left_in_peace_for_a_moment() {
    let probes = |times: Times| {
        let probes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&probes);
        let origins = origins(times, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            Some(Ok(()))
        });
        for _ in 0..3 {
            origins.half_open(PROBE);
            Bench::over(&origins).wait_until(|origins| origins.is_closed(PROBE));
            thread::sleep(Duration::from_millis(5));
        }
        probes.load(Ordering::SeqCst)
    };
    assert_eq!(probes(SHORT), 3);
    assert_eq!(probes(Times { first_pause: Duration::from_secs(60), ..SHORT }), 1);
}

#[test]
fn a_server_that_nobody_needs_is_not_probed_for_ever_and_its_silence_is_remembered() {
    let bench = Bench::half_open(Times { forget_after: Duration::ZERO, ..SHORT });
    let is_remembered =
        |origins: &Origins| origins.lock().circuit(PROBE).is_some_and(|circuit| circuit.is_remembered());
    for _ in 0..2 {
        bench.probes.recv().unwrap();
        bench.find(Err("did not answer in time"));
        bench.wait_until(is_remembered);
        assert!(bench.probes.try_recv().is_err());
        // The next request is sent, does not wait for long, and starts a probe.
        assert_eq!(bench.origins.check(PROBE), Ok(Some(SHORT.probe)));
    }
    bench.probes.recv().unwrap();
    bench.find(Ok(()));
    bench.wait_until(|origins| origins.is_closed(PROBE));
    assert_eq!(bench.origins.check(PROBE), Ok(None));
}

#[test]
fn few_silent_servers_are_remembered() {
    let times = Times { forget_after: Duration::ZERO, ..SHORT };
    let origins = origins(times, |_, _| Some(Err("did not answer in time".to_owned())));
    for number in 0..2 * MAX_REMEMBERED {
        let probe = format!("https://h{number}/v2/");
        origins.half_open(&probe);
        Bench::over(&origins).wait_until(|origins| origins.lock().circuit(&probe).is_some_and(|it| it.is_remembered()));
    }
    assert!(origins.lock().by_probe.len() <= MAX_REMEMBERED + 1);
}

#[test]
fn made_up_servers_are_bounded() {
    let (hold, held) = channel::<()>();
    let held = Mutex::new(held);
    let origins = origins(SHORT, move |_, _| {
        let _ = held.lock().unwrap().recv();
        None
    });
    for number in 0..MAX_PROBED + 5 {
        origins.half_open(&format!("https://h{number}/v2/"));
    }
    assert_eq!(origins.lock().by_probe.len(), MAX_PROBED);
    drop(hold);
}

#[test]
fn pauses_grow_to_their_bound_and_differ() {
    let origins = origins(Times::DEFAULT, |_, _| None);
    let state = State { circuit: Some(Circuit::half_open(7, Instant::now())), bulkhead: None };
    origins.lock().by_probe.insert(PROBE.into(), state);
    let pause = || origins.probe_failed(PROBE, 7, Instant::now(), String::new()).unwrap();
    for seconds in [1, 2, 4, 5, 5] {
        let (pause, whole) = (pause(), Duration::from_secs(seconds));
        assert!(pause >= whole * 3 / 4 && pause <= whole, "{pause:?}");
    }
    assert!((0..50).map(|_| pause()).collect::<std::collections::BTreeSet<_>>().len() > 5);
}
