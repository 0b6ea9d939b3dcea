//! PEM text (RFC 7468). Headers, and text between blocks, are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block of PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemBlock {
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
}

/// The blocks of PEM text. `None` if a block is broken, or if there are more than `limit`.
pub(crate) fn pem_blocks(text: &str, limit: usize) -> Option<Vec<PemBlock>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut base64 = String::new();
        loop {
            let line = lines.next()?;
            if line == end {
                break;
            }
            // RFC 1421 headers, such as Docker's `role: alice`.
            if !line.contains(':') {
                base64.push_str(line);
            }
        }
        if blocks.len() == limit {
            return None;
        }
        blocks.push(PemBlock { label: label.to_owned(), der: STANDARD.decode(base64).ok()? });
    }
    Some(blocks)
}

/// One block as Go's `encoding/pem` writes it: lines of 64 characters, LF, no headers.
pub(crate) fn pem_text(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
