//! Findings as text and as JSON.

use super::finding::{Finding, Findings, State};
use crate::base::json_writer::{Hidden, JsonWriter};

/// One line for each finding, with a second one where there is something to do, and a summary.
pub(super) fn text(findings: &Findings) -> String {
    let mut text = String::new();
    for Finding { state, check, subject, found, action, .. } in &findings.list {
        let separator = if subject.is_empty() { "" } else { " " };
        let check = check.replace('_', " ");
        text.push_str(&format!("{:<8} {check}{separator}{subject}: {found}\n", state.word()));
        if !action.is_empty() {
            text.push_str(&["         do: ", action, "\n"].concat());
        }
    }
    let counts = State::ALL.iter().map(|state| (findings.count(*state), state.word()));
    let counts: Vec<String> =
        counts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    text.push_str(&counts.join(", "));
    text.push('\n');
    text
}

/// One object: the worst state, the time, and all findings.
pub(super) fn json(findings: &Findings) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = JsonWriter::new(&mut out, Hidden::Escaped);
    writer.begin(b'{');
    writer.string("state", findings.worst().word());
    writer.string("time", &findings.now.to_string());
    writer.key("findings");
    writer.begin(b'[');
    for Finding { state, check, subject, found, ends, action } in &findings.list {
        writer.begin(b'{');
        writer.string("state", state.word());
        writer.string("check", check);
        for (key, text) in [("subject", subject), ("found", found), ("action", action)] {
            writer.optional(key, Some(text.as_str()).filter(|text| !text.is_empty()));
        }
        writer.optional("ends", ends.map(|ends| ends.to_string()).as_deref());
        writer.end(b'}');
    }
    writer.end(b']');
    writer.end(b'}');
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::finding::moment;
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::new(Timestamp::UNIX_EPOCH);
        findings.ok("clock", "", "right");
        findings.add(State::Wrong, "policies", "a \"b\"", "no\u{1b}", "do it");
        findings.end("trust_ca", "ca.pem", "it", moment(86_400), "renew it");
        findings
    }

    #[test]
    fn text_has_one_line_a_finding_and_what_to_do() {
        assert_eq!(
            text(&findings()),
            "ok       clock: right\nwrong    policies a \"b\": no\u{fffd}\n         do: do it\n\
             soon     trust ca ca.pem: it ends 1970-01-02T00:00:00Z, in 1 day\n         do: renew it\n\
             1 wrong, 1 soon, 1 ok\n"
        );
    }

    #[test]
    fn json_has_the_same() {
        let value: serde_json::Value = serde_json::from_slice(&json(&findings())).unwrap();
        let expected = serde_json::json!({
            "state": "wrong", "time": "1970-01-01T00:00:00Z", "findings": [
                { "state": "ok", "check": "clock", "found": "right" },
                { "state": "wrong", "check": "policies", "subject": "a \"b\"", "found": "no\u{fffd}", "action": "do it" },
                { "state": "soon", "check": "trust_ca", "subject": "ca.pem", "action": "renew it",
                  "found": "it ends 1970-01-02T00:00:00Z, in 1 day", "ends": "1970-01-02T00:00:00Z" },
            ]
        });
        assert_eq!(value, expected);
    }
}
