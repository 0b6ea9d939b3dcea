//! Whole reviews under policies that combine Notation with another scheme.

use portreeve_test_support::cosign::{Artifact, Image};
use portreeve_test_support::notation::{Certificate, Jws, Kind, chain};
use portreeve_test_support::registry::Fault as RegistryFault;

use super::cosign::{NAME, Plant};
use super::*;

const IDENTITY: &str = "x509.subject: C=US, ST=WA, O=Plant";

/// A plant whose trust store `ca:plant` has the root of this chain.
fn plant() -> (Plant, Vec<Certificate>) {
    let mut plant = Plant::new();
    let chain = chain(Kind::P256, Kind::P256);
    plant.world.directory.write("stores/truststore/x509/ca/plant/root.crt", &chain[2].der);
    plant.world.more_config = json!({ "notation": { "trustStores": plant.world.directory.path().join("stores") } });
    (plant, chain)
}

fn sign(plant: &Plant, image: &Image, chain: &[Certificate]) {
    let artifact = Artifact::bundle(image, Jws::new(&image.manifest, chain).bytes()).edit(|manifest| {
        manifest["artifactType"] = "application/vnd.cncf.notary.signature".into();
        manifest["config"]["mediaType"] = "application/vnd.oci.empty.v1+json".into();
        manifest["layers"][0]["mediaType"] = "application/jose+json".into();
    });
    plant.registry.attach(NAME, image, &artifact);
}

fn notation(store: &str) -> Value {
    json!({ "trustStores": [store], "trustedIdentities": [IDENTITY] })
}

#[test]
fn scheme_row_129_and_130_any_of_lets_in_by_notation_or_by_another_scheme() {
    let (mut plant, chain) = plant();
    let engine = plant.engine(&json!({ "anyOf": [
        { "notation": notation("ca:plant") }, { "cosign": plant.cosign() }, { "trust": plant.trust() },
    ] }));
    let new = plant.push("new");
    sign(&plant, &new, &chain);
    let keyed = plant.push_signed("keyed", &plant.key);
    let (old, stranger) = (plant.push("old"), plant.push("stranger"));
    sign(&plant, &stranger, &portreeve_test_support::notation::chain(Kind::P256, Kind::P256));
    plant.release(&[("old", &old)]);
    for (tag, image, scheme) in [("new", &new, "notation"), ("keyed", &keyed, "cosign"), ("old", &old, "trust")] {
        let heard = admit(&engine, &pod(&[&plant.tagged(tag)]));
        assert_allowed(&heard, &[(FIRST, plant.pinned(tag, image))]);
        assert_eq!(heard.audit["schemes"], format!("{}={scheme}", plant.tagged(tag)));
    }
    let heard = admit(&engine, &pod(&[&plant.tagged("new")]));
    assert!(heard.audit["signers"].as_str().unwrap().contains("CN=builder"), "{heard:?}");
    // Signed by a stranger, and in no other way.
    let heard = admit(&engine, &pod(&[&plant.tagged("stranger")]));
    assert_denied(&heard, &["rejected: ", "notation: ", "trust stores", "cosign: ", "trust: "]);
    // Two say no, and one cannot say.
    plant.world.server.stop();
    let heard = admit(&engine, &pod(&[&plant.tagged("stranger")]));
    assert_denied(&heard, &["unavailable: trust: ", "notation: "]);
    assert_allowed(&admit(&engine, &pod(&[&plant.tagged("new")])), &[(FIRST, plant.pinned("new", &new))]);
}

/// A trust store that is not there is a no, and never a yes.
#[test]
fn a_store_that_is_not_there_lets_nothing_in() {
    let (plant, chain) = plant();
    let image = plant.push_signed("both", &plant.key);
    sign(&plant, &image, &chain);
    let alone = plant.engine(&json!({ "notation": notation("ca:other") }));
    let heard = admit(&alone, &pod(&[&plant.tagged("both")]));
    assert_denied(&heard, &["rejected: ", "the trust store \"ca:other\", which the policy names, is not there"]);
    let either =
        plant.engine(&json!({ "anyOf": [{ "notation": notation("ca:other") }, { "cosign": plant.cosign() }] }));
    let heard = admit(&either, &pod(&[&plant.tagged("both")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("both", &image))]);
    assert_eq!(heard.audit["schemes"], format!("{}=cosign", plant.tagged("both")));
}

#[test]
fn scheme_row_131_notation_and_cosign_side_by_side_are_both_needed() {
    let (plant, chain) = plant();
    let engine = plant.engine(&json!({ "notation": notation("ca:plant"), "cosign": plant.cosign() }));
    let both = plant.push_signed("both", &plant.key);
    sign(&plant, &both, &chain);
    let half = plant.push("half");
    sign(&plant, &half, &chain);
    plant.push_signed("other-half", &plant.key);
    let heard = admit(&engine, &pod(&[&plant.tagged("both")]));
    assert_allowed(&heard, &[(FIRST, plant.pinned("both", &both))]);
    let heard = admit(&engine, &pod(&[&plant.tagged("half")]));
    assert_denied(&heard, &["rejected: cosign: "]);
    let heard = admit(&engine, &pod(&[&plant.tagged("other-half")]));
    assert_denied(&heard, &["rejected: notation: "]);
    plant.registry.misbehave("/referrers/", RegistryFault::Status(500));
    let heard = admit(&engine, &pod(&[&plant.tagged("half")]));
    assert_denied(&heard, &["unavailable: "]);
}
