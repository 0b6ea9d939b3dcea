//! The value of a plain scalar, by the core schema of YAML 1.2 (§10.3.2), read as strictly as the schema allows.
//!
//! A plain scalar that any YAML version reads as a number (`007`, `1_000`) is rejected where a string is expected. Quote it.
//! The words that are booleans in YAML 1.1 alone (`yes`, `on`) are strings.

use serde_json::Number;

use super::tree::Value;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

/// `Some(None)`: a number that JSON does not have, or that YAML versions read differently.
fn number(text: &str) -> Option<Option<Number>> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(None);
    }
    if let Some((radix, digits)) = with_radix(digits) {
        return Some(u64::from_str_radix(digits, radix).ok().and_then(|number| signed(is_negative, number)));
    }
    if digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit())) {
        let plain = !digits.contains('_') && (digits == "0" || !digits.starts_with('0'));
        return Some(digits.parse().ok().filter(|_| plain).and_then(|number| signed(is_negative, number)));
    }
    // Rust parses words such as `infinity` as numbers, too.
    let is_float = digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let float: f64 = digits.parse().ok().filter(|_| is_float)?;
    Some(Number::from_f64(if is_negative { -float } else { float }))
}

/// `0x1f`, `0o17`, and `0b1` of YAML 1.1.
fn with_radix(digits: &str) -> Option<(u32, &str)> {
    let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .find_map(|&(prefix, radix)| Some((radix, digits.strip_prefix(prefix)?)))?;
    (!digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))).then_some((radix, digits))
}

fn signed(is_negative: bool, number: u64) -> Option<Number> {
    match is_negative {
        false => Some(number.into()),
        true => 0_i64.checked_sub_unsigned(number).map(Number::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_are_what_the_core_schema_says() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("NULL", json!(null)),
            ("nUll", json!("nUll")),
            ("true", json!(true)),
            ("False", json!(false)),
            ("tRue", json!("tRue")),
            ("yes", json!("yes")),
            ("0", json!(0)),
            ("-0", json!(0)),
            ("+12", json!(12)),
            ("-12", json!(-12)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("0x1F", json!(31)),
            ("-0o17", json!(-15)),
            ("0b101", json!(5)),
            ("0x", json!("0x")),
            ("0xg", json!("0xg")),
            ("1.5", json!(1.5)),
            ("-.5", json!(-0.5)),
            ("1.", json!(1.0)),
            ("1e3", json!(1000.0)),
            ("+1E-1", json!(0.1)),
            (".", json!(".")),
            ("-", json!("-")),
            ("+-1", json!("+-1")),
            ("1.2.3", json!("1.2.3")),
            ("e3", json!("e3")),
            ("1_", json!("1_")),
            ("1__0", json!("1__0")),
            ("inf", json!("inf")),
            ("nan", json!("nan")),
            ("infinity", json!("infinity")),
            ("1:30", json!("1:30")),
            ("2026-01-01", json!("2026-01-01")),
            ("sha256:00", json!("sha256:00")),
        ] {
            let found = match resolve(text) {
                Value::Null => json!(null),
                Value::Bool(truth) => json!(truth),
                Value::Number(Some(number)) => json!(number),
                Value::Text(text) => json!(text),
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(found, expected, "{text}");
        }
        for text in [".inf", "-.Inf", "+.INF", ".nan", "007", "-00", "1_000", "1e999", "18446744073709551616"] {
            assert!(matches!(resolve(text), Value::Number(None)), "{text}");
        }
    }
}
