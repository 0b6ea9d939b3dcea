//! Which namespaces and objects the webhooks leave out: the selectors of the webhook configurations, and the labels of
//! namespaces, as manifests or the API server have them.
//!
//! What is reviewed never says by itself that it is exempt: webhook configurations and namespaces are read only from files that
//! the operator names for this, or from the API server. Where it is not known whether an object is exempt, it is reviewed.

use std::path::Path;

use serde_json::Value;

use super::super::manifest::ObjectName;
use crate::base::files::{into_text, read_any};
use crate::yaml;
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
    namespaces: Vec<(String, Labels)>,
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
        let documents = yaml::read_all(text).map_err(|error| error.to_string())?;
        documents.iter().try_for_each(|document| match document.get("items").and_then(Value::as_array) {
            Some(items) => items.iter().try_for_each(|item| self.add(item)),
            None => self.add(document),
        })
    }

    /// Adds an object; one that is neither a webhook configuration nor a namespace changes nothing.
    pub(super) fn add(&mut self, object: &Value) -> Result<(), String> {
        match object.get("kind").and_then(Value::as_str) {
            Some("Namespace") if object.get("apiVersion").and_then(Value::as_str) == Some("v1") => {
                self.add_namespace(object);
            }
            Some("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
                let webhooks = object.get("webhooks").and_then(Value::as_array);
                for webhook in webhooks.into_iter().flatten().filter(|webhook| decides(webhook)) {
                    self.selectors
                        .push(selectors(webhook).ok_or("a selector of a webhook configuration cannot be read")?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds the labels of a namespace.
    pub(super) fn add_namespace(&mut self, namespace: &Value) {
        if let Some(name) = namespace.pointer("/metadata/name").and_then(Value::as_str) {
            self.namespaces.push((name.to_owned(), labels_of(namespace.pointer("/metadata/labels"))));
        }
    }

    /// Why no webhook is asked about an object; `None` if one is, or if that is not known.
    pub(super) fn skip(&self, name: &ObjectName, object: &Value) -> Option<String> {
        let namespace = name.namespace.as_deref()?;
        let shown = || printable(namespace, 63);
        if self.selectors.is_empty() {
            return (namespace == self.own_namespace)
                .then(|| format!("namespace {} is Portreeve's own, which is exempt", shown()));
        }
        let known = self.namespaces.iter().find(|(name, _)| name == namespace).map(|(_, labels)| labels);
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
fn decides(webhook: &Value) -> bool {
    let path = webhook.pointer("/clientConfig/service/path").or_else(|| webhook.pointer("/clientConfig/url"));
    let path = path.and_then(Value::as_str).unwrap_or_default();
    path.ends_with("/admit") || path.ends_with("/validate")
}

fn selectors(webhook: &Value) -> Option<Selectors> {
    Some(Selectors {
        namespace: selector(webhook.get("namespaceSelector"))?,
        object: selector(webhook.get("objectSelector"))?,
    })
}

/// The requirements of a `meta/v1.LabelSelector`; none match everything. `None` if it cannot be read.
fn selector(selector: Option<&Value>) -> Option<Vec<Requirement>> {
    let Some(selector) = selector else { return Some(Vec::new()) };
    let mut requirements = Vec::new();
    for (key, value) in labels_of(selector.get("matchLabels")) {
        requirements.push(Requirement { key, operator: Operator::In, values: vec![value] });
    }
    let expressions = match selector.get("matchExpressions") {
        None | Some(Value::Null) => return Some(requirements),
        Some(expressions) => expressions.as_array()?,
    };
    for expression in expressions {
        let operator = match expression.get("operator")?.as_str()? {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = match expression.get("values") {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(values) => values.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
        };
        requirements.push(Requirement { key: expression.get("key")?.as_str()?.to_owned(), operator, values: values? });
    }
    Some(requirements)
}

fn labels_of(labels: Option<&Value>) -> Labels {
    let entries = labels.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
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
