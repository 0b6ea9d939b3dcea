//! The response of an AdmissionReview, in the API version of the request.

use std::collections::BTreeMap;

use serde::Serialize;

use super::request::REVIEW_KIND;

/// An AdmissionReview with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The version of the request.
    pub api_version: String,
    /// The request's uid.
    pub uid: String,
    /// Is the request admitted?
    pub allowed: bool,
    /// The message for the user; empty if there is none.
    pub message: String,
    /// The patch (RFC 6902) as JSON; `None` if there is none.
    pub patch: Option<Vec<u8>>,
    /// The warnings that `kubectl` shows.
    pub warnings: Vec<String>,
    /// The annotations for the API server's audit log. The annotation `decision` is added from [`Self::allowed`].
    pub audit_annotations: BTreeMap<String, String>,
}

impl Response {
    /// The review as JSON, ending with a newline.
    pub fn to_json(&self) -> Vec<u8> {
        let status = if self.allowed {
            Status { code: 200, status: "Success", reason: "", message: self.message.clone() }
        } else {
            Status { code: 403, status: "Failure", reason: "Forbidden", message: self.message.clone() }
        };
        let (api_version, kind, uid) = (self.api_version.clone(), REVIEW_KIND, self.uid.clone());
        let (warnings, mut audit_annotations) = (self.warnings.clone(), self.audit_annotations.clone());
        let decision = if self.allowed { "allowed" } else { "denied" };
        audit_annotations.insert("decision".to_owned(), decision.to_owned());
        // The API server refuses a patchType without a patch. Therefore there are two types.
        let json = match &self.patch {
            None => {
                let response = WireResponse { uid, allowed: self.allowed, status, warnings, audit_annotations };
                serde_json::to_vec(&WireReview { api_version, kind, response })
            }
            Some(patch) => {
                let response = WirePatchedResponse {
                    uid,
                    allowed: self.allowed,
                    status,
                    patch_type: "JSONPatch",
                    patch: base64::Engine::encode(&base64::engine::general_purpose::STANDARD, patch),
                    warnings,
                    audit_annotations,
                };
                serde_json::to_vec(&WirePatchedReview { api_version, kind, response })
            }
        };
        // Serialising structs of strings and numbers cannot fail. The API server would take an empty body for a failure.
        let mut json = json.unwrap_or_default();
        json.push(b'\n');
        json
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
struct WireReview {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: &'static str,
    response: WireResponse,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
struct WirePatchedReview {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: &'static str,
    response: WirePatchedResponse,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
struct WireResponse {
    uid: String,
    allowed: bool,
    status: Status,
    warnings: Vec<String>,
    #[serde(rename = "auditAnnotations")]
    audit_annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
struct WirePatchedResponse {
    uid: String,
    allowed: bool,
    status: Status,
    #[serde(rename = "patchType")]
    patch_type: &'static str,
    patch: String,
    warnings: Vec<String>,
    #[serde(rename = "auditAnnotations")]
    audit_annotations: BTreeMap<String, String>,
}

/// The fields of `meta/v1.Status` that the API server shows.
#[derive(Serialize)]
#[cfg_attr(test, derive(miniserde::Serialize))]
struct Status {
    code: u16,
    status: &'static str,
    reason: &'static str,
    message: String,
}

#[cfg(test)]
mod tests {
    use super::super::request::REVIEW_VERSIONS;
    use super::*;

    #[test]
    fn serde_and_miniserde_write_the_same() {
        let status = Status { code: 200, status: "Success", reason: "", message: "<ä>\n".to_owned() };
        let response = WirePatchedResponse {
            uid: "u".to_owned(),
            allowed: true,
            status,
            patch_type: "JSONPatch",
            patch: "W10=".to_owned(),
            warnings: vec!["w".to_owned()],
            audit_annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        };
        let review = WirePatchedReview { api_version: "v".to_owned(), kind: REVIEW_KIND, response };
        assert_eq!(serde_json::to_string(&review).unwrap(), miniserde::json::to_string(&review));
    }

    #[test]
    fn a_patch_comes_with_its_type_and_nothing_else_does() {
        let mut response = Response {
            api_version: REVIEW_VERSIONS[1].to_owned(),
            uid: "u-1".to_owned(),
            allowed: true,
            message: String::new(),
            patch: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
        };
        let json: serde_json::Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!(json["apiVersion"], "admission.k8s.io/v1beta1");
        assert_eq!(json["response"].get("patchType"), None);
        response.patch = Some(b"[]".to_vec());
        let json: serde_json::Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!((&json["response"]["patchType"], &json["response"]["patch"]), (&"JSONPatch".into(), &"W10=".into()));
        let told = |json: &serde_json::Value| {
            let response = &json["response"];
            (response["status"]["code"].clone(), response["auditAnnotations"]["decision"].clone())
        };
        assert_eq!(told(&json), (200.into(), "allowed".into()));
        response.allowed = false;
        let json: serde_json::Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!(told(&json), (403.into(), "denied".into()));
    }
}
