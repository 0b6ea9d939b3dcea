//! Files that were changed, cut or exchanged count as absent.

use std::os::unix::fs::symlink;

use super::*;

fn read(store: &EvidenceStore, image: &cosign::Image) -> bool {
    store.get(digest(image), soon()).is_some()
}

#[test]
fn scheme_row_134_evidence_with_a_changed_byte_counts_as_absent() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    let message = found(&plc, &Artifact::bundle(&plc, Bundle::message(&plc.manifest, &key).bytes()));
    put(&bench.start(), &plc, &[layer(&plc, &key), message].concat());
    let path = bench.image_file(&plc);
    let good = fs::read(&path).unwrap();
    let reads = |bytes: &[u8]| {
        ImageFile::decode(bytes, digest(&plc)).and_then(|file| file.record()).is_ok_and(|it| it.signatures.len() == 2)
    };
    assert!(reads(&good));
    for place in 0..good.len() {
        for change in [1, 0x20, 0x80] {
            let mut bad = good.clone();
            bad[place] ^= change;
            assert!(!reads(&bad), "byte {place}");
        }
        assert!(!reads(&good[..place]), "the first {place} bytes");
    }
    assert!(!reads(&[good.as_slice(), b"\n"].concat()));

    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&path, &bad).unwrap();
    let store = bench.start();
    assert!(!read(&store, &plc));
    assert!(!path.exists(), "it is removed, so that it is reported once");
    // Fetched anew, it is written anew.
    put(&store, &plc, &layer(&plc, &key));
    assert!(read(&bench.start(), &plc));
    // A file is damaged while the process has the evidence in memory.
    fs::write(&path, &bad).unwrap();
    put(&store, &plc, &bundle(&plc, &key));
    assert_eq!(bench.start().get(digest(&plc), soon()).unwrap().signatures.len(), 1);
}

#[test]
fn a_changed_hash_does_not_hide_a_changed_byte() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    put(&bench.start(), &plc, &layer(&plc, &key));
    let good = fs::read(bench.image_file(&plc)).unwrap();
    let content = sealed::unsealed(&good, "portreeve evidence ").unwrap();
    for place in 0..content.len() {
        let mut bad = content.to_vec();
        bad[place] ^= 1;
        let bad = sealed::sealed("portreeve evidence ", &bad);
        // The header's size of the image is the one number that nothing else confirms.
        let Ok(file) = ImageFile::decode(&bad, digest(&plc)) else { continue };
        assert_eq!((file.image.digest, file.signatures.len()), (digest(&plc), 1));
        if let Ok(record) = file.record() {
            assert!(is_signed(&record, &key), "byte {place}");
        }
    }
}

#[test]
fn lines_that_were_moved_removed_or_repeated_make_no_other_signature() {
    let (bench, keys, foreign) = (Bench::new(), [Key::p256(), Key::p256()], Key::p256());
    let plc = cosign::Image::named("plc");
    let message = found(&plc, &Artifact::bundle(&plc, Bundle::message(&plc.manifest, &keys[1]).bytes()));
    put(&bench.start(), &plc, &[layer(&plc, &keys[0]), message].concat());
    let good = fs::read(bench.image_file(&plc)).unwrap();
    let content = sealed::unsealed(&good, "portreeve evidence ").unwrap();
    let end = content.windows(2).position(|two| two == b"\n\n").unwrap();
    let lines: Vec<_> = str::from_utf8(&content[..end]).unwrap().lines().collect();
    assert_eq!(lines.len(), 8, "the image, two signatures, five parts");
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut read = 0;
    for _ in 0..5_000 {
        let mut lines = lines.clone();
        for _ in 0..=random(3) {
            let (from, to) = (random(lines.len()), random(lines.len()));
            match random(4) {
                0 => lines.swap(from, to),
                1 if lines.len() > 1 => drop(lines.remove(from)),
                2 => lines.insert(to, lines[from]),
                _ => lines[to] = ["", "part", "layer x 0 y", "image  1 ", "part 18446744073709551616"][random(5)],
            }
        }
        let changed = [lines.join("\n").as_bytes(), &content[end..]].concat();
        let changed = sealed::sealed("portreeve evidence ", &changed);
        let Ok(file) = ImageFile::decode(&changed, digest(&plc)) else { continue };
        // What can be read is written and read as the same.
        if let Some(again) = file.encode() {
            let again = ImageFile::decode(&again, digest(&plc)).unwrap();
            assert_eq!(again, file);
        }
        if let Ok(record) = file.record() {
            read += 1;
            assert!(!is_signed(&record, &foreign) && record.signatures.len() <= 3);
        }
    }
    assert!(read > 25, "{read}");
}

#[test]
fn evidence_of_another_image_is_damage() {
    let (bench, key) = (Bench::new(), Key::p256());
    let (plc, other) = (cosign::Image::named("plc"), cosign::Image::named("other"));
    put(&bench.start(), &plc, &layer(&plc, &key));
    fs::copy(bench.image_file(&plc), bench.image_file(&other)).unwrap();
    let store = bench.start();
    assert!(!read(&store, &other) && read(&store, &plc));
    assert!(!bench.image_file(&other).exists() && bench.image_file(&plc).exists());
}

#[test]
fn a_tag_file_with_another_name_is_damage() {
    let (bench, plc) = (Bench::new(), cosign::Image::named("plc"));
    let other = "registry.local:9001/plant/plc:v2";
    put_tag(&bench.start(), NAME, &plc, ago(10));
    fs::copy(bench.tag_file(NAME), bench.tag_file(other)).unwrap();
    let store = bench.start();
    assert_eq!(store.tag(other, Timestamp::now(), soon()), None);
    assert!(!bench.tag_file(other).exists());
    assert!(store.tag(NAME, Timestamp::now(), soon()).is_some());
    // Every byte counts.
    let good = fs::read(bench.tag_file(NAME)).unwrap();
    assert!(tag_file::decode(&good, NAME).is_ok());
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(tag_file::decode(&bad, NAME).is_err() && tag_file::decode(&good[..place], NAME).is_err(), "{place}");
    }
}

#[test]
fn a_file_of_another_format_is_left_alone() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    put(&bench.start(), &plc, &layer(&plc, &key));
    let text = fs::read(bench.image_file(&plc)).unwrap();
    let content = sealed::unsealed(&text, "portreeve evidence ").unwrap();
    let newer = format!("portreeve evidence 3 {}\n", Sha256::of(content).hex());
    fs::write(bench.image_file(&plc), [newer.as_bytes(), content].concat()).unwrap();
    let store = bench.start();
    assert!(!read(&store, &plc) && bench.image_file(&plc).exists());
    put(&store, &plc, &layer(&plc, &key));
    assert!(read(&bench.start(), &plc));
}

#[test]
fn links_pipes_and_large_files_are_not_read() {
    let (bench, key) = (Bench::new(), Key::p256());
    let plc = cosign::Image::named("plc");
    put(&bench.start(), &plc, &layer(&plc, &key));
    let path = bench.image_file(&plc);
    let elsewhere = bench.scratch.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(!read(&bench.start(), &plc));
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(!read(&bench.start(), &plc));
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b'x'; image_file::MAX_BYTES + 1]).unwrap();
    assert!(!read(&bench.start(), &plc));
    fs::remove_file(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    assert!(read(&bench.start(), &plc));
}
