//! One link over the bridge: a tiny_http server with the few connections that it will ever have, and how a request goes
//! over one of them.
//!
//! tiny_http needs a listening socket, and knows no limits: each connection that it accepts costs a thread and two
//! descriptors for as long as the other side likes. Any process in the same network namespace could connect to such a socket.
//! So it listens for a moment only: the socket is bound, our own connections are made, and it is shut before tiny_http sees
//! it. tiny_http accepts those and no more; if another process was quick enough to get in between, which the kernel's
//! table of sockets shows, nothing was accepted yet, and all is thrown away.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tiny_http::{HeaderField, Server};

use crate::base::random;
use crate::metrics::Listener;
use crate::server::stream::Timed;

/// One tiny_http server.
pub(crate) struct Link {
    /// Never dropped: its `Drop` expects a socket with a path.
    pub(crate) server: ManuallyDrop<Server>,
    secret: String,
    epoch: Instant,
    /// Streams that are not closed yet.
    alive: AtomicUsize,
}

/// A connection to tiny_http, which a thread of its own serves there.
pub(crate) struct Stream {
    link: Arc<Link>,
    socket: Timed<UnixStream>,
}

/// The connections of a link: tiny_http starts so many threads by itself. With more, it would hand two connections to one
/// thread, and the second would wait until the first is closed.
pub(crate) const STREAMS: usize = 4;
/// Names that are tried, where other processes get in between.
const ATTEMPTS: usize = 30;
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
const SECRET_HEADER: &str = "X-Portreeve-Gateway";
/// The kernel's table of Unix sockets.
const SOCKETS: &str = "/proc/self/net/unix";

impl Link {
    /// Opens a link, with all of its streams. Who takes requests off it must have begun to before they are greeted.
    pub(crate) fn open(opening: &Opening) -> io::Result<(Arc<Self>, Vec<Stream>)> {
        let (listener, sockets) = opening.connect()?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let link = Arc::new(Self {
            server: ManuallyDrop::new(server),
            secret: random::word()?,
            epoch: Instant::now(),
            alive: AtomicUsize::new(sockets.len()),
        });
        let stream = |socket| Stream { link: Arc::clone(&link), socket: Timed::new(socket, Instant::now()) };
        let streams = sockets.into_iter().map(stream).collect();
        Ok((link, streams))
    }

    /// Is no stream left?
    pub(crate) fn is_closed(&self) -> bool {
        self.alive.load(Ordering::SeqCst) == 0
    }

    /// Did the gateway send this request? Then, what it is.
    pub(crate) fn admit(&self, request: &tiny_http::Request) -> Option<Visit> {
        let field = HeaderField::from_str(SECRET_HEADER).ok()?;
        let header = request.headers().iter().find(|header| header.field == field)?;
        let mut words = header.value.as_str().split(' ');
        let (secret, visit) = (words.next()?, words.next()?);
        if !same_secret(secret.as_bytes(), self.secret.as_bytes()) {
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
}

/// A socket that is being opened. Whoever waits for it may give it up: where others fill its queue while we are not given
/// a processor, our own connection would wait for ever.
#[derive(Default)]
pub(crate) struct Opening(Mutex<Option<UnixListener>>);

impl Opening {
    /// A socket that has our connections, and will never have another.
    fn connect(&self) -> io::Result<(UnixListener, Vec<UnixStream>)> {
        for _ in 0..ATTEMPTS {
            let name = format!("portreeve-{}", random::word()?);
            let address = SocketAddr::from_abstract_name(&name)?;
            *self.lock() = Some(UnixListener::bind_addr(&address)?);
            let streams = (0..STREAMS).map(|_| UnixStream::connect_addr(&address)).collect::<io::Result<Vec<_>>>()?;
            let Some(listener) = self.lock().take() else { return Err(io::ErrorKind::TimedOut.into()) };
            // Shut, it refuses who comes now, and still gives out who came before.
            UnixStream::from(OwnedFd::from(listener.try_clone()?)).shutdown(Shutdown::Both)?;
            // Itself, and our connections.
            if sockets_named(&name) <= 1 + STREAMS {
                return Ok((listener, streams));
            }
            log::warn!("another process connected to the internal socket as it was opened; it was thrown away");
        }
        Err(io::Error::other("other processes of this network namespace connect to the internal socket all the time"))
    }

    /// Closes the socket: connections that wait for it are refused.
    pub(crate) fn give_up(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnixListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many sockets have this name: a listening one, and those that it has made. None, if nobody can tell.
fn sockets_named(name: &str) -> usize {
    let Ok(table) = File::open(SOCKETS) else { return 0 };
    let end = format!("@{name}").into_bytes();
    BufReader::new(table).split(b'\n').map_while(Result::ok).filter(|line| line.ends_with(&end)).count()
}

impl Stream {
    /// Finds out whether a thread of tiny_http serves this stream.
    pub(crate) fn greet(&mut self) -> Result<(), LinkError> {
        self.socket.set_deadline(Instant::now() + GREETING_TIME);
        let hello =
            format!("GET / HTTP/1.1\r\nHost: portreeve\r\n{SECRET_HEADER}: {} {HELLO}\r\n\r\n", self.link.secret);
        self.socket.write_all(hello.as_bytes())?;
        receive(&mut self.socket, false).map(drop)
    }

    /// Has a request answered, by `deadline`.
    pub(crate) fn exchange(&mut self, request: Outgoing<'_>, deadline: Instant) -> Result<Reply, LinkError> {
        self.socket.set_deadline(deadline);
        self.send(&request)?;
        let head_only = request.method == "HEAD";
        // The receiving side has its own copy by now.
        drop(request);
        receive(&mut self.socket, head_only)
    }

    fn send(&mut self, request: &Outgoing<'_>) -> io::Result<()> {
        let Link { epoch, secret, .. } = &*self.link;
        // Since the link's beginning, so that time spent in tiny_http's queue counts as well.
        let micros = request.first_byte.saturating_duration_since(*epoch).as_micros();
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
        if self.link.alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing comes over this link any more: its dispatching thread may end.
            self.link.server.unblock();
        }
    }
}

fn receive(stream: &mut Timed<UnixStream>, head_only: bool) -> Result<Reply, LinkError> {
    let mut bytes = Vec::with_capacity(1024);
    let (mut reply, head) = loop {
        let searched = bytes.len();
        read_some(stream, &mut bytes, REPLY_HEAD_BYTES)?;
        if let Some(end) = crate::server::gateway::end_of_head(&bytes, searched) {
            break (read_head(bytes.get(..end).unwrap_or_default())?, end);
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

fn read_head(head: &[u8]) -> Result<Reply, LinkError> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|_| LinkError::Unreadable("the head is not HTTP"))?;
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
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

/// A request on its way in.
pub(crate) struct Outgoing<'a> {
    /// A health probe has a stream of its own.
    pub(crate) is_probe: bool,
    /// Which listener it came from.
    pub(crate) listener: Listener,
    /// The method.
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// `Content-Type`.
    pub(crate) content_type: Option<&'a str>,
    /// The body, complete.
    pub(crate) body: Vec<u8>,
    /// When the request began.
    pub(crate) first_byte: Instant,
}

/// What comes over a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Visit {
    /// A new stream's greeting; any answer will do.
    Hello,
    /// A client's request.
    Request(Passport),
}

/// What the gateway knows of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passport {
    /// Which listener it came from.
    pub(crate) listener: Listener,
    /// When it began.
    pub(crate) first_byte: Instant,
}

/// An answer on its way out.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// `Allow`, with a 405.
    pub(crate) allow: Option<String>,
    /// The body's length; with HEAD, what it would be.
    pub(crate) length: usize,
    /// The body.
    pub(crate) body: Vec<u8>,
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
pub(crate) enum LinkError {
    /// The socket failed; `TimedOut` if the answer took too long.
    Io(io::Error),
    /// The answer cannot be read.
    Unreadable(&'static str),
}

impl LinkError {
    /// Was there simply no answer in time?
    pub(crate) fn is_timeout(&self) -> bool {
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
        }
    }
}

impl std::error::Error for LinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Unreadable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// What is made of an answer.
    fn read(answer: &str) -> Result<Reply, LinkError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer.as_bytes()).unwrap();
        receive(&mut Timed::new(ours, Instant::now() + Duration::from_millis(300)), false)
    }

    #[test]
    fn only_complete_answers_are_believed() {
        let begin = "HTTP/1.1 200 OK\r\n";
        let good = read(&format!("{begin}Content-Length: 2\r\n\r\n{{}}")).unwrap();
        assert_eq!((good.status, good.body.as_slice()), (200, &b"{}"[..]));
        for rest in ["\r\n", "Content-Length: 2\r\n\r\n{}{}", "Content-Length: -1\r\n\r\n"] {
            let reply = read(&format!("{begin}{rest}"));
            assert!(matches!(reply, Err(LinkError::Unreadable(_))), "{rest:?}: {reply:?}");
        }
        let huge = format!("{begin}Content-Length: {}\r\n\r\n", REPLY_BYTES + 1);
        assert!(matches!(read(&huge), Err(LinkError::Unreadable("the answer is too large"))));
        let long = format!("{begin}X: {}\r\n\r\n", "y".repeat(REPLY_HEAD_BYTES));
        assert!(matches!(read(&long), Err(LinkError::Unreadable(_))));
        assert!(read("").is_err_and(|error| error.is_timeout()), "one that never comes is told from one that is wrong");
    }

    /// The names of all listening sockets like ours.
    fn listening() -> Vec<String> {
        let table = std::fs::read(SOCKETS).unwrap();
        let table = String::from_utf8_lossy(&table);
        let named = table.lines().filter_map(|line| line.split_once("@portreeve-"));
        named.map(|(_, word)| format!("portreeve-{word}")).collect()
    }

    #[test]
    fn nobody_else_gets_a_connection() {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let intruder = scope.spawn(|| {
                let mut got = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    for name in listening() {
                        got.extend(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()));
                    }
                }
                got.len()
            });
            let mut opened = 0;
            for _ in 0..100 {
                // One that others spoil for good is an error, and nothing is kept of it.
                let Ok((listener, streams)) = Opening::default().connect() else { continue };
                opened += 1;
                listener.set_nonblocking(true).unwrap();
                for mut ours in streams {
                    ours.write_all(b"ours").unwrap();
                    let (mut accepted, _) = listener.accept().unwrap();
                    accepted.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
                    let mut word = [0; 4];
                    accepted.read_exact(&mut word).unwrap();
                    assert_eq!(&word, b"ours");
                }
                assert!(listener.accept().is_err(), "there is another one");
            }
            over.store(true, Ordering::SeqCst);
            assert!(opened > 0);
            eprintln!("another process got in between {} times; {opened} of 100 opened", intruder.join().unwrap());
        });
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
