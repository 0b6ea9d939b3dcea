//! The memory in which the manifests and signatures of one image are read: an account for all threads that collect them.
//!
//! Most images have a few kilobytes of signatures, which draw nothing from the budget. What is larger is drawn before it is
//! fetched. An account draws at most twice, first from the light and then from the heavy part of the budget, so no two accounts
//! wait for each other. A registry with many large candidates therefore costs no more than `limits.verifyMemory`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::context::Deadline;
use crate::registry::oci::repository::FetchError;
use crate::schemes::memory_budget::{MemoryBudget, NoMemory, Part, Permit};
use portreeve_verify::{Unavailable, UnavailableCause};

/// What an account may have without a draw.
const FREE: u64 = 384 << 10;
/// The caps with which something of unknown size is asked for, before the largest.
const CAPS: [usize; 2] = [SMALL, 256 << 10];
/// What is no larger takes little, also when it has been read. Beside the reading of one such document there is room for the bytes
/// of another.
pub(super) const SMALL: usize = 32 << 10;

/// The account of one image.
pub(super) struct Account {
    budget: Arc<MemoryBudget>,
    /// The registry, which shares its part of the budget among its images.
    server: Arc<str>,
    state: Mutex<State>,
    drawn: Condvar,
}

#[derive(Default)]
struct State {
    /// What is in use, in bytes.
    used: u64,
    light: Option<Permit>,
    heavy: Option<Permit>,
    /// Does a thread wait for a draw?
    is_drawing: bool,
}

impl State {
    /// What may be in use.
    fn most(&self) -> u64 {
        [&self.light, &self.heavy].into_iter().flatten().map(Permit::bytes).max().unwrap_or(FREE)
    }
}

/// Until when memory is waited for, and what is called now and then meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub(super) deadline: Deadline,
    pub(super) tell: &'a (dyn Fn() + Sync),
}

impl Account {
    pub(super) fn new(budget: &Arc<MemoryBudget>, server: &str) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            server: server.into(),
            state: Mutex::default(),
            drawn: Condvar::new(),
        })
    }

    /// Was anything drawn from the budget? Then what is in this memory must not be held for longer than necessary.
    pub(super) fn has_drawn(&self) -> bool {
        let state = self.lock();
        state.light.is_some() || state.heavy.is_some()
    }

    /// Takes memory, and draws it if there is too little. One thread of an image draws, and the others wait for it.
    pub(super) fn take(&self, bytes: u64, patience: Patience<'_>) -> Result<Taken<'_>, Unavailable> {
        let mut state = self.lock();
        loop {
            let wanted = state.used.saturating_add(bytes);
            if wanted <= state.most() {
                state.used = wanted;
                return Ok(Taken { account: self, bytes });
            }
            if state.is_drawing {
                let left = patience.deadline.remaining().ok_or_else(|| self.none(NoMemory::OutOfTime))?;
                state = self.drawn.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let has = [&state.light, &state.heavy].map(Option::is_some);
            state.is_drawing = true;
            drop(state);
            let drawn = self.draw(wanted, has, patience);
            state = self.lock();
            state.is_drawing = false;
            self.drawn.notify_all();
            match drawn.map_err(|why| self.none(why))? {
                (Part::Light, permit) => state.light = Some(permit),
                (Part::Heavy, permit) => (state.light, state.heavy) = (None, Some(permit)),
            }
        }
    }

    /// Reads something of unknown size, with growing caps. The memory that comes with it is for as long as it is there.
    pub(super) fn read<T>(
        &self,
        largest: usize,
        patience: Patience<'_>,
        read: impl Fn(usize) -> Result<T, FetchError>,
    ) -> Result<(T, Taken<'_>), FetchError> {
        for cap in CAPS.into_iter().filter(|cap| *cap < largest).chain([largest]) {
            let mut taken = self.take(reading(cap), patience).map_err(FetchError::Unavailable)?;
            match read(cap) {
                Ok(read) => {
                    taken.shrink(if cap <= SMALL { as_u64(cap) } else { made(cap) });
                    return Ok((read, taken));
                }
                Err(FetchError::TooLarge { .. }) if cap < largest => {}
                Err(FetchError::TooLarge { message }) => {
                    return Err(FetchError::Rejected { code: "bad-manifest", message });
                }
                Err(error) => return Err(error),
            }
        }
        Err(FetchError::Unavailable(Unavailable::other("nothing may be read")))
    }

    fn draw(&self, wanted: u64, has: [bool; 2], patience: Patience<'_>) -> Result<(Part, Permit), NoMemory> {
        let (part, bytes) = match has {
            [false, false] if self.budget.is_light(wanted) => {
                // With room for what comes next, so that it need not be drawn from the heavy part.
                let roomy = wanted.saturating_mul(2);
                (Part::Light, if self.budget.is_light(roomy) { roomy } else { wanted })
            }
            [_, false] => (Part::Heavy, wanted.max(self.budget.most())),
            [_, true] => return Err(NoMemory::TooMuch { wanted, most: self.budget.most() }),
        };
        let permit = self.budget.draw(part, &self.server, bytes, patience.deadline, patience.tell)?;
        Ok((part, permit))
    }

    /// No memory was drawn.
    fn none(&self, why: NoMemory) -> Unavailable {
        match why {
            NoMemory::OutOfTime => Unavailable::new(
                UnavailableCause::OutOfTime,
                format!(
                    "{}: other images took all the memory for verifying (limits.verifyMemory) until the time was up; try \
                     again",
                    self.server
                ),
            ),
            NoMemory::TooMuch { wanted, most } => Unavailable::new(
                UnavailableCause::Memory,
                format!(
                    "{}: reading the signatures of this image takes {} KiB of memory, and {} KiB may be taken: raise \
                     limits.verifyMemory, and the container's memory limit with it",
                    self.server,
                    wanted.div_ceil(1 << 10),
                    most >> 10
                ),
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // nothing under it can panic half-way
    }
}

/// Memory that was taken, until it is dropped.
pub(super) struct Taken<'a> {
    account: &'a Account,
    bytes: u64,
}

impl Taken<'_> {
    /// Gives back all but so much.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let mut state = self.account.lock();
        state.used = state.used.saturating_sub(self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }

    /// So many bytes of it stay taken as long as the account is there.
    pub(super) fn keep(mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(as_u64(bytes));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.account.lock();
        state.used = state.used.saturating_sub(self.bytes);
    }
}

/// The memory to read a JSON document of so many bytes: the values (the reader of [`portreeve_verify`] takes at most eight times
/// the bytes, and never more than eight megabytes) and what is made of them.
pub(super) fn reading(bytes: usize) -> u64 {
    made(bytes).saturating_add(as_u64(bytes).saturating_mul(8).min(8 << 20))
}

/// The memory of the bytes of a document, and of what is made of them.
pub(super) fn made(bytes: usize) -> u64 {
    as_u64(bytes).saturating_mul(3)
}

pub(super) fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
