//! A repository's metadata on a Notary server: how its files are named, and what the server's responses mean.

use crate::http::client::{JSON, Response};
use crate::http::error_body;
use crate::http::url::ServerUrl;
use crate::metrics;
use crate::registry::session::together::Wanted;
use crate::registry::session::{Server, Session, SessionError};
use portreeve_verify::tuf::{FetchError, Gun, MetadataName, MetadataSource};
use portreeve_verify::{Unavailable, UnavailableCause};

/// The Notary server with this URL.
pub(crate) fn server(url: &ServerUrl) -> Server<'_> {
    Server { url, name: "trust server", peer: metrics::Peer::TrustServer }
}

/// One repository on one Notary server.
pub(crate) struct Remote<'a> {
    url: &'a ServerUrl,
    gun: &'a Gun,
    session: Session<'a>,
    /// What was fetched ahead, with its cap.
    ahead: Vec<(MetadataName, usize, Result<Vec<u8>, FetchError>)>,
}

impl<'a> Remote<'a> {
    /// A repository over a session with its server.
    pub(crate) fn new(url: &'a ServerUrl, gun: &'a Gun, session: Session<'a>) -> Self {
        Self { url, gun, session, ahead: Vec::new() }
    }

    fn path(&self, name: &MetadataName) -> String {
        format!("/v2/{}/_trust/tuf/{}.json", self.gun, name.file_stem())
    }

    /// The file of a response.
    fn file(&self, name: &MetadataName, response: Result<Response, SessionError>) -> Result<Vec<u8>, FetchError> {
        let response = response.map_err(|error| match error {
            SessionError::TooLarge { cap } => FetchError::TooLarge { cap },
            SessionError::Unavailable(unavailable) => unavailable.into(),
        })?;
        let (url, status) = (self.url, response.status);
        let why = match status {
            // A proxy or a portal sent this page, and not the Notary server.
            200 if is_web_page(&response.body) => {
                return Err(Unavailable::other(format!("{url} sent a web page instead of {name}.json")).into());
            }
            200 => return Ok(response.body),
            404 if error_body::is_absence(404, &response.body) => return Err(FetchError::NotFound),
            300..400 => ", a redirect, and those are not followed",
            404 => {
                ", which is not how a Notary server says that there is no trust data: this is no Notary server; check \
                 its address, and any proxy in front of it"
            }
            _ => "",
        };
        let code = error_body::error_code(&response.body).map(|code| format!(" {code}")).unwrap_or_default();
        let message = format!("{} answered {status}{code} for {name}.json{why}", server(url));
        Err(Unavailable::other(message).into())
    }
}

impl MetadataSource for Remote<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        if let Some(at) = self.ahead.iter().position(|(known, with, _)| known == name && *with == cap) {
            return self.ahead.swap_remove(at).2;
        }
        let response = self.session.get(&self.path(name), cap);
        self.file(name, response)
    }

    fn prefetch(&mut self, files: &[(MetadataName, usize)], later: usize) {
        self.ahead.clear();
        if files.len() < 2 {
            return; // nothing to do at the same time
        }
        let wanted = |(name, cap): &(MetadataName, usize)| Wanted { path: self.path(name), accept: JSON, cap: *cap };
        let wanted: Vec<_> = files.iter().map(wanted).collect();
        let responses = self.session.get_all(&wanted, later);
        self.ahead = (files.iter().zip(responses))
            .map(|((name, cap), response)| (name.clone(), *cap, self.file(name, response)))
            .collect();
        // Once the deadline has passed nothing can be verified. The reason is the file that did not come.
        if let Some(late) = self.ahead.iter().find_map(|(.., result)| out_of_time(result)) {
            self.ahead.iter_mut().for_each(|(.., result)| *result = Err(late.clone()));
        }
    }
}

fn out_of_time(result: &Result<Vec<u8>, FetchError>) -> Option<FetchError> {
    let is_late = |error: &&FetchError| {
        matches!(error, FetchError::Unavailable(Unavailable { cause: UnavailableCause::OutOfTime, .. }))
    };
    result.as_ref().err().filter(is_late).cloned()
}

fn is_web_page(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<')
}

#[cfg(test)]
mod tests;
