//! Signatures that a test reads from the registry, or writes there.

use std::io::Write as _;

use portreeve_test_support::cosign::{Artifact, Image, digest as digest_of};
use serde_json::Value;

use super::Plant;
use crate::https::{connect_tls, https_with, read_response};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Plant {
    fn port(&self) -> u16 {
        self.registry.host().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn get(&self, path: &str, accept: &str) -> String {
        let response = https_with(&self.producers.pki, self.port(), "GET", path, &[("Accept", accept)], b"");
        assert_eq!(response.status, 200, "{path}: {response:?}");
        response.body
    }

    /// The bundle of an image that was signed once.
    pub(super) fn bundle(&self, path: &str, pinned: &str) -> Value {
        let digest = pinned.split_once('@').unwrap().1;
        let index = "application/vnd.oci.image.index.v1+json";
        let list: Value =
            serde_json::from_str(&self.get(&format!("/v2/plant/{path}/referrers/{digest}"), index)).unwrap();
        let manifest = list["manifests"][0]["digest"].as_str().unwrap();
        let manifest = self.get(&format!("/v2/plant/{path}/manifests/{manifest}"), MANIFEST);
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let blob = manifest["layers"][0]["digest"].as_str().unwrap();
        serde_json::from_str(&self.get(&format!("/v2/plant/{path}/blobs/{blob}"), "*/*")).unwrap()
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) {
        let mut stream = connect_tls(&self.producers.pki, self.port()).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream.flush().unwrap();
        let response = read_response(&mut stream).unwrap();
        assert_eq!(response.status, 201, "{path}: {response:?}");
    }

    /// Copies an image to another repository, with one signature of this making, under a tag if it has one. Returns `<name>:v1`, and
    /// `<name>@<digest>`.
    pub(super) fn copy_with(
        &self,
        pinned: &str,
        path: &str,
        make: impl FnOnce(&Image) -> (Artifact, Option<String>),
    ) -> (String, String) {
        let name = format!("{}/plant/{path}", self.registry.host());
        let tagged = format!("{name}:v1");
        self.producers.crane(&["copy", pinned, &tagged]);
        let digest = pinned.split_once('@').unwrap().1;
        let manifest = self.get(&format!("/v2/plant/{path}/manifests/{digest}"), MANIFEST);
        let (artifact, tag) = make(&Image::new(manifest.as_bytes()));
        for blob in &artifact.blobs {
            let target = format!("/v2/plant/{path}/blobs/uploads/?digest={}", digest_of(blob));
            self.send("POST", &target, "application/octet-stream", blob);
        }
        let reference = tag.unwrap_or_else(|| artifact.digest());
        self.send("PUT", &format!("/v2/plant/{path}/manifests/{reference}"), MANIFEST, &artifact.manifest);
        (tagged, format!("{name}@{digest}"))
    }
}
