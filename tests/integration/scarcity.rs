//! A system without free descriptors or threads: requests in progress continue, and everything works again once there
//! are enough.

use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::https::{TlsStream, read_response, send_review};
use crate::plant::PLC;
use crate::process::{skip, wait_until};
use crate::product::Serving;
use crate::review::{assert_allowed, assert_denied, pod_review};
use crate::stage::Stage;

/// Sends a review over an open connection.
fn ask(stream: &mut TlsStream, review: &Value) {
    send_review(stream, "/admit?timeout=10s", review).unwrap();
}

/// A connection that has had a response.
fn connected(serving: &Serving, review: &Value) -> TlsStream {
    let mut stream = serving.connect().unwrap();
    ask(&mut stream, review);
    assert_allowed(&read_response(&mut stream).unwrap().json());
    stream
}

fn descriptors(serving: &Serving) -> usize {
    fs::read_dir(format!("/proc/{}/fd", serving.id())).unwrap().count()
}

#[test]
fn without_descriptors_it_waits_for_some() {
    let stage = Stage::new();
    let serving = stage.site.serve();
    let review = pod_review(&format!("{PLC}:v1"));
    let mut kept = connected(&serving, &review);
    for _ in 0..2 {
        // The gateway would accept a hundred connections; descriptors are left for a few.
        serving.limit("nofile", &(descriptors(&serving) + 5).to_string());
        let others: Vec<_> = (0..60).filter_map(|_| TcpStream::connect(("127.0.0.1", serving.port())).ok()).collect();
        wait_until("a connection that gets no descriptor", || serving.log().contains("could not be accepted"));
        // A client that is connected is served: everything that it needs is open.
        ask(&mut kept, &review);
        assert_allowed(&read_response(&mut kept).expect("an answer").json());
        drop(others);
        // The limit stays. The descriptors of the closed connections are free again.
        wait_until("the metrics to be had", || {
            serving.metric(r#"portreeve_limit_hits_total{limit="accept"}"#).is_some_and(|hits| hits > 0)
        });
        assert_allowed(&serving.admit("/admit", &review));
        assert!(serving.is_ready());
        serving.limit("nofile", "1024");
    }
    assert_eq!(serving.metric("portreeve_panics_total"), Some(0), "{}", serving.log());
}

#[test]
fn without_threads_it_does_with_those_it_has() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        return skip("only root can limit another user's threads");
    }
    let stage = Stage::new();
    let serving = stage.site.serve_as(61_234);
    // One image in three spellings. Each is verified separately.
    let mut review = pod_review(&format!("{PLC}:v1"));
    let digest = format!("sha256:{}", "07".repeat(32));
    review["request"]["object"]["spec"]["initContainers"] = json!([
        { "name": "a", "image": format!("{PLC}@{digest}") },
        { "name": "b", "image": format!("{PLC}:v1@{digest}") },
    ]);
    let mut kept: Vec<_> = (0..16).map(|_| connected(&serving, &review)).collect();
    let threads = serving.metric("process_threads").unwrap();
    assert!((12..200).contains(&threads), "{threads} threads");

    // Fewer than it has: it gets no further thread.
    serving.limit("nproc", "1");
    for _ in 0..3 {
        ask(&mut kept[0], &review);
        assert_allowed(&read_response(&mut kept[0]).expect("an answer").json());
    }
    // Images that wait for a server are asked about one after the other.
    let mut unknown = pod_review(&format!("{PLC}-0:v1"));
    unknown["request"]["object"]["spec"]["initContainers"] =
        json!([{ "name": "a", "image": format!("{PLC}-1:v1") }, { "name": "b", "image": format!("{PLC}-2:v1") }]);
    ask(&mut kept[0], &unknown);
    assert_denied(&read_response(&mut kept[0]).expect("an answer").json(), &["plc-0", "plc-1", "plc-2"]);
    assert!(serving.log().contains("no thread for verifying images"), "{}", serving.log());
    // A new connection needs no thread. More requests at once than there are threads wait, or fail. None is allowed.
    assert_allowed(&serving.admit("/admit", &review));
    let unsigned = pod_review(&format!("{PLC}:unsigned"));
    kept.iter_mut().for_each(|stream| ask(stream, &unsigned));
    for stream in &mut kept {
        let answer = read_response(stream);
        assert!(answer.is_none_or(|answer| answer.status != 200 || answer.json()["response"]["allowed"] == false));
    }

    serving.limit("nproc", "4096");
    wait_until("all to be as before", || {
        thread::sleep(Duration::from_millis(100));
        let answers: Vec<_> = (0..16).map(|_| serving.post("/admit", &review.to_string())).collect();
        answers.iter().all(|answer| answer.status == 200 && answer.json()["response"]["allowed"] == true)
    });
    assert!(serving.is_ready());
}
