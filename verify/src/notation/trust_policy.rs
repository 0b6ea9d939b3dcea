//! Notation's own `trustpolicy.json`, for people who move: what each of its policies amounts to here. Nothing is enforced by
//! this file itself.

use std::fmt;

use super::identity::{Identity, IdentityError};
use super::read_json;
use crate::json::Value;
use crate::not_counted::quoted;
use crate::text::is_folded;

/// The largest file, in bytes.
const MAX_TRUST_POLICY: usize = 1 << 20;

/// One policy of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPolicy {
    /// `name`.
    pub name: String,
    /// `registryScopes`: repositories, or `*` alone.
    pub registry_scopes: Vec<String>,
    /// `trustStores`: `TYPE:NAME`.
    pub trust_stores: Vec<String>,
    /// `trustedIdentities`, each as it can be read by [`Identity::parse`].
    pub trusted_identities: Vec<String>,
    /// `verifyTimestamp: afterCertExpiry`.
    pub after_cert_expiry_only: bool,
    /// Is revocation skipped?
    pub skips_revocation: bool,
    /// What its level and its overrides amount to.
    pub effect: PolicyEffect,
}

/// What a policy's level and its overrides amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyEffect {
    /// All is enforced.
    Enforce,
    /// Notation only logs some failures, as this says; here that is a policy that warns and denies nothing.
    Warn(&'static str),
    /// Nothing is verified (`skip`); that is not taken over.
    Refused,
}

impl TrustPolicy {
    /// Reads the policies of a file, each by itself: a fault in one of them says nothing about the others.
    pub fn read(bytes: &[u8]) -> Result<Vec<Result<Self, TrustPolicyError>>, TrustPolicyError> {
        let document = read_json(bytes, MAX_TRUST_POLICY, "the file")
            .map_err(|reason| TrustPolicyError::Shape { at: String::new(), what: reason.to_string() })?;
        let root = document.root();
        check_names(root, &["trustPolicies", "version"], "")?;
        let version = root.get("version").and_then(Value::string);
        if version != Some("1.0") {
            return Err(shape("", "its \"version\" is not \"1.0\", the only one that is read"));
        }
        let policies = root.get("trustPolicies").and_then(Value::array);
        let policies = policies.ok_or_else(|| shape("", "it has no list \"trustPolicies\""))?;
        let mut found: Vec<Result<Self, TrustPolicyError>> = Vec::new();
        for policy in policies {
            let policy = Self::read_one(policy).and_then(|policy| policy.beside(&found));
            found.push(policy);
        }
        Ok(found)
    }

    /// Refuses it if one of those before it has its name or one of its scopes.
    fn beside(self, others: &[Result<Self, TrustPolicyError>]) -> Result<Self, TrustPolicyError> {
        for known in others.iter().flatten() {
            if known.name == self.name {
                return Err(shape(&self.name, "another policy has the same name"));
            }
            if self.registry_scopes.iter().any(|scope| known.registry_scopes.contains(scope)) {
                return Err(shape(&self.name, "one of its registryScopes is in another policy as well"));
            }
        }
        Ok(self)
    }

    fn read_one(policy: Value<'_>) -> Result<Self, TrustPolicyError> {
        const NAMES: [&str; 5] =
            ["name", "registryScopes", "signatureVerification", "trustStores", "trustedIdentities"];
        let name = policy.get("name").and_then(Value::string).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| shape("", "a policy has no \"name\""))?;
        check_names(policy, &NAMES, name)?;
        let registry_scopes = texts(policy, "registryScopes", name)?;
        let is_global = registry_scopes.iter().any(|scope| scope == "*");
        if registry_scopes.is_empty() || is_global && registry_scopes.len() > 1 {
            return Err(shape(name, "its \"registryScopes\" are repositories, or \"*\" alone"));
        }
        if registry_scopes.iter().any(|scope| scope != "*" && scope.contains('*')) {
            return Err(shape(name, "a scope in its \"registryScopes\" has a \"*\" beside other characters"));
        }
        let verification = policy.get("signatureVerification").filter(|value| value.object().is_some());
        let verification = verification.ok_or_else(|| shape(name, "it has no \"signatureVerification\""))?;
        check_names(verification, &["level", "override", "verifyTimestamp"], name)?;
        let after_cert_expiry_only = match verification.get("verifyTimestamp").map(Value::string) {
            None | Some(Some("" | "always")) => false,
            Some(Some("afterCertExpiry")) => true,
            Some(_) => {
                return Err(shape(name, "its \"verifyTimestamp\" is neither \"always\" nor \"afterCertExpiry\""));
            }
        };
        let (effect, skips_revocation) = effect(verification, name)?;
        let trust_stores = texts(policy, "trustStores", name)?;
        let trusted_identities = texts(policy, "trustedIdentities", name)?;
        if effect == PolicyEffect::Refused {
            if !trust_stores.is_empty() || !trusted_identities.is_empty() {
                return Err(shape(name, "its level is \"skip\", and it has trust stores or identities"));
            }
        } else {
            check_trust(name, &trust_stores, &trusted_identities)?;
        }
        let name = name.to_owned();
        Ok(Self {
            name,
            registry_scopes,
            trust_stores,
            trusted_identities,
            after_cert_expiry_only,
            skips_revocation,
            effect,
        })
    }
}

/// What the level and the overrides amount to, and whether revocation is skipped.
fn effect(verification: Value<'_>, name: &str) -> Result<(PolicyEffect, bool), TrustPolicyError> {
    const LOGGED: &str = "its overrides only log some failures";
    let mut effect = match verification.get("level").and_then(Value::string) {
        Some("strict") => PolicyEffect::Enforce,
        Some("permissive") => PolicyEffect::Warn("\"permissive\" only logs expiry, time stamps and revocation"),
        Some("audit") => PolicyEffect::Warn("\"audit\" only logs all but damaged signatures"),
        Some("skip") => PolicyEffect::Refused,
        _ => return Err(shape(name, "its \"level\" is none of strict, permissive, audit and skip")),
    };
    let mut skips_revocation = false;
    let Some(overrides) = verification.get("override").filter(|value| !value.is_null()) else {
        return Ok((effect, skips_revocation));
    };
    let overrides = overrides.object().ok_or_else(|| shape(name, "its \"override\" is no object"))?;
    if effect == PolicyEffect::Refused && overrides.clone().next().is_some() {
        return Err(shape(name, "its level is \"skip\", which has no overrides"));
    }
    for (check, action) in overrides {
        match (check, action.string()) {
            ("authenticity" | "authenticTimestamp" | "expiry" | "revocation", Some("enforce")) => {}
            ("authenticity" | "authenticTimestamp" | "expiry" | "revocation", Some("log")) => {
                if effect == PolicyEffect::Enforce {
                    effect = PolicyEffect::Warn(LOGGED);
                }
            }
            ("revocation", Some("skip")) => skips_revocation = true,
            _ => return Err(shape(name, "its \"override\" has a check or an action that Notation does not have")),
        }
    }
    Ok((effect, skips_revocation))
}

fn check_trust(name: &str, stores: &[String], identities: &[String]) -> Result<(), TrustPolicyError> {
    if stores.is_empty() || identities.is_empty() {
        return Err(shape(name, "it has no trust stores or no identities"));
    }
    for store in stores {
        let (kind, store) = store.split_once(':').unwrap_or_default();
        if !matches!(kind, "ca" | "signingAuthority" | "tsa") || store.is_empty() {
            return Err(shape(name, "a trust store is not written as ca:NAME, signingAuthority:NAME or tsa:NAME"));
        }
    }
    let mut read: Vec<Identity> = Vec::new();
    for identity in identities {
        let identity = Identity::parse(identity).map_err(|error| TrustPolicyError::Identity {
            policy: quoted(name),
            identity: quoted(identity),
            error,
        })?;
        if read.iter().any(|other| other.covers(&identity) || identity.covers(other)) {
            return Err(shape(name, "one of its identities covers another one: remove one of them"));
        }
        read.push(identity);
    }
    Ok(())
}

fn texts(policy: Value<'_>, member: &'static str, name: &str) -> Result<Vec<String>, TrustPolicyError> {
    let Some(list) = policy.get(member).filter(|list| !list.is_null()) else { return Ok(Vec::new()) };
    let texts = list.array().and_then(|list| list.map(|text| text.string().map(str::to_owned)).collect());
    texts.ok_or_else(|| shape(name, "registryScopes, trustStores and trustedIdentities are lists of texts"))
}

/// Refuses other members than these, and these in another case.
fn check_names(object: Value<'_>, names: &[&str], policy: &str) -> Result<(), TrustPolicyError> {
    for (name, _) in object.object().ok_or_else(|| shape(policy, "it is no object"))? {
        if !names.contains(&name) {
            let is_twin = names.iter().any(|known| is_folded(name, known));
            let why = if is_twin { "is written in another case" } else { "is not known" };
            return Err(TrustPolicyError::Shape {
                at: quoted(policy),
                what: format!("its \"{}\" {why}", quoted(name)),
            });
        }
    }
    Ok(())
}

fn shape(policy: &str, what: &str) -> TrustPolicyError {
    TrustPolicyError::Shape { at: quoted(policy), what: what.to_owned() }
}

/// A file that cannot be read. `Display` is safe to print and says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustPolicyError {
    /// It has the wrong shape.
    Shape {
        /// The name of the policy, printable; empty for the file.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// An identity cannot be used.
    Identity {
        /// The name of the policy, printable.
        policy: String,
        /// The identity, printable.
        identity: String,
        /// Why.
        error: IdentityError,
    },
}

impl fmt::Display for TrustPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { at, what } if at.is_empty() => f.write_str(what),
            Self::Shape { at, what } => write!(f, "the policy \"{at}\": {what}"),
            Self::Identity { policy, identity, error } => {
                write!(f, "the policy \"{policy}\": the identity \"{identity}\": {error}")
            }
        }
    }
}

impl std::error::Error for TrustPolicyError {}
