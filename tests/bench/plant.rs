//! Servers with signed images, and installations that require the signatures.

use portreeve_test_support::cosign::{Artifact, Bundle, Key as CosignKey, Statement};
use portreeve_test_support::notation::{self, Jws, Kind};
use portreeve_test_support::registry::Registry;
use portreeve_test_support::signer::{Key, Repo, Signer};
use portreeve_test_support::trust_server::{Fault, SignIn, TokenService, TrustServer};
use serde_json::json;

use crate::site::{REGISTRY, Site};

/// A repository with one tag that alice signed.
pub(crate) fn repository(path: &str) -> Repo {
    repository_by(path, Key::p256())
}

/// The same, signed with this key.
pub(crate) fn repository_by(path: &str, alice: Key) -> Repo {
    let signer = Signer::new(&format!("{REGISTRY}/{path}")).signer_with("alice", alice);
    signer.release("v1", [7; 32], 1234, &["alice"]).publish()
}

/// `registry.local:9001/plant/plc:v1`.
pub(crate) fn image(path: &str) -> String {
    format!("{REGISTRY}/{path}:v1")
}

/// `plant/app-000` and the next ones: names of one length, so that requests for them have one.
pub(crate) fn apps(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("plant/app-{number:03}")).collect()
}

/// A trust server with this repository, and an installation that requires its signer.
pub(crate) fn plant(repo: &Repo) -> (TrustServer, Site) {
    let trust_server = TrustServer::start();
    trust_server.publish(repo);
    let site = Site::new(&trust_server.url(), trust_server.ca_pem());
    site.policy_of(repo);
    (trust_server, site)
}

/// The signatures of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Notary,
    Cosign,
    Notation,
}

impl Scheme {
    /// Those that differ in what they ask of a server. Notation asks the same of a registry as cosign.
    pub(crate) const ALL: [Self; 2] = [Self::Notary, Self::Cosign];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Notary => "Notary v1",
            Self::Cosign => "cosign",
            Self::Notation => "Notation",
        }
    }
}

/// A server that holds signatures: a trust server, or a registry.
pub(crate) enum Source {
    Notary(TrustServer),
    Cosign(Registry),
    Notation(Registry),
}

impl Source {
    /// A server with these repositories, all signed with one key: the PEM of the key, or of its root
    /// certificate, beside it.
    pub(crate) fn start(scheme: Scheme, paths: &[String]) -> (Self, String) {
        match scheme {
            Scheme::Notary => {
                let (trust_server, alice) = (TrustServer::start(), Key::p256());
                paths.iter().for_each(|path| trust_server.publish(&repository_by(path, alice.clone())));
                (Self::Notary(trust_server), alice.public_pem())
            }
            Scheme::Cosign => {
                let (registry, key) = (Registry::start(), CosignKey::p256());
                for path in paths {
                    let signed = registry.push_image(path, "v1", path);
                    let bundle = Bundle::dsse(&Statement::new(&signed).bytes(), &key).bytes();
                    registry.attach(path, &signed, &Artifact::bundle(&signed, bundle));
                }
                (Self::Cosign(registry), key.public_pem())
            }
            Scheme::Notation => {
                let (registry, chain) = (Registry::start(), notation::chain(Kind::P256, Kind::P256));
                for path in paths {
                    let signed = registry.push_image(path, "v1", path);
                    let envelope = Jws::new(&signed.manifest, &chain).bytes();
                    registry.attach(path, &signed, &notation::artifact(&signed, "application/jose+json", envelope));
                }
                (Self::Notation(registry), chain[chain.len() - 1].pem())
            }
        }
    }

    /// The same, with an installation that requires the signatures.
    pub(crate) fn with_site(scheme: Scheme, paths: &[String]) -> (Self, Site) {
        let (source, key) = Self::start(scheme, paths);
        let site = source.site(source.port(), &key);
        (source, site)
    }

    /// An installation that requires this key's signatures, and reaches the server on this port.
    pub(crate) fn site(&self, port: u16, key: &str) -> Site {
        let url = format!("https://localhost:{port}");
        let everything = [format!("{REGISTRY}/*")];
        match self {
            Self::Notary(trust_server) => {
                let site = Site::new(&url, trust_server.ca_pem());
                site.policy("plant", &everything, ("alice", key));
                site
            }
            Self::Cosign(registry) => {
                let mut site = Site::new("https://notary.invalid", registry.ca_pem());
                site.set("registries", "endpoints", json!({ REGISTRY: url }));
                let signers = json!([{ "name": "alice", "publicKey": key }]);
                site.policy_with("plant", &everything, &json!({ "cosign": { "signers": signers } }));
                site
            }
            Self::Notation(registry) => {
                let mut site = Site::new("https://notary.invalid", registry.ca_pem());
                site.set("registries", "endpoints", json!({ REGISTRY: url }));
                site.trust_store("plant", key);
                let required = json!({ "trustStores": ["ca:plant"], "trustedIdentities": ["*"] });
                site.policy_with("plant", &everything, &json!({ "notation": required }));
                site
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Notary(server) => server.address().port(),
            Self::Cosign(server) | Self::Notation(server) => server.address().port(),
        }
    }

    /// Demands a token, which every client gets from the service behind this port.
    pub(crate) fn require_token(&self, port: u16) {
        let realm = Some(format!("https://localhost:{port}/token"));
        let sign_in = SignIn::Bearer(TokenService { anonymous: true, realm, ..TokenService::default() });
        match self {
            Self::Notary(server) => server.require(sign_in),
            Self::Cosign(server) | Self::Notation(server) => server.require(sign_in),
        }
    }

    /// Shows this fault from now on, or none. All earlier connections are closed.
    pub(crate) fn misbehave(&self, fault: Option<Fault>) {
        match self {
            Self::Notary(server) => {
                server.behave();
                server.drop_connections();
                fault.into_iter().for_each(|fault| server.misbehave("", fault));
            }
            Self::Cosign(server) | Self::Notation(server) => {
                server.behave();
                server.drop_connections();
                fault.into_iter().for_each(|fault| server.misbehave("", fault));
            }
        }
    }

    /// The digest of the image in this repository.
    pub(crate) fn digest(&self, path: &str) -> String {
        match self {
            Self::Notary(_) => format!("sha256:{}", "07".repeat(32)),
            // The same seed makes the same image.
            Self::Cosign(registry) | Self::Notation(registry) => registry.push_image(path, "v1", path).digest(),
        }
    }

    pub(crate) fn forget_requests(&self) {
        match self {
            Self::Notary(server) => server.forget_requests(),
            Self::Cosign(server) | Self::Notation(server) => server.forget_requests(),
        }
    }

    /// The requests so far in short.
    pub(crate) fn round_trips(&self) -> Vec<String> {
        match self {
            Self::Notary(server) => server.round_trips(),
            Self::Cosign(server) | Self::Notation(server) => server.round_trips(),
        }
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        match self {
            Self::Notary(server) => server.connections(),
            Self::Cosign(server) | Self::Notation(server) => server.connections(),
        }
    }
}
