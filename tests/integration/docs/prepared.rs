//! What a reader of a page has already, by the name of the test. Add a line here for a page whose commands need files.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::run;

/// Writes what the commands of this name need.
pub(crate) fn prepare(name: &str, directory: &Path) {
    // The CA of the site's registries and trust servers.
    let ca = rcgen::generate_simple_self_signed(["registry.local".to_owned()]).unwrap();
    fs::write(directory.join("site-ca.pem"), ca.cert.pem()).unwrap();
    match name {
        "installed-upgrade" => {
            fs::create_dir(directory.join("new")).unwrap();
            let manifests = [directory.join("manifests"), directory.join("new/manifests")];
            run(Command::new("cp").arg("-r").args(manifests), "").expect(0);
        }
        "policies" => {
            fs::create_dir(directory.join("policies")).unwrap();
        }
        _ => {}
    }
}
