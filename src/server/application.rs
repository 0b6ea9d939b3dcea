//! The interface to the program behind the server. The server knows the paths of the program and how to count them. It does
//! not know the meaning of their bodies.

use crate::base::context::Deadline;
use crate::metrics;

/// The program behind the server. Worker threads call it, many at a time. A panic in it is answered 500 and affects no
/// other request.
pub trait Application: Send + Sync + 'static {
    /// The paths that take a JSON body by POST on the TLS listener.
    fn routes(&self) -> &'static [Route];

    /// Answers the body that was posted to one of its routes, before the deadline.
    fn respond(&self, route: &Route, body: &[u8], deadline: Deadline) -> HttpResponse;

    /// Whether it can answer; `Err` is the reason why not, for the readiness response and the log. Each probe calls this on
    /// the thread that dispatches requests, so it must not wait.
    fn ready(&self) -> Result<(), String>;
}

/// A path that takes a POST.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path.
    pub path: &'static str,
    /// The label under which its requests are counted.
    pub label: metrics::Endpoint,
    /// The threads that serve it.
    pub workers: Workers,
}

/// The threads that serve a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// `limits.workers` threads, which all such routes share.
    Shared,
    /// One thread, for requests that are rare and cost far more than others.
    Single,
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// A response for a person to read.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into().into_bytes() }
    }
}
