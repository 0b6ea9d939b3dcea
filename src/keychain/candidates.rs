//! Candidates for signing in: which entries of docker configs speak of an image, in the order in which kubelet would try
//! them; and the promise of such a list, kept only when a server asks who we are.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::fmt::{self, Display};

use super::Credential;
use super::docker_config::Entry;
use crate::base::context::Deadline;
use crate::base::secret::Secret;
use portreeve_verify::image::Sha256;

/// Candidates in the order in which to try them. They are looked for once, and only if somebody asks: most questions
/// are answered without signing in anywhere.
pub struct Candidates<'a> {
    look: Box<dyn Fn(Deadline) -> Vec<Credential> + 'a>,
    found: OnceCell<Vec<Credential>>,
}

impl<'a> Candidates<'a> {
    /// These, which are known already.
    pub fn known(credentials: Vec<Credential>) -> Self {
        Self { look: Box::new(|_| Vec::new()), found: OnceCell::from(credentials) }
    }

    /// Those that `look` finds, by a deadline.
    pub fn looked_for(look: impl Fn(Deadline) -> Vec<Credential> + 'a) -> Self {
        Self { look: Box::new(look), found: OnceCell::new() }
    }

    /// The candidates; the first call looks for them, by its deadline. None: only nobody can be tried.
    pub fn get(&self, deadline: Deadline) -> &[Credential] {
        self.found.get_or_init(|| (self.look)(deadline))
    }

    /// What was found, if anybody has asked.
    pub fn seen(&self) -> Option<&[Credential]> {
        self.found.get().map(Vec::as_slice)
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Candidates").field(&self.found.get()).finish()
    }
}

/// The credentials for an image among these entries, each with where it stands: most specific first, among equals in the
/// order given, and no user and password twice. `name` is normalised and without tag: `registry.local:9001/plant/plc`.
pub(crate) fn best_first<'e, Where: Display>(
    name: &str,
    entries: impl Iterator<Item = (Where, &'e Entry)>,
) -> Vec<Credential> {
    let mut matching: Vec<(Where, &Entry)> = entries.filter(|(_, entry)| entry.pattern.matches(name)).collect();
    // A stable sort.
    matching.sort_by_key(|(_, entry)| Reverse(entry.pattern.specificity()));
    let mut candidates = Vec::new();
    for (place, entry) in matching {
        let Entry { username, password, registry, .. } = entry;
        if !knows(&candidates, username, password) {
            candidates.push(Credential {
                username: username.clone(),
                password: password.clone(),
                source: format!("{place} (\"{registry}\")"),
            });
        }
    }
    candidates
}

/// Several lists as one, in their order.
pub fn one_after_another(lists: impl IntoIterator<Item = Vec<Credential>>) -> Vec<Credential> {
    let mut candidates = Vec::new();
    for credential in lists.into_iter().flatten() {
        if !knows(&candidates, &credential.username, &credential.password) {
            candidates.push(credential);
        }
    }
    candidates
}

/// Which credentials these are, without them: to be kept and compared. A tenant's may have hundreds of kilobytes, and no
/// password is to stay longer than it is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of these, in their order. Where they stand counts too: it is told with a failure.
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

fn knows(candidates: &[Credential], username: &str, password: &Secret) -> bool {
    candidates.iter().any(|known| known.username == username && known.password == *password)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    fn credential(user: &str, source: &str) -> Credential {
        Credential { username: user.to_owned(), password: Secret::new("hunter2"), source: source.to_owned() }
    }

    #[test]
    fn nobody_looks_before_somebody_asks_and_then_once() {
        let looks = Cell::new(0);
        let candidates = Candidates::looked_for(|_| {
            looks.set(looks.get() + 1);
            vec![credential("alice", "a file")]
        });
        assert_eq!((candidates.seen(), looks.get()), (None, 0));
        let soon = Deadline::after(Duration::from_secs(1));
        assert_eq!(candidates.get(soon), [credential("alice", "a file")]);
        assert_eq!(candidates.get(soon), candidates.seen().unwrap());
        assert_eq!(looks.get(), 1);
        assert!(!format!("{candidates:?}").contains("hunter2"));
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

    #[test]
    fn what_is_known_is_not_tried_twice() {
        let lists = [vec![credential("alice", "1")], vec![credential("alice", "2"), credential("bob", "2")], vec![]];
        assert_eq!(one_after_another(lists), [credential("alice", "1"), credential("bob", "2")]);
    }
}
