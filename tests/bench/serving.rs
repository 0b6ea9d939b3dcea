//! What serving costs: an executable under the loads of a cluster, with a lower bound beside each figure. It prints
//! tables and asserts nothing, because the figures depend on the machine.
//!
//! `cargo bench --bench serving` prints all sections; `-- footprint warm burst cold storm silence disk growth` some of
//! them; `-- soak --minutes 20` the soak alone; `-- compare --runs 5` the medians of several runs, beside those of the
//! executable that `BEFORE` names. docs/performance.md explains them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may end with a panic")]

mod burst;
mod callgrind;
mod client;
mod cold;
mod compare;
mod disk;
mod figures;
mod floor;
mod footprint;
mod growth;
mod load;
mod plant;
mod real_notary;
mod relay;
mod silence;
mod site;
mod soak;
mod storm;
mod table;
mod warm;
mod webhook;

use std::time::Duration;

/// A section, and the function that prints it.
type Section = (&'static str, fn());

const SECTIONS: [Section; 8] = [
    ("footprint", footprint::print),
    ("warm", warm::print),
    ("burst", burst::print),
    ("cold", cold::print),
    ("storm", storm::print),
    ("silence", silence::print),
    ("disk", disk::print),
    ("growth", growth::print),
];
/// These run alone. `figures` and `instructions` print lines for `compare`.
const ALONE: [&str; 4] = ["soak", "compare", "figures", "instructions"];

fn main() {
    let mut wanted: Vec<String> = Vec::new();
    let (mut minutes, mut runs) = (20, 5);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench"); // cargo adds it
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|number| number.parse::<u32>().ok()).filter(|&n| n > 0).unwrap();
        match argument.as_str() {
            "--minutes" => minutes = number(),
            "--runs" => runs = number(),
            name => {
                let is_known = ALONE.contains(&name) || SECTIONS.iter().any(|(section, _)| *section == name);
                assert!(is_known, "there is no section {name}");
                wanted.push(argument);
            }
        }
    }
    let is_wanted = |name: &str| wanted.iter().any(|known| known == name);
    if is_wanted("soak") {
        return soak::run(Duration::from_secs(60) * minutes);
    }
    if is_wanted("compare") {
        return compare::print(runs);
    }
    if is_wanted("figures") {
        return figures::print();
    }
    if is_wanted("instructions") {
        return figures::instructions();
    }
    for (name, print) in SECTIONS {
        if wanted.is_empty() || is_wanted(name) {
            print();
        }
    }
}
