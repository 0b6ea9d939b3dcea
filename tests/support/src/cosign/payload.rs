//! The payload of the old format.

use serde_json::{Value, json};

use super::Image;

/// A payload in preparation: by default what `cosign sign` writes without annotations.
#[derive(Clone)]
pub struct Payload {
    value: Value,
}

impl Payload {
    /// The payload for an image, with the reference `registry.local:9001/plant/plc`.
    pub fn new(image: &Image) -> Self {
        let value = json!({
            "critical": {
                "identity": {"docker-reference": "registry.local:9001/plant/plc"},
                "image": {"docker-manifest-digest": image.digest()},
                "type": "cosign container image signature"
            },
            "optional": null
        });
        Self { value }
    }

    /// Sets `docker-reference`.
    pub fn reference(self, reference: &str) -> Self {
        self.edit(|payload| payload["critical"]["identity"]["docker-reference"] = reference.into())
    }

    /// Adds an annotation, as `cosign sign -a name=value` does.
    pub fn annotation(self, name: &str, value: impl Into<Value>) -> Self {
        self.edit(|payload| payload["optional"][name] = value.into())
    }

    /// Changes anything else.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.value);
        self
    }

    /// The bytes that are signed.
    pub fn bytes(&self) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }
}
