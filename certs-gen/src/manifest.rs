//! What brings the certificates into the cluster: the Secret, the caBundle of both webhook configurations as patches,
//! all of it as a kustomize component, and plain manifests with both filled in.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::issue::Issued;

/// The Secret that the Deployment mounts.
const SECRET: &str = "portreeve-certs";

/// `webhooks[].clientConfig.caBundle`: the PEM text in base64.
pub fn ca_bundle(issued: &Issued) -> String {
    BASE64_STANDARD.encode(&issued.ca_certificate)
}

/// The Secret: certificate, key, and the CA's certificate, to check it with.
pub fn secret(issued: &Issued) -> String {
    let [ca, certificate, key] =
        [&issued.ca_certificate, &issued.certificate, &issued.key.0].map(|pem| BASE64_STANDARD.encode(pem));
    let namespace = &issued.namespace;
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {SECRET}\n  namespace: {namespace}\n  labels:\n    \
         app.kubernetes.io/name: portreeve\n    app.kubernetes.io/component: certificate\n    \
         app.kubernetes.io/part-of: portreeve\ntype: kubernetes.io/tls\ndata:\n  ca.crt: {ca}\n  tls.crt: \
         {certificate}\n  tls.key: {key}\n"
    )
}

/// Which of the two webhook configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// `/admit`
    Mutating,
    /// `/validate`
    Validating,
}

/// A strategic merge patch with the caBundle, for kustomize and for `kubectl patch`; webhooks merge by name.
pub fn patch(issued: &Issued, webhook: Webhook) -> String {
    let (kind, names): (_, &[&str]) = match webhook {
        Webhook::Mutating => ("MutatingWebhookConfiguration", &["admit.portreeve.svc"]),
        Webhook::Validating => {
            ("ValidatingWebhookConfiguration", &["validate.portreeve.svc", "policies.portreeve.svc"])
        }
    };
    let bundle = ca_bundle(issued);
    let webhooks: String =
        names.iter().map(|name| format!("  - name: {name}\n    clientConfig:\n      caBundle: {bundle}\n")).collect();
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: portreeve\nwebhooks:\n{webhooks}"
    )
}

/// The directory as a component.
pub const KUSTOMIZATION: &str = "\
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources:
  - secret.yaml
patches:
  - path: ca-bundle-mutating.yaml
  - path: ca-bundle-validating.yaml
";

/// A plain manifest with the caBundle in every `clientConfig`, and with the Secret behind the Namespace. Everything else,
/// comments too, stays as it is.
pub fn fill(manifest: &str, issued: &Issued) -> Result<String, FillError> {
    let bundle = ca_bundle(issued);
    let mut documents = vec![Vec::new()];
    let mut filled = 0;
    for line in manifest.lines() {
        if line.trim_end() == "---" {
            documents.push(Vec::new());
            continue;
        }
        let Some(document) = documents.last_mut() else { continue };
        let words = line.trim_start();
        if words.starts_with("caBundle:") {
            continue; // an old one
        }
        document.push(line.to_owned());
        if words.trim_end() == "clientConfig:" {
            let indent = line.len() - words.len() + 2;
            document.push(format!("{:indent$}caBundle: {bundle}", ""));
            filled += 1;
        }
    }
    if filled == 0 {
        return Err(FillError::NoWebhook);
    }
    let is_namespace = |document: &Vec<String>| document.iter().any(|line| line == "kind: Namespace");
    let place = documents.iter().rposition(is_namespace).map_or(0, |index| index + 1);
    documents.insert(place, secret(issued).lines().map(str::to_owned).collect());
    let documents: Vec<String> =
        documents.iter().map(|lines| lines.iter().map(|line| format!("{line}\n")).collect()).collect();
    Ok(format!("# Filled in by certs-gen: holds a private key.\n{}", documents.join("---\n")))
}

/// A manifest that cannot be filled in.
#[derive(Debug, PartialEq, Eq)]
pub enum FillError {
    /// There is nothing to fill in.
    NoWebhook,
}

impl fmt::Display for FillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWebhook => f.write_str("it has no line \"clientConfig:\", so no webhook configuration to fill in"),
        }
    }
}

impl std::error::Error for FillError {}
