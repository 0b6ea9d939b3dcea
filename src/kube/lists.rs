//! Lists of the API, page by page, and objects that belong to no namespace: what `review --cluster` reads. The webhook reads
//! neither.

use serde_json::Value;

use super::api::Api;
use super::error::{ApiError, ApiErrorKind};
use super::object_name::Resource;
use crate::base::context::Deadline;
use crate::base::json_limits::JsonSize;
use crate::http::client::HttpError;

/// The most objects of a page.
const PAGE: usize = 100;
/// The most bytes and values of a page. One object of the largest size that a cluster stores has less.
pub(super) const MAX_BYTES: usize = 16 << 20;
pub(super) const MAX_VALUES: usize = 1_000_000;
/// The most pages of a list: a server that always names a next one is not read for ever.
const MAX_PAGES: usize = 20_000;
/// The longest token that names the next page.
const MAX_TOKEN: usize = 8 << 10;

/// A list that is being read.
#[derive(Debug)]
pub(crate) struct List<'a> {
    resource: Resource,
    namespace: Option<&'a str>,
    limit: usize,
    pages: usize,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    Nothing,
}

impl<'a> List<'a> {
    /// The objects of a resource, in one namespace or in all. The namespace has a valid name.
    pub(crate) fn of(resource: Resource, namespace: Option<&'a str>) -> Self {
        Self { resource, namespace, limit: PAGE, pages: 0, next: Next::First }
    }
}

impl Api {
    /// The next objects of a list; `None` after the last. A page that is too large is asked for again in smaller pages.
    pub(crate) fn next_page(&self, list: &mut List<'_>, deadline: Deadline) -> Result<Option<Vec<Value>>, ApiError> {
        let Resource { api, plural, .. } = list.resource;
        loop {
            let place = list.namespace.map(|namespace| ["/namespaces/", namespace].concat()).unwrap_or_default();
            let mut path = format!("{api}{place}/{plural}?limit={}", list.limit);
            match &list.next {
                Next::First => {}
                Next::After(token) => {
                    path.push_str("&continue=");
                    path.push_str(token);
                }
                Next::Nothing => return Ok(None),
            }
            let asked = ("list", plural, list.namespace);
            let result = self.get_path(&path, asked, MAX_BYTES, deadline).and_then(|(status, body)| {
                if JsonSize::of(&body).values > MAX_VALUES {
                    return Err(self.error(ApiErrorKind::TooManyValues));
                }
                // A token that is too old is answered by another one, which goes on where the list was left.
                let page = serde_json::from_slice::<Value>(&body).ok().filter(|page| match status {
                    200 => page.get("items").is_some(),
                    _ => page.pointer("/metadata/continue").is_some(),
                });
                page.ok_or_else(|| self.error(ApiErrorKind::OtherObject))
            });
            let mut page = match result {
                Err(error) if error.is_too_large() && list.limit > 1 => {
                    list.limit = (list.limit / 10).max(1);
                    continue;
                }
                result => result?,
            };
            list.pages += 1;
            let token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default();
            list.next = match token {
                "" => Next::Nothing,
                token => Next::After(Self::escaped(token).filter(|_| list.pages < MAX_PAGES).ok_or_else(|| {
                    // The rest of the list is not read, and this must not look like its end.
                    self.error(ApiErrorKind::OtherObject)
                })?),
            };
            return match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => Ok(Some(items)),
                // Go prints an empty list as null.
                Some(Value::Null) | None => Ok(Some(Vec::new())),
                Some(_) => Err(self.error(ApiErrorKind::OtherObject)),
            };
        }
    }

    /// An object that belongs to no namespace.
    pub(crate) fn cluster_object(&self, resource: Resource, name: &str, deadline: Deadline) -> Result<Value, ApiError> {
        let Resource { api, plural, kind } = resource;
        let path = [api, "/", plural, "/", name].concat();
        Some(self.json(&path, ("get", plural, None), deadline)?)
            .filter(|object| object.get("kind").and_then(Value::as_str) == Some(kind))
            .ok_or_else(|| self.error(ApiErrorKind::OtherObject))
    }

    /// A token as part of a URL. That of an API server is base64.
    fn escaped(token: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        let mut escaped = String::with_capacity(token.len());
        for c in token.chars() {
            match c {
                c if is_plain(c) => escaped.push(c),
                '=' => escaped.push_str("%3D"),
                '+' => escaped.push_str("%2B"),
                '/' => escaped.push_str("%2F"),
                _ => return None,
            }
        }
        (escaped.len() <= MAX_TOKEN).then_some(escaped)
    }
}

impl ApiError {
    /// Whether the response was larger than what is read. Fewer objects may fit.
    fn is_too_large(&self) -> bool {
        matches!(self.kind, ApiErrorKind::TooManyValues | ApiErrorKind::Http(HttpError::TooLarge { .. }))
    }
}
