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

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::certificates::Authority;
use crate::server::sign_in::Gate;
use crate::server::wire::Response;
use crate::server::{Content, Server};
use crate::signer::Repo;

pub use crate::server::fault::Fault;
pub use crate::server::sign_in::{SignIn, TokenService};
pub use crate::server::wire::Request;

/// The running server.
pub struct TrustServer {
    server: Server<Files>,
    ca_pem: String,
}

/// Status and body of the response to a request.
type Others = Arc<dyn Fn(&Request) -> (u16, Vec<u8>) + Send + Sync>;

#[derive(Default)]
struct Files {
    /// By GUN and file stem.
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Answers requests outside of Notary's paths: status and body.
    others: Option<Others>,
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
        Self { server: Server::start(Some((chain_pem, key_pem))), ca_pem }
    }

    /// Starts without TLS.
    pub fn start_plain() -> Self {
        Self { server: Server::start(None), ca_pem: String::new() }
    }

    /// The URL: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The CA of its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Serves exactly these files for the repository.
    pub fn publish(&self, repo: &Repo) {
        self.server.state().content.files.insert(repo.gun().to_owned(), repo.files().clone());
    }

    /// Serves one file: `timestamp`, `2.root`, `targets/releases.<hex>`.
    pub fn put(&self, gun: &str, stem: &str, bytes: impl Into<Vec<u8>>) {
        self.server.state().content.files.entry(gun.to_owned()).or_default().insert(stem.to_owned(), bytes.into());
    }

    /// Stops serving a repository.
    pub fn remove(&self, gun: &str) {
        self.server.state().content.files.remove(gun);
    }

    /// Answers requests outside of Notary's paths by this, so that another kind of server has the same faults.
    pub fn answer_others(&self, others: impl Fn(&Request) -> (u16, Vec<u8>) + Send + Sync + 'static) {
        self.server.state().content.others = Some(Arc::new(others));
    }

    /// Demands sign-in from now on.
    pub fn require(&self, sign_in: SignIn) {
        self.server.state().gate.sign_in = sign_in;
    }

    /// Forgets all issued tokens, as a restarted server with a new key does.
    pub fn revoke_tokens(&self) {
        self.server.state().gate.revoke_tokens();
    }

    /// Shows this fault if the path contains `part`: `timestamp`, `/token`, a GUN, or `` for every path. The newest
    /// fault that fits counts.
    pub fn misbehave(&self, part: &str, fault: Fault) {
        self.server.state().faults.insert(0, (part.to_owned(), fault));
    }

    /// Ends all faults.
    pub fn behave(&self) {
        self.server.state().faults.clear();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
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

    /// The most requests so far of which each may depend on the one before it, if every response takes at least this long
    /// ([`Fault::Delay`]): a request that began earlier than this after another was made beside it.
    pub fn in_a_row(&self, response_time: Duration) -> usize {
        self.server.in_a_row(response_time)
    }

    /// The number of requests with `part` in their path or query.
    pub fn count(&self, part: &str) -> usize {
        self.server.count(part)
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.server.forget_requests();
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Closes the port and every connection. Connections are refused afterwards.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Closes every open connection. New ones are accepted.
    pub fn drop_connections(&self) {
        self.server.drop_connections();
    }
}

impl Content for Files {
    const SERVICE: &'static str = "notary";

    fn answer(&mut self, gate: &mut Gate, request: &Request, path: &str) -> Response {
        if path == "/token" {
            return gate.token(request);
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
        if !gate.may_read(gun, request.authorization.as_deref()) {
            return gate.challenge(gun);
        }
        let stem = file.strip_suffix(".json").unwrap_or_default();
        match self.files.get(gun).and_then(|files| files.get(stem)) {
            Some(bytes) => Response::new(200, bytes.clone()),
            None => Response::error(404, "METADATA_NOT_FOUND"),
        }
    }
}
