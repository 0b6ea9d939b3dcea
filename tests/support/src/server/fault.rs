//! Misbehaviour on demand.

use std::io;
use std::time::Duration;

use super::Stop;
use super::wire::{Length, Response, Stream};

/// What to do instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Say nothing until stopped.
    Stall,
    /// Wait this long, then answer as usual.
    Delay(Duration),
    /// Send the right answer's head, then its body a byte a second.
    Drip,
    /// Send the head itself a byte a second.
    DripHead,
    /// Close the connection at once.
    Reset,
    /// Promise more bytes than are sent.
    ShortBody,
    /// Send more bytes than promised: they look like the next answer.
    LongBody,
    /// End a chunked body early.
    ShortChunks,
    /// Say neither how long the body is nor use chunks.
    NoLength,
    /// Send this many bytes, with their length said before.
    Huge(u64),
    /// The same in chunks, so that nothing tells the length before.
    HugeChunked(u64),
    /// 200 with a web page.
    Html,
    /// Claim that the body is gzip.
    Gzip,
    /// 302 to itself.
    Redirect,
    /// This status, with an error body as Notary and registries send it.
    Status(u16),
    /// This status with this body.
    Page(u16, &'static str),
    /// 401 whatever is sent.
    Unauthorized,
    /// 200 with this body.
    Body(&'static str),
    /// This many answers as usual, then 500.
    FailAfter(usize),
}

pub(crate) fn misbehave(
    stream: &mut dyn Stream,
    stop: &Stop,
    fault: Fault,
    response: Response,
    challenge: Response,
    target: &str,
) -> io::Result<()> {
    let over = || Err(io::Error::other("fault"));
    match fault {
        Fault::Stall => {
            stop.sleep(Duration::from_secs(600))?;
            over()
        }
        Fault::Delay(wait) => {
            stop.sleep(wait)?;
            response.send(stream)
        }
        Fault::Drip => {
            stream.write_all(response.head().as_bytes())?;
            drip(stream, stop, &response.body)
        }
        Fault::DripHead => drip(stream, stop, response.head().as_bytes()),
        Fault::Reset => over(),
        Fault::ShortBody => {
            let longer = Response { length: Length::Claimed(response.body.len() + 1000), ..response };
            longer.send(stream)?;
            over()
        }
        Fault::LongBody => {
            // In one piece: a client cannot distinguish later bytes from the answer to the next request.
            let length = Length::Claimed(response.body.len());
            let mut body = response.body;
            body.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            Response { body, length, ..response }.send(stream)
        }
        Fault::ShortChunks => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")?;
            stream.flush()?;
            over()
        }
        Fault::NoLength => {
            Response { length: Length::Unsaid, ..response }.send(stream)?;
            over()
        }
        Fault::Huge(bytes) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n")?;
            pour(stream, stop, bytes, |stream, piece| stream.write_all(piece))
        }
        Fault::HugeChunked(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            pour(stream, stop, bytes, |stream, piece| {
                write!(stream, "{:x}\r\n", piece.len())?;
                stream.write_all(piece)?;
                stream.write_all(b"\r\n")
            })?;
            stream.write_all(b"0\r\n\r\n")
        }
        Fault::Html => Response::new(200, "<!DOCTYPE html><title>Welcome</title>").typed("text/html").send(stream),
        Fault::Gzip => {
            let mut response = response;
            response.headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
            response.send(stream)
        }
        Fault::Redirect => {
            let mut response = Response::new(302, "");
            response.headers.push(("Location".to_owned(), target.to_owned()));
            response.send(stream)
        }
        Fault::Status(status) => Response::error(status, "MADE_UP").send(stream),
        Fault::Page(status, body) => Response::new(status, body).send(stream),
        Fault::Unauthorized => {
            let mut response = challenge;
            if response.headers.is_empty() {
                response.headers.push(("WWW-Authenticate".to_owned(), "Basic realm=\"never\"".to_owned()));
            }
            response.send(stream)
        }
        Fault::Body(text) => Response::new(200, text).send(stream),
        Fault::FailAfter(_) => response.send(stream),
    }
}

fn drip(stream: &mut dyn Stream, stop: &Stop, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        stream.flush()?;
        stop.sleep(Duration::from_secs(1))?;
    }
    Ok(())
}

fn pour(
    stream: &mut dyn Stream,
    stop: &Stop,
    bytes: u64,
    send: impl Fn(&mut dyn Stream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let piece = vec![b' '; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        if stop.has_come() {
            return Err(io::Error::other("stopped"));
        }
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        send(stream, &piece[..now])?;
        left -= now as u64;
    }
    stream.flush()
}
