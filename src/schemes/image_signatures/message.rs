//! Why an image is refused, in words for operators. Each text names the image, the place that was asked, what is wrong and what
//! to do.

use super::collected::Collected;
use super::requirement::{Rejection, Requirement};
use crate::registry::oci::places::Place;
use crate::registry::oci::repository::FetchError;
use crate::schemes::{Finding, Refusal};
use portreeve_verify::image::{Reference, Sha256};
use portreeve_verify::{Unavailable, UnavailableCause};

/// The most signatures that a message tells of.
const MAX_TOLD: usize = 4;

/// `the registry https://registry.local:9001`, or the layout.
pub(super) fn of_place(place: &Place) -> String {
    match place {
        Place::Registry { .. } => format!("the registry {place}"),
        Place::Layout { .. } => format!("the layout {place}"),
    }
}

/// The verdict on an image whose signatures have all been looked at.
pub(super) fn not_verified(
    image: &Reference,
    place: &Place,
    requirement: &Requirement<'_>,
    collected: &Collected,
    rejection: &Rejection,
    is_empty: bool,
) -> Refusal {
    let digest = collected.image.digest;
    if let Some((code, message)) = collected.refused() {
        return Refusal::Rejected { code, message: format!("{} is refused: {message}", named(image, digest)) };
    }
    if let Some(Unavailable { cause, message }) = collected.failed() {
        let message = format!(
            "{} cannot be judged: {rejection}, and a signature could not be fetched: {message}",
            named(image, digest)
        );
        return Refusal::Unavailable(Unavailable::new(*cause, message));
    }
    if rejection.is_incomplete() {
        let message = format!(
            "{} cannot be judged: it has more signatures than are verified for one request, each under each key of the policy; \
             remove those that nobody needs, name fewer keys, or write fewer images into one workload",
            named(image, digest)
        );
        return Refusal::Unavailable(Unavailable::new(UnavailableCause::OutOfTime, message));
    }
    let place = of_place(place);
    let others: usize = collected.parts().map(|part| part.others).sum();
    let others = match others {
        0 => String::new(),
        others => format!(" among {others} referrers of other kinds"),
    };
    if is_empty {
        let message = format!(
            "{} is not signed: {place} has no {} signature for it{others}; sign it with `{} {}@{digest}`",
            named(image, digest),
            requirement.kind().name(),
            requirement.command(),
            image.name()
        );
        return Refusal::Rejected { code: "not-signed", message };
    }
    let mut message = format!("{} is not signed as the policy requires: {rejection}", named(image, digest));
    let mut unread = collected.parts().flat_map(|part| &part.passed_over);
    for Finding { signature, passed_over, .. } in unread.by_ref().take(MAX_TOLD) {
        message.extend(["; ", signature, ": ", passed_over.as_deref().unwrap_or_default()]);
    }
    match unread.count() {
        0 => {}
        more => message.push_str(&format!("; and {more} more")),
    }
    message.extend([" (asked ", &place, &others, ")"]);
    Refusal::Rejected { code: "signature", message }
}

/// The verdict on an image about which something could not be fetched.
pub(super) fn not_fetched(image: &Reference, error: FetchError) -> Refusal {
    match error {
        FetchError::NotFound { message } => {
            let message = format!("the image {image} does not exist: {message}; check its name and its tag");
            Refusal::Rejected { code: "not-found", message }
        }
        FetchError::Rejected { code, message } => {
            Refusal::Rejected { code, message: format!("the image {image} is refused: {message}") }
        }
        FetchError::TooLarge { message } => {
            Refusal::Rejected { code: "bad-manifest", message: format!("the image {image} is refused: {message}") }
        }
        FetchError::Unavailable(Unavailable { cause, message }) => {
            let message = format!("the image {image} cannot be judged: {message}");
            Refusal::Unavailable(Unavailable::new(cause, message))
        }
    }
}

/// `the image registry.local:9001/plant/plc:v1@sha256:…`.
fn named(image: &Reference, digest: Sha256) -> String {
    format!("the image {}", image.pinned_to(digest))
}
