//! Probes: requests of our own that find out whether a server is down. One thread a server, for as long as its circuit is
//! not closed. A probe carries no credentials and has a time limit of its own.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Origins;

/// Sends one request to this URL and waits for a response for this long. `None`: the client is gone, and nobody needs to
/// know any more.
pub(crate) type SendProbe = Box<dyn Fn(&str, Duration) -> Option<Result<(), String>> + Send + Sync>;

/// A thread that probes one server. However it ends, also by a panic, it leaves no circuit open.
pub(super) struct Prober {
    pub(super) origins: Arc<Origins>,
    pub(super) probe: Arc<str>,
    pub(super) id: u64,
}

impl Prober {
    pub(super) fn start(self) {
        let probe = Arc::clone(&self.probe);
        // Without a thread the prober is dropped here, which closes the circuit.
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
                // It fails at once: requests lose no time by being sent to it.
                Some(Err(_)) if began.elapsed() < times.half_open_after.min(times.probe) => return,
                Some(Err(why)) => why,
            };
            let Some(pause) = self.origins.probe_failed(&self.probe, self.id, began, why) else { return };
            thread::sleep(pause);
        }
    }
}

impl Origins {
    /// The pause before the next probe, or `None` where none is needed.
    pub(super) fn probe_failed(&self, probe: &str, prober: u64, began: Instant, why: String) -> Option<Duration> {
        let mut table = self.lock();
        let circuit = table.circuit(probe).filter(|circuit| circuit.is_probed_by(prober))?;
        let pause = circuit.probe_failed(probe, (began, Instant::now()), why, &self.limits.times);
        self.changed.notify_all();
        pause
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
