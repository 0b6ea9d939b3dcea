//! Logging to standard error: one JSON object a line, or text for a terminal. No secret and no request body is ever logged.
//! Text from outside is escaped by the format, so that it can neither pass for another line or field nor control a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use log::kv::{self, Key, Value};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::base::clock;
use crate::base::json_writer::{Hidden, JsonWriter, push_char, push_number, push_string};
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

    /// The format of this process.
    pub(crate) fn in_use() -> Self {
        FORMAT.get().copied().unwrap_or(Self::Json)
    }
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// Installs the logger of the process. A second call changes nothing.
pub fn start(format: Format, level: LevelFilter) {
    if log::set_logger(&Logger).is_ok() {
        FORMAT.get_or_init(|| format);
        log::set_max_level(level);
    }
}

struct Logger;

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
            render(Format::in_use(), record, clock::now()).write();
        }
    }

    fn flush(&self) {}
}

fn render(format: Format, record: &Record<'_>, now: jiff::Timestamp) -> Line {
    let mut line = match record.args().as_str() {
        Some(message) => Line::begin(format, record.level(), message, now),
        None => Line::begin(format, record.level(), &record.args().to_string(), now),
    };
    let _ = record.key_values().visit(&mut line); // the visitor never fails
    line
}

/// A line of the log, to which fields are added. The keys are words of the source.
pub(crate) struct Line {
    format: Format,
    /// UTF-8.
    text: Vec<u8>,
}

impl Line {
    /// The line's time, level and message.
    pub(crate) fn begin(format: Format, level: Level, message: &str, now: jiff::Timestamp) -> Self {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        // Most lines are about decisions, and have about a kilobyte for one image.
        let mut text = Vec::with_capacity(1536);
        match format {
            Format::Json => {
                text.extend_from_slice(b"{\"time\":\"");
                push_time(&mut text, now);
                text.push(b'"');
                let mut json = JsonWriter::new(&mut text, Hidden::Escaped);
                json.string("level", level);
                json.string("message", message);
            }
            // A line break would let one message pass for two, and a control character would control the terminal.
            Format::Text => {
                push_time(&mut text, now);
                text.push(b' ');
                text.extend_from_slice(level.as_bytes());
                text.extend_from_slice(b": ");
                for (number, part) in message.split('\n').enumerate() {
                    if number > 0 {
                        text.extend_from_slice(b"\n    ");
                    }
                    part.chars().for_each(|c| push_char(&mut text, visible(c)));
                }
            }
        }
        Self { format, text }
    }

    /// A field with a string.
    pub(crate) fn string(&mut self, key: &str, value: &str) {
        match self.json() {
            Some(mut json) => json.string(key, value),
            None => {
                self.text.push(b' ');
                self.text.extend_from_slice(key.as_bytes());
                self.text.push(b'=');
                push_string(&mut self.text, value, Hidden::Replaced);
            }
        }
    }

    /// A field with a number.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        match self.json() {
            Some(mut json) => json.number(key, value),
            None => self.string(key, &value.to_string()),
        }
    }

    /// A field with a truth value.
    pub(crate) fn truth(&mut self, key: &str, value: bool) {
        match self.json() {
            Some(mut json) => json.truth(key, value),
            None => self.string(key, if value { "true" } else { "false" }),
        }
    }

    /// For fields of any shape, if the line is JSON.
    pub(crate) fn json(&mut self) -> Option<JsonWriter<'_>> {
        (self.format == Format::Json).then(|| JsonWriter::new(&mut self.text, Hidden::Escaped))
    }

    /// Writes it to standard error.
    pub(crate) fn write(mut self) {
        self.end();
        // If standard error is closed, there is nowhere to report it.
        let _ = std::io::stderr().lock().write_all(&self.text);
    }

    fn end(&mut self) {
        self.text.extend_from_slice(if self.format == Format::Json { b"}\n" } else { b"\n" });
    }

    /// The whole line.
    #[cfg(test)]
    pub(crate) fn into_text(mut self) -> String {
        self.end();
        String::from_utf8(self.text).unwrap()
    }
}

impl<'kvs> kv::VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let key = key.as_str();
        match (value.to_u64(), value.to_bool()) {
            (Some(number), _) => self.number(key, number),
            (None, Some(truth)) => self.truth(key, truth),
            (None, None) => self.string(key, &value.to_string()),
        }
        Ok(())
    }
}

/// A time in UTC with milliseconds (RFC 3339).
fn push_time(out: &mut Vec<u8>, time: jiff::Timestamp) {
    let utc = jiff::tz::Offset::UTC.to_datetime(time);
    if utc.year() < 0 {
        let _ = write!(out, "{time:.3}"); // writing to a String cannot fail
        return;
    }
    let mut part = |before: &str, number: i32, digits: usize| {
        out.extend_from_slice(before.as_bytes());
        push_number(out, u64::try_from(number).unwrap_or_default(), digits);
    };
    part("", utc.year().into(), 4);
    part("-", utc.month().into(), 2);
    part("-", utc.day().into(), 2);
    part("T", utc.hour().into(), 2);
    part(":", utc.minute().into(), 2);
    part(":", utc.second().into(), 2);
    part(".", utc.subsec_nanosecond() / 1_000_000, 3);
    out.push(b'Z');
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
        render(format, &record, jiff::Timestamp::UNIX_EPOCH).into_text()
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
        let line = render(Format::Text, &record, jiff::Timestamp::UNIX_EPOCH).into_text();
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
        let message = format_args!("{hostile}");
        let line = render(Format::Json, &Record::builder().args(message).key_values(&fields).build(), now).into_text();
        assert!(line.trim_end().chars().all(|c| visible(c) == c), "{line:?}");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["uid"], &json["message"], json.get("ok")), (&hostile.into(), &hostile.into(), None));
    }

    #[test]
    fn times_are_written_as_jiff_writes_them() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-12-01T09:08:07.9999999Z",
            "1969-12-31T23:59:59.001Z",
            "0000-02-29T01:02:03.04Z",
            "-000001-01-01T00:00:00.5Z",
            "9999-12-30T22:00:00.999999999Z",
        ] {
            let time: jiff::Timestamp = text.parse().unwrap();
            let mut out = Vec::new();
            push_time(&mut out, time);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{time:.3}"));
        }
    }

    #[test]
    fn text_keeps_a_message_together() {
        assert_eq!(
            line(Format::Text),
            "1970-01-01T00:00:00.000Z warn: two\n    lines uid=\"a\\\"\\n\" n=\"7\" ok=\"true\"\n"
        );
    }
}
