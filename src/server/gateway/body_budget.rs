//! The memory that requests' bodies, and the answers to them, may take together. Each alone is capped already, but a
//! hundred clients that each send the largest one, or do not read the answer, would still end the process.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left for large bodies.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    left: AtomicUsize,
}

/// Every request may have this much without asking: an ordinary admission is never refused because of hoarders.
const FREE: usize = 64 << 10;

impl BodyMemory {
    /// `bytes` for everything beyond each request's free part.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// A body that is empty yet.
    pub(crate) fn body(&self, length: usize) -> Body<'_> {
        Body { memory: self, bytes: Vec::new(), length, leased: 0 }
    }
}

/// A body that grows as its bytes arrive, never on the client's word alone.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    memory: &'a BodyMemory,
    bytes: Vec<u8>,
    length: usize,
    leased: usize,
}

impl Body<'_> {
    /// How many bytes are still to come.
    pub(crate) fn missing(&self) -> usize {
        self.length.saturating_sub(self.bytes.len())
    }

    /// Takes what has arrived: at most `missing()` bytes.
    pub(crate) fn extend(&mut self, arrived: &[u8]) -> Result<(), NoMemory> {
        let needed = self.bytes.len().saturating_add(arrived.len());
        if needed > self.bytes.capacity() {
            let capacity = self.bytes.capacity().saturating_mul(2).max(FREE).max(needed).min(self.length.max(needed));
            self.lease(capacity.saturating_sub(FREE))?;
            self.bytes.try_reserve_exact(capacity - self.bytes.len()).map_err(|_| NoMemory)?;
        }
        self.bytes.extend_from_slice(arrived);
        Ok(())
    }

    /// The bytes. The lease stays: whoever got them has them still, or a copy.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The body has gone; from here on the lease is for an answer of so many bytes.
    pub(crate) fn make_room(&mut self, length: usize) -> Result<(), NoMemory> {
        let total = length.saturating_sub(FREE);
        let over = self.leased.saturating_sub(total);
        self.memory.left.fetch_add(over, Ordering::SeqCst);
        self.leased -= over;
        self.lease(total)
    }

    fn lease(&mut self, total: usize) -> Result<(), NoMemory> {
        let more = total.saturating_sub(self.leased);
        self.memory
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(more))
            .map_err(|_| NoMemory)?;
        self.leased += more;
        Ok(())
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.leased, Ordering::SeqCst);
    }
}

/// All memory for bodies is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_and_small_ones_are_free() {
        let memory = BodyMemory::new(FREE);
        let mut hoard = memory.body(2 * FREE);
        hoard.extend(&vec![0; FREE]).unwrap();
        assert_eq!(memory.left.load(Ordering::SeqCst), FREE, "the first part is free");
        hoard.extend(&[0]).unwrap();
        assert_eq!(memory.left.load(Ordering::SeqCst), 0);
        let mut large = memory.body(2 * FREE);
        assert_eq!(large.extend(&vec![0; FREE + 1]), Err(NoMemory));
        assert_eq!(large.extend(&vec![0; FREE]), Ok(()));
        drop(hoard);
        assert_eq!(memory.left.load(Ordering::SeqCst), FREE, "what was leased comes back");
        large.extend(&[0]).unwrap();
        for (answer, left) in [(2 * FREE, 0), (FREE, FREE), (FREE + 1, FREE - 1), (0, FREE)] {
            assert_eq!(large.make_room(answer), Ok(()));
            assert_eq!(memory.left.load(Ordering::SeqCst), left);
        }
        assert_eq!(large.make_room(2 * FREE + 1), Err(NoMemory));
    }

    #[test]
    fn nothing_is_reserved_on_the_client_s_word() {
        let memory = BodyMemory::new(1 << 40);
        let mut body = memory.body(1 << 40);
        body.extend(b"x").unwrap();
        assert_eq!(body.missing(), (1 << 40) - 1);
        assert!(body.bytes.capacity() <= FREE);
        assert_eq!(body.take(), b"x");
    }
}
