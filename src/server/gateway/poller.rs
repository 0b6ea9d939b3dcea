//! Waits for the sockets of all connections at once, with Linux's epoll.
//!
//! A connection is reported once and then not again until it is armed anew, so one thread at a time works on it. Listening
//! sockets are reported for as long as connections wait in their backlog.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

/// The number under which the waker is registered. Connections and listeners have smaller ones.
const WAKER: u64 = u64::MAX;
/// The most events that are taken at a time.
const EVENTS: usize = 64;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Bytes of the client, or its end.
    Read,
    /// Room for more bytes to the client.
    Write,
    /// Either of them.
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        let flags = match self {
            Self::Read => EventFlags::IN | EventFlags::RDHUP,
            Self::Write => EventFlags::OUT,
            Self::Both => EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT,
        };
        flags | EventFlags::ONESHOT
    }
}

/// The sockets that are waited for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    waker: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: nobody reads the counter, and each write is an event.
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, waker })
    }

    /// Reports a listening socket under this number.
    pub(super) fn listen(&self, listener: &TcpListener, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, listener, EventData::new_u64(number), EventFlags::IN)?)
    }

    /// Reports a listening socket no longer, so that new connections wait in its backlog; or reports it again.
    pub(super) fn pause(&self, listener: &TcpListener, number: u64, paused: bool) -> io::Result<()> {
        let flags = if paused { EventFlags::empty() } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, listener, EventData::new_u64(number), flags)?)
    }

    /// Reports a new connection under this number, once. It is reported no longer when its socket is closed.
    pub(super) fn add(&self, socket: &TcpStream, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number), Interest::Read.flags())?)
    }

    /// Reports a connection once more.
    pub(super) fn arm(&self, socket: &TcpStream, number: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket.as_fd(), EventData::new_u64(number), interest.flags())?)
    }

    /// Ends a wait of [`Poller::wait`], the present one or the next one.
    pub(super) fn wake(&self) {
        // It fails only if the counter is full, and then the event is still to come.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    /// Waits for events, for `timeout` at most. Without a timeout it waits for as long as it takes.
    pub(super) fn wait(&self, ready: &mut Ready, timeout: Option<Duration>) -> io::Result<()> {
        ready.0.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, spare_capacity(&mut ready.0), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The sockets of one wait.
pub(super) struct Ready(Vec<Event>);

impl Ready {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        // The data of a packed event is copied.
        self.0.iter().map(|event| { event.data }.u64()).filter(|number| *number != WAKER)
    }
}
