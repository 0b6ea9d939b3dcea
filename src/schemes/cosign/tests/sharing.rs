//! Queries at the same time: which of them share a fetch, and which share a failure.

use super::*;

#[test]
fn queries_at_the_same_time_share_one_fetch() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("", Fault::Delay(Duration::from_millis(100)));
    for verified in at_once(8, |_| bench.verdict()) {
        verified.unwrap();
    }
    assert_eq!(bench.registry.requests().len(), 4, "{:?}", bench.registry.round_trips());
}

#[test]
fn of_500_pods_over_50_images_no_image_is_asked_for_twice() {
    let bench = Bench::with(&Options { cache: true, ..Options::default() });
    for number in 0..50 {
        let image = bench.registry.push_image(NAME, &format!("n{number}"), &format!("seed {number}"));
        bench.attach(&image, &bench.alice);
    }
    let rule = bench.rule();
    let results = at_once(500, |number| {
        // They come over half a second, so that some find a fetch under way, and some what it has fetched.
        thread::sleep(Duration::from_millis(number as u64));
        bench.ask(&Ask::of(&format!(":n{}", number % 50), &rule))
    });
    assert!(results.iter().all(Result::is_ok));
    let mut requests = bench.registry.requests().iter().map(|it| it.target.clone()).collect::<Vec<_>>();
    assert_eq!(requests.len(), 50 * 4);
    requests.sort();
    requests.dedup();
    assert_eq!(requests.len(), 50 * 4);
}

#[test]
fn rules_with_other_keys_share_the_fetch_and_each_decides_for_itself() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("/referrers/", Fault::Delay(Duration::from_millis(300)));
    let rules = [bench.rule(), rule_of(&[("bob", &bench.bob)])];
    let results = at_once(8, |number| bench.ask(&Ask::of(":v1", &rules[number % 2])));
    for (number, result) in results.into_iter().enumerate() {
        match number % 2 {
            0 => assert_eq!(result.unwrap().signers, ["alice"]),
            _ => drop(rejected(result, "signature")),
        }
    }
    for part in ["/manifests/v1", "/referrers/", "/blobs/"] {
        assert_eq!(bench.registry.count(part), 1, "{:?}", bench.registry.round_trips());
    }
}

#[test]
fn a_shared_failure_is_told_to_all_and_forgotten() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("/manifests/v1", Fault::Page(500, ""));
    for result in at_once(4, |_| bench.verdict()) {
        assert!(unavailable(result).contains("500"));
    }
    bench.registry.behave();
    bench.verdict().unwrap();
}

#[test]
fn who_waits_takes_over_when_the_leader_ran_out_of_time() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("/manifests/v1", Fault::Stall);
    let rule = bench.rule();
    thread::scope(|scope| {
        let short = scope.spawn(|| bench.ask(&Ask { wait: Duration::from_millis(500), ..Ask::of(":v1", &rule) }));
        while bench.registry.count("/manifests/v1") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        bench.registry.behave();
        let waiting = scope.spawn(|| bench.verdict());
        unavailable(short.join().unwrap());
        assert_eq!(waiting.join().unwrap().unwrap().freshness, Freshness::Fetched);
    });
}

#[test]
fn who_waits_keeps_to_its_own_deadline() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("/referrers/", Fault::Stall);
    let rule = bench.rule();
    thread::scope(|scope| {
        let leader = scope.spawn(|| bench.ask(&Ask { wait: Duration::from_secs(3), ..Ask::of(":v1", &rule) }));
        while bench.registry.count("/referrers/") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let began = Instant::now();
        unavailable(bench.ask(&Ask { wait: Duration::from_millis(300), ..Ask::of(":v1", &rule) }));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        unavailable(leader.join().unwrap());
    });
}

/// A signature that a leader had no time to fetch is fetched by those who have.
#[test]
fn who_has_more_time_does_not_share_what_a_leader_had_no_time_for() {
    let bench = Bench::signed(&Options::default());
    bench.registry.misbehave("/blobs/", Fault::Stall);
    let rule = bench.rule();
    thread::scope(|scope| {
        let short = scope.spawn(|| bench.ask(&Ask { wait: Duration::from_millis(800), ..Ask::of(":v1", &rule) }));
        while bench.registry.count("/blobs/") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let waiting = scope.spawn(|| bench.verdict());
        thread::sleep(Duration::from_millis(100));
        bench.registry.behave();
        unavailable(short.join().unwrap());
        waiting.join().unwrap().unwrap();
    });
}
