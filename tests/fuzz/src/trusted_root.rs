//! Trusted roots: what was read is what a slow reading of the same tree finds.

use jiff::Timestamp;
use portreeve_verify::sigstore::TrustedRoot;

use crate::strict_json::{self, Json};

/// The lists, and where each of their instances says from when until when it counts.
const LISTS: [(&str, bool); 4] =
    [("tlogs", true), ("ctlogs", true), ("certificateAuthorities", false), ("timestampAuthorities", false)];

pub fn check(data: &[u8]) {
    let root = match TrustedRoot::read(data) {
        Ok(root) => root,
        Err(error) => {
            let words = error.to_string();
            assert!(!words.is_empty() && words.len() < 1000 && !words.chars().any(char::is_control), "{words:?}");
            return;
        }
    };
    let json = strict_json::read(data).expect("what was read is strict JSON");
    let mut starts = Vec::new();
    let mut ends = 0;
    for (list, is_log) in LISTS {
        let instances = json.get(list).filter(|list| **list != Json::Null);
        let instances = instances.map_or(&[][..], |list| list.list().expect("a list"));
        assert!(instances.len() <= 64);
        for instance in instances {
            let outer = if is_log { instance.get("publicKey").expect("a key") } else { instance };
            let range = outer.get("validFor").expect("a range");
            let time = |name: &str| {
                let time = range.get(name).filter(|time| **time != Json::Null)?;
                Some(time.text().expect("a text").parse::<Timestamp>().expect("a time"))
            };
            let start = time("start").expect("an instance without a start was read");
            starts.push(start.as_second() + i64::from(start.subsec_nanosecond() > 0));
            ends += usize::from(time("end").is_some() || !is_log);
        }
    }
    let newest = Timestamp::from_second(*starts.iter().max().expect("an instance")).expect("a time").to_string();
    assert_eq!(root.date(), newest[..10]);
    // Instances whose kind of key is not known are passed over.
    assert!(root.ends(0).len() <= ends);
    assert!(root.ends(0).iter().all(|end| end.what.len() < 500 && !end.what.chars().any(char::is_control)));
    assert!(root.heap_size() > 0);
}
