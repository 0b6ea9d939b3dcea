//! The thread that polls all sockets: it accepts connections, reads requests, and looks after deadlines. It never waits for one
//! client, and does nothing that takes long.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client_stream::Protocol;
use super::connection::Connection;
use super::connections::Room;
use super::context::Context;
use super::poller::Ready;
use crate::metrics::{Limit, Listener};
use crate::server::settings::Limits;
use crate::server::tls::TlsStore;

/// The numbers of listeners in the poller. Connections have numbers from 1 up to half of the range.
const LISTENERS: u64 = 1 << 63;
/// The most connections that are accepted before those that are open have their turn.
const ACCEPTS: usize = 32;
/// The pause after a failed accept. Descriptors and memory take a moment to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before a connection to be closed for a new one is looked for again.
const PLACE_PAUSE: Duration = Duration::from_millis(100);
/// How often deadlines are looked at, at least.
const TICK: Duration = Duration::from_millis(500);

/// The polling thread's own state.
pub(super) struct EventLoop {
    context: Arc<Context>,
    doors: Vec<Door>,
    stopped: Arc<AtomicBool>,
    tick: Duration,
    next_tick: Instant,
}

/// A listener.
struct Door {
    listener: Listener,
    socket: TcpListener,
    store: Option<Arc<TlsStore>>,
    /// The next connection, for which there is no place yet. Those behind it wait in the backlog.
    next: Option<(TcpStream, IpAddr)>,
    /// Since when nothing is accepted, because there is no place or because accepting fails, and until when at most.
    paused_until: Option<Instant>,
    /// The last attempt to accept failed. A series of failures is logged once: otherwise a full descriptor table would fill
    /// the log as well.
    failing: bool,
}

impl EventLoop {
    /// A loop over these listeners, which are not blocking. `stopped` ends it, once the poller is woken.
    pub(super) fn new(
        context: Arc<Context>,
        listeners: Vec<(Listener, TcpListener, Option<Arc<TlsStore>>)>,
        stopped: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let mut doors = Vec::new();
        for (number, (listener, socket, store)) in (LISTENERS..).zip(listeners) {
            socket.set_nonblocking(true)?;
            context.poller.listen(&socket, number)?;
            doors.push(Door { listener, socket, store, next: None, paused_until: None, failing: false });
        }
        let tick = tick(&context.limits);
        Ok(Self { context, doors, stopped, tick, next_tick: Instant::now() })
    }

    /// Runs until it is stopped.
    pub(super) fn run(mut self) {
        let mut ready = Ready::new();
        while !self.stopped.load(Ordering::SeqCst) {
            let timeout = self.timeout();
            if let Err(error) = self.context.poller.wait(&mut ready, timeout) {
                log::error!("the sockets cannot be polled: {error}; trying on");
                std::thread::sleep(ACCEPT_PAUSE);
            }
            if catch_unwind(AssertUnwindSafe(|| self.turn(&ready))).is_err() {
                self.context.metrics.panic();
                log::error!("the thread that polls the sockets hit a bug; it goes on");
            }
        }
    }

    fn turn(&mut self, ready: &Ready) {
        for connection in self.context.take_again() {
            connection.go_on();
        }
        if self.context.connections.is_closing() {
            // Nobody listens any more.
            self.doors.clear();
        }
        // Before the connections that are ready: those have had their responses and may be closed for a new one. Afterwards
        // each may be answering its next request already, and a new one would wait for ever.
        let mut is_waiting = false;
        for (number, door) in (LISTENERS..).zip(&mut self.doors) {
            if door.is_due(&self.context) || ready.numbers().any(|reported| reported == number) {
                door.accept(&self.context, number);
            }
            is_waiting |= door.next.is_some();
        }
        for number in ready.numbers().filter(|number| *number < LISTENERS) {
            if let Some(connection) = self.context.connections.get(number) {
                connection.ready();
            }
        }
        self.grant();
        is_waiting |= self.context.connections.is_queued();
        self.context.set_waiting(is_waiting);
        let now = Instant::now();
        if now >= self.next_tick {
            self.context.connections.expired().iter().for_each(Connection::expire);
            self.next_tick = now + self.tick;
        }
    }

    /// Lets the requests go on that have waited for a permit and have one now.
    fn grant(&self) {
        while let Some(connection) = self.context.connections.next_granted(self.context.response_deadline()) {
            connection.granted();
        }
    }

    /// How long nothing happens unless a socket is ready.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let tick = (!self.context.connections.is_empty()).then(|| self.next_tick.saturating_duration_since(now));
        let paused = self.doors.iter().filter_map(|door| Some(door.paused_until?.saturating_duration_since(now)));
        paused.chain(tick).chain(self.context.connections.next_permit()).min()
    }
}

impl Door {
    /// Whether a pause is over: its time has passed, or the connection that waits may have a place.
    fn is_due(&self, context: &Context) -> bool {
        let Some(until) = self.paused_until else { return false };
        // The plain listener has few places, so looking for one at each turn costs little.
        until <= Instant::now()
            || (self.next.is_some()
                && (self.listener == Listener::Plain || context.connections.has_room(self.listener)))
    }

    /// Accepts connections for as long as there are places.
    fn accept(&mut self, context: &Arc<Context>, number: u64) {
        let mut pause = None;
        for _ in 0..ACCEPTS {
            let (stream, from, is_new) = match self.next.take() {
                Some((stream, from)) => (stream, from, false),
                None => match self.socket.accept() {
                    Ok((stream, from)) => {
                        self.failing = false;
                        // Under `[::]`, an address of IPv4 comes as one of IPv6.
                        (stream, from.ip().to_canonical(), true)
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        context.metrics.limit(Limit::Accept);
                        if !std::mem::replace(&mut self.failing, true) {
                            log::error!("a connection could not be accepted: {error}; trying on");
                        }
                        pause = Some(ACCEPT_PAUSE);
                        break;
                    }
                },
            };
            let room = context.connections.make_room(self.listener, from);
            if is_new && !matches!(room, Room::Free) {
                context.metrics.limit(Limit::Connections);
            }
            match room {
                Room::Free => {}
                Room::Of(evicted) => evicted.evicted(),
                Room::None(wait) => {
                    self.next = Some((stream, from));
                    // Others may become idle sooner than those that were looked at.
                    pause = Some(wait.clamp(Duration::from_millis(1), PLACE_PAUSE));
                    break;
                }
            }
            self.open(context, stream, from);
        }
        self.pause(context, number, pause);
    }

    /// Accepts nothing for this long, or goes on to accept.
    fn pause(&mut self, context: &Context, number: u64, pause: Option<Duration>) {
        if pause.is_some() {
            context.wait_for();
        }
        let was_paused = self.paused_until.is_some();
        self.paused_until = pause.map(|pause| Instant::now() + pause);
        if was_paused == pause.is_some() {
            return;
        }
        if let Err(error) = context.poller.pause(&self.socket, number, pause.is_some()) {
            log::error!("a listener cannot be polled: {error}");
        }
    }

    /// Gives a connection its place.
    fn open(&self, context: &Arc<Context>, stream: TcpStream, from: IpAddr) {
        // A response is a single write. Waiting for more bytes would only delay it.
        if let Err(error) = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)) {
            log::debug!("a connection was closed before it began: {error}");
            return;
        }
        let (protocol, time) = match &self.store {
            Some(store) => (Protocol::Expected(store.current()), context.limits.handshake_time),
            None => (Protocol::Plain, context.idle_time(self.listener, false)),
        };
        let connection = context.connections.insert(self.listener, from, Instant::now() + time, |number| {
            Arc::new(Connection::new(number, self.listener, Arc::clone(context), stream, protocol))
        });
        if let Err(error) = context.poller.add(connection.socket(), connection.number()) {
            context.metrics.limit(Limit::Accept);
            log::error!("a connection cannot be polled: {error}");
            context.remove(connection.number());
        }
    }
}

/// How often deadlines are looked at, so that none is exceeded by much.
fn tick(limits: &Limits) -> Duration {
    let times = [limits.handshake_time, limits.head_time, limits.request_time, limits.answer_time, limits.idle_time];
    (times.into_iter().min().unwrap_or(TICK) / 8).clamp(Duration::from_millis(5), TICK)
}
