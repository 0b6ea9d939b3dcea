//! Signatures that were carried to a site without a registry.

use std::fs;

use serde_json::json;

use super::{BUILD, OTHER, Plant};
use crate::process::run;
use crate::sigstore::Services;

#[test]
fn signatures_of_identities_are_carried_to_a_site_without_a_registry() {
    let Some(mut plant) = Plant::new(true, true) else { return };
    let (image, other) = (plant.push("plc"), plant.push("other"));
    plant.instance.sign_as_build(BUILD, &image.1, Services::All);
    plant.instance.sign_as_build(OTHER, &other.1, Services::All);
    plant.instance.stop();
    let stick = plant.site.files().join("stick");
    let root = plant.site.file("plant.json", &plant.instance.trusted_root().to_string());
    let (issuer, subject) = (plant.instance.builds.url(), plant.instance.subject_of(BUILD));
    let export = |image: &str, status: i32| {
        let args = ["--image", image, "--trusted-root", root.to_str().unwrap(), "--issuer", &issuer];
        let args = [&args[..], &["--subject", &subject, stick.to_str().unwrap()]].concat();
        run(&mut plant.site.command("export", &args), "").expect(status)
    };
    // What another identity has signed is not written.
    let told = export(&other.0, 1);
    assert!(told.text().contains(&plant.instance.subject_of(OTHER)), "{told:?}");
    export(&image.0, 0);

    plant.registry.go_away();
    let cache = plant.site.config["trust"]["cache"].as_str().unwrap();
    fs::remove_dir_all(cache).unwrap_or_default(); // there may be none
    let prefix = format!("{}/plant/", plant.registry.host());
    plant.site.config["registries"] = json!({ "signatures": { prefix: format!("file://{}", stick.display()) } });
    plant.require(plant.signers(&[plant.build(BUILD)]));
    plant.assert_admitted(&image);
    plant.assert_rejected(&other, &[]);
    plant.require(plant.signers(&[plant.build(OTHER)]));
    plant.assert_rejected(&image, &["it is not signed by build; ", &subject]);
}
