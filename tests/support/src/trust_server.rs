//! A Notary server for tests and the quickstart: TLS under a CA made on the spot, metadata at Notary's paths, Docker's
//! token protocol or Basic, a log of every request, and faults on demand. It stops when it is dropped.
//!
//! ```no_run
//! # use portreeve_test_support::{signer::Signer, trust_server::{Fault, TrustServer}};
//! let server = TrustServer::start();
//! server.publish(&Signer::new("registry.local/app").release("v1", [7; 32], 1, &[]).publish());
//! println!("{} under\n{}", server.url(), server.ca_pem());
//! server.misbehave("timestamp", Fault::Status(500));
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Authority;
use crate::signer::Repo;

/// What the trust server asks for before it answers.
#[derive(Clone, Debug, Default)]
pub enum SignIn {
    /// Nothing.
    #[default]
    No,
    /// A Bearer token from its own token service.
    Bearer(TokenService),
    /// Basic, with one of these users and passwords.
    Basic(Vec<(String, String)>),
}

/// Docker's token protocol, at `<url>/token`.
#[derive(Clone, Debug)]
pub struct TokenService {
    /// Users and passwords.
    pub users: Vec<(String, String)>,
    /// Users who get a token that opens nothing.
    pub powerless: Vec<String>,
    /// Does somebody without credentials get a token?
    pub anonymous: bool,
    /// Does it answer a GET? Else 405, and only a POST form is taken.
    pub get: bool,
    /// `expires_in` of its answers.
    pub expires_in: Option<i64>,
    /// `token` or `access_token`.
    pub field: &'static str,
    /// The realm to name, where it is not its own.
    pub realm: Option<String>,
    /// The scheme and parameters to put in front of its challenge.
    pub before_challenge: &'static str,
}

impl TokenService {
    /// A service that knows one user.
    pub fn of(user: &str, password: &str) -> Self {
        Self { users: vec![(user.to_owned(), password.to_owned())], ..Self::default() }
    }
}

impl Default for TokenService {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            powerless: Vec::new(),
            anonymous: false,
            get: true,
            expires_in: Some(300),
            field: "token",
            realm: None,
            before_challenge: "",
        }
    }
}

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
    /// This status, with Notary's error body.
    Status(u16),
    /// 401 whatever is sent.
    Unauthorized,
    /// 200 with this body.
    Body(&'static str),
    /// This many answers as usual, then 500.
    FailAfter(usize),
}

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
    /// The body.
    pub body: String,
}

/// The running server.
pub struct TrustServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    ca_pem: String,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopped: AtomicBool,
    connections: AtomicUsize,
}

#[derive(Default)]
struct State {
    url: String,
    /// GUN, then file stem.
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    sign_in: SignIn,
    /// Part of a path, and what happens there.
    faults: Vec<(String, Fault)>,
    requests: Vec<Request>,
    /// Tokens that were given out, each with the scope it opens (empty for none).
    tokens: BTreeMap<String, String>,
    issued: usize,
    open: Vec<TcpStream>,
}

impl TrustServer {
    /// Starts on a free loopback port, under a CA of its own.
    pub fn start() -> Self {
        Self::start_under(&Authority::named("Trust Server Test CA"))
    }

    /// Starts with a certificate of this CA, for `localhost` and `127.0.0.1`.
    pub fn start_under(authority: &Authority) -> Self {
        let (chain, key) = authority.server(&["localhost", "127.0.0.1"]);
        Self::start_with(&chain, &key, authority.pem())
    }

    /// Starts with this certificate.
    pub fn start_with(chain_pem: &str, key_pem: &str, ca_pem: String) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("PEM");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a serving certificate");
        Self::listen(Some(Arc::new(config)), ca_pem)
    }

    /// Starts without TLS.
    pub fn start_plain() -> Self {
        Self::listen(None, String::new())
    }

    fn listen(tls: Option<Arc<ServerConfig>>, ca_pem: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        shared.state().url = format!("{scheme}://{address}");
        let of_acceptor = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, tls.as_ref(), &of_acceptor));
        Self { shared, address, scheme, ca_pem, acceptor: Some(acceptor) }
    }

    /// Its URL: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA that its certificate is under.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Serves exactly these files for the repository.
    pub fn publish(&self, repo: &Repo) {
        self.shared.state().files.insert(repo.gun().to_owned(), repo.files().clone());
    }

    /// Serves one file: `timestamp`, `2.root`, `targets/releases.<hex>`.
    pub fn put(&self, gun: &str, stem: &str, bytes: impl Into<Vec<u8>>) {
        self.shared.state().files.entry(gun.to_owned()).or_default().insert(stem.to_owned(), bytes.into());
    }

    /// Stops serving a repository.
    pub fn remove(&self, gun: &str) {
        self.shared.state().files.remove(gun);
    }

    /// Asks for sign-in from now on.
    pub fn require(&self, sign_in: SignIn) {
        self.shared.state().sign_in = sign_in;
    }

    /// Forgets all tokens that were given out, as a restarted server with a new key does.
    pub fn revoke_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Misbehaves where the path contains `part`: `timestamp`, `/token`, a GUN, or `` for everywhere. The newest
    /// fault that fits counts.
    pub fn misbehave(&self, part: &str, fault: Fault) {
        self.shared.state().faults.insert(0, (part.to_owned(), fault));
    }

    /// Ends all misbehaviour.
    pub fn behave(&self) {
        self.shared.state().faults.clear();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The requests so far in short: `GET timestamp` for metadata, `GET /token` for the rest.
    pub fn round_trips(&self) -> Vec<String> {
        let short = |request: &Request| {
            let path = request.target.split('?').next().unwrap_or_default();
            let name = path.split_once("/_trust/tuf/").map_or(path, |(_, file)| file.trim_end_matches(".json"));
            // Hashes differ from run to run.
            let name = match name.rsplit_once('.') {
                Some((role, hash)) if hash.len() == 64 => role,
                _ => name,
            };
            format!("{} {name}", request.method)
        };
        self.requests().iter().map(short).collect()
    }

    /// How many requests had `part` in their path or query.
    pub fn count(&self, part: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.target.contains(part)).count()
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.shared.state().requests.clear();
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes the port and every connection. Nothing answers there afterwards.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let open = std::mem::take(&mut self.shared.state().open);
        for stream in open {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            // Wakes the acceptor, which then sees that it is over.
            let _ = TcpStream::connect(self.address);
            let _ = acceptor.join();
        }
    }

    /// Closes every open connection; new ones are taken.
    pub fn drop_connections(&self) {
        let open = std::mem::take(&mut self.shared.state().open);
        for stream in open {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TrustServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Sleeps, but not past the server's end.
    fn sleep(&self, wait: Duration) -> io::Result<()> {
        let mut left = wait;
        while !left.is_zero() {
            if self.is_stopped() {
                return Err(io::Error::other("stopped"));
            }
            let nap = left.min(Duration::from_millis(20));
            thread::sleep(nap);
            left -= nap;
        }
        Ok(())
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped() {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        if let Ok(handle) = stream.try_clone() {
            shared.state().open.push(handle);
        }
        let shared = Arc::clone(shared);
        let tls = tls.map(Arc::clone);
        thread::spawn(move || {
            let handle = stream.try_clone();
            let mut stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(config) => match ServerConnection::new(config) {
                    Ok(connection) => Box::new(StreamOwned::new(connection, stream)),
                    Err(_) => return,
                },
            };
            // An error is how a connection ends; whoever tests sees it at the other side.
            while serve(&mut *stream, &shared).is_ok() {}
            drop(stream);
            if let Ok(handle) = handle {
                let _ = handle.shutdown(Shutdown::Both);
            }
        });
    }
}

/// One request and its answer; an error ends the connection.
fn serve(stream: &mut dyn Stream, shared: &Shared) -> io::Result<()> {
    let request = read_request(stream)?;
    let path = request.target.split('?').next().unwrap_or_default().to_owned();
    let (fault, response) = {
        let mut state = shared.state();
        state.requests.push(request.clone());
        let position = state.faults.iter().position(|(part, _)| path.contains(part.as_str()));
        let mut fault = position.and_then(|at| state.faults.get(at)).map(|(_, fault)| *fault);
        if let (Some(at), Some(Fault::FailAfter(left))) = (position, fault) {
            fault = if left == 0 { Some(Fault::Status(500)) } else { None };
            state.faults[at].1 = Fault::FailAfter(left.saturating_sub(1));
        }
        (fault, state.answer(&request, &path))
    };
    match fault {
        None => response.send(stream),
        Some(fault) => misbehave(stream, shared, fault, response, &request.target),
    }
}

fn misbehave(
    stream: &mut dyn Stream,
    shared: &Shared,
    fault: Fault,
    response: Response,
    target: &str,
) -> io::Result<()> {
    let over = || Err(io::Error::other("fault"));
    match fault {
        Fault::Stall => {
            shared.sleep(Duration::from_secs(600))?;
            over()
        }
        Fault::Delay(wait) => {
            shared.sleep(wait)?;
            response.send(stream)
        }
        Fault::Drip => {
            stream.write_all(response.head().as_bytes())?;
            drip(stream, shared, &response.body)
        }
        Fault::DripHead => drip(stream, shared, response.head().as_bytes()),
        Fault::Reset => over(),
        Fault::ShortBody => {
            let longer = Response { length: Length::Claimed(response.body.len() + 1000), ..response };
            longer.send(stream)?;
            over()
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
            pour(stream, shared, bytes, |stream, piece| stream.write_all(piece))
        }
        Fault::HugeChunked(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            pour(stream, shared, bytes, |stream, piece| {
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
        Fault::Unauthorized => {
            let mut response = shared.state().challenge("");
            if response.headers.is_empty() {
                response.headers.push(("WWW-Authenticate".to_owned(), "Basic realm=\"never\"".to_owned()));
            }
            response.send(stream)
        }
        Fault::Body(text) => Response::new(200, text).send(stream),
        Fault::FailAfter(_) => response.send(stream),
    }
}

fn drip(stream: &mut dyn Stream, shared: &Shared, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        stream.flush()?;
        shared.sleep(Duration::from_secs(1))?;
    }
    Ok(())
}

fn pour(
    stream: &mut dyn Stream,
    shared: &Shared,
    bytes: u64,
    send: impl Fn(&mut dyn Stream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let piece = vec![b' '; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        if shared.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        send(stream, &piece[..now])?;
        left -= now as u64;
    }
    stream.flush()
}

fn read_request(stream: &mut dyn Stream) -> io::Result<Request> {
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
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0).min(1 << 20);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request {
        method,
        target,
        authorization: header("authorization"),
        user_agent: header("user-agent"),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

impl State {
    fn answer(&mut self, request: &Request, path: &str) -> Response {
        if path == "/token" {
            return self.token(request);
        }
        let Some((gun, file)) = path.strip_prefix("/v2/").and_then(|rest| rest.split_once("/_trust/tuf/")) else {
            return Response::error(404, "NOT_FOUND");
        };
        if request.method != "GET" {
            return Response::error(405, "UNSUPPORTED");
        }
        if !self.may_read(gun, request.authorization.as_deref()) {
            return self.challenge(gun);
        }
        let stem = file.strip_suffix(".json").unwrap_or_default();
        match self.files.get(gun).and_then(|files| files.get(stem)) {
            Some(bytes) => Response::new(200, bytes.clone()),
            None => Response::error(404, "METADATA_NOT_FOUND"),
        }
    }

    fn may_read(&self, gun: &str, authorization: Option<&str>) -> bool {
        match &self.sign_in {
            SignIn::No => true,
            SignIn::Bearer(_) => {
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                let wanted = format!("repository:{gun}:pull");
                token.and_then(|token| self.tokens.get(token)).is_some_and(|scope| *scope == wanted)
            }
            SignIn::Basic(users) => basic(authorization).is_some_and(|user| users.contains(&user)),
        }
    }

    fn challenge(&self, gun: &str) -> Response {
        let mut response = Response::error(401, "UNAUTHORIZED");
        let challenge = match &self.sign_in {
            SignIn::No => return response,
            SignIn::Basic(_) => "Basic realm=\"trust server\"".to_owned(),
            SignIn::Bearer(service) => {
                let realm = service.realm.clone().unwrap_or_else(|| format!("{}/token", self.url));
                // The scope is a trap: whoever uses it instead of building its own gets nothing.
                let before = service.before_challenge;
                format!("{before}Bearer realm=\"{realm}\",service=\"notary\",scope=\"repository:{gun}:pull,push\"")
            }
        };
        response.headers.push(("WWW-Authenticate".to_owned(), challenge));
        response
    }

    fn token(&mut self, request: &Request) -> Response {
        let SignIn::Bearer(service) = self.sign_in.clone() else { return Response::error(404, "NOT_FOUND") };
        let (parameters, user) = match request.method.as_str() {
            "GET" if service.get => {
                let query = request.target.split_once('?').map_or("", |(_, query)| query);
                (parameters(query), basic(request.authorization.as_deref()))
            }
            "POST" => {
                let form = parameters(&request.body);
                let field = |name: &str| form.get(name).cloned();
                let user = match field("grant_type").as_deref() {
                    Some("password") => field("username").zip(field("password")),
                    Some("refresh_token") => Some("<token>".to_owned()).zip(field("refresh_token")),
                    _ => None,
                };
                (form, user)
            }
            _ => return Response::error(405, "UNSUPPORTED"),
        };
        if parameters.get("service").map(String::as_str) != Some("notary") {
            return Response::error(400, "SERVICE");
        }
        let scope = parameters.get("scope").cloned().unwrap_or_default();
        let known = match &user {
            None => service.anonymous,
            Some(user) => service.users.contains(user),
        };
        if !known {
            return Response::error(401, "UNAUTHORIZED");
        }
        let powerless: BTreeSet<&String> = service.powerless.iter().collect();
        let opens = if user.is_some_and(|(user, _)| powerless.contains(&user)) { String::new() } else { scope };
        self.issued += 1;
        let token = format!("token-{}", self.issued);
        self.tokens.insert(token.clone(), opens);
        let expires = service.expires_in.map(|seconds| format!(",\"expires_in\":{seconds}")).unwrap_or_default();
        Response::new(200, format!("{{\"{}\":\"{token}\"{expires}}}", service.field))
    }
}

fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let bytes = BASE64_STANDARD.decode(authorization?.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn parameters(text: &str) -> BTreeMap<String, String> {
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

struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: Length,
}

enum Length {
    Right,
    Claimed(usize),
    Unsaid,
}

impl Response {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), length: Length::Right }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"made up\",\"detail\":null}}]}}"))
    }

    fn typed(mut self, media_type: &str) -> Self {
        self.headers.push(("Content-Type".to_owned(), media_type.to_owned()));
        self
    }

    fn head(&self) -> String {
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

    fn send(&self, stream: &mut dyn Stream) -> io::Result<()> {
        let mut bytes = self.head().into_bytes();
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes)?;
        stream.flush()
    }
}
