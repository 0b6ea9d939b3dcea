//! Requests of one session that do not depend on each other.

use std::time::Duration;

use super::{Session, SessionError, is_refusal};
use crate::base::side_by_side::{Slot, side_by_side};
use crate::http::client::{JSON, Peer, Response};
use crate::registry::client::probe_url;
use portreeve_verify::Unavailable;

/// Most requests of one session at the same time: as many idle connections to one server are kept.
const AT_ONCE: usize = 8;
/// How long a request may take whose only purpose is its connection, and the most bytes of its response.
const OPENING_TIME: Duration = Duration::from_millis(500);
const OPENING_BYTES: usize = 4 << 10;

/// A file on a server, one of several that are asked for at the same time.
pub(crate) struct Wanted {
    /// Its path, such as `/v2/…`.
    pub(crate) path: String,
    /// The media types that are asked for.
    pub(crate) accept: &'static str,
    /// The most bytes that the body of a 200 may have.
    pub(crate) cap: usize,
}

impl Session<'_> {
    /// GETs several files at the same time, as [`Session::get`] gets one. They sign in together.
    ///
    /// The first requests to a server also go together. If it wants a sign-in, each of them is refused. But the requests after
    /// the sign-in then have connections, and a new connection takes longer than a request. For the same reason the first
    /// requests are as many as the session will make at the same time later: those that have no file ask whether the server is
    /// there, as Docker's clients do first, and their responses say nothing.
    pub(crate) fn get_all(&mut self, files: &[Wanted], later: usize) -> Vec<Result<Response, SessionError>> {
        let slots: Vec<_> = files.iter().map(|_| Slot::new()).collect();
        let mut results: Vec<Option<Result<Response, SessionError>>> = files.iter().map(|_| None).collect();
        let mut jobs =
            if self.client.is_new(self.server.url) { later.min(AT_ONCE).max(files.len()) } else { files.len() };
        let mut signed_in = self.begin();
        while signed_in.is_ok() {
            let (session, known) = (&*self, &results);
            side_by_side(jobs, AT_ONCE, "fetch", &|number| match (files.get(number), known.get(number)) {
                (Some(file), Some(None)) => {
                    if let Some(slot) = slots.get(number) {
                        slot.put(session.send(&file.path, file.accept, file.cap));
                    }
                }
                (None, _) => session.open_connection(),
                _ => {}
            });
            jobs = files.len();
            let mut refused = None;
            for (slot, result) in slots.iter().zip(&mut results) {
                match slot.take() {
                    Some(Ok(response)) if is_refusal(&response) => refused = Some(response),
                    Some(response) => {
                        if response.is_ok() {
                            self.accepted();
                        }
                        *result = Some(response);
                    }
                    None => {}
                }
            }
            match refused {
                Some(response) => signed_in = self.no_access(&response),
                None => break,
            }
        }
        let why = signed_in.err().unwrap_or_else(|| Unavailable::other(format!("{} was not asked", self.server)));
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(why.clone().into()))).collect()
    }

    /// Leaves an idle connection to the server. It is no failure if there is none.
    fn open_connection(&self) {
        let probe = probe_url(self.server.url);
        let peer = Peer { kind: self.server.peer, probe: &probe, permit: self.permit };
        drop(self.client.http.get(&probe, JSON, None, OPENING_BYTES, self.deadline.at_most(OPENING_TIME), peer));
    }
}
