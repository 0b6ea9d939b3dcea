//! Whose policies a ConfigMap holds: the site's, or those of one namespace, which that namespace's own people may edit.
//!
//! A namespace's ConfigMap holds only ImagePolicies of that namespace, and less of them than the site's may hold: all mounted
//! ConfigMaps share the memory of one process.

use std::path::Path;

use super::Scope;
use super::document::{Document, MAX_RULES};
use super::fault::Fault;
use super::fields::MAX_KEYS;
use super::load::{MAX_FILES, MAX_TOTAL, problem};
use super::problem::PolicyProblem;
use super::set::describe_policy;
use crate::kube::object_name::is_dns_label;

/// The name of the site's ConfigMap. That of a namespace has `-` and the namespace after it.
pub const CONFIG_MAP: &str = "portreeve-policies";

/// The owner of some policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The site: policies of every kind.
    Site,
    /// This namespace: its own ImagePolicies.
    Namespace(String),
}

/// What the policies of one owner may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) files: usize,
    pub(super) bytes: usize,
    pub(super) rules: usize,
    pub(super) keys: usize,
}

impl Owner {
    /// The owner of the ConfigMap with this name; `None` if it is no ConfigMap of policies by its name.
    pub fn of_config_map(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(CONFIG_MAP)?;
        match rest.strip_prefix('-') {
            None => rest.is_empty().then_some(Self::Site),
            Some(namespace) => is_dns_label(namespace).then(|| Self::Namespace(namespace.to_owned())),
        }
    }

    /// The limits. Those of a namespace cost at most about two megabytes of memory.
    pub(super) fn caps(&self) -> Caps {
        match self {
            Self::Site => Caps { files: MAX_FILES, bytes: MAX_TOTAL, rules: MAX_RULES, keys: MAX_KEYS },
            Self::Namespace(_) => Caps { files: 64, bytes: 256 << 10, rules: 256, keys: 256 },
        }
    }

    /// Takes policies of this owner that were read from a file. Refuses those that another one has to write.
    pub(super) fn take(&self, documents: &mut [Document], problems: &mut Vec<PolicyProblem>) {
        let Self::Namespace(namespace) = self else { return };
        for document in documents {
            if !matches!(&document.scope, Scope::Namespace(own) if own == namespace) {
                let policy = describe_policy(&document.scope, &document.name);
                let fault = Fault::Foreign { policy, namespace: namespace.clone() };
                problems.push(PolicyProblem::new(document.place.clone(), fault));
            }
            document.is_delegated = true;
            document.rules.iter_mut().for_each(|(_, rule)| rule.is_delegated = true);
        }
    }

    /// The fault of having more than this owner may have.
    pub(super) fn excess(&self, documents: &[Document], keys: usize, file: &Path) -> Option<PolicyProblem> {
        let Caps { rules, keys: most_keys, .. } = self.caps();
        let too_many_rules = documents.iter().map(|document| document.rules.len()).sum::<usize>() > rules;
        let fault = match (keys > most_keys, too_many_rules) {
            (true, _) => Fault::TooManyKeys { limit: most_keys },
            (_, true) => Fault::TooManyRules { limit: rules },
            _ => return None,
        };
        Some(problem(file, fault))
    }

    /// The fault of having files and no policy in them.
    pub(super) fn no_policies(&self) -> Fault {
        match self {
            Self::Site => Fault::NoPolicies,
            Self::Namespace(_) => Fault::NoOwnPolicies,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_policies_it_has() {
        let of = |name| Owner::of_config_map(name);
        assert_eq!(of("portreeve-policies"), Some(Owner::Site));
        assert_eq!(of("portreeve-policies-line-1"), Some(Owner::Namespace("line-1".to_owned())));
        for other in [
            "",
            "portreeve-config",
            "portreeve-policie",
            "portreeve-policies-",
            "portreeve-policies.a",
            "portreeve-policies-a.b",
            "portreeve-policiesline",
            "portreeve-policies--a",
            "portreeve-policies-A",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(of(&format!("portreeve-policies-{}", "a".repeat(64))), None, "no namespace has this name");
    }
}
