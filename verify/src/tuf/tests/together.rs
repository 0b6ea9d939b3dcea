//! Which files may be fetched at the same time. The tests of the other rows go through the same source.

use super::*;

/// The groups without hashes.
fn groups(server: &Server) -> Vec<Vec<&str>> {
    let mut groups = Vec::new();
    for names in &server.together {
        groups.push(names.iter().map(|name| name.split('.').next().unwrap()).collect());
    }
    groups
}

#[test]
fn what_does_not_depend_on_each_other_goes_together() {
    let repo = plant().publish();
    let mut server = Server::of(&repo);
    let first = Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now()).unwrap();
    let lists = vec!["targets", "targets/alice", "targets/releases"];
    assert_eq!(groups(&server), [vec!["root", "timestamp"], lists]);
    assert!(server.ahead.is_empty());

    // What has not changed is not fetched at all.
    let renewed = repo.update(|signer| signer.touch("timestamp"));
    let mut server = Server::of(&renewed);
    let second = Repository::refresh(&mut server, &gun(), &first_use(), Some(&first), &alice(), now()).unwrap();
    assert!(server.together.is_empty());
    let newer = renewed.update(|signer| signer.release("v2", OTHER, 5, &["alice"]));
    let mut server = Server::of(&newer);
    Repository::refresh(&mut server, &gun(), &first_use(), Some(&second), &alice(), now()).unwrap();
    assert_eq!(groups(&server), [["targets/alice", "targets/releases"]]);

    // A delegation that was never published, and one that `targets` is known not to have.
    let mut server = Server::of(&newer);
    let roles = ["alice", "bob"].map(|name| RoleName::of_signer(name).unwrap()).into_iter().collect();
    let without = Repository::refresh(&mut server, &gun(), &first_use(), None, &Set::new(), now()).unwrap();
    server.together.clear();
    without.with_signers(&mut server, &roles, now()).unwrap();
    assert_eq!(groups(&server), [["targets/alice"]]);
}

/// The verdict is that of the files in their order, whatever was fetched beside them.
#[test]
fn a_file_that_is_not_needed_after_all_does_not_count() {
    let repo = plant().publish();
    let run = |away: &[String], missing: &[String]| {
        let mut server = Server::of(&repo);
        server.away.extend(away.iter().cloned());
        missing.iter().for_each(|name| drop(server.files.remove(name)));
        code(Repository::refresh(&mut server, &gun(), &first_use(), None, &alice(), now()))
    };
    let name = |role: &str| repo.file_of(role);
    assert_eq!(run(&[name("timestamp")], &[name("root")]), "no-trust-data");
    assert_eq!(run(&[name("timestamp")], &[]), "unavailable");
    assert_eq!(run(&[name("targets/releases"), name("targets/alice")], &[name("targets")]), "missing");
    assert_eq!(run(&[name("targets/alice")], &[name("targets/releases")]), "missing");
    assert_eq!(run(&[name("targets/alice")], &[]), "unavailable");
}

/// A server that publishes while it is asked.
struct Publishing {
    server: Server,
    later: Repo,
}

impl MetadataSource for Publishing {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        if matches!(name, MetadataName::RootVersion(_)) {
            self.server.files.clone_from(self.later.files());
        }
        self.server.fetch(name, cap)
    }

    fn prefetch(&mut self, files: &[(MetadataName, usize)], later: usize) {
        self.server.prefetch(files, later);
    }
}

/// The timestamp that came beside an expired root is signed by a key that the newer root no longer has.
#[test]
fn a_timestamp_that_came_before_a_newer_root_is_asked_for_again() {
    let repo = plant().expires("root", now()).publish();
    let later = repo.update(|signer| signer.expires("root", now() + hours(9)).rotate("timestamp", vec![Key::p256()]));
    let mut source = Publishing { server: Server::of(&repo), later };
    let opened = Repository::refresh(&mut source, &gun(), &first_use(), None, &alice(), now()).unwrap();
    assert_eq!(opened.root_version(), 2);
}
