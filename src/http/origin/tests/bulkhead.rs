//! Which requests hold a permit, wait, or are refused.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::bulkhead::{Needs, NoPermit, REMEMBER_SILENCE};
use super::super::permit::{Permit, Waiter};
use super::super::*;
use crate::base::context::RequestId;

const NEVER: Duration = Duration::from_secs(3600);
const A: &str = "https://a/v2/";

/// Servers whose probes say nothing.
fn origins(limits: Limits, silent_after: Duration) -> Arc<Origins> {
    let limits = Limits { times: Times { silent_after, ..Times::DEFAULT }, ..limits };
    Arc::new(Origins::new(limits, Arc::new(Metrics::new()), Box::new(|_, _| None)))
}

fn workers(workers: usize, silent_after: Duration) -> Arc<Origins> {
    origins(Limits::new(workers, 999), silent_after)
}

impl<'a> Origin<'a> {
    fn permit_now(&self, deadline: Deadline) -> Result<Permit<'a>, NoPermit> {
        self.permit(Instant::now(), deadline)
    }

    fn wait_now(&self, request: RequestId) -> Waiter<'a> {
        self.wait(Instant::now(), request)
    }
}

impl Origins {
    fn has_no_bulkhead(&self) -> bool {
        self.lock().by_probe.values().all(|state| state.bulkhead.is_none())
    }

    fn waiting(&self, needs: Needs) -> usize {
        self.lock().bulkhead(A).map_or(0, |bulkhead| bulkhead.waiting(needs))
    }
}

fn long() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn is_silent<T>(result: Result<T, NoPermit>) -> bool {
    matches!(result, Err(NoPermit::Silent { .. }))
}

#[test]
fn half_of_the_workers_ask_and_at_least_one() {
    for (workers, share) in [(8, 4), (3, 1), (2, 1), (1, 1), (0, 1)] {
        let origins = origins(Limits::new(workers, 999), NEVER);
        let (a, b) = (origins.origin(A), origins.origin("https://b/v2/"));
        let permits: Vec<_> = (0..share).map(|_| a.permit_now(long()).unwrap()).collect();
        let late = Deadline::after(Duration::from_millis(20));
        assert!(matches!(a.permit_now(late), Err(NoPermit::OutOfTime)), "{workers}");
        // Another server has permits of its own.
        b.permit_now(long()).unwrap();
        drop(permits);
        a.permit_now(long()).unwrap();
        assert!(origins.has_no_bulkhead());
    }
}

#[test]
fn a_request_counts_once_however_many_images_it_asks_for() {
    let origins = workers(2, NEVER);
    let a = origins.origin(A);
    let request = long();
    let permits: Vec<_> = (0..8).map(|_| a.permit_now(request).unwrap()).collect();
    assert_eq!(permits.len(), 8);
    let late = Deadline::after(Duration::from_millis(20));
    assert!(matches!(a.permit_now(late), Err(NoPermit::OutOfTime)));
}

#[test]
fn whoever_is_beyond_the_share_waits_only_while_the_server_speaks() {
    let origins = workers(4, Duration::from_millis(200));
    let a = origins.origin(A);
    let holder = long();
    let permits = [a.permit_now(holder).unwrap(), a.permit_now(long()).unwrap()];
    let waiting = a.wait_now(long().request());
    let own = a.wait_now(holder.request());
    assert!(waiting.may_wait().is_ok());
    assert!(is_silent(a.permit_now(long())), "it became silent while we waited");
    assert!(is_silent(a.permit_now(long())), "at once");
    assert!(is_silent(waiting.may_wait()));
    assert!(own.may_wait().is_ok(), "its request keeps its place anyway");
    permits[0].responded();
    assert!(waiting.may_wait().is_ok());
    drop(waiting);
    // As many requests as there are permits may wait for a silent server.
    let [first, second] = permits;
    drop(second);
    thread::sleep(Duration::from_millis(300));
    let waiting = a.wait_now(long().request());
    assert!(waiting.may_wait().is_ok());
    assert!(is_silent(a.wait_now(long().request()).may_wait()));
    // But a request that asks for a permit comes before one that waits for data.
    let third = a.permit_now(long()).unwrap();
    assert!(is_silent(waiting.may_wait()));
    drop((first, third, waiting));
}

#[test]
fn one_slow_server_leaves_places_for_the_others() {
    let origins = origins(Limits::new(2, 12), Duration::from_millis(100));
    let (a, b) = (origins.origin(A), origins.origin("https://b/v2/"));
    let (permits, heard) = ([a.permit_now(long()).unwrap(), b.permit_now(long()).unwrap()], AtomicBool::new(true));
    thread::scope(|scope| {
        // Both are slow, and neither is silent.
        scope.spawn(|| {
            while heard.load(Ordering::SeqCst) {
                permits.iter().for_each(Permit::responded);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let stay = |waiting: &mut Vec<Waiter<'_>>| {
            thread::sleep(Duration::from_millis(150));
            while let Some(at) = waiting.iter().position(|waiting| waiting.may_wait().is_err()) {
                assert!(matches!(waiting[at].may_wait(), Err(NoPermit::Crowded { .. })));
                waiting.remove(at);
            }
        };
        // One slow server holds half of the places: one request has the permit, four wait; one holds the permit of b.
        let mut of_a: Vec<_> = (0..10).map(|_| a.wait_now(long().request())).collect();
        assert!(of_a.iter().all(|waiting| waiting.may_wait().is_ok()), "shorter waits have no bound");
        stay(&mut of_a);
        assert_eq!(of_a.len(), 4);
        // Two slow servers hold a third each.
        let mut of_b: Vec<_> = (0..10).map(|_| b.wait_now(long().request())).collect();
        stay(&mut of_b);
        stay(&mut of_a);
        stay(&mut of_b);
        assert_eq!((of_a.len(), of_b.len()), (3, 2));
        heard.store(false, Ordering::SeqCst);
    });
}

#[test]
fn a_turn_comes_when_another_one_leaves() {
    let origins = workers(2, NEVER);
    let a = origins.origin(A);
    let first = a.permit_now(long()).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| a.permit_now(long()).is_ok());
        while origins.waiting(Needs::Permit) == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        drop(first);
        assert!(second.join().unwrap());
    });
}

#[test]
fn turns_come_in_order_and_who_gives_way_goes_last() {
    let origins = workers(2, NEVER);
    let a = origins.origin(A);
    // Another image of the same request keeps no permit for an image that yields its own.
    let (request, order) = (long(), Mutex::new(Vec::new()));
    let first = a.permit_now(request).unwrap();
    let other_image = a.permit_now(request).unwrap();
    first.yield_to_others(request).expect("no request waits");
    let lined_up = |number: usize| {
        let end = Instant::now() + Duration::from_secs(10);
        while origins.waiting(Needs::Permit) < number {
            assert!(Instant::now() < end, "no request comes");
            thread::sleep(Duration::from_millis(5));
        }
    };
    let (a, order, lined_up) = (&a, &order, &lined_up);
    thread::scope(|scope| {
        for name in ["second", "third"] {
            scope.spawn(move || {
                let _permit = a.permit_now(long()).unwrap();
                order.lock().unwrap().push(name);
            });
            lined_up(if name == "second" { 1 } else { 2 });
        }
        scope.spawn(move || {
            first.yield_to_others(request).unwrap();
            order.lock().unwrap().push("first");
        });
        lined_up(3);
        drop(other_image);
    });
    assert_eq!(*order.lock().unwrap(), ["second", "third", "first"]);
    assert!(origins.has_no_bulkhead());
}

/// The requests about one image go at the same time under one permit, and the credentials of each may be refused.
#[test]
fn threads_that_yield_one_permit_leave_none_behind() {
    let origins = workers(2, NEVER);
    let a = origins.origin(A);
    let request = long();
    let held = a.permit_now(request).unwrap();
    let (permit, a) = (&held, &a);
    thread::scope(|scope| {
        scope.spawn(move || drop(a.permit_now(long()).unwrap()));
        let end = Instant::now() + Duration::from_secs(10);
        while origins.waiting(Needs::Permit) == 0 {
            assert!(Instant::now() < end, "no request comes");
            thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..4 {
            scope.spawn(move || permit.yield_to_others(request).unwrap());
        }
    });
    drop(held);
    assert!(origins.has_no_bulkhead());
}

#[test]
fn silence_outlives_those_who_heard_it() {
    let origins = workers(4, Duration::from_millis(50));
    let a = origins.origin(A);
    let permit = a.permit_now(long()).unwrap();
    thread::sleep(Duration::from_millis(80));
    drop(permit);
    let permits = [a.permit_now(long()).unwrap(), a.permit_now(long()).unwrap()];
    assert!(is_silent(a.permit_now(long())), "the silence is remembered for the next ones");
    permits[0].responded();
    drop(permits);
    assert!(origins.has_no_bulkhead());
    // For a while.
    let long_ago = Instant::now().checked_sub(REMEMBER_SILENCE * 2).unwrap();
    let state = State { circuit: None, bulkhead: Some(Bulkhead::new(long_ago)) };
    origins.lock().by_probe.insert(A.into(), state);
    let _permits = [a.permit_now(long()).unwrap(), a.permit_now(long()).unwrap()];
    assert!(origins.lock().bulkhead(A).unwrap().last_response > long_ago);
}

/// Every waiting request looks before any of them has gone.
#[test]
fn no_more_are_refused_than_must_go() {
    let at_once = |waiting: &[Waiter<'_>]| waiting.iter().map(|waiter| waiter.may_wait().is_ok()).collect::<Vec<_>>();
    // Two permits and three others, of a server that is silent: the newest goes. One of the others holds a permit.
    let origins = workers(4, Duration::from_millis(50));
    let (a, holder) = (origins.origin(A), long());
    let _permit = a.permit_now(holder).unwrap();
    let waiting = [long(), holder, long()].map(|request| a.wait_now(request.request()));
    thread::sleep(Duration::from_millis(60));
    assert_eq!(at_once(&waiting), [true, true, false]);
    // Five of twelve places may be this slow server's, and one is another's. A sixth is one too many: the one goes that
    // has waited longest.
    let origins = super::bulkhead::origins(Limits::new(2, 12), Duration::from_millis(50));
    let (a, other) = (origins.origin(A), origins.origin("https://b/v2/"));
    let (permit, _other) = (a.permit_now(holder).unwrap(), other.permit_now(long()).unwrap());
    let mut waiting: Vec<_> = (0..4).map(|_| a.wait_now(long().request())).collect();
    thread::sleep(Duration::from_millis(60));
    permit.responded();
    assert_eq!(at_once(&waiting), [true; 4]);
    // A second image of a request takes no place.
    let last = waiting.last().unwrap().request;
    waiting.push(a.wait_now(last));
    assert_eq!(at_once(&waiting), [true; 5]);
    waiting.push(a.wait_now(long().request()));
    permit.responded();
    assert_eq!(at_once(&waiting), [false, true, true, true, true, true]);
    waiting.remove(0);
    assert_eq!(at_once(&waiting), [true; 5]);
}
