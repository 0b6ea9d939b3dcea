//! From the relay to the application. The relay's thread answers probes and metrics itself, so that they never wait behind
//! a slow admission. Admissions go to a fixed number of workers over a bounded queue. Reviews of policies, which are rare
//! and cost far more, go to one worker of their own.
//!
//! It refuses unknown paths and methods, bodies that are not JSON by their `Content-Type`, and requests for which there is
//! no room in the queue. It never decides about an image.

mod pool;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::pool::Pool;
use super::relay::Incoming;
use super::settings::Limits;
use super::{Application, HttpResponse, Route, Workers, timeout};
use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::metrics::{self, Counted, InProgress, Limit, Listener, Metrics, Outcome, Phase};

/// Routes requests, and owns the workers.
pub(super) struct Dispatcher {
    application: Arc<dyn Application>,
    metrics: Arc<Metrics>,
    admission_time: Duration,
    admissions: Arc<Pool<Box<Job>>>,
    policies: Arc<Pool<Box<Job>>>,
    draining: AtomicBool,
}

/// The reviews of policies that may wait for their worker.
const POLICY_QUEUE: usize = 16;

impl Dispatcher {
    /// Starts the workers.
    pub(super) fn start(
        limits: &Limits,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let start = |name, workers, queue| {
            let worker = Worker { application: Arc::clone(&application), metrics: Arc::clone(&metrics) };
            // No more jobs can wait for other servers than there are connections.
            Pool::start(name, workers, limits.connections, queue, move |job| worker.run(job))
        };
        let admissions = start("worker", limits.workers, limits.queue)?;
        let policies = start("policy-worker", 1, POLICY_QUEUE)?;
        let pool = Arc::downgrade(&admissions);
        waiting.observe(move |event| {
            if let Some(pool) = pool.upgrade() {
                pool.on_wait(event);
            }
        });
        Ok(Self {
            application,
            metrics,
            admission_time: limits.admission_time,
            admissions,
            policies,
            draining: AtomicBool::new(false),
        })
    }

    /// From now on the readiness response is 503.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Lets the workers end once the queues are empty.
    pub(super) fn stop(&self) {
        self.admissions.close();
        self.policies.close();
    }

    /// Answers a request, or queues it for a worker.
    pub(super) fn dispatch(&self, request: Incoming) {
        match self.destination(&request) {
            Destination::Here(response, allow) => request.respond(response, allow),
            Destination::Worker(route) => self.enqueue(request, route),
        }
    }

    fn destination(&self, request: &Incoming) -> Destination {
        let path = request.target().split('?').next().unwrap_or_default();
        match (request.origin().listener, path) {
            (_, "/health/liveness") => return read_only(request, || HttpResponse::text(200, "alive\n")),
            (_, "/health/readiness") => return read_only(request, || self.readiness()),
            (Listener::Plain, "/metrics") => return read_only(request, || self.exposition()),
            (Listener::Plain, _) => {
                let text = "there is nothing here; try GET /metrics, GET /health/liveness or GET /health/readiness\n";
                return Destination::Here(HttpResponse::text(404, text), None);
            }
            (Listener::Tls, _) => {}
        }
        let routes = self.application.routes();
        let Some(route) = routes.iter().find(|route| route.path == path) else {
            let posts: String = routes.iter().map(|route| format!("POST {}, ", route.path)).collect();
            let text = format!("there is nothing here; try {posts}GET /health/liveness or GET /health/readiness\n");
            return Destination::Here(HttpResponse::text(404, text), None);
        };
        if request.method() != "POST" {
            return Destination::Here(HttpResponse::text(405, "send an AdmissionReview by POST\n"), Some("POST"));
        }
        match request.content_type() {
            Some(other) if !is_json(other) => {
                let text = "send the AdmissionReview with Content-Type: application/json\n";
                Destination::Here(HttpResponse::text(415, text), None)
            }
            // kube-apiserver always names the type. Clients that try the endpoint by hand need not.
            _ => Destination::Worker(route),
        }
    }

    fn readiness(&self) -> HttpResponse {
        let ready = if self.draining.load(Ordering::SeqCst) {
            Err("shutting down".to_owned())
        } else if self.admissions.alive() == 0 {
            Err("no worker is alive".to_owned())
        } else {
            catch_unwind(AssertUnwindSafe(|| self.application.ready())).unwrap_or_else(|_| {
                self.metrics.panic();
                Err("the readiness check panicked; see the log".to_owned())
            })
        };
        match ready {
            Ok(()) => HttpResponse::text(200, "ready\n"),
            Err(reason) => HttpResponse::text(503, format!("not ready: {reason}\n")),
        }
    }

    fn exposition(&self) -> HttpResponse {
        self.metrics.workers(self.admissions.alive());
        HttpResponse { status: 200, content_type: metrics::CONTENT_TYPE, body: self.metrics.render().into_bytes() }
    }

    /// Queues a request for the workers. If the queue is full, the request is refused.
    fn enqueue(&self, request: Incoming, route: &'static Route) {
        let timeout = timeout::requested(request.target());
        let budget = timeout.map_or(self.admission_time, timeout::budget);
        let patience = timeout.unwrap_or(self.admission_time).min(timeout::LONGEST.max(self.admission_time));
        // Counted from the request's first byte: the client's own timeout runs since then.
        let since = request.origin().first_byte;
        let deadline = Deadline::after(budget.saturating_sub(since.elapsed()));
        let queued = (Instant::now(), self.metrics.in_progress(InProgress::Queued));
        let job = Job { request, route, deadline, since, patience, queued };
        let pool = match route.workers {
            Workers::Shared => &self.admissions,
            Workers::Single => &self.policies,
        };
        let Err(refused) = pool.push(Box::new(job)) else { return };
        self.metrics.limit(Limit::Queue);
        self.metrics.admission(route.label, Outcome::Error, refused.since.elapsed());
        let text = "too many admissions are waiting already; try again, or raise limits.workers or limits.queue\n";
        refused.request.respond(HttpResponse::text(503, text), None);
    }
}

/// Where a request goes.
enum Destination {
    /// It is answered at once, with this `Allow` header.
    Here(HttpResponse, Option<&'static str>),
    /// It waits for a worker.
    Worker(&'static Route),
}

fn read_only(request: &Incoming, response: impl FnOnce() -> HttpResponse) -> Destination {
    match request.method() {
        "GET" | "HEAD" => Destination::Here(response(), None),
        _ => Destination::Here(HttpResponse::text(405, "this path is only for GET and HEAD\n"), Some("GET, HEAD")),
    }
}

/// Whether a `Content-Type` is `application/json`, with any parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// A request that waits for a worker.
struct Job {
    request: Incoming,
    route: &'static Route,
    deadline: Deadline,
    since: Instant,
    /// How long the client waits, counted from `since`.
    patience: Duration,
    /// When it was queued, and the gauge that counts it.
    queued: (Instant, Counted),
}

struct Worker {
    application: Arc<dyn Application>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(&self, job: Box<Job>) {
        // A panic of the application is contained below. A panic while reading or responding must not end the worker either.
        if catch_unwind(AssertUnwindSafe(|| self.work(*job))).is_err() {
            self.metrics.panic();
            log::error!("a worker hit a bug outside of the decision; the request is answered 500");
        }
    }

    fn work(&self, mut job: Job) {
        let (queued, waiting) = job.queued;
        drop(waiting);
        self.metrics.phase(Phase::Queue, queued.elapsed());
        if job.since.elapsed() > job.patience {
            // The client has given up. The requests behind this one may still have time.
            self.metrics.limit(Limit::QueueTime);
            self.metrics.admission(job.route.label, Outcome::Error, job.since.elapsed());
            let text = "no worker was free in time; try again, or raise limits.workers\n";
            return job.request.respond(HttpResponse::text(503, text), None);
        }
        let _deciding = self.metrics.in_progress(InProgress::Deciding);
        let Some(body) = job.request.read_body() else {
            log::debug!("the gateway gave up on an admission");
            return;
        };
        let responded = catch_unwind(AssertUnwindSafe(|| self.application.respond(job.route, &body, job.deadline)));
        drop(body);
        let response = responded.unwrap_or_else(|_| {
            self.metrics.panic();
            self.metrics.admission(job.route.label, Outcome::Error, job.since.elapsed());
            log::error!("an admission panicked; it is answered 500, which denies it where failurePolicy is Fail");
            HttpResponse::text(500, "an internal error prevented the decision; see Portreeve's log\n")
        });
        job.request.respond(response, None);
    }
}
