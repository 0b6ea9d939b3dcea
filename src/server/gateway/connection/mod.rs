//! One connection: its handshake, then request after request: wait for it, read all of it, have it answered, send the response.
//!
//! Nothing is passed on before the request is complete and valid. Each phase has one deadline. A request that breaks a rule
//! gets a short response, and the connection is closed. A connection has no thread: whatever thread has work for it goes on
//! until the client, a permit or the response has to be waited for.

mod progress;
mod reply;

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::progress::{Answering, Pause, Progress, Sending, State, Turn};
use self::reply::Response;
use super::body_budget::Body;
use super::client_stream::{ClientStream, Protocol};
use super::connections::{Closed, Peer, Permit, Phase, RequestKind};
use super::context::Context;
use super::head::Head;
use super::outgoing::Outgoing;
use super::poller::Interest;
use super::refusal::Refusal;
use super::request_reader::{ReadError, RequestReader};
use crate::metrics::{Limit, Listener};
use crate::server::request::{RelayError, RelayResponse, Request};

/// How long closing a connection may take, so that a client that is still sending sees the response.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that are read from a client before others have their turn.
const TURN_BYTES: usize = 256 << 10;

/// Tells a client that its body is waited for (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An open connection.
pub(super) struct Connection {
    number: u64,
    listener: Listener,
    context: Arc<Context>,
    socket: TcpStream,
    state: Mutex<State>,
}

impl Connection {
    /// A connection that was accepted. The handshake begins when the client has sent something.
    pub(super) fn new(
        number: u64,
        listener: Listener,
        context: Arc<Context>,
        socket: TcpStream,
        protocol: Protocol,
    ) -> Self {
        let progress = match protocol {
            Protocol::Plain => Progress::Waiting,
            _ => Progress::Handshake(context.limits.handshake_time, Instant::now()),
        };
        let reader = RequestReader::new(context.limits.head_bytes);
        let state = Mutex::new(State { protocol, reader, progress, served: false, request: 0, quota: 0 });
        Self { number, listener, context, socket, state }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Its socket is ready. A handshake goes on elsewhere.
    pub(super) fn ready(self: &Arc<Self>) {
        let mut state = self.lock();
        let Progress::Handshake(left, since) = &mut state.progress else {
            drop(state);
            return self.go_on();
        };
        *left = left.saturating_sub(since.elapsed());
        let has_begun = matches!(state.protocol, Protocol::Tls(_));
        drop(state);
        if self.context.enter(self.number, Phase::Handshake(Instant::now()), None).is_ok() {
            self.context.handshakes.push(Arc::clone(self), has_begun);
        }
    }

    /// Goes on until something has to be waited for. A panic ends this connection only.
    pub(super) fn go_on(self: &Arc<Self>) {
        self.guarded(|| self.work(self.lock()));
    }

    /// A permit to answer its request was granted.
    pub(super) fn granted(self: &Arc<Self>) {
        self.guarded(|| {
            let mut state = self.lock();
            match std::mem::replace(&mut state.progress, Progress::Lingering) {
                Progress::Queued(head, body, first_byte) => {
                    let kind = Context::kind(self.listener, &head.target);
                    let (number, request) = self.answering(&mut state, kind, head, body, first_byte);
                    drop(state);
                    self.submit(number, request);
                }
                other => state.progress = other,
            }
        });
    }

    /// Its deadline has passed.
    pub(super) fn expire(self: &Arc<Self>) {
        self.guarded(|| {
            // A thread that works on it gives it another deadline.
            let Ok(mut state) = self.state.try_lock() else { return };
            if self.context.connections.is_expired(self.number) {
                match self.time_out(&mut state) {
                    Ok(()) => self.work(state),
                    Err(Closed) => self.end(),
                }
            }
        });
    }

    /// It was taken out of the table for a new connection. If its request waits for a permit, the client is told.
    pub(super) fn evicted(self: &Arc<Self>) {
        self.guarded(|| {
            if let Ok(mut state) = self.state.try_lock()
                && matches!(state.progress, Progress::Queued(..))
            {
                self.refuse(&mut state, &Refusal::Busy);
                let (progress, mut stream) = self.parts(&mut state);
                if let Progress::Sending(sending) = progress {
                    // It has no place any more, so it gets only what its socket takes now.
                    let _ = sending.outgoing.send(&mut stream).and_then(|_| stream.close());
                }
            }
            self.shut(Shutdown::Both);
        });
    }

    /// The response to a request.
    fn respond(self: &Arc<Self>, number: u64, response: Result<RelayResponse, RelayError>) {
        self.guarded(|| {
            let mut state = self.lock();
            if state.request != number {
                return;
            }
            let (kind, keep_alive, mut body) = match std::mem::replace(&mut state.progress, Progress::Lingering) {
                Progress::Answering(Answering { kind, keep_alive, body }) => (kind, keep_alive, body),
                // It took too long, and the client was told so.
                other => return state.progress = other,
            };
            // A client that does not read its response holds as much memory as one that does not end its request.
            let reserved = response.map_err(|error| {
                log::error!("a request got no response: {error}");
                Refusal::NoResponse
            });
            match reserved.and_then(|response| Ok(body.reserve_response(response.body.len()).map(|()| response)?)) {
                Ok(response) => {
                    let keep_alive = keep_alive && self.context.connections.may_keep_alive();
                    let outgoing = Outgoing::response(response, keep_alive);
                    let answered = Some((kind, body));
                    state.progress = Progress::Sending(Sending { outgoing, answered, keep_alive, is_slow: false });
                }
                Err(refusal) => self.refuse(&mut state, &refusal),
            }
            self.work(state);
        });
    }

    fn guarded(self: &Arc<Self>, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.context.metrics.panic();
            log::error!("a connection hit a bug and was closed");
            self.end();
        }
    }

    fn end(&self) {
        self.context.remove(self.number);
        self.shut(Shutdown::Both);
    }

    fn work(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.quota = TURN_BYTES;
        let armed = match self.until_pause(&mut state) {
            Ok(Pause::Submit(number, request)) => {
                drop(state);
                return self.submit(number, request);
            }
            Ok(Pause::Nobody) => return self.context.again(Arc::clone(self)),
            Ok(Pause::Other) => return,
            Ok(Pause::Ended) => {
                drop(state);
                return self.end();
            }
            // Before the lock is given back: the thread that polls then waits for this one.
            Ok(Pause::Client(interest)) => self.context.poller.arm(&self.socket, self.number, interest),
            Err(error) => Err(error),
        };
        if let Err(error) = armed {
            log::debug!("a connection ended: {error}");
            drop(state);
            self.end();
        }
    }

    /// Goes on until something has to be waited for. An error: the connection has ended.
    fn until_pause(self: &Arc<Self>, state: &mut State) -> io::Result<Pause> {
        loop {
            let paused = match &mut state.progress {
                Progress::Handshake(..) => self.handshake(state)?,
                Progress::Waiting => self.wait(state)?,
                Progress::Head(first_byte) => {
                    let first_byte = *first_byte;
                    self.head(state, first_byte)?
                }
                Progress::Body(..) => self.body(state)?,
                Progress::Sending(_) => self.send(state)?,
                Progress::Lingering => Some(match self.parts(state).1.discard() {
                    true => Pause::Ended,
                    false => Pause::Client(Interest::Read),
                }),
                Progress::Queued(..) | Progress::Answering(_) => Some(Pause::Other),
            };
            if let Some(pause) = paused {
                return Ok(pause);
            }
        }
    }

    fn handshake(&self, state: &mut State) -> io::Result<Option<Pause>> {
        let done = self.parts(state).1.handshake().or_else(|error| match error.kind() {
            ErrorKind::WouldBlock => Ok(false),
            _ => {
                log::debug!("a TLS handshake failed: {error}");
                Err(error)
            }
        })?;
        if done {
            state.progress = Progress::Waiting;
            return Ok(None);
        }
        let Progress::Handshake(left, since) = &mut state.progress else { return Ok(None) };
        *since = Instant::now();
        self.enter(Phase::Receiving, *since + *left)?;
        Ok(Some(Pause::Client(self.parts(state).1.interest())))
    }

    /// Waits for the first bytes of a request.
    fn wait(&self, state: &mut State) -> io::Result<Option<Pause>> {
        if state.reader.is_empty() {
            match self.read(state, |reader, stream| reader.fill(stream)) {
                Ok(0) => return self.close(state).map(|()| None),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    // What was read already is not reported by the poller.
                    ErrorKind::WouldBlock if state.quota == 0 => return Ok(Some(Pause::Nobody)),
                    ErrorKind::WouldBlock => return self.idle(state),
                    // At shutdown we end the reading side ourselves.
                    ErrorKind::UnexpectedEof => return self.close(state).map(|()| None),
                    _ => return Err(error),
                },
            }
        }
        state.progress = Progress::Head(Instant::now());
        Ok(None)
    }

    /// Leaves the connection to its client until that sends something.
    fn idle(&self, state: &mut State) -> io::Result<Option<Pause>> {
        let idle_time = self.context.idle_time(self.listener, state.served);
        match self.context.enter(self.number, Phase::Waiting, Some(Instant::now() + idle_time)) {
            Ok(()) => Ok(Some(Pause::Client(self.parts(state).1.interest()))),
            Err(Closed) if self.context.connections.is_closing() => {
                self.close(state)?;
                Ok(None)
            }
            Err(Closed) => Err(ErrorKind::ConnectionAborted.into()),
        }
    }

    fn head(&self, state: &mut State, first_byte: Instant) -> io::Result<Option<Pause>> {
        match self.read(state, |reader, stream| reader.head(stream)) {
            Ok(head) => self.begin_body(state, head, first_byte).map(|()| None),
            Err(error) => self.unread(state, error, first_byte + self.context.head_time().0),
        }
    }

    fn begin_body(&self, state: &mut State, head: Head, first_byte: Instant) -> io::Result<()> {
        let most = self.context.body_bytes(self.listener);
        if head.content_length > most {
            self.refuse(state, &Refusal::BodyTooLarge(most));
            return Ok(());
        }
        if head.expects_continue && head.content_length > 0 && state.reader.is_empty() {
            // A client that has left no room for this does not read what it is sent.
            if self.parts(state).1.send(CONTINUE)? < CONTINUE.len() {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        let body = self.context.budget.body(head.content_length);
        state.progress = Progress::Body(head, body, first_byte);
        Ok(())
    }

    fn body(&self, state: &mut State) -> io::Result<Option<Pause>> {
        let (head, mut body, first_byte) = match std::mem::replace(&mut state.progress, Progress::Lingering) {
            Progress::Body(head, body, first_byte) => (head, body, first_byte),
            other => {
                state.progress = other;
                return Ok(None);
            }
        };
        if let Err(error) = self.read(state, |reader, stream| reader.body(stream, &mut body)) {
            state.progress = Progress::Body(head, body, first_byte);
            return self.unread(state, error, first_byte + self.context.limits.request_time);
        }
        let kind = Context::kind(self.listener, &head.target);
        match self.context.ask(self.number, kind) {
            Permit::Granted => {
                let (number, request) = self.answering(state, kind, head, body, first_byte);
                Ok(Some(Pause::Submit(number, request)))
            }
            Permit::Queued => {
                state.progress = Progress::Queued(head, body, first_byte);
                Ok(Some(Pause::Other))
            }
            Permit::Closed => Err(ErrorKind::ConnectionAborted.into()),
        }
    }

    /// A head or a body is not complete, or cannot be read.
    fn unread(&self, state: &mut State, error: ReadError, deadline: Instant) -> io::Result<Option<Pause>> {
        match error {
            ReadError::Io(error) if error.kind() == ErrorKind::WouldBlock => {
                self.enter(Phase::Receiving, deadline)?;
                // What was read already is not reported by the poller.
                Ok(Some(if state.quota == 0 { Pause::Nobody } else { Pause::Client(self.parts(state).1.interest()) }))
            }
            ReadError::Io(error) => Err(error),
            refused => {
                self.refuse(state, &refused.into());
                Ok(None)
            }
        }
    }

    /// The request to be answered, with its number.
    fn answering(
        &self,
        state: &mut State,
        kind: RequestKind,
        head: Head,
        mut body: Body,
        first_byte: Instant,
    ) -> (u64, Request) {
        let Head { method, target, content_type, keep_alive, .. } = head;
        let bytes = body.take();
        state.progress = Progress::Answering(Answering { kind, keep_alive, body });
        state.request += 1;
        (state.request, Request { listener: self.listener, first_byte, method, target, content_type, body: bytes })
    }

    /// Has the request answered. The response may come before this returns, so nothing may be locked.
    fn submit(self: &Arc<Self>, number: u64, request: Request) {
        self.context.dispatcher.submit(request, Box::new(Response { connection: Some(Arc::clone(self)), number }));
    }

    fn send(&self, state: &mut State) -> io::Result<Option<Pause>> {
        let (progress, mut stream) = self.parts(state);
        let Progress::Sending(sending) = progress else { return Ok(None) };
        if !sending.outgoing.send(&mut stream)? {
            if !std::mem::replace(&mut sending.is_slow, true) {
                self.slow(sending.answered.as_ref().map(|(kind, _)| *kind))?;
            }
            return Ok(Some(Pause::Client(Interest::Write)));
        }
        if !sending.keep_alive {
            self.close(state)?;
            return Ok(None);
        }
        let has_bytes = stream.has_bytes()?;
        state.served = true;
        state.progress = Progress::Waiting;
        // What was read already is not reported by the poller.
        if has_bytes || !state.reader.is_empty() { Ok(None) } else { self.idle(state) }
    }

    /// The client does not take its response at once. An admission keeps its permit meanwhile.
    fn slow(&self, answered: Option<RequestKind>) -> io::Result<()> {
        let (now, answer_time) = (Instant::now(), self.context.limits.answer_time);
        match answered {
            Some(RequestKind::Other) if self.listener == Listener::Tls => self
                .context
                .connections
                .extend(self.number, now + answer_time)
                .map_err(|Closed| ErrorKind::ConnectionAborted.into()),
            Some(_) => self.enter(Phase::Writing(now), now + answer_time),
            None => self.enter(Phase::Writing(now), now + answer_time.min(LINGER)),
        }
    }

    /// Closes the connection in order.
    fn close(&self, state: &mut State) -> io::Result<()> {
        self.parts(state).1.close()?;
        self.enter(Phase::Receiving, Instant::now() + LINGER)?;
        state.progress = Progress::Lingering;
        Ok(())
    }

    /// Responds to a request that broke a rule. The connection is closed then, because it is not known where the next request
    /// would begin.
    fn refuse(&self, state: &mut State, refusal: &Refusal) {
        if let Some(limit) = refusal.limit() {
            self.context.metrics.limit(limit);
        }
        log::debug!("a request is refused: {refusal}");
        let outgoing = Outgoing::refusal(refusal);
        state.progress = Progress::Sending(Sending { outgoing, answered: None, keep_alive: false, is_slow: false });
    }

    /// What happens when the client, a permit or the response has taken too long. An error: the connection ends at once.
    fn time_out(&self, state: &mut State) -> Result<(), Closed> {
        let refusal = match &state.progress {
            Progress::Head(_) => Refusal::TooSlow(self.context.head_time().1),
            Progress::Body(..) => Refusal::TooSlow(Limit::RequestTime),
            Progress::Queued(..) => Refusal::Busy,
            Progress::Answering(_) => {
                log::error!("a request got no response in time");
                Refusal::NoResponseInTime
            }
            Progress::Waiting => {
                self.context.metrics.limit(Limit::IdleTime);
                return self.close(state).map_err(|_| Closed);
            }
            Progress::Handshake(..) => {
                self.context.metrics.limit(Limit::HandshakeTime);
                return Err(Closed);
            }
            Progress::Sending(Sending { answered: Some(_), .. }) => {
                self.context.metrics.limit(Limit::AnswerTime);
                return Err(Closed);
            }
            Progress::Sending(_) | Progress::Lingering => return Err(Closed),
        };
        self.refuse(state, &refusal);
        Ok(())
    }

    /// Reads, as far as the turn of this connection goes.
    fn read<T>(&self, state: &mut State, read: impl FnOnce(&mut RequestReader, &mut Turn<'_>) -> T) -> T {
        let State { protocol, reader, quota, .. } = state;
        read(reader, &mut Turn { stream: ClientStream { socket: &self.socket, protocol }, quota })
    }

    fn parts<'a>(&'a self, state: &'a mut State) -> (&'a mut Progress, ClientStream<'a>) {
        (&mut state.progress, ClientStream { socket: &self.socket, protocol: &mut state.protocol })
    }

    fn enter(&self, phase: Phase, deadline: Instant) -> io::Result<()> {
        self.context.enter(self.number, phase, Some(deadline)).map_err(|Closed| ErrorKind::ConnectionAborted.into())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer for Connection {
    fn shut(&self, how: Shutdown) {
        if let Err(error) = self.socket.shutdown(how) {
            // The client closed it first.
            log::trace!("a connection was closed already: {error}");
        }
    }
}
