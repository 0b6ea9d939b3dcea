//! Exports: what is written, and what is refused.

use super::*;

#[test]
fn an_export_is_carried_to_where_there_is_no_server() {
    let mut bench = Bench::new(Duration::ZERO);
    let rotated = bench.repo.update(|signer| {
        signer.rotate("root", vec![portreeve_test_support::signer::Key::root(GUN)]).expires("targets", far())
    });
    bench.server.publish(&rotated);
    let export = |bench: &Bench| {
        let request = crate::schemes::notary::export::ExportRequest {
            gun: &bench.gun,
            server: &bench.url,
            anchor: &bench.anchor,
            credentials: &Credentials::known(Vec::new()),
            deadline: Deadline::after(LONG),
        };
        bench.notary.export(&request, Timestamp::now())
    };
    let exported = export(&bench).unwrap();
    let stems: Vec<_> = exported.files.iter().map(|(stem, _)| stem.as_str()).collect();
    for role in ["targets", "targets/alice", "targets/bob", "targets/releases", "snapshot", "timestamp", "root"] {
        assert!(stems.contains(&rotated.file_of(role).as_str()), "{role} in {stems:?}");
    }
    // A root that does not lead to the newest one is not taken along.
    bench.server.put(GUN, "1.root", Signer::new(GUN).publish().bytes("root"));
    let without = export(&bench).unwrap();
    assert!(!without.files.iter().any(|(stem, _)| stem == "1.root"));
    // The way from the first root is there as well.
    assert!(stems.contains(&"1.root") && stems.contains(&"2.root"), "{stems:?}");
    for (stem, bytes) in &exported.files {
        let path = format!("carried/{GUN}/{stem}.json");
        bench.scratch.write(&path, bytes);
        assert_eq!(rotated.files().get(stem), Some(bytes), "{stem}");
    }
    bench.server.stop();
    bench.url =
        TrustServer::parse(&format!("file://{}", bench.scratch.path().join("carried").display()), PlainHttp::Refused)
            .unwrap();
    let verified = bench.ask(&Ask { signers: &["alice"], ..Ask::default() }).unwrap();
    assert_eq!(verified.target.digest.sha256().hex(), "01".repeat(32));
    assert!(matches!(
        rejection(bench.ask(&Ask { tag: "v2", signers: &["alice"], ..Ask::default() })),
        Rejection::NotSignedBy { .. }
    ));
    assert!(matches!(rejection(bench.ask(&Ask { tag: "no", ..Ask::default() })), Rejection::NoSuchTag { .. }));
    // A directory goes back as little as a server.
    for (stem, bytes) in bench.repo.files() {
        bench.scratch.write(&format!("carried/{GUN}/{stem}.json"), bytes);
    }
    assert!(matches!(rejection(bench.ask(&Ask::default())), Rejection::Rollback { .. }));
    // And data that has ended is as dead in a directory as anywhere.
    let late = Ask { now: Timestamp::now() + jiff::SignedDuration::from_hours(24 * 20), ..Ask::default() };
    bench.restart(None);
    assert!(matches!(rejection(bench.ask(&late)), Rejection::Expired { .. }));
    // Nothing mounted is a server that is away.
    std::fs::remove_dir_all(bench.scratch.path().join("carried")).unwrap();
    bench.restart(None);
    unavailable(bench.ask(&Ask::default()));
}

fn far() -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365)
}

#[test]
fn what_does_not_verify_is_not_exported() {
    let bench = Bench::new(LONG);
    let broken =
        bench.repo.update(|signer| signer.edit_envelope("targets/bob", |e| e["signatures"] = serde_json::json!([])));
    bench.server.publish(&broken);
    let request = crate::schemes::notary::export::ExportRequest {
        gun: &bench.gun,
        server: &bench.url,
        anchor: &bench.anchor,
        credentials: &Credentials::known(Vec::new()),
        deadline: Deadline::after(LONG),
    };
    let exported = bench.notary.export(&request, Timestamp::now()).unwrap();
    let left_out: Vec<_> = exported.left_out.keys().map(RoleName::signer).collect();
    assert_eq!(left_out, ["bob"]);
    assert!(!exported.files.iter().any(|(stem, _)| stem.starts_with("targets/bob")));
    bench.server.publish(&broken.update(|signer| signer.edit_bytes("targets/releases", |_| b"{}".to_vec())));
    assert!(matches!(bench.notary.export(&request, Timestamp::now()), Err(RefreshError::Rejected(_))));
    bench.server.misbehave("", Fault::Status(500));
    assert!(matches!(bench.notary.export(&request, Timestamp::now()), Err(RefreshError::Unavailable(_))));
}
