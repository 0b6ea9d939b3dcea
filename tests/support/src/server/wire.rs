//! HTTP/1.1, as much as a server for tests needs.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A connection, in the clear or under TLS.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// `Authorization`, as it came.
    pub authorization: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Accept`; several lines are one, separated by `, `.
    pub accept: Option<String>,
    /// The body.
    pub body: String,
}

pub(crate) fn read_request(stream: &mut dyn Stream) -> io::Result<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 64 << 10 || stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let all = |wanted: &str| {
        let values: Vec<_> =
            headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    };
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0).min(1 << 20);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request {
        method,
        target,
        authorization: header("authorization"),
        user_agent: header("user-agent"),
        accept: Some(all("accept")).filter(|accept| !accept.is_empty()),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

pub(crate) fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let bytes = BASE64_STANDARD.decode(authorization?.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

pub(crate) fn parameters(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&hex), 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) length: Length,
}

pub(crate) enum Length {
    Right,
    Claimed(usize),
    Unsaid,
}

impl Response {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), length: Length::Right }
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::new(status, format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"made up\",\"detail\":null}}]}}"))
    }

    pub(crate) fn typed(mut self, media_type: &str) -> Self {
        self.headers.push(("Content-Type".to_owned(), media_type.to_owned()));
        self
    }

    pub(crate) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Made Up\r\n", self.status);
        match self.length {
            Length::Right => head.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
            Length::Claimed(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Length::Unsaid => {}
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    pub(crate) fn send(&self, stream: &mut dyn Stream) -> io::Result<()> {
        let mut bytes = self.head().into_bytes();
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes)?;
        stream.flush()
    }
}
