use super::*;

const POD: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1",
    "kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
    "namespace":"line-1","operation":"CREATE","userInfo":{"username":"kubernetes-admin"},
    "object":{"metadata":{"annotations":{"a":"b"},"ownerReferences":null},"spec":{"containers":
    [{"name":"c","image":"nginx","ports":[{"containerPort":80}]}],"volumes":[{"name":"v","emptyDir":{}},
    {"name":"w","image":{"reference":"docs:1"}}],"imagePullSecrets":[{"name":"harbor"},{}],
    "serviceAccountName":"plc"}},"oldObject":null,"dryRun":false,"options":{"a":[1,2.5]}}}"#;

#[test]
fn serde_and_miniserde_read_the_same() {
    let serde = Review::parse(POD.as_bytes()).unwrap();
    let mini: Review = miniserde::json::from_str(POD).unwrap();
    assert_eq!(format!("{serde:?}"), format!("{mini:?}"));
    assert_eq!(serde.request.object.unwrap().spec.unwrap().containers.unwrap()[0].image.as_deref(), Some("nginx"));
}

#[test]
fn what_is_no_review_is_told_apart_from_an_object_we_cannot_read() {
    let parse = |text: &str| Review::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(parse(""), ReviewError::NotJson(_)));
    assert!(matches!(parse("[]"), ReviewError::NotJson(_)));
    // Bytes that are not UTF-8, in a field that is not read.
    let mut latin = POD.replace("{\"a\":[1,2.5]}", "\"?\"").into_bytes();
    assert!(Review::parse(&latin).is_ok());
    *latin.iter_mut().rev().find(|byte| **byte == b'?').unwrap() = 0xe4;
    assert!(matches!(Review::parse(&latin), Err(ReviewError::NotJson(_))));
    assert!(matches!(parse("{}"), ReviewError::NotAReview { kind: None }));
    assert!(matches!(parse(&POD.replace("\"AdmissionReview\"", "\"Pod\"")), ReviewError::NotAReview { .. }));
    assert!(matches!(parse(&POD.replace("k8s.io/v1\"", "k8s.io/v2\"")), ReviewError::UnknownVersion { .. }));
    assert!(matches!(parse(&POD.replace("\"u-1\"", "\"\"")), ReviewError::NoRequest));
    let values =
        POD.replace("[{\"name\":\"c\"", &format!("[{}{{\"name\":\"c\"", "{},".repeat(json_limits::MAX_VALUES)));
    assert!(matches!(parse(&values), ReviewError::TooManyValues { .. }));
    // In a field that is not read, and in one that an error would quote.
    for long in ["x", "\u{7f}"] {
        let with = |length: usize| POD.replace("[1,2.5]", &format!("\"{}\"", long.repeat(length - 1)));
        assert!(Review::parse(with(json_limits::MAX_STRING).as_bytes()).is_ok());
        assert!(matches!(parse(&with(json_limits::MAX_STRING + 1)), ReviewError::TooLong { .. }));
    }
    assert!(Review::parse(POD.replace("u-1", &"u".repeat(UID_BYTES)).as_bytes()).is_ok());
    assert!(matches!(parse(&POD.replace("u-1", &"u".repeat(UID_BYTES + 1))), ReviewError::NoRequest));
    let head = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;
    assert!(matches!(parse(head), ReviewError::NoRequest));
    for broken in [
        POD.replace("\"nginx\"", "7"),
        POD.replace("\"operation\":\"CREATE\",", ""),
        POD.replace("\"spec\":{", "\"spec\":{},\"spec\":{"),
        POD.replace("[{\"name\":\"c\"", "[7,{\"name\":\"c\""),
    ] {
        let ReviewError::Undecodable { uid, version, .. } = parse(&broken) else { panic!("{broken}") };
        assert_eq!((uid.as_str(), version), ("u-1", "admission.k8s.io/v1"));
    }
}
