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
use super::timeout;
use super::{Answer, Endpoint, Handler};
use crate::base::context::Deadline;
use crate::base::waiting::Waiting;
use crate::config::Limits;
use crate::metrics::{self, Counted, InHand, Limit, Listener, Metrics, Outcome, Phase};

/// Routes requests, and owns the workers.
pub(crate) struct Dispatcher {
    handler: Arc<dyn Handler>,
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
        handler: Arc<dyn Handler>,
        waiting: &Waiting,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let start = |name, workers, queue| {
            let worker = Worker { handler: Arc::clone(&handler), metrics: Arc::clone(&metrics) };
            // Not more of them can wait than there are connections to bring them.
            Pool::start(name, workers, limits.connections, queue, move |job| worker.run(job))
        };
        let admissions = start("worker", limits.workers, limits.queue)?;
        let policies = start("policy-worker", 1, POLICY_QUEUE)?;
        let pool = Arc::downgrade(&admissions);
        waiting.watched_by(move |moved| {
            if let Some(pool) = pool.upgrade() {
                pool.moved(moved);
            }
        });
        Ok(Self {
            handler,
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
            Some(Visit::Hello) => return respond(request, Answer::text(200, "hello\n")),
            Some(Visit::Request(passport)) => passport,
        };
        match self.route(&request, passport) {
            Route::Here(full) => respond(request, full),
            Route::Admission(endpoint) => self.hand_over(request, endpoint, passport),
        }
    }

    fn route(&self, request: &Request, passport: Passport) -> Route {
        let path = request.url().split('?').next().unwrap_or_default();
        let endpoint = match (passport.listener, path) {
            (Listener::Tls, "/admit") => Endpoint::Admit,
            (Listener::Tls, "/validate") => Endpoint::Validate,
            (Listener::Tls, "/validate-policy") => Endpoint::ValidatePolicy,
            (_, "/health/liveness") => return Route::Here(read_only(request, || Answer::text(200, "alive\n"))),
            (_, "/health/readiness") => return Route::Here(read_only(request, || self.readiness())),
            (Listener::Plain, "/metrics") => return Route::Here(read_only(request, || self.exposition())),
            (Listener::Tls, _) => {
                let text = "there is nothing here; try POST /admit, POST /validate, POST /validate-policy, GET \
                            /health/liveness or GET /health/readiness\n";
                return Route::Here(Answer::text(404, text).into());
            }
            (Listener::Plain, _) => {
                let text = "there is nothing here; try GET /metrics, GET /health/liveness or GET /health/readiness\n";
                return Route::Here(Answer::text(404, text).into());
            }
        };
        if *request.method() != Method::Post {
            return Route::Here(Full {
                answer: Answer::text(405, "send an AdmissionReview by POST\n"),
                allow: Some("POST"),
            });
        }
        match content_type(request) {
            Some(other) if !is_json(other) => {
                Route::Here(Answer::text(415, "send the AdmissionReview with Content-Type: application/json\n").into())
            }
            // kube-apiserver always names the type; who tries by hand need not.
            _ => Route::Admission(endpoint),
        }
    }

    fn readiness(&self) -> Answer {
        let ready = if self.draining.load(Ordering::SeqCst) {
            Err("shutting down".to_owned())
        } else if self.admissions.alive() == 0 {
            Err("no worker is alive".to_owned())
        } else {
            catch_unwind(AssertUnwindSafe(|| self.handler.ready())).unwrap_or_else(|_| {
                self.metrics.panic();
                Err("the readiness check panicked; see the log".to_owned())
            })
        };
        match ready {
            Ok(()) => Answer::text(200, "ready\n"),
            Err(why) => Answer::text(503, format!("not ready: {why}\n")),
        }
    }

    fn exposition(&self) -> Answer {
        self.metrics.workers(self.admissions.alive());
        Answer { status: 200, content_type: metrics::CONTENT_TYPE, body: self.metrics.render().into_bytes() }
    }

    /// To the workers; or, if they have too much to do already, a refusal.
    fn hand_over(&self, request: Request, endpoint: Endpoint, passport: Passport) {
        let asked = timeout::asked(request.url());
        let budget = asked.map_or(self.admission_time, timeout::budget);
        let patience = asked.unwrap_or(self.admission_time).min(timeout::LONGEST.max(self.admission_time));
        // Counted from the request's first byte: the client's own clock had begun by then.
        let since = passport.first_byte;
        let deadline = Deadline::after(budget.saturating_sub(since.elapsed()));
        let queued = (Instant::now(), self.metrics.in_hand(InHand::Queued));
        let job = Job { request, endpoint, deadline, since, patience, queued };
        let pool = match endpoint {
            Endpoint::Admit | Endpoint::Validate => &self.admissions,
            Endpoint::ValidatePolicy => &self.policies,
        };
        let Err(refused) = pool.push(Box::new(job)) else { return };
        self.metrics.limit(Limit::Queue);
        self.metrics.admission(endpoint, Outcome::Error, refused.since.elapsed());
        let text = "too many admissions are waiting already; try again, or raise limits.workers or limits.queue\n";
        respond(refused.request, Answer::text(503, text));
    }
}

enum Route {
    Here(Full),
    Admission(Endpoint),
}

/// An answer with the one extra header that there is.
struct Full {
    answer: Answer,
    allow: Option<&'static str>,
}

impl From<Answer> for Full {
    fn from(answer: Answer) -> Self {
        Self { answer, allow: None }
    }
}

fn read_only(request: &Request, answer: impl FnOnce() -> Answer) -> Full {
    match request.method() {
        Method::Get | Method::Head => answer().into(),
        _ => Full { answer: Answer::text(405, "this path is only for GET and HEAD\n"), allow: Some("GET, HEAD") },
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
    endpoint: Endpoint,
    deadline: Deadline,
    since: Instant,
    /// How long the client waits, counted from `since`.
    patience: Duration,
    /// Since when it waits, and that it does.
    queued: (Instant, Counted),
}

struct Worker {
    handler: Arc<dyn Handler>,
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
            self.metrics.admission(job.endpoint, Outcome::Error, job.since.elapsed());
            let text = "no worker was free in time; try again, or raise limits.workers\n";
            return respond(job.request, Answer::text(503, text));
        }
        let _deciding = self.metrics.in_hand(InHand::Deciding);
        let Some(body) = read_body(&mut job.request) else {
            log::debug!("the gateway gave up on an admission");
            return;
        };
        let decided = catch_unwind(AssertUnwindSafe(|| self.handler.admit(job.endpoint, &body, job.deadline)));
        drop(body);
        let answer = decided.unwrap_or_else(|_| {
            self.metrics.panic();
            self.metrics.admission(job.endpoint, Outcome::Error, job.since.elapsed());
            log::error!("an admission panicked; it is answered 500, which denies it where failurePolicy is Fail");
            Answer::text(500, "an internal error prevented the decision; see Portreeve's log\n")
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
