//! From tiny_http to the handler: one thread takes requests in and answers probes and metrics itself, so that they
//! never wait behind a slow admission; admissions go to a fixed number of workers over a bounded queue, and reviews of
//! policies, which are rare and cost far more, to one of their own.
//!
//! It refuses what did not come through the gateway, unknown paths and methods, bodies that are not JSON by their own
//! account, and admissions that nobody is free to take. It never decides about an image.

mod pool;

use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::server::dispatcher::pool::Pool;
use tiny_http::{Header, Method, Request, Response, StatusCode};

use super::relay::loopback::{Link, Passport, Visit};
use super::settings::Limits;
use super::timeout;
use super::{Application, HttpResponse, Route, Workers};
use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::metrics::{self, Counted, InHand, Limit, Listener, Metrics, Outcome, Phase};

/// Routes requests, and owns the workers.
pub(crate) struct Dispatcher {
    application: Arc<dyn Application>,
    metrics: Arc<Metrics>,
    admission_time: Duration,
    admissions: Arc<Pool<Box<Job>>>,
    policies: Arc<Pool<Box<Job>>>,
    draining: AtomicBool,
}

/// Reviews of policies that may wait for their one worker.
const POLICY_QUEUE: usize = 16;

impl Dispatcher {
    /// Starts the workers.
    pub(crate) fn start(
        limits: &Limits,
        application: Arc<dyn Application>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let start = |name, workers, queue| {
            let worker = Worker { application: Arc::clone(&application), metrics: Arc::clone(&metrics) };
            // Not more of them can wait than there are connections to bring them.
            Pool::start(name, workers, limits.connections, queue, move |job| worker.run(job))
        };
        let admissions = start("worker", limits.workers, limits.queue)?;
        let policies = start("policy-worker", 1, POLICY_QUEUE)?;
        let pool = Arc::downgrade(&admissions);
        waiting.observe(move |event| {
            if let Some(pool) = pool.upgrade() {
                pool.moved(event);
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

    /// Readiness is false from here on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Lets the workers end once the queues are empty.
    pub(crate) fn stop(&self) {
        self.admissions.close();
        self.policies.close();
    }

    /// A bug was contained outside of the workers.
    pub(crate) fn count_panic(&self) {
        self.metrics.panic();
    }

    /// Takes one request in.
    pub(crate) fn receive(&self, link: &Link, request: Request) {
        let passport = match link.admit(&request) {
            None => {
                // Nobody else can have a stream (`link`). If somebody has, it gets no answer, nor any other request in: to
                // drop this one would be to wait for the rest of its body.
                log::error!("a request that did not come through the gateway was refused");
                return std::mem::forget(request);
            }
            Some(Visit::Hello) => return respond(request, HttpResponse::text(200, "hello\n")),
            Some(Visit::Request(passport)) => passport,
        };
        match self.destination(&request, passport) {
            Destination::Here(full) => respond(request, full),
            Destination::Worker(route) => self.hand_over(request, route, passport),
        }
    }

    fn destination(&self, request: &Request, passport: Passport) -> Destination {
        let path = request.url().split('?').next().unwrap_or_default();
        match (passport.listener, path) {
            (_, "/health/liveness") => {
                return Destination::Here(read_only(request, || HttpResponse::text(200, "alive\n")));
            }
            (_, "/health/readiness") => return Destination::Here(read_only(request, || self.readiness())),
            (Listener::Plain, "/metrics") => return Destination::Here(read_only(request, || self.exposition())),
            (Listener::Plain, _) => {
                let text = "there is nothing here; try GET /metrics, GET /health/liveness or GET /health/readiness\n";
                return Destination::Here(HttpResponse::text(404, text).into());
            }
            (Listener::Tls, _) => {}
        }
        let routes = self.application.routes();
        let Some(route) = routes.iter().find(|route| route.path == path) else {
            let posts: String = routes.iter().map(|route| format!("POST {}, ", route.path)).collect();
            let text = format!("there is nothing here; try {posts}GET /health/liveness or GET /health/readiness\n");
            return Destination::Here(HttpResponse::text(404, text).into());
        };
        if *request.method() != Method::Post {
            return Destination::Here(Full {
                answer: HttpResponse::text(405, "send an AdmissionReview by POST\n"),
                allow: Some("POST"),
            });
        }
        match content_type(request) {
            Some(other) if !is_json(other) => Destination::Here(
                HttpResponse::text(415, "send the AdmissionReview with Content-Type: application/json\n").into(),
            ),
            // kube-apiserver always names the type; who tries by hand need not.
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
            Err(why) => HttpResponse::text(503, format!("not ready: {why}\n")),
        }
    }

    fn exposition(&self) -> HttpResponse {
        self.metrics.workers(self.admissions.alive());
        HttpResponse { status: 200, content_type: metrics::CONTENT_TYPE, body: self.metrics.render().into_bytes() }
    }

    /// To the workers; or, if they have too much to do already, a refusal.
    fn hand_over(&self, request: Request, route: &'static Route, passport: Passport) {
        let asked = timeout::asked(request.url());
        let budget = asked.map_or(self.admission_time, timeout::budget);
        let patience = asked.unwrap_or(self.admission_time).min(timeout::LONGEST.max(self.admission_time));
        // Counted from the request's first byte: the client's own clock had begun by then.
        let since = passport.first_byte;
        let deadline = Deadline::after(budget.saturating_sub(since.elapsed()));
        let queued = (Instant::now(), self.metrics.in_hand(InHand::Queued));
        let job = Job { request, route, deadline, since, patience, queued };
        let pool = match route.workers {
            Workers::Shared => &self.admissions,
            Workers::Single => &self.policies,
        };
        let Err(refused) = pool.push(Box::new(job)) else { return };
        self.metrics.limit(Limit::Queue);
        self.metrics.admission(route.label, Outcome::Error, refused.since.elapsed());
        let text = "too many admissions are waiting already; try again, or raise limits.workers or limits.queue\n";
        respond(refused.request, HttpResponse::text(503, text));
    }
}

enum Destination {
    Here(Full),
    Worker(&'static Route),
}

/// An answer with the one extra header that there is.
struct Full {
    answer: HttpResponse,
    allow: Option<&'static str>,
}

impl From<HttpResponse> for Full {
    fn from(answer: HttpResponse) -> Self {
        Self { answer, allow: None }
    }
}

fn read_only(request: &Request, answer: impl FnOnce() -> HttpResponse) -> Full {
    match request.method() {
        Method::Get | Method::Head => answer().into(),
        _ => Full { answer: HttpResponse::text(405, "this path is only for GET and HEAD\n"), allow: Some("GET, HEAD") },
    }
}

fn content_type(request: &Request) -> Option<&str> {
    request.headers().iter().find(|header| header.field.equiv("Content-Type")).map(|header| header.value.as_str())
}

/// `application/json`, whatever its parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn respond(request: Request, full: impl Into<Full>) {
    let Full { answer, allow } = full.into();
    let length = answer.body.len();
    let headers = [("Content-Type", Some(answer.content_type)), ("Allow", allow)];
    let headers = headers.into_iter().filter_map(|(name, value)| Header::from_bytes(name, value?).ok()).collect();
    let response = Response::new(StatusCode(answer.status), headers, answer.body.as_slice(), Some(length), None)
        // Never chunked: the gateway reads by Content-Length.
        .with_chunked_threshold(usize::MAX);
    if let Err(error) = request.respond(response) {
        log::debug!("an answer could not be handed to the gateway: {error}");
    }
}

/// An admission that waits for a worker.
struct Job {
    request: Request,
    route: &'static Route,
    deadline: Deadline,
    since: Instant,
    /// How long the client waits, counted from `since`.
    patience: Duration,
    /// Since when it waits, and that it does.
    queued: (Instant, Counted),
}

struct Worker {
    application: Arc<dyn Application>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(&self, job: Box<Job>) {
        // The handler's bugs are contained below; one in reading or answering must not end the worker either.
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
            // Nobody waits for this one any more; those behind it may still have time.
            self.metrics.limit(Limit::QueueTime);
            self.metrics.admission(job.route.label, Outcome::Error, job.since.elapsed());
            let text = "no worker was free in time; try again, or raise limits.workers\n";
            return respond(job.request, HttpResponse::text(503, text));
        }
        let _deciding = self.metrics.in_hand(InHand::Deciding);
        let Some(body) = read_body(&mut job.request) else {
            log::debug!("the gateway gave up on an admission");
            return;
        };
        let decided = catch_unwind(AssertUnwindSafe(|| self.application.respond(job.route, &body, job.deadline)));
        drop(body);
        let answer = decided.unwrap_or_else(|_| {
            self.metrics.panic();
            self.metrics.admission(job.route.label, Outcome::Error, job.since.elapsed());
            log::error!("an admission panicked; it is answered 500, which denies it where failurePolicy is Fail");
            HttpResponse::text(500, "an internal error prevented the decision; see Portreeve's log\n")
        });
        respond(job.request, answer);
    }
}

/// The whole body, which the gateway has checked against the limit; `None` if it ends early.
fn read_body(request: &mut Request) -> Option<Vec<u8>> {
    let length = request.body_length().unwrap_or(0);
    let mut body = Vec::new();
    body.try_reserve_exact(length).ok()?;
    let read = request.as_reader().take(length as u64).read_to_end(&mut body);
    (read.ok()? == length).then_some(body)
}
