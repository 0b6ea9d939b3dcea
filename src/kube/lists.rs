//! Lists of the API, page by page, and objects that belong to no namespace: what `review --cluster` reads. The webhook reads
//! neither.

use serde_json::Value;

use super::api::Api;
use super::error::{ApiError, ApiErrorKind};
use super::object_name::Resource;
use super::objects::ListHead;
use crate::base::context::Deadline;
use crate::base::json_limits::JsonSize;
use crate::http::client::HttpError;

/// The most objects of a page.
const PAGE: usize = 100;
/// The most bytes of a page. One object of the largest size that a cluster stores has less.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// The most values of a page, half as many again as one object may have to be decided on. An object with one key takes 640 bytes
/// of memory.
pub(super) const MAX_VALUES: usize = 150_000;
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

/// A part of a list.
#[derive(Debug)]
pub(crate) enum Page {
    Objects(Vec<Value>),
    /// One object that is too large to be read: its namespace and its name, if it has them.
    TooLarge(Option<String>, Option<String>),
}

/// Why [`Page::TooLarge`] is not read.
pub(crate) const TOO_LARGE: &str = "it has more values, or more levels of them, than are read of an object";

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
    pub(crate) fn next_page(&self, list: &mut List<'_>, deadline: Deadline) -> Result<Option<Page>, ApiError> {
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
            let result = self.get_path(&path, ("list", plural, list.namespace), MAX_BYTES, deadline);
            let page = match &result {
                Ok((_, body)) if JsonSize::of(body).values <= MAX_VALUES => serde_json::from_slice::<Value>(body).ok(),
                _ => None,
            };
            if page.is_none() && list.limit > 1 && result.as_ref().err().is_none_or(ApiError::is_too_large) {
                list.limit = (list.limit / 10).max(1);
                continue;
            }
            let (status, body) = result?;
            let Some(mut page) = page else {
                // The next objects may be as small as ever.
                list.limit = PAGE;
                return self.too_large(list, &body).map(Some);
            };
            // A token that is too old is answered by another one, which goes on where the list was left.
            if page.get("items").is_none() && (status == 200 || page.pointer("/metadata/continue").is_none()) {
                return Err(self.error(ApiErrorKind::OtherObject));
            }
            let token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default();
            self.go_on(list, token)?;
            return match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => Ok(Some(Page::Objects(items))),
                // Go prints an empty list as null.
                Some(Value::Null) | None => Ok(Some(Page::Objects(Vec::new()))),
                Some(_) => Err(self.error(ApiErrorKind::OtherObject)),
            };
        }
    }

    /// Goes on after a page that names the next one by this token.
    fn go_on(&self, list: &mut List<'_>, token: &str) -> Result<(), ApiError> {
        list.pages += 1;
        list.next = match token {
            "" => Next::Nothing,
            // The rest of the list is not read, and this must not look like its end.
            token => Next::After(
                Self::escaped(token)
                    .filter(|_| list.pages < MAX_PAGES)
                    .ok_or_else(|| self.error(ApiErrorKind::OtherObject))?,
            ),
        };
        Ok(())
    }

    /// The name of the only object of a page.
    fn too_large(&self, list: &mut List<'_>, body: &[u8]) -> Result<Page, ApiError> {
        let other = || self.error(ApiErrorKind::OtherObject);
        let ListHead { metadata, items } = serde_json::from_slice(body).map_err(|_| other())?;
        let mut items = items.into_iter().flatten();
        let (Some(object), None) = (items.next(), items.next()) else { return Err(other()) };
        self.go_on(list, &metadata.and_then(|metadata| metadata.next).unwrap_or_default())?;
        let metadata = object.metadata.ok_or_else(other)?;
        Ok(Page::TooLarge(metadata.namespace, metadata.name))
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
        matches!(self.kind, ApiErrorKind::Http(HttpError::TooLarge { .. }))
    }
}
