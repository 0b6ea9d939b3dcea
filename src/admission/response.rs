//! The response of an AdmissionReview, in the API version of the request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::request::REVIEW_KIND;
use crate::base::json_writer::{Hidden, JsonWriter};

/// The key of the annotation that every response has.
const DECISION: &str = "decision";

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
    /// The annotations for the API server's audit log, by their keys. `decision` is added from [`Self::allowed`].
    pub audit_annotations: Vec<(&'static str, String)>,
}

impl Response {
    /// The review as JSON, ending with a newline.
    pub fn to_json(&self) -> Vec<u8> {
        let patch = self.patch.as_ref().map(|patch| STANDARD.encode(patch));
        let mut out = Vec::with_capacity(1024 + self.message.len() + patch.as_ref().map_or(0, String::len));
        let mut json = JsonWriter::new(&mut out, Hidden::Kept);
        json.begin(b'{');
        json.string("apiVersion", &self.api_version);
        json.string("kind", REVIEW_KIND);
        json.key("response");
        json.begin(b'{');
        json.string("uid", &self.uid);
        json.truth("allowed", self.allowed);
        self.write_status(&mut json);
        // The API server refuses a patchType without a patch.
        if let Some(patch) = patch {
            json.string("patchType", "JSONPatch");
            json.string("patch", &patch);
        }
        json.key("warnings");
        json.begin(b'[');
        self.warnings.iter().for_each(|warning| json.element(warning));
        json.end(b']');
        self.write_annotations(&mut json);
        json.end(b'}');
        json.end(b'}');
        out.push(b'\n');
        out
    }

    /// The fields of `meta/v1.Status` that the API server shows.
    fn write_status(&self, json: &mut JsonWriter<'_>) {
        let (code, status, reason) = if self.allowed { (200, "Success", "") } else { (403, "Failure", "Forbidden") };
        json.key("status");
        json.begin(b'{');
        json.number("code", code);
        json.string("status", status);
        json.string("reason", reason);
        json.string("message", &self.message);
        json.end(b'}');
    }

    fn write_annotations(&self, json: &mut JsonWriter<'_>) {
        json.key("auditAnnotations");
        json.begin(b'{');
        let mut decision = Some(if self.allowed { "allowed" } else { "denied" });
        for (key, value) in &self.audit_annotations {
            // The keys stay in alphabetical order.
            let decision = if *key > DECISION { decision.take() } else { None };
            json.optional(DECISION, decision);
            json.string(key, value);
        }
        json.optional(DECISION, decision);
        json.end(b'}');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::super::request::REVIEW_VERSIONS;
    use super::*;

    #[derive(Serialize, miniserde::Serialize)]
    struct WireReview {
        #[serde(rename = "apiVersion")]
        api_version: String,
        kind: String,
        response: WireResponse,
    }

    #[derive(Serialize, miniserde::Serialize)]
    struct WireResponse {
        uid: String,
        allowed: bool,
        status: Status,
        #[serde(rename = "patchType")]
        patch_type: String,
        patch: String,
        warnings: Vec<String>,
        #[serde(rename = "auditAnnotations")]
        audit_annotations: BTreeMap<String, String>,
    }

    #[derive(Serialize, miniserde::Serialize)]
    struct Status {
        code: u16,
        status: String,
        reason: String,
        message: String,
    }

    #[test]
    fn serde_and_miniserde_write_the_same() {
        let (warnings, message) = (vec!["w".to_owned(), "<ä>\u{7f}".to_owned()], "<ä>\n\"\u{202e}".to_owned());
        let response = Response {
            api_version: "v".to_owned(),
            uid: "u\\".to_owned(),
            allowed: false,
            message: message.clone(),
            patch: Some(b"[]".to_vec()),
            warnings: warnings.clone(),
            audit_annotations: vec![("images", "a=\u{1b}".to_owned())],
        };
        let status = Status { code: 403, status: "Failure".to_owned(), reason: "Forbidden".to_owned(), message };
        let annotations = [("decision", "denied"), ("images", "a=\u{1b}")];
        let review = WireReview {
            api_version: "v".to_owned(),
            kind: REVIEW_KIND.to_owned(),
            response: WireResponse {
                uid: "u\\".to_owned(),
                allowed: false,
                status,
                patch_type: "JSONPatch".to_owned(),
                patch: "W10=".to_owned(),
                warnings,
                audit_annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            },
        };
        let written = String::from_utf8(response.to_json()).unwrap();
        assert_eq!(written, serde_json::to_string(&review).unwrap() + "\n");
        assert_eq!(written, miniserde::json::to_string(&review) + "\n");
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
            audit_annotations: Vec::new(),
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
