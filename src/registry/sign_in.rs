//! How far a session has come with signing in, as other requests see it that wait for the same data. The credentials of
//! one request must not hold up a request that has others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::keychain::credentials::Fingerprint;

/// The longest time that signing in takes where all is well: long enough for a token service in another place, so that a
/// storm of pods whose tenants have credentials of their own each still shares one refresh.
const SIGN_IN_TIME: Duration = Duration::from_millis(250);

/// The progress of one session. The session writes it, and the requests that wait read it.
#[derive(Default)]
pub(crate) struct SignIn(Mutex<SignInState>);

/// The state of a session at one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct SignInState {
    /// The credentials, once they are found.
    credentials: Option<Fingerprint>,
    /// When the session began to look for credentials, or for a token for one of them; `None` once it has one.
    since: Option<Instant>,
    /// Was a credential refused, and none accepted since?
    refused: bool,
}

impl SignIn {
    /// The progress of a session whose credentials are known already.
    pub(crate) fn with(credentials: Fingerprint) -> Self {
        Self(Mutex::new(SignInState { credentials: Some(credentials), ..SignInState::default() }))
    }

    pub(crate) fn state(&self) -> SignInState {
        *self.lock()
    }

    /// The session looks for credentials, or has found them.
    pub(super) fn begin(&self, credentials: Option<Fingerprint>) {
        let mut state = self.lock();
        state.since.get_or_insert_with(Instant::now);
        state.credentials = state.credentials.or(credentials);
    }

    /// The session has a token or a password to send.
    pub(super) fn ready(&self) {
        self.lock().since = None;
    }

    /// A credential was refused.
    pub(super) fn refused(&self) {
        self.lock().refused = true;
    }

    /// The server accepted what was sent.
    pub(super) fn accepted(&self) {
        self.lock().refused = false;
    }

    fn lock(&self) -> MutexGuard<'_, SignInState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

impl SignInState {
    /// Does signing in take longer than it does where all is well?
    pub(crate) fn is_slow(&self) -> bool {
        self.refused || self.since.is_some_and(|since| since.elapsed() >= SIGN_IN_TIME)
    }

    /// Does the session sign in with these credentials?
    pub(crate) fn is_with(&self, credentials: Fingerprint) -> bool {
        self.credentials == Some(credentials)
    }
}
