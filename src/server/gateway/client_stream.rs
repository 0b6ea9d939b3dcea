//! The socket of a client, with or without TLS. It never blocks: what cannot be done now is the error `WouldBlock`, and is
//! tried again when the socket is ready.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::poller::Interest;

/// The most bytes of a TLS record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 << 10;

/// The most reads from a socket in a row. Records without content, and bytes that are discarded, could go on for ever.
const READS: usize = 16;

/// What the bytes of a client's socket mean.
pub(super) enum Protocol {
    /// They are the requests themselves.
    Plain,
    /// They will be TLS. A client that sends nothing costs no TLS state.
    Expected(Arc<ServerConfig>),
    /// They are TLS. Boxed, because the state of a TLS connection is more than a kilobyte.
    Tls(Box<ServerConnection>),
}

/// The state of a client's socket, which is not blocking, and what its bytes mean.
pub(super) struct ClientStream<'a> {
    pub(super) socket: &'a TcpStream,
    pub(super) protocol: &'a mut Protocol,
}

impl ClientStream<'_> {
    /// Goes on with the handshake. True: it is over. False: it waits for the socket.
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
        if let Protocol::Expected(config) = &*self.protocol {
            if self.socket.peek(&mut [0])? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            *self.protocol = Protocol::Tls(Box::new(connection));
        }
        let Protocol::Tls(tls) = &mut *self.protocol else { return Ok(true) };
        loop {
            if would_block(write_tls(tls, self.socket))? {
                return Ok(false);
            }
            if !tls.is_handshaking() {
                return Ok(true);
            }
            match tls.read_tls(&mut &*self.socket) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => process(tls, self.socket)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// What must happen to the socket until bytes of the client can be read.
    pub(super) fn interest(&self) -> Interest {
        match &*self.protocol {
            Protocol::Tls(tls) if tls.wants_write() => Interest::Both,
            _ => Interest::Read,
        }
    }

    /// Writes as much of `bytes` as the socket takes, and returns how much it took. Less than all of it: the rest is written
    /// when the socket is ready.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            if let Protocol::Tls(tls) = &mut *self.protocol
                && would_block(write_tls(tls, self.socket))?
            {
                return Ok(sent);
            }
            // One TLS record at a time: a slow reader costs no second copy of a large response.
            let rest = bytes.get(sent..).unwrap_or_default();
            let rest = rest.get(..RECORD_BYTES).unwrap_or(rest);
            if rest.is_empty() {
                return Ok(sent);
            }
            match self.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether bytes of the client were read from the socket already and wait to be read from here.
    pub(super) fn has_bytes(&mut self) -> io::Result<bool> {
        let Protocol::Tls(tls) = &mut *self.protocol else { return Ok(false) };
        let state = tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(state.plaintext_bytes_to_read() > 0)
    }

    /// Whether bytes that were sent wait for room in the socket.
    pub(super) fn is_sending(&self) -> bool {
        matches!(&*self.protocol, Protocol::Tls(tls) if tls.wants_write())
    }

    /// Begins to close the connection in order: TLS close_notify, then FIN. Bytes that the client still sends must be read and
    /// discarded: closing a socket with unread bytes sends a reset, which would destroy the response on its way (RFC 9112 §9.6).
    pub(super) fn close(&mut self) -> io::Result<()> {
        if let Protocol::Tls(tls) = &mut *self.protocol {
            tls.send_close_notify();
            // A client that reads nothing gets no close_notify.
            would_block(write_tls(tls, self.socket))?;
        }
        self.socket.shutdown(Shutdown::Write)
    }

    /// Discards some of the bytes that the client still sends. True: there will be no more.
    pub(super) fn discard(&mut self) -> bool {
        let mut discarded = [0; 4096];
        for _ in 0..READS {
            match (&mut &*self.socket).read(&mut discarded) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
                Ok(0) => return true,
            }
        }
        false
    }
}

impl Read for ClientStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Protocol::Tls(tls) = &mut *self.protocol else { return (&mut &*self.socket).read(buffer) };
        for _ in 0..READS {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // At the end of the stream, the next read says how it ended.
            tls.read_tls(&mut &*self.socket)?;
            process(tls, self.socket)?;
        }
        tls.reader().read(buffer)
    }
}

impl Write for ClientStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.protocol {
            Protocol::Tls(tls) => tls.writer().write(bytes),
            Protocol::Plain | Protocol::Expected(_) => (&mut &*self.socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.protocol {
            Protocol::Tls(tls) => write_tls(tls, self.socket),
            Protocol::Plain | Protocol::Expected(_) => Ok(()),
        }
    }
}

/// Decrypts what was read, and sends what TLS answers to it.
fn process(tls: &mut ServerConnection, socket: &TcpStream) -> io::Result<()> {
    let processed = tls.process_new_packets();
    // An alert, for instance. If the socket has no room now, it goes out with the next bytes.
    would_block(write_tls(tls, socket))?;
    processed.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write_tls(tls: &mut ServerConnection, mut socket: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the socket has no room now.
fn would_block(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
