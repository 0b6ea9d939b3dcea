//! Probes find out whether a server is down. While a server's circuit is not closed, one thread probes it. A probe is a GET
//! of the server's probe URL, without credentials and with a time limit of its own.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Origins;
use super::circuit_breaker::Circuit;

/// Sends one GET to this URL and waits at most this long for a response. `None`: the client is gone, and probing ends.
pub(crate) type SendProbe = Box<dyn Fn(&str, Duration) -> Option<Result<(), String>> + Send + Sync>;

/// A thread that probes one server. When it ends, even by a panic, it closes the circuit.
pub(super) struct Prober {
    pub(super) origins: Arc<Origins>,
    pub(super) probe: Arc<str>,
    pub(super) id: u64,
}

impl Prober {
    pub(super) fn start(self) {
        let probe = Arc::clone(&self.probe);
        // If no thread can be started, the prober is dropped, which closes the circuit.
        if let Err(error) = thread::Builder::new().name("prober".into()).spawn(move || self.run()) {
            log::warn!("no thread to find out whether {probe} is up: {error}");
        }
    }

    fn run(self) {
        let times = self.origins.limits.times;
        loop {
            let began = Instant::now();
            let why = match (self.origins.send_probe)(&self.probe, times.probe) {
                None | Some(Ok(())) => return,
                // It fails fast, so that requests lose no time.
                Some(Err(_)) if began.elapsed() < times.half_open_after.min(times.probe) => return,
                Some(Err(why)) => why,
            };
            let Some(pause) = self.origins.probe_failed(&self.probe, self.id, began, why) else { return };
            if !self.origins.pause(&self.probe, self.id, pause) {
                return;
            }
        }
    }
}

impl Origins {
    /// Records a failed probe. Returns the pause before the next one, or `None` if no other one is needed.
    pub(super) fn probe_failed(&self, probe: &str, prober: u64, began: Instant, why: String) -> Option<Duration> {
        let mut table = self.lock();
        let circuit = table.circuit(probe).filter(|circuit| circuit.is_probed_by(prober))?;
        let pause = circuit.probe_failed(probe, (began, Instant::now()), why, &self.limits.times);
        self.changed.notify_all();
        pause
    }
}

impl Origins {
    /// Waits between two probes, or until a request waits for the next one. Returns false if no probe is needed any more.
    fn pause(&self, probe: &str, prober: u64, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut table = self.lock();
        loop {
            let circuit = table.circuit(probe).filter(|circuit| circuit.is_probed_by(prober));
            let Some(open) = circuit.and_then(Circuit::open) else { return false };
            let left = end.saturating_duration_since(Instant::now());
            if open.awaited || left.is_zero() {
                return true;
            }
            table = self.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let mut table = self.origins.lock();
        if let Some(circuit) = table.circuit(&self.probe).filter(|circuit| circuit.is_probed_by(self.id)) {
            circuit.close(&self.probe, Instant::now());
            self.origins.changed.notify_all();
        }
    }
}
