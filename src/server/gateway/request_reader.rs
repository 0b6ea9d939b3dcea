//! Requests out of a stream of bytes: first the head, then the body, each under its cap, however the bytes come cut.
//!
//! It keeps what was read beyond the last request, and never reads more than a head's worth ahead. It knows no
//! deadlines: the stream it reads from does.

use std::fmt;
use std::io::{self, Read};

use super::body_budget::{Body, NoMemory};
use super::head::{self, Head, HeadError};

/// The bytes that have arrived and belong to no request yet.
#[derive(Debug)]
pub(crate) struct Intake {
    buffer: Vec<u8>,
    head_bytes: usize,
}

impl Intake {
    /// Nothing has arrived; a head may have this many bytes.
    pub(crate) fn new(head_bytes: usize) -> Self {
        Self { buffer: Vec::new(), head_bytes }
    }

    /// Has nothing arrived beyond the last request?
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads what is there, as far as a head may reach; zero at the stream's end.
    pub(crate) fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        let mut chunk = [0; 4 << 10];
        let room = self.head_bytes.saturating_sub(self.buffer.len()).clamp(1, chunk.len());
        let read = stream.read(chunk.get_mut(..room).unwrap_or_default())?;
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read)
    }

    /// The next request's head.
    pub(crate) fn head(&mut self, stream: &mut impl Read) -> Result<Head, IntakeError> {
        let mut searched = 0;
        let end = loop {
            if !self.buffer.first().copied().is_none_or(head::may_begin) {
                return Err(HeadError::Malformed("this is not HTTP").into());
            }
            if let Some(end) = head::end_of_head(&self.buffer, searched) {
                break end;
            }
            searched = self.buffer.len();
            if searched >= self.head_bytes {
                return Err(IntakeError::HeadTooLarge(self.head_bytes));
            }
            if self.fill(stream)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let parsed = head::parse(self.buffer.get(..end).unwrap_or_default());
        self.buffer.drain(..end);
        Ok(parsed?)
    }

    /// Fills the body that the head has announced.
    pub(crate) fn body(&mut self, stream: &mut impl Read, body: &mut Body<'_>) -> Result<(), IntakeError> {
        let arrived = body.missing().min(self.buffer.len());
        body.extend(self.buffer.get(..arrived).unwrap_or_default())?;
        self.buffer.drain(..arrived);
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

/// A request that did not get in.
#[derive(Debug)]
pub(crate) enum IntakeError {
    /// The head breaks a rule.
    Head(HeadError),
    /// The head is longer than this.
    HeadTooLarge(usize),
    /// All memory for bodies is in use.
    NoMemory,
    /// The stream failed or ended; `TimedOut` if it was too slow.
    Io(io::Error),
}

impl From<HeadError> for IntakeError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl From<NoMemory> for IntakeError {
    fn from(NoMemory: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<io::Error> for IntakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for IntakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::HeadTooLarge(most) => write!(f, "request line and headers are longer than {most} bytes; send fewer"),
            Self::NoMemory => write!(f, "too many large requests at once; try again, or raise limits.bodyMemory"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl std::error::Error for IntakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Head(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::HeadTooLarge(_) | Self::NoMemory => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::gateway::body_budget::BodyMemory;

    /// Gives at most so many bytes a read.
    struct Cut<'a>(&'a [u8], usize);

    impl Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn two_requests_are_the_same_two_however_they_are_cut() {
        let memory = BodyMemory::new(1 << 20);
        let bytes =
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nGET /x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 1..=bytes.len() {
            let (mut stream, mut intake) = (Cut(bytes, cut), Intake::new(100));
            let first = intake.head(&mut stream).unwrap();
            let mut body = memory.body(first.content_length);
            intake.body(&mut stream, &mut body).unwrap();
            assert_eq!((first.target.as_str(), body.take().as_slice()), ("/a", &b"GET /x"[..]), "{cut}");
            // One empty line may stand before a request; two are a head without a request.
            let second = intake.head(&mut stream);
            assert!(matches!(second, Err(IntakeError::Head(_))), "{cut}: {second:?}");
        }
    }

    #[test]
    fn a_head_ends_within_its_bytes_or_not_at_all() {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100));
        for most in [head.len(), head.len() + 1] {
            assert!(Intake::new(most).head(&mut head.as_bytes()).is_ok());
        }
        let cut = Intake::new(head.len() - 1).head(&mut head.as_bytes());
        assert!(matches!(cut, Err(IntakeError::HeadTooLarge(_))), "{cut:?}");
        let short = Intake::new(1000).head(&mut &head.as_bytes()[..20]);
        assert!(matches!(short, Err(IntakeError::Io(ref error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    }
}
