use serde_json::json;

use super::*;

const CONFIGURATION: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: admissionregistration.k8s.io/v1
  kind: MutatingWebhookConfiguration
  webhooks:
  - clientConfig: {service: {path: /admit}}
    namespaceSelector:
      matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: NotIn, values: [portreeve, kube-system]}
      - {key: skip, operator: NotIn, values: [yes]}
- apiVersion: admissionregistration.k8s.io/v1
  kind: ValidatingWebhookConfiguration
  webhooks:
  - clientConfig: {service: {path: /validate}}
    namespaceSelector:
      matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: NotIn, values: [portreeve, kube-system]}
      - {key: skip, operator: NotIn, values: [yes]}
    objectSelector:
      matchExpressions: [{key: tool, operator: DoesNotExist}]
  - clientConfig: {service: {path: /validate-policy}}
- {apiVersion: v1, kind: Namespace, metadata: {name: quiet, labels: {skip: 'yes'}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: liar, labels: {kubernetes.io/metadata.name: kube-system}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: line-1}}
";

fn skip(webhooks: &Webhooks, namespace: &str, labels: Value) -> Option<String> {
    let name = ObjectName { namespace: Some(namespace.to_owned()), ..ObjectName::default() };
    webhooks.skip(&name, &json!({ "metadata": { "labels": labels } }))
}

#[test]
fn without_a_configuration_only_the_own_namespace_is_exempt() {
    let base = Webhooks::of_base("portreeve");
    assert!(skip(&base, "portreeve", json!({})).unwrap().contains("Portreeve's own"));
    for namespace in ["kube-system", "line-1", "portreeve2", ""] {
        assert_eq!(skip(&base, namespace, json!({ "tool": "1" })), None, "{namespace}");
    }
}

#[test]
fn selectors_are_evaluated_as_the_api_server_does() {
    let mut webhooks = Webhooks::of_base("portreeve");
    webhooks.read(CONFIGURATION).unwrap();
    for (namespace, expected) in [
        ("portreeve", Some("namespaceSelector")),
        ("kube-system", Some("namespaceSelector")),
        ("quiet", Some("namespaceSelector")),
        ("line-1", None),
        // Nobody can give a namespace the name of another one.
        ("liar", None),
        // Its labels are not known, so it may be in scope.
        ("unlisted", None),
    ] {
        let reason = skip(&webhooks, namespace, json!({}));
        assert_eq!(reason.is_some(), expected.is_some(), "{namespace}");
        assert!(reason.is_none_or(|reason| reason.contains(expected.unwrap())), "{namespace}");
    }
    // The mutating webhook has no objectSelector, so it is asked.
    assert_eq!(skip(&webhooks, "line-1", json!({ "tool": "1" })), None);
}

#[test]
fn an_object_is_exempt_only_if_no_webhook_is_asked() {
    let webhook = |selector: &str| {
        format!(
            "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, webhooks: \
             [{{clientConfig: {{url: 'https://x/validate'}}, objectSelector: {selector}}}]}}"
        )
    };
    for (selector, labels, is_exempt) in [
        ("{matchLabels: {a: b}}", json!({ "a": "b" }), false),
        ("{matchLabels: {a: b}}", json!({ "a": "c" }), true),
        ("{matchLabels: {a: b}}", json!({}), true),
        ("{matchExpressions: [{key: a, operator: Exists}]}", json!({ "a": "" }), false),
        ("{matchExpressions: [{key: a, operator: Exists}]}", json!({}), true),
        ("{matchExpressions: [{key: a, operator: In, values: [b, c]}]}", json!({ "a": "c" }), false),
        ("{matchExpressions: [{key: a, operator: NotIn, values: [b, c]}]}", json!({ "a": "c" }), true),
        ("{}", json!({}), false),
    ] {
        let mut webhooks = Webhooks::of_base("portreeve");
        webhooks.read(&webhook(selector)).unwrap();
        assert_eq!(skip(&webhooks, "line-1", labels).is_some(), is_exempt, "{selector}");
    }
    // What cannot be understood exempts nothing.
    for broken in
        ["{matchExpressions: [{key: a, operator: Maybe}]}", "{matchExpressions: {}}", "{matchExpressions: [7]}"]
    {
        assert!(Webhooks::of_base("p").read(&webhook(broken)).unwrap_err().contains("selector"), "{broken}");
    }
    let mut webhooks = Webhooks::of_base("p");
    webhooks.read("apiVersion: v1\nkind: Pod\n").unwrap();
    assert!(!webhooks.is_known());
}
