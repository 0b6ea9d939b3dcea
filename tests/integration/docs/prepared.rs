//! What a reader of a page has already, by the name of the test. Add a line here for a page whose commands need files.

use std::fs;
use std::path::Path;

/// Writes what the commands of this name need.
pub(super) fn prepare(name: &str, directory: &Path) {
    match name {
        "policies" => {
            fs::create_dir(directory.join("policies")).unwrap();
        }
        _ => {}
    }
}
