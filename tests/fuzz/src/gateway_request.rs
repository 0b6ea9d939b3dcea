//! Successive requests on a connection, cut anywhere. However they are cut, they are the same requests as when all
//! bytes are read at once. The count of a body's values is never too low.

use portreeve::fuzzing::{head, json_values, requests};
use serde_json::Value;

/// Small limits, so that the fuzzer finds inputs beyond them.
const HEAD_BYTES: usize = 256;
const BODY_BYTES: usize = 512;

type Request = (String, String, Vec<u8>);

/// The first byte selects how the rest is cut.
pub fn check(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else { return };
    let expected = at_once(stream);
    let seed = usize::from(seed);
    for cuts in [&[usize::MAX][..], &[1], &[seed, 3], &[seed / 16, seed % 16, 7]] {
        let seen = requests(stream, cuts, HEAD_BYTES, BODY_BYTES);
        assert_eq!(seen, expected, "cut by {cuts:?}");
    }
    for (_, _, body) in &expected {
        no_value_is_missed(body);
    }
    no_value_is_missed(stream);
}

/// The requests in a complete stream.
fn at_once(mut stream: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    // Bytes that cannot begin a request are refused before the whole head is there.
    while stream.first().is_some_and(|first| first.is_ascii_uppercase() || *first == b'\r') {
        let within = &stream[..stream.len().min(HEAD_BYTES)];
        let Some((method, target, length, end)) = head(within) else { break };
        let Some(body) = stream[end..].get(..length).filter(|body| body.len() <= BODY_BYTES) else { break };
        requests.push((method, target, body.to_vec()));
        stream = &stream[end + length..];
    }
    requests
}

/// Every JSON value takes memory, so none may be missed.
fn no_value_is_missed(body: &[u8]) {
    let counted = json_values(body);
    assert!(counted <= body.len());
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let values = values(&json);
        assert!(counted >= values, "{counted} of {values} in {json}");
    }
}

/// All values within a value.
fn values(json: &Value) -> usize {
    match json {
        Value::Array(items) => items.iter().map(|item| 1 + values(item)).sum(),
        Value::Object(members) => members.values().map(|member| 1 + values(member)).sum(),
        _ => 0,
    }
}
