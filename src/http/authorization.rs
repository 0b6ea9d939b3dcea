//! Values of `Authorization` and `Proxy-Authorization`. They are secrets: their `Debug` shows nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::base::secret::Secret;

/// For a token (RFC 6750 §2.1).
pub(crate) fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.reveal()))
}

/// For a user and a password (RFC 7617).
pub(crate) fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()))))
}
