//! Markdown tables, and numbers for people.

use std::time::Duration;

/// Prints one table under a heading.
pub(crate) fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let line = |cells: &[String]| println!("| {} |", cells.join(" | "));
    println!("\n### {title}\n");
    line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    // The first column names the row.
    line(&(0..head.len()).map(|at| if at == 0 { "---" } else { "---:" }.to_owned()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
}

/// `6,512,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits and a unit.
pub(crate) fn time(time: Duration) -> String {
    let (value, unit) = match time.as_secs_f64() {
        0.0 => return "0".to_owned(),
        seconds if seconds < 1e-6 => (seconds * 1e9, "ns"),
        seconds if seconds < 1e-3 => (seconds * 1e6, "µs"),
        seconds if seconds < 1.0 => (seconds * 1e3, "ms"),
        seconds => (seconds, "s"),
    };
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.places$} {unit}")
}

/// `3.1×`.
pub(crate) fn ratio(of: f64, to: f64) -> String {
    if of / to < 10.0 { format!("{:.2}×", of / to) } else { format!("{:.0}×", of / to) }
}
