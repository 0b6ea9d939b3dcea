//! What the servers for tests share: a listener on loopback, with TLS or without; sign-in; a log of the requests; faults on
//! demand. What a server answers is its own.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use self::fault::{Fault, misbehave};
use self::sign_in::Gate;
use self::wire::{Request, Response, Stream, read_request};

pub(crate) mod fault;
pub(crate) mod sign_in;
pub(crate) mod wire;

/// What one kind of server holds, and what it answers.
pub(crate) trait Content: Default + Send + 'static {
    /// `service` in the challenge of its sign-in.
    const SERVICE: &'static str;

    /// The response to a request for this path (the target without its query).
    fn answer(&mut self, gate: &mut Gate, request: &Request, path: &str) -> Response;
}

/// A request with the times at which it came and was answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// When it had been read.
    pub began: Instant,
    /// When its response had been written. `None` before that.
    pub ended: Option<Instant>,
}

impl Exchange {
    /// Was this request open at this time?
    pub(crate) fn is_open_at(&self, time: Instant) -> bool {
        self.began <= time && self.ended.is_none_or(|ended| time < ended)
    }
}

/// A server. It stops on drop.
pub(crate) struct Server<C: Content> {
    shared: Arc<Shared<C>>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct State<C> {
    pub(crate) content: C,
    pub(crate) gate: Gate,
    /// Part of a path, and its fault.
    pub(crate) faults: Vec<(String, Fault)>,
    pub(crate) log: Vec<Exchange>,
    /// The number of requests that were dropped from the log.
    dropped: usize,
    open: Vec<TcpStream>,
}

struct Shared<C> {
    state: Mutex<State<C>>,
    stop: Stop,
    connections: AtomicUsize,
}

/// The end of a server.
#[derive(Default)]
pub(crate) struct Stop(AtomicBool);

impl<C: Content> Server<C> {
    /// Starts on a free loopback port. The certificate is a PEM chain and a PEM key.
    pub(crate) fn start(certificate: Option<(&str, &str)>) -> Self {
        Self::listen_on(TcpListener::bind("127.0.0.1:0").expect("a loopback port"), certificate)
    }

    /// Starts on a port that the kernel gives to no outgoing connection, so that it is still free after [`Server::stop`].
    pub(crate) fn start_lasting(certificate: Option<(&str, &str)>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let begin = std::process::id() as usize % 97 * 80;
        let listener = loop {
            let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 7_800;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", u16::try_from(port).expect("a port"))) {
                break listener;
            }
        };
        Self::listen_on(listener, certificate)
    }

    fn listen_on(listener: TcpListener, certificate: Option<(&str, &str)>) -> Self {
        let tls = certificate.map(|(chain, key)| Arc::new(serving(chain, key)));
        let address = listener.local_addr().expect("its address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = State {
            content: C::default(),
            gate: Gate::new(format!("{scheme}://{address}"), C::SERVICE),
            faults: Vec::new(),
            log: Vec::new(),
            dropped: 0,
            open: Vec::new(),
        };
        let shared = Shared { state: Mutex::new(state), stop: Stop::default(), connections: AtomicUsize::new(0) };
        let server = Self { shared: Arc::new(shared), address, tls, acceptor: Mutex::new(None) };
        server.accept(listener);
        server
    }

    fn accept(&self, listener: TcpListener) {
        let (tls, shared) = (self.tls.clone(), Arc::clone(&self.shared));
        let acceptor = thread::spawn(move || accept(&listener, tls.as_ref(), &shared));
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
    }

    /// The URL: `https://127.0.0.1:<port>`.
    pub(crate) fn url(&self) -> String {
        self.state().gate.url.clone()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<C>> {
        self.shared.state()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().log.iter().map(|exchange| exchange.request.clone()).collect()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.state().log.iter().filter(|exchange| exchange.request.target.contains(part)).count()
    }

    /// The most requests so far of which each may depend on the one before it, if every response takes at least this long: a
    /// request that began earlier than this after another was made beside it.
    pub(crate) fn in_a_row(&self, response_time: Duration) -> usize {
        let mut began: Vec<_> = self.state().log.iter().map(|exchange| exchange.began).collect();
        began.sort();
        let mut row: Vec<Instant> = Vec::new();
        for began in began {
            if row.last().is_none_or(|last| began >= *last + response_time) {
                row.push(began);
            }
        }
        row.len()
    }

    pub(crate) fn forget_requests(&self) {
        let mut state = self.state();
        state.dropped += state.log.len();
        state.log.clear();
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes the port and every connection. Connections are refused afterwards.
    pub(crate) fn stop(&self) {
        self.shared.stop.0.store(true, Ordering::SeqCst);
        self.drop_connections();
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(acceptor) = acceptor {
            // Wakes the acceptor, so that it sees the end.
            let _ = TcpStream::connect(self.address);
            let _ = acceptor.join();
            self.drop_connections(); // one that came in between
        }
    }

    /// Undoes [`Server::stop`], on the same port.
    pub(crate) fn start_again(&self) {
        self.stop();
        let listener = TcpListener::bind(self.address).expect("the same port");
        self.shared.stop.0.store(false, Ordering::SeqCst);
        self.accept(listener);
    }

    /// Closes every open connection. New ones are accepted.
    pub(crate) fn drop_connections(&self) {
        let open = std::mem::take(&mut self.state().open);
        for stream in open {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl<C: Content> Drop for Server<C> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<C> Shared<C> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stop {
    pub(crate) fn has_come(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Sleeps, at most until the server's end.
    pub(crate) fn sleep(&self, wait: Duration) -> io::Result<()> {
        let mut left = wait;
        while !left.is_zero() {
            if self.has_come() {
                return Err(io::Error::other("stopped"));
            }
            let nap = left.min(Duration::from_millis(20));
            thread::sleep(nap);
            left -= nap;
        }
        Ok(())
    }
}

fn serving(chain_pem: &str, key_pem: &str) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("PEM");
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a serving certificate")
}

fn accept<C: Content>(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared<C>>) {
    for stream in listener.incoming() {
        if shared.stop.has_come() {
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
fn serve<C: Content>(stream: &mut dyn Stream, shared: &Shared<C>) -> io::Result<()> {
    let request = read_request(stream)?;
    let path = request.target.split('?').next().unwrap_or_default().to_owned();
    let (number, fault, response, challenge) = {
        let mut state = shared.state();
        let number = state.dropped + state.log.len();
        state.log.push(Exchange { request: request.clone(), began: Instant::now(), ended: None });
        let position = state.faults.iter().position(|(part, _)| path.contains(part.as_str()));
        let mut fault = position.and_then(|at| state.faults.get(at)).map(|(_, fault)| *fault);
        if let (Some(at), Some(Fault::FailAfter(left))) = (position, fault) {
            fault = if left == 0 { Some(Fault::Status(500)) } else { None };
            state.faults[at].1 = Fault::FailAfter(left.saturating_sub(1));
        }
        let State { content, gate, .. } = &mut *state;
        (number, fault, content.answer(gate, &request, &path), gate.challenge(""))
    };
    let without_body = request.method == "HEAD";
    let sent = match fault {
        None if without_body => stream.write_all(response.head().as_bytes()).and_then(|()| stream.flush()),
        None => response.send(stream),
        Some(fault) => misbehave(stream, &shared.stop, fault, response, challenge, &request.target),
    };
    let mut state = shared.state();
    let dropped = state.dropped;
    if let Some(exchange) = number.checked_sub(dropped).and_then(|at| state.log.get_mut(at)) {
        exchange.ended = Some(Instant::now());
    }
    sent
}
