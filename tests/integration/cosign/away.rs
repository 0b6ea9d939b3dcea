//! A registry that goes away, restarts, and what is kept of its signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Kind, Plant, signers, with_tag};
use crate::notary::KeyKind;
use crate::process::{run, wait_until};
use crate::producers::FORMATS;
use crate::review::{assert_allowed, assert_denied, patch, pod_review, warnings};

/// An image as `<name>:v1`, and as `<name>@<digest>`.
type Pushed = (String, String);

/// A plant with a signed image in each format, and the policy's `cosign`.
fn signed_plant() -> Option<(Plant, Vec<Pushed>, Value)> {
    let plant = Plant::new(Kind::Tokens)?;
    let alice = plant.producers.key("alice", KeyKind::P256);
    let images = FORMATS.map(|format| plant.push_signed(&format!("{format:?}").to_lowercase(), &[&alice], format));
    let cosign = json!({ "signers": signers(&[&alice]) });
    plant.require(cosign.clone());
    Some((plant, images.to_vec(), cosign))
}

fn with(mut cosign: Value, when_unavailable: &str, max_stale: &str) -> Value {
    cosign["whenUnavailable"] = json!(when_unavailable);
    cosign["maxStale"] = json!(max_stale);
    cosign
}

#[test]
fn a_digest_needs_no_registry_once_it_was_verified_and_a_tag_needs_the_policys_word() {
    let Some((mut plant, images, cosign)) = signed_plant() else { return };
    plant.site.config["trust"]["refreshAfter"] = json!("0s");
    let serving = plant.site.serve();
    let admit = |image: &String| serving.admit("/admit?timeout=5s", &pod_review(image));
    for (tagged, _) in &images {
        assert_allowed(&admit(tagged));
    }
    plant.registry.go_away();
    for (tagged, pinned) in &images {
        let answer = admit(pinned);
        assert_allowed(&answer);
        assert_eq!(warnings(&answer), "", "a digest is not older than it was");
        assert_denied(&admit(tagged), &[&plant.registry.url()]);
        // Tag and digest: the digest counts.
        assert_allowed(&admit(&with_tag(pinned)));
    }
    // A digest that was never verified is another matter.
    let unknown = images[0].1.replace("sha256:", "sha256:0").split_at(images[0].1.len()).0.to_owned();
    assert_denied(&admit(&unknown), &[&plant.registry.url()]);

    plant.require(with(cosign.clone(), "useCached", "1h"));
    for (tagged, pinned) in &images {
        wait_until("the policy to be read", || admit(tagged)["response"]["allowed"] == true);
        let answer = admit(tagged);
        assert_eq!(patch(&answer)[0]["value"], with_tag(pinned));
        assert!(warnings(&answer).contains("the registry did not answer; "), "{answer:#}");
    }
    // The evidence is verified under the policy of the moment.
    let mallory = plant.producers.key("mallory", KeyKind::P256);
    plant.require(with(json!({ "signers": signers(&[&mallory]) }), "useCached", "1h"));
    wait_until("the policy to be read", || admit(&images[0].1)["response"]["allowed"] == false);

    plant.require(cosign);
    plant.registry.come_back();
    wait_until("the registry to be believed again", || admit(&images[0].0)["response"]["allowed"] == true);
    assert_eq!(warnings(&admit(&images[0].0)), "");
}

#[test]
fn what_was_verified_outlives_a_restart() {
    let Some((mut plant, images, cosign)) = signed_plant() else { return };
    for (tagged, _) in &images {
        plant.assert_admitted(tagged);
    }
    plant.registry.go_away();
    // Each review is a process of its own.
    for (tagged, pinned) in &images {
        plant.assert_admitted(pinned);
        plant.require(cosign.clone());
        std::thread::sleep(Duration::from_millis(1_100));
        plant.site.config["trust"]["refreshAfter"] = json!("1s");
        plant.assert_unavailable(tagged, &[&plant.registry.url()]);
        plant.require(with(cosign.clone(), "useCached", "1h"));
        let (status, answer) = plant.review(tagged);
        assert_eq!(status, Some(0), "{answer:#}");
        assert_eq!(patch(&answer)[0]["value"], with_tag(pinned));
        assert!(!warnings(&answer).is_empty(), "{answer:#}");
        plant.require(with(cosign.clone(), "useCached", "1s"));
        plant.assert_unavailable(tagged, &[]);
    }
    // What is stored is not believed: another byte in it, and nobody can say.
    let cache = PathBuf::from(plant.site.config["trust"]["cache"].as_str().unwrap());
    let mut changed = 0;
    for file in files(&cache) {
        let mut bytes = fs::read(&file).unwrap();
        if bytes.windows(9).any(|window| window == b"\"payload\"") || bytes.windows(6).any(|window| window == b"cosign")
        {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0, "{:?}", files(&cache));
    plant.require(cosign);
    for (_, pinned) in &images {
        plant.assert_unavailable(pinned, &[&plant.registry.url()]);
    }
    plant.registry.come_back();
    for (tagged, _) in &images {
        plant.assert_admitted(tagged);
    }
}

/// `export --image` fills a directory at a site with the registry. A site without one reads it, and so do other programs.
#[test]
fn a_stick_stands_for_a_registry() {
    let Some((mut plant, images, cosign)) = signed_plant() else { return };
    let (unsigned, _) = plant.push("unsigned");
    let key = plant.site.file("alice.pub", cosign["signers"][0]["publicKey"].as_str().unwrap());
    let stick = plant.site.file("stick/about", "").with_file_name("layout");
    let export = |image: &str| {
        let key = ["--key", key.to_str().unwrap()];
        run(
            &mut plant.site.command("export", &[&["--image", image], &key[..], &[stick.to_str().unwrap()]].concat()),
            "",
        )
    };
    for (tagged, _) in &images {
        export(tagged).expect(0);
    }
    assert_ne!(export(&unsigned).status, Some(0));

    let layout = format!("oci:{}", stick.display());
    let index: Value = serde_json::from_slice(&fs::read(stick.join("index.json")).unwrap()).unwrap();
    let listed = index["manifests"].as_array().unwrap();
    for (_, pinned) in &images {
        let digest = pinned.split_once('@').unwrap().1;
        let entry = listed.iter().find(|entry| entry["digest"] == digest).unwrap_or_else(|| panic!("{index:#}"));
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        let raw = run(Command::new("/usr/bin/skopeo").args(["inspect", "--raw", &format!("{layout}:{name}")]), "");
        let raw = raw.expect(0).stdout;
        assert_eq!(raw, plant.producers.crane(&["manifest", pinned]).trim_end_matches('\n'));
    }

    let host = plant.registry.host();
    plant.registry.go_away();
    let cache = plant.site.config["trust"]["cache"].as_str().unwrap().to_owned();
    let _ = fs::remove_dir_all(&cache);
    let place = format!("file://{}", stick.display());
    plant.site.config["registries"] = json!({ "signatures": { format!("{host}/"): place } });
    for (tagged, pinned) in &images {
        let (status, answer) = plant.review(tagged);
        assert_eq!(status, Some(0), "{answer:#}");
        assert_eq!(patch(&answer)[0]["value"], with_tag(pinned));
        plant.assert_admitted(pinned);
    }
    plant.assert_rejected(&unsigned, &["plant/unsigned"]);
    // The layout is not believed: other bytes in it, and the image is not admitted.
    let _ = fs::remove_dir_all(&cache);
    for file in files(&stick.join("blobs")) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    for (tagged, _) in &images {
        let (status, answer) = plant.review(tagged);
        assert!(status.is_some_and(|status| status != 0), "{answer:#}");
        assert_denied(&answer, &[]);
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
