//! A Notary server for tests and the quickstart: TLS under a generated CA, metadata at Notary's paths, Docker's token
//! protocol or Basic, a log of all requests, and faults on demand. It stops on drop.
//!
//! ```no_run
//! # use portreeve_test_support::{signer::Signer, trust_server::{Fault, TrustServer}};
//! let server = TrustServer::start();
//! server.publish(&Signer::new("registry.local/app").release("v1", [7; 32], 1, &[]).publish());
//! println!("{} under\n{}", server.url(), server.ca_pem());
//! server.misbehave("timestamp", Fault::Status(500));
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use self::fault::misbehave;
use self::wire::{Response, Stream, basic, parameters, read_request};
use crate::certificates::Authority;
use crate::signer::Repo;

mod fault;
mod wire;

pub use self::fault::Fault;
pub use self::wire::Request;

/// The sign-in that the trust server demands.
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
    /// Users whose tokens are not accepted.
    pub powerless: Vec<String>,
    /// Does a client without credentials get a token?
    pub anonymous: bool,
    /// Does it answer GET? Otherwise GET gives 405, and only a POST form is accepted.
    pub get: bool,
    /// `expires_in` of its responses.
    pub expires_in: Option<i64>,
    /// `token` or `access_token`.
    pub field: &'static str,
    /// The realm in the challenge, if it is not its own.
    pub realm: Option<String>,
    /// A scheme and parameters before its challenge.
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

/// Status and body of the response to a request.
type Others = Arc<dyn Fn(&Request) -> (u16, Vec<u8>) + Send + Sync>;

#[derive(Default)]
struct State {
    url: String,
    /// By GUN and file stem.
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    sign_in: SignIn,
    /// Answers requests outside of Notary's paths: status and body.
    others: Option<Others>,
    /// Part of a path, and its fault.
    faults: Vec<(String, Fault)>,
    requests: Vec<Request>,
    /// The issued tokens, each with its scope (empty for none).
    tokens: BTreeMap<String, String>,
    issued: usize,
    open: Vec<TcpStream>,
}

impl TrustServer {
    /// Starts on a free loopback port under a CA of its own.
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

    /// The URL: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA of its certificate.
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

    /// Answers requests outside of Notary's paths by this, so that another kind of server has the same faults.
    pub fn answer_others(&self, others: impl Fn(&Request) -> (u16, Vec<u8>) + Send + Sync + 'static) {
        self.shared.state().others = Some(Arc::new(others));
    }

    /// Demands sign-in from now on.
    pub fn require(&self, sign_in: SignIn) {
        self.shared.state().sign_in = sign_in;
    }

    /// Forgets all issued tokens, as a restarted server with a new key does.
    pub fn revoke_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Shows this fault if the path contains `part`: `timestamp`, `/token`, a GUN, or `` for every path. The newest
    /// fault that fits counts.
    pub fn misbehave(&self, part: &str, fault: Fault) {
        self.shared.state().faults.insert(0, (part.to_owned(), fault));
    }

    /// Ends all faults.
    pub fn behave(&self) {
        self.shared.state().faults.clear();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The requests so far in short: `GET timestamp` for metadata, `GET /token` for others.
    pub fn round_trips(&self) -> Vec<String> {
        let short = |request: &Request| {
            let path = request.target.split('?').next().unwrap_or_default();
            let name = path.split_once("/_trust/tuf/").map_or(path, |(_, file)| file.trim_end_matches(".json"));
            // The hash is left out, because it differs from run to run.
            let name = match name.rsplit_once('.') {
                Some((role, hash)) if hash.len() == 64 => role,
                _ => name,
            };
            format!("{} {name}", request.method)
        };
        self.requests().iter().map(short).collect()
    }

    /// The number of requests with `part` in their path or query.
    pub fn count(&self, part: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.target.contains(part)).count()
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.shared.state().requests.clear();
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes the port and every connection. Connections are refused afterwards.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let open = std::mem::take(&mut self.shared.state().open);
        for stream in open {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            // Wakes the acceptor, so that it sees the end.
            let _ = TcpStream::connect(self.address);
            let _ = acceptor.join();
        }
    }

    /// Closes every open connection. New ones are accepted.
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

    /// Sleeps, at most until the server's end.
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
            // A connection ends with an error. The test sees it at its own end.
            while serve(&mut *stream, &shared).is_ok() {}
            drop(stream);
            if let Ok(handle) = handle {
                let _ = handle.shutdown(Shutdown::Both);
            }
        });
    }
}

/// Reads one request and answers it. An error ends the connection.
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

impl State {
    fn answer(&mut self, request: &Request, path: &str) -> Response {
        if path == "/token" {
            return self.token(request);
        }
        let Some((gun, file)) = path.strip_prefix("/v2/").and_then(|rest| rest.split_once("/_trust/tuf/")) else {
            return match &self.others {
                Some(others) => {
                    let (status, body) = others(request);
                    Response::new(status, body).typed("application/json")
                }
                None => Response::error(404, "NOT_FOUND"),
            };
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
                // The wrong scope is a trap: a client that uses it instead of its own gets no useful token.
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
