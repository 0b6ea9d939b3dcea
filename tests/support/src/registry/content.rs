//! What the registry holds, and how it answers.

use std::collections::BTreeMap;

use super::publish::media_types;
use crate::cosign::digest;
use crate::server::sign_in::Gate;
use crate::server::wire::{Request, Response, parameters};

/// How the registry answers requests for referrers.
#[derive(Clone, Debug, Default)]
pub enum Referrers {
    /// The referrers API.
    #[default]
    Api,
    /// This status: there is no such API.
    Absent(u16),
    /// 200 with this Content-Type: something else answers.
    ContentType(&'static str),
    /// 200 with an empty list, as Harbor's proxy cache answers.
    Empty,
}

/// A change of responses that are otherwise right.
#[derive(Clone, Debug)]
pub enum Change {
    /// This status and location. `{}` stands for the path and query that the client asked for.
    Redirect(u16, String),
    /// This body, with its own length. The headers stay.
    Bytes(Vec<u8>),
    /// Each byte equal to the first becomes the second.
    Replace(u8, u8),
    /// Another value of a header, or one more header.
    Header(&'static str, String),
    /// Leaves a header out.
    NoHeader(&'static str),
}

#[derive(Default)]
pub(super) struct Content {
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) referrers: Referrers,
    /// The size of a page of referrers.
    pub(super) page: Option<usize>,
    /// Part of a path, and a change.
    pub(super) changes: Vec<(String, Change)>,
}

#[derive(Default)]
pub(super) struct Repository {
    /// By digest: media type and bytes.
    pub(super) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// Digests by tag.
    pub(super) tags: BTreeMap<String, String>,
    /// Descriptors in JSON by the digest of their subject.
    pub(super) referrers: BTreeMap<String, Vec<String>>,
}

impl crate::server::Content for Content {
    const SERVICE: &'static str = "registry";

    fn answer(&mut self, gate: &mut Gate, request: &Request, path: &str) -> Response {
        let mut response = self.honest(gate, request, path);
        for (_, change) in self.changes.iter().filter(|(part, _)| path.contains(part.as_str())) {
            response = change.apply(response, &request.target);
        }
        response
    }
}

impl Content {
    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    fn honest(&mut self, gate: &mut Gate, request: &Request, path: &str) -> Response {
        if path == "/token" {
            return gate.token(request);
        }
        if path == "/v2/" {
            // Clients ask for this to learn of the sign-in.
            let free = matches!(gate.sign_in, super::SignIn::No);
            return if free { Response::new(200, "{}").typed("application/json") } else { gate.challenge("") };
        }
        let Some((name, kind, what)) = parts(path) else { return Response::error(404, "NOT_FOUND") };
        if request.method != "GET" && request.method != "HEAD" {
            return Response::error(405, "UNSUPPORTED");
        }
        if !gate.may_read(name, request.authorization.as_deref()) {
            return gate.challenge(name);
        }
        let Some(repository) = self.repositories.get(name) else { return Response::error(404, "NAME_UNKNOWN") };
        match kind {
            "manifests" => repository.manifest(what),
            "blobs" => match repository.blobs.get(what) {
                Some(bytes) => Response::new(200, bytes.clone()).typed("application/octet-stream"),
                None => Response::error(404, "BLOB_UNKNOWN"),
            },
            _ => self.list(repository, what, path, &request.target),
        }
    }

    fn list(&self, repository: &Repository, subject: &str, path: &str, target: &str) -> Response {
        let all = match &self.referrers {
            Referrers::Absent(status) => return Response::error(*status, "NOT_FOUND"),
            Referrers::ContentType(other) => return Response::new(200, "{}").typed(other),
            Referrers::Empty => &[],
            Referrers::Api => repository.referrers.get(subject).map_or(&[][..], Vec::as_slice),
        };
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let from = parameters(query).get("from").and_then(|from| from.parse::<usize>().ok()).unwrap_or(0);
        let rest = all.get(from..).unwrap_or_default();
        let page = &rest[..self.page.unwrap_or(rest.len()).min(rest.len())];
        let (media_type, list) = (media_types::INDEX, page.join(","));
        let body = format!("{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"manifests\":[{list}]}}");
        let mut response = Response::new(200, body).typed(media_types::INDEX);
        if page.len() < rest.len() {
            let link = format!("<{path}?from={}>; rel=\"next\"", from + page.len());
            response.headers.push(("Link".to_owned(), link));
        }
        response
    }
}

impl Repository {
    fn manifest(&self, reference: &str) -> Response {
        let named = self.tags.get(reference).map_or(reference, String::as_str);
        let Some((media_type, bytes)) = self.manifests.get(named) else {
            return Response::error(404, "MANIFEST_UNKNOWN");
        };
        let mut response = Response::new(200, bytes.clone()).typed(media_type);
        response.headers.push(("Docker-Content-Digest".to_owned(), digest(bytes)));
        response
    }
}

impl Change {
    fn apply(&self, mut response: Response, target: &str) -> Response {
        match self {
            Self::Redirect(status, location) => {
                response = Response::new(*status, "");
                response.headers.push(("Location".to_owned(), location.replace("{}", target)));
            }
            Self::Bytes(bytes) => response.body.clone_from(bytes),
            Self::Replace(old, new) => {
                response.body.iter_mut().filter(|byte| *byte == old).for_each(|byte| *byte = *new);
            }
            Self::Header(name, value) => {
                response.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
                response.headers.push(((*name).to_owned(), value.clone()));
            }
            Self::NoHeader(name) => response.headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name)),
        }
        response
    }
}

/// `/v2/<name>/<kind>/<tag or digest>`.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let (rest, what) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
    let (name, kind) = rest.rsplit_once('/')?;
    ["manifests", "blobs", "referrers"].contains(&kind).then_some((name, kind, what))
}
