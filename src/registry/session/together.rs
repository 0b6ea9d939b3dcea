//! Requests of one session that do not depend on each other.

use super::{Session, SessionError, is_refusal};
use crate::base::side_by_side::{Slot, side_by_side};
use crate::http::client::Response;
use portreeve_verify::Unavailable;

/// Most requests of one session at the same time: as many idle connections to one server are kept.
const AT_ONCE: usize = 8;

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
    /// the sign-in then have connections, and a new connection takes longer than a request.
    pub(crate) fn get_all(&mut self, files: &[Wanted]) -> Vec<Result<Response, SessionError>> {
        let slots: Vec<_> = files.iter().map(|_| Slot::new()).collect();
        let mut results: Vec<Option<Result<Response, SessionError>>> = files.iter().map(|_| None).collect();
        let mut signed_in = self.begin();
        while signed_in.is_ok() {
            let (session, known) = (&*self, &results);
            side_by_side(files.len(), AT_ONCE, "fetch", &|number| {
                if let (Some(file), Some(slot), Some(None)) = (files.get(number), slots.get(number), known.get(number))
                {
                    slot.put(session.send(&file.path, file.accept, file.cap));
                }
            });
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
}
