//! The watch of a running webhook on what ends: the metrics, and one line in the log a day while something ends soon.
//!
//! A line names everything that ends soon. What begins to end soon after it is named at once, in a line of its own, and then in
//! the next line of a day. So nothing waits for a day, and nothing is named twice in one. A restart begins anew.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::Level;

use super::remembered::Remembered;
use super::{files, of_memory};
use crate::base::clock;
use crate::base::ending::{Ending, EndingKind};
use crate::config::Config;
use crate::logging::{Format, Line};
use crate::metrics::Metrics;
use crate::webhook::Engine;
use portreeve_verify::ordered;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Memory has what was used since the start. The disk is read for what was used before.
const READ_DISK_EVERY: Duration = Duration::from_secs(3_600);
const LOG_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The most endings of one kind that a line names, so that much trust data of tenants hides nothing of another kind.
const MAX_OF_KIND: usize = 2;
/// Longer lines are split by container runtimes, which take 16 KiB.
const MAX_LINE: usize = 14 << 10;

/// Looks at what ends. Each look has a thread of its own, because a volume may not answer.
pub(crate) struct EndingsWatch {
    config: Arc<Config>,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    began: Instant,
    /// It is locked while a look is under way.
    state: Arc<Mutex<State>>,
}

/// Times are counted from the start of the process.
#[derive(Default)]
struct State {
    looked: Option<Duration>,
    read_disk: Option<Duration>,
    stored: Vec<Ending>,
    remembered: Remembered,
    log: DailyLog,
}

impl EndingsWatch {
    pub(crate) fn new(config: Config, engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        let began = Instant::now();
        Self { config: Arc::new(config), engine, metrics, began, state: Arc::default() }
    }

    /// Looks, if it is time to, and if no look is under way.
    pub(crate) fn look(&self) {
        let time = self.began.elapsed();
        match self.state.try_lock() {
            Ok(state) if !is_due(state.looked, LOOK_EVERY, time) => return,
            Err(TryLockError::WouldBlock) => return,
            Ok(_) | Err(TryLockError::Poisoned(_)) => {}
        }
        let (config, engine) = (Arc::clone(&self.config), Arc::clone(&self.engine));
        let (metrics, state) = (Arc::clone(&self.metrics), Arc::clone(&self.state));
        let look = move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.looked = Some(time);
            state.look(&config, &engine, &metrics, clock::now(), time);
        };
        // Where the system gives no thread, the next round looks.
        drop(thread::Builder::new().name("endings".to_owned()).spawn(look));
    }
}

impl State {
    fn look(&mut self, config: &Config, engine: &Engine, metrics: &Metrics, now: Timestamp, time: Duration) {
        let service = &engine.evaluator().schemes.notary_v1.service;
        if is_due(self.read_disk, READ_DISK_EVERY, time) {
            self.stored = service.stored_endings(now);
            self.read_disk = Some(time);
        }
        let mut endings = self.remembered.endings(&files(config), engine.policies().get().as_ref());
        endings.extend(of_memory(engine, &self.stored, now));
        metrics.ends(&endings);
        if log::log_enabled!(Level::Warn)
            && let Some(line) = self.log.line(Format::in_use(), &endings, now, time)
        {
            line.write();
        }
    }
}

fn is_due(last: Option<Duration>, every: Duration, time: Duration) -> bool {
    last.is_none_or(|last| time.saturating_sub(last) >= every)
}

/// What the log has said.
#[derive(Default)]
struct DailyLog {
    /// When everything was last named.
    logged: Option<Duration>,
    /// What was named since then.
    named: Vec<(EndingKind, String)>,
}

impl DailyLog {
    /// The line that is due, if one is.
    fn line(&mut self, format: Format, endings: &[Ending], now: Timestamp, time: Duration) -> Option<Line> {
        let all = soonest(endings, now);
        if is_due(self.logged, LOG_EVERY, time) {
            self.named.clear();
        }
        let is_named =
            |ending: &Ending| self.named.iter().any(|(kind, what)| (*kind, what) == (ending.kind, &ending.what));
        let new: Vec<&Ending> = all.into_iter().filter(|ending| !is_named(ending)).collect();
        if new.is_empty() {
            return None;
        }
        if self.named.is_empty() {
            self.logged = Some(time);
        }
        self.named.extend(new.iter().map(|ending| (ending.kind, ending.what.clone())));
        Some(line(format, &new, now))
    }
}

/// What ends soon, the soonest of each kind, in the order of time.
fn soonest(endings: &[Ending], now: Timestamp) -> Vec<&Ending> {
    let mut soon: Vec<&Ending> = endings.iter().filter(|ending| ending.is_soon(now)).collect();
    ordered::sort_by(&mut soon, |a, b| a.at.cmp(&b.at));
    let mut counts = [0; EndingKind::ALL.len()];
    soon.retain(|ending| {
        let count = counts.get_mut(ending.kind as usize);
        count.is_some_and(|count| {
            *count += 1;
            *count <= MAX_OF_KIND
        })
    });
    soon
}

fn line(format: Format, endings: &[&Ending], now: Timestamp) -> Line {
    const SOON: &str = "certificates, CAs or trust data end soon";
    const ENDED: &str = "certificates, CAs or trust data have ended";
    let has_ended = endings.iter().any(|ending| ending.has_ended(now));
    let (level, message) = if has_ended { (Level::Error, ENDED) } else { (Level::Warn, SOON) };
    let mut line = Line::begin(format, level, message, now);
    match line.json() {
        Some(mut json) => {
            json.key("endings");
            json.begin(b'[');
            for ending in endings {
                if json.text().len() > MAX_LINE {
                    break;
                }
                json.begin(b'{');
                json.string("kind", ending.kind.as_str());
                json.string("what", &ending.what);
                json.string("ends", &ending.at.to_string());
                json.string("advice", ending.advice);
                json.end(b'}');
            }
            json.end(b']');
        }
        None => {
            let mut text = String::new();
            for ending in endings {
                // The log format quotes it, which may double its length.
                if text.len() > MAX_LINE / 2 {
                    break;
                }
                let Ending { kind, what, at, advice } = ending;
                text.extend([if text.is_empty() { "" } else { "; " }, kind.describe(), " ", what, " ends "]);
                text.extend([at.to_string().as_str(), ": ", advice]);
            }
            line.string("endings", &text);
        }
    }
    line
}

#[cfg(test)]
mod tests;
