//! Why a manifest, a list or a blob cannot be used.

use std::fmt;

use crate::image::Sha256;
use crate::json::JsonError;
use crate::text::printable;

/// Bytes that cannot be used. `Display` is safe to print and says what is wrong with them: it continues a sentence that begins
/// with what was read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OciError {
    /// There are more bytes than are read.
    TooLarge {
        /// How many there are, or how many the descriptor announces.
        bytes: u64,
        /// The most that are read.
        limit: u64,
    },
    /// The bytes are not those that were asked for, or that the registry's header announces.
    Digest {
        /// What was asked for or announced.
        expected: Sha256,
        /// The hash of the bytes.
        found: Sha256,
    },
    /// A blob does not have the length of its descriptor.
    Size {
        /// The descriptor's size.
        expected: u64,
        /// The number of bytes.
        found: u64,
    },
    /// It is not strict JSON.
    Json(JsonError),
    /// It has the wrong shape. The text says where.
    Shape(&'static str),
    /// A Docker manifest of schema 1.
    Schema1,
    /// Neither the header nor the body has a media type.
    NoMediaType,
    /// The media type is another one than those that are read here.
    MediaType {
        /// The media type.
        found: String,
    },
    /// The header has another media type than the body (CVE-2021-41190).
    ContentType {
        /// The header's.
        header: String,
        /// The body's.
        body: String,
    },
    /// It is an image and an index at once, which two readers understand differently (CVE-2021-41190).
    Ambiguous,
    /// It has a name that differs from a name of the specification only in upper and lower case. Some readers take it for that
    /// name.
    OtherCase {
        /// The name of the specification.
        name: &'static str,
    },
    /// A descriptor's digest has another algorithm than SHA-256.
    Algorithm {
        /// The algorithm.
        found: String,
    },
    /// It is about another image, or does not say about which.
    Subject {
        /// The image that it is about.
        found: Option<Sha256>,
    },
    /// There are more signatures than are looked at.
    TooMany {
        /// The most that are looked at.
        limit: usize,
    },
}

impl OciError {
    /// A fixed word for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "digest-mismatch",
            Self::TooMany { .. } => "too-many-signatures",
            _ => "bad-manifest",
        }
    }
}

impl From<JsonError> for OciError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// The most characters of a text from a registry that are printed.
const SHOWN: usize = 100;

impl fmt::Display for OciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, limit } => write!(f, "it has {bytes} bytes, and at most {limit} are read"),
            Self::Digest { expected, found } => write!(f, "its bytes have the digest {found} instead of {expected}"),
            Self::Size { expected, found } => write!(f, "it has {found} bytes instead of {expected}"),
            Self::Json(error) => write!(f, "it is not strict JSON: {error}"),
            Self::Shape(what) => f.write_str(what),
            Self::Schema1 => f.write_str(
                "it is a Docker manifest of schema 1, which is not supported: push the image again with a current tool",
            ),
            Self::NoMediaType => f.write_str("it has no media type, neither in Content-Type nor in mediaType"),
            Self::MediaType { found } => {
                write!(f, "its media type {:?} is not supported here", printable(found, SHOWN))
            }
            Self::ContentType { header, body } => {
                let [header, body] = [header, body].map(|text| printable(text, SHOWN));
                write!(f, "its Content-Type is {header:?}, but its mediaType is {body:?}")
            }
            Self::Ambiguous => f.write_str("it is an image and an index at once"),
            Self::OtherCase { name } => {
                write!(f, "it has the name {name} in another spelling of upper and lower case")
            }
            Self::Algorithm { found } => {
                let found = printable(found, SHOWN);
                write!(f, "it has a digest of the algorithm {found:?}, which is not supported: only sha256 is")
            }
            Self::Subject { found: Some(found) } => write!(f, "it is about another image, {found}"),
            Self::Subject { found: None } => f.write_str("it does not say which image it is about"),
            Self::TooMany { limit } => {
                write!(f, "there are more than {limit} signatures: remove those that are not needed")
            }
        }
    }
}

impl std::error::Error for OciError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Json(error) = self { Some(error) } else { None }
    }
}
