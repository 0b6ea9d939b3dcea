//! The evaluation of all images of a workload. The request's own thread evaluates one after the other. When an evaluation is
//! about to wait, another thread goes on with the images that are left. So an image that is known costs no thread, and no image
//! waits for the server of another one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope};

use jiff::Timestamp;

use super::evaluate::{Evaluation, Evaluator, Workload};
use super::workload::ImageUse;
use crate::base::context::Deadline;
use crate::base::side_by_side::Slot;
use crate::kube::pull_secrets::PullContext;
use crate::schemes::WaitNotice;
use portreeve_verify::ordered::Map;

/// Images of one workload that are verified at the same time.
const PARALLEL_IMAGES: usize = 8;
/// Further threads for images, of all workloads together. Many workloads can wait for a slow server at once, and each
/// keeps its threads until then.
const MAX_THREADS: usize = 64;
static THREADS_IN_USE: AtomicUsize = AtomicUsize::new(0);

/// The evaluation of each use of an image. Each different image is evaluated once.
#[expect(clippy::vec_box, reason = "the findings keep the boxes")]
pub(super) fn evaluate_all(
    evaluator: &Evaluator,
    context: &PullContext<'_>,
    images: &[ImageUse<'_>],
    deadline: Deadline,
    now: Timestamp,
) -> Vec<Box<Evaluation>> {
    let workload = Workload::new(context, deadline, now);
    // In boxes, because they are large and change hands several times.
    let evaluate = |image: &str, notice: WaitNotice<'_>| {
        let mut evaluation = Box::new(evaluator.evaluate_in_turn(&workload, image, notice));
        evaluation.shorten();
        evaluation
    };
    if let [image] = images {
        return vec![evaluate(image.image, WaitNotice::NONE)];
    }
    let mut numbers = Map::new();
    let (mut different, mut uses) = (Vec::new(), Vec::with_capacity(images.len()));
    for (place, ImageUse { image, .. }) in images.iter().enumerate() {
        let number = *numbers.get_or_insert(*image, different.len());
        match different.get_mut(number) {
            Some((_, last_use)) => *last_use = place,
            None => different.push((*image, place)),
        }
        uses.push(number);
    }
    let slots: Vec<Slot<Box<Evaluation>>> = different.iter().map(|_| Slot::new()).collect();
    in_turn(different.len(), &|number, notice| {
        if let Some(((image, _), slot)) = different.get(number).zip(slots.get(number)) {
            // Finding the rules of an image waits for nobody, and takes time as well.
            let is_late = deadline.remaining().is_none();
            slot.put(if is_late { Box::new(Evaluation::late()) } else { evaluate(image, notice) });
        }
    });
    // An image whose thread panicked has no evaluation, which denies it.
    let mut done: Vec<Option<Box<Evaluation>>> = slots.iter().map(Slot::take).collect();
    let of_use = |(place, number): (usize, usize)| {
        let (_, last_use) = different.get(number)?;
        let evaluation = done.get_mut(number)?;
        if *last_use == place { evaluation.take() } else { evaluation.clone() }
    };
    let evaluations = uses.into_iter().enumerate().map(of_use);
    evaluations.map(|evaluation| evaluation.unwrap_or_else(|| Box::new(Evaluation::lost()))).collect()
}

/// Runs jobs by their number, one after the other. When one gives notice that it waits, another thread goes on with the next.
fn in_turn(jobs: usize, run: &(dyn Fn(usize, WaitNotice<'_>) + Sync)) {
    let turn = Turn { jobs, run, next: AtomicUsize::new(0), threads: AtomicUsize::new(1) };
    thread::scope(|scope| turn.work(scope));
}

struct Turn<'a> {
    jobs: usize,
    run: &'a (dyn Fn(usize, WaitNotice<'_>) + Sync),
    /// The number of the next job.
    next: AtomicUsize,
    /// The threads that run jobs, with that of the request.
    threads: AtomicUsize,
}

impl Turn<'_> {
    fn work<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        let go_on = || self.go_on(scope);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.jobs {
                break;
            }
            (self.run)(number, WaitNotice::new(&go_on));
        }
    }

    /// Starts a thread for the jobs that are left. Without one they run on the threads that there are.
    fn go_on<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        if self.next.load(Ordering::Relaxed) >= self.jobs {
            return;
        }
        let (Some(one), Some(permit)) =
            (Permit::take(&self.threads, PARALLEL_IMAGES), Permit::take(&THREADS_IN_USE, MAX_THREADS))
        else {
            return;
        };
        let work = move || {
            let _permits = (one, permit);
            let _ = catch_unwind(AssertUnwindSafe(|| self.work(scope))); // the hook has logged it
        };
        if let Err(error) = thread::Builder::new().name("images".into()).spawn_scoped(scope, work) {
            log::warn!("no thread for verifying images side by side: {error}");
        }
    }
}

/// One of so many, until it is dropped.
struct Permit<'a>(&'a AtomicUsize);

impl<'a> Permit<'a> {
    fn take(used: &'a AtomicUsize, most: usize) -> Option<Self> {
        let free = |used: usize| (used < most).then_some(used + 1);
        used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok().map(|_| Self(used))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn jobs_that_do_not_wait_run_on_this_thread_in_their_order() {
        let ran = Mutex::new(Vec::new());
        in_turn(20, &|number, _| ran.lock().unwrap().push((number, thread::current().id())));
        let here = thread::current().id();
        assert_eq!(ran.into_inner().unwrap(), (0..20).map(|number| (number, here)).collect::<Vec<_>>());
    }

    #[test]
    fn jobs_that_wait_do_so_at_the_same_time() {
        let together = Barrier::new(PARALLEL_IMAGES);
        let ran = Mutex::new(Vec::new());
        // Nobody passes the barrier alone.
        in_turn(2 * PARALLEL_IMAGES, &|number, notice| {
            notice.give();
            notice.give(); // a second wait of the same job costs no job its place
            together.wait();
            ran.lock().unwrap().push(number);
        });
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        assert_eq!(ran, (0..2 * PARALLEL_IMAGES).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_on_another_thread_ends_only_its_own_job() {
        let here = thread::current().id();
        let elsewhere = Barrier::new(2);
        let ran = Mutex::new(Vec::new());
        in_turn(3, &|number, notice| {
            if number == 0 {
                notice.give();
                elsewhere.wait();
            } else if thread::current().id() != here {
                elsewhere.wait();
                panic!("the evaluation of job {number}");
            }
            ran.lock().unwrap().push(number);
        });
        assert_eq!(ran.into_inner().unwrap(), [0, 2]);
    }
}
