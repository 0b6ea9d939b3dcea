//! The endings of files and policies, which are looked up again only when these have changed.

use std::sync::{Arc, Weak};

use super::{CertificateFile, of_policies};
use crate::base::ending::Ending;
use crate::base::files::Stamp;
use crate::policy::PolicySet;

/// What was looked up.
#[derive(Default)]
pub(super) struct Remembered {
    files: Vec<File>,
    /// The set of which these are the endings. It does not keep a set in memory that is no longer in force.
    set: Weak<PolicySet>,
    of_set: Vec<Ending>,
    /// How often certificates were parsed: of a file, or of a set.
    #[cfg(test)]
    parsed: usize,
}

/// A file, by its place in the list of files.
#[derive(Default)]
struct File {
    stamp: Option<Stamp>,
    endings: Vec<Ending>,
}

impl Remembered {
    /// The endings of these files, which are always the same, and of this set.
    pub(super) fn endings(&mut self, files: &[CertificateFile<'_>], set: Option<&Arc<PolicySet>>) -> Vec<Ending> {
        self.files.resize_with(files.len(), File::default);
        for (file, known) in files.iter().zip(&mut self.files) {
            let stamp = Stamp::of(file.path);
            // A file without any certificate may be one that could not be read.
            if stamp.is_none() || stamp != known.stamp || known.endings.is_empty() {
                *known = File { stamp, endings: file.endings() };
                #[cfg(test)]
                {
                    self.parsed += 1;
                }
            }
        }
        let set = set.map_or_else(Weak::new, Arc::downgrade);
        if !set.ptr_eq(&self.set) {
            self.of_set = set.upgrade().map(|set| of_policies(&set)).unwrap_or_default();
            self.set = set;
            #[cfg(test)]
            {
                self.parsed += 1;
            }
        }
        let of_files = self.files.iter().flat_map(|file| &file.endings);
        of_files.chain(&self.of_set).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use portreeve_test_support::certificates::Authority;
    use portreeve_test_support::temp::TempDir;

    use super::*;
    use crate::base::ending::EndingKind;
    use crate::policy::load;

    /// A set that pins a CA of this name.
    fn pinned(dir: &TempDir, name: &str) -> Arc<PolicySet> {
        let pem = serde_json::to_string(&Authority::named(name).pem()).unwrap();
        let trust = format!("{{enabled: true, roots: [{{ca: {pem}}}]}}");
        dir.write(
            "policies/p.yaml",
            format!(
                "apiVersion: portreeve/v1\nkind: ClusterImagePolicy\nmetadata: {{name: p}}\nspec:\n  repositories:\n  - \
                 {{name: a, policy: {{trust: {trust}}}}}\n"
            ),
        );
        Arc::new(load(&[dir.path().join("policies")]).unwrap())
    }

    #[test]
    fn certificates_are_parsed_again_only_when_something_changed() {
        let dir = TempDir::new();
        let paths = ["tls.crt", "ca.crt", "absent.crt"].map(|name| dir.path().join(name));
        let files: Vec<CertificateFile<'_>> =
            paths.iter().map(|path| CertificateFile { kind: EndingKind::TrustCa, path, advice: "renew it" }).collect();
        dir.write("tls.crt", Authority::named("serving").pem());
        dir.write("ca.crt", Authority::named("plant").pem());
        let mut remembered = Remembered::default();
        let mut look = |set: Option<&Arc<PolicySet>>| {
            let before = remembered.parsed;
            let endings = remembered.endings(&files, set);
            let names: Vec<String> =
                endings.iter().map(|ending| ending.what.rsplit(", ").next().unwrap().to_owned()).collect();
            (names.join(" "), remembered.parsed - before)
        };
        // An absent file is looked for each time, which costs one call and parses nothing.
        assert_eq!(look(None), ("serving plant".to_owned(), 3));
        let mut first = pinned(&dir, "one");
        assert_eq!(look(Some(&first)), ("serving plant one".to_owned(), 2));
        for _ in 0..5 {
            assert_eq!(look(Some(&first)), ("serving plant one".to_owned(), 1));
        }
        dir.write("ca.crt", Authority::named("plant-of-tomorrow").pem());
        assert_eq!(look(Some(&first)), ("serving plant-of-tomorrow one".to_owned(), 2));
        let second = pinned(&dir, "two");
        assert_eq!(look(Some(&second)), ("serving plant-of-tomorrow two".to_owned(), 2));
        assert!(Arc::get_mut(&mut first).is_some(), "no set is kept that is no longer in force");
        // The same address, and another set.
        drop(first);
        let third = pinned(&dir, "three");
        assert_eq!(look(Some(&third)), ("serving plant-of-tomorrow three".to_owned(), 2));
        dir.write("absent.crt", Authority::named("new").pem());
        assert_eq!(look(Some(&third)), ("serving plant-of-tomorrow new three".to_owned(), 1));
        assert_eq!(look(Some(&third)), ("serving plant-of-tomorrow new three".to_owned(), 0));
        assert_eq!(look(None), ("serving plant-of-tomorrow new".to_owned(), 1));
    }
}
