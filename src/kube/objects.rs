//! Objects of the Kubernetes API as a response has them. Only the fields that Portreeve reads; all of them are
//! optional, because a tenant writes them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::object_only::from_objects;

/// An object that can be asked for by name.
pub(super) trait Object: DeserializeOwned {
    /// The `kind` that the response must have.
    const KIND: &'static str;
    fn head(&self) -> (Option<&str>, Option<&ObjectMeta>);

    /// Whether this is the object that was asked for.
    fn is_named(&self, namespace: &str, name: &str) -> bool {
        let (kind, metadata) = self.head();
        is_named(kind, metadata, Self::KIND, namespace, name)
    }
}

fn is_named(kind: Option<&str>, metadata: Option<&ObjectMeta>, expected: &str, namespace: &str, name: &str) -> bool {
    let is = |found: &Option<String>, expected: &str| found.as_deref() == Some(expected);
    kind == Some(expected)
        && metadata.is_some_and(|metadata| is(&metadata.namespace, namespace) && is(&metadata.name, name))
}

/// A page of a list, of which only the names are read.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub(super) struct ListHead {
    pub(super) metadata: Option<ObjectMeta>,
    pub(super) items: Option<Vec<OwnerObject>>,
}

/// The head of an owner. The rest of it is for the caller to read.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub(super) struct OwnerObject {
    kind: Option<String>,
    pub(super) metadata: Option<ObjectMeta>,
}

impl OwnerObject {
    /// Whether this is an object of this kind, namespace and name.
    pub(super) fn is_named(&self, kind: &str, namespace: &str, name: &str) -> bool {
        is_named(self.kind.as_deref(), self.metadata.as_ref(), kind, namespace, name)
    }

    /// `metadata.uid`.
    pub(super) fn uid(&self) -> Option<&str> {
        self.metadata.as_ref()?.uid.as_deref()
    }
}

/// A Secret. Its values are base64.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub(crate) struct SecretObject {
    kind: Option<String>,
    metadata: Option<ObjectMeta>,
    #[serde(rename = "type")]
    secret_type: Option<String>,
    pub(super) data: Option<BTreeMap<String, Option<String>>>,
}

impl SecretObject {
    /// `type`; a Secret without one is `Opaque`.
    pub(crate) fn secret_type(&self) -> &str {
        self.secret_type.as_deref().unwrap_or("Opaque")
    }

    /// Is there anything under a key?
    pub(crate) fn has(&self, key: &str) -> bool {
        self.data.as_ref().is_some_and(|data| data.contains_key(key))
    }

    /// The bytes under a key; `None` where the key is missing or its value is not base64.
    pub(crate) fn value(&self, key: &str) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.data.as_ref()?.get(key)?.as_ref()?).ok()
    }
}

/// Says that a key is missing, or that its value cannot be used.
pub(crate) fn no_key(key: &str) -> String {
    format!("has nothing under its key \"{key}\" that could be used")
}

impl Object for SecretObject {
    const KIND: &'static str = "Secret";
    fn head(&self) -> (Option<&str>, Option<&ObjectMeta>) {
        (self.kind.as_deref(), self.metadata.as_ref())
    }
}

impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretObject").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// A ServiceAccount.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub(super) struct AccountObject {
    kind: Option<String>,
    metadata: Option<ObjectMeta>,
    #[serde(rename = "imagePullSecrets")]
    image_pull_secrets: Option<Vec<LocalReference>>,
}

impl AccountObject {
    /// The names in `imagePullSecrets`; a reference without a name has none.
    pub(super) fn into_pull_secrets(self) -> Vec<String> {
        self.image_pull_secrets.into_iter().flatten().filter_map(|secret| secret.name).collect()
    }
}

impl Object for AccountObject {
    const KIND: &'static str = "ServiceAccount";
    fn head(&self) -> (Option<&str>, Option<&ObjectMeta>) {
        (self.kind.as_deref(), self.metadata.as_ref())
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
struct LocalReference {
    name: Option<String>,
}

/// The part of `metadata` that identifies an object.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub(super) struct ObjectMeta {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    uid: Option<String>,
    /// The token of a list's next page.
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

/// `meta/v1.Status`, the body of every refusal of kube-apiserver.
#[derive(Deserialize)]
#[cfg_attr(test, derive(miniserde::Deserialize))]
#[serde(remote = "Self", expecting = "an object")]
pub(super) struct Status {
    pub(super) kind: Option<String>,
    pub(super) reason: Option<String>,
}

from_objects!(ListHead, OwnerObject, SecretObject, AccountObject, LocalReference, ObjectMeta, Status);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miniserde_reads_the_same() {
        let secret = r#"{"kind":"Secret","metadata":{"name":"a","namespace":"b","labels":{"x":"y"}},"type":"Opaque",
            "data":{"k":"djE=","n":null},"immutable":true}"#;
        let serde: SecretObject = serde_json::from_str(secret).unwrap();
        let mini: SecretObject = miniserde::json::from_str(secret).unwrap();
        assert_eq!(serde.data, mini.data);
        assert_eq!(serde.value("k").as_deref(), Some(&b"v1"[..]));
        assert_eq!(serde.value("n"), None);
        assert!(serde.is_named("b", "a") && mini.is_named("b", "a") && mini.secret_type() == "Opaque");
        let account =
            r#"{"kind":"ServiceAccount","metadata":{},"imagePullSecrets":[{"name":"a"},{}],"secrets":[{"name":"t"}]}"#;
        let serde: AccountObject = serde_json::from_str(account).unwrap();
        let mini: AccountObject = miniserde::json::from_str(account).unwrap();
        let names = |account: AccountObject| {
            account.image_pull_secrets.unwrap().into_iter().map(|s| s.name).collect::<Vec<_>>()
        };
        assert_eq!(names(serde), names(mini));
        let status = r#"{"kind":"Status","reason":"NotFound","code":404,"details":{"name":"a"}}"#;
        let (serde, mini): (Status, Status) =
            (serde_json::from_str(status).unwrap(), miniserde::json::from_str(status).unwrap());
        assert_eq!((serde.kind, serde.reason), (mini.kind, mini.reason));
    }
}
