//! The checks of the fuzz targets: each module has one `check`, which takes any bytes and panics if the product breaks
//! a promise. `cargo fuzz` calls it for ever; [`replay`] calls it on the kept inputs, on stable Rust.
//!
//! A target that only looks for panics finds little. So each check also compares the product with a slow and obvious
//! reading, or asserts an invariant of every input.

pub mod admission_review;
pub mod canonical_json;
pub mod configuration;
pub mod cosign_payload;
pub mod docker_config;
pub mod gateway_request;
pub mod http_head;
pub mod image_reference;
pub mod notation_envelope;
pub mod notation_store;
pub mod oci_manifest;
pub mod policy_file;
pub mod policy_pattern;
pub mod referrers_list;
pub mod root_bundle;
pub mod sigstore_bundle;
pub mod timestamp_token;
pub mod trust_data;
pub mod trusted_root;
pub mod www_authenticate;

mod cbor;
mod claim;
mod glob;
mod oci;
mod strict_json;

/// A target's name and check.
type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 20] = [
    ("admission_review", admission_review::check),
    ("canonical_json", canonical_json::check),
    ("configuration", configuration::check),
    ("cosign_payload", cosign_payload::check),
    ("docker_config", docker_config::check),
    ("gateway_request", gateway_request::check),
    ("http_head", http_head::check),
    ("image_reference", image_reference::check),
    ("notation_envelope", notation_envelope::check),
    ("notation_store", notation_store::check),
    ("oci_manifest", oci_manifest::check),
    ("policy_file", policy_file::check),
    ("policy_pattern", policy_pattern::check),
    ("referrers_list", referrers_list::check),
    ("root_bundle", root_bundle::check),
    ("sigstore_bundle", sigstore_bundle::check),
    ("timestamp_token", timestamp_token::check),
    ("trust_data", trust_data::check),
    ("trusted_root", trusted_root::check),
    ("www_authenticate", www_authenticate::check),
];

#[cfg(test)]
mod replay {
    use std::path::Path;

    /// Every kept input, and prefixes of the short ones: a truncated input must not break a promise either.
    #[test]
    fn the_corpus() {
        for (name, check) in super::TARGETS {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            assert!(!files.is_empty(), "{name} has no corpus");
            for file in &files {
                println!("{}", file.display());
                let bytes = std::fs::read(file).unwrap();
                check(&bytes);
                // These two are too slow: they start an engine, or sign.
                if !matches!(name, "trust_data" | "admission_review") && bytes.len() <= 2048 {
                    (0..bytes.len()).step_by(bytes.len() / 64 + 1).for_each(|end| check(&bytes[..end]));
                }
            }
            println!("{name}: {} inputs", files.len());
        }
    }
}
