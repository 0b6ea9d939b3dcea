//! An issuer of identity tokens (OpenID Connect): what Fulcio asks it for, and the tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::https::{HttpsServer, Reply};
use crate::pki::Pki;

/// It serves its description and its key under the test's CA.
pub(crate) struct TokenIssuer {
    https: HttpsServer,
    key: Vec<u8>,
}

impl TokenIssuer {
    pub(super) fn start(pki: &Pki) -> Self {
        let key = KeyPair::generate().unwrap();
        // An uncompressed point: a byte, x, y.
        let (x, y) = key.der_bytes()[1..].split_at(32);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        let https = HttpsServer::start(pki, move |request| {
            let issuer = format!("https://{}", request.header("Host").unwrap_or_default());
            match request.target.as_str() {
                "/.well-known/openid-configuration" => Reply::json(
                    200,
                    json!({
                        "issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
                        "authorization_endpoint": format!("{issuer}/auth"), "token_endpoint": format!("{issuer}/token"),
                        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                        "id_token_signing_alg_values_supported": ["ES256"],
                    }),
                ),
                "/keys" => Reply::json(200, json!({ "keys": [jwk] })),
                _ => Reply::json(404, json!({})),
            }
        });
        Self { https, key: key.serialize_der() }
    }

    /// The issuer in certificates.
    pub(crate) fn url(&self) -> String {
        self.https.url()
    }

    /// A token with these claims.
    pub(super) fn token(&self, audience: &str, mut claims: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for (name, value) in [
            ("iss", json!(self.url())),
            ("aud", json!(audience)),
            ("iat", json!(now)),
            ("nbf", json!(now - 60)),
            ("exp", json!(now + 300)),
        ] {
            claims[name] = value;
        }
        let header = json!({ "typ": "JWT", "alg": "ES256" });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{header}.{claims}");
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key, &random).unwrap();
        let signature = key.sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
