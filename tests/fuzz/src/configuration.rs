//! The configuration file: read strictly, errors with a place, and the same result each time.

use std::path::Path;

use portreeve::config::Config;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = || Config::parse(text, Path::new("portreeve.yaml"));
    match (read(), read()) {
        (Ok(one), Ok(two)) => assert_eq!(format!("{one:?}"), format!("{two:?}")),
        (Err(one), Err(two)) => {
            assert_eq!(one.to_string(), two.to_string());
            assert!(!one.to_string().chars().any(|c| c.is_control() && c != '\n'), "{one}");
        }
        _ => panic!("read twice, and once it is wrong:\n{text}"),
    }
}
