//! From the gateway to the application and back. The dispatcher routes each request into a [`Lane`]: *side* (probes, metrics,
//! refusals: one thread, so that they never wait behind a slow admission), *admissions* (`limits.workers`), and *policies*:
//! reviews of policies, which are rare and cost far more, have one worker of their own.
//!
//! It refuses unknown paths and methods, bodies that are not JSON by their `Content-Type`, and requests for which there is
//! no room in the queue. It never decides about an image.

mod job;
mod lane;
mod opener;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::job::{Job, Review, Task};
use self::lane::{Lane, LaneSettings};
use self::opener::Opener;
use self::worker::Worker;
use super::request::{Reply, Request};
use super::settings::Limits;
use super::{Application, HttpResponse, Route, Workers, timeout};
use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::metrics::{InProgress, Limit, Listener, Metrics, Outcome};

/// Routes requests, and owns the workers.
pub(super) struct Dispatcher {
    worker: Arc<Worker>,
    admission_time: Duration,
    side: Arc<Lane>,
    admissions: Arc<Lane>,
    policies: Arc<Lane>,
    opener: Arc<Opener>,
}

/// The reviews of policies that may wait for their worker.
const POLICY_QUEUE: usize = 16;

impl Dispatcher {
    /// Starts the first workers. The worker of policies starts with the first review of one.
    pub(super) fn start(
        limits: &Limits,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (draining, admissions) = (AtomicBool::new(false), OnceLock::new());
        let worker = Arc::new(Worker { application, metrics, draining, admissions });
        let opener = Arc::new(Opener::default());
        let lane = |settings| Lane::new(settings, Arc::clone(&worker), Arc::clone(&opener));
        // Each request of this lane has a connection, so its queue is bounded.
        let side =
            LaneSettings { name: "side-worker", workers: 1, max_waiting: 0, max_queue: usize::MAX, is_ready: true };
        let policies = LaneSettings { name: "policy-worker", max_queue: POLICY_QUEUE, is_ready: false, ..side };
        let admissions = LaneSettings {
            name: "worker",
            workers: limits.workers.max(1),
            max_waiting: limits.waiting(),
            max_queue: limits.queue,
            is_ready: true,
        };
        let (side, policies, admissions) = (lane(side), lane(policies), lane(admissions));
        side.open_loopback()?;
        admissions.open_loopback()?;
        opener.start(vec![Arc::clone(&side), Arc::clone(&policies), Arc::clone(&admissions)])?;
        let _first = worker.admissions.set(Arc::downgrade(&admissions));
        let lane = Arc::downgrade(&admissions);
        waiting.observe(move |event| {
            if let Some(lane) = lane.upgrade() {
                lane.on_wait(event);
            }
        });
        Ok(Self { worker, admission_time: limits.admission_time, side, admissions, policies, opener })
    }

    /// From now on the readiness response is 503.
    pub(super) fn start_draining(&self) {
        self.worker.draining.store(true, Ordering::SeqCst);
    }

    /// Lets the workers end.
    pub(super) fn stop(&self) {
        self.opener.stop();
        [&self.side, &self.admissions, &self.policies].into_iter().for_each(|lane| lane.close());
    }

    /// Gives up the requests that were lost on their way to a worker. Is called every few seconds.
    pub(super) fn give_up_lost(&self) {
        [&self.side, &self.admissions, &self.policies].into_iter().for_each(|lane| lane.give_up_lost());
    }

    /// Takes a request, and returns at once. The thread that has the response gives it to `reply`.
    pub(super) fn submit(&self, request: Request, reply: Box<dyn Reply>) {
        let task = match self.route(&request) {
            Destination::Side(task) => task,
            Destination::Worker(route) => return self.enqueue(request, reply, route),
        };
        self.answer_aside(Box::new(Job { request, reply, task }));
    }

    fn answer_aside(&self, job: Box<Job>) {
        // The queue of this lane is never full. At shutdown there is no response.
        drop(self.side.push(job));
    }

    fn route(&self, request: &Request) -> Destination {
        let path = request.target.split('?').next().unwrap_or_default();
        let task = match (request.listener, path) {
            (_, "/health/liveness") => read_only(request, Task::Liveness),
            (_, "/health/readiness") => read_only(request, Task::Readiness),
            (Listener::Plain, "/metrics") => read_only(request, Task::Exposition),
            (Listener::Plain, _) => {
                let text = "there is nothing here; try GET /metrics, GET /health/liveness or GET /health/readiness\n";
                Task::Respond(HttpResponse::text(404, text), None)
            }
            (Listener::Tls, _) => return self.route_post(request, path),
        };
        Destination::Side(task)
    }

    fn route_post(&self, request: &Request, path: &str) -> Destination {
        let routes = self.worker.application.routes();
        let (response, allow) = match routes.iter().find(|route| route.path == path) {
            None => {
                let posts: String = routes.iter().map(|route| format!("POST {}, ", route.path)).collect();
                let text = format!("there is nothing here; try {posts}GET /health/liveness or GET /health/readiness\n");
                (HttpResponse::text(404, text), None)
            }
            Some(_) if request.method != "POST" => {
                (HttpResponse::text(405, "send an AdmissionReview by POST\n"), Some("POST"))
            }
            Some(_) if request.content_type.as_deref().is_some_and(|content_type| !is_json(content_type)) => {
                (HttpResponse::text(415, "send the AdmissionReview with Content-Type: application/json\n"), None)
            }
            // kube-apiserver always names the type. Clients that try the endpoint by hand need not.
            Some(route) => return Destination::Worker(route),
        };
        Destination::Side(Task::Respond(response, allow))
    }

    /// Queues a request for the workers. If the queue is full, the request is refused.
    fn enqueue(&self, request: Request, reply: Box<dyn Reply>, route: &'static Route) {
        let timeout = timeout::requested(&request.target);
        let budget = timeout.map_or(self.admission_time, timeout::budget);
        let patience = timeout.unwrap_or(self.admission_time).min(timeout::LONGEST.max(self.admission_time));
        // Counted from the request's first byte: the client's own timeout runs since then.
        let since = request.first_byte;
        let deadline = Deadline::after(budget.saturating_sub(since.elapsed()));
        let metrics = &self.worker.metrics;
        let queued = (Instant::now(), metrics.in_progress(InProgress::Queued));
        let review = Review { route, deadline, patience, queued };
        let lane = match route.workers {
            Workers::Shared => &self.admissions,
            Workers::Single => &self.policies,
        };
        let job = Box::new(Job { request, reply, task: Task::Application(review) });
        let Err(mut refused) = lane.push(job) else { return };
        metrics.limit(Limit::Queue);
        metrics.admission(route.label, Outcome::Error, since.elapsed());
        let text = "too many admissions are waiting already; try again, or raise limits.workers or limits.queue\n";
        refused.request.body = Vec::new();
        refused.task = Task::Respond(HttpResponse::text(503, text), None);
        self.answer_aside(refused);
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
impl Dispatcher {
    /// Makes every attempt to open a loopback fail, or no longer.
    pub(super) fn fail_to_open(&self, fails: bool) {
        self.opener.fails.store(fails, Ordering::SeqCst);
    }

    /// The number of attempts to open a loopback.
    pub(super) fn attempts(&self) -> usize {
        self.opener.attempts.load(Ordering::SeqCst)
    }

    /// Closes all free streams, as a bug in tiny_http might.
    pub(super) fn lose_streams(&self) {
        [&self.side, &self.admissions, &self.policies].into_iter().for_each(|lane| lane.lose_streams());
    }
}

/// Where a request goes.
enum Destination {
    /// To the side lane.
    Side(Task),
    /// It waits for a worker of its route.
    Worker(&'static Route),
}

fn read_only(request: &Request, task: Task) -> Task {
    match request.method.as_str() {
        "GET" | "HEAD" => task,
        _ => Task::Respond(HttpResponse::text(405, "this path is only for GET and HEAD\n"), Some("GET, HEAD")),
    }
}

/// Whether a `Content-Type` is `application/json`, with any parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}
