//! One response over a stream: given to tiny_http, and the head that tiny_http makes of it read back under caps.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;

use tiny_http::{Header, Method, Request, Response, StatusCode};

use crate::server::HttpResponse;
use crate::server::request::{RelayError, RelayResponse};

/// The most bytes of a response's head. We write it ourselves, and it is small.
const HEAD_BYTES: usize = 1 << 10;
/// The most bytes of a response. The largest ones are patches and metrics.
const RESPONSE_BYTES: usize = 32 << 20;

/// Answers a request. `socket` is our end of the stream on which it came, and `allow` the value of the header of that name.
/// tiny_http is given the length of the body and an empty body.
pub(super) fn respond(
    request: Request,
    socket: &UnixStream,
    response: HttpResponse,
    allow: Option<&'static str>,
) -> Result<RelayResponse, RelayError> {
    let HttpResponse { status, content_type, mut body } = response;
    let length = body.len();
    if length > RESPONSE_BYTES {
        return Err(RelayError::Unreadable("the response is too large"));
    }
    if *request.method() == Method::Head {
        body = Vec::new();
    }
    make(request, status, [("Content-Type", Some(content_type)), ("Allow", allow)], length)?;
    let expected = RelayResponse { status, content_type: Some(content_type), allow, length, body };
    read_back(socket, expected)
}

/// Answers the test of a new stream.
pub(super) fn greet(request: Request) {
    if let Err(error) = make(request, 200, [("Content-Type", None), ("Allow", None)], 0) {
        log::debug!("a stream could not be tested: {error}");
    }
}

/// Has tiny_http make and write the head of a response.
fn make(request: Request, status: u16, headers: [(&str, Option<&str>); 2], length: usize) -> io::Result<()> {
    // tiny_http would write its name and the date otherwise. Nobody reads them here.
    let [first, second] = headers;
    let headers = [("Date", Some("")), ("Server", Some("")), first, second];
    let headers = headers.into_iter().filter_map(|(name, value)| Header::from_bytes(name, value?).ok()).collect();
    let response = Response::new(StatusCode(status), headers, io::empty(), Some(length), None)
        // Never chunked: the head must have the length.
        .with_chunked_threshold(usize::MAX);
    request.respond(response)
}

/// Reads the response to [`greet`].
pub(super) fn read_greeting(socket: &UnixStream) -> Result<(), RelayError> {
    read_back(socket, RelayResponse { status: 200, content_type: None, allow: None, length: 0, body: Vec::new() })
        .map(drop)
}

/// Reads the head of a response from tiny_http. It must be the one that tiny_http was given, byte by byte, and nothing may
/// follow it: more bytes would be read as the beginning of the next response.
fn read_back(mut socket: &UnixStream, expected: RelayResponse) -> Result<RelayResponse, RelayError> {
    let head = head_of(&expected);
    let mut buffer = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        let read = socket.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Err(RelayError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        filled += read;
        if !head.starts_with(buffer.get(..filled).unwrap_or_default()) {
            return Err(RelayError::Unreadable("the head is not that of the response"));
        }
    }
    Ok(expected)
}

/// The head that tiny_http makes of a response. The gateway writes its own.
fn head_of(response: &RelayResponse) -> Vec<u8> {
    let RelayResponse { status, content_type, allow, length, .. } = response;
    let mut head = Vec::with_capacity(192);
    let mut push = |parts: [&str; 3]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
    push(["HTTP/1.1 ", &status.to_string(), " "]);
    push([reason_phrase(*status), "\r\nDate: \r\nServer: ", ""]);
    for (name, value) in [("\r\nContent-Type: ", content_type), ("\r\nAllow: ", allow)] {
        if let Some(value) = value {
            push([name, value, ""]);
        }
    }
    push(["\r\nContent-Length: ", &length.to_string(), "\r\n\r\n"]);
    head
}

/// The reason phrase of a status.
pub(in crate::server) fn reason_phrase(status: u16) -> &'static str {
    StatusCode(status).default_reason_phrase()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    fn read(response: &str) -> Result<RelayResponse, RelayError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        theirs.write_all(response.as_bytes()).unwrap();
        let (content_type, allow) = (Some("text/plain"), Some("POST"));
        read_back(&ours, RelayResponse { status: 405, content_type, allow, length: 2, body: b"no".to_vec() })
    }

    #[test]
    fn only_the_head_that_was_given_is_believed() {
        let status = "HTTP/1.1 405 Method Not Allowed\r\n";
        let rest = "Date: \r\nServer: \r\nContent-Type: text/plain\r\nAllow: POST\r\nContent-Length: 2\r\n\r\n";
        let good = read(&format!("{status}{rest}")).unwrap();
        assert_eq!((good.status, good.body.as_slice()), (405, &b"no"[..]));
        for wrong in [
            format!("HTTP/1.1 200 OK\r\n{rest}"),
            format!("{status}{rest}no"),
            format!("{status}{}", rest.replace("text/plain", "text/html")),
            format!("{status}{}", rest.replace("Allow: POST", "X: POST")),
            format!("{status}{}", rest.replace(": 2", ": 3")),
            format!("{status}{}", rest.replace(": 2", ": -2")),
            format!("{status}X: {}\r\n{rest}", "y".repeat(HEAD_BYTES)),
            "\r\n\r\n".to_owned(),
        ] {
            let response = read(&wrong);
            assert!(matches!(response, Err(RelayError::Unreadable(_))), "{wrong:?}: {response:?}");
        }
        assert!(matches!(read(""), Err(RelayError::Io(_))), "a response that never comes");
    }
}
