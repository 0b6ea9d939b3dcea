//! Which namespaces and objects the webhooks leave out: the selectors of the webhook configurations, and the labels of
//! namespaces, as manifests or the API server have them.
//!
//! What is reviewed never says by itself that it is exempt: webhook configurations and namespaces are read only from files that
//! the operator names for this, or from the API server. Where it is not known whether an object is exempt, it is reviewed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::super::manifest::ObjectName;
use crate::base::files::{into_text, read_any};
use crate::yaml;
use crate::yaml::list::{self, Identity};
use crate::yaml::tree::{Node, Value};
use portreeve_verify::text::printable;

/// The most bytes of a file.
const MAX_FILE: usize = 16 << 20;

/// The label that the API server sets to a namespace's name.
const NAME: &str = "kubernetes.io/metadata.name";

type Labels = Vec<(String, String)>;

/// The rules of the webhooks.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    /// Portreeve's own namespace: all that `manifests/base` leaves out.
    own_namespace: String,
    /// A pair for each webhook; empty if no configuration was read.
    selectors: Vec<Selectors>,
    /// The labels of the namespaces that are known.
    namespaces: BTreeMap<String, Labels>,
}

#[derive(Debug)]
struct Selectors {
    namespace: Vec<Requirement>,
    object: Vec<Requirement>,
}

/// `meta/v1.LabelSelectorRequirement`
#[derive(Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Webhooks {
    /// The rules of `manifests/base`.
    pub(super) fn of_base(own_namespace: &str) -> Self {
        Self { own_namespace: own_namespace.to_owned(), ..Self::default() }
    }

    /// Whether a webhook configuration was read.
    pub(super) fn is_known(&self) -> bool {
        !self.selectors.is_empty()
    }

    /// Reads a file with webhook configurations, and with namespaces if their labels count. Other objects in it do not matter.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), String> {
        let shown = printable(&path.display().to_string(), 400);
        let before = self.selectors.len();
        read_any(path, MAX_FILE)
            .and_then(into_text)
            .map_err(|error| error.to_string())
            .and_then(|text| self.read(&text))
            .map_err(|error| format!("{shown}: {error}"))?;
        if self.selectors.len() == before {
            return Err(format!("{shown}: has no webhook whose path is /admit or /validate"));
        }
        Ok(())
    }

    /// Reads webhook configurations and namespaces.
    pub(super) fn read(&mut self, text: &str) -> Result<(), String> {
        let documents = yaml::documents(text).map_err(|error| error.to_string())?;
        documents.iter().try_for_each(|document| self.add(document, list::identity(document)))
    }

    /// Adds an object, or all items of a list.
    pub(super) fn add(&mut self, object: &Node, identity: Option<Identity<'_>>) -> Result<(), String> {
        let Some((version, kind)) = identity else { return Ok(()) };
        if let (true, Some(Node { value: Value::List(items), .. })) = (kind.ends_with("List"), object.get("items")) {
            return items.iter().try_for_each(|item| self.add(item, list::identity_of_item(item, (version, kind))));
        }
        match kind {
            "Namespace" if version == "v1" => {
                let metadata = object.get("metadata");
                if let Some(name) = metadata.and_then(|metadata| metadata.get("name")?.text()) {
                    let labels = labels_of(metadata.and_then(|metadata| metadata.get("labels")));
                    self.namespaces.insert(name.to_owned(), labels);
                }
            }
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration"
                if version.starts_with("admissionregistration.k8s.io/") =>
            {
                let Some(Node { value: Value::List(webhooks), .. }) = object.get("webhooks") else { return Ok(()) };
                for webhook in webhooks.iter().filter(|webhook| decides(webhook)) {
                    let selectors = selectors(webhook).ok_or_else(|| {
                        format!("{}:{}: a selector of this webhook cannot be read", webhook.at.line, webhook.at.column)
                    })?;
                    self.selectors.push(selectors);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Why no webhook is asked about an object; `None` if one is, or if that is not known.
    pub(super) fn skip(&self, name: &ObjectName, object: &Json) -> Option<String> {
        let namespace = name.namespace.as_deref()?;
        let shown = || printable(namespace, 63);
        if self.selectors.is_empty() {
            return (namespace == self.own_namespace)
                .then(|| format!("namespace {} is Portreeve's own, which is exempt", shown()));
        }
        let known = self.namespaces.get(namespace);
        let of_namespace = |key: &str| match known.and_then(|labels| find(labels, key)) {
            // No namespace can have another one.
            _ if key == NAME => Label::Is(namespace),
            Some(value) => Label::Is(value),
            None if known.is_some() => Label::Absent,
            None => Label::Unknown,
        };
        let of_object = |key: &str| {
            let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
            labels.and_then(|labels| labels.get(key)?.as_str()).map_or(Label::Absent, Label::Is)
        };
        let in_scope: Vec<&Selectors> =
            self.selectors.iter().filter(|selectors| match_all(&selectors.namespace, &of_namespace)).collect();
        if in_scope.is_empty() {
            return Some(format!("namespace {} is exempt by the webhooks' namespaceSelector", shown()));
        }
        let is_asked = in_scope.iter().any(|selectors| match_all(&selectors.object, &of_object));
        (!is_asked).then(|| "its labels are exempt by the webhooks' objectSelector".to_owned())
    }
}

/// Is it one of the webhooks that decide on workloads? `/validate-policy` does not.
fn decides(webhook: &Node) -> bool {
    let Some(client) = webhook.get("clientConfig") else { return false };
    let path = client.get("service").and_then(|service| service.get("path")).or_else(|| client.get("url"));
    let path = path.and_then(Node::text).unwrap_or_default();
    path.ends_with("/admit") || path.ends_with("/validate")
}

fn selectors(webhook: &Node) -> Option<Selectors> {
    Some(Selectors {
        namespace: selector(webhook.get("namespaceSelector"))?,
        object: selector(webhook.get("objectSelector"))?,
    })
}

/// The requirements of a `meta/v1.LabelSelector`; none match everything. `None` if it cannot be read.
fn selector(selector: Option<&Node>) -> Option<Vec<Requirement>> {
    let Some(selector) = selector else { return Some(Vec::new()) };
    let mut requirements = Vec::new();
    for (key, value) in labels_of(selector.get("matchLabels")) {
        requirements.push(Requirement { key, operator: Operator::In, values: vec![value] });
    }
    let Some(expressions) = selector.get("matchExpressions") else { return Some(requirements) };
    let Value::List(expressions) = &expressions.value else { return None };
    for expression in expressions {
        let operator = match expression.get("operator")?.text()? {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = match expression.get("values").map(|values| &values.value) {
            Some(Value::List(values)) => values.iter().map(|value| value.text().map(str::to_owned)).collect(),
            Some(_) => None,
            None => Some(Vec::new()),
        };
        requirements.push(Requirement { key: expression.get("key")?.text()?.to_owned(), operator, values: values? });
    }
    Some(requirements)
}

fn labels_of(labels: Option<&Node>) -> Labels {
    let Some(Node { value: Value::Map(entries), .. }) = labels else { return Vec::new() };
    let text = |node: &Node| node.text().unwrap_or_default().to_owned();
    entries.iter().map(|(key, value)| (key.text.clone(), text(value))).collect()
}

fn find<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// The value of a label.
#[derive(Clone, Copy)]
enum Label<'a> {
    Is(&'a str),
    Absent,
    Unknown,
}

/// Could an object with these labels match? What is not known matches.
fn match_all<'a>(requirements: &[Requirement], label: &dyn Fn(&str) -> Label<'a>) -> bool {
    requirements.iter().all(|Requirement { key, operator, values }| {
        let (exists, is_listed) = match label(key) {
            Label::Unknown => return true,
            Label::Absent => (false, false),
            Label::Is(value) => (true, values.iter().any(|listed| listed == value)),
        };
        match operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => exists,
            Operator::DoesNotExist => !exists,
        }
    })
}

#[cfg(test)]
mod tests;
