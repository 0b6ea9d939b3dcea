//! One connection: wait for a request, read all of it, relay it, write the response, and begin again.
//!
//! Nothing is passed on before the request is complete and valid. Each phase has one deadline. A request that breaks a rule
//! gets a short response, and the connection is closed.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::body_budget::{Body, BodyBudget, BudgetExhausted};
use super::connections::{ConnectionGuard, NoPermit, RequestKind};
use super::head::{Head, HeadError};
use super::request_reader::{ReadError, RequestReader};
use crate::metrics::{Limit, Listener, Metrics};
use crate::server::dispatcher::Dispatcher;
use crate::server::relay::reason_phrase;
use crate::server::request::{RelayError, RelayResponse, Reply, Request};
use crate::server::settings::Limits;
use crate::server::stream::ClientStream;
use crate::server::timeout;

/// What the connections of a listener share.
pub(super) struct Context {
    pub(super) listener: Listener,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) budget: Arc<BodyBudget>,
}

impl Context {
    fn body_bytes(&self) -> usize {
        match self.listener {
            Listener::Tls => self.limits.request_bytes,
            // No path of the plain listener takes a body. A small one is read so that the client gets a response.
            Listener::Plain => self.limits.request_bytes.min(4 << 10),
        }
    }

    /// How long a connection may wait for a request. Before its first request it has less time: a client connects to send one,
    /// and connections without a request are the cheapest way to keep other clients out.
    fn idle_time(&self, served: bool) -> Duration {
        let idle_time = match served {
            true => self.limits.idle_time,
            false => self.limits.idle_time.min(self.limits.request_time),
        };
        match self.listener {
            Listener::Tls => idle_time,
            // Probes and scrapers connect again, and the plain listener has few places.
            Listener::Plain => idle_time.min(Duration::from_secs(5)),
        }
    }

    fn kind(&self, target: &str) -> RequestKind {
        match (target.split('?').next().unwrap_or_default(), self.listener) {
            ("/health/liveness" | "/health/readiness", _) => RequestKind::Health,
            ("/metrics", Listener::Plain) => RequestKind::Metrics,
            _ => RequestKind::Other,
        }
    }

    /// How long a relayed request may take. Kubernetes waits less, so a later response would have no reader.
    fn relay_time(&self) -> Duration {
        self.limits.admission_time.max(timeout::LONGEST) + Duration::from_secs(5)
    }
}

/// How long closing a connection may take, so that a client that is still sending sees the response.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) fn serve(context: &Context, stream: ClientStream, guard: &ConnectionGuard) {
    let reader = RequestReader::new(context.limits.head_bytes);
    let mut connection = Connection { context, guard, stream, reader, served: false };
    let end = loop {
        match connection.request() {
            Ok(Next::KeepAlive) => {}
            Ok(Next::Close) => break Ok(()),
            Err(End::Refused(refusal)) => break connection.refuse(&refusal),
            Err(End::Gone(error)) => break Err(error),
        }
    };
    match end {
        Ok(()) => {
            // The response is written. From now on the connection may be closed if its place is needed.
            guard.receiving();
            connection.stream.finish(Instant::now() + LINGER);
        }
        Err(error) => log::debug!("a connection ended: {error}"),
    }
}

struct Connection<'a> {
    context: &'a Context,
    guard: &'a ConnectionGuard,
    stream: ClientStream,
    reader: RequestReader,
    /// Whether a request was answered on it.
    served: bool,
}

/// Gives a response to the thread of its connection.
struct Waker(SyncSender<Result<RelayResponse, RelayError>>);

impl Reply for Waker {
    fn reply(self: Box<Self>, response: Result<RelayResponse, RelayError>) {
        // The connection may have given up.
        let _given_up = self.0.send(response);
    }
}

/// What happens after a response.
enum Next {
    KeepAlive,
    Close,
}

impl<'a> Connection<'a> {
    /// One request, from the wait for it to its response.
    fn request(&mut self) -> Result<Next, End> {
        if self.reader.is_empty() && !self.wait()? {
            return Ok(Next::Close);
        }
        self.guard.receiving();
        let first_byte = Instant::now();
        let head = self.head(first_byte)?;
        self.stream.set_deadline(first_byte + self.context.limits.request_time);
        let mut body = self.body(&head)?;
        let kind = self.context.kind(&head.target);
        self.guard.answering(kind).map_err(|no_permit| match no_permit {
            // The client cannot read a response any more.
            NoPermit::Closed => End::Gone(io::ErrorKind::ConnectionAborted.into()),
            NoPermit::Busy => End::Refused(Refusal::Busy),
        })?;
        let keep_alive = head.keep_alive;
        let response = self.relay(head, body.take(), first_byte)?;
        self.guard.writing();
        // A client that does not read its response holds as much memory as one that does not end its request.
        body.reserve_response(response.body.len())?;
        let keep_alive = keep_alive && self.guard.may_keep_alive();
        self.respond(&response, keep_alive)?;
        self.served = true;
        Ok(if keep_alive { Next::KeepAlive } else { Next::Close })
    }

    /// Waits for the first bytes of a request. False: there will be none.
    fn wait(&mut self) -> Result<bool, End> {
        if !self.guard.waiting() {
            return Ok(false);
        }
        self.stream.set_deadline(Instant::now() + self.context.idle_time(self.served));
        match self.reader.fill(&mut self.stream) {
            Ok(read) => Ok(read > 0),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.context.metrics.limit(Limit::IdleTime);
                Ok(false)
            }
            Err(error) => Err(End::Gone(error)),
        }
    }

    fn head(&mut self, first_byte: Instant) -> Result<Head, End> {
        let Limits { head_time, request_time, .. } = self.context.limits;
        let limit = if head_time < request_time { Limit::HeadTime } else { Limit::RequestTime };
        self.stream.set_deadline(first_byte + head_time.min(request_time));
        self.reader.head(&mut self.stream).map_err(|error| End::of(error, limit))
    }

    fn body(&mut self, head: &Head) -> Result<Body<'a>, End> {
        let most = self.context.body_bytes();
        if head.content_length > most {
            return Err(End::Refused(Refusal::BodyTooLarge(most)));
        }
        if head.expects_continue && head.content_length > 0 && self.reader.is_empty() {
            self.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .and_then(|()| self.stream.flush())
                .map_err(End::Gone)?;
        }
        let context = self.context;
        let mut body = context.budget.body(head.content_length);
        self.reader.body(&mut self.stream, &mut body).map_err(|error| End::of(error, Limit::RequestTime))?;
        Ok(body)
    }

    fn relay(&self, head: Head, body: Vec<u8>, first_byte: Instant) -> Result<RelayResponse, End> {
        let Head { method, target, content_type, .. } = head;
        let (send, receive) = sync_channel(1);
        let request = Request { listener: self.context.listener, first_byte, method, target, content_type, body };
        self.context.dispatcher.submit(request, Box::new(Waker(send)));
        match receive.recv_timeout(self.context.relay_time()) {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                log::error!("a request got no response: {error}");
                Err(End::Refused(Refusal::NoResponse))
            }
            Err(RecvTimeoutError::Disconnected) => Err(End::Refused(Refusal::NoResponse)),
            Err(RecvTimeoutError::Timeout) => {
                log::error!("a request got no response in time");
                Err(End::Refused(Refusal::NoResponseInTime))
            }
        }
    }

    fn respond(&mut self, response: &RelayResponse, keep_alive: bool) -> Result<(), End> {
        self.stream.set_deadline(Instant::now() + self.context.limits.answer_time);
        write_response(&mut self.stream, response, keep_alive).map_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                self.context.metrics.limit(Limit::AnswerTime);
            }
            End::Gone(error)
        })
    }

    /// Responds to a request that broke a rule. The connection is closed then, because it is not known where the next request
    /// would begin.
    fn refuse(&mut self, refusal: &Refusal) -> io::Result<()> {
        if let Some(limit) = refusal.limit() {
            self.context.metrics.limit(limit);
        }
        log::debug!("a request is refused: {refusal}");
        let body = format!("{refusal}\n").into_bytes();
        let response = RelayResponse {
            status: refusal.status(),
            content_type: Some("text/plain; charset=utf-8"),
            allow: None,
            length: body.len(),
            body,
        };
        self.stream.set_deadline(Instant::now() + self.context.limits.answer_time.min(LINGER));
        write_response(&mut self.stream, &response, false)
    }
}

/// Status line, headers and body are sent in one write up to this size, so that a small response is one TLS record.
const ONE_WRITE: usize = 16 << 10;

fn write_response(stream: &mut ClientStream, response: &RelayResponse, keep_alive: bool) -> io::Result<()> {
    let reason = reason_phrase(response.status);
    let mut head = format!("HTTP/1.1 {} {reason}\r\nContent-Length: {}\r\n", response.status, response.length);
    for (name, value) in [("Content-Type", response.content_type), ("Allow", response.allow)] {
        if let Some(value) = value {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    // Always sent: without it an HTTP/1.0 client assumes that the connection is closed, and a 1.1 client that it is not.
    head.push_str(if keep_alive { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
    let mut bytes = head.into_bytes();
    if bytes.len() + response.body.len() <= ONE_WRITE {
        bytes.extend_from_slice(&response.body);
        stream.write_all(&bytes)?;
    } else {
        // A copy of a large body would stay in memory for as long as a slow client reads.
        stream.write_all(&bytes)?;
        stream.write_all(&response.body)?;
    }
    stream.flush()
}

/// Why a connection ends early.
enum End {
    /// A request broke a rule. The client gets a response.
    Refused(Refusal),
    /// The client is gone.
    Gone(io::Error),
}

impl End {
    /// The end after a failed read; `limit` is the time limit of that read.
    fn of(error: ReadError, limit: Limit) -> Self {
        match error {
            ReadError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::Refused(Refusal::TooSlow(limit)),
            ReadError::Io(error) => Self::Gone(error),
            refused => Self::Refused(Refusal::Read(refused)),
        }
    }
}

impl From<BudgetExhausted> for End {
    fn from(error: BudgetExhausted) -> Self {
        Self::Refused(Refusal::Read(error.into()))
    }
}

/// Why a request is refused.
#[derive(Debug)]
enum Refusal {
    Read(ReadError),
    BodyTooLarge(usize),
    TooSlow(Limit),
    Busy,
    NoResponse,
    NoResponseInTime,
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::Read(ReadError::Head(error)) => error.status(),
            Self::Read(ReadError::HeadTooLarge(_)) => 431,
            Self::Read(ReadError::BudgetExhausted) | Self::NoResponseInTime | Self::Busy => 503,
            Self::BodyTooLarge(_) => 413,
            Self::TooSlow(_) => 408,
            Self::Read(ReadError::Io(_)) | Self::NoResponse => 500,
        }
    }

    fn limit(&self) -> Option<Limit> {
        match self {
            Self::Read(
                ReadError::Head(HeadError::TooManyHeaders | HeadError::TargetTooLong) | ReadError::HeadTooLarge(_),
            ) => Some(Limit::HeadBytes),
            Self::Read(ReadError::BudgetExhausted) => Some(Limit::BodyMemory),
            Self::BodyTooLarge(_) => Some(Limit::RequestBytes),
            Self::TooSlow(limit) => Some(*limit),
            Self::Busy => Some(Limit::Connections),
            Self::NoResponseInTime => Some(Limit::RelayTime),
            Self::Read(ReadError::Head(_) | ReadError::Io(_)) | Self::NoResponse => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::BodyTooLarge(most) => {
                write!(f, "the body is larger than {most} bytes; shrink the object, or raise limits.requestBytes")
            }
            Self::TooSlow(_) => write!(f, "the request did not arrive in time; send it faster"),
            Self::Busy => {
                write!(f, "too many requests are in progress on this port; try again, or raise limits.connections")
            }
            Self::NoResponse => write!(f, "an internal error prevented the response; see Portreeve's log"),
            Self::NoResponseInTime => write!(f, "there was no decision in time; see Portreeve's log"),
        }
    }
}
