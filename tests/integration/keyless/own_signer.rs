//! Signatures of our own signer, held against real cosign: by Rekor 1, which is not to be had as a program, in bundles and in the
//! format of cosign 2.

use portreeve_test_support::cosign::plant::{self, ISSUER, SIGNED, SUBJECT, Signing, keyless_layer};
use portreeve_test_support::cosign::{Artifact, Image};
use serde_json::json;

use super::Plant;

/// A day after the certificate's end.
const LATE: u64 = SIGNED + 2 * 86_400;

#[test]
fn signatures_with_entries_of_rekor_1_count_for_us_as_for_cosign() {
    let Some(mut site) = Plant::new(true, true) else { return };
    site.instance.stop();
    let (image, signer) = (site.push("plc").1, plant::Plant::new());
    let root = signer.trusted_root();
    site.trust(&root);
    let identity = json!({ "name": "build", "issuer": ISSUER, "subject": SUBJECT });
    site.require(site.signers(&[identity]));
    let (leaf, stranger) = (signer.leaf(), plant::Plant::new());
    let old =
        |by: &plant::Plant, about: &Image, time: u64| Artifact::layers(&[keyless_layer(by, about, &by.leaf(), time)]);
    let other = Image::named("other");
    let tag = |image: &Image| Some(image.tag(".sig"));
    let copies = [
        (true, site.copy_with(&image, "old", |image| (old(&signer, image, SIGNED), tag(image)))),
        (false, site.copy_with(&image, "old-late", |image| (old(&signer, image, LATE), tag(image)))),
        (false, site.copy_with(&image, "old-other", |image| (old(&signer, &other, SIGNED), tag(image)))),
        (false, site.copy_with(&image, "old-stranger", |image| (old(&stranger, image, SIGNED), tag(image)))),
        (
            true,
            site.copy_with(&image, "bundle", |image| {
                (Signing::keyless(&signer, image, &leaf, SIGNED).artifact(image), None)
            }),
        ),
        (
            false,
            site.copy_with(&image, "bundle-late", |image| {
                (Signing::keyless(&signer, image, &leaf, LATE).artifact(image), None)
            }),
        ),
        (
            false,
            site.copy_with(&image, "bundle-other", |image| {
                (Signing::keyless(&signer, &other, &leaf, SIGNED).artifact(image), None)
            }),
        ),
        (
            false,
            site.copy_with(&image, "bundle-stranger", |image| {
                (Signing::keyless(&stranger, image, &stranger.leaf(), SIGNED).artifact(image), None)
            }),
        ),
    ];
    // What was verified is kept by digest, so those that do not count are first.
    let (good, bad): (Vec<_>, Vec<_>) = copies.into_iter().partition(|(counts, _)| *counts);
    for (counts, copy) in bad.into_iter().chain(good) {
        let by_cosign = site.instance.is_verified_by_cosign(&root, ISSUER, SUBJECT, &copy.1);
        assert_eq!(by_cosign, counts, "{}", copy.0);
        match counts {
            true => site.assert_admitted(&copy),
            false => site.assert_rejected(&copy, &["is not signed as the policy requires"]),
        }
    }
}
