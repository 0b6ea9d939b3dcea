//! A certificate's subject, as text (RFC 4514) and by its attributes.

use crate::crypto::name::{Name, NameAttribute};
use crate::not_counted::quoted;

/// The attributes that have a short name (RFC 4514 §3, and those that Go and OpenSSL write).
const SHORT_NAMES: [(&[u8], &str); 11] = [
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 17], "POSTALCODE"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "SERIALNUMBER"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"), // 0.9.2342.19200300.100.1.25
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"), // 0.9.2342.19200300.100.1.1
];

/// The short name of an attribute by its text. `S` is what some write for `ST`.
pub(super) fn short_name(text: &str) -> Option<&'static str> {
    let text = if text == "S" { "ST" } else { text };
    SHORT_NAMES.iter().find(|(_, name)| *name == text).map(|(_, name)| *name)
}

/// The subject for a message, cut and without control characters. The last attribute stands first, as RFC 4514 §2.1 has it.
pub(super) fn printable(name: Name<'_>) -> String {
    let mut text = String::new();
    let mut later: Option<NameAttribute<'_>> = None;
    for attribute in name.attributes().into_iter().rev() {
        if let Some(later) = later {
            text.push(if later.relative == attribute.relative { '+' } else { ',' });
        }
        match SHORT_NAMES.iter().find(|(oid, _)| *oid == attribute.oid) {
            Some((_, name)) => text.push_str(name),
            None => push_oid(attribute.oid, &mut text),
        }
        text.push('=');
        match attribute.text() {
            Some(value) => push_escaped(value, &mut text),
            None => text.push('?'),
        }
        later = Some(attribute);
    }
    if text.is_empty() { "an empty subject".to_owned() } else { quoted(&text) }
}

fn push_escaped(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let is_special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || c == ' ' && (index == 0 || index == last)
            || c == '#' && index == 0;
        if is_special {
            text.push('\\');
        }
        text.push(c);
    }
}

/// The dotted form of an OBJECT IDENTIFIER.
fn push_oid(oid: &[u8], text: &mut String) {
    let mut arc = 0_u64;
    let mut is_first = true;
    for byte in oid {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if is_first {
            let root = (arc / 40).min(2);
            text.push_str(&root.to_string());
            arc -= 40 * root;
            is_first = false;
        }
        text.push('.');
        text.push_str(&arc.to_string());
        arc = 0;
    }
}

/// The attributes with a short name, each with its value. `None` if the subject has one twice, or several in one relative
/// name, or a value in another encoding than ASCII or UTF-8: its readers disagree about such a subject.
pub(super) fn attributes(name: Name<'_>) -> Option<Vec<(&'static str, Box<str>)>> {
    let mut found: Vec<(&'static str, Box<str>)> = Vec::new();
    let all = name.attributes();
    for (index, attribute) in all.iter().enumerate() {
        let mut earlier = all.iter().take(index);
        if earlier.any(|earlier| earlier.relative == attribute.relative || earlier.oid == attribute.oid) {
            return None;
        }
        if let Some((_, short)) = SHORT_NAMES.iter().find(|(oid, _)| *oid == attribute.oid) {
            found.push((short, attribute.text()?.into()));
        }
    }
    Some(found)
}
