//! The credentials of one request: looked up once, and only when a server asks for them. Most requests are answered without
//! signing in anywhere.

use std::fmt;
use std::sync::OnceLock;

use super::{Credential, Found, Keychain};
use crate::base::context::Deadline;
use portreeve_verify::image::Sha256;

/// The credentials for one repository on one server, in the order in which to try them.
pub struct Credentials<'a> {
    keychain: &'a dyn Keychain,
    /// The repository that is read there.
    repository: &'a str,
    /// The repository that it mirrors, if credentials for that one may be sent to the server: they are tried first.
    mirror: Option<&'a str>,
    found: OnceLock<(Found, Fingerprint)>,
}

impl<'a> Credentials<'a> {
    /// Those that the keychain has for this repository. `mirror` is tried first, where the image has another name than its
    /// signature; it is given only if the server may see credentials for that name.
    pub fn new(keychain: &'a dyn Keychain, repository: &'a str, mirror: Option<&'a str>) -> Self {
        Self { keychain, repository, mirror, found: OnceLock::new() }
    }

    /// The credentials. The first call looks for them, until the deadline. Empty: the server can only be asked anonymously.
    pub fn get(&self, deadline: Deadline) -> &[Credential] {
        &self.look_up(deadline).0.credentials
    }

    /// The fingerprint of the credentials. The first call looks for them, until the deadline.
    pub fn get_fingerprint(&self, deadline: Deadline) -> Fingerprint {
        self.look_up(deadline).1
    }

    fn look_up(&self, deadline: Deadline) -> &(Found, Fingerprint) {
        self.found.get_or_init(|| {
            let found = match self.mirror.filter(|mirror| *mirror != self.repository) {
                Some(mirror) => self.keychain.credentials(&[mirror, self.repository], deadline),
                None => self.keychain.credentials(&[self.repository], deadline),
            };
            let fingerprint = Fingerprint::of(&found.credentials);
            (found, fingerprint)
        })
    }

    /// What was found, if it was looked for.
    pub fn found(&self) -> Option<&Found> {
        self.found.get().map(|(found, _)| found)
    }

    /// The fingerprint of the credentials, if they were looked for.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.found.get().map(|(_, fingerprint)| *fingerprint)
    }
}

#[cfg(test)]
impl Credentials<'static> {
    /// These, as if they had been looked up already.
    pub(crate) fn known(credentials: Vec<Credential>) -> Self {
        let fingerprint = Fingerprint::of(&credentials);
        let found = OnceLock::from((Found { credentials, problems: Vec::new() }, fingerprint));
        Self { keychain: &super::FnKeychain(|_| Vec::new()), repository: "", mirror: None, found }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.found()).finish()
    }
}

/// Identifies a list of credentials without containing it. It can be stored and compared: a tenant's list may have hundreds
/// of kilobytes, and no password is to stay in memory longer than it is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of these credentials, in their order. Their sources count too: a failure tells them.
    pub fn of(credentials: &[Credential]) -> Self {
        Self::of_parts(credentials.iter().flat_map(|Credential { username, password, source }| {
            [username.as_str(), password.reveal(), source.as_str()]
        }))
    }

    /// Of these texts, in their order.
    pub(crate) fn of_parts<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        Self(Sha256::of_parts(parts.into_iter().map(str::as_bytes)))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::base::secret::Secret;
    use crate::keychain::FnKeychain;

    #[test]
    fn nobody_looks_before_somebody_asks_and_then_once() {
        let looks = AtomicUsize::new(0);
        let alice = || Credential {
            username: "alice".to_owned(),
            password: Secret::new("hunter2"),
            source: "a file".to_owned(),
        };
        let keychain = FnKeychain(|_| {
            looks.fetch_add(1, Ordering::SeqCst);
            vec![alice()]
        });
        let credentials = Credentials::new(&keychain, "registry.local/plc", None);
        assert!(
            credentials.found().is_none() && credentials.fingerprint().is_none() && looks.load(Ordering::SeqCst) == 0
        );
        let soon = Deadline::after(Duration::from_secs(1));
        assert_eq!(credentials.get(soon), [alice()]);
        assert_eq!(credentials.get(soon), credentials.found().unwrap().credentials);
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn the_mirror_is_asked_for_first_and_one_name_once() {
        #[derive(Default)]
        struct Names(Mutex<Vec<String>>);
        impl Keychain for Names {
            fn credentials(&self, repositories: &[&str], _: Deadline) -> Found {
                self.0.lock().unwrap().extend(repositories.iter().map(|name| (*name).to_owned()));
                Found::default()
            }

            fn of_namespace(&self, _: &[&str], _: Deadline) -> Found {
                Found::default()
            }
        }
        for (mirror, expected) in [
            (None, &["signed/plc"] as &[&str]),
            (Some("signed/plc"), &["signed/plc"]),
            (Some("mirror/plc"), &["mirror/plc", "signed/plc"]),
        ] {
            let names = Names::default();
            Credentials::new(&names, "signed/plc", mirror).get(Deadline::after(Duration::from_secs(1)));
            assert_eq!(*names.0.lock().unwrap(), expected);
        }
    }

    #[test]
    fn a_fingerprint_tells_lists_apart_and_nothing_else() {
        let of = |list: &[(&str, &str, &str)]| {
            let credentials = list.iter().map(|&(user, password, source)| Credential {
                username: user.to_owned(),
                password: Secret::new(password),
                source: source.to_owned(),
            });
            Fingerprint::of(&credentials.collect::<Vec<_>>())
        };
        let lists: [&[(&str, &str, &str)]; 9] = [
            &[],
            &[("", "", "")],
            &[("a", "b", "c")],
            &[("ab", "", "c")],
            &[("a", "bc", "")],
            &[("a", "b", "d")],
            &[("x", "b", "c")],
            &[("a", "b", "c"), ("x", "b", "c")],
            &[("x", "b", "c"), ("a", "b", "c")],
        ];
        for (at, one) in lists.iter().enumerate() {
            for (other_at, other) in lists.iter().enumerate() {
                assert_eq!(of(one) == of(other), at == other_at, "{one:?} {other:?}");
            }
        }
        assert_eq!(format!("{:?}", of(&[("a", "b", "c")])), "Fingerprint(…)");
    }
}
