//! A request as it arrives from tiny_http, and how it is answered there.

use std::io::Read as _;
use std::time::Instant;

use tiny_http::{Header, Request, Response, StatusCode};

use crate::metrics::Listener;
use crate::server::HttpResponse;

/// A client's request. Dropped without a response, it is answered 500.
pub(in crate::server) struct Incoming {
    request: Request,
    origin: Origin,
}

/// What the gateway knows of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Origin {
    /// The listener on which it came.
    pub(in crate::server) listener: Listener,
    /// When its first byte arrived.
    pub(in crate::server) first_byte: Instant,
}

impl Incoming {
    pub(super) fn new(request: Request, origin: Origin) -> Self {
        Self { request, origin }
    }

    pub(in crate::server) fn origin(&self) -> Origin {
        self.origin
    }

    pub(in crate::server) fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// Path and query.
    pub(in crate::server) fn target(&self) -> &str {
        self.request.url()
    }

    pub(in crate::server) fn content_type(&self) -> Option<&str> {
        let header = self.request.headers().iter().find(|header| header.field.equiv("Content-Type"));
        header.map(|header| header.value.as_str())
    }

    /// The whole body, whose length the gateway has checked; `None` if it ends early.
    pub(in crate::server) fn read_body(&mut self) -> Option<Vec<u8>> {
        let length = self.request.body_length().unwrap_or(0);
        let mut body = Vec::new();
        body.try_reserve_exact(length).ok()?;
        let read = self.request.as_reader().take(length as u64).read_to_end(&mut body);
        (read.ok()? == length).then_some(body)
    }

    /// Answers it. `allow` is the value of the header of that name.
    pub(in crate::server) fn respond(self, response: HttpResponse, allow: Option<&'static str>) {
        respond(self.request, response, allow);
    }
}

pub(super) fn respond(request: Request, response: HttpResponse, allow: Option<&'static str>) {
    let HttpResponse { status, content_type, body } = response;
    let headers = [("Content-Type", Some(content_type)), ("Allow", allow)];
    let headers = headers.into_iter().filter_map(|(name, value)| Header::from_bytes(name, value?).ok()).collect();
    let response = Response::new(StatusCode(status), headers, body.as_slice(), Some(body.len()), None)
        // Never chunked: the gateway reads by Content-Length.
        .with_chunked_threshold(usize::MAX);
    if let Err(error) = request.respond(response) {
        log::debug!("a response could not be handed to the gateway: {error}");
    }
}

/// The reason phrase of a status.
pub(in crate::server) fn reason_phrase(status: u16) -> &'static str {
    StatusCode(status).default_reason_phrase()
}
