//! The shape of the configuration file. A key that is not listed here is an error, and so is a value of another type.
//! [`super::check`] turns the values into settings.

use crate::yaml::shape::Shape::{self, Count, CountOrText, List, Map, Mapping, Path, Text, TextsOr, Truth, Word};

const SIZE: Shape = CountOrText("expected a size such as 64KiB or 8MiB");

/// The whole file.
pub(super) const DOCUMENT: Shape = Mapping(&[
    ("listen", Text),
    ("metricsListen", Text),
    ("tls", Mapping(&[("certificate", Path), ("key", Path), ("clientCa", Path)])),
    ("namespace", Text),
    ("policies", List(&Path)),
    ("namespacePolicies", Path),
    ("secrets", Path),
    (
        "credentials",
        Mapping(&[
            ("mounted", Path),
            ("kubernetes", Truth),
            ("api", Mapping(&[("server", Text), ("token", Path), ("ca", Path)])),
        ]),
    ),
    (
        "trust",
        Mapping(&[
            ("ca", Path),
            ("servers", Map(&Text)),
            ("cache", Path),
            ("refreshAfter", Text),
            ("whenUnavailable", Word(&["deny", "useCached"], "deny or useCached")),
            ("maxStale", Text),
            ("requirePinnedRoots", Truth),
            ("allowPlainHttp", Truth),
        ]),
    ),
    ("sigstore", Mapping(&[("trustedRoots", Path)])),
    ("notation", Mapping(&[("trustStores", Path)])),
    ("registries", Mapping(&[("endpoints", Map(&Text)), ("signatures", Map(&Text))])),
    (
        "admission",
        Mapping(&[
            ("mode", Word(&["enforce", "warn"], "enforce or warn")),
            ("trustedControllers", TextsOr(&[("add", List(&Text))])),
            ("unchangedTemplates", Word(&["verify", "skip"], "skip or verify")),
            ("children", Word(&["trust", "compare"], "trust or compare")),
            (
                "workloads",
                List(&Mapping(&[
                    ("group", Text),
                    ("kind", Text),
                    ("podSpec", Text),
                    ("resource", Text),
                    ("whenAbsent", Word(&["deny", "allow"], "deny or allow")),
                ])),
            ),
        ]),
    ),
    (
        "limits",
        Mapping(&[
            ("connections", Count),
            ("workers", Count),
            ("queue", Count),
            ("headBytes", SIZE),
            ("requestBytes", SIZE),
            ("bodyMemory", SIZE),
            ("trustMemory", SIZE),
            ("verifyMemory", SIZE),
            ("trustCache", SIZE),
            ("handshakeTime", Text),
            ("headTime", Text),
            ("requestTime", Text),
            ("answerTime", Text),
            ("idleTime", Text),
            ("admissionTime", Text),
            ("shutdownDelay", Text),
            ("drainTime", Text),
        ]),
    ),
    (
        "log",
        Mapping(&[
            ("format", Word(&["json", "text"], "json or text")),
            ("level", Word(&["error", "warn", "info", "debug"], "error, warn, info or debug")),
        ]),
    ),
]);
