use jiff::Timestamp;
use portreeve_test_support::certificates::Authority;

use super::*;
use crate::base::files::scratch::Scratch;

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
}

fn ca(name: &str, days: i64) -> String {
    Authority::valid(name, at(-1_000), at(days)).pem()
}

fn told(kind: EndingKind, pem: &str) -> Vec<(String, Timestamp)> {
    let scratch = Scratch::new();
    let path = scratch.write("a.pem", pem);
    let file = path.display().to_string();
    let endings = of_file(kind, &path, "renew it");
    endings.into_iter().map(|ending| (ending.what.replace(&file, "F"), ending.at)).collect()
}

#[test]
fn each_certificate_of_a_file_has_an_end() {
    let both = ca("one", 10) + &ca("two", 20);
    let expected = vec![("F, one".to_owned(), at(10)), ("F, two".to_owned(), at(20))];
    assert_eq!(told(EndingKind::TrustCa, &both), expected);
    assert_eq!(told(EndingKind::ServingCertificate, &format!("# ours\n{both}")), expected);
    // What stands before the damage counts.
    assert_eq!(told(EndingKind::TrustCa, &format!("{both}-----BEGIN CERTIFICATE-----\nMIIB\n")), expected);
    assert_eq!(told(EndingKind::TrustCa, "nothing"), []);
    assert_eq!(of_file(EndingKind::TrustCa, Path::new("/absent"), "renew it"), []);
}

#[test]
fn a_renewed_ca_counts_for_the_one_that_it_renews() {
    for pem in [ca("one", 10) + &ca("one", 20), ca("one", 20) + &ca("one", 10)] {
        assert_eq!(told(EndingKind::TrustCa, &pem), [("F, one".to_owned(), at(20))]);
        // In a chain, each is needed.
        assert_eq!(told(EndingKind::ServingCertificate, &pem).len(), 2);
    }
}

#[test]
fn what_is_signed_by_hand_is_soon_earlier_than_what_is_carried() {
    for kind in EndingKind::ALL {
        let is_carried = matches!(kind, EndingKind::RevocationList | EndingKind::Timestamp | EndingKind::Snapshot);
        let days = if is_carried { 3 } else { 14 };
        let ending = |at| Ending { kind, what: String::new(), at, advice: "" };
        let now = at(0);
        let second = jiff::SignedDuration::from_secs(1);
        assert!(!ending(at(days)).is_soon(now), "{kind:?}");
        assert!(ending(at(days).checked_sub(second).unwrap()).is_soon(now), "{kind:?}");
        assert!(ending(at(-1_000)).is_soon(now) && ending(now).has_ended(now), "{kind:?}");
        assert!(!ending(Timestamp::MAX).is_soon(Timestamp::MIN) && ending(Timestamp::MIN).is_soon(Timestamp::MAX));
    }
}

#[test]
fn kinds_have_one_word_each() {
    for (index, kind) in EndingKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index, "{kind:?}");
        assert!(EndingKind::ALL.iter().all(|other| *other == kind || other.as_str() != kind.as_str()));
    }
}
