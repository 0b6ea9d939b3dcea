//! The memory that the bodies of all requests and responses may take together. Each single body has a limit already, but a
//! hundred clients that send the largest one, or that do not read the response, would still end the process.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that is left for large bodies.
#[derive(Debug)]
pub(super) struct BodyBudget {
    left: AtomicUsize,
}

/// The bytes of each body that do not count. Clients with large bodies therefore never cause an ordinary admission to be
/// refused.
const FREE: usize = 64 << 10;

impl BodyBudget {
    /// A budget of `bytes` for the parts of bodies beyond their first [`FREE`] bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// An empty body that will have `length` bytes.
    pub(super) fn body(&self, length: usize) -> Body<'_> {
        Body { budget: self, bytes: Vec::new(), length, reserved: 0 }
    }
}

/// A body that grows as its bytes arrive. The length that the client announces reserves no memory.
#[derive(Debug)]
pub(super) struct Body<'a> {
    budget: &'a BodyBudget,
    bytes: Vec<u8>,
    length: usize,
    reserved: usize,
}

impl Body<'_> {
    /// The number of bytes that have not arrived yet.
    pub(super) fn missing(&self) -> usize {
        self.length.saturating_sub(self.bytes.len())
    }

    /// Adds bytes that have arrived, at most `missing()`.
    pub(super) fn extend(&mut self, arrived: &[u8]) -> Result<(), BudgetExhausted> {
        let needed = self.bytes.len().saturating_add(arrived.len());
        if needed > self.bytes.capacity() {
            let capacity = self.bytes.capacity().saturating_mul(2).max(FREE).max(needed).min(self.length.max(needed));
            self.reserve(capacity.saturating_sub(FREE))?;
            self.bytes.try_reserve_exact(capacity - self.bytes.len()).map_err(|_| BudgetExhausted)?;
        }
        self.bytes.extend_from_slice(arrived);
        Ok(())
    }

    /// The bytes. Their memory stays reserved, because the relay has the bytes or a copy of them.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Replaces the reservation by one for a response of `length` bytes.
    pub(super) fn reserve_response(&mut self, length: usize) -> Result<(), BudgetExhausted> {
        let total = length.saturating_sub(FREE);
        let over = self.reserved.saturating_sub(total);
        self.budget.left.fetch_add(over, Ordering::SeqCst);
        self.reserved -= over;
        self.reserve(total)
    }

    fn reserve(&mut self, total: usize) -> Result<(), BudgetExhausted> {
        let more = total.saturating_sub(self.reserved);
        self.budget
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(more))
            .map_err(|_| BudgetExhausted)?;
        self.reserved += more;
        Ok(())
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.reserved, Ordering::SeqCst);
    }
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BudgetExhausted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_and_small_ones_are_free() {
        let budget = BodyBudget::new(FREE);
        let mut hoard = budget.body(2 * FREE);
        hoard.extend(&vec![0; FREE]).unwrap();
        assert_eq!(budget.left.load(Ordering::SeqCst), FREE, "the first part is free");
        hoard.extend(&[0]).unwrap();
        assert_eq!(budget.left.load(Ordering::SeqCst), 0);
        let mut large = budget.body(2 * FREE);
        assert_eq!(large.extend(&vec![0; FREE + 1]), Err(BudgetExhausted));
        assert_eq!(large.extend(&vec![0; FREE]), Ok(()));
        drop(hoard);
        assert_eq!(budget.left.load(Ordering::SeqCst), FREE, "what was reserved is given back");
        large.extend(&[0]).unwrap();
        for (answer, left) in [(2 * FREE, 0), (FREE, FREE), (FREE + 1, FREE - 1), (0, FREE)] {
            assert_eq!(large.reserve_response(answer), Ok(()));
            assert_eq!(budget.left.load(Ordering::SeqCst), left);
        }
        assert_eq!(large.reserve_response(2 * FREE + 1), Err(BudgetExhausted));
    }

    #[test]
    fn nothing_is_reserved_on_the_client_s_word() {
        let budget = BodyBudget::new(1 << 40);
        let mut body = budget.body(1 << 40);
        body.extend(b"x").unwrap();
        assert_eq!(body.missing(), (1 << 40) - 1);
        assert!(body.bytes.capacity() <= FREE);
        assert_eq!(body.take(), b"x");
    }
}
