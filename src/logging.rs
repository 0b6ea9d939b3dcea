//! Logging to standard error: a JSON object a line, or text for a terminal. Nothing secret and no request body is
//! ever logged; what comes from outside is escaped by the format.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use log::kv::{self, Key, Value};
use log::{LevelFilter, Log, Metadata, Record};

use crate::text::visible;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Words, for people.
    Text,
}

impl Format {
    /// Text on a terminal, JSON elsewhere.
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Makes this the process's logger. A second call changes nothing.
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
        // Libraries below us say on `debug` what would drown our own words.
        metadata.level() <= log::max_level()
            && (metadata.target().starts_with("portreeve") || metadata.level() <= LevelFilter::Warn)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = render(self.format, record, jiff::Timestamp::now());
            // Nobody is left to tell if standard error is gone.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn render(format: Format, record: &Record<'_>, now: jiff::Timestamp) -> String {
    let level = record.level().as_str().to_ascii_lowercase();
    let mut line = match format {
        Format::Json => {
            let message = quoted(&record.args().to_string());
            format!("{{\"time\":\"{now:.3}\",\"level\":\"{level}\",\"message\":{message}")
        }
        // Line breaks would let a message pass for two, and control characters command the terminal.
        Format::Text => {
            let lines: Vec<String> = record.args().to_string().split('\n').map(shown).collect();
            format!("{now:.3} {level}: {}", lines.join("\n    "))
        }
    };
    let _ = record.key_values().visit(&mut Fields { format, line: &mut line }); // the visitor never fails
    if format == Format::Json {
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
        // Writing to a String cannot fail.
        let _ = match (self.format, value.to_u64(), value.to_bool()) {
            (Format::Json, Some(number), _) => write!(self.line, ",{}:{number}", quoted(key.as_str())),
            (Format::Json, None, Some(truth)) => write!(self.line, ",{}:{truth}", quoted(key.as_str())),
            (Format::Json, None, None) => {
                write!(self.line, ",{}:{}", quoted(key.as_str()), quoted(&value.to_string()))
            }
            // JSON leaves all but the first 32 control characters as they are.
            (Format::Text, ..) => write!(self.line, " {key}={}", shown(&quoted(&value.to_string()))),
        };
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().map(visible).collect()
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
    fn text_keeps_a_message_together() {
        assert_eq!(
            line(Format::Text),
            "1970-01-01T00:00:00.000Z warn: two\n    lines uid=\"a\\\"\\n\" n=\"7\" ok=\"true\"\n"
        );
    }
}
