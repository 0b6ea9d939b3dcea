use super::*;

const ROLLOUT: &str = "/spec/template/spec";

fn kind(pointer: &str) -> CustomKind {
    CustomKind::new("argoproj.io", "Rollout", pointer).unwrap()
}

/// The image of the first container at a path.
fn image(pointer: &str, text: &str) -> Result<Option<String>, String> {
    let object = kind(pointer).read(text).map_err(|error| error.to_string())?;
    Ok(object.spec.and_then(|spec| spec.containers?.into_iter().next()?.image))
}

#[test]
fn a_pod_spec_is_read_at_its_path() {
    let spec = r#"{"containers":[{"name":"c","image":"i"}]}"#;
    for (pointer, text) in [
        (
            ROLLOUT,
            format!(r#"{{"metadata":{{}},"spec":{{"replicas":1,"template":{{"metadata":{{}},"spec":{spec}}}}}}}"#),
        ),
        ("/spec", format!(r#"{{"spec":{spec},"status":{{"spec":{{}}}}}}"#)),
        ("/spec/a~1b/~0/c~01", format!(r#"{{"spec":{{"a/b":{{"~":{{"c~1":{spec}}}}}}}}}"#)),
        (
            "/spec/jobTemplate/spec/template/spec",
            format!(r#"{{"spec":{{"jobTemplate":{{"spec":{{"template":{{"spec":{spec}}}}}}}}}}}"#),
        ),
    ] {
        assert_eq!(image(pointer, &text), Ok(Some("i".to_owned())), "{pointer}");
    }
    // Absent or null somewhere on the way. Only this path counts.
    for text in [
        "{}".to_owned(),
        r#"{"spec":null}"#.to_owned(),
        r#"{"spec":{"template":null}}"#.to_owned(),
        r#"{"spec":{"template":{"spec":null}}}"#.to_owned(),
        format!(r#"{{"spec":{spec}}}"#),
        format!(r#"{{"spec":{{"workloadRef":{{"name":"d"}},"Template":{{"spec":{spec}}}}}}}"#),
    ] {
        assert_eq!(image(ROLLOUT, &text), Ok(None), "{text}");
    }
    for (text, words) in [
        (r#"{"spec":[]}"#, "spec: invalid type: sequence, expected an object"),
        (r#"{"spec":{"template":"x"}}"#, "spec.template: invalid type: string \"x\", expected an object"),
        (r#"{"spec":{"template":{"spec":7}}}"#, "spec.template.spec: invalid type: integer `7`, expected an object"),
        (r#"{"spec":{"template":{"spec":[]}}}"#, "spec.template.spec: invalid type: sequence, expected an object"),
        (
            r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
            "spec.template.spec.containers: invalid type: map, expected a sequence",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{},["c","i"]]}}}}"#,
            "spec.template.spec.containers[1]: invalid type: sequence, expected an object",
        ),
        (r#"{"spec":{"template":{}},"spec":{}}"#, "spec.template.spec: a key of the path to the pod spec stands twice"),
        (r#"{"spec":{"template":null,"template":{}}}"#, "stands twice"),
        (r#"{"spec":{"template":{"spec":{"containers":[],"containers":[]}}}}"#, "duplicate field"),
        ("[]", "invalid type: sequence"),
        ("", "EOF"),
    ] {
        let error = image(ROLLOUT, text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn the_resource_is_the_kind_in_the_plural_unless_it_is_named() {
    let resource = |kind: CustomKind| Box::leak(Box::new(kind)).resource();
    let expected = |plural| Resource { api: "apis/argoproj.io", plural, kind: "Rollout" };
    assert_eq!(resource(kind("/spec")), expected("rollouts"));
    assert_eq!(resource(kind("/spec").named("rollies").unwrap()), expected("rollies"));
}
