//! Notation's trust stores: the input is a file of a store, a revocation list, and an identity, which is compared with a slow
//! reading.

use portreeve_verify::notation::{Identity, MAX_REVOCATION_LIST, MAX_STORE_FILE, RevocationLists, read_store_file};

pub fn check(data: &[u8]) {
    match read_store_file(data) {
        Ok(certificates) => {
            assert!(data.len() <= MAX_STORE_FILE && !certificates.is_empty());
            for der in &certificates {
                // One certificate is the same file in DER, and nothing may follow it.
                assert_eq!(read_store_file(der).as_ref(), Ok(&vec![der.clone()]));
                assert!(read_store_file(&[der.as_slice(), &[0]].concat()).is_err());
                assert!(read_store_file(&der[..der.len() - 1]).is_err());
            }
        }
        Err(error) => is_printable(&error.to_string()),
    }
    match RevocationLists::read(&[data]) {
        Ok(lists) => {
            assert!(data.len() <= MAX_REVOCATION_LIST && !lists.endings().is_empty());
            let twice = RevocationLists::read(&[data, data]).unwrap();
            assert_eq!(lists.endings(), twice.endings());
            assert_ne!(lists.id(), twice.id());
        }
        Err((place, error)) => {
            assert_eq!(place, 0);
            is_printable(&error.to_string());
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        identity(text);
    }
}

fn is_printable(words: &str) {
    assert!(!words.is_empty() && words.len() < 1000 && !words.chars().any(char::is_control), "{words:?}");
}

fn identity(text: &str) {
    let found = Identity::parse(text);
    let expected = if text == "*" { Some(Vec::new()) } else { text.strip_prefix("x509.subject:").and_then(subject) };
    assert_eq!(found.is_ok(), expected.is_some(), "{text:?}: {found:?} {expected:?}");
    match (found, expected) {
        (Ok(identity), Some(attributes)) => {
            assert!(identity.covers(&identity));
            assert_eq!(identity.is_anybody(), attributes.is_empty());
            // The same, written with each byte as an escape, and in another order.
            let written = |(name, value): &(String, Vec<u8>)| {
                let hex: String = value.iter().map(|byte| format!("\\{byte:02x}")).collect();
                format!("{name}={hex}")
            };
            if !attributes.is_empty() {
                let parts: Vec<String> = attributes.iter().rev().map(written).collect();
                let again = Identity::parse(&format!("x509.subject:{}", parts.join(","))).unwrap();
                assert!(again.covers(&identity) && identity.covers(&again), "{text:?} {again:?}");
            }
        }
        (Err(error), _) => is_printable(&error.to_string()),
        (Ok(_), None) => {}
    }
}

/// A character, and whether it was escaped. A byte in hexadecimal is escaped.
type Token = (Vec<u8>, bool);

/// The attributes, or `None` if the subject must be refused.
fn subject(text: &str) -> Option<Vec<(String, Vec<u8>)>> {
    // Names have no escapes, so the text is first cut into tokens, then into attributes, then into names and values.
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = text.chars().peekable();
    let mut is_name = true;
    while let Some(c) = chars.next() {
        if c == '\\' && !is_name {
            let escaped = chars.next()?;
            if " \"#+,;<=>\\".contains(escaped) {
                tokens.push((vec![escaped as u8], true));
            } else {
                let hex: String = [escaped, chars.next()?].iter().collect();
                if !hex.chars().all(|c| c.is_ascii_hexdigit()) {
                    return None;
                }
                tokens.push((vec![u8::from_str_radix(&hex, 16).ok()?], true));
            }
            continue;
        }
        match c {
            '=' if is_name => is_name = false,
            ',' | ';' if !is_name => is_name = true,
            _ => {}
        }
        tokens.push((c.to_string().into_bytes(), false));
    }
    let mut attributes: Vec<(String, Vec<u8>)> = Vec::new();
    let mut rest = tokens.as_slice();
    loop {
        let equals = rest.iter().position(|token| token.0 == b"=" && !token.1)?;
        let name = String::from_utf8(rest[..equals].iter().flat_map(|token| token.0.clone()).collect()).ok()?;
        let name = if name.trim() == "S" { "ST" } else { name.trim() }.to_owned();
        let known = ["C", "ST", "L", "STREET", "POSTALCODE", "O", "OU", "CN", "SERIALNUMBER", "DC", "UID"];
        rest = &rest[equals + 1..];
        let end = rest.iter().position(|token| !token.1 && (token.0 == b"," || token.0 == b";"));
        let mut value = &rest[..end.unwrap_or(rest.len())];
        let is_space = |token: &Token| token.0 == b" " && !token.1;
        while value.first().is_some_and(is_space) {
            value = &value[1..];
        }
        while value.last().is_some_and(is_space) {
            value = &value[..value.len() - 1];
        }
        let is_special = |token: &Token| !token.1 && matches!(token.0[..], [b'+' | b'"' | b'<' | b'>' | b'=']);
        let is_encoded = value.first().is_some_and(|first| first.0 == b"#" && !first.1);
        let bytes: Vec<u8> = value.iter().flat_map(|token| token.0.clone()).collect();
        let is_twice = attributes.iter().any(|(known, _)| *known == name);
        if !known.contains(&name.as_str())
            || is_twice
            || is_encoded
            || bytes.is_empty()
            || value.iter().any(is_special)
            || std::str::from_utf8(&bytes).is_err()
        {
            return None;
        }
        attributes.push((name, bytes));
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => break,
        }
    }
    let has = |name: &str| attributes.iter().any(|(known, _)| known == name);
    (has("C") && has("ST") && has("O")).then_some(attributes)
}
