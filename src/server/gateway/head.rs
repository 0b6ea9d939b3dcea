//! Reads the head of a request strictly. A head that two readers could understand differently is refused, so that
//! tiny_http is given exactly what the client sent.

use std::fmt;

/// What is kept of a request's head. Nothing else of it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The method.
    pub(super) method: String,
    /// Path and query: visible ASCII, beginning with a slash.
    pub(super) target: String,
    /// `Content-Type`: printable ASCII.
    pub(super) content_type: Option<String>,
    /// The length of the body.
    pub(super) content_length: usize,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects_continue: bool,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
}

/// The most headers. No client of a webhook sends that many.
const HEADERS: usize = 64;
/// The most bytes of a target. The longest path with a query is far shorter.
const TARGET_BYTES: usize = 1024;
const METHOD_BYTES: usize = 16;
const CONTENT_TYPE_BYTES: usize = 256;

/// Where the head ends, if its end has arrived. The first `from` bytes were searched before.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    let end = bytes.get(start..)?.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(start + end + 4)
}

/// Whether a request can begin with this byte. A TLS hello, for example, is recognised without waiting for the end of a
/// head.
pub(super) fn may_begin(first: u8) -> bool {
    first.is_ascii_uppercase() || first == b'\r'
}

/// Reads a complete head, `\r\n\r\n` included.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, HeadError> {
    // RFC 9112 §2.2: an empty line before the request line is skipped.
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    // Some readers take a bare line feed for the end of a line, and others do not.
    if bytes.windows(2).any(|pair| matches!(pair, [before, b'\n'] if *before != b'\r')) || bytes.first() == Some(&b'\n')
    {
        return Err(HeadError::Malformed("a line ends without a carriage return"));
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(HeadError::Malformed("the head ends too early")),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed("the request line or a header is not HTTP/1.1")),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed("the request line is incomplete"));
    };
    if method.len() > METHOD_BYTES {
        return Err(HeadError::Malformed("the method is unknown"));
    }
    if target.len() > TARGET_BYTES {
        return Err(HeadError::TargetTooLong);
    }
    // RFC 9112 §3.2.1: a server that is no proxy needs only the origin form.
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(HeadError::Malformed("the request target is not a plain path"));
    }
    let fields = Fields::collect(request.headers)?;
    // RFC 9112 §3.2: exactly one Host in HTTP/1.1, at most one before.
    if fields.hosts > 1 || (minor == 1 && fields.hosts == 0) {
        return Err(HeadError::Malformed("there must be one Host header"));
    }
    if fields.chunked {
        // RFC 9112 §6.1: a request with both framings is how requests are smuggled.
        return Err(match fields.content_length {
            Some(_) => HeadError::Malformed("Content-Length and Transfer-Encoding contradict each other"),
            None => HeadError::Chunked,
        });
    }
    Ok(Head {
        method: method.to_owned(),
        target: target.to_owned(),
        content_type: fields.content_type,
        content_length: fields.content_length.unwrap_or(0),
        expects_continue: fields.expects_continue && minor == 1,
        keep_alive: match minor {
            0 => fields.keep_alive && !fields.close,
            _ => !fields.close,
        },
    })
}

/// The headers that are read.
#[derive(Default)]
struct Fields {
    hosts: usize,
    content_type: Option<String>,
    content_length: Option<usize>,
    chunked: bool,
    expects_continue: bool,
    close: bool,
    keep_alive: bool,
}

impl Fields {
    fn collect(headers: &[httparse::Header<'_>]) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("host") {
                fields.hosts += 1;
            } else if is("content-length") {
                fields.length(header.value)?;
            } else if is("transfer-encoding") {
                fields.chunked = true;
            } else if is("content-type") {
                let value = printable(header.value).ok_or(HeadError::Malformed("Content-Type is not plain text"))?;
                if fields.content_type.replace(value.to_owned()).is_some() {
                    return Err(HeadError::Malformed("Content-Type is given twice"));
                }
            } else if is("expect") {
                // RFC 9110 §10.1.1: this is the only expectation.
                if !header.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadError::Expectation);
                }
                fields.expects_continue = true;
            } else if is("connection") {
                for option in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    fields.close |= option.eq_ignore_ascii_case(b"close");
                    fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        Ok(fields)
    }

    /// RFC 9110 §8.6: digits only, without a sign or a list. The header may stand once.
    fn length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = match digits {
            None | Some("") => return Err(HeadError::Malformed("Content-Length is not a number")),
            // A number that does not fit into a usize is larger than any limit.
            Some(digits) => digits.parse().unwrap_or(usize::MAX),
        };
        match self.content_length.replace(length) {
            Some(_) => Err(HeadError::Malformed("Content-Length is given twice")),
            None => Ok(()),
        }
    }
}

fn printable(value: &[u8]) -> Option<&str> {
    let plain = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    (plain && value.len() <= CONTENT_TYPE_BYTES).then(|| std::str::from_utf8(value).ok())?
}

/// A head that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// It is not HTTP, or it is HTTP that can be understood in two ways.
    Malformed(&'static str),
    /// The version is not HTTP/1.0 or 1.1.
    Version,
    /// There are more than [`HEADERS`] headers.
    TooManyHeaders,
    /// The target has more than [`TARGET_BYTES`] bytes.
    TargetTooLong,
    /// The body has no announced length.
    Chunked,
    /// `Expect` is not `100-continue`.
    Expectation,
}

impl HeadError {
    /// The status of the response.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Version => 505,
            Self::TooManyHeaders => 431,
            Self::TargetTooLong => 414,
            Self::Chunked => 411,
            Self::Expectation => 417,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "the request cannot be read: {what}"),
            Self::Version => write!(f, "only HTTP/1.1 and HTTP/1.0 are supported"),
            Self::TooManyHeaders => write!(f, "the request has more than {HEADERS} headers; send fewer"),
            Self::TargetTooLong => write!(f, "the request target is longer than {TARGET_BYTES} bytes; shorten it"),
            Self::Chunked => write!(f, "chunked bodies are not supported; send Content-Length"),
            Self::Expectation => write!(f, "the only supported expectation is 100-continue"),
        }
    }
}

impl std::error::Error for HeadError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Head, HeadError> {
        parse(head.as_bytes())
    }

    #[test]
    fn a_plain_request_is_read() {
        let head = read(
            "\r\nPOST /admit?timeout=10s HTTP/1.1\r\nHost: x\r\ncontent-TYPE: application/json\r\n\
             Content-Length: 12\r\nExpect: 100-Continue\r\nX-Portreeve-Gateway: forged\r\n\r\n",
        );
        let expected = Head {
            method: "POST".into(),
            target: "/admit?timeout=10s".into(),
            content_type: Some("application/json".into()),
            content_length: 12,
            expects_continue: true,
            keep_alive: true,
        };
        assert_eq!(head, Ok(expected));
    }

    #[test]
    fn connections_are_kept_as_the_client_asks() {
        const CASES: [(&str, bool); 7] = [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
        ];
        for (head, keep) in CASES {
            assert_eq!(read(head).map(|head| head.keep_alive), Ok(keep), "{head:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        const CASES: [(&str, u16); 26] = [
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
            ("GET http://x/admit HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            ("GET /\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Type: \u{e9}\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417),
            ("ABCDEFGHIJKLMNOPQRST / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ];
        for (head, status) in CASES {
            assert_eq!(read(head).map_err(HeadError::status), Err(status), "{head:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(TARGET_BYTES));
        assert_eq!(read(&long), Err(HeadError::TargetTooLong));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(HEADERS));
        assert_eq!(read(&many), Err(HeadError::TooManyHeaders));
    }

    #[test]
    fn a_length_beyond_all_bounds_is_large_not_small() {
        let head = read("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n");
        assert_eq!(head.map(|head| head.content_length), Ok(usize::MAX));
    }

    #[test]
    fn the_end_is_found_wherever_the_reads_were_cut() {
        let bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
        // The head ends at 27. With 27 bytes searched before, its end would have been found then.
        for cut in 0..27 {
            assert_eq!(end_of_head(bytes, cut), Some(27), "cut at {cut}");
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.1\r\nHost: x\r\n\r", 0), None);
        assert_eq!(end_of_head(b"", 0), None);
    }
}
