//! The first line of every file of evidence: its kind, the format, and the hash of what follows. A file in which one byte was
//! changed is noticed by it. It is no protection from a user who may write the file: signatures are.

use portreeve_verify::image::Sha256;

/// The formats that are read. The first one is written, and the second one where an older Portreeve must not read the file: it then
/// counts as absent there.
const FORMATS: [&str; 2] = ["1", "2"];

/// Why a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Another version of Portreeve wrote it.
    OtherFormat,
    /// It is not as it was written.
    Damaged(&'static str),
}

/// The content under a line with its kind, the format and its hash.
pub(super) fn sealed(magic: &str, content: &[u8]) -> Vec<u8> {
    sealed_as(magic, false, content)
}

/// The same, in the second format if it is new.
pub(super) fn sealed_as(magic: &str, is_new: bool, content: &[u8]) -> Vec<u8> {
    let [old, new] = FORMATS;
    let format = if is_new { new } else { old };
    let mut bytes = format!("{magic}{format} {}\n", Sha256::of(content).hex()).into_bytes();
    bytes.extend_from_slice(content);
    bytes
}

/// The content, if it has the hash that its first line says.
pub(super) fn unsealed<'a>(bytes: &'a [u8], magic: &str) -> Result<&'a [u8], Unusable> {
    let bad = Unusable::Damaged("its first line cannot be read");
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(bad)?;
    let (first, content) = bytes.split_at_checked(end).ok_or(bad)?;
    let (first, content) = (str::from_utf8(first).map_err(|_| bad)?, content.get(1..).unwrap_or_default());
    let (format, hash) = first.strip_prefix(magic).and_then(|rest| rest.split_once(' ')).ok_or(bad)?;
    if Sha256::from_hex(hash) != Some(Sha256::of(content)) {
        return Err(Unusable::Damaged("it has another hash than it says"));
    }
    if !FORMATS.contains(&format) {
        return Err(Unusable::OtherFormat);
    }
    Ok(content)
}
