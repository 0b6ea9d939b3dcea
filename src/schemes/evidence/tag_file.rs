//! The file that has the digest of one tag.
//!
//! ```text
//! portreeve tag 1 <sha256 of all that follows this line>
//! <name>
//! <sha256 of the image>
//! <time of the registry's word>
//! ```
//!
//! The file is found by the hash of the name. A file with another name inside is damaged.

use jiff::Timestamp;

use super::sealed::{Unusable, sealed, unsealed};
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::stored_time;

/// The largest file: a name has at most some hundred characters.
pub(super) const MAX_BYTES: usize = 4 << 10;

const MAGIC: &str = "portreeve tag ";

/// The file's bytes.
pub(super) fn encode(name: &str, digest: Sha256, confirmed: Timestamp) -> Vec<u8> {
    sealed(MAGIC, format!("{name}\n{}\n{confirmed}\n", digest.hex()).as_bytes())
}

/// The digest, and the time of the registry's word.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<(Sha256, Timestamp), Unusable> {
    let bad = Unusable::Damaged("it is not as it was written");
    let text = str::from_utf8(unsealed(bytes, MAGIC)?).map_err(|_| bad)?;
    let mut lines = text.lines();
    if lines.next() != Some(name) {
        return Err(Unusable::Damaged("it is about another name"));
    }
    let digest = lines.next().and_then(Sha256::from_hex).ok_or(bad)?;
    let confirmed = lines.next().and_then(stored_time).ok_or(bad)?;
    if lines.next().is_some() {
        return Err(bad);
    }
    Ok((digest, confirmed))
}
