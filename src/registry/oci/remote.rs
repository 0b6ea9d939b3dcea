//! A repository at a registry (OCI distribution specification 1.1): what is asked for under which path, and what a response
//! means. It follows redirects of blobs only, and pages of a list only at the same path of the same registry.
//!
//! *Not found* is a definite answer, from which "not signed" follows, so that it must be the registry's own: see
//! [`Remote::is_own`]. Whatever no registry would say is unavailable, and what contradicts itself is rejected.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::link;
use super::repository::{FetchError, FetchedImage, FetchedSignatures, Repository, Wanted};
use crate::base::context::Deadline;
use crate::http::client::Response;
use crate::http::error_body;
use crate::http::origin::permit::Permit;
use crate::http::url::{HttpUrl, PlainHttp, ServerUrl, printable_url};
use crate::keychain::credentials::Credentials;
use crate::metrics;
use crate::registry::client::Client;
use crate::registry::session::redirect::Redirected;
use crate::registry::session::together;
use crate::registry::session::{Granted, Scope, Server, Session, SessionError};
use crate::registry::sign_in::SignIn;
use portreeve_verify::Unavailable;
use portreeve_verify::image::{Digest, Sha256};
use portreeve_verify::oci::{
    Descriptor, Image, MAX_MANIFEST, MAX_PAGES, MAX_REFERRERS, MAX_SIGNATURE_MANIFEST, OciError, SignatureManifest,
    media_type, read_referrers, referrers_tag,
};
use portreeve_verify::text::printable;

/// `Accept` for manifests. An index is asked for also where one is refused: some registries say that there is nothing, if what
/// they have is not asked for.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
const BAD_MANIFEST: &str = "bad-manifest";
const DIGEST_MISMATCH: &str = "digest-mismatch";

/// A repository at a registry, for the time of one request.
pub(super) struct Remote<'a> {
    client: &'a Client,
    url: &'a ServerUrl,
    /// Its name at the registry.
    name: &'a str,
    credentials: &'a Credentials<'a>,
    deadline: Deadline,
    watched: Option<(Option<&'a Permit<'a>>, &'a SignIn)>,
    /// What gave access last. The requests that follow begin with it.
    granted: Mutex<Option<Granted>>,
    /// Has the server answered as a registry does?
    is_registry: AtomicBool,
    /// What was fetched ahead, by its path and its cap.
    ahead: Mutex<Vec<(together::Wanted, Result<Response, SessionError>)>>,
}

impl<'a> Remote<'a> {
    pub(super) fn new(
        client: &'a Client,
        url: &'a ServerUrl,
        name: &'a str,
        credentials: &'a Credentials<'a>,
        deadline: Deadline,
    ) -> Self {
        let (granted, is_registry) = (Mutex::default(), AtomicBool::new(false));
        let ahead = Mutex::default();
        Self { client, url, name, credentials, deadline, watched: None, granted, is_registry, ahead }
    }

    /// The same, while other requests wait for it.
    pub(super) fn watched(self, permit: Option<&'a Permit<'a>>, sign_in: &'a SignIn) -> Self {
        Self { watched: Some((permit, sign_in)), ..self }
    }

    /// Asks under what gave access before, and keeps what gives access now.
    fn ask<T>(&self, ask: impl FnOnce(&mut Session<'a>) -> Result<T, SessionError>) -> Result<T, SessionError> {
        let server = Server { url: self.url, name: "the registry", peer: metrics::Peer::Registry };
        let session = Session::new(self.client, server, Scope::pull(self.name), self.credentials, self.deadline);
        let session = match self.watched {
            Some((permit, sign_in)) => session.watched(permit, sign_in),
            None => session,
        };
        let granted = || self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = granted().clone();
        let mut session = session.resumed(known);
        let response = ask(&mut session)?;
        if let Some(new) = session.granted() {
            *granted() = Some(new);
        }
        Ok(response)
    }

    /// GETs a path below the repository's. `what` is asked for, in words.
    fn get(&self, path: &str, accept: &'static str, cap: usize, what: &str) -> Result<Response, FetchError> {
        let path = format!("/v2/{}/{path}", self.name);
        let response = match self.take_ahead(&path, cap) {
            Some(response) => response,
            None => self.ask(|session| session.get_as(&path, accept, cap)),
        };
        response.map_err(|error| self.failed(error, what))
    }

    fn take_ahead(&self, path: &str, cap: usize) -> Option<Result<Response, SessionError>> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ahead.iter().position(|(wanted, _)| wanted.path == path && wanted.cap == cap)?;
        Some(ahead.swap_remove(at).1)
    }

    fn failed(&self, error: SessionError, what: &str) -> FetchError {
        match error {
            SessionError::TooLarge { cap } => {
                FetchError::TooLarge { message: self.about(what, &format_args!("it is larger than {cap} bytes")) }
            }
            SessionError::Unavailable(unavailable) => FetchError::Unavailable(unavailable),
        }
    }

    /// A manifest: the body of a 200, whatever is in it.
    fn manifest(&self, wanted: Wanted<'_>, cap: usize) -> Result<Manifest, FetchError> {
        let (reference, what) = match wanted {
            Wanted::Tag(tag) => (tag.to_owned(), format!("the manifest {}", printable(tag, 140))),
            Wanted::Digest(digest) => (digest.to_string(), format!("the manifest {digest}")),
        };
        let response = self.get(&format!("manifests/{reference}"), MANIFESTS, cap, &what)?;
        if response.status != 200 {
            return Err(self.no_manifest(&response, &what));
        }
        let content_type = response.field("content-type").map(str::to_owned);
        if is_web_page(content_type.as_deref(), &response.body) {
            return Err(self.unavailable(&what, &"a web page instead; check its address, and any proxy in front of it"));
        }
        let expected = self.expected(&response, wanted, &what)?;
        Ok(Manifest { bytes: response.body, content_type, expected, what })
    }

    /// The digest that the bytes of a manifest must have: the one that is asked for, or the one that the registry claims. Both
    /// must be the same.
    fn expected(&self, response: &Response, wanted: Wanted<'_>, what: &str) -> Result<Option<Sha256>, FetchError> {
        let wanted = match wanted {
            Wanted::Digest(digest) => Some(digest),
            Wanted::Tag(_) => None,
        };
        let Some(claimed) = response.field("docker-content-digest") else { return Ok(wanted) };
        match Digest::parse(claimed) {
            Ok(Digest::Sha256(claimed)) if wanted.is_none_or(|wanted| wanted == claimed) => Ok(Some(claimed)),
            _ => {
                let claimed = printable(claimed, 140);
                let why = format_args!("Docker-Content-Digest says \"{claimed}\", which is not its SHA-256 digest");
                Err(self.rejected(DIGEST_MISMATCH, what, &why))
            }
        }
    }

    /// The response to a request for a manifest is no 200.
    fn no_manifest(&self, response: &Response, what: &str) -> FetchError {
        match response.status {
            404 if self.is_own(response) => self.not_found(response, what),
            404 => self.unavailable(
                what,
                &"404, which is not how a registry says that it does not have something: check its address, and any proxy \
                  in front of it",
            ),
            _ => self.no_answer(response, what),
        }
    }

    /// Is this 404 the registry's own? Registries say so in their error body, or have their header. A proxy in front of one may
    /// replace both, so the 404 counts as well if this server has served a manifest or a list to this request before: then the
    /// address is right. Any other 404, such as an ingress without a backend sends, says nothing about the registry.
    fn is_own(&self, response: &Response) -> bool {
        if error_body::error_code(&response.body).is_some()
            || response.field("docker-distribution-api-version").is_some()
        {
            self.is_registry.store(true, Ordering::Relaxed);
        }
        self.is_registry.load(Ordering::Relaxed)
    }

    fn not_found(&self, response: &Response, what: &str) -> FetchError {
        let (url, name) = (self.url, self.name);
        let message = format!("the registry {url} does not have {what} of {name} ({})", status(response));
        FetchError::NotFound { message }
    }

    /// A status from which nothing follows.
    fn no_answer(&self, response: &Response, what: &str) -> FetchError {
        let status = status(response);
        match response.status {
            300..400 => {
                // What follows the `?` of a URL may be a permission, and is not repeated.
                let target = response.field("location").and_then(|target| target.split('?').next()).unwrap_or_default();
                let target = printable_url(target);
                let answer = format_args!(
                    "{status}, a redirect to \"{target}\", which is followed for blobs only: if the registry is there, name it in \
                     registries.endpoints"
                );
                self.unavailable(what, &answer)
            }
            429 => {
                let hint =
                    "it limits how often it is asked; use credentials for it, or a mirror (registries.endpoints)";
                self.unavailable(what, &format_args!("{status} ({hint})"))
            }
            _ => self.unavailable(what, &status),
        }
    }

    fn unavailable(&self, what: &str, answer: &dyn fmt::Display) -> FetchError {
        let message = format!("the registry {} answered {answer}, when asked for {what} of {}", self.url, self.name);
        FetchError::Unavailable(Unavailable::other(message))
    }

    fn rejected(&self, code: &'static str, what: &str, why: &dyn fmt::Display) -> FetchError {
        FetchError::Rejected { code, message: self.about(what, why) }
    }

    fn about(&self, what: &str, why: &dyn fmt::Display) -> String {
        format!("the registry {}: {what} of {}: {why}", self.url, self.name)
    }

    fn unreadable(&self, what: &str, error: &OciError) -> FetchError {
        self.rejected(error.code(), what, error)
    }

    /// What the query of the next page of a list is. The next page is at the path of the first one; only its query is taken.
    fn next_page(&self, response: &Response, path: &str, what: &str) -> Result<Option<String>, FetchError> {
        let refuse = |why: &dyn fmt::Display| Err(self.rejected(BAD_MANIFEST, what, why));
        let Ok(next) = link::next(response.fields("link")) else {
            return refuse(&"the Link to its next page cannot be read");
        };
        let Some(next) = next else { return Ok(None) };
        let home = || HttpUrl::parse(self.url.as_str(), PlainHttp::DangerouslyAllowed);
        let target = match next.starts_with(['/', '?']) && !next.starts_with("//") {
            true => home().map(|home| format!("{}{next}", home.origin())),
            false => Ok(next.to_owned()),
        };
        if let Ok(target) = target
            && let (Ok(home), Ok(target)) = (home(), HttpUrl::parse(&target, PlainHttp::DangerouslyAllowed))
            && home.origin() == target.origin()
            && (next.starts_with('?') || target.path.replace("%3A", ":").ends_with(path))
            && let Some(query) = target.query
        {
            return Ok(Some(format!("?{query}")));
        }
        refuse(&format_args!("its next page is elsewhere, at \"{}\", which is not followed", printable(next, 200)))
    }
}

/// The bytes of a manifest.
struct Manifest {
    bytes: Vec<u8>,
    content_type: Option<String>,
    /// The digest that they must have.
    expected: Option<Sha256>,
    /// In words.
    what: String,
}

impl Repository for Remote<'_> {
    fn prefetch(&self, image: Sha256, cap: usize) {
        let files = [("manifests", MANIFESTS), ("referrers", media_type::OCI_INDEX)].map(|(part, accept)| {
            let path = format!("/v2/{}/{part}/{image}", self.name);
            together::Wanted { path, accept, cap }
        });
        if let Ok(responses) = self.ask(|session| Ok(session.get_all(&files, files.len()))) {
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = files.into_iter().zip(responses).collect();
        }
    }

    fn image(&self, wanted: Wanted<'_>, cap: usize) -> Result<FetchedImage, FetchError> {
        let Manifest { bytes, content_type, expected, what } = self.manifest(wanted, cap.min(MAX_MANIFEST))?;
        let image =
            Image::read(&bytes, content_type.as_deref(), expected).map_err(|error| self.unreadable(&what, &error))?;
        self.is_registry.store(true, Ordering::Relaxed);
        Ok(FetchedImage { image, bytes })
    }

    fn referrers(&self, image: Sha256, cap: usize) -> Result<Option<Vec<Descriptor>>, FetchError> {
        let what = format!("the list of referrers of {image}");
        let path = format!("referrers/{image}");
        let (mut list, mut page, mut left) = (Vec::new(), String::new(), cap.min(MAX_REFERRERS));
        for number in 1..=MAX_PAGES {
            let response = self.get(&format!("{path}{page}"), media_type::OCI_INDEX, left, &what)?;
            match response.status {
                200 if is_index(response.field("content-type")) => {}
                // A registry without the API (SCHEMES.md, row 12). 303 is ghcr.io's way, which points to a page for people.
                200 | 303 | 400 | 404 | 405 | 406 if number == 1 => return Ok(None),
                _ => return Err(self.no_answer(&response, &what)),
            }
            list.extend(read_referrers(&response.body).map_err(|error| self.unreadable(&what, &error))?);
            self.is_registry.store(true, Ordering::Relaxed);
            left = left.saturating_sub(response.body.len());
            match self.next_page(&response, &format!("/v2/{}/{path}", self.name), &what)? {
                None => return Ok(Some(list)),
                Some(next) => page = next,
            }
        }
        let why = format_args!("it has more than {MAX_PAGES} pages; remove referrers of the image that are not needed");
        Err(self.rejected("too-many-signatures", &what, &why))
    }

    fn tagged_referrers(&self, image: Sha256, cap: usize) -> Result<Vec<Descriptor>, FetchError> {
        let tag = referrers_tag(image);
        let manifest = match self.manifest(Wanted::Tag(&tag), cap.min(MAX_REFERRERS)) {
            Err(FetchError::NotFound { .. }) => return Ok(Vec::new()),
            manifest => manifest?,
        };
        let Manifest { bytes, content_type, expected, what } = manifest;
        let found = Sha256::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(self.unreadable(&what, &OciError::Digest { expected, found }));
        }
        if let Some(header) = content_type.filter(|header| !is_index(Some(header))) {
            return Err(self.unreadable(&what, &OciError::MediaType { found: header }));
        }
        let list = read_referrers(&bytes).map_err(|error| self.unreadable(&what, &error))?;
        self.is_registry.store(true, Ordering::Relaxed);
        Ok(list)
    }

    fn signatures(&self, wanted: Wanted<'_>, cap: usize) -> Result<FetchedSignatures, FetchError> {
        let Manifest { bytes, content_type, expected, what } =
            self.manifest(wanted, cap.min(MAX_SIGNATURE_MANIFEST))?;
        let manifest = SignatureManifest::read(&bytes, content_type.as_deref(), expected)
            .map_err(|error| self.unreadable(&what, &error))?;
        self.is_registry.store(true, Ordering::Relaxed);
        Ok(FetchedSignatures { manifest, bytes })
    }

    fn blob(&self, descriptor: &Descriptor, cap: usize) -> Result<Vec<u8>, FetchError> {
        let what = format!("the blob {}", descriptor.digest);
        let size = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        descriptor.check_limit(cap).map_err(|error| FetchError::TooLarge { message: self.about(&what, &error) })?;
        let path = format!("/v2/{}/blobs/{}", self.name, descriptor.digest);
        let Redirected { response, from } = match self.ask(|session| session.get_redirected(&path, size)) {
            Err(SessionError::TooLarge { cap }) => {
                let why = format_args!("it is larger than the {cap} bytes of its descriptor");
                return Err(self.rejected(BAD_MANIFEST, &what, &why));
            }
            fetched => fetched.map_err(|error| self.failed(error, &what))?,
        };
        match response.status {
            200 => match descriptor.check(&response.body) {
                Ok(()) => Ok(response.body),
                Err(error) => Err(self.unreadable(&what, &error)),
            },
            // A storage says so in words of its own.
            404 if from.is_some() => Err(self.not_found(&response, &what)),
            404 => Err(self.no_manifest(&response, &what)),
            _ => match from {
                Some(from) => {
                    let answer = format_args!("with a redirect to {from}, which answered {}", status(&response));
                    Err(self.unavailable(&what, &answer))
                }
                None => Err(self.no_answer(&response, &what)),
            },
        }
    }
}

/// `404 MANIFEST_UNKNOWN`.
fn status(response: &Response) -> String {
    let code = error_body::error_code(&response.body).map(|code| format!(" {code}")).unwrap_or_default();
    format!("{}{code}", response.status)
}

/// Is it a list of referrers by its `Content-Type`?
fn is_index(content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|field| field.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(media_type::OCI_INDEX))
}

/// Is it a page for people? A proxy or a portal sent it, and not the registry.
fn is_web_page(content_type: Option<&str>, body: &[u8]) -> bool {
    content_type.is_some_and(|field| field.trim_start().to_ascii_lowercase().starts_with("text/html"))
        || body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

#[cfg(test)]
mod tests;
