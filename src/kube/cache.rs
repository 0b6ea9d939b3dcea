//! Objects of the cluster, cached for seconds. Many pods that start together need the same few Secrets, and a Secret that
//! changes must take effect soon. Requests for the same object at the same time share one GET. The cache is bounded in
//! objects and in bytes. Its key contains the namespace, so that no namespace is ever given the object of another one.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ObjectError;
use super::object_name::{Kind, check_names};
use crate::base::context::Deadline;
use crate::base::single_flight::{Entry, Join, Outcome, SingleFlight};
use portreeve_verify::{Unavailable, UnavailableCause};

/// How long an object is used.
pub(crate) const KEEP: Duration = Duration::from_secs(15);
/// How long an error is used: long enough for many requests at once, short enough for an operator who has just removed
/// the cause.
pub(crate) const KEEP_FAILURE: Duration = Duration::from_secs(3);
/// The longest that one GET may take.
const GET_TIME: Duration = Duration::from_secs(3);
/// Most objects in a cache, and most bytes.
const MAX_OBJECTS: usize = 1_000;
const MAX_BYTES: u64 = 4 << 20;

/// Objects of one kind. Shared by all workers.
pub(crate) struct Cache<T> {
    objects: Objects,
    heap_size: fn(&T) -> u64,
}

/// Objects of any one kind: one instance of this code for all of them.
struct Objects {
    by_name: SingleFlight<Key, Arc<Cached>, (), ()>,
    keep: Duration,
    keep_failure: Duration,
}

/// An object of a cache's kind.
type Object = Arc<dyn Any + Send + Sync>;

/// Namespace and name.
type Key = (String, String);

/// Gets an object, and says what it takes in memory.
type Get<'a> = &'a dyn Fn(Deadline) -> Result<(Object, u64), ObjectError>;

/// The result of one GET.
struct Cached {
    found: Result<Object, ObjectError>,
    /// When the GET began.
    asked: Instant,
    heap_size: u64,
}

impl<T: Send + Sync + 'static> Cache<T> {
    pub(crate) fn new(keep: Duration, keep_failure: Duration, heap_size: fn(&T) -> u64) -> Self {
        let by_name = SingleFlight::new(MAX_OBJECTS, MAX_BYTES, |cached: &Arc<Cached>| cached.heap_size);
        Self { objects: Objects { by_name, keep, keep_failure }, heap_size }
    }

    /// The object of this namespace and name: from the cache while it is fresh, else what `get` returns. Names that are
    /// not valid are never cached: a tenant writes them, at any length.
    pub(crate) fn get_cached(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        deadline: Deadline,
        get: &dyn Fn(Deadline) -> Result<T, ObjectError>,
    ) -> Result<Arc<T>, ObjectError> {
        check_names(kind, namespace, name)?;
        self.get(namespace, name, deadline, get)
    }

    /// As [`Self::get_cached`], for a name that was checked.
    pub(crate) fn get(
        &self,
        namespace: &str,
        name: &str,
        deadline: Deadline,
        get: &dyn Fn(Deadline) -> Result<T, ObjectError>,
    ) -> Result<Arc<T>, ObjectError> {
        let found = self.objects.get(namespace, name, deadline, &|deadline| {
            let object = get(deadline)?;
            let heap_size = (self.heap_size)(&object);
            let object: Object = Arc::new(object);
            Ok((object, heap_size))
        })?;
        // A cache has objects of its own kind alone.
        found.downcast().map_err(|_| unavailable("could not be read: it is of another kind"))
    }
}

fn unavailable(message: &str) -> ObjectError {
    ObjectError::Unavailable(Unavailable::new(UnavailableCause::OutOfTime, message))
}

impl Objects {
    fn get(&self, namespace: &str, name: &str, deadline: Deadline, get: Get<'_>) -> Result<Object, ObjectError> {
        let key = (namespace.to_owned(), name.to_owned());
        let entry = self.by_name.entry(&key);
        let cached = self.fetch(&entry, deadline, get);
        self.by_name.release(&key, entry);
        let no_time = || unavailable("could not be read: there was no time to ask the Kubernetes API server");
        cached.ok_or_else(no_time)?.found.clone()
    }

    /// `None` where the deadline passed first.
    fn fetch(&self, entry: &Entry<Arc<Cached>, (), ()>, deadline: Deadline, get: Get<'_>) -> Option<Arc<Cached>> {
        loop {
            if let Some(cached) = entry.value().filter(|cached| self.is_fresh(cached)) {
                return Some(cached);
            }
            deadline.remaining()?;
            match entry.join(|| ()) {
                Join::Lead(leader) => {
                    // Another request may have fetched the object since the cache was read.
                    if let Some(cached) = entry.value().filter(|cached| self.is_fresh(cached)) {
                        return Some(cached);
                    }
                    let asked = Instant::now();
                    let found = get(deadline.at_most(GET_TIME));
                    // That this request ran out of time says nothing about the object.
                    let is_ours = deadline.remaining().is_none() && found.as_ref().is_err_and(ObjectError::is_timeout);
                    let heap_size = 512 + found.as_ref().map_or(0, |(_, heap_size)| *heap_size);
                    let cached = Arc::new(Cached { found: found.map(|(object, _)| object), asked, heap_size });
                    leader.finish(&if is_ours { Err(()) } else { Ok(Arc::clone(&cached)) });
                    return Some(cached);
                }
                Join::Follow(call) => {
                    if let Outcome::Fetched(cached) = call.wait(deadline)? {
                        return Some(cached);
                    }
                }
            }
        }
    }

    fn is_fresh(&self, cached: &Cached) -> bool {
        cached.asked.elapsed() < if cached.found.is_ok() { self.keep } else { self.keep_failure }
    }
}

/// The heap size of a text, with its allocation and its place in a list.
pub(crate) fn text_size(text: &str) -> u64 {
    64 + text.len() as u64
}
