//! What ends: of each kind the soonest, and everything that ends soon.

use std::sync::Arc;

use super::finding::{Findings, State};
use super::in_time;
use crate::base::context::Deadline;
use crate::base::ending::{Ending, EndingKind};
use crate::base::side_by_side::Slot;
use crate::commands::endings;
use crate::config::Config;
use crate::webhook::Engine;

/// The most of one kind that are printed.
const MAX_OF_KIND: usize = 20;

/// Collects what ends, from files, from the engine's policies and from stored trust data. A disk may not answer.
pub(super) fn examine(config: &Config, engine: &Arc<Engine>, deadline: Deadline, findings: &mut Findings) {
    let (config, engine, now) = (config.clone(), Arc::clone(engine), findings.now);
    let patience = deadline.half().remaining().unwrap_or_default();
    let found = Arc::new(Slot::new());
    let ours = Arc::clone(&found);
    in_time(patience, Box::new(move || ours.put(endings::collect(&config, &engine, now))));
    let Some(endings) = found.take() else {
        let action = "look at the volume of trust.cache";
        return findings.add(State::Unknown, "endings", "", "the disk does not answer", action);
    };
    for kind in EndingKind::ALL {
        let of_kind = endings.iter().filter(|ending| ending.kind == kind).enumerate();
        for (_, ending) in of_kind.filter(|(at, ending)| *at == 0 || ending.is_soon(now)).take(MAX_OF_KIND) {
            let Ending { kind, what, at, advice } = ending;
            findings.end_of(ending.is_soon(now), kind.as_str(), what, "it", *at, advice);
        }
    }
}
