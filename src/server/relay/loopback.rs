//! One tiny_http server with its private streams, and how it tells the gateway's requests from foreign ones.

use std::io;
use std::mem::ManuallyDrop;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tiny_http::{HeaderField, Request, Server};

use super::exchange::Stream;
use super::incoming::{Incoming, Origin, respond};
use super::opening::Opening;
use crate::base::random;
use crate::metrics::Listener;
use crate::server::HttpResponse;

/// The header that carries the secret, with what the gateway knows of the request.
pub(super) const SECRET_HEADER: &str = "X-Portreeve-Gateway";
/// Stands in that header in place of the origin when a stream is tested.
pub(super) const GREETING: &str = "hello";

/// One tiny_http server.
pub(super) struct Loopback {
    /// Never dropped: its `Drop` expects a socket with a path.
    server: ManuallyDrop<Server>,
    secret: String,
    opened: Instant,
    open_streams: AtomicUsize,
}

/// What arrived at tiny_http.
enum Arrival {
    /// The test of a new stream. Any response will do.
    Greeting,
    /// A client's request.
    Request(Origin),
    /// A request that the gateway did not send.
    Foreign,
}

impl Loopback {
    /// Opens a loopback with all of its streams. Before a stream is greeted, a thread must have begun to receive.
    pub(super) fn open(opening: &Opening) -> io::Result<(Arc<Self>, Vec<Stream>)> {
        let (listener, sockets) = opening.connect()?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let loopback = Arc::new(Self {
            server: ManuallyDrop::new(server),
            secret: random::word()?,
            opened: Instant::now(),
            open_streams: AtomicUsize::new(sockets.len()),
        });
        let streams = sockets.into_iter().map(|socket| Stream::new(Arc::clone(&loopback), socket)).collect();
        Ok((loopback, streams))
    }

    /// Waits for the next request of a client; `None` if something else arrived. An error if the thread was unblocked.
    pub(super) fn receive(&self) -> io::Result<Option<Incoming>> {
        let request = self.server.recv()?;
        match self.arrival(&request) {
            Arrival::Request(origin) => return Ok(Some(Incoming::new(request, origin))),
            Arrival::Greeting => respond(request, HttpResponse::text(200, "hello\n"), None),
            Arrival::Foreign => {
                // No other process has a stream (`opening`). If one has, it gets no response and can send no other request
                // on it. Dropping the request would wait for the rest of its body.
                log::error!("a request that did not come through the gateway was refused");
                std::mem::forget(request);
            }
        }
        Ok(None)
    }

    /// Ends the wait of a thread that receives.
    pub(super) fn unblock(&self) {
        self.server.unblock();
    }

    /// Whether every stream is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.open_streams.load(Ordering::SeqCst) == 0
    }

    /// A stream was closed.
    pub(super) fn release_stream(&self) {
        if self.open_streams.fetch_sub(1, Ordering::SeqCst) == 1 {
            // No request can come any more, so the dispatching thread may end.
            self.unblock();
        }
    }

    /// The first word of [`SECRET_HEADER`].
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The last word of [`SECRET_HEADER`]: when a request began, in microseconds since the loopback was opened. So the time
    /// that the request spends in tiny_http's queue counts as well.
    pub(super) fn micros(&self, first_byte: Instant) -> u128 {
        first_byte.saturating_duration_since(self.opened).as_micros()
    }

    fn arrival(&self, request: &Request) -> Arrival {
        self.read_header(request).unwrap_or(Arrival::Foreign)
    }

    fn read_header(&self, request: &Request) -> Option<Arrival> {
        let field = HeaderField::from_str(SECRET_HEADER).ok()?;
        let header = request.headers().iter().find(|header| header.field == field)?;
        let mut words = header.value.as_str().split(' ');
        let (secret, origin) = (words.next()?, words.next()?);
        if !same_secret(secret.as_bytes(), self.secret.as_bytes()) {
            return None;
        }
        let listener = match origin {
            "tls" => Listener::Tls,
            "plain" => Listener::Plain,
            GREETING => return Some(Arrival::Greeting),
            _ => return None,
        };
        let first_byte = self.opened.checked_add(Duration::from_micros(words.next()?.parse().ok()?))?;
        Some(Arrival::Request(Origin { listener, first_byte }))
    }
}

/// Compares in constant time.
fn same_secret(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |seen, (left, right)| seen | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole() {
        const CASES: [(&str, &str, bool); 6] = [
            ("ab", "ab", true),
            ("ab", "ac", false),
            ("ab", "bb", false),
            ("ab", "a", false),
            ("", "", true),
            ("", "a", false),
        ];
        for (left, right, same) in CASES {
            assert_eq!(same_secret(left.as_bytes(), right.as_bytes()), same, "{left} {right}");
        }
    }
}
