//! One tiny_http server with its private streams, and how it tells the gateway's requests from foreign ones.

use std::io::{self, Write as _};
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tiny_http::Server;

use super::exchange::{greet, read_greeting, respond};
use super::opening::Opening;
use crate::base::random;
use crate::server::HttpResponse;
use crate::server::request::{RelayError, RelayResponse, Request};

/// One tiny_http server.
pub(in crate::server) struct Loopback<T> {
    /// Never dropped: its `Drop` expects a socket with a path.
    server: ManuallyDrop<Server>,
    secret: String,
    slots: Vec<Slot<T>>,
    open_streams: AtomicUsize,
}

/// A stream, and what belongs to the request on it that tiny_http has not handed over yet.
struct Slot<T> {
    socket: UnixStream,
    carried: Mutex<Option<(Instant, T)>>,
}

/// A request that tiny_http has handed over. If it is dropped without a response, its stream must be closed.
pub(in crate::server) struct Received {
    request: tiny_http::Request,
    stream: usize,
}

impl Received {
    /// The number of its stream.
    pub(in crate::server) fn stream(&self) -> usize {
        self.stream
    }
}

/// The header that carries the secret, and behind it the number of the stream. tiny_http reads byte by byte, so the name is
/// short.
const SECRET_HEADER: &str = "P";
/// The longest that a write to a stream or a read from it may take. It takes microseconds: no write is larger than the
/// buffer of the socket, and what is read was written before.
const SOCKET_TIME: Duration = Duration::from_secs(5);

impl<T: AsRef<Request>> Loopback<T> {
    /// Opens a loopback with this number of streams. Each must be greeted, once a thread has begun to receive.
    pub(in crate::server) fn open(opening: &Opening, streams: usize) -> io::Result<Self> {
        let (listener, sockets) = opening.connect(streams)?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        for socket in &sockets {
            socket.set_read_timeout(Some(SOCKET_TIME))?;
            socket.set_write_timeout(Some(SOCKET_TIME))?;
        }
        let open_streams = AtomicUsize::new(sockets.len());
        let slots = sockets.into_iter().map(|socket| Slot { socket, carried: Mutex::new(None) }).collect();
        Ok(Self { server: ManuallyDrop::new(server), secret: random::word()?, slots, open_streams })
    }

    /// Checks that a thread of tiny_http serves each stream.
    pub(in crate::server) fn greet(&self) -> io::Result<()> {
        for (number, slot) in self.slots.iter().enumerate() {
            (&slot.socket).write_all(&self.head(number, "GET", "/"))?;
            read_greeting(&slot.socket).map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }

    /// Sends a request over a stream that carries none. If the stream is dead, what was to be carried is given back.
    pub(in crate::server) fn send(&self, stream: usize, carried: T) -> Result<(), T> {
        let Some(slot) = self.slots.get(stream) else { return Err(carried) };
        // First the slot: tiny_http may hand over the request at once.
        let head = self.head(stream, &carried.as_ref().method, &carried.as_ref().target);
        *slot.lock() = Some((Instant::now(), carried));
        let Err(error) = (&slot.socket).write_all(&head) else { return Ok(()) };
        log::error!("an internal stream is lost: {error}");
        match slot.lock().take() {
            Some((_, carried)) => Err(carried),
            None => Ok(()),
        }
    }

    /// Waits for the next request of a client, and gives back what was sent with it; `None` if something else arrived. An
    /// error if the thread was unblocked.
    pub(in crate::server) fn receive(&self) -> io::Result<Option<(Received, T)>> {
        let request = self.server.recv()?;
        let Some((stream, slot)) = self.slot_of(&request) else {
            // No other process has a stream (`opening`). If one has, it gets no response and can send no other request on it.
            // Dropping the request would wait for the rest of its body.
            log::error!("a request that did not come through the gateway was refused");
            std::mem::forget(request);
            return Ok(None);
        };
        let Some((_, carried)) = slot.lock().take() else {
            // The test of a stream; or a request that was given up, whose stream is closed.
            greet(request);
            return Ok(None);
        };
        Ok(Some((Received { request, stream }, carried)))
    }

    /// Answers a request through tiny_http; `sent` is what was sent. `allow` is the value of the header of that name. After an error the stream must
    /// be closed.
    pub(in crate::server) fn respond(
        &self,
        Received { request, stream }: Received,
        sent: &Request,
        response: HttpResponse,
        allow: Option<&'static str>,
    ) -> Result<RelayResponse, RelayError> {
        if request.method().as_str() != sent.method || request.url() != sent.target {
            return Err(RelayError::Unreadable("the internal HTTP server read another request than it was sent"));
        }
        let slot = self.slots.get(stream).ok_or(RelayError::Unreadable("the stream is unknown"))?;
        respond(request, &slot.socket, response, allow)
    }

    /// Closes a stream. When it was the last one, the threads that receive may end: no request can come any more.
    pub(in crate::server) fn close_stream(&self, stream: usize) {
        let Some(slot) = self.slots.get(stream) else { return };
        // It fails if tiny_http has closed the stream before.
        let _closed = slot.socket.shutdown(Shutdown::Both);
        if self.open_streams.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.unblock();
        }
    }

    /// Whether every stream is closed.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.open_streams.load(Ordering::SeqCst) == 0
    }

    /// Ends the waits of all threads that receive. There are at most as many as there are streams.
    pub(in crate::server) fn unblock(&self) {
        self.slots.iter().for_each(|_| self.server.unblock());
    }

    /// Takes back what was sent longer ago than `time` and has not arrived, with the numbers of the streams.
    pub(in crate::server) fn lost(&self, time: Duration) -> Vec<(usize, T)> {
        let lost = |slot: &Slot<T>| slot.lock().take_if(|(sent, _)| sent.elapsed() > time).map(|(_, carried)| carried);
        self.slots.iter().enumerate().filter_map(|(stream, slot)| Some((stream, lost(slot)?))).collect()
    }

    /// The head of a request. It has only what tiny_http needs: the body and the other headers stay here.
    fn head(&self, stream: usize, method: &str, target: &str) -> Vec<u8> {
        let stream = stream.to_string();
        [method, " ", target, " HTTP/1.1\r\n", SECRET_HEADER, ":", &self.secret, &stream, "\r\n\r\n"]
            .concat()
            .into_bytes()
    }

    /// The slot that a request names; `None` if the request does not come from us.
    fn slot_of(&self, request: &tiny_http::Request) -> Option<(usize, &Slot<T>)> {
        let header = request.headers().iter().find(|header| header.field.equiv(SECRET_HEADER))?;
        let (secret, stream) = header.value.as_str().split_at_checked(self.secret.len())?;
        if !same_secret(secret.as_bytes(), self.secret.as_bytes()) {
            return None;
        }
        let stream = stream.parse().ok()?;
        Some((stream, self.slots.get(stream)?))
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner) // nothing panics while it is held
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

    struct Sent(Request);

    impl AsRef<Request> for Sent {
        fn as_ref(&self) -> &Request {
            &self.0
        }
    }

    fn sent(method: &str, target: &str) -> Sent {
        let (method, target, body) = (method.to_owned(), target.to_owned(), b"not sent".to_vec());
        let (listener, first_byte) = (crate::metrics::Listener::Tls, Instant::now());
        Sent(Request { listener, first_byte, method, target, content_type: None, body })
    }

    fn open() -> Loopback<Sent> {
        Loopback::open(&Opening::default(), 4).unwrap()
    }

    /// What is received next. The end of tiny_http's listening socket is an error, once.
    fn receive(loopback: &Loopback<Sent>) -> Option<(Received, Sent)> {
        loopback.receive().or_else(|_| loopback.receive()).unwrap()
    }

    #[test]
    fn a_request_comes_out_as_it_went_in_and_its_response_as_it_was_given() {
        let loopback = open();
        for (method, target) in [("POST", "/admit?timeout=10s"), ("HEAD", "/x"), ("M-SEARCH", "/%00?;a=\"b'\\")] {
            for stream in 0..4 {
                assert!(loopback.send(stream, sent(method, target)).is_ok());
                let (received, Sent(request)) = receive(&loopback).unwrap();
                assert_eq!((received.stream(), request.body.as_slice()), (stream, &b"not sent"[..]));
                let response = HttpResponse::text(405, "y".repeat(100_000));
                let response = loopback.respond(received, &request, response, Some("GET, HEAD")).unwrap();
                let length = if method == "HEAD" { 0 } else { 100_000 };
                assert_eq!((response.status, response.length, response.body.len()), (405, 100_000, length));
                assert_eq!(
                    (response.allow, response.content_type),
                    (Some("GET, HEAD"), Some("text/plain; charset=utf-8"))
                );
            }
        }
    }

    #[test]
    fn another_request_than_was_sent_is_not_answered() {
        let loopback = open();
        loopback.send(0, sent("GET", "/a")).map_err(drop).unwrap();
        let (received, _) = receive(&loopback).unwrap();
        let response = loopback.respond(received, &sent("GET", "/b").0, HttpResponse::text(200, ""), None);
        assert!(matches!(response, Err(RelayError::Unreadable(_))), "{response:?}");
    }

    #[test]
    fn foreign_requests_get_nothing() {
        let loopback = open();
        loopback.send(0, sent("GET", "/ours")).map_err(drop).unwrap();
        assert!(receive(&loopback).is_some());
        let (secret, other) = (&loopback.secret, "0".repeat(loopback.secret.len()));
        let slot = &loopback.slots[1];
        *slot.lock() = Some((Instant::now(), sent("GET", "/ours")));
        let headers = [
            "A:b".to_owned(),
            format!("P:{other}1"),
            format!("P:{secret}"),
            format!("P:{secret}4"),
            format!("P:{secret}-1"),
            format!("X:{secret}1"),
            format!("P:{}1", secret.split_at(1).1),
        ];
        for header in headers {
            let mut socket = &slot.socket;
            socket.write_all(format!("GET / HTTP/1.1\r\n{header}\r\n\r\n").as_bytes()).unwrap();
            assert!(receive(&loopback).is_none(), "{header:?}");
        }
        assert!(slot.lock().is_some(), "what waits in the slot still waits");
    }

    #[test]
    fn what_does_not_arrive_is_given_up_and_arrives_no_more() {
        let loopback = open();
        loopback.send(2, sent("GET", "/a")).map_err(drop).unwrap();
        assert!(loopback.lost(Duration::from_secs(60)).is_empty());
        std::thread::sleep(Duration::from_millis(2));
        let lost = loopback.lost(Duration::from_millis(1));
        assert!(matches!(lost.as_slice(), [(2, _)]));
        assert!(receive(&loopback).is_none());
        (0..4).for_each(|stream| loopback.close_stream(stream));
        assert!(loopback.is_closed() && loopback.receive().is_err());
        assert!(loopback.send(2, sent("GET", "/a")).is_err(), "a closed stream gives back what is sent");
    }
}
