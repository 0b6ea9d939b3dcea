//! Checkpoints: a log says which size and root its tree has (C2SP, signed notes and tlog-checkpoint).
//!
//! Signatures of witnesses may stand beside the log's own, which may be anywhere among them. Only the log's own counts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::Hash;
use super::trusted_root::Log;
use crate::effort::Checks;

/// The largest checkpoint, in bytes.
pub(super) const MAX_CHECKPOINT: usize = 16 << 10;
/// The most lines with signatures.
const MAX_SIGNATURES: usize = 32;

/// The size and the root of a log's tree. The log has signed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl Checkpoint {
    /// Reads a note and verifies that this log has signed it.
    pub(super) fn verify(note: &str, log: &Log, checks: &Checks<'_>) -> Result<Self, &'static str> {
        const SHAPE: &str = "the log's checkpoint is not an origin, a size, a root and signatures";
        if note.len() > MAX_CHECKPOINT {
            return Err("the log's checkpoint is larger than its cap of 16384 bytes");
        }
        // What is signed ends with the newline before the empty line.
        let (text, signatures) = note.split_once("\n\n").ok_or(SHAPE)?;
        let signatures = signatures.strip_suffix('\n').ok_or(SHAPE)?;
        let signed = note.get(..text.len() + 1).ok_or(SHAPE)?;
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or(SHAPE)?;
        let size = lines.next().and_then(decimal).ok_or(SHAPE)?;
        let root = lines.next().and_then(|root| STANDARD.decode(root).ok()).ok_or(SHAPE)?;
        let root = root.try_into().map_err(|_| SHAPE)?;
        for (index, line) in signatures.split('\n').enumerate() {
            if index == MAX_SIGNATURES {
                return Err("the log's checkpoint has more than 32 signatures");
            }
            let (name, signature) = line.strip_prefix("— ").and_then(|line| line.split_once(' ')).ok_or(SHAPE)?;
            let signature = STANDARD.decode(signature).map_err(|_| SHAPE)?;
            let (key_id, signature) = signature.split_first_chunk::<4>().ok_or(SHAPE)?;
            // Rekor 1 writes the number of the shard behind its name.
            let is_own = origin.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "));
            if is_own && *key_id == log.checkpoint_id && log.verifies(signed.as_bytes(), signature, checks) {
                return Ok(Self { size, root });
            }
        }
        Err("the log has not signed the checkpoint")
    }
}

/// A number in its one decimal form.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let digits = text.as_bytes();
    let is_number = !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
    if !is_number || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| 10 * sum + u64::from(digit - b'0')))
}
