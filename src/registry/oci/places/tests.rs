use super::*;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|&(key, url)| (key.to_owned(), url.to_owned())).collect()
}

fn registries(endpoints: &[(&str, &str)], signatures: &[(&str, &str)]) -> Registries {
    Registries::new(map(endpoints), map(signatures), PlainHttp::Refused).unwrap()
}

/// URL, repository and credentials of a place.
fn told(place: &Place) -> String {
    match place {
        Place::Registry { url, repository, credentials } => format!("{url} {repository} {credentials}"),
        Place::Layout { directory, repository } => format!("file://{} {repository}", directory.display()),
    }
}

fn image(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

#[test]
fn an_image_is_at_its_registry_or_at_its_endpoint() {
    let registries = registries(
        &[
            ("Harbor.local:443", "https://harbor.internal:8443/"),
            ("quay.io", "https://mirror.local/v2/quay-proxy"),
            ("gcr.io", "https://art.local/artifactory/api"),
            ("ghcr.io", "https://mirror.local/v2/"),
        ],
        &[],
    );
    for (name, expected) in [
        ("registry.local:9001/plant/plc:v1", "https://registry.local:9001 plant/plc registry.local:9001/plant/plc"),
        ("reg.io:443/app", "https://reg.io app reg.io/app"),
        ("[fd00:0::1]:9001/app", "https://[fd00::1]:9001 app [fd00::1]:9001/app"),
        ("harbor.local/app", "https://harbor.internal:8443 app harbor.local/app"),
        ("harbor.local:4443/app", "https://harbor.local:4443 app harbor.local:4443/app"),
        ("quay.io/team/app", "https://mirror.local quay-proxy/team/app quay.io/team/app"),
        ("ghcr.io/team/app", "https://mirror.local team/app ghcr.io/team/app"),
        ("gcr.io/team/app", "https://art.local/artifactory/api team/app gcr.io/team/app"),
    ] {
        let place = registries.image_place(&image(name));
        assert_eq!(told(&place), expected, "{name}");
        assert_eq!(registries.signature_place(&image(name)), place, "{name}");
    }
}

#[test]
fn scheme_row_031_docker_hub_has_another_host_and_official_images_a_namespace() {
    let hub = "https://registry-1.docker.io library/nginx docker.io/library/nginx";
    for name in ["nginx", "docker.io/nginx:1.27", "index.docker.io:443/library/nginx"] {
        assert_eq!(told(&registries(&[], &[]).image_place(&image(name))), hub, "{name}");
    }
    for own in ["docker.io", "docker.io:443", "Index.Docker.io"] {
        let registries = registries(&[(own, "https://hub.local")], &[]);
        let expected = "https://hub.local library/nginx docker.io/library/nginx";
        assert_eq!(told(&registries.image_place(&image("nginx"))), expected, "{own}");
    }
}

#[test]
fn signatures_are_at_the_place_with_the_longest_prefix() {
    let registries = registries(
        &[("sigs.local", "https://sigs.internal")],
        &[
            ("registry.local:9001/", "https://other.local/mirror/"),
            ("registry.local:9001/plant/", "https://other.local:5000/all-signatures"),
            ("registry.local:9001/plant/plc", "https://sigs.local/plc-signatures"),
            ("registry.local:9001/stick/", "file:///media/stick/layout/"),
            ("registry.local:9001/stick/online/", "https://other.local/"),
            ("nginx.local/nginx", "https://docker.io/nginx-signatures"),
            ("docker.io/nginx", "https://other.local/nginx"),
        ],
    );
    let other = "https://other.local";
    for (name, expected) in [
        ("registry.local:9001/app", format!("{other} mirror/app other.local/mirror/app")),
        ("registry.local:9001/a/b", format!("{other} mirror/a/b other.local/mirror/a/b")),
        // A prefix ends at a slash.
        ("registry.local:9001/planted/x", format!("{other} mirror/planted/x other.local/mirror/planted/x")),
        ("registry.local:9001/plant/x", format!("{other}:5000 all-signatures other.local:5000/all-signatures")),
        ("registry.local:9001/plant/plc", "https://sigs.internal plc-signatures sigs.local/plc-signatures".to_owned()),
        ("registry.local:9001/plant/plc2", format!("{other}:5000 all-signatures other.local:5000/all-signatures")),
        ("registry.local:9001/stick/x", "file:///media/stick/layout registry.local:9001/stick/x".to_owned()),
        ("registry.local:9001/stick/online/x", format!("{other} x other.local/x")),
        ("registry.local/app", "https://registry.local app registry.local/app".to_owned()),
        (
            "nginx.local/nginx",
            "https://registry-1.docker.io library/nginx-signatures docker.io/library/nginx-signatures".to_owned(),
        ),
        ("nginx", format!("{other} nginx other.local/nginx")),
    ] {
        assert_eq!(told(&registries.signature_place(&image(name))), expected, "{name}");
    }
    // The tag is resolved at the image's own registry, but for a layout.
    for (name, expected) in [
        ("registry.local:9001/plant/plc", "https://registry.local:9001 plant/plc registry.local:9001/plant/plc"),
        ("registry.local:9001/stick/x", "file:///media/stick/layout registry.local:9001/stick/x"),
        (
            "registry.local:9001/stick/online/x",
            "https://registry.local:9001 stick/online/x registry.local:9001/stick/online/x",
        ),
    ] {
        assert_eq!(told(&registries.image_place(&image(name))), expected, "{name}");
    }
}

/// CASES.md, A9: another registry's token service must not see the password of the image's registry.
#[test]
fn a_place_sees_the_credentials_of_its_own_name_only() {
    let registries = registries(&[], &[("registry.local:9001/", "https://third.party/signatures/")]);
    let image = image("registry.local:9001/plant/plc");
    let Place::Registry { url, credentials, .. } = registries.signature_place(&image) else { panic!("a layout") };
    assert_eq!((url.as_str(), credentials.as_str()), ("https://third.party", "third.party/signatures/plant/plc"));
    let Place::Registry { url, credentials, .. } = registries.image_place(&image) else { panic!("a layout") };
    assert_eq!((url.as_str(), credentials.as_str()), ("https://registry.local:9001", "registry.local:9001/plant/plc"));
}

#[test]
fn a_mistake_is_told_at_start_with_its_key() {
    for (key, url, words) in [
        ("", "https://a", "is not a registry's host"),
        ("registry.local/plant", "https://a", "is not a registry's host"),
        ("https://registry.local", "https://a", "is not a registry's host"),
        ("registry", "https://a", "is not a registry's host"),
        ("*.local", "https://a", "is not a registry's host"),
        ("r.io", "a", "does not begin with https://"),
        ("r.io", "http://a", "is plain http, and only https is allowed"),
        ("r.io", "https://u:secret@a", "a user name"),
        ("r.io", "https://a?x=y", "a query"),
        ("r.io", "https://a/v2/Proxy", "something after /v2/ that no repository has"),
        ("r.io", "file:///x", "does not begin with https://"),
    ] {
        let error = Registries::new(map(&[(key, url)]), BTreeMap::new(), PlainHttp::Refused).unwrap_err().to_string();
        assert!(error.starts_with(&format!("endpoints: \"{key}\"")) && error.contains(words), "{words}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for (key, url, words) in [
        ("registry.local:9001", "https://a.b/x", "is not the beginning of an image's name"),
        ("nginx", "https://a.b/x", "is not the beginning of an image's name"),
        ("library/nginx", "https://a.b/x", "is not the beginning of an image's name"),
        ("r.io//", "https://a.b/x", "is not the beginning of an image's name"),
        ("r.io/a//", "https://a.b/x", "is not the beginning of an image's name"),
        ("r.io/a:v1", "https://a.b/x", "is not the beginning of an image's name"),
        ("r.io/*", "https://a.b/x", "is not the beginning of an image's name"),
        ("r.io/", "https://a.b", "names no repository"),
        ("r.io/", "https://a.b/v2/x/", "names no repository"),
        ("r.io/", "https://a.b/X/", "names no repository"),
        ("r.io/", "https://a.b/x?y", "a query"),
        ("r.io/", "http://a.b/x", "is plain http"),
        ("r.io/", "https://plainname/x", "whose host cannot be"),
        ("r.io/a", "https://a.b/x/", "end both in a slash, or neither"),
        ("r.io/a", "https://a.b/", "end both in a slash, or neither"),
        ("r.io/", "file://media/x", "needs the absolute path of a directory"),
        ("r.io/", "file:///", "needs the absolute path of a directory"),
        ("r.io/", "FILE:///a/../b", "needs the absolute path of a directory"),
        ("r.io/", "file:///a%20b", "needs the absolute path of a directory"),
    ] {
        let error = Registries::new(BTreeMap::new(), map(&[(key, url)]), PlainHttp::Refused).unwrap_err().to_string();
        assert!(error.starts_with(&format!("signatures: \"{key}\"")) && error.contains(words), "{words}: {error}");
    }
    for (maps, words) in [
        ((map(&[("r.io", "https://a"), ("r.io:443", "https://b")]), BTreeMap::new()), "endpoints: \"r.io:443\" stands"),
        ((BTreeMap::new(), map(&[("r.io/a/", "https://a.b/"), ("R.io:443/a/", "https://b.c/")])), "stands there twice"),
    ] {
        let error = Registries::new(maps.0, maps.1, PlainHttp::Refused).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn plain_http_is_for_those_who_dare() {
    let endpoints = map(&[("r.io", "http://r.io:5000")]);
    let signatures = map(&[("r.io/", "http://s.io:5000/")]);
    let registries = Registries::new(endpoints, signatures, PlainHttp::DangerouslyAllowed).unwrap();
    assert_eq!(told(&registries.image_place(&image("r.io/a"))), "http://r.io:5000 a r.io/a");
    assert_eq!(told(&registries.signature_place(&image("r.io/a"))), "http://s.io:5000 a s.io:5000/a");
}
