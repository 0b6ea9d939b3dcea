//! Image references: an accepted reference is in its one normal form, and means what was written.

use portreeve_verify::image::{Reference, Sha256};
use portreeve_verify::tuf::Gun;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let image = match Reference::parse(text) {
        Ok(image) => image,
        Err(error) => {
            let words = error.to_string();
            assert!(!words.is_empty() && !words.chars().any(char::is_control), "{words:?}");
            return;
        }
    };
    // Reading the normal form gives the normal form, so an image has one form.
    let normal = image.to_string();
    assert_eq!(Reference::parse(&normal).as_ref(), Ok(&image), "{normal}");
    assert_eq!(image.repository(), format!("{}/{}", image.host(), image.path()));
    // The name with a normalised host is a name, and normalising it again changes nothing.
    if let Ok(repository) = Reference::parse(image.repository()) {
        assert_eq!((repository.name(), repository.repository()), (image.repository(), image.repository()), "{normal}");
        assert!(!image.host().ends_with(":443") || !image.host().contains(['.', '[']), "{normal}");
    }
    assert!(image.name().len() <= 255 && !image.name().bytes().any(|b| b.is_ascii_uppercase()), "{normal}");
    assert!(image.tag().is_some() || image.digest().is_some(), "{normal}");

    // The parts by an obvious reading of the text.
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    assert_eq!(image.digest().map(|digest| digest.to_string()).as_deref(), digest);
    let last = rest.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    assert_eq!(image.tag(), tag.or(if digest.is_none() { Some("latest") } else { None }), "{text}");
    let typed = &rest[..rest.len() - tag.map_or(0, |tag| tag.len() + 1)];
    assert!(image.path().ends_with(typed.rsplit('/').next().unwrap_or_default()), "{text}");
    for component in image.path().split('/') {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let (first, last) = (component.bytes().next(), component.bytes().last());
        assert!(first.is_some_and(alphanumeric) && last.is_some_and(alphanumeric), "{text}");
        assert!(!component.contains("..") && !component.contains("___"), "{text}");
    }
    for forbidden in [' ', '?', '#', '%', '&', '\\', '*'] {
        assert!(!normal.contains(forbidden), "{normal}");
    }

    // The pinned reference has the same repository and tag.
    let pinned = image.pinned_to(Sha256::new([7; 32]));
    let again = Reference::parse(&pinned).expect("a pinned image is an image");
    assert_eq!((again.name(), again.tag()), (image.name(), image.tag()));
    // Its name is a valid GUN, unless normalising has made it too long.
    match Gun::of(&image) {
        Ok(gun) => assert_eq!(gun.as_str(), image.repository()),
        Err(error) => assert!(image.repository().len() > 255, "{normal}: {error}"),
    }
}
