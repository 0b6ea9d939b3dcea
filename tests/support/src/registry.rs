//! An image registry for tests and the quickstart: TLS under a generated CA, manifests, blobs, tags and the referrers API,
//! Docker's token protocol or Basic, a log of all requests with their times, and faults on demand. It stops on drop.
//!
//! ```no_run
//! # use portreeve_test_support::cosign::{Artifact, Bundle, Key, Statement};
//! # use portreeve_test_support::registry::{Fault, Referrers, Registry};
//! let registry = Registry::start();
//! let image = registry.push_image("plant/plc", "v1", "the first version");
//! let bundle = Bundle::dsse(&Statement::new(&image).bytes(), &Key::p256()).bytes();
//! registry.attach("plant/plc", &image, &Artifact::bundle(&image, bundle));
//! println!("{}/plant/plc:v1 under\n{}", registry.host(), registry.ca_pem());
//! registry.serve_referrers(Referrers::Absent(404));
//! registry.misbehave("/blobs/", Fault::Status(500));
//! ```
//!
//! Nothing is checked that is published here: the digests of manifests and blobs are right, and everything else is what
//! the test says.

use std::net::SocketAddr;
use std::time::Duration;

use crate::certificates::Authority;
use crate::server::Server;

use self::content::Content;
pub use self::content::{Change, Referrers};
pub use self::publish::media_types;
pub use crate::server::Exchange;
pub use crate::server::fault::Fault;
pub use crate::server::sign_in::{SignIn, TokenService};
pub use crate::server::wire::Request;

mod content;
mod publish;

/// The running registry.
pub struct Registry {
    server: Server<Content>,
    ca_pem: String,
}

impl Registry {
    /// Starts on a loopback port under a CA of its own.
    pub fn start() -> Self {
        Self::start_under(&Authority::named("Registry Test CA"))
    }

    /// Starts with a certificate of this CA, for `localhost` and `127.0.0.1`.
    pub fn start_under(authority: &Authority) -> Self {
        let (chain, key) = authority.server(&["localhost", "127.0.0.1"]);
        Self::start_with(&chain, &key, authority.pem())
    }

    /// Starts with this certificate.
    pub fn start_with(chain_pem: &str, key_pem: &str, ca_pem: String) -> Self {
        Self { server: Server::start_lasting(Some((chain_pem, key_pem))), ca_pem }
    }

    /// Starts without TLS.
    pub fn start_plain() -> Self {
        Self { server: Server::start_lasting(None), ca_pem: String::new() }
    }

    /// The URL: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The registry in names of images: `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        self.address().to_string()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The CA of its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// How it answers requests for referrers from now on.
    pub fn serve_referrers(&self, referrers: Referrers) {
        self.server.state().content.referrers = referrers;
    }

    /// Divides lists of referrers into pages of this number of entries.
    pub fn page_referrers(&self, size: usize) {
        self.server.state().content.page = Some(size);
    }

    /// Demands sign-in from now on.
    pub fn require(&self, sign_in: SignIn) {
        self.server.state().gate.sign_in = sign_in;
    }

    /// Forgets all issued tokens, as a restarted server with a new key does.
    pub fn revoke_tokens(&self) {
        self.server.state().gate.revoke_tokens();
    }

    /// Shows this fault if the path contains `part`: `/manifests/v1`, `/blobs/`, `/referrers/`, `/token`, a repository, or
    /// `` for every path. The newest fault that fits counts.
    pub fn misbehave(&self, part: &str, fault: Fault) {
        self.server.state().faults.insert(0, (part.to_owned(), fault));
    }

    /// Changes the responses whose path contains `part`. All changes that fit are made, in the order of the calls.
    pub fn change(&self, part: &str, change: Change) {
        self.server.state().content.changes.push((part.to_owned(), change));
    }

    /// Ends all faults and changes.
    pub fn behave(&self) {
        let mut state = self.server.state();
        state.faults.clear();
        state.content.changes.clear();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Every request so far, with its times.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.server.state().log.clone()
    }

    /// The requests so far in short, in the order in which they came: `GET manifests/v1`, `GET referrers/sha256:…`,
    /// `GET /token`. Hashes are left out, because they differ from run to run.
    pub fn round_trips(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, short(&request.target))).collect()
    }

    /// The number of requests with `part` in their path or query.
    pub fn count(&self, part: &str) -> usize {
        self.server.count(part)
    }

    /// The largest number of requests with `part` in their path that were open at the same time. A registry answers
    /// faster than a client asks: set [`Fault::Delay`] before.
    pub fn most_at_once(&self, part: &str) -> usize {
        let exchanges = self.exchanges();
        let fit: Vec<_> = exchanges.iter().filter(|exchange| exchange.request.target.contains(part)).collect();
        let open_with = |one: &Exchange| fit.iter().filter(|other| other.is_open_at(one.began)).count();
        fit.iter().map(|exchange| open_with(exchange)).max().unwrap_or(0)
    }

    /// The most requests so far of which each may depend on the one before it, if every response takes at least this long
    /// ([`Fault::Delay`]): a request that began earlier than this after another was made beside it.
    pub fn in_a_row(&self, response_time: Duration) -> usize {
        self.server.in_a_row(response_time)
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.server.forget_requests();
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Closes every open connection. New ones are accepted.
    pub fn drop_connections(&self) {
        self.server.drop_connections();
    }

    /// Closes the port and every connection. Connections are refused until [`Registry::come_back`].
    pub fn go_away(&self) {
        self.server.stop();
    }

    /// Listens again, on the same port and with the same content.
    pub fn come_back(&self) {
        self.server.start_again();
    }
}

fn short(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let kinds = ["/manifests/", "/referrers/", "/blobs/"];
    let found = kinds.iter().find_map(|kind| path.rfind(kind).map(|at| &path[at + 1..]));
    let Some(name) = found else { return path.to_owned() };
    let Some(at) = name.find("sha256").map(|at| at + "sha256:".len()) else { return name.to_owned() };
    match name.get(at + 64..) {
        Some(rest) => format!("{}…{rest}", &name[..at]),
        None => name.to_owned(),
    }
}
