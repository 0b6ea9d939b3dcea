//! Reads requests from a stream of bytes: first the head, then the body, each under its limit, however the bytes are
//! divided into reads.
//!
//! It keeps the bytes that were read beyond the last request, and never reads ahead more than the limit of a head. If the stream
//! has no bytes now (`WouldBlock`), the same call is repeated later and goes on from there. It knows no deadlines.

use std::fmt;
use std::io::{self, Read};

use super::body_budget::{Body, BudgetExhausted};
use super::head::{self, Head, HeadError};

/// Holds the bytes that have arrived and belong to no request yet.
#[derive(Debug)]
pub(super) struct RequestReader {
    buffer: Vec<u8>,
    /// The first bytes of `buffer` in which the end of the head is not.
    searched: usize,
    head_bytes: usize,
}

impl RequestReader {
    /// A reader for a new stream. A head may have `head_bytes` bytes.
    pub(super) fn new(head_bytes: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, head_bytes }
    }

    /// Whether no byte has arrived after the last request.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads once, up to the limit of a head. Returns zero at the end of the stream.
    pub(super) fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        let mut chunk = [0; 4 << 10];
        let room = self.head_bytes.saturating_sub(self.buffer.len()).clamp(1, chunk.len());
        let read = stream.read(chunk.get_mut(..room).unwrap_or_default())?;
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read)
    }

    /// The next request's head.
    pub(super) fn head(&mut self, stream: &mut impl Read) -> Result<Head, ReadError> {
        let end = loop {
            if !self.buffer.first().copied().is_none_or(head::may_begin) {
                return Err(HeadError::Malformed("this is not HTTP").into());
            }
            if let Some(end) = head::end_of_head(&self.buffer, self.searched) {
                break end;
            }
            self.searched = self.buffer.len();
            if self.searched >= self.head_bytes {
                return Err(ReadError::HeadTooLarge(self.head_bytes));
            }
            if self.fill(stream)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let parsed = head::parse(self.buffer.get(..end).unwrap_or_default());
        self.consume(end);
        Ok(parsed?)
    }

    /// Reads the body that the head has announced.
    pub(super) fn body(&mut self, stream: &mut impl Read, body: &mut Body) -> Result<(), ReadError> {
        let arrived = body.missing().min(self.buffer.len());
        body.extend(self.buffer.get(..arrived).unwrap_or_default())?;
        self.consume(arrived);
        let mut chunk = [0; 16 << 10];
        while body.missing() > 0 {
            let room = body.missing().min(chunk.len());
            let read = stream.read(chunk.get_mut(..room).unwrap_or_default())?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            body.extend(chunk.get(..read).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl RequestReader {
    fn consume(&mut self, bytes: usize) {
        self.searched = 0;
        if bytes >= self.buffer.len() {
            // A connection that waits for its next request holds no memory for it.
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..bytes);
        }
    }
}

/// A request that could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The head breaks a rule.
    Head(HeadError),
    /// The head is longer than this number of bytes.
    HeadTooLarge(usize),
    /// The budget for bodies is used up.
    BudgetExhausted,
    /// The stream failed or ended. `TimedOut`: it was too slow.
    Io(io::Error),
}

impl From<HeadError> for ReadError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl From<BudgetExhausted> for ReadError {
    fn from(BudgetExhausted: BudgetExhausted) -> Self {
        Self::BudgetExhausted
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::HeadTooLarge(most) => write!(f, "request line and headers are longer than {most} bytes; send fewer"),
            Self::BudgetExhausted => {
                write!(f, "too many large requests at once; try again, or raise limits.bodyMemory")
            }
            Self::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Head(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::HeadTooLarge(_) | Self::BudgetExhausted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::gateway::body_budget::BodyBudget;

    /// Gives at most this number of bytes at each read. Before each of them there is nothing to read.
    struct Cut<'a>(&'a [u8], usize, bool);

    impl Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn whole<T>(mut read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            match read() {
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    #[test]
    fn two_requests_are_the_same_two_however_they_are_cut() {
        let budget = Arc::new(BodyBudget::new(1 << 20));
        let bytes =
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nGET /x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 1..=bytes.len() {
            let (mut stream, mut reader) = (Cut(bytes, cut, false), RequestReader::new(100));
            let first = whole(|| reader.head(&mut stream)).unwrap();
            let mut body = budget.body(first.content_length);
            whole(|| reader.body(&mut stream, &mut body)).unwrap();
            assert_eq!((first.target.as_str(), body.take().as_slice()), ("/a", &b"GET /x"[..]), "{cut}");
            // One empty line may precede a request. Two are a head without a request.
            let second = whole(|| reader.head(&mut stream));
            assert!(matches!(second, Err(ReadError::Head(_))), "{cut}: {second:?}");
        }
    }

    #[test]
    fn a_head_ends_within_its_bytes_or_not_at_all() {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100));
        for most in [head.len(), head.len() + 1] {
            assert!(RequestReader::new(most).head(&mut head.as_bytes()).is_ok());
        }
        let cut = RequestReader::new(head.len() - 1).head(&mut head.as_bytes());
        assert!(matches!(cut, Err(ReadError::HeadTooLarge(_))), "{cut:?}");
        let short = RequestReader::new(1000).head(&mut &head.as_bytes()[..20]);
        assert!(matches!(short, Err(ReadError::Io(ref error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    }
}
