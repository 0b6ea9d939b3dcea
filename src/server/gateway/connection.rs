//! One connection's life: wait, read a whole request, have it answered, write the answer, and again.
//!
//! Nothing is passed on before the request is complete and found clean. Each phase has one deadline, and what breaks
//! a rule gets a short answer, if it was HTTP so far, and the connection's end.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body_budget::{Body, BodyMemory, NoMemory};
use super::connections::{Errand, NoPlace, Slot};
use super::head::{Head, HeadError};
use super::request_reader::{Intake, IntakeError};
use crate::metrics::{Limit, Listener, Metrics};
use crate::server::relay::Bridge;
use crate::server::relay::loopback::{Outgoing, Reply};
use crate::server::settings::Limits;
use crate::server::stream::Wire;
use crate::server::timeout;

/// What all connections of a listener share.
pub(super) struct Context {
    pub(super) listener: Listener,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) bodies: Arc<BodyMemory>,
}

impl Context {
    fn body_bytes(&self) -> usize {
        match self.listener {
            Listener::Tls => self.limits.request_bytes,
            // Nothing is posted there; a small body is read so that the answer can be a proper one.
            Listener::Plain => self.limits.request_bytes.min(4 << 10),
        }
    }

    /// How long to wait for a request. A client that has not sent any yet gets less: it connected in order to send
    /// one, and places held for nothing are the cheapest way to keep others out.
    fn idle_time(&self, served: bool) -> Duration {
        let idle_time = match served {
            true => self.limits.idle_time,
            false => self.limits.idle_time.min(self.limits.request_time),
        };
        match self.listener {
            Listener::Tls => idle_time,
            // Probes and scrapes dial again readily, and the places are few.
            Listener::Plain => idle_time.min(Duration::from_secs(5)),
        }
    }

    fn errand(&self, target: &str) -> Errand {
        match (target.split('?').next().unwrap_or_default(), self.listener) {
            ("/health/liveness" | "/health/readiness", _) => Errand::Health,
            ("/metrics", Listener::Plain) => Errand::Metrics,
            _ => Errand::Other,
        }
    }

    /// Kubernetes waits no longer than this, so nobody is left to read a later answer.
    fn relay_time(&self) -> Duration {
        self.limits.admission_time.max(timeout::LONGEST) + Duration::from_secs(5)
    }
}

/// How long a connection's end may take: time for a client in the middle of sending to see the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) fn serve(context: &Context, wire: Wire, slot: &Slot) {
    let intake = Intake::new(context.limits.head_bytes);
    let mut connection = Connection { context, slot, wire, intake, served: false };
    let end = loop {
        match connection.request() {
            Ok(Then::Stay) => {}
            Ok(Then::Finish) => break Ok(()),
            Err(End::Refused(refusal)) => break connection.refuse(&refusal),
            Err(End::Gone(error)) => break Err(error),
        }
    };
    match end {
        Ok(()) => {
            // The answer is written: should its place be needed meanwhile, it may be cut.
            slot.receiving();
            connection.wire.finish(Instant::now() + LINGER);
        }
        Err(error) => log::debug!("a connection ended: {error}"),
    }
}

struct Connection<'a> {
    context: &'a Context,
    slot: &'a Slot,
    wire: Wire,
    intake: Intake,
    /// Has any request been answered?
    served: bool,
}

/// What comes after an answer.
enum Then {
    Stay,
    Finish,
}

impl<'a> Connection<'a> {
    /// One request, from waiting for it to its answer.
    fn request(&mut self) -> Result<Then, End> {
        if self.intake.is_empty() && !self.wait()? {
            return Ok(Then::Finish);
        }
        self.slot.receiving();
        let first_byte = Instant::now();
        let head = self.head(first_byte)?;
        self.wire.set_deadline(first_byte + self.context.limits.request_time);
        let mut body = self.body(&head)?;
        let errand = self.context.errand(&head.target);
        self.slot.answering(errand).map_err(|no_place| match no_place {
            // Nobody would read an answer.
            NoPlace::Cut => End::Gone(io::ErrorKind::ConnectionAborted.into()),
            NoPlace::Full => End::Refused(Refusal::NoPlace),
        })?;
        let reply = self.relay(&head, body.take(), first_byte, errand)?;
        self.slot.writing();
        // Who does not read its answer holds as much memory as who does not end its request.
        body.make_room(reply.body.len())?;
        let stay = head.keep_alive && self.slot.may_stay();
        self.answer(&reply, stay)?;
        self.served = true;
        Ok(if stay { Then::Stay } else { Then::Finish })
    }

    /// Waits for a request's first bytes; false if there will be none.
    fn wait(&mut self) -> Result<bool, End> {
        if !self.slot.waiting() {
            return Ok(false);
        }
        self.wire.set_deadline(Instant::now() + self.context.idle_time(self.served));
        match self.intake.fill(&mut self.wire) {
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
        self.wire.set_deadline(first_byte + head_time.min(request_time));
        self.intake.head(&mut self.wire).map_err(|error| End::of(error, limit))
    }

    fn body(&mut self, head: &Head) -> Result<Body<'a>, End> {
        let most = self.context.body_bytes();
        if head.content_length > most {
            return Err(End::Refused(Refusal::BodyTooLarge(most)));
        }
        if head.expects_continue && head.content_length > 0 && self.intake.is_empty() {
            self.wire
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .and_then(|()| self.wire.flush())
                .map_err(End::Gone)?;
        }
        let context = self.context;
        let mut body = context.bodies.body(head.content_length);
        self.intake.body(&mut self.wire, &mut body).map_err(|error| End::of(error, Limit::RequestTime))?;
        Ok(body)
    }

    fn relay(&self, head: &Head, body: Vec<u8>, first_byte: Instant, errand: Errand) -> Result<Reply, End> {
        let request = Outgoing {
            is_probe: errand == Errand::Health,
            listener: self.context.listener,
            method: &head.method,
            target: &head.target,
            content_type: head.content_type.as_deref(),
            body,
            first_byte,
        };
        self.context.bridge.exchange(request, Instant::now() + self.context.relay_time()).map_err(|error| {
            log::error!("a request got no answer: {error}");
            End::Refused(if error.is_timeout() { Refusal::NoAnswerInTime } else { Refusal::NoAnswer })
        })
    }

    fn answer(&mut self, reply: &Reply, stay: bool) -> Result<(), End> {
        self.wire.set_deadline(Instant::now() + self.context.limits.answer_time);
        write_answer(&mut self.wire, reply, stay).map_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                self.context.metrics.limit(Limit::AnswerTime);
            }
            End::Gone(error)
        })
    }

    /// Answers what broke a rule. Where the next request would begin is not known then.
    fn refuse(&mut self, refusal: &Refusal) -> io::Result<()> {
        if let Some(limit) = refusal.limit() {
            self.context.metrics.limit(limit);
        }
        log::debug!("a request is refused: {refusal}");
        let body = format!("{refusal}\n").into_bytes();
        let reply = Reply {
            status: refusal.status(),
            content_type: Some("text/plain; charset=utf-8".to_owned()),
            allow: None,
            length: body.len(),
            body,
        };
        self.wire.set_deadline(Instant::now() + self.context.limits.answer_time.min(LINGER));
        write_answer(&mut self.wire, &reply, false)
    }
}

/// Up to here, status line, headers and body leave in one write, so that a small answer is one TLS record.
const ONE_WRITE: usize = 16 << 10;

fn write_answer(wire: &mut Wire, reply: &Reply, stay: bool) -> io::Result<()> {
    let reason = tiny_http::StatusCode(reply.status).default_reason_phrase();
    let mut head = format!("HTTP/1.1 {} {reason}\r\nContent-Length: {}\r\n", reply.status, reply.length);
    for (name, value) in [("Content-Type", &reply.content_type), ("Allow", &reply.allow)] {
        if let Some(value) = value {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    // Said either way: an HTTP/1.0 client assumes the end, a 1.1 client that it may go on.
    head.push_str(if stay { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
    let mut bytes = head.into_bytes();
    if bytes.len() + reply.body.len() <= ONE_WRITE {
        bytes.extend_from_slice(&reply.body);
        wire.write_all(&bytes)?;
    } else {
        // A copy of a large one would be held for as long as a slow client reads.
        wire.write_all(&bytes)?;
        wire.write_all(&reply.body)?;
    }
    wire.flush()
}

/// Why a connection ends early.
enum End {
    /// It broke a rule, and is told so.
    Refused(Refusal),
    /// There is nobody to tell.
    Gone(io::Error),
}

impl End {
    /// What a failed intake means; `limit` is the one that it had to be done by.
    fn of(error: IntakeError, limit: Limit) -> Self {
        match error {
            IntakeError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::Refused(Refusal::TooSlow(limit)),
            IntakeError::Io(error) => Self::Gone(error),
            refused => Self::Refused(Refusal::Intake(refused)),
        }
    }
}

impl From<NoMemory> for End {
    fn from(error: NoMemory) -> Self {
        Self::Refused(Refusal::Intake(error.into()))
    }
}

/// A broken rule.
#[derive(Debug)]
enum Refusal {
    Intake(IntakeError),
    BodyTooLarge(usize),
    TooSlow(Limit),
    NoPlace,
    NoAnswer,
    NoAnswerInTime,
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::Intake(IntakeError::Head(error)) => error.status(),
            Self::Intake(IntakeError::HeadTooLarge(_)) => 431,
            Self::Intake(IntakeError::NoMemory) | Self::NoAnswerInTime | Self::NoPlace => 503,
            Self::BodyTooLarge(_) => 413,
            Self::TooSlow(_) => 408,
            Self::Intake(IntakeError::Io(_)) | Self::NoAnswer => 500,
        }
    }

    fn limit(&self) -> Option<Limit> {
        match self {
            Self::Intake(
                IntakeError::Head(HeadError::TooManyHeaders | HeadError::TargetTooLong) | IntakeError::HeadTooLarge(_),
            ) => Some(Limit::HeadBytes),
            Self::Intake(IntakeError::NoMemory) => Some(Limit::BodyMemory),
            Self::BodyTooLarge(_) => Some(Limit::RequestBytes),
            Self::TooSlow(limit) => Some(*limit),
            Self::NoPlace => Some(Limit::Connections),
            Self::NoAnswerInTime => Some(Limit::RelayTime),
            Self::Intake(IntakeError::Head(_) | IntakeError::Io(_)) | Self::NoAnswer => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intake(error) => error.fmt(f),
            Self::BodyTooLarge(most) => {
                write!(f, "the body is larger than {most} bytes; shrink the object, or raise limits.requestBytes")
            }
            Self::TooSlow(_) => write!(f, "the request did not arrive in time; send it faster"),
            Self::NoPlace => {
                write!(f, "too many requests are in hand on this port; try again, or raise limits.connections")
            }
            Self::NoAnswer => write!(f, "an internal error prevented the answer; see Portreeve's log"),
            Self::NoAnswerInTime => write!(f, "there was no decision in time; see Portreeve's log"),
        }
    }
}
