//! Whose policies a ConfigMap holds: the site's, or those of one namespace, which that namespace's own people may edit.
//!
//! A namespace's ConfigMap holds only ImagePolicies of that namespace, and less of them than the site's may hold: all mounted
//! ConfigMaps share the memory of one process.

use super::Scope;
use super::document::Document;
use super::fault::Fault;
use super::load::{MAX_FILES, MAX_TOTAL};
use super::problem::PolicyProblem;
use super::set::describe_policy;
use crate::kube::object_name::is_dns_label;
use crate::yaml::tree;

/// The name of the site's ConfigMap. That of a namespace has `-` and the namespace after it.
pub const CONFIG_MAP: &str = "portreeve-policies";

/// The namespace of the manifests.
pub(super) const NAMESPACE: &str = "portreeve";

/// The owner of some policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The site: policies of every kind.
    Site,
    /// This namespace: its own ImagePolicies.
    Namespace(String),
}

/// The most rules of one file of the site's, and of one ConfigMap that is reviewed. A rule can be written in ten bytes, and
/// takes a hundred times as much memory.
const MAX_RULES: usize = 20_000;
/// The most signers' keys of the same. A key can be repeated in a few bytes, and takes a thousand times as long to read as they
/// do.
const MAX_KEYS: usize = 10_000;
/// The most rules and signers' keys of a namespace.
const MAX_DELEGATED: usize = 256;

/// What the files of one owner may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) files: usize,
    pub(super) bytes: usize,
}

/// What is left of what a file may take: all files of a namespace together, all keys of a ConfigMap that is reviewed together,
/// and each mounted file of the site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Of values, with those that aliases repeat.
    pub(super) tree: tree::Caps,
    rules: Allowance,
    keys: Allowance,
    /// Do a namespace's own people write them?
    pub(super) is_delegated: bool,
}

/// A limit, and what is left of it; `None` once more was asked for.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    limit: usize,
    left: Option<usize>,
}

impl Allowance {
    fn of(limit: usize) -> Self {
        Self { limit, left: Some(limit) }
    }

    /// Takes from it. The first time that there is not enough, the error is the limit.
    fn take(&mut self, more: usize) -> Result<(), Option<usize>> {
        let Some(left) = self.left else { return Err(None) };
        self.left = left.checked_sub(more);
        self.left.map(drop).ok_or(Some(self.limit))
    }
}

impl Budget {
    pub(crate) fn of(owner: &Owner) -> Self {
        let (tree, rules, keys) = match owner {
            Owner::Site => (tree::Caps::FILE, MAX_RULES, MAX_KEYS),
            Owner::Namespace(_) => (tree::Caps::WITHOUT_ALIASES, MAX_DELEGATED, MAX_DELEGATED),
        };
        let (rules, keys) = (Allowance::of(rules), Allowance::of(keys));
        Self { tree, rules, keys, is_delegated: *owner != Owner::Site }
    }

    /// Takes rules. The first time that there are not enough left, the error is the fault.
    pub(super) fn take_rules(&mut self, more: usize) -> Result<(), Option<Fault>> {
        self.rules.take(more).map_err(|limit| limit.map(|limit| Fault::TooManyRules { limit }))
    }

    /// Takes signers' keys. The first time that there are not enough left, the error is the fault.
    pub(super) fn take_keys(&mut self, more: usize) -> Result<(), Option<Fault>> {
        self.keys.take(more).map_err(|limit| limit.map(|limit| Fault::TooManyKeys { limit }))
    }

    /// The problems of asking for more than there is, if there are some. Then nothing else matters, and nothing more is read.
    pub(super) fn excess(problems: &mut Vec<PolicyProblem>) -> Option<Vec<PolicyProblem>> {
        let is_excess = |problem: &PolicyProblem| {
            matches!(problem.fault, Fault::TooManyRules { .. } | Fault::TooManyKeys { .. } | Fault::TooMuch)
        };
        problems.iter().any(is_excess).then(|| {
            problems.retain(is_excess);
            std::mem::take(problems)
        })
    }
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
            Self::Site => Caps { files: MAX_FILES, bytes: MAX_TOTAL },
            Self::Namespace(_) => Caps { files: 64, bytes: 256 << 10 },
        }
    }

    /// Takes policies of this owner that were read from a file. Refuses those that another one has to write.
    pub(super) fn take(&self, documents: &[Document], problems: &mut Vec<PolicyProblem>) {
        let Self::Namespace(namespace) = self else { return };
        for document in documents {
            if !matches!(&document.scope, Scope::Namespace(own) if own == namespace) {
                let policy = describe_policy(&document.scope, &document.name);
                let fault = Fault::Foreign { policy, namespace: namespace.clone() };
                problems.push(PolicyProblem::new(document.place.clone(), fault));
            }
            for (pattern, rule) in &document.rules {
                if let Err(error) = pattern.check_own() {
                    problems.push(PolicyProblem::new(rule.place.clone(), Fault::Pattern(error)));
                }
            }
        }
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
