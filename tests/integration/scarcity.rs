//! A system that gives no more descriptors or threads, by its own fault or by an attacker's: what is in hand goes on,
//! and everything is as before once there is enough again.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::https::{TlsStream, read_response};
use crate::plant::PLC;
use crate::process::{skip, wait_until};
use crate::product::Serving;
use crate::review::{assert_allowed, pod_review};
use crate::stage::Stage;

/// Sends a review over a connection that is there.
fn ask(stream: &mut TlsStream, review: &Value) {
    let body = review.to_string();
    let head = format!("POST /admit?timeout=10s HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).and_then(|()| stream.flush()).unwrap();
}

/// A connection that has been of use.
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
        // Room for a few connections, and then for none, while the gateway would take a hundred.
        serving.limit("nofile", &(descriptors(&serving) + 5).to_string());
        let crowd: Vec<_> = (0..60).filter_map(|_| TcpStream::connect(("127.0.0.1", serving.port())).ok()).collect();
        wait_until("a connection that gets no descriptor", || serving.log().contains("could not be accepted"));
        // Who is connected is still served: what that needs is there.
        ask(&mut kept, &review);
        assert_allowed(&read_response(&mut kept).expect("an answer").json());
        drop(crowd);
        // With the limit as it is: all that the crowd had is given back.
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
    // One image in several spellings: each is verified by itself, side by side where that can be.
    let mut review = pod_review(&format!("{PLC}:v1"));
    let digest = format!("sha256:{}", "07".repeat(32));
    review["request"]["object"]["spec"]["initContainers"] = json!([
        { "name": "a", "image": format!("{PLC}@{digest}") },
        { "name": "b", "image": format!("{PLC}:v1@{digest}") },
    ]);
    let mut kept: Vec<_> = (0..16).map(|_| connected(&serving, &review)).collect();
    let threads = serving.metric("process_threads").unwrap();
    assert!((20..200).contains(&threads), "{threads} threads");

    // Fewer than there are already: not one more is to be had.
    serving.limit("nproc", "1");
    for _ in 0..3 {
        ask(&mut kept[0], &review);
        assert_allowed(&read_response(&mut kept[0]).expect("an answer").json());
    }
    assert!(serving.log().contains("no thread for verifying images"), "{}", serving.log());
    // Who comes new is turned away, and more at once than there are threads inside may fail; nobody is let in.
    assert!(serving.connect().is_ok_and(|mut stream| stream.flush().is_err()));
    wait_until("a connection that gets no thread", || serving.log().contains("a connection got no thread"));
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
