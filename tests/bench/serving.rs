//! What serving costs: an executable under the loads of a cluster, with a lower bound beside each figure. It prints
//! tables and asserts nothing, because the figures depend on the machine.
//!
//! `cargo bench --bench serving` prints all sections but the soak; `-- footprint warm cold storm growth` some of them;
//! `-- soak --minutes 20` the soak alone. docs/performance.md explains them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may end with a panic")]

mod callgrind;
mod client;
mod cold;
mod floor;
mod footprint;
mod growth;
mod load;
mod real_notary;
mod relay;
mod soak;
mod storm;
mod table;
mod warm;
mod webhook;

use std::time::Duration;

/// A section, and the function that prints it.
type Section = (&'static str, fn());

const SECTIONS: [Section; 5] = [
    ("footprint", footprint::print),
    ("warm", warm::print),
    ("cold", cold::print),
    ("storm", storm::print),
    ("growth", growth::print),
];

fn main() {
    let mut wanted: Vec<String> = Vec::new();
    let mut minutes = 20;
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench"); // cargo adds it
    while let Some(argument) = arguments.next() {
        if argument == "--minutes" {
            minutes = arguments.next().and_then(|number| number.parse().ok()).unwrap();
        } else {
            let is_known = argument == "soak" || SECTIONS.iter().any(|(name, _)| *name == argument);
            assert!(is_known, "there is no section {argument}");
            wanted.push(argument);
        }
    }
    let is_wanted = |name: &str| wanted.iter().any(|known| known == name);
    if is_wanted("soak") {
        return soak::run(Duration::from_secs(60 * minutes));
    }
    for (name, print) in SECTIONS {
        if wanted.is_empty() || is_wanted(name) {
            print();
        }
    }
}
