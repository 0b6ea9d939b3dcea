//! Sessions with a real TLS server on a loopback port, well-behaved and otherwise.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_test_support::certificates::Authority;
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer};

use super::client::Client;
use super::session::{Scope, Server, Session, SessionError};
use crate::base::context::Deadline;
use crate::base::files::scratch::Scratch;
use crate::base::secret::Secret;
use crate::http::client::Http;
use crate::http::origin::Limits;
use crate::http::proxy::Proxies;
use crate::http::url::{PlainHttp, ServerUrl};
use crate::keychain::Credential;
use crate::keychain::credentials::Credentials;
use crate::metrics::{self, Metrics};

mod proxy;
mod sign_in;
mod transport;

const REPOSITORY: &str = "registry.local:9001/plant/plc";
const FILE: &str = "timestamp";

struct Bench {
    server: TrustServer,
    scratch: Scratch,
    client: Client,
}

impl Bench {
    fn new() -> Self {
        Self::of(TrustServer::start())
    }

    fn of(server: TrustServer) -> Self {
        server.put(REPOSITORY, FILE, "{\"signed\":1}");
        server.put(REPOSITORY, "root", "{\"signed\":2}");
        let scratch = Scratch::new();
        let ca = scratch.path().join("ca.pem");
        if !server.ca_pem().is_empty() {
            scratch.write("ca.pem", server.ca_pem());
        }
        let http = http(Some(ca), PlainHttp::Refused, Proxies::default());
        Self { server, scratch, client: Client::over(http, PlainHttp::Refused) }
    }

    fn fetch_with(&self, credentials: &[Credential], cap: usize, wait: Duration) -> Result<Vec<u8>, SessionError> {
        let server = ServerUrl::parse(&self.server.url(), PlainHttp::DangerouslyAllowed).unwrap();
        let credentials = Credentials::known(credentials.to_vec());
        get(&self.client, &server, &credentials, cap, Deadline::after(wait))
    }

    fn fetch(&self, credentials: &[Credential]) -> Result<Vec<u8>, SessionError> {
        self.fetch_with(credentials, 64 << 10, Duration::from_secs(20))
    }

    fn fetch_within(&self, wait: Duration) -> Result<Vec<u8>, SessionError> {
        self.fetch_with(&[], 64 << 10, wait)
    }

    /// The words of an unavailability; anything else fails the test.
    fn words(&self, credentials: &[Credential]) -> String {
        words(self.fetch(credentials))
    }
}

/// The body of a 200, by a session of its own.
fn get(
    client: &Client,
    server: &ServerUrl,
    credentials: &Credentials<'_>,
    cap: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, SessionError> {
    let server = Server { url: server, name: "trust server", peer: metrics::Peer::TrustServer };
    let mut session = Session::new(client, server, Scope::pull(REPOSITORY), credentials, deadline);
    let response = session.get(&format!("/v2/{REPOSITORY}/_trust/tuf/{FILE}.json"), cap)?;
    assert_eq!(response.status, 200);
    Ok(response.body)
}

/// A client that looks at its CA bundle before each request.
pub(super) fn http(ca: Option<PathBuf>, plain_http: PlainHttp, proxies: Proxies) -> Http {
    let metrics = Arc::new(Metrics::new());
    Http::checked_every(ca, plain_http, proxies, Duration::ZERO, Limits::NO_BULKHEAD, metrics).unwrap()
}

fn words(result: Result<Vec<u8>, SessionError>) -> String {
    match result {
        Err(SessionError::Unavailable(unavailable)) => unavailable.message,
        other => panic!("expected unavailable, not {other:?}"),
    }
}

pub(super) fn credential(user: &str, password: &str) -> Credential {
    Credential { username: user.to_owned(), password: Secret::new(password), source: format!("secret of {user}") }
}

/// A TCP server that begins TLS records and then drips them, and a proxy that drips the head of its answer.
fn dripping(first: Vec<u8>, then: u8) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let mut hello = [0; 4096];
            let _ = near.read(&mut hello);
            let _ = near.write_all(&first);
            while near.write_all(&[then]).is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    address
}
