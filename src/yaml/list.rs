//! Lists of Kubernetes: `v1 List`, as `kubectl get -o yaml` prints it, and lists of one kind (`PodList`), as the API server
//! returns them. A list has no fields but [`FIELDS`]: any other would have no effect.

use super::tree::Node;

/// The fields of a list.
pub(crate) const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];

/// `apiVersion` and `kind`.
pub(crate) type Identity<'a> = (&'a str, &'a str);

/// The `apiVersion` and `kind` of an object; `None` unless it has both.
pub(crate) fn identity(object: &Node) -> Option<Identity<'_>> {
    let text = |field| object.get(field).and_then(Node::text).filter(|text| !text.is_empty());
    Some((text("apiVersion")?, text("kind")?))
}

/// The `apiVersion` and `kind` of an item: its own, or else those that follow from the list. The API server leaves both out
/// in the items of a list of one kind.
pub(crate) fn identity_of_item<'a>(item: &'a Node, list: Identity<'a>) -> Option<Identity<'a>> {
    let (version, kind) = (list.0, list.1.strip_suffix("List").filter(|kind| !kind.is_empty()));
    match (item.get("apiVersion"), item.get("kind")) {
        (None, None) => Some((version, kind?)),
        _ => identity(item),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Caps, parse};
    use super::*;

    #[test]
    fn an_item_is_what_it_says_or_else_what_the_list_says() {
        for (item, list, expected) in [
            ("{}", ("v1", "PodList"), Some(("v1", "Pod"))),
            ("{apiVersion: null}", ("apps/v1", "DeploymentList"), Some(("apps/v1", "Deployment"))),
            ("{apiVersion: v1, kind: Service}", ("v1", "PodList"), Some(("v1", "Service"))),
            ("{apiVersion: v1, kind: Service}", ("v1", "List"), Some(("v1", "Service"))),
            ("{}", ("v1", "List"), None),
            ("{kind: Pod}", ("v1", "PodList"), None),
            ("{apiVersion: v1}", ("v1", "PodList"), None),
            ("{apiVersion: v1, kind: ''}", ("v1", "PodList"), None),
            ("{apiVersion: 1, kind: Pod}", ("v1", "PodList"), None),
        ] {
            let item = parse(item, Caps::FILE).unwrap().remove(0);
            assert_eq!(identity_of_item(&item, list), expected);
        }
    }
}
