//! Logging to standard error: one JSON object a line, or text for a terminal. No secret and no request body is ever logged.
//! Text from outside is escaped by the format, so that it can neither pass for another line or field nor control a terminal.
//!
//! A field whose key ends in `:json` contains JSON and appears in JSON lines alone. A field whose key ends in `:text`
//! contains words and appears in text lines alone.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use log::kv::{self, Key, Value};
use log::{LevelFilter, Log, Metadata, Record};

use portreeve_verify::text::visible;

/// The format of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Text, for people.
    Text,
}

impl Format {
    /// Text on a terminal, JSON elsewhere.
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Installs the logger of the process. A second call changes nothing.
pub fn start(format: Format, level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Logger { format })).is_ok() {
        log::set_max_level(level);
    }
}

struct Logger {
    format: Format,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Below `warn`, the libraries log so much that Portreeve's own lines would be lost among them.
        metadata.level() <= log::max_level()
            && (metadata.target().starts_with("portreeve") || metadata.level() <= LevelFilter::Warn)
            // tiny_http logs an error when the relay ends its supply of connections (`server/relay/loopback.rs`).
            && !metadata.target().starts_with("tiny_http")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = render(self.format, record, jiff::Timestamp::now());
            // If standard error is closed, there is nowhere to report it.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

pub(crate) fn render(format: Format, record: &Record<'_>, now: jiff::Timestamp) -> String {
    let level = record.level().as_str().to_ascii_lowercase();
    let mut line = match format {
        Format::Json => {
            let message = quoted(&record.args().to_string());
            format!("{{\"time\":\"{now:.3}\",\"level\":\"{level}\",\"message\":{message}")
        }
        // A line break would let one message pass for two, and a control character would control the terminal.
        Format::Text => {
            let lines: Vec<String> = record.args().to_string().split('\n').map(printable).collect();
            format!("{now:.3} {level}: {}", lines.join("\n    "))
        }
    };
    let _ = record.key_values().visit(&mut Fields { format, line: &mut line }); // the visitor never fails
    if format == Format::Json {
        line = escaped(&line);
        line.push('}');
    }
    line.push('\n');
    line
}

struct Fields<'a> {
    format: Format,
    line: &'a mut String,
}

impl<'kvs> kv::VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let (key, form) = key.as_str().split_once(':').unwrap_or((key.as_str(), ""));
        // Writing to a String cannot fail.
        let _ = match (self.format, form) {
            (Format::Json, "text") | (Format::Text, "json") => Ok(()),
            (Format::Json, "json") => write!(self.line, ",{}:{value}", quoted(key)),
            (Format::Json, _) => match (value.to_u64(), value.to_bool()) {
                (Some(number), _) => write!(self.line, ",{}:{number}", quoted(key)),
                (None, Some(truth)) => write!(self.line, ",{}:{truth}", quoted(key)),
                (None, None) => write!(self.line, ",{}:{}", quoted(key), quoted(&value.to_string())),
            },
            (Format::Text, _) => write!(self.line, " {key}={}", printable(&quoted(&value.to_string()))),
        };
        Ok(())
    }
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// JSON without any character that a terminal obeys or hides: JSON itself escapes only the first 32 control characters.
/// Such a character can only be in a string, where its escape means the same.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 2);
    for c in json.chars() {
        if visible(c) == c {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}"); // writing to a String cannot fail
        }
    }
    out
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format) -> String {
        let fields = [("uid", Value::from("a\"\n")), ("n", Value::from(7_u64)), ("ok", Value::from(true))];
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("portreeve")
            .args(format_args!("two\nlines"))
            .key_values(&fields)
            .build();
        render(format, &record, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = line(Format::Json);
        assert_eq!(line.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["level"], "warn");
        assert_eq!(json["message"], "two\nlines");
        assert_eq!((&json["uid"], &json["n"], &json["ok"]), (&"a\"\n".into(), &7.into(), &true.into()));
    }

    #[test]
    fn text_commands_no_terminal() {
        let fields = [("uid", Value::from("\u{1b}[2J\u{9b}2J\u{202e}"))];
        let record = Record::builder().args(format_args!("a\u{1b}[2J\rb\u{9b}")).key_values(&fields).build();
        let line = render(Format::Text, &record, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(
            line,
            "1970-01-01T00:00:00.000Z info: a\u{fffd}[2J\u{fffd}b\u{fffd} uid=\"\\u001b[2J\u{fffd}2J\u{fffd}\"\n"
        );
    }

    #[test]
    fn json_commands_no_terminal_and_loses_nothing() {
        let hostile = "\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\u{e0041}\",\"ok\":true";
        let fields = [("uid", Value::from(hostile))];
        let now = jiff::Timestamp::UNIX_EPOCH;
        let line =
            render(Format::Json, &Record::builder().args(format_args!("{hostile}")).key_values(&fields).build(), now);
        assert!(line.trim_end().chars().all(|c| visible(c) == c), "{line:?}");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["uid"], &json["message"], json.get("ok")), (&hostile.into(), &hostile.into(), None));
    }

    #[test]
    fn each_format_has_its_own_fields() {
        let fields = [("images:json", Value::from("[{\"a\":1}]")), ("images:text", Value::from("a is 1"))];
        let record = Record::builder().args(format_args!("m")).key_values(&fields).build();
        let lines = [Format::Json, Format::Text].map(|f| render(f, &record, jiff::Timestamp::UNIX_EPOCH));
        let json: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(json["images"][0]["a"], 1, "{lines:?}");
        assert!(lines[1].ends_with(": m images=\"a is 1\"\n"), "{lines:?}");
    }

    #[test]
    fn text_keeps_a_message_together() {
        assert_eq!(
            line(Format::Text),
            "1970-01-01T00:00:00.000Z warn: two\n    lines uid=\"a\\\"\\n\" n=\"7\" ok=\"true\"\n"
        );
    }
}
