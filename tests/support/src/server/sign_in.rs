//! Sign-in as registries demand it: Docker's token protocol, or Basic.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{Request, Response, basic, parameters};

/// The sign-in that a server demands.
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

/// A server's sign-in, and the tokens that it has issued.
pub(crate) struct Gate {
    pub(crate) url: String,
    pub(crate) sign_in: SignIn,
    service: &'static str,
    /// The issued tokens, each with its scope (empty for none).
    tokens: BTreeMap<String, String>,
    issued: usize,
}

impl Gate {
    pub(super) fn new(url: String, service: &'static str) -> Self {
        Self { url, sign_in: SignIn::No, service, tokens: BTreeMap::new(), issued: 0 }
    }

    pub(crate) fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }

    /// May who sends this read the repository?
    pub(crate) fn may_read(&self, name: &str, authorization: Option<&str>) -> bool {
        match &self.sign_in {
            SignIn::No => true,
            SignIn::Bearer(_) => {
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                let wanted = format!("repository:{name}:pull");
                token.and_then(|token| self.tokens.get(token)).is_some_and(|scope| *scope == wanted)
            }
            SignIn::Basic(users) => basic(authorization).is_some_and(|user| users.contains(&user)),
        }
    }

    pub(crate) fn challenge(&self, name: &str) -> Response {
        let mut response = Response::error(401, "UNAUTHORIZED");
        let challenge = match &self.sign_in {
            SignIn::No => return response,
            SignIn::Basic(_) => "Basic realm=\"trust server\"".to_owned(),
            SignIn::Bearer(service) => {
                let realm = service.realm.clone().unwrap_or_else(|| format!("{}/token", self.url));
                // The wrong scope is a trap: a client that uses it instead of its own gets no useful token.
                let (before, name_of_service) = (service.before_challenge, self.service);
                format!(
                    "{before}Bearer realm=\"{realm}\",service=\"{name_of_service}\",scope=\"repository:{name}:pull,push\""
                )
            }
        };
        response.headers.push(("WWW-Authenticate".to_owned(), challenge));
        response
    }

    /// The response of the token service.
    pub(crate) fn token(&mut self, request: &Request) -> Response {
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
        if parameters.get("service").map(String::as_str) != Some(self.service) {
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
