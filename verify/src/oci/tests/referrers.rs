use super::*;

fn entry(name: &str) -> Value {
    json!({"mediaType": OCI_MANIFEST, "digest": digest(name.as_bytes()), "size": 878, "artifactType": OCI_EMPTY,
           "annotations": {"name": name}})
}

fn list(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
}

fn names(list: &Value) -> Vec<String> {
    let referrers = read_referrers(list.to_string().as_bytes()).unwrap();
    referrers.into_iter().map(|referrer| referrer.annotations.get("name").unwrap().clone()).collect()
}

#[test]
fn scheme_row_016_pages_are_read_alike() {
    let pages = [list(&[entry("a"), entry("b")]), list(&[entry("c")]), list(&[])];
    let all: Vec<_> = pages.iter().flat_map(names).collect();
    assert_eq!(all, ["a", "b", "c"]);
    let mut page = pages[0].clone();
    page.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(names(&page), ["a", "b"]);
}

#[test]
fn scheme_row_011_an_empty_list_is_a_list() {
    let mut none = list(&[]);
    assert!(names(&none).is_empty());
    none["manifests"] = json!(null);
    assert!(names(&none).is_empty());
}

#[test]
fn an_entry_that_cannot_be_used_spoils_no_other() {
    let edits: [Edit; 12] = [
        |e| e["digest"] = json!(format!("sha512:{}", "a".repeat(128))),
        |e| e["digest"] = json!(digest(b"a").to_uppercase()),
        |e| e["digest"] = json!(null),
        |e| e["size"] = json!(-1),
        |e| drop(e.as_object_mut().unwrap().remove("size")),
        |e| e["mediaType"] = json!(null),
        |e| e["artifactType"] = json!({}),
        |e| e["annotations"] = json!({"name": 1}),
        |e| e["Size"] = json!(1),
        |e| *e = json!(null),
        |e| *e = json!([]),
        |e| *e = json!("x"),
    ];
    for edit in edits {
        let mut bad = entry("bad");
        edit(&mut bad);
        assert_eq!(names(&list(&[entry("a"), bad.clone(), entry("b")])), ["a", "b"], "{bad}");
    }
}

#[test]
fn a_list_of_another_shape_is_refused() {
    let edits: [(Edit, &str); 10] = [
        (|l| l["manifests"] = json!({}), "manifests are no list"),
        (|l| drop(l.as_object_mut().unwrap().remove("manifests")), "neither layers nor manifests"),
        (|l| l["layers"] = json!([]), "an image and an index at once"),
        (|l| l["mediaType"] = json!(OCI_MANIFEST), "its Content-Type is"),
        (|l| l["mediaType"] = json!(DOCKER_LIST), "its Content-Type is"),
        (|l| l["mediaType"] = json!("text/plain"), "its Content-Type is"),
        (|l| l["schemaVersion"] = json!(1), "schema 1"),
        (|l| l["schemaVersion"] = json!(null), "schemaVersion is not 2"),
        (|l| l["Manifests"] = json!([]), "the name manifests in another spelling"),
        (|l| *l = json!({"errors": [{"code": "UNSUPPORTED"}]}), "its schemaVersion is not 2"),
    ];
    for (edit, expected) in edits {
        let mut bad = list(&[entry("a")]);
        edit(&mut bad);
        let found = words(read_referrers(bad.to_string().as_bytes()));
        assert!(found.contains(expected), "{bad}: {found}");
    }
    for bad in ["", "[]", "null", "<html>", "{}"] {
        assert!(read_referrers(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn scheme_row_009_a_list_has_at_most_four_mebibytes() {
    let error = words(read_referrers(&vec![b' '; MAX_REFERRERS + 1]));
    assert_eq!(error, "it has 4194305 bytes, and at most 4194304 are read");
}

#[test]
fn a_list_of_ten_thousand_referrers_is_read_and_one_of_nothing_but_values_is_refused() {
    let entries: Vec<_> = (0..10_000).map(|number| entry(&number.to_string())).collect();
    let text = list(&entries).to_string();
    assert!(text.len() < MAX_REFERRERS);
    assert_eq!(read_referrers(text.as_bytes()).unwrap().len(), 10_000);
    // Three bytes each: in eight bytes of memory each, and as descriptors in none.
    let text = list(&[]).to_string().replace("[]", &format!("[{}{{}}]", "{},".repeat((4 << 20) / 3 - 100)));
    assert!(words(read_referrers(text.as_bytes())).contains("more values than"));
}

#[test]
fn the_tags_of_an_images_signatures() {
    let image = Sha256::of(b"image");
    let tag = referrers_tag(image);
    assert_eq!((tag.len(), signatures_tag(image)), (7 + 64, format!("{tag}.sig")));
    assert_eq!(tag, digest(b"image").replace(':', "-"));
}
