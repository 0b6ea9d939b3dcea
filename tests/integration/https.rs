//! HTTP/1.1 over TLS, client and server, one request a connection. It is written out, so that a test controls every
//! byte, and independent of the product's HTTP code, so that a mistake there shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use crate::pki::Pki;

/// The longest that a read or write waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The server's response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// One header beside `Content-Length` and the like.
    pub(crate) header: (&'static str, String),
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(status: u16, body: impl ToString) -> Self {
        Self { status, header: ("Content-Type", "application/json".into()), body: body.to_string() }
    }
}

/// A server on a free port of 127.0.0.1. It stops on drop.
pub(crate) struct HttpsServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl HttpsServer {
    pub(crate) fn start(pki: &Pki, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let tls = pki.server();
        let handler = Arc::new(handler);
        let (stopping, count) = (Arc::clone(&stop), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, handler) = (Arc::clone(&tls), Arc::clone(&handler));
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.set_write_timeout(Some(PATIENCE));
                    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                    // A client that does not trust the CA, or that closes early, is no failure of the server.
                    let Some(request) = read_request(&mut stream) else { return };
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = send(&mut stream, &handler(&request));
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                    let _ = stream.sock.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, stop, requests }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the listener's loop
    }
}

/// A response that the client received.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A request over TLS.
#[track_caller]
pub(crate) fn https(pki: &Pki, port: u16, method: &str, target: &str, body: &[u8]) -> Response {
    https_with(pki, port, method, target, &[], body)
}

/// A request over TLS with additional headers.
#[track_caller]
pub(crate) fn https_with(
    pki: &Pki,
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut stream = connect_tls(pki, port).unwrap();
    exchange(&mut stream, method, target, headers, body).unwrap_or_else(|| panic!("no answer to {method} {target}"))
}

/// A request without TLS; `None` if there is no response.
pub(crate) fn http(port: u16, method: &str, target: &str, body: &[u8]) -> Option<Response> {
    exchange(&mut connect(port).ok()?, method, target, &[], body)
}

/// A client's TLS connection.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Opens a connection. The caller writes and reads.
pub(crate) fn connect_tls(pki: &Pki, port: u16) -> std::io::Result<TlsStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(pki.client(), name).unwrap();
    Ok(StreamOwned::new(connection, connect(port)?))
}

/// POSTs an AdmissionReview over an open connection, and does not wait for the response.
pub(crate) fn send_review(stream: &mut impl Write, target: &str, review: &serde_json::Value) -> std::io::Result<()> {
    let body = review.to_string();
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes())?;
    stream.flush()
}

/// Reads one response to whatever the caller has sent.
pub(crate) fn read_response(stream: &mut impl Read) -> Option<Response> {
    let mut reader = BufReader::new(stream);
    let (first, headers) = read_head(&mut reader)?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let value = |name: &str| find(&headers, name);
    let body = if value("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        read_chunks(&mut reader)?
    } else {
        read_exactly(&mut reader, value("Content-Length").map_or(Some(0), |length| length.parse().ok())?)?
    };
    let body = String::from_utf8(body).ok()?;
    Some(Response { status, headers, body })
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn exchange(
    stream: &mut (impl Read + Write),
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Response> {
    let length = body.len();
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n"
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // A server may respond and close before it has read the whole request. The response counts.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).and_then(|()| stream.flush());
    read_response(stream)
}

fn send(stream: &mut impl Write, reply: &Reply) -> std::io::Result<()> {
    let Reply { status, header: (name, value), body } = reply;
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{name}: {value}\r\n");
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    stream.flush()
}

fn read_request(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (first, headers) = read_head(&mut reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, target, headers, body: String::new() };
    let length = request.header("Content-Length").map_or(Some(0), |length| length.parse().ok())?;
    request.body = String::from_utf8(read_exactly(&mut reader, length)?).ok()?;
    Some(request)
}

fn read_head(reader: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let first = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Some((first, headers));
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// One line without its end; `None` if the stream ends within it.
fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

fn read_chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&read_line(reader)?, 16).ok()?;
        body.extend(read_exactly(reader, length)?);
        read_line(reader)?;
        if length == 0 {
            return Some(body);
        }
    }
}

fn read_exactly(reader: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
