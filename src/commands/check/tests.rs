use super::*;

#[test]
fn warn_of_the_configuration_counts_as_in_the_webhook() {
    let rejected = Verdict::Rejected { code: "no-policy", reason: String::new() };
    let evaluation = Evaluation::of(rejected);
    for (configured, status, word) in
        [(Mode::Enforce, ExitStatus::Denied, None), (Mode::Warn, ExitStatus::Allowed, Some("warn"))]
    {
        let mode = evaluation.mode(configured);
        assert_eq!(status_of(mode, &evaluation), status);
        assert_eq!(Report::of("x", "n", mode, &evaluation).mode, word);
    }
}
