//! The server: gateway → dispatcher → relay → application.
//!
//! The [`gateway`] accepts connections and holds them to every limit. The [`dispatcher`] routes requests and owns the workers.
//! The [`relay`] carries requests to the workers through tiny_http, and responses back. The [`Application`] answers: it is given complete
//! bodies and sees nothing else of the network. The server knows nothing of admissions or of the configuration file.

mod application;
mod client_certificates;
mod descriptors;
mod dispatcher;
mod gateway;
mod relay;
mod request;
pub mod settings;
mod tasks;
mod threads;
mod timeout;
mod tls;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::metrics::{Limit, Metrics};
use crate::server::dispatcher::Dispatcher;
use crate::server::gateway::{Bound, Gateway};
use crate::server::tls::TlsStore;

pub use crate::server::application::{Application, HttpResponse, Route, Workers};
pub use crate::server::descriptors::raise_descriptor_limit;
pub(crate) use crate::server::descriptors::{descriptors_allowed, descriptors_needed};
#[cfg(feature = "fuzzing")]
pub use crate::server::gateway::{fuzz_head, fuzz_requests};
pub use crate::server::settings::Settings;
pub use crate::server::tasks::{PeriodicTask, TaskThread};
pub use crate::server::tls::TlsError;
pub(crate) use crate::server::tls::serving_leaf;

/// The running server. Dropping it stops it at once; [`Server::drain`] lets requests in progress end.
pub struct Server {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    gateway: Gateway,
    dispatcher: Arc<Dispatcher>,
    task_thread: Option<TaskThread>,
    metrics: Arc<Metrics>,
    shutdown_delay: Duration,
    drain_time: Duration,
    stopped: bool,
}

/// The application, which is not ready while the serving certificate is out of date: kube-apiserver refuses it. The instances
/// that have another one get the requests meanwhile, and no rollout replaces them.
struct Certified {
    application: Arc<dyn Application>,
    certificate: Arc<TlsStore>,
}

impl Application for Certified {
    fn routes(&self) -> &'static [Route] {
        self.application.routes()
    }

    fn respond(&self, route: &Route, body: &[u8], deadline: Deadline) -> HttpResponse {
        self.application.respond(route, body, deadline)
    }

    fn ready(&self) -> Result<(), String> {
        self.application.ready().and_then(|()| self.certificate.is_in_date())
    }
}

impl Server {
    /// Reads the certificate, binds, and begins to serve.
    ///
    /// `waiting` reports which requests wait for another server and need no worker meanwhile. `tasks` run every
    /// [`TaskThread::INTERVAL`], after the check for a new certificate.
    pub fn start(
        settings: Settings,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
        tasks: Vec<PeriodicTask>,
    ) -> Result<Self, StartError> {
        Self::start_with(settings, application, waiting, metrics, tasks, TaskThread::INTERVAL)
    }

    fn start_with(
        settings: Settings,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
        tasks: Vec<PeriodicTask>,
        interval: Duration,
    ) -> Result<Self, StartError> {
        let Settings { listen, metrics_listen, tls, limits } = settings;
        let store = Arc::new(TlsStore::load(tls, Arc::clone(&metrics)).map_err(StartError::Tls)?);
        let bind = |address| Bound::to(address).map_err(|source| StartError::Bind { address, source });
        let front = bind(listen)?;
        let side = metrics_listen.map(bind).transpose()?;
        let (address, metrics_address) = (front.address(), side.as_ref().map(Bound::address));
        let system = |what| move |source| StartError::System { what, source };

        let application = Arc::new(Certified { application, certificate: Arc::clone(&store) });
        let dispatcher = Dispatcher::start(&limits, application, waiting, Arc::clone(&metrics))
            .map_err(system("start the workers"))?;
        let dispatcher = Arc::new(dispatcher);
        let watched = Arc::clone(&store);
        // First, because it is short. The other tasks may take longer.
        let mut all = vec![PeriodicTask::new("look for a new certificate", move || watched.look())];
        let relayed = Arc::clone(&dispatcher);
        all.push(PeriodicTask::new("give up lost requests", move || relayed.give_up_lost()));
        all.extend(tasks);
        let task_thread = TaskThread::start(interval, all, Arc::clone(&metrics))
            .map_err(system("start the thread of the periodic tasks"))?;
        let gateway =
            Gateway::open(front, side, &store, &limits, &dispatcher, &metrics).map_err(system("accept connections"))?;
        log::info!("listening on {address} (TLS)");
        if let Some(address) = metrics_address {
            log::info!("listening on {address} (metrics and probes, without TLS)");
        }
        Ok(Self {
            address,
            metrics_address,
            gateway,
            dispatcher,
            task_thread: Some(task_thread),
            metrics,
            shutdown_delay: limits.shutdown_delay,
            drain_time: limits.drain_time,
            stopped: false,
        })
    }

    /// The address of the TLS listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the plain listener.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// For `limits.shutdown_delay` the server reports that it is not ready, and still serves, until no request is sent here
    /// any more. Then it accepts no connections, closes idle ones, and waits up to `limits.drain_time` for requests in
    /// progress. It closes the connections that are left, and returns their number.
    pub fn drain(mut self) -> usize {
        if !self.shutdown_delay.is_zero() {
            self.dispatcher.start_draining();
            self.gateway.start_draining();
            std::thread::sleep(self.shutdown_delay);
        }
        let left = self.stop(self.drain_time);
        if left > 0 {
            self.metrics.limit(Limit::DrainTime);
            log::error!("{left} connections were still in use after {:?} and were closed", self.drain_time);
        }
        left
    }

    /// Serves until SIGTERM or SIGINT, and then drains. A second signal ends the process at once with status 1. Returns the end
    /// of the time to drain, which may not have been needed.
    pub fn run_until(self, signals: EndSignals) -> Deadline {
        let EndSignals { mut signals, starting, draining } = signals;
        starting.store(false, Ordering::SeqCst);
        let received = signals.forever().next();
        draining.store(true, Ordering::SeqCst);
        let name = received.and_then(signal_hook::low_level::signal_name).unwrap_or("a signal");
        log::info!("{name}: finishing the requests in progress");
        let end = Deadline::after(self.shutdown_delay.saturating_add(self.drain_time));
        self.drain();
        end
    }

    fn stop(&mut self, time: Duration) -> usize {
        if std::mem::replace(&mut self.stopped, true) {
            return 0;
        }
        self.dispatcher.start_draining();
        let left = self.gateway.close(Deadline::after(time));
        self.dispatcher.stop();
        drop(self.task_thread.take());
        left
    }
}

/// Catches SIGTERM and SIGINT. Make it before anything else: the kernel delivers no signal without a handler to the first
/// process of a container, so that kubelet would have to kill it after the grace period.
#[derive(Debug)]
pub struct EndSignals {
    signals: Signals,
    starting: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

impl EndSignals {
    /// Catches the signals. Until the server runs, a signal ends the process at once with status 0, because no request is in
    /// progress yet.
    pub fn catch() -> Result<Self, StartError> {
        let system = |source| StartError::System { what: "listen for signals", source };
        let (starting, draining) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        // The handler that records a signal comes first, so that no signal is lost before the other one is registered.
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
        /// The cause.
        source: io::Error,
    },
    /// The system refuses a resource.
    System {
        /// What the server tried to do.
        what: &'static str,
        /// The cause.
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
