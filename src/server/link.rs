//! One link over the bridge: a tiny_http server on a socket of its own, the secrets that belong to it, and how a
//! request goes over it.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tiny_http::{HeaderField, Server};

use super::gateway::Timed;
use crate::metrics::Listener;
use crate::random;

/// One tiny_http server and the secrets that belong to it.
pub(super) struct Link {
    pub(super) server: ManuallyDrop<Server>,
    pub(super) address: SocketAddr,
    knock: String,
    seal: String,
    epoch: Instant,
    pub(super) retired: AtomicBool,
    idle: Mutex<Vec<UnixStream>>,
    connecting: Mutex<()>,
    #[cfg(test)]
    pub(super) listener: UnixListener,
}

/// Connections to tiny_http that are kept between requests; each costs it a thread.
const IDLE_STREAMS: usize = 8;
/// An answer's head is ours, and small.
const REPLY_HEAD_BYTES: usize = 4 << 10;
/// Our largest answers are patches and metrics.
const REPLY_BYTES: usize = 32 << 20;
/// A greeting is answered by threads that do nothing else; this is for machines with no time to spare.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// What a greeting says where a request says where it comes from.
const HELLO: &str = "hello";
/// Head and body leave in one write up to here.
const ONE_WRITE: usize = 16 << 10;
/// The header that brings the secret in, with what the gateway knows of the request.
const KNOCK_HEADER: &str = "X-Portreeve-Gateway";
/// The header that seals an answer.
pub(super) const SEAL_HEADER: &str = "X-Portreeve-Seal";

impl Link {
    pub(super) fn open() -> io::Result<Arc<Self>> {
        let name = format!("portreeve-{}", random::word()?);
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        #[cfg(test)]
        let second = listener.try_clone()?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        Ok(Arc::new(Self {
            server: ManuallyDrop::new(server),
            address,
            knock: random::word()?,
            seal: random::word()?,
            epoch: Instant::now(),
            retired: AtomicBool::new(false),
            idle: Mutex::default(),
            connecting: Mutex::default(),
            #[cfg(test)]
            listener: second,
        }))
    }

    /// The seal that answers over this link carry.
    pub(super) fn seal(&self) -> &str {
        &self.seal
    }

    /// Did the gateway send this request? Then, what it is.
    pub(super) fn admit(&self, request: &tiny_http::Request) -> Option<Visit> {
        let field = HeaderField::from_str(KNOCK_HEADER).ok()?;
        let header = request.headers().iter().find(|header| header.field == field)?;
        let mut words = header.value.as_str().split(' ');
        let (knock, visit) = (words.next()?, words.next()?);
        if !same_secret(knock.as_bytes(), self.knock.as_bytes()) {
            return None;
        }
        let listener = match visit {
            "tls" => Listener::Tls,
            "plain" => Listener::Plain,
            HELLO => return Some(Visit::Hello),
            _ => return None,
        };
        let first_byte = self.epoch.checked_add(Duration::from_micros(words.next()?.parse().ok()?))?;
        Some(Visit::Request(Passport { listener, first_byte }))
    }

    /// A connection that a thread of tiny_http serves. `ConnectionRefused` if there is nobody to serve it.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let kept = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(stream) = kept() {
            return Ok(stream);
        }
        let turn = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.retired.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // One may have come back while others had their turn.
        if let Some(stream) = kept() {
            return Ok(stream);
        }
        let stream = self.greet(UnixStream::connect_addr(&self.address)?).map_err(|error| {
            log::error!("the internal HTTP server does not answer: {error}");
            io::Error::from(io::ErrorKind::ConnectionRefused)
        });
        drop(turn);
        stream
    }

    fn greet(&self, stream: UnixStream) -> Result<UnixStream, LinkError> {
        let mut stream = Timed::new(stream, Instant::now() + GREETING_TIME);
        let hello = format!("GET / HTTP/1.1\r\nHost: portreeve\r\n{KNOCK_HEADER}: {} {HELLO}\r\n\r\n", self.knock);
        stream.write_all(hello.as_bytes())?;
        self.receive(&mut stream, false)?;
        Ok(stream.socket)
    }

    pub(super) fn put_back(&self, stream: UnixStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_STREAMS && !self.retired.load(Ordering::SeqCst) {
            idle.push(stream);
        }
    }

    pub(super) fn exchange(&self, stream: &mut Timed<UnixStream>, request: Outgoing<'_>) -> Result<Reply, LinkError> {
        self.send(stream, &request)?;
        let head_only = request.method == "HEAD";
        // The receiving side has its own copy by now.
        drop(request);
        self.receive(stream, head_only)
    }

    fn send(&self, stream: &mut Timed<UnixStream>, request: &Outgoing<'_>) -> io::Result<()> {
        // Since the link's beginning, so that time spent in tiny_http's queue counts as well.
        let micros = request.first_byte.saturating_duration_since(self.epoch).as_micros();
        let (method, target, listener, knock) =
            (request.method, request.target, request.listener.as_str(), &self.knock);
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: portreeve\r\n{KNOCK_HEADER}: {knock} {listener} {micros}\r\n\
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
            return stream.write_all(&head);
        }
        stream.write_all(&head)?;
        stream.write_all(&request.body)
    }

    fn receive(&self, stream: &mut Timed<UnixStream>, head_only: bool) -> Result<Reply, LinkError> {
        let mut bytes = Vec::with_capacity(1024);
        let (mut reply, head) = loop {
            let searched = bytes.len();
            read_some(stream, &mut bytes, REPLY_HEAD_BYTES)?;
            if let Some(end) = super::gateway::end_of_head(&bytes, searched) {
                break (self.read_head(bytes.get(..end).unwrap_or_default())?, end);
            }
            if bytes.len() >= REPLY_HEAD_BYTES {
                return Err(LinkError::Unreadable("the head does not end"));
            }
        };
        bytes.drain(..head);
        if head_only {
            // Anything more would be taken for the beginning of the next answer.
            return match bytes.is_empty() {
                true => Ok(reply),
                false => Err(LinkError::Unreadable("an answer to HEAD has a body")),
            };
        }
        if reply.length > REPLY_BYTES {
            return Err(LinkError::Unreadable("the answer is too large"));
        }
        if bytes.len() < reply.length {
            let missing = reply.length - bytes.len();
            bytes.reserve_exact(missing);
            io::Read::take(&mut *stream, missing as u64).read_to_end(&mut bytes)?;
        }
        if bytes.len() != reply.length {
            return Err(LinkError::Unreadable("the answer is not as long as it says"));
        }
        reply.body = bytes;
        Ok(reply)
    }

    fn read_head(&self, head: &[u8]) -> Result<Reply, LinkError> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(head).map_err(|_| LinkError::Unreadable("the head is not HTTP"))?;
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        if !value(SEAL_HEADER).is_some_and(|seal| same_secret(seal.as_bytes(), self.seal.as_bytes())) {
            return Err(LinkError::Unsealed);
        }
        Ok(Reply {
            status: response.code.ok_or(LinkError::Unreadable("the status is missing"))?,
            content_type: value("Content-Type").map(str::to_owned),
            allow: value("Allow").map(str::to_owned),
            length: value("Content-Length")
                .and_then(|length| length.parse().ok())
                .ok_or(LinkError::Unreadable("the length is missing"))?,
            body: Vec::new(),
        })
    }
}

/// A request on its way in.
pub(super) struct Outgoing<'a> {
    /// Which listener it came from.
    pub(super) listener: Listener,
    /// The method.
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
    /// `Content-Type`.
    pub(super) content_type: Option<&'a str>,
    /// The body, complete.
    pub(super) body: Vec<u8>,
    /// When the request began.
    pub(super) first_byte: Instant,
}

/// What comes over a link.
#[derive(Clone, Copy, Debug)]
pub(super) enum Visit {
    /// A new connection's greeting; any sealed answer will do.
    Hello,
    /// A client's request.
    Request(Passport),
}

/// What the gateway knows of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passport {
    /// Which listener it came from.
    pub(super) listener: Listener,
    /// When it began.
    pub(super) first_byte: Instant,
}

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// `Content-Type`.
    pub(super) content_type: Option<String>,
    /// `Allow`, with a 405.
    pub(super) allow: Option<String>,
    /// The body's length; with HEAD, what it would be.
    pub(super) length: usize,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// Reads at least one byte.
fn read_some(stream: &mut Timed<UnixStream>, bytes: &mut Vec<u8>, most: usize) -> io::Result<()> {
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

/// Compares without telling by its time how much was right.
fn same_secret(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |seen, (left, right)| seen | (left ^ right)) == 0
}

/// A request got no answer.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The socket failed; `TimedOut` if the answer took too long.
    Io(io::Error),
    /// The answer cannot be read.
    Unreadable(&'static str),
    /// Somebody else answered, or a bug in us did.
    Unsealed,
}

impl LinkError {
    /// Was there simply no answer in time?
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => write!(f, "the internal socket failed: {source}"),
            Self::Unreadable(what) => write!(f, "the internal answer cannot be read: {what}"),
            Self::Unsealed => write!(f, "the internal answer does not carry our seal"),
        }
    }
}

impl std::error::Error for LinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Unreadable(_) | Self::Unsealed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link whose name somebody else has taken over, who answers `answer` to whatever comes.
    fn taken_over(answer: impl Fn(&Link) -> String) -> (Link, std::thread::JoinHandle<()>) {
        let mut link = Arc::into_inner(Link::open().unwrap()).unwrap();
        link.address = SocketAddr::from_abstract_name(random::word().unwrap()).unwrap();
        let listener = UnixListener::bind_addr(&link.address).unwrap();
        let text = answer(&link);
        let impostor = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 4096];
            assert!(stream.read(&mut seen).unwrap() > 0);
            stream.write_all(text.as_bytes()).unwrap();
            if text.is_empty() {
                // Silent, but there: until the other side has had enough.
                assert_eq!(stream.read(&mut seen).unwrap(), 0);
            }
        });
        (link, impostor)
    }

    fn ask(answer: impl Fn(&Link) -> String) -> Result<Reply, LinkError> {
        let (link, impostor) = taken_over(answer);
        let stream = UnixStream::connect_addr(&link.address).unwrap();
        let mut stream = Timed::new(stream, Instant::now() + Duration::from_millis(500));
        let request = Outgoing {
            listener: Listener::Tls,
            method: "POST",
            target: "/admit",
            content_type: None,
            body: b"{}".to_vec(),
            first_byte: Instant::now(),
        };
        let reply = link.exchange(&mut stream, request);
        drop(stream);
        impostor.join().unwrap();
        reply
    }

    #[test]
    fn only_sealed_and_complete_answers_are_believed() {
        let sealed = |link: &Link, rest: &str| format!("HTTP/1.1 200 OK\r\n{SEAL_HEADER}: {}\r\n{rest}", link.seal);
        let body = "Content-Length: 2\r\n\r\n{}";
        let good = ask(|link| sealed(link, body)).unwrap();
        assert_eq!((good.status, good.body.as_slice()), (200, &b"{}"[..]));

        assert!(matches!(ask(|_| format!("HTTP/1.1 200 OK\r\n{body}")), Err(LinkError::Unsealed)));
        // What came in with the request is not what seals the answer.
        let forged = ask(|link| format!("HTTP/1.1 200 OK\r\n{SEAL_HEADER}: {}\r\n{body}", link.knock));
        assert!(matches!(forged, Err(LinkError::Unsealed)));

        for rest in
            ["\r\n", "Content-Length: 2\r\n\r\n{", "Content-Length: 2\r\n\r\n{}{}", "Content-Length: -1\r\n\r\n"]
        {
            let reply = ask(|link| sealed(link, rest));
            assert!(matches!(reply, Err(LinkError::Unreadable(_))), "{rest:?}: {reply:?}");
        }
        let huge = format!("Content-Length: {}\r\n\r\n", REPLY_BYTES + 1);
        assert!(matches!(ask(|link| sealed(link, &huge)), Err(LinkError::Unreadable("the answer is too large"))));
        let long = format!("X: {}\r\n\r\n", "y".repeat(REPLY_HEAD_BYTES));
        assert!(matches!(ask(|link| sealed(link, &long)), Err(LinkError::Unreadable(_))));
    }

    #[test]
    fn an_answer_that_never_comes_is_told_from_one_that_is_wrong() {
        let reply = ask(|_| String::new());
        assert!(reply.as_ref().is_err_and(LinkError::is_timeout), "{reply:?}");
        assert!(!LinkError::Unsealed.is_timeout());
    }

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
