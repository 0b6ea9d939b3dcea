//! The reader of trust data and its canonical form, compared with a reference on another parser: both accept the same
//! documents and give the same bytes, also where the bytes are taken from the file itself.

use crate::strict_json::{self, Json};

pub fn check(data: &[u8]) {
    let expected = strict_json::read(data).map(|json| strict_json::canonical(&json));
    let found = portreeve::fuzzing::canonical_json(data);
    assert_eq!(found.as_deref().map(lossy), expected.as_deref().map(lossy));
    let (before, after) = SIGNED[data.len() % SIGNED.len()];
    signed(&[before.as_bytes(), data, after.as_bytes()].concat());
    let Some(canonical) = found else { return };
    // The canonical form of a canonical text is the same text. Canonical JSON has raw control characters, which are not
    // JSON, so they are escaped first. They occur in strings only, so this changes nothing else.
    let wire: String = (String::from_utf8(canonical.clone()).expect("UTF-8").chars())
        .map(|c| if c < ' ' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
        .collect();
    assert_eq!(portreeve::fuzzing::canonical_json(wire.as_bytes()), Some(canonical));
    assert_eq!(strict_json::read(wire.as_bytes()).map(sorted), strict_json::read(data).map(sorted));
}

/// Where a value may stand in a signed file.
const SIGNED: [(&str, &str); 5] = [
    (r#"{"signed":"#, "}"),
    (r#"{"signed":"#, r#","signatures":[]}"#),
    (r#"{"signatures":[],"signed" : "#, r#" , "z":{}} "#),
    (r#"{"signed":{"targets":"#, r#","version":1},"signatures":[]}"#),
    (r#"{"signed":{"a":"\\\"","targets":{"a":"#, r#","b":{}}},"\u0073":1}"#),
];

/// The canonical form of what is signed is the reference's. What is given away while a file is read is what the reference has
/// there, and that is nothing where the file is not canonical.
fn signed(file: &[u8]) {
    let member = |json: &Json, wanted: &str| match json {
        Json::Object(members) => members.iter().position(|(name, _)| name == wanted),
        _ => None,
    };
    let of = |json: Json, name: &str| match (member(&json, name), json) {
        (Some(place), Json::Object(mut members)) => Some(members.swap_remove(place).1),
        _ => None,
    };
    let reference = strict_json::read(file).and_then(|json| of(json, "signed"));
    let form = reference.as_ref().map(strict_json::canonical);
    assert_eq!(portreeve::fuzzing::canonical_signed(file).as_deref().map(lossy), form.as_deref().map(lossy));
    let Some(given) = portreeve::fuzzing::given_targets(file) else {
        // Compact files of Notary's client can be read so.
        let text = form.map(|form| [br#"{"signed":"#.as_slice(), &form, br#","signatures":[]}"#].concat());
        return assert!(text.is_none_or(|text| text != file), "{}", lossy(file));
    };
    assert_eq!(Some(lossy(&given.signed)), form.as_deref().map(lossy));
    let expected = match reference.and_then(|json| of(json, "targets")) {
        Some(Json::Object(members)) => {
            members.iter().map(|(name, value)| (name.clone(), strict_json::canonical(value))).collect()
        }
        _ => Vec::new(),
    };
    assert_eq!(given.targets, expected);
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sorted(json: strict_json::Json) -> strict_json::Json {
    use strict_json::Json::{List, Object};
    match json {
        List(items) => List(items.into_iter().map(sorted).collect()),
        Object(mut members) => {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Object(members.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marsaglia's xorshift64, with a fixed seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
            texts[self.below(texts.len())]
        }

        fn space(&mut self) -> &'static str {
            self.one_of(&["", "", "", " ", "\n", "\t\r"])
        }

        fn string(&mut self) -> &'static str {
            self.one_of(&[
                r#""a""#,
                r#""\u0061""#,
                r#""b""#,
                r#""""#,
                r#""\\""#,
                r#""\"""#,
                r#""\u003c""#,
                r#""é\n""#,
                r#""\ud83d\ude00""#,
                "\"\u{10000}\"",
                "\"\u{fffd}\"",
            ])
        }

        fn value(&mut self, out: &mut String, depth: usize) {
            out.push_str(self.space());
            match self.below(if depth == 0 { 3 } else { 5 }) {
                0 => out.push_str(self.one_of(&["null", "true", "false"])),
                1 => out.push_str(self.one_of(&["0", "-7", "12", "9007199254740992", "-9007199254740992"])),
                2 => out.push_str(self.string()),
                kind => {
                    out.push(if kind == 3 { '[' } else { '{' });
                    for index in 0..self.below(4) {
                        out.push_str(if index > 0 { "," } else { "" });
                        if kind == 4 {
                            let parts = [self.space(), self.string(), self.space(), ":"];
                            out.extend(parts);
                        }
                        self.value(out, depth - 1);
                    }
                    out.push_str(self.space());
                    out.push(if kind == 3 { ']' } else { '}' });
                }
            }
            out.push_str(self.space());
        }
    }

    /// What is put into a text, or in the place of a byte, to spoil it.
    const PIECES: [&str; 24] = [
        "",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "0",
        "-",
        "-0",
        ".5",
        "e2",
        "9007199254740993",
        "1e400",
        "\u{feff}",
        "\u{1}",
        "\n",
        r#""\ud800""#,
        r#""\udc00""#,
        r"\u12",
        "nul",
        "x",
    ];

    #[test]
    fn random_texts_are_read_alike() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut taken = 0;
        for number in 0..120_000 {
            let mut text = String::new();
            random.value(&mut text, 4);
            if number % 3 > 0 {
                let at = random.below(text.len() + 1);
                if let (Some(before), Some(after)) =
                    (text.get(..at), text.get((at + random.below(2)).min(text.len())..))
                {
                    text = [before, random.one_of(&PIECES), after].concat();
                }
            }
            taken += usize::from(strict_json::read(text.as_bytes()).is_some());
            check(text.as_bytes());
        }
        assert!((30_000..110_000).contains(&taken), "{taken} of them are JSON");
    }
}
