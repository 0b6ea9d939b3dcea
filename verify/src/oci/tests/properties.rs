//! Changed bytes never panic, and never mean something else under the same digest. The random numbers have a fixed seed.

use super::*;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// What is put in the place of some bytes.
const PIECES: [&str; 22] = [
    "",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\\",
    "0",
    "-1",
    "null",
    "{}",
    "[]",
    "\u{17f}",
    "L",
    "sha512:",
    "\"layers\":[],",
    "\"manifests\":[],",
    "\"mediaType\":\"a/b\",",
    "\"fsLayers\":[],",
    "\"subject\":null,",
    "\"Subject\":{},",
];

#[test]
fn changed_manifests_are_read_alike_or_refused() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let originals: Vec<String> = images()
        .into_iter()
        .map(|(_, manifest)| manifest)
        .chain([bundle()])
        .map(|manifest| manifest.to_string())
        .collect();
    let (mut read, mut refused) = (0, 0);
    for number in 0..10_000 {
        let original = &originals[number % originals.len()];
        let at = random.below(original.len() + 1);
        let end = (at + random.below(3)).min(original.len());
        let (before, after) = (original.get(..at).unwrap(), original.get(end..).unwrap());
        let text = [before, PIECES[random.below(PIECES.len())], after].concat();
        let image = Image::read(text.as_bytes(), None, None);
        if let Ok(image) = &image {
            assert_eq!((image.digest, image.size), (Sha256::of(text.as_bytes()), text.len() as u64));
            let tree: Value = serde_json::from_str(&text).expect("what is read is JSON");
            assert_eq!(tree["mediaType"], image.media_type.as_str(), "{text}");
            assert!(tree["layers"].is_array() != tree.get("manifests").is_some(), "{text}");
            assert_eq!(tree["schemaVersion"], 2, "{text}");
            assert_eq!(Image::read(text.as_bytes(), Some(&image.media_type), Some(image.digest)).as_ref(), Ok(image));
        }
        match SignatureManifest::read(text.as_bytes(), None, None) {
            Ok(manifest) => {
                read += 1;
                match image {
                    Err(error) => assert_eq!(error, OciError::NoMediaType, "{text}"),
                    Ok(image) => assert_eq!(image.media_type, OCI_MANIFEST, "{text}"),
                }
                let tree: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(tree["layers"].as_array().unwrap().len(), manifest.layers.len());
                let subject = tree["subject"]["digest"].as_str().map(str::to_owned);
                assert_eq!(manifest.subject.map(|digest| digest.to_string()), subject, "{text}");
                assert_eq!(manifest.subject.is_none(), tree["subject"].is_null(), "{text}");
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().chars().all(|c| !c.is_control()), "{error}");
            }
        }
        let _ = read_referrers(text.as_bytes());
    }
    assert!(read > 250 && refused > 5_000, "{read} read, {refused} refused");
}

#[test]
fn the_order_of_members_means_nothing() {
    fn reversed(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let members: Vec<_> =
                    members.iter().rev().map(|(name, value)| format!("{}:{}", json!(name), reversed(value))).collect();
                format!("{{{}}}", members.join(","))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
            other => other.to_string(),
        }
    }
    let text = reversed(&bundle());
    assert_ne!(text, bundle().to_string());
    let one = SignatureManifest::read(text.as_bytes(), None, None).unwrap();
    let other = SignatureManifest::read(bundle().to_string().as_bytes(), None, None).unwrap();
    assert_eq!(SignatureManifest { digest: other.digest, ..one }, other);
}
