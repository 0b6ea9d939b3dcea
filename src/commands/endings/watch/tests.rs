use serde_json::Value as Json;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const HOUR: Duration = Duration::from_secs(3_600);

fn ending(kind: EndingKind, what: &str, days: i64) -> Ending {
    let at = Timestamp::from_second(days * 86_400).unwrap();
    Ending { kind, what: what.to_owned(), at, advice: "renew it" }
}

/// The names in a line, and the level.
fn told(log: &mut DailyLog, endings: &[Ending], time: Duration) -> Option<(String, Vec<String>)> {
    let line = log.line(Format::Json, endings, NOW, time)?.into_text();
    let json: Json = serde_json::from_str(&line).unwrap();
    let names = json["endings"].as_array().unwrap().iter().map(|ending| ending["what"].as_str().unwrap().to_owned());
    Some((json["level"].as_str().unwrap().to_owned(), names.collect()))
}

fn warned(names: &[&str]) -> Option<(String, Vec<String>)> {
    Some(("warn".to_owned(), names.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn each_thing_is_named_once_a_day_and_at_once() {
    let mut log = DailyLog::default();
    let (one, two) = (ending(EndingKind::TrustCa, "one", 9), ending(EndingKind::Targets, "two", 3));
    let far = ending(EndingKind::ClientCa, "far", 15);
    assert_eq!(told(&mut log, std::slice::from_ref(&far), Duration::ZERO), None);
    // At once, whenever the process started.
    assert_eq!(told(&mut log, &[one.clone(), far], HOUR), warned(&["one"]));
    assert_eq!(told(&mut log, std::slice::from_ref(&one), HOUR + LOOK_EVERY), None);
    // What comes later is named at once, alone.
    let both = [one.clone(), two.clone()];
    assert_eq!(told(&mut log, &both, HOUR * 3), warned(&["two"]));
    assert_eq!(told(&mut log, &both, HOUR * 24), None);
    // From the second day on there is one line.
    assert_eq!(told(&mut log, &both, HOUR * 25), warned(&["two", "one"]));
    assert_eq!(told(&mut log, &both, HOUR * 27), None);
    assert_eq!(told(&mut log, &both, HOUR * 49 + LOOK_EVERY), warned(&["two", "one"]));
    // While nothing ends soon, nothing is due. Then something is, at once.
    assert_eq!(told(&mut log, &[], HOUR * 100), None);
    assert_eq!(told(&mut log, &[one], HOUR * 101), warned(&["one"]));
    assert_eq!(told(&mut log, &both, HOUR * 102), warned(&["two"]));
}

#[test]
fn what_has_ended_is_an_error() {
    let mut log = DailyLog::default();
    let endings = [ending(EndingKind::ServingCertificate, "a", 1), ending(EndingKind::Root, "b", -1)];
    let (level, names) = told(&mut log, &endings, HOUR).unwrap();
    assert_eq!((level.as_str(), names.as_slice()), ("error", ["b".to_owned(), "a".to_owned()].as_slice()));
}

#[test]
fn much_of_one_kind_hides_nothing_of_another() {
    let mut endings: Vec<_> = (0..500).map(|n| ending(EndingKind::Delegation, &format!("tenant {n}"), 1)).collect();
    endings.push(ending(EndingKind::ServingCertificate, "ours", 13));
    let mut log = DailyLog::default();
    assert_eq!(told(&mut log, &endings, HOUR), warned(&["tenant 0", "tenant 1", "ours"]));
    assert_eq!(told(&mut log, &endings, HOUR * 2), None);
    // The next ones take the places of those that are renewed.
    assert_eq!(told(&mut log, &endings[1..], HOUR * 3), warned(&["tenant 2"]));
}

#[test]
fn a_line_is_never_longer_than_a_runtime_takes() {
    let long = "\"\\".repeat(300);
    let endings: Vec<_> = EndingKind::ALL
        .into_iter()
        .flat_map(|kind| (0..3).map(move |n| (kind, n)))
        .map(|(kind, n)| ending(kind, &format!("{n}{long}"), n))
        .collect();
    for format in [Format::Json, Format::Text] {
        let line = DailyLog::default().line(format, &endings, NOW, HOUR).unwrap().into_text();
        assert!(line.len() < 16 << 10 && line.len() > 10 << 10, "{}", line.len());
        assert_eq!(line.matches('\n').count(), 1);
    }
}

#[test]
fn a_text_line_says_what_ends_when_and_what_to_do() {
    let endings = [ending(EndingKind::TrustCa, "ca.pem, Plant CA", 9)];
    let line = DailyLog::default().line(Format::Text, &endings, NOW, HOUR).unwrap().into_text();
    assert_eq!(
        line,
        "1970-01-01T00:00:00.000Z warn: certificates, CAs or trust data end soon endings=\"CA of trust servers and \
         registries ca.pem, Plant CA ends 1970-01-10T00:00:00Z: renew it\"\n"
    );
}
