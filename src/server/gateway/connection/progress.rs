//! How far a connection has come, and where a thread's work on it ends.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use super::super::body_budget::Body;
use super::super::client_stream::{ClientStream, Protocol};
use super::super::connections::RequestKind;
use super::super::head::Head;
use super::super::outgoing::Outgoing;
use super::super::poller::Interest;
use super::super::request_reader::RequestReader;
use crate::server::request::Request;

/// What only one thread at a time works on.
pub(super) struct State {
    pub(super) protocol: Protocol,
    pub(super) reader: RequestReader,
    pub(super) progress: Progress,
    /// Whether a request was answered on it.
    pub(super) served: bool,
    /// The number of its last request. The response to an earlier one comes too late.
    pub(super) request: u64,
    /// The bytes that may still be read before other connections have their turn.
    pub(super) quota: usize,
}

/// How far the connection has come.
pub(super) enum Progress {
    /// The TLS handshake. The client has this much time left for its part, of which it takes since this moment.
    Handshake(Duration, Instant),
    /// No request has begun.
    Waiting,
    /// A head is arriving, since this moment.
    Head(Instant),
    /// A body is arriving.
    Body(Head, Body, Instant),
    /// A complete request waits for a permit.
    Queued(Head, Body, Instant),
    /// A request is being answered.
    Answering(Answering),
    /// A response is being sent.
    Sending(Sending),
    /// Everything was sent. What the client still sends is discarded.
    Lingering,
}

/// What is kept of a request while it is answered.
pub(super) struct Answering {
    pub(super) kind: RequestKind,
    pub(super) keep_alive: bool,
    /// The memory that its body took.
    pub(super) body: Body,
}

/// A response that is being sent.
pub(super) struct Sending {
    pub(super) outgoing: Outgoing,
    /// The kind of the request, with the memory that the response takes of the budget; `None` if the request was refused.
    pub(super) answered: Option<(RequestKind, Body)>,
    pub(super) keep_alive: bool,
    /// The client did not take all of it at once.
    pub(super) is_slow: bool,
}

/// Where a thread's work on a connection ends.
pub(super) enum Pause {
    /// The client must do something.
    Client(Interest),
    /// The request of this number is to be answered.
    Submit(u64, Request),
    /// Nobody. Other connections have their turn first.
    Nobody,
    /// Another thread goes on.
    Other,
    /// The connection has ended in order.
    Ended,
}

/// What a read counts at least. It may have had to decrypt 4 KiB of TLS records with one byte each, which takes as long as
/// decrypting far more than 16 KiB in a single record.
const READ_COST: usize = 16 << 10;

/// What may be read from a client in one turn.
pub(super) struct Turn<'a> {
    pub(super) stream: ClientStream<'a>,
    pub(super) quota: &'a mut usize,
}

impl Read for Turn<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(*self.quota);
        if room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = self.stream.read(buffer.get_mut(..room).unwrap_or_default())?;
        *self.quota = self.quota.saturating_sub(read.max(READ_COST));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::super::TURN_BYTES;
    use super::*;

    #[test]
    fn a_turn_has_few_reads_however_little_they_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        client.write_all(&[0; 1000]).unwrap();
        let (mut protocol, mut quota) = (Protocol::Plain, TURN_BYTES);
        let mut turn = Turn { stream: ClientStream { socket: &socket, protocol: &mut protocol }, quota: &mut quota };
        let mut reads = 0;
        while turn.read(&mut [0]).is_ok() {
            reads += 1;
        }
        // A read takes up to 4 KiB from the socket, which is 180 of the smallest TLS records.
        assert_eq!(reads, 16);
        assert_eq!(quota, 0);
    }
}
