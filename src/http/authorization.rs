//! Values of `Authorization` and `Proxy-Authorization`. They are secrets: their `Debug` shows nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::base::secret::Secret;

/// Can this text be sent as a token (RFC 6750 §2.1: b64token)? No other character gets into a header.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
}

/// For a token.
pub(crate) fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.reveal()))
}

/// For a user and a password (RFC 7617).
pub(crate) fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()))))
}
