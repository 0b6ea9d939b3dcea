//! How the workers of all lanes answer a request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::job::{Review, Task};
use super::lane::Lane;
use crate::metrics::{self, InProgress, Limit, Metrics, Outcome, Phase};
use crate::server::request::Request;
use crate::server::{Application, HttpResponse};

/// What the workers share.
pub(super) struct Worker {
    pub(super) application: Arc<dyn Application>,
    pub(super) metrics: Arc<Metrics>,
    /// The server is about to stop, and is not ready any more.
    pub(super) draining: AtomicBool,
    /// The lane whose workers the metrics count.
    pub(super) admissions: OnceLock<Weak<Lane>>,
}

impl Worker {
    /// The response to a request, with the value of the header `Allow`.
    pub(super) fn answer(&self, request: &mut Request, task: Task) -> (HttpResponse, Option<&'static str>) {
        let response = match task {
            Task::Application(review) => self.review(request, review),
            Task::Respond(response, allow) => return (response, allow),
            Task::Liveness => HttpResponse::text(200, "alive\n"),
            Task::Readiness => self.readiness(),
            Task::Exposition => self.exposition(),
        };
        (response, None)
    }

    fn review(&self, request: &mut Request, review: Review) -> HttpResponse {
        let Review { route, deadline, patience, queued: (queued, waiting) } = review;
        drop(waiting);
        self.metrics.phase(Phase::Queue, queued.elapsed());
        let since = request.first_byte;
        if since.elapsed() > patience {
            // The client has given up. The requests behind this one may still have time.
            self.metrics.limit(Limit::QueueTime);
            self.metrics.admission(route.label, Outcome::Error, since.elapsed());
            return HttpResponse::text(503, "no worker was free in time; try again, or raise limits.workers\n");
        }
        let _deciding = self.metrics.in_progress(InProgress::Deciding);
        let body = std::mem::take(&mut request.body);
        let responded = catch_unwind(AssertUnwindSafe(|| self.application.respond(route, &body, deadline)));
        responded.unwrap_or_else(|_| {
            self.metrics.panic();
            self.metrics.admission(route.label, Outcome::Error, since.elapsed());
            log::error!("an admission panicked; it is answered 500, which denies it where failurePolicy is Fail");
            HttpResponse::text(500, "an internal error prevented the decision; see Portreeve's log\n")
        })
    }

    fn readiness(&self) -> HttpResponse {
        let ready = if self.draining.load(Ordering::SeqCst) {
            Err("shutting down".to_owned())
        } else if self.alive() == 0 {
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
        self.metrics.workers(self.alive());
        HttpResponse { status: 200, content_type: metrics::CONTENT_TYPE, body: self.metrics.render().into_bytes() }
    }

    fn alive(&self) -> usize {
        self.admissions.get().and_then(Weak::upgrade).map_or(0, |lane| lane.alive())
    }
}
