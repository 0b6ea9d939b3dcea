//! Content digests, `sha256:<64 hex>` and `sha512:<128 hex>`. Other algorithms and lengths are refused.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A SHA-256 value.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct Sha256([u8; 32]);

/// Compares eight bytes at a time: a libc may compare one at a time.
impl PartialEq for Sha256 {
    fn eq(&self, other: &Self) -> bool {
        let words = self.0.as_chunks().0.iter().zip(other.0.as_chunks().0);
        words.fold(0, |differing, (one, other)| differing | u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other)) == 0
    }
}

impl Hash for Sha256 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Sha256 {
    /// From the 32 bytes of a hash.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// The hash of several texts, each with its length, so that no two lists of texts have the same hash.
    pub fn of_parts<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }

    /// From 64 lowercase hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        decode_hex(text).map(Self)
    }

    /// As 64 lowercase hexadecimal digits.
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(64);
        push_hex(&self.0, &mut out);
        out
    }

    /// As [`Self::push_to`] writes it. Takes fewer steps than `to_string`.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(71);
        self.push_to(&mut out);
        out
    }

    /// Appends `sha256:<64 hex>`.
    pub fn push_to(&self, out: &mut String) {
        out.push_str("sha256:");
        push_hex(&self.0, out);
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest part of an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// The digest that Notary signs.
    Sha256(Sha256),
    /// Valid in a reference. Trust data never has it.
    Sha512([u8; 64]),
}

impl Digest {
    /// From `<algorithm>:<lowercase hex>`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::NoAlgorithm)?;
        match algorithm {
            "sha256" => Sha256::from_hex(hex).map(Self::Sha256).ok_or(DigestError::Malformed { expected: 64 }),
            "sha512" => decode_hex(hex).map(Self::Sha512).ok_or(DigestError::Malformed { expected: 128 }),
            _ => Err(DigestError::UnknownAlgorithm),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => hash.fmt(f),
            Self::Sha512(bytes) => {
                let mut text = String::from("sha512:");
                push_hex(bytes, &mut text);
                f.write_str(&text)
            }
        }
    }
}

fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = (*byte << 4) | value;
        }
    }
    Some(out)
}

/// Appends the lowercase hexadecimal digits of `bytes`, whose number is a multiple of four.
fn push_hex(bytes: &[u8], out: &mut String) {
    let mut text = [0; 128];
    let digits = text.chunks_exact_mut(8).zip(bytes.as_chunks().0);
    digits.for_each(|(digits, four)| digits.copy_from_slice(&eight_digits(*four)));
    let text = text.get(..2 * bytes.len()).and_then(|text| std::str::from_utf8(text).ok());
    out.push_str(text.unwrap_or_default());
}

/// The digits of four bytes, computed side by side: digests are written several times for each image.
fn eight_digits(four: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(u32::from_be_bytes(four));
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & (15 * ONES);
    // 10 + 6 has the fifth bit. In ASCII, `a` comes 39 places later than a digit 10 would.
    let letters = (digits.wrapping_add(6 * ONES) >> 4) & ONES;
    digits.wrapping_add(u64::from(b'0') * ONES).wrapping_add(letters.wrapping_mul(39)).to_be_bytes()
}

/// Why a digest was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestError {
    /// There is no colon.
    NoAlgorithm,
    /// Neither sha256 nor sha512.
    UnknownAlgorithm,
    /// Not this many lowercase hexadecimal digits.
    Malformed {
        /// How many digits the algorithm has.
        expected: usize,
    },
}

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAlgorithm => f.write_str("the digest has no algorithm, as in sha256:<64 hexadecimal digits>"),
            Self::UnknownAlgorithm => f.write_str("the digest's algorithm is neither sha256 nor sha512"),
            Self::Malformed { expected } => {
                write!(f, "the digest is not {expected} lowercase hexadecimal digits")
            }
        }
    }
}

impl std::error::Error for DigestError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_whole_lowercase_digests() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::parse(&format!("sha256:{hex}")), Ok(Digest::Sha256(Sha256::of(b""))));
        assert_eq!(Sha256::of(b"").hex(), hex);
        assert_eq!(Sha256::of(b"").to_string(), format!("sha256:{hex}"));
        let every: Vec<u8> = (0..=255).collect();
        for bytes in every.chunks_exact(32) {
            let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(Sha256::new(bytes.try_into().unwrap()).hex(), expected);
        }
        let long = Digest::Sha512([0x9a; 64]);
        assert_eq!(long.to_string(), format!("sha512:{}", "9a".repeat(64)));
        for bad in ["sha256:", "sha256:E3", &hex.to_uppercase(), hex.get(1..).unwrap(), &format!("{hex}00")] {
            assert!(Sha256::from_hex(bad).is_none(), "{bad}");
        }
        assert_eq!(Digest::parse("md5:00"), Err(DigestError::UnknownAlgorithm));
        assert_eq!(Digest::parse("sha256"), Err(DigestError::NoAlgorithm));
        assert_eq!(Digest::parse("sha512:00"), Err(DigestError::Malformed { expected: 128 }));
    }
}
