//! Sockets whose reads and writes end at a fixed moment.
//!
//! The timeout of a socket restarts with every byte, so that a slow sender could keep a thread for ever. Here each read and
//! write gets only the time that is left until the deadline.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::gateway::connections::ConnectionGuard;

/// The stream of a client, with or without TLS.
pub(super) enum ClientStream {
    /// Without TLS.
    Plain(DeadlineStream<Arc<TcpStream>>),
    /// With TLS. Boxed, because the state of a TLS connection is more than a kilobyte.
    Tls(Box<StreamOwned<ServerConnection, DeadlineStream<Arc<TcpStream>>>>),
}

impl ClientStream {
    /// A stream without TLS.
    pub(super) fn plain(stream: Arc<TcpStream>) -> Self {
        Self::Plain(DeadlineStream::new(stream, Instant::now()))
    }

    /// A stream with TLS. The whole handshake must end by `deadline`.
    pub(super) fn handshake(
        stream: Arc<TcpStream>,
        config: Arc<ServerConfig>,
        deadline: Instant,
        guard: &ConnectionGuard,
    ) -> io::Result<Self> {
        let stream = DeadlineStream::new(stream, deadline);
        // A client that sends nothing costs no TLS state, and its connection is the first to be closed.
        stream.socket.set_read_limit(stream.left()?)?;
        stream.socket.peek(&mut [0]).map_err(timed_out)?;
        guard.receiving();
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut tls = Box::new(StreamOwned::new(connection, stream));
        while tls.conn.is_handshaking() {
            let (read, written) = tls.conn.complete_io(&mut tls.sock)?;
            if read == 0 && written == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self::Tls(tls))
    }

    /// Sets the moment from which reads and writes fail with `TimedOut`.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(stream) => stream.deadline = deadline,
            Self::Tls(tls) => tls.sock.deadline = deadline,
        }
    }

    /// Closes the connection in order: TLS close_notify, then FIN. Bytes that the client still sends are read and discarded
    /// until `deadline`: closing a socket with unread bytes sends a reset, which would destroy the response on its way (RFC
    /// 9112 §9.6).
    pub(super) fn finish(mut self, deadline: Instant) {
        self.set_deadline(deadline);
        if let Self::Tls(tls) = &mut self {
            tls.conn.send_close_notify();
            // The client may be gone.
            if tls.conn.complete_io(&mut tls.sock).is_err() {
                return;
            }
        }
        let raw = match &mut self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &mut tls.sock,
        };
        if raw.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut discarded = [0; 4096];
        while matches!(raw.read(&mut discarded), Ok(1..)) {}
    }
}

impl Read for ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A socket whose reads and writes end at its deadline.
pub(super) struct DeadlineStream<S> {
    socket: S,
    deadline: Instant,
}

impl<S: Socket> DeadlineStream<S> {
    /// Wraps a blocking socket.
    pub(super) fn new(socket: S, deadline: Instant) -> Self {
        Self { socket, deadline }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl<S: Socket> Read for DeadlineStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_limit(self.left()?)?;
        self.socket.receive(buffer).map_err(timed_out)
    }
}

impl<S: Socket> Write for DeadlineStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_limit(self.left()?)?;
        self.socket.send(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket reports a timeout as `WouldBlock`, which rustls would understand as "try again later".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// The operations that [`DeadlineStream`] needs.
pub(super) trait Socket {
    /// Reads.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Sets the timeout of reads.
    fn set_read_limit(&self, after: Duration) -> io::Result<()>;
    /// Sets the timeout of writes.
    fn set_write_limit(&self, after: Duration) -> io::Result<()>;
}

impl Socket for Arc<TcpStream> {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&**self).read(buffer)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        (&**self).write(bytes)
    }

    fn set_read_limit(&self, after: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(after))
    }

    fn set_write_limit(&self, after: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(after))
    }
}
