//! The files in `manifests/`, read as a cluster would read them: every object selects, mounts, names and covers what it
//! should.

pub(crate) mod chart;
mod configuration;
mod objects;
mod rights;
mod sites;
mod webhooks;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const WEBHOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn manifests() -> PathBuf {
    root().join("manifests")
}

fn parse(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn documents(file: &Path) -> Vec<Value> {
    parse(&fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// The ConfigMap that an operator creates once, apart from the base.
fn first_policy() -> Value {
    documents(&manifests().join("first-policy.yaml")).remove(0)
}

/// The objects of the base, in order.
fn base() -> Vec<Value> {
    let directory = manifests().join("base");
    let kustomization = documents(&directory.join("kustomization.yaml"));
    array(&kustomization[0]["resources"])
        .iter()
        .flat_map(|file| documents(&directory.join(file.as_str().unwrap())))
        .collect()
}

#[track_caller]
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

#[track_caller]
fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn container(objects: &[Value]) -> &Value {
    &find(objects, "Deployment", "portreeve")["spec"]["template"]["spec"]["containers"][0]
}

fn configuration(objects: &[Value]) -> Value {
    parse(find(objects, "ConfigMap", "portreeve-config")["data"]["portreeve.yaml"].as_str().unwrap()).remove(0)
}
