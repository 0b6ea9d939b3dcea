//! A response as bytes, and how much of it the client has taken.

use std::io;

use super::client_stream::ClientStream;
use super::refusal::Refusal;
use crate::server::relay::reason_phrase;
use crate::server::request::RelayResponse;

/// Status line, headers and body are sent in one write up to this size, so that a small response is one TLS record.
const ONE_WRITE: usize = 16 << 10;

/// A response that is being sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The head, and a small body.
    head: Vec<u8>,
    /// A large body. A copy of it would stay in memory for as long as a slow client reads.
    body: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// The response, and whether another one may follow it.
    pub(super) fn response(response: RelayResponse, keep_alive: bool) -> Self {
        let RelayResponse { status, content_type, allow, length, body } = response;
        let mut head = Vec::with_capacity(160 + if body.len() <= ONE_WRITE { body.len() } else { 0 });
        let mut push = |parts: [&str; 3]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
        push(["HTTP/1.1 ", &status.to_string(), " "]);
        push([reason_phrase(status), "\r\nContent-Length: ", &length.to_string()]);
        for (name, value) in [("\r\nContent-Type: ", content_type), ("\r\nAllow: ", allow)] {
            if let Some(value) = value {
                push([name, value, ""]);
            }
        }
        // Always sent: without it an HTTP/1.0 client assumes that the connection is closed, and a 1.1 client that it is not.
        push(["\r\nConnection: ", if keep_alive { "keep-alive" } else { "close" }, "\r\n\r\n"]);
        if body.len() > ONE_WRITE {
            return Self { head, body, sent: 0 };
        }
        head.extend_from_slice(&body);
        Self { head, body: Vec::new(), sent: 0 }
    }

    /// The response to a request that broke a rule.
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let body = format!("{refusal}\n").into_bytes();
        let content_type = Some("text/plain; charset=utf-8");
        let (status, length) = (refusal.status(), body.len());
        Self::response(RelayResponse { status, content_type, allow: None, length, body }, false)
    }

    /// Sends as much as the client takes now. True: it has taken everything.
    pub(super) fn send(&mut self, stream: &mut ClientStream<'_>) -> io::Result<bool> {
        loop {
            let rest = match self.sent.checked_sub(self.head.len()) {
                None => self.head.get(self.sent..),
                Some(sent) => self.body.get(sent..),
            }
            .unwrap_or_default();
            let sent = stream.send(rest)?;
            self.sent += sent;
            if sent < rest.len() || stream.is_sending() {
                return Ok(false);
            }
            if self.sent >= self.head.len() + self.body.len() {
                return Ok(true);
            }
        }
    }
}
