//! Stands between a source and the verifier: draws the memory that a file takes before it is asked for, looks at the
//! clock, and keeps what was verified, so that it can be stored without being in memory for ever. Judges nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory_budget;
use super::memory_budget::{Budget, NoMemory, Permit};
use crate::base::context::Deadline;
use crate::metrics::{Metrics, Phase};
use portreeve_verify::image::Sha256;
use portreeve_verify::tuf::source::SMALL_FILE;
use portreeve_verify::tuf::source::{FetchError, MetadataName, MetadataSource};
use portreeve_verify::unavailable::{Unavailable, UnavailableCause};

/// Where a server sends more than is free, it is asked once more with this cap, and then with the file's own: most of
/// those that are larger are not much larger.
const LARGER: usize = 128 << 10;

/// A source, and what it gave.
pub(crate) struct Recorder<'a> {
    source: Box<dyn MetadataSource + 'a>,
    keeps: bool,
    record: Record,
    memory: Memory<'a>,
    began: Instant,
    /// How long the source took, all in all.
    waited: Duration,
    gave: bool,
    metrics: Option<&'a Metrics>,
    working: Working<'a>,
}

/// Tells now and then that this process is at work on what a server sent: then it is not the server that is silent.
struct Working<'a> {
    tell: &'a dyn Fn(),
    told: Cell<Instant>,
}

/// How often that is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

impl Working<'_> {
    fn tell(&self) {
        if self.told.get().elapsed() >= TELL_EVERY {
            self.told.set(Instant::now());
            (self.tell)();
        }
    }
}

/// Verified targets roles by their hash. The other files stay in the verified repository itself.
pub(crate) type Record = BTreeMap<Sha256, Vec<u8>>;

/// What was drawn for one refresh.
struct Memory<'a> {
    budget: &'a Budget,
    /// Whose data it is.
    server: Arc<str>,
    deadline: Deadline,
    light: Option<Permit>,
    heavy: Option<Permit>,
    /// What stays of the large ones among the files so far.
    kept: u64,
}

impl<'a> Recorder<'a> {
    /// `keeps`: is there any use for the bytes? They are of `server`. Verifying ends with the deadline.
    pub(crate) fn new(
        source: Box<dyn MetadataSource + 'a>,
        keeps: bool,
        budget: &'a Budget,
        server: &str,
        deadline: Deadline,
    ) -> Self {
        let memory = Memory { budget, server: server.into(), deadline, light: None, heavy: None, kept: 0 };
        let (record, began, waited) = (Record::new(), Instant::now(), Duration::ZERO);
        let working = Working { tell: &|| {}, told: Cell::new(began) };
        Self { source, keeps, record, memory, began, waited, gave: false, metrics: None, working }
    }

    /// Counts how long the use of what the source gave took, which is the verifier's time.
    pub(crate) fn timed(mut self, metrics: &'a Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Lets somebody know that what a server sent is being worked on.
    pub(crate) fn telling(mut self, tell: &'a dyn Fn()) -> Self {
        self.working.tell = tell;
        self
    }

    /// What was kept since the last time.
    pub(crate) fn take_record(&mut self) -> Record {
        std::mem::take(&mut self.record)
    }

    /// Gives back what was drawn for an attempt that came to nothing. What is done next, such as reading stored data, draws
    /// for itself, and must not wait with this in hand.
    pub(crate) fn begin_anew(&mut self) {
        self.record.clear();
        (self.memory.light, self.memory.heavy, self.memory.kept) = (None, None, 0);
    }

    /// The memory that the record is in.
    pub(crate) fn take_memory(&mut self) -> Option<Permit> {
        let light = self.memory.light.take();
        self.memory.heavy.take().or(light)
    }

    fn fetch_within(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let role = match name {
            MetadataName::Root | MetadataName::RootVersion(_) => "root",
            MetadataName::Timestamp => "timestamp",
            MetadataName::Snapshot(_) => "snapshot",
            // Memory for all of them was drawn before the first.
            MetadataName::Targets(_) | MetadataName::Delegation(..) => return self.source.fetch(name, cap),
        };
        // Of these alone nobody has said how long they are.
        let is_listed = matches!(name, MetadataName::Snapshot(_));
        let caps = [SMALL_FILE, LARGER, cap].into_iter().filter(|step| *step <= cap && !(is_listed && *step < cap));
        let mut too_large = Err(FetchError::TooLarge { cap });
        for cap in caps {
            if cap > SMALL_FILE {
                self.memory.draw(memory_budget::cost_of_one(role, cap), self.working.tell)?;
            }
            match self.source.fetch(name, cap) {
                Err(FetchError::TooLarge { cap }) => too_large = Err(FetchError::TooLarge { cap }),
                Ok(bytes) => {
                    if bytes.len() > SMALL_FILE {
                        self.memory.kept += memory_budget::cost_of_kept(bytes.len());
                    }
                    return Ok(bytes);
                }
                failed => return failed,
            }
        }
        too_large
    }
}

impl MetadataSource for Recorder<'_> {
    fn fetch(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let began = Instant::now();
        let fetched = self.fetch_within(name, cap);
        self.waited += began.elapsed();
        let bytes = fetched?;
        self.gave = true;
        Ok(bytes)
    }

    fn reserve(&mut self, lengths: &[usize]) -> Result<(), Unavailable> {
        self.record.clear(); // what an attempt before this one has left is of no use to anybody
        if lengths.iter().sum::<usize>() <= SMALL_FILE {
            return Ok(());
        }
        let began = Instant::now();
        let kept = self.memory.kept;
        let most = self.memory.budget.most();
        // What is too large to be stored in passing is verified all the same.
        self.keeps &= kept + memory_budget::cost_of_lists(lengths, true) <= most;
        let drawn = self.memory.draw_last(kept + memory_budget::cost_of_lists(lengths, self.keeps), self.working.tell);
        self.waited += began.elapsed();
        drawn
    }

    fn give_back(&mut self, hash: Sha256, bytes: Vec<u8>) {
        if self.keeps {
            self.record.insert(hash, bytes);
        }
    }

    fn is_late(&self) -> bool {
        self.working.tell();
        self.memory.deadline.remaining().is_none()
    }
}

impl Memory<'_> {
    /// Draws what one file takes, beside those that were read before.
    fn draw(&mut self, bytes: u64, tell: &dyn Fn()) -> Result<(), Unavailable> {
        let wanted = self.kept + bytes;
        if self.has(wanted) {
            return Ok(());
        }
        if self.kept == 0 {
            self.light = None; // drawn for an answer that was larger still
        }
        if self.light.is_none() && self.heavy.is_none() && self.budget.is_light(wanted) {
            self.light = Some(self.drawn(self.budget.draw_light(&self.server, wanted, self.deadline, tell))?);
            return Ok(());
        }
        // Large at the beginning, and nobody knows what is to come: all that one may have.
        self.draw_last(wanted.max(self.budget.most()), tell)
    }

    /// Draws what is needed to the end of the refresh.
    fn draw_last(&mut self, wanted: u64, tell: &dyn Fn()) -> Result<(), Unavailable> {
        if self.has(wanted) {
            return Ok(());
        }
        // An earlier attempt's, of which nothing is left: nobody waits with a heavy draw in hand.
        self.heavy = None;
        if self.light.is_none() && self.budget.is_light(wanted) {
            self.light = Some(self.drawn(self.budget.draw_light(&self.server, wanted, self.deadline, tell))?);
        } else {
            self.heavy = Some(self.drawn(self.budget.draw_heavy(&self.server, wanted, self.deadline, tell))?);
            self.light = None;
        }
        Ok(())
    }

    fn has(&self, wanted: u64) -> bool {
        [&self.light, &self.heavy].into_iter().flatten().any(|permit| permit.bytes() >= wanted)
    }

    fn drawn(&self, drawn: Result<Permit, NoMemory>) -> Result<Permit, Unavailable> {
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        drawn.map_err(|why| match why {
            NoMemory::OutOfTime => {
                let message = format!(
                    "trust server {}: other repositories took all the memory for verifying (limits.verifyMemory) until \
                     the time was up; try again",
                    self.server
                );
                Unavailable::new(UnavailableCause::OutOfTime, message)
            }
            NoMemory::TooMuch { wanted, most } => {
                let message = format!(
                    "trust server {}: verifying this repository takes {} MiB of memory, and {} MiB may be taken: raise \
                     limits.verifyMemory, and the container's memory limit with it",
                    self.server,
                    mebibytes(wanted),
                    mebibytes(most)
                );
                Unavailable::new(UnavailableCause::Memory, message)
            }
        })
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics.filter(|_| self.gave) {
            metrics.phase(Phase::Verify, self.began.elapsed().saturating_sub(self.waited));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_verify::tuf::gun::RoleName;

    const MIB: usize = 1 << 20;

    /// A file of one length under every name, and how often it was asked for.
    struct File<'c>(usize, &'c Cell<usize>);

    impl MetadataSource for File<'_> {
        fn fetch(&mut self, _: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
            self.1.set(self.1.get() + 1);
            if self.0 > cap { Err(FetchError::TooLarge { cap }) } else { Ok(vec![0; self.0]) }
        }
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(30))
    }

    fn recorder<'a>(budget: &'a Budget, length: usize, asked: &'a Cell<usize>) -> Recorder<'a> {
        Recorder::new(Box::new(File(length, asked)), true, budget, "https://n", soon())
    }

    fn list() -> MetadataName {
        MetadataName::Delegation(RoleName::releases(), Sha256::of(b"x"))
    }

    #[test]
    fn what_is_small_is_asked_for_once_and_draws_nothing() {
        let (budget, asked) = (Budget::new(0, Arc::default()), Cell::new(0));
        let mut small = recorder(&budget, SMALL_FILE, &asked);
        for name in [MetadataName::Root, MetadataName::Timestamp, MetadataName::Snapshot(Sha256::of(b"x"))] {
            let cap = if matches!(name, MetadataName::Snapshot(_)) { SMALL_FILE } else { name.cap() };
            assert_eq!(small.fetch(&name, cap).map(|bytes| bytes.len()), Ok(SMALL_FILE));
        }
        assert_eq!((small.reserve(&[SMALL_FILE / 2, SMALL_FILE / 2]), asked.get()), (Ok(()), 3));
        assert!(small.fetch(&list(), SMALL_FILE).is_ok());
        // What is larger is not even asked for.
        let Unavailable { cause, message } = small.reserve(&[SMALL_FILE / 2, SMALL_FILE / 2 + 1]).unwrap_err();
        assert!(message.contains("raise limits.verifyMemory") && cause == UnavailableCause::Memory, "{message}");
        let refused = small.fetch(&MetadataName::Snapshot(Sha256::of(b"x")), SMALL_FILE + 1).unwrap_err().to_string();
        assert!(refused.contains("limits.verifyMemory") && asked.get() == 4, "{refused}");
    }

    #[test]
    fn a_large_root_is_asked_for_again_once_there_is_memory_for_it() {
        let (budget, asked) = (Budget::new(48 << 20, Arc::default()), Cell::new(0));
        let root = MetadataName::Root;
        for (length, expected) in [(SMALL_FILE + 1, 2), (LARGER, 2), (LARGER + 1, 3), (MIB, 3)] {
            asked.set(0);
            assert_eq!(recorder(&budget, length, &asked).fetch(&root, MIB).map(|bytes| bytes.len()), Ok(length));
            assert_eq!(asked.get(), expected, "{length}");
        }
        assert_eq!(recorder(&budget, MIB + 1, &asked).fetch(&root, MIB), Err(FetchError::TooLarge { cap: MIB }));
        // The second has to wait until the first has been dealt with.
        let mut first = recorder(&budget, MIB, &asked);
        assert!(first.fetch(&root, MIB).is_ok());
        let told = Cell::new(0);
        let tell = || told.set(told.get() + 1);
        let late = recorder(&budget, MIB, &asked).telling(&tell).fetch(&root, MIB).unwrap_err().to_string();
        assert!(late.contains("took all the memory for verifying (limits.verifyMemory)") && told.get() > 0, "{late}");
        drop(first);
        assert!(recorder(&budget, MIB, &asked).fetch(&root, MIB).is_ok());
    }

    #[test]
    fn a_large_repository_draws_for_all_of_its_lists_at_once() {
        let (budget, asked) = (Budget::new(48 << 20, Arc::default()), Cell::new(0));
        let hash = Sha256::of(b"x");
        let mut first = recorder(&budget, 7 * MIB, &asked);
        assert_eq!(first.reserve(&[7 * MIB]), Ok(()));
        let bytes = first.fetch(&list(), 7 * MIB).unwrap();
        first.give_back(hash, bytes);
        // One like it does not fit beside it: of one server, less than all is given.
        assert!(recorder(&budget, 0, &asked).reserve(&[7 * MIB, 7 * MIB]).is_err());
        assert!(recorder(&budget, 0, &asked).reserve(&[MIB / 2]).is_ok());
        // The memory goes with the bytes, until they are stored.
        let (record, memory) = (first.take_record(), first.take_memory());
        drop(first);
        assert!(record.contains_key(&hash) && memory.is_some());
        assert!(recorder(&budget, 0, &asked).reserve(&[7 * MIB, 7 * MIB]).is_err());
        drop(memory);
        assert!(recorder(&budget, 0, &asked).reserve(&[7 * MIB, 7 * MIB]).is_ok());
        // What came to nothing is given back before anything else is drawn for.
        let mut first = recorder(&budget, 7 * MIB, &asked);
        assert_eq!(first.reserve(&[7 * MIB, 7 * MIB]), Ok(()));
        first.begin_anew();
        assert!(recorder(&budget, 0, &asked).reserve(&[7 * MIB, 7 * MIB]).is_ok());
        // Too large to be kept, and not to be verified.
        let mut larger = recorder(&budget, MIB, &asked);
        assert_eq!(larger.reserve(&[9 * MIB, 9 * MIB]), Ok(()));
        let bytes = larger.fetch(&list(), 9 * MIB).unwrap();
        larger.give_back(hash, bytes);
        assert!(larger.take_record().is_empty());
        assert!(recorder(&budget, 0, &asked).reserve(&[16 * MIB, 16 * MIB, 16 * MIB]).is_err());
    }
}
