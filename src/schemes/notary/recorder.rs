//! Stands between a source and the verifier: draws the memory for a file before it asks for the file, checks the deadline, and
//! keeps the bytes of verified files until they are stored. Judges nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::context::Deadline;
use crate::metrics::{Metrics, Phase};
use crate::schemes::memory_budget;
use crate::schemes::memory_budget::{MemoryBudget, NoMemory, Part, Permit};
use portreeve_verify::image::Sha256;
use portreeve_verify::ordered::Map;
use portreeve_verify::tuf::{FetchError, MetadataName, MetadataSource, SMALL_FILE};
use portreeve_verify::{Unavailable, UnavailableCause};

/// A file larger than [`SMALL_FILE`] is asked for again with this cap, and then with the file's own: most large files are not
/// much larger.
const LARGER: usize = 128 << 10;

/// A source whose verified files are kept.
pub(crate) struct Recorder<'a> {
    source: Box<dyn MetadataSource + 'a>,
    keeps: bool,
    /// May all lists of targets be fetched before the first is verified? Memory was drawn for that.
    together: bool,
    record: Record,
    memory: Memory<'a>,
    began: Instant,
    /// How long the source took in all.
    waited: Duration,
    gave: bool,
    metrics: Option<&'a Metrics>,
    working: Working<'a>,
}

/// Reports now and then that this process works on what a server sent: meanwhile the server is not silent.
struct Working<'a> {
    tell: &'a dyn Fn(),
    told: Cell<Instant>,
}

/// How often it reports.
const TELL_EVERY: Duration = Duration::from_millis(500);

impl Working<'_> {
    fn tell(&self) {
        if self.told.get().elapsed() >= TELL_EVERY {
            self.told.set(Instant::now());
            (self.tell)();
        }
    }
}

/// Verified lists of targets by their hash. The other files stay in the verified repository itself.
pub(crate) type Record = Map<Sha256, Vec<u8>>;

/// The memory that was drawn for one refresh.
struct Memory<'a> {
    budget: &'a MemoryBudget,
    server: Arc<str>,
    deadline: Deadline,
    light: Option<Permit>,
    heavy: Option<Permit>,
    /// The memory that the large files so far keep.
    kept: u64,
}

impl<'a> Recorder<'a> {
    /// `keeps`: are the bytes to be stored? `server` is where they come from. Verifying ends with the deadline.
    pub(crate) fn new(
        source: Box<dyn MetadataSource + 'a>,
        keeps: bool,
        budget: &'a MemoryBudget,
        server: &str,
        deadline: Deadline,
    ) -> Self {
        let memory = Memory { budget, server: server.into(), deadline, light: None, heavy: None, kept: 0 };
        let (record, began, waited) = (Record::new(), Instant::now(), Duration::ZERO);
        let working = Working { tell: &|| {}, told: Cell::new(began) };
        Self { source, keeps, together: true, record, memory, began, waited, gave: false, metrics: None, working }
    }

    /// Counts the time that the verifier takes.
    pub(crate) fn timed(mut self, metrics: &'a Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Calls `tell` now and then while the files are verified, or memory is waited for.
    pub(crate) fn telling(mut self, tell: &'a dyn Fn()) -> Self {
        self.working.tell = tell;
        self
    }

    /// The bytes that were kept since the last call.
    pub(crate) fn take_record(&mut self) -> Record {
        std::mem::take(&mut self.record)
    }

    /// Gives back the memory of an attempt that failed. The next step, such as reading stored data, draws for itself, and must
    /// not wait with this draw.
    pub(crate) fn discard(&mut self) {
        self.record.clear();
        self.source.prefetch(&[], 0);
        (self.memory.light, self.memory.heavy, self.memory.kept) = (None, None, 0);
    }

    /// The memory in which the kept bytes are.
    pub(crate) fn take_memory(&mut self) -> Option<Permit> {
        let light = self.memory.light.take();
        self.memory.heavy.take().or(light)
    }

    fn fetch_within(&mut self, name: &MetadataName, cap: usize) -> Result<Vec<u8>, FetchError> {
        let role = match name {
            MetadataName::Root | MetadataName::RootVersion(_) => "root",
            MetadataName::Timestamp => "timestamp",
            MetadataName::Snapshot(_) => "snapshot",
            // Memory for all lists was drawn before the first.
            MetadataName::Targets(_) | MetadataName::Delegation(..) => return self.source.fetch(name, cap),
        };
        // The length of root and timestamp is not known beforehand.
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
        // Drop what a failed attempt has left.
        self.record.clear();
        self.source.prefetch(&[], 0);
        self.together = true;
        if lengths.iter().sum::<usize>() <= SMALL_FILE {
            return Ok(());
        }
        let began = Instant::now();
        let kept = self.memory.kept;
        let most = self.memory.budget.most();
        // A repository that is too large for all bytes at once is still verified: its lists are fetched one after the other, and
        // not stored.
        self.together = kept + memory_budget::cost_of_lists(lengths, true) <= most;
        self.keeps &= self.together;
        let drawn =
            self.memory.draw_last(kept + memory_budget::cost_of_lists(lengths, self.together), self.working.tell);
        self.waited += began.elapsed();
        drawn
    }

    fn prefetch(&mut self, files: &[(MetadataName, usize)], later: usize) {
        // The smallest cap that the file is asked for with. Nothing has been drawn for a larger root yet.
        let cap = |name: &MetadataName, cap: usize| match name {
            MetadataName::Targets(_) | MetadataName::Delegation(..) => cap,
            _ => cap.min(SMALL_FILE),
        };
        let files: Vec<_> = files.iter().map(|(name, most)| (name.clone(), cap(name, *most))).collect();
        let began = Instant::now();
        self.source.prefetch(if self.together { &files } else { &[] }, later);
        self.waited += began.elapsed();
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
    /// Draws the memory of one file, beside those that were read before.
    fn draw(&mut self, bytes: u64, tell: &dyn Fn()) -> Result<(), Unavailable> {
        let wanted = self.kept + bytes;
        if self.has(wanted) {
            return Ok(());
        }
        if self.kept == 0 {
            self.light = None; // it was drawn for a smaller cap
        }
        if self.light.is_none() && self.heavy.is_none() && self.budget.is_light(wanted) {
            self.light = Some(self.draw_from(Part::Light, wanted, tell)?);
            return Ok(());
        }
        // A large file at the beginning: the size of the rest is unknown, so all that one refresh may have is drawn.
        self.draw_last(wanted.max(self.budget.most()), tell)
    }

    /// Draws the memory for the rest of the refresh.
    fn draw_last(&mut self, wanted: u64, tell: &dyn Fn()) -> Result<(), Unavailable> {
        if self.has(wanted) {
            return Ok(());
        }
        // The draw of an earlier attempt: a refresh must not wait with a heavy draw.
        self.heavy = None;
        if self.light.is_none() && self.budget.is_light(wanted) {
            self.light = Some(self.draw_from(Part::Light, wanted, tell)?);
        } else {
            self.heavy = Some(self.draw_from(Part::Heavy, wanted, tell)?);
            self.light = None;
        }
        Ok(())
    }

    fn has(&self, wanted: u64) -> bool {
        [&self.light, &self.heavy].into_iter().flatten().any(|permit| permit.bytes() >= wanted)
    }

    fn draw_from(&self, part: Part, wanted: u64, tell: &dyn Fn()) -> Result<Permit, Unavailable> {
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        self.budget.draw(part, &self.server, wanted, self.deadline, tell).map_err(|why| match why {
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
    use std::cell::RefCell;

    use super::*;
    use portreeve_verify::tuf::RoleName;

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

    fn recorder<'a>(budget: &'a MemoryBudget, length: usize, asked: &'a Cell<usize>) -> Recorder<'a> {
        Recorder::new(Box::new(File(length, asked)), true, budget, "https://n", soon())
    }

    fn list() -> MetadataName {
        MetadataName::Delegation(RoleName::releases(), Sha256::of(b"x"))
    }

    #[test]
    fn what_is_small_is_asked_for_once_and_draws_nothing() {
        let (budget, asked) = (MemoryBudget::new(0, Arc::default()), Cell::new(0));
        let mut small = recorder(&budget, SMALL_FILE, &asked);
        for name in [MetadataName::Root, MetadataName::Timestamp, MetadataName::Snapshot(Sha256::of(b"x"))] {
            let cap = if matches!(name, MetadataName::Snapshot(_)) { SMALL_FILE } else { name.cap() };
            assert_eq!(small.fetch(&name, cap).map(|bytes| bytes.len()), Ok(SMALL_FILE));
        }
        assert_eq!((small.reserve(&[SMALL_FILE / 2, SMALL_FILE / 2]), asked.get()), (Ok(()), 3));
        assert!(small.fetch(&list(), SMALL_FILE).is_ok());
        // A larger file is not requested.
        let Unavailable { cause, message } = small.reserve(&[SMALL_FILE / 2, SMALL_FILE / 2 + 1]).unwrap_err();
        assert!(message.contains("raise limits.verifyMemory") && cause == UnavailableCause::Memory, "{message}");
        let refused = small.fetch(&MetadataName::Snapshot(Sha256::of(b"x")), SMALL_FILE + 1).unwrap_err().to_string();
        assert!(refused.contains("limits.verifyMemory") && asked.get() == 4, "{refused}");
    }

    #[test]
    fn a_large_root_is_asked_for_again_once_there_is_memory_for_it() {
        let (budget, asked) = (MemoryBudget::new(48 << 20, Arc::default()), Cell::new(0));
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
        let (budget, asked) = (MemoryBudget::new(48 << 20, Arc::default()), Cell::new(0));
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
        first.discard();
        assert!(recorder(&budget, 0, &asked).reserve(&[7 * MIB, 7 * MIB]).is_ok());
        // Too large to be kept, and not to be verified.
        let mut larger = recorder(&budget, MIB, &asked);
        assert_eq!(larger.reserve(&[9 * MIB, 9 * MIB]), Ok(()));
        let bytes = larger.fetch(&list(), 9 * MIB).unwrap();
        larger.give_back(hash, bytes);
        assert!(larger.take_record().is_empty());
        assert!(recorder(&budget, 0, &asked).reserve(&[16 * MIB, 16 * MIB, 16 * MIB]).is_err());
    }

    /// The caps of each group of files that is asked for at the same time.
    struct Groups<'c>(&'c RefCell<Vec<Vec<usize>>>);

    impl MetadataSource for Groups<'_> {
        fn fetch(&mut self, _: &MetadataName, _: usize) -> Result<Vec<u8>, FetchError> {
            Err(FetchError::NotFound)
        }

        fn prefetch(&mut self, files: &[(MetadataName, usize)], _: usize) {
            if !files.is_empty() {
                self.0.borrow_mut().push(files.iter().map(|(_, cap)| *cap).collect());
            }
        }
    }

    #[test]
    fn files_are_fetched_together_where_there_is_memory_for_all() {
        let (budget, groups) = (MemoryBudget::new(48 << 20, Arc::default()), RefCell::default());
        for keeps in [true, false] {
            let mut recorder = Recorder::new(Box::new(Groups(&groups)), keeps, &budget, "https://n", soon());
            // No memory is drawn for these two, so that they may have no more than small files have.
            recorder.prefetch(&[(MetadataName::Root, MIB), (MetadataName::Timestamp, 64 << 10)], 3);
            for (lengths, is_together) in [([100, 200], true), ([7 * MIB, 7 * MIB], true), ([9 * MIB, 9 * MIB], false)]
            {
                assert_eq!(recorder.reserve(&lengths), Ok(()));
                let files = lengths.map(|length| (list(), length));
                recorder.prefetch(&files, 0);
                let found = groups.borrow().contains(&lengths.to_vec());
                assert_eq!(found, is_together, "{lengths:?}");
            }
            assert_eq!(groups.take().first(), Some(&vec![SMALL_FILE, SMALL_FILE]));
        }
    }
}
