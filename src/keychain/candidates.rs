//! Which entries of docker configs apply to a repository, in the order in which kubelet would try them.

use std::fmt::Display;

use super::Credential;
use super::docker_config::Entry;
use crate::base::secret::Secret;
use portreeve_verify::ordered;

/// The credentials for a repository among these entries, each with the place where it was read: most specific first, among
/// equals in the order given, at most so many, and no user with the same password twice. `name` is normalised and without tag:
/// `registry.local:9001/plant/plc`.
pub(super) fn best_first<'e, Where: Display>(
    name: &str,
    entries: impl Iterator<Item = (Where, &'e Entry)>,
    most: usize,
) -> Vec<Credential> {
    let matching = entries.filter(|(_, entry)| entry.pattern.matches(name));
    let mut matching: Vec<_> = matching.map(|(place, entry)| (entry.pattern.specificity(), place, entry)).collect();
    ordered::sort_by(&mut matching, |(a, ..), (b, ..)| b.cmp(a));
    let mut candidates = Vec::new();
    for (_, place, entry) in matching {
        // A tenant may write thousands, and each is compared with those before it.
        if candidates.len() >= most {
            break;
        }
        let Entry { username, password, registry, .. } = entry;
        if !contains(&candidates, username, password) {
            candidates.push(Credential {
                username: username.clone(),
                password: password.clone(),
                source: format!("{place} (\"{registry}\")"),
            });
        }
    }
    candidates
}

/// Several lists as one, in their order. No user with the same password is in it twice.
pub(super) fn merge(lists: impl IntoIterator<Item = Vec<Credential>>) -> Vec<Credential> {
    let mut candidates = Vec::new();
    for credential in lists.into_iter().flatten() {
        if !contains(&candidates, &credential.username, &credential.password) {
            candidates.push(credential);
        }
    }
    candidates
}

fn contains(candidates: &[Credential], username: &str, password: &Secret) -> bool {
    candidates.iter().any(|known| known.username == username && known.password == *password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(user: &str, source: &str) -> Credential {
        Credential { username: user.to_owned(), password: Secret::new("hunter2"), source: source.to_owned() }
    }

    #[test]
    fn what_is_known_is_not_tried_twice() {
        let lists = [vec![credential("alice", "1")], vec![credential("alice", "2"), credential("bob", "2")], vec![]];
        assert_eq!(merge(lists), [credential("alice", "1"), credential("bob", "2")]);
    }
}
