//! Docker configs of both shapes: no secret is printed, and only images of the key's host match.

use portreeve::fuzzing::docker_config;
use serde_json::Value;

const IMAGE: &str = "registry.local:9001/plant/plc";

pub fn check(data: &[u8]) {
    let json: Value = serde_json::from_slice(data).unwrap_or_default();
    for old_shape in [false, true] {
        let auths = if old_shape { &json } else { &json["auths"] };
        let (shown, matching) = match docker_config(data, old_shape, IMAGE) {
            Ok(found) => found,
            Err(words) => (words, 0),
        };
        let Some(auths) = auths.as_object() else { continue };
        // Secrets long enough not to occur by chance, which occur in no printed field.
        let open: String =
            // Hosts are printed in lower case too, and `Debug` escapes both.
            (auths.iter())
                .map(|(key, auth)| {
                    let small = key.to_lowercase();
                    format!("{key} {key:?} {small} {small:?} {} {}", auth["username"], decoded(auth).0)
                })
                .collect();
        for auth in auths.values() {
            let given = ["password", "identitytoken", "auth"].into_iter().filter_map(|field| auth[field].as_str());
            for secret in given.map(str::to_owned).chain([decoded(auth).1]) {
                let told = secret.len() >= 12 && shown.contains(&secret) && !open.contains(&secret);
                assert!(!told || FIXED.contains(secret.as_str()), "{secret:?} in {shown}");
            }
        }
        assert!(matching <= auths.len());
        // A key without the host's last label cannot match.
        let could = auths.keys().filter(|key| key.to_lowercase().contains(":9001")).count();
        assert!(matching <= could, "{matching} of {could}");
    }
}

/// Words that are always printed.
const FIXED: &str = "DockerConfig { entries: [], problems: [] } Entry registry pattern RegistryPattern host port path \
                     username password Secret(…) has neither auth nor username and password is not the name of a registry \
                     auth is not base64 of user:password auth is not base64 of UTF-8 text auth names no user has far more in it than 1000 registries \
                     need";

fn decoded(auth: &Value) -> (String, String) {
    use base64::Engine as _;
    let auth = auth["auth"].as_str().unwrap_or_default().trim_end_matches('=');
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(auth).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    text.split_once(':')
        .map_or((String::new(), String::new()), |(user, password)| (user.to_owned(), password.to_owned()))
}
