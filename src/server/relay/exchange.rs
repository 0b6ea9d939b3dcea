//! One request over one stream of a loopback: written as HTTP, and its response read back under caps.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::loopback::{GREETING, Loopback, SECRET_HEADER};
use crate::metrics::Listener;
use crate::server::gateway::end_of_head;
use crate::server::stream::DeadlineStream;

/// The most bytes of a response's head. We write it ourselves, and it is small.
const RESPONSE_HEAD_BYTES: usize = 4 << 10;
/// The most bytes of a response. The largest ones are patches and metrics.
const RESPONSE_BYTES: usize = 32 << 20;
/// The longest that a greeting may take. Idle threads answer it at once, unless the machine is overloaded.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// Head and body are sent in one write up to this size.
const ONE_WRITE: usize = 16 << 10;

/// A connection to tiny_http, which serves it with a thread of its own.
pub(super) struct Stream {
    loopback: Arc<Loopback>,
    socket: DeadlineStream<UnixStream>,
}

/// A request to relay.
pub(in crate::server) struct RelayRequest<'a> {
    /// Whether it is a health probe, for which a stream is reserved.
    pub(in crate::server) is_probe: bool,
    /// The listener on which it came.
    pub(in crate::server) listener: Listener,
    /// When its first byte arrived.
    pub(in crate::server) first_byte: Instant,
    /// The method.
    pub(in crate::server) method: &'a str,
    /// Path and query.
    pub(in crate::server) target: &'a str,
    /// `Content-Type`.
    pub(in crate::server) content_type: Option<&'a str>,
    /// The whole body.
    pub(in crate::server) body: Vec<u8>,
}

/// The response to a relayed request.
#[derive(Debug)]
pub(in crate::server) struct RelayResponse {
    /// The status.
    pub(in crate::server) status: u16,
    /// `Content-Type`.
    pub(in crate::server) content_type: Option<String>,
    /// `Allow`, with a 405.
    pub(in crate::server) allow: Option<String>,
    /// The body's length; for HEAD, the length that GET would give.
    pub(in crate::server) length: usize,
    /// The body.
    pub(in crate::server) body: Vec<u8>,
}

impl Stream {
    pub(super) fn new(loopback: Arc<Loopback>, socket: UnixStream) -> Self {
        Self { loopback, socket: DeadlineStream::new(socket, Instant::now()) }
    }

    /// Checks that a thread of tiny_http serves this stream.
    pub(super) fn greet(&mut self) -> Result<(), RelayError> {
        self.socket.set_deadline(Instant::now() + GREETING_TIME);
        let secret = self.loopback.secret();
        let greeting = format!("GET / HTTP/1.1\r\nHost: portreeve\r\n{SECRET_HEADER}: {secret} {GREETING}\r\n\r\n");
        self.socket.write_all(greeting.as_bytes())?;
        receive(&mut self.socket, false).map(drop)
    }

    /// The response to a request, by `deadline`.
    pub(super) fn exchange(
        &mut self,
        request: RelayRequest<'_>,
        deadline: Instant,
    ) -> Result<RelayResponse, RelayError> {
        self.socket.set_deadline(deadline);
        self.send(&request)?;
        let head_only = request.method == "HEAD";
        // The receiving side has a copy of the body by now.
        drop(request);
        receive(&mut self.socket, head_only)
    }

    fn send(&mut self, request: &RelayRequest<'_>) -> io::Result<()> {
        let (secret, micros) = (self.loopback.secret(), self.loopback.micros(request.first_byte));
        let (method, target, listener) = (request.method, request.target, request.listener.as_str());
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: portreeve\r\n{SECRET_HEADER}: {secret} {listener} {micros}\r\n\
             Content-Length: {}\r\n",
            request.body.len()
        )
        .into_bytes();
        if let Some(content_type) = request.content_type {
            head.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        if head.len() + request.body.len() <= ONE_WRITE {
            head.extend_from_slice(&request.body);
            return self.socket.write_all(&head);
        }
        self.socket.write_all(&head)?;
        self.socket.write_all(&request.body)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.loopback.release_stream();
    }
}

fn receive(stream: &mut DeadlineStream<UnixStream>, head_only: bool) -> Result<RelayResponse, RelayError> {
    let mut bytes = Vec::with_capacity(1024);
    let (mut response, head) = loop {
        let searched = bytes.len();
        read_some(stream, &mut bytes, RESPONSE_HEAD_BYTES)?;
        if let Some(end) = end_of_head(&bytes, searched) {
            break (read_head(bytes.get(..end).unwrap_or_default())?, end);
        }
        if bytes.len() >= RESPONSE_HEAD_BYTES {
            return Err(RelayError::Unreadable("the head does not end"));
        }
    };
    bytes.drain(..head);
    if head_only {
        // More bytes would be read as the beginning of the next response.
        return match bytes.is_empty() {
            true => Ok(response),
            false => Err(RelayError::Unreadable("a response to HEAD has a body")),
        };
    }
    if response.length > RESPONSE_BYTES {
        return Err(RelayError::Unreadable("the response is too large"));
    }
    if bytes.len() < response.length {
        let missing = response.length - bytes.len();
        bytes.reserve_exact(missing);
        io::Read::take(&mut *stream, missing as u64).read_to_end(&mut bytes)?;
    }
    if bytes.len() != response.length {
        return Err(RelayError::Unreadable("the response is not as long as its head says"));
    }
    response.body = bytes;
    Ok(response)
}

fn read_head(head: &[u8]) -> Result<RelayResponse, RelayError> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|_| RelayError::Unreadable("the head is not HTTP"))?;
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    Ok(RelayResponse {
        status: response.code.ok_or(RelayError::Unreadable("the status is missing"))?,
        content_type: value("Content-Type").map(str::to_owned),
        allow: value("Allow").map(str::to_owned),
        length: value("Content-Length")
            .and_then(|length| length.parse().ok())
            .ok_or(RelayError::Unreadable("the length is missing"))?,
        body: Vec::new(),
    })
}

/// Reads at least one byte.
fn read_some(stream: &mut DeadlineStream<UnixStream>, bytes: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let room = most.saturating_sub(bytes.len()).min(buffer.len());
    match stream.read(buffer.get_mut(..room).unwrap_or_default())? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
            Ok(())
        }
    }
}

/// A request got no response.
#[derive(Debug)]
pub(in crate::server) enum RelayError {
    /// The socket failed; `TimedOut` if the response took too long.
    Io(io::Error),
    /// The response cannot be read.
    Unreadable(&'static str),
}

impl RelayError {
    /// Whether there was no response in time.
    pub(in crate::server) fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

impl From<io::Error> for RelayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => write!(f, "the internal socket failed: {source}"),
            Self::Unreadable(reason) => write!(f, "the internal response cannot be read: {reason}"),
        }
    }
}

impl std::error::Error for RelayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Unreadable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: &str) -> Result<RelayResponse, RelayError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(response.as_bytes()).unwrap();
        receive(&mut DeadlineStream::new(ours, Instant::now() + Duration::from_millis(300)), false)
    }

    #[test]
    fn only_complete_answers_are_believed() {
        let begin = "HTTP/1.1 200 OK\r\n";
        let good = read(&format!("{begin}Content-Length: 2\r\n\r\n{{}}")).unwrap();
        assert_eq!((good.status, good.body.as_slice()), (200, &b"{}"[..]));
        for rest in ["\r\n", "Content-Length: 2\r\n\r\n{}{}", "Content-Length: -1\r\n\r\n"] {
            let response = read(&format!("{begin}{rest}"));
            assert!(matches!(response, Err(RelayError::Unreadable(_))), "{rest:?}: {response:?}");
        }
        let huge = format!("{begin}Content-Length: {}\r\n\r\n", RESPONSE_BYTES + 1);
        assert!(matches!(read(&huge), Err(RelayError::Unreadable("the response is too large"))));
        let long = format!("{begin}X: {}\r\n\r\n", "y".repeat(RESPONSE_HEAD_BYTES));
        assert!(matches!(read(&long), Err(RelayError::Unreadable(_))));
        assert!(read("").is_err_and(|error| error.is_timeout()), "a response that never comes is a timeout");
    }
}
