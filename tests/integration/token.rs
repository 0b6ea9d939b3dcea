//! A token service like those of registries: it issues JWTs that the real Notary server accepts, in the two dialects in
//! use.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portreeve_test_support::temp::TempDir;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::https::{HttpsServer, Reply, Request};
use crate::pki::{Pki, params};

const ISSUER: &str = "test-token-service";
const SERVICE: &str = "test-notary";

/// Issues tokens to one user, over TLS under the test's CA.
pub(crate) struct TokenService {
    https: HttpsServer,
    state: Arc<State>,
    bundle: PathBuf,
    _dir: TempDir,
}

struct State {
    username: String,
    password: String,
    /// The OAuth dialect: GET is answered 405, and the token is called `access_token`.
    only_post: AtomicBool,
    /// Tokens are signed with a key that the Notary server does not trust.
    forge: AtomicBool,
    issued: AtomicUsize,
    refused: AtomicUsize,
    key: Vec<u8>,
    certificate: Vec<u8>,
}

impl TokenService {
    /// A service that answers GET with Basic, like Harbor's.
    pub(crate) fn start(pki: &Pki, username: &str, password: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params(&[], ISSUER).self_signed(&key).unwrap();
        let dir = TempDir::new();
        let bundle = dir.write("issuer.pem", certificate.pem());
        let state = Arc::new(State {
            username: username.to_owned(),
            password: password.to_owned(),
            only_post: AtomicBool::new(false),
            forge: AtomicBool::new(false),
            issued: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            key: key.serialize_der(),
            certificate: certificate.der().to_vec(),
        });
        let answering = Arc::clone(&state);
        let https = HttpsServer::start(pki, move |request| answering.answer(request));
        Self { https, state, bundle, _dir: dir }
    }

    /// From now on only the OAuth form is accepted. The real client does not speak it, so sign first.
    pub(crate) fn take_only_post(&self) {
        self.state.only_post.store(true, Ordering::SeqCst);
    }

    /// From now on the Notary server does not accept the tokens.
    pub(crate) fn issue_useless_tokens(&self) {
        self.state.forge.store(true, Ordering::SeqCst);
    }

    pub(crate) fn username(&self) -> &str {
        &self.state.username
    }

    pub(crate) fn password(&self) -> &str {
        &self.state.password
    }

    /// The number of tokens so far.
    pub(crate) fn issued(&self) -> usize {
        self.state.issued.load(Ordering::SeqCst)
    }

    /// The number of requests refused for their credentials so far.
    pub(crate) fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// `auth` in the Notary server's configuration.
    pub(crate) fn server_settings(&self) -> Value {
        json!({ "type": "token", "options": {
            "realm": format!("{}/service/token", self.https.url()),
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": self.bundle,
        }})
    }
}

impl State {
    fn answer(&self, request: &Request) -> Reply {
        let only_post = self.only_post.load(Ordering::SeqCst);
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if path != "/service/token" {
            return Reply::json(404, json!({}));
        }
        let (form, known) = match (request.method.as_str(), only_post) {
            ("GET", false) => (parse_form(query), self.knows_basic(request)),
            ("POST", true) => {
                let form = parse_form(&request.body);
                let value = |name| field(&form, name).unwrap_or_default();
                let known = value("grant_type") == "password"
                    && !value("client_id").is_empty()
                    && value("username") == self.username
                    && value("password") == self.password;
                (form, known)
            }
            _ => return Reply::json(405, json!({})),
        };
        if !known || field(&form, "service") != Some(SERVICE) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Reply::json(401, json!({ "errors": [{ "code": "UNAUTHORIZED" }] }));
        }
        self.issued.fetch_add(1, Ordering::SeqCst);
        let scopes = form.iter().filter(|(name, _)| name == "scope").map(|(_, scope)| scope.as_str());
        let name = if only_post { "access_token" } else { "token" };
        Reply::json(200, json!({ name: self.token(scopes), "expires_in": 300 }))
    }

    fn knows_basic(&self, request: &Request) -> bool {
        let wanted = format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)));
        request.header("Authorization") == Some(&wanted)
    }

    /// A JWT for scopes `repository:<name>:<actions>`. The name may contain colons.
    fn token<'a>(&self, scopes: impl Iterator<Item = &'a str>) -> String {
        let access: Vec<Value> = scopes
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
            })
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.certificate)] });
        let claims = json!({
            "iss": ISSUER, "sub": self.username, "aud": SERVICE, "exp": now + 300, "nbf": now - 60, "iat": now,
            "jti": now.to_string(), "access": access,
        });
        let text =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let random = SystemRandom::new();
        let other = KeyPair::generate().unwrap().serialize_der();
        let key = if self.forge.load(Ordering::SeqCst) { &other } else { &self.key };
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random).unwrap();
        let signature = key.sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

fn parse_form(text: &str) -> Vec<(String, String)> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::https::{Response, https, https_with};
    use crate::notary::{Digest, RealNotary, Signer, needs_notary};

    /// The real client signs with such a token. It reads without one, so the test reads by hand.
    #[test]
    fn the_real_server_takes_our_tokens_and_no_others() {
        needs_notary!();
        let pki = Pki::new();
        let tokens = TokenService::start(&pki, "robot$plant", "pass:word");
        let notary = RealNotary::with_tokens(&pki, &tokens);
        let repository = notary.repository("registry.local:9001/plant/plc");
        repository.add_signer(&Signer::new("alice")).sign("v1", &Digest::of("v1"), &["targets/releases"]);
        assert!(tokens.issued() > 0);
        let asked = tokens.issued();

        let path = "/v2/registry.local:9001/plant/plc/_trust/tuf/targets/releases.json";
        let read = |authorization: &str| {
            https_with(&pki, notary.port(), "GET", path, &[("Authorization", authorization)], b"").status
        };
        let scope = "scope=repository%3Aregistry.local%3A9001/plant/plc%3Apull&service=test-notary";
        let basic = format!("Basic {}", STANDARD.encode("robot$plant:pass:word"));
        let get = |basic: &str| {
            let target = format!("/service/token?{scope}");
            https_with(&pki, tokens.https.port(), "GET", &target, &[("Authorization", basic)], b"")
        };
        let post = || {
            let form = format!("grant_type=password&client_id=x&username=robot%24plant&password=pass%3Aword&{scope}");
            https(&pki, tokens.https.port(), "POST", "/service/token", form.as_bytes())
        };
        let token = |response: &Response, name: &str| format!("Bearer {}", response.json()[name].as_str().unwrap());

        assert_eq!(read("Bearer x.y.z"), 401);
        assert_eq!(get("Basic eDp5").status, 401);
        assert_eq!(post().status, 405);
        assert_eq!(read(&token(&get(&basic), "token")), 200);
        tokens.take_only_post();
        assert_eq!(get(&basic).status, 405);
        assert_eq!(read(&token(&post(), "access_token")), 200);
        tokens.issue_useless_tokens();
        assert_eq!(read(&token(&post(), "access_token")), 401);
        assert_eq!((tokens.issued(), tokens.refused()), (asked + 3, 1));
    }
}
