//! The serving side: gateway → bridge → http → handler.
//!
//! The [`gateway`] takes connections and holds them to every limit; the [`bridge`] carries whole requests to tiny_http
//! and answers back; [`http`] routes them and owns the workers; the [`Handler`] decides. Nothing of the network
//! reaches the handler but one complete body.

mod application;
mod dispatcher;
mod gateway;
mod relay;
pub mod settings;
mod stream;
mod tasks;
mod threads;
mod timeout;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::metrics::{Limit, Metrics};
use crate::server::dispatcher::Dispatcher;
use crate::server::gateway::{Bound, Gateway};
use crate::server::relay::Bridge;
use crate::server::tls::TlsStore;

pub use crate::server::application::{Application, HttpResponse, Route, Workers};
#[cfg(feature = "fuzzing")]
pub use crate::server::gateway::{fuzz_head, fuzz_requests};
pub use crate::server::settings::Settings;
pub use crate::server::tasks::{Chore, Housekeeping};
pub use crate::server::tls::TlsError;

/// The running server. Dropping it stops it at once; [`Server::drain`] is the polite way.
pub struct Server {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    gateway: Gateway,
    bridge: Arc<Bridge>,
    dispatcher: Arc<Dispatcher>,
    housekeeping: Option<Housekeeping>,
    metrics: Arc<Metrics>,
    shutdown_delay: Duration,
    drain_time: Duration,
    stopped: bool,
}

impl Server {
    /// Reads the certificate, binds, and serves from then on.
    ///
    /// `waiting` says which requests wait for another server, and need no worker meanwhile. `chores` are run every
    /// [`Housekeeping::INTERVAL`], besides the check for a new certificate.
    pub fn start(
        settings: Settings,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
        chores: Vec<Chore>,
    ) -> Result<Self, StartError> {
        Self::start_with(settings, application, waiting, metrics, chores, Housekeeping::INTERVAL)
    }

    fn start_with(
        settings: Settings,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
        chores: Vec<Chore>,
        interval: Duration,
    ) -> Result<Self, StartError> {
        let Settings { listen, metrics_listen, tls, limits } = settings;
        let store = Arc::new(TlsStore::load(tls, Arc::clone(&metrics)).map_err(StartError::Tls)?);
        let bind = |address| Bound::to(address).map_err(|source| StartError::Bind { address, source });
        let front = bind(listen)?;
        let side = metrics_listen.map(bind).transpose()?;
        let (address, metrics_address) = (front.address(), side.as_ref().map(Bound::address));
        let system = |what| move |source| StartError::System { what, source };

        let dispatcher = Dispatcher::start(&limits, application, waiting, Arc::clone(&metrics))
            .map_err(system("start the workers"))?;
        let dispatcher = Arc::new(dispatcher);
        let bridge = Bridge::open(Arc::clone(&dispatcher)).map_err(system("open the internal socket"))?;
        let watched = Arc::clone(&store);
        // First, because it is short: what others bring may not be.
        let mut all = vec![Chore::new("look for a new certificate", move || watched.look())];
        all.extend(chores);
        let housekeeping = Housekeeping::start(interval, all, Arc::clone(&metrics))
            .map_err(system("start the housekeeping thread"))?;
        let gateway =
            Gateway::open(front, side, &store, &limits, &bridge, &metrics).map_err(system("accept connections"))?;
        log::info!("listening on {address} (TLS)");
        if let Some(address) = metrics_address {
            log::info!("listening on {address} (metrics and probes, in the clear)");
        }
        Ok(Self {
            address,
            metrics_address,
            gateway,
            bridge,
            dispatcher,
            housekeeping: Some(housekeeping),
            metrics,
            shutdown_delay: limits.shutdown_delay,
            drain_time: limits.drain_time,
            stopped: false,
        })
    }

    /// Where the TLS listener is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the plain listener is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Not ready, but still there for `limits.shutdown_delay`, until nobody is sent here any more. Then no new
    /// connections, idle ones closed; what is in hand is finished within `limits.drain_time`, and the rest is cut.
    /// Returns how many connections that were.
    pub fn drain(mut self) -> usize {
        if !self.shutdown_delay.is_zero() {
            self.dispatcher.drain();
            self.gateway.part();
            std::thread::sleep(self.shutdown_delay);
        }
        let left = self.stop(self.drain_time);
        if left > 0 {
            self.metrics.limit(Limit::DrainTime);
            log::error!("{left} connections were still in use after {:?} and were cut", self.drain_time);
        }
        left
    }

    /// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once, with status 1.
    pub fn run_until(self, signals: EndSignals) {
        let EndSignals { mut signals, starting, draining } = signals;
        starting.store(false, Ordering::SeqCst);
        let received = signals.forever().next();
        draining.store(true, Ordering::SeqCst);
        let name = received.and_then(signal_hook::low_level::signal_name).unwrap_or("a signal");
        log::info!("{name}: finishing what is in hand");
        self.drain();
        log::info!("stopped");
    }

    fn stop(&mut self, time: Duration) -> usize {
        if std::mem::replace(&mut self.stopped, true) {
            return 0;
        }
        self.dispatcher.drain();
        let left = self.gateway.close(Deadline::after(time));
        self.dispatcher.stop();
        self.bridge.stop();
        drop(self.housekeeping.take());
        left
    }
}

/// SIGTERM and SIGINT, caught from here on. Make it before anything else: the first process of a container that has
/// not asked for a signal does not get it, and would be killed only when kubelet's patience ends.
#[derive(Debug)]
pub struct EndSignals {
    signals: Signals,
    starting: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

impl EndSignals {
    /// Catches them. Until the server runs, a signal ends the process at once, with status 0: nothing is in hand yet.
    pub fn catch() -> Result<Self, StartError> {
        let system = |source| StartError::System { what: "listen for signals", source };
        let (starting, draining) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        // First what remembers a signal, then what ends the process: no moment between them loses one.
        let signals = Signals::new([SIGTERM, SIGINT]).map_err(system)?;
        for signal in [SIGTERM, SIGINT] {
            for (status, when) in [(0, &starting), (1, &draining)] {
                signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(when)).map_err(system)?;
            }
        }
        Ok(Self { signals, starting, draining })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// Certificate, key or client CA cannot be used.
    Tls(TlsError),
    /// An address cannot be listened on.
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The system refuses something that every process needs.
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "the serving certificate cannot be used: {error}"),
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::System { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(error) => Some(error),
            Self::Bind { source, .. } | Self::System { source, .. } => Some(source),
        }
    }
}
