//! Writes metrics in Prometheus' text format 0.0.4, which every scraper reads without negotiation. The registry writes only
//! OpenMetrics, in which the name of a counter differs from that of its samples. The metrics of this registry differ in
//! nothing else.

use std::fmt::{Display, Write as _};

/// `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites the registry's OpenMetrics text in format 0.0.4.
pub(super) fn plain_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map_or("", |(_, words)| words);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            describe(&mut text, &format!("{name}{suffix}"), kind, help);
        } else if !line.starts_with('#') {
            // The registry writes braces for a sample without labels as well.
            text.push_str(&line.replacen("{} ", " ", 1));
            text.push('\n');
        }
    }
    text
}

/// Writes a metric with a single sample that is not in the registry.
pub(super) fn sample(text: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    describe(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}"); // writing to a String cannot fail
}

fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n"); // writing to a String cannot fail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_described_under_its_sample_s_name() {
        let open_metrics = "# HELP a Some words.\n# TYPE a counter\na_total{x=\"y z\"} 1\n# HELP b More.\n# TYPE b \
                            gauge\n# UNIT b seconds\nb{} 2\n# EOF\n";
        let plain = "# HELP a_total Some words.\n# TYPE a_total counter\na_total{x=\"y z\"} 1\n# HELP b More.\n# TYPE b \
                     gauge\nb 2\n";
        assert_eq!(plain_text(open_metrics), plain);
    }
}
