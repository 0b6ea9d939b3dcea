//! From the response of an admission to HTTP.

use crate::admission::request::ReviewError;
use crate::admission::response::Response;
use crate::metrics::Outcome;
use crate::server::HttpResponse;

/// An AdmissionReview with its response. Its status is 200 whatever the decision: another status would mean that there is
/// no decision.
pub(super) fn review(response: &Response) -> HttpResponse {
    HttpResponse { status: 200, content_type: "application/json", body: response.to_json() }
}

/// A denial for a reason that lies in the request itself.
pub(super) fn denied(api_version: &str, uid: String, message: String) -> Response {
    Response {
        api_version: api_version.to_owned(),
        uid,
        allowed: false,
        message,
        patch: None,
        warnings: Vec::new(),
        audit_annotations: Vec::new(),
    }
}

/// The response to a body that cannot be read, for the reason that `message` gives. A body that is no AdmissionReview is
/// answered 400. A review whose object cannot be read is denied.
pub(super) fn unreadable(error: &ReviewError, message: &str) -> (HttpResponse, Outcome) {
    match error {
        ReviewError::Undecodable { version, uid, .. } => {
            (review(&denied(version, uid.clone(), format!("portreeve: {message}"))), Outcome::Denied)
        }
        _ => (HttpResponse::text(400, format!("{message}\n")), Outcome::Error),
    }
}
