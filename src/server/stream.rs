//! Sockets under one deadline at a time.
//!
//! A socket's own timeout restarts with every byte, which is how a slow sender keeps a thread for ever. Here each
//! read and write gets only what is left until a fixed moment.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::gateway::connections::Slot;

/// A client's connection, in the clear or under TLS.
pub(crate) enum Wire {
    /// In the clear.
    Plain(Timed<Arc<TcpStream>>),
    /// Under TLS. Boxed: a TLS connection is more than a kilobyte of state.
    Tls(Box<StreamOwned<ServerConnection, Timed<Arc<TcpStream>>>>),
}

impl Wire {
    /// A connection in the clear.
    pub(crate) fn plain(stream: Arc<TcpStream>) -> Self {
        Self::Plain(Timed::new(stream, Instant::now()))
    }

    /// Does the handshake, all of it by `deadline`.
    pub(crate) fn handshake(
        stream: Arc<TcpStream>,
        config: Arc<ServerConfig>,
        deadline: Instant,
        slot: &Slot,
    ) -> io::Result<Self> {
        let timed = Timed::new(stream, deadline);
        // A client that says nothing costs no TLS state, and is the first to be cut.
        timed.socket.limit_reads(timed.left()?)?;
        timed.socket.peek(&mut [0]).map_err(timed_out)?;
        slot.receiving();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut tls = Box::new(StreamOwned::new(connection, timed));
        while tls.conn.is_handshaking() {
            let (read, written) = tls.conn.complete_io(&mut tls.sock)?;
            if read == 0 && written == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self::Tls(tls))
    }

    /// From here on, reads and writes fail with `TimedOut` once `deadline` has passed.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(timed) => timed.deadline = deadline,
            Self::Tls(tls) => tls.sock.deadline = deadline,
        }
    }

    /// Ends the connection so that the client sees a proper end: TLS close_notify, then FIN. What the client is still
    /// sending is read and thrown away until `deadline`, because closing over unread bytes sends a reset, which
    /// would destroy the answer on its way (RFC 9112 §9.6).
    pub(crate) fn finish(mut self, deadline: Instant) {
        self.set_deadline(deadline);
        if let Self::Tls(tls) = &mut self {
            tls.conn.send_close_notify();
            // Best effort: the client may be gone.
            if tls.conn.complete_io(&mut tls.sock).is_err() {
                return;
            }
        }
        let raw = match &mut self {
            Self::Plain(timed) => timed,
            Self::Tls(tls) => &mut tls.sock,
        };
        if raw.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut scrap = [0; 4096];
        while matches!(raw.read(&mut scrap), Ok(1..)) {}
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A socket whose every read and write ends by one moment.
pub(crate) struct Timed<S> {
    socket: S,
    deadline: Instant,
}

impl<S: Socket> Timed<S> {
    /// Wraps a blocking socket.
    pub(crate) fn new(socket: S, deadline: Instant) -> Self {
        Self { socket, deadline }
    }

    /// From here on, reads and writes fail once this moment has passed.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl<S: Socket> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.limit_reads(self.left()?)?;
        self.socket.receive(buffer).map_err(timed_out)
    }
}

impl<S: Socket> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.limit_writes(self.left()?)?;
        self.socket.send(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket's timeout shows as `WouldBlock`, which rustls would take for "try again later".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// What [`Timed`] needs of a socket.
pub(crate) trait Socket {
    /// Reads.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends a read after this long.
    fn limit_reads(&self, after: Duration) -> io::Result<()>;
    /// Ends a write after this long.
    fn limit_writes(&self, after: Duration) -> io::Result<()>;
}

impl Socket for Arc<TcpStream> {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&**self).read(buffer)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        (&**self).write(bytes)
    }

    fn limit_reads(&self, after: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(after))
    }

    fn limit_writes(&self, after: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(after))
    }
}

impl Socket for UnixStream {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn limit_reads(&self, after: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(after))
    }

    fn limit_writes(&self, after: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(after))
    }
}
