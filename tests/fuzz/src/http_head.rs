//! Request heads: a head that the gateway accepts has one reading, the obvious one. Request smuggling needs two.

use portreeve::fuzzing::head;

pub fn check(data: &[u8]) {
    let Some((method, target, length, end)) = head(data) else { return };
    let data = &data[..end];
    let data = data.strip_prefix(b"\r\n").unwrap_or(data);
    assert!(data.ends_with(b"\r\n\r\n"), "a head without its end");
    let text = String::from_utf8_lossy(&data[..data.len() - 4]);
    assert!(!text.replace("\r\n", "").contains(['\n', '\0']), "{text:?}");
    let mut lines = text.split("\r\n");
    let request_line = lines.next().unwrap_or_default();
    assert!(request_line.starts_with(&format!("{method} {target} HTTP/1.")), "{request_line:?}");
    assert_eq!(request_line.split(' ').count(), 3, "{request_line:?}");
    assert!(target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()));
    let mut lengths = Vec::new();
    let mut hosts = 0;
    for line in lines {
        let (name, value) = line.split_once(':').expect("a header has a colon");
        // No folding, no white space before the colon (RFC 9112 §5.1 and §5.2).
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "{line:?}");
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim_matches([' ', '\t']).to_owned()),
            "transfer-encoding" => panic!("a length that is not announced: {line:?}"),
            "host" => hosts += 1,
            _ => {}
        }
    }
    assert!(hosts == 1 || (hosts == 0 && request_line.ends_with("HTTP/1.0")), "{text:?}");
    match lengths.as_slice() {
        [] => assert_eq!(length, 0),
        [one] => {
            assert!(!one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()), "{one:?}");
            assert_eq!(length, one.parse().unwrap_or(usize::MAX));
        }
        many => panic!("{} lengths", many.len()),
    }
}
