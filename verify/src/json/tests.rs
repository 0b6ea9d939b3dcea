use super::read::{CHECK_EVERY, Fault, longest_escaped};
use super::*;

fn fault_of(bytes: &[u8]) -> Fault {
    Document::of(bytes).err().unwrap().fault
}

/// The words in which the parser refuses a text.
fn words_of(bytes: &[u8]) -> String {
    match fault_of(bytes) {
        Fault::Syntax(words) => words,
        fault => panic!("{fault:?}"),
    }
}

#[test]
fn reads_what_is_exact() {
    let document = Document::of(b" { \"b\" : [1, -2,\t9007199254740992, -9007199254740992, 0],\r\n\"a\":\"x\\u0041\\n\\ud83d\\ude00/\\/\", \"c\":{}, \"d\":[], \"e\":[true,false,null,\"\"]} ").unwrap();
    let value = document.root();
    assert_eq!(value.get("a").unwrap().string(), Some("xA\n😀//"));
    let numbers: Vec<_> = value.get("b").unwrap().array().unwrap().map(|n| n.integer().unwrap()).collect();
    assert_eq!(numbers, [1, -2, EXACT, -EXACT, 0]);
    assert!(value.get("A").is_none() && value.get("f").is_none() && value.get("e").unwrap().get("a").is_none());
    let keys: Vec<_> = value.object().unwrap().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
    let words = value.get("e").unwrap().array().unwrap().map(|word| word.is_null());
    assert_eq!(words.collect::<Vec<_>>(), [false, false, true, false]);
    for (text, string) in [(r#""\"\\\b\f\r\t""#, "\"\\\u{8}\u{c}\r\t"), ("\"\u{7f}é\u{2028}\"", "\u{7f}é\u{2028}")] {
        assert_eq!(Document::of(text.as_bytes()).unwrap().root().string(), Some(string));
    }
}

#[test]
fn row_090_duplicate_keys_are_refused_anywhere() {
    for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":{"a":{},"a":{}}}]"#, r#"{"":1,"":2}"#] {
        assert_eq!(fault_of(bad.as_bytes()), Fault::DuplicateKey, "{bad}");
    }
    assert!(Document::of(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_ok());
}

#[test]
fn row_093_only_one_whole_document() {
    for (bad, words) in [
        ("{} x", "trailing characters"),
        ("{}{}", "trailing characters"),
        ("{},", "trailing characters"),
        ("\u{feff}{}", ""),
        ("", ""),
        (" ", ""),
        ("{", ""),
        ("[1,]", ""),
        ("{\"a\":1,}", ""),
        ("{\"a\" 1}", ""),
        ("{a:1}", ""),
        ("[1 2]", ""),
        ("'a'", ""),
        ("\"a", ""),
        ("\"\\x\"", ""),
        ("\"\\u00g0\"", ""),
        ("\"\\u+123\"", ""),
        ("\"\\u12", ""),
        ("tru", ""),
        ("True", ""),
        ("NaN", ""),
        ("\u{b}1", ""),
        ("\"a\u{1}\"", "control character"),
        ("\"a\n\"", "control character"),
        ("{\"a\u{0}\":1}", "control character"),
    ] {
        let found = words_of(bad.as_bytes());
        assert!(found.contains(words), "{bad:?}: {found}");
    }
}

#[test]
fn row_094_only_integers() {
    for bad in [
        "01",
        "-01",
        "-",
        "-0",
        "1.0",
        "1.",
        "1e2",
        "1E2",
        "0e0",
        "1e400",
        "0.5",
        "9223372036854775808",
        "99999999999999999999999999",
        "+1",
    ] {
        let fault = fault_of(bad.as_bytes());
        let is_number = !["01", "-01", "-", "1.", "1e400", "+1"].contains(&bad);
        assert!(if is_number { fault == Fault::Number } else { matches!(fault, Fault::Syntax(_)) }, "{bad}: {fault:?}");
    }
}

#[test]
fn row_095_only_exact_integers() {
    for bad in ["9007199254740993", "-9007199254740993", "9223372036854775807"] {
        assert_eq!(fault_of(bad.as_bytes()), Fault::Number, "{bad}");
    }
}

#[test]
fn row_097_strings_are_unicode() {
    for bad in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#"{"\ud800":1}"#]
    {
        let words = words_of(bad.as_bytes());
        assert!(words.contains("hex escape"), "{bad}: {words}");
    }
    for bad in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xe2\x82\""] {
        assert_eq!(fault_of(bad), Fault::Utf8, "{bad:?}");
    }
}

#[test]
fn row_098_nesting_ends_below_128() {
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + close.repeat(depth).as_str();
    assert!(Document::of(nested("[", "]", 127).as_bytes()).is_ok());
    assert_eq!(words_of(nested("[", "]", 128).as_bytes()), "recursion limit exceeded");
    let objects = "{\"a\":".repeat(127) + "{}" + &"}".repeat(127);
    assert_eq!(words_of(objects.as_bytes()), "recursion limit exceeded");
    assert_eq!(words_of("[".repeat(1 << 20).as_bytes()), "recursion limit exceeded");
}

#[test]
fn members_are_found_and_sorted_whatever_their_order_and_spelling() {
    let text = br#"{"signed":{"b":[{"z":1,"\u0061":{"y":2,"x":3}}],"a":0},"signatures":[],"":{}}"#;
    let document = Document::of(text).unwrap();
    let names = |value: Value<'_>| value.object().unwrap().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let root = document.root();
    assert_eq!(names(root), ["", "signatures", "signed"]);
    assert_eq!((root.get("signatures").unwrap().array().unwrap().count(), names(root.get("").unwrap()).len()), (0, 0));
    let signed = root.get("signed").unwrap();
    assert_eq!((names(signed), signed.get("a").unwrap().integer()), (vec!["a".to_owned(), "b".to_owned()], Some(0)));
    let inner = signed.get("b").unwrap().array().unwrap().next().unwrap();
    assert_eq!((names(inner), inner.get("z").unwrap().integer()), (vec!["a".to_owned(), "z".to_owned()], Some(1)));
    let innermost = inner.get("a").unwrap();
    assert_eq!(
        (names(innermost), innermost.get("x").unwrap().integer()),
        (vec!["x".to_owned(), "y".to_owned()], Some(3))
    );
    assert!(inner.get("b").is_none() && innermost.get("z").is_none() && root.get("\u{10ffff}").is_none());
}

#[test]
fn reading_ends_where_it_takes_too_much() {
    let with = |text: &str, values: usize, memory: usize| {
        let allowance = Allowance { values, memory, is_late: &|| false };
        Document::read(text.as_bytes(), allowance).map(|document| document.memory()).map_err(|error| error.fault)
    };
    // Eight bytes a value and a name, and as many for each name that is out of order.
    assert_eq!(with("[0,{\"a\":{}}]", 5, 40), Ok(40));
    assert_eq!(with("{\"b\":0,\"a\":0}", 8, 64), Ok(64));
    assert_eq!(with("[\"\\n\\n\"]", 2, 18), Ok(18));
    for (text, values) in [("[0,{\"a\":{}}]", 4), ("{\"b\":0,\"a\":0}", 7), ("0", 0)] {
        assert_eq!(with(text, values, usize::MAX), Err(Fault::Values), "{text}");
    }
    assert_eq!(with("[0,0,0,0,0]", usize::MAX, 31), Err(Fault::Memory));
    assert_eq!(with("[\"\\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",0]", usize::MAX, 30), Err(Fault::Memory));
    let looks = std::cell::Cell::new(0);
    let is_late = || {
        looks.set(looks.get() + 1);
        looks.get() > 3
    };
    let text = format!("[{}0]", "0,".repeat(4 * CHECK_EVERY));
    let allowance = Allowance { values: usize::MAX, memory: usize::MAX, is_late: &is_late };
    let error = Document::read(text.as_bytes(), allowance).err().unwrap();
    assert!(error.is_late() && error.at < 2 * 3 * CHECK_EVERY + 9, "{error}");
}

#[test]
fn the_parsers_own_buffer_is_bounded_before_it_grows() {
    for (text, longest) in
        [(r#"["aaaaaaaa","b"]"#, 0), (r#"["aaaaaaaa","b\n","\\"]"#, 4), (r#"["a\"b\\\"c","\\"]"#, 10), (r#""\"#, 0)]
    {
        assert_eq!(longest_escaped(text), longest, "{text}");
    }
    let text = format!("\"\\n{}\"", "a".repeat(100));
    let read = |memory| {
        let allowance = Allowance { values: 1, memory, is_late: &|| false };
        Document::read(text.as_bytes(), allowance).map(|_| ()).map_err(|error| (error.at, error.fault))
    };
    // Once without its escape, and twice for the buffer.
    assert_eq!((read(205), read(300), read(303)), (Err((0, Fault::Memory)), Err((103, Fault::Memory)), Ok(())));
}

/// What is given away, each value as its integer, and whether that was possible.
fn given(text: &str, values: usize, last: i64) -> Result<Option<Vec<(String, i64)>>, Fault> {
    let mut given = Vec::new();
    let mut take = |name: &str, value: Value<'_>| {
        let number = value.integer().unwrap_or(-1);
        given.push((name.to_owned(), number));
        number <= last
    };
    let allowance = Allowance { values, memory: usize::MAX, is_late: &|| false };
    let read = Document::read_and_give(text.as_bytes(), allowance, &mut take).map_err(|error| error.fault)?;
    let Some(document) = read else { return Ok(None) };
    let signed = document.root().get("signed").unwrap();
    assert_eq!(signed.get("targets").unwrap().object().unwrap().count(), 0, "it is not kept");
    assert!(signed.in_text().is_some());
    Ok(Some(given))
}

#[test]
fn targets_are_given_away_if_what_is_signed_is_canonical() {
    let file = |signed: &str| format!(r#"{{"signed":{signed},"signatures":[]}}"#);
    let all = file(r#"{"_type":"x","targets":{"":0,"a":1,"b\"":2},"version":{"targets":{"z":7}}}"#);
    let expected: Vec<_> = [("", 0), ("a", 1), ("b\"", 2)].map(|(name, value)| (name.to_owned(), value)).into();
    assert_eq!(given(&all, usize::MAX, 2), Ok(Some(expected.clone())));
    for around in [
        all.replace("\"signatures\"", " \n\"signatures\""),
        all.replace("\"signed\":", " \"signed\" :\t"),
        all.replace(",\"signatures\":[]", " \n"),
        all.replacen('{', "{\"a\":{\"signed\":{\"targets\":{\"y\":7}}},", 1),
    ] {
        assert_eq!(given(&around, usize::MAX, 2), Ok(Some(expected.clone())), "{around}");
    }
    // One of them is not taken.
    assert_eq!(given(&all, usize::MAX, 1), Ok(None));
    for other in [
        all.replace("\"a\"", " \"a\""),
        all.replace("\"a\"", "\"\\u0061\""),
        all.replace("\"a\"", "\"c\""),
        all.replace(":7}", ":7 }"),
        all.replace("{\"z\":7}", "{\"z\":7,\"y\":7}"),
        all.replace("\"signed\"", "\"\\u0073igned\""),
        all.replace("\"signatures\"", "\"sign\\u0061tures\""),
        "{}".to_owned(),
        "[]".to_owned(),
    ] {
        assert_eq!(given(&other, usize::MAX, 2), Ok(None), "{other}");
    }
    assert_eq!(given(&file(r#"{"targets":{},"x":1}"#), usize::MAX, 2), Ok(Some(Vec::new())));
}

#[test]
fn what_is_given_away_has_the_limits_and_the_faults_of_what_is_kept() {
    let all = r#"{"signed":{"a":0,"targets":{"a":1,"b":2,"c":{"d":[3,-40]}},"version":12},"signatures":[{}]}"#;
    let kept = |text: &str, values| {
        let allowance = Allowance { values, memory: usize::MAX, is_late: &|| false };
        Document::read(text.as_bytes(), allowance).map(|_| ()).map_err(|error| (error.at, error.fault))
    };
    let gives = |text: &str, values| {
        let allowance = Allowance { values, memory: usize::MAX, is_late: &|| false };
        let read = Document::read_and_give(text.as_bytes(), allowance, &mut |_, _| true);
        read.map(|document| assert!(document.is_some())).map_err(|error| (error.at, error.fault))
    };
    for values in 0..30 {
        assert_eq!(gives(all, values), kept(all, values), "{values}");
    }
    assert!(kept(all, 30).is_ok());
    for at in 0..all.len() {
        for wrong in ["", "{", "}", "1", ",", "\"", "\u{1}", ".5"] {
            let (before, after) = all.split_at(at);
            let text = [before, wrong, after.get(1..).unwrap()].concat();
            let allowance = Allowance { values: usize::MAX, memory: usize::MAX, is_late: &|| false };
            let given = Document::read_and_give(text.as_bytes(), allowance, &mut |_, _| true);
            match given.map_err(|error| (error.at, error.fault)) {
                Ok(Some(_)) => assert_eq!(kept(&text, usize::MAX), Ok(()), "{text}"),
                Ok(None) => {}
                Err(error) => assert_eq!(kept(&text, usize::MAX), Err(error), "{text}"),
            }
        }
    }
}
