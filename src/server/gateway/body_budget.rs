//! The memory that the bodies of all requests and responses may take together. Each single body has a limit already, but a
//! hundred clients that send the largest one, or that do not read the response, would still end the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that is left for bodies.
#[derive(Debug)]
pub(super) struct BodyBudget {
    large: AtomicUsize,
    middle: AtomicUsize,
}

/// The bytes of each body that do not count.
const FREE: usize = 16 << 10;
/// The bytes of each body that draw on a budget of their own, and only when that is used up on the large one. Clients with large
/// bodies therefore never cause an ordinary admission to be refused.
const MIDDLE: usize = 48 << 10;
/// That budget.
const MIDDLE_BUDGET: usize = 8 << 20;

impl BodyBudget {
    /// A budget of `bytes` for the large parts of bodies.
    pub(super) fn new(bytes: usize) -> Self {
        Self { large: AtomicUsize::new(bytes), middle: AtomicUsize::new(MIDDLE_BUDGET) }
    }

    /// An empty body that will have `length` bytes.
    pub(super) fn body(self: &Arc<Self>, length: usize) -> Body {
        Body { budget: Arc::clone(self), bytes: Vec::new(), length, large: 0, middle: 0 }
    }
}

/// A body that grows as its bytes arrive. The length that the client announces reserves no memory.
#[derive(Debug)]
pub(super) struct Body {
    budget: Arc<BodyBudget>,
    bytes: Vec<u8>,
    length: usize,
    /// What is drawn from each budget.
    large: usize,
    middle: usize,
}

impl Body {
    /// The number of bytes that have not arrived yet.
    pub(super) fn missing(&self) -> usize {
        self.length.saturating_sub(self.bytes.len())
    }

    /// Adds bytes that have arrived, at most `missing()`.
    pub(super) fn extend(&mut self, arrived: &[u8]) -> Result<(), BudgetExhausted> {
        let needed = self.bytes.len().saturating_add(arrived.len());
        if needed > self.bytes.capacity() {
            let capacity = self.bytes.capacity().saturating_mul(2).max(FREE).max(needed).min(self.length.max(needed));
            self.reserve(capacity)?;
            self.bytes.try_reserve_exact(capacity - self.bytes.len()).map_err(|_| BudgetExhausted)?;
        }
        self.bytes.extend_from_slice(arrived);
        Ok(())
    }

    /// The bytes. Their memory stays reserved, because the relay has the bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Replaces the reservation by one for a response of `length` bytes.
    pub(super) fn reserve_response(&mut self, length: usize) -> Result<(), BudgetExhausted> {
        self.release();
        self.reserve(length)
    }

    /// Draws what a body of this length needs more than was drawn before.
    fn reserve(&mut self, length: usize) -> Result<(), BudgetExhausted> {
        let counted = length.saturating_sub(FREE).saturating_sub(self.large + self.middle);
        let middle = counted.min(MIDDLE.saturating_sub(self.middle));
        if draw(&self.budget.middle, middle) {
            self.middle += middle;
            return self.reserve_large(counted - middle);
        }
        self.reserve_large(counted)
    }

    fn reserve_large(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        if !draw(&self.budget.large, bytes) {
            return Err(BudgetExhausted);
        }
        self.large += bytes;
        Ok(())
    }

    fn release(&mut self) {
        self.budget.large.fetch_add(std::mem::take(&mut self.large), Ordering::SeqCst);
        self.budget.middle.fetch_add(std::mem::take(&mut self.middle), Ordering::SeqCst);
    }
}

fn draw(left: &AtomicUsize, bytes: usize) -> bool {
    bytes == 0 || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes)).is_ok()
}

impl Drop for Body {
    fn drop(&mut self) {
        self.release();
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
        let small = FREE + MIDDLE;
        let budget = Arc::new(BodyBudget::new(small));
        let left = || (budget.large.load(Ordering::SeqCst), budget.middle.load(Ordering::SeqCst));
        let mut hoard = budget.body(2 * small);
        hoard.extend(&vec![0; FREE]).unwrap();
        assert_eq!(left(), (small, MIDDLE_BUDGET), "the first part is free");
        hoard.extend(&vec![0; MIDDLE]).unwrap();
        assert_eq!(left(), (small, MIDDLE_BUDGET - MIDDLE));
        hoard.extend(&[0]).unwrap();
        assert_eq!(left(), (0, MIDDLE_BUDGET - MIDDLE));
        let mut large = budget.body(2 * small);
        assert_eq!(large.extend(&vec![0; small + 1]), Err(BudgetExhausted));
        assert_eq!(large.extend(&vec![0; small]), Ok(()));
        drop(hoard);
        assert_eq!(left().0, small, "what was reserved is given back");
        large.extend(&[0]).unwrap();
        for (response, large_left) in [(2 * small, 0), (small, small), (small + 1, small - 1), (0, small)] {
            assert_eq!(large.reserve_response(response), Ok(()));
            assert_eq!(left().0, large_left);
        }
        assert_eq!(large.reserve_response(2 * small + 1), Err(BudgetExhausted));
        drop(large);
        assert_eq!(left(), (small, MIDDLE_BUDGET));
    }

    #[test]
    fn where_many_have_middling_bodies_they_draw_on_the_large_budget() {
        let budget = Arc::new(BodyBudget::new(MIDDLE));
        let hoard: Vec<_> = (0..=MIDDLE_BUDGET / MIDDLE)
            .map(|_| {
                let mut body = budget.body(FREE + MIDDLE);
                body.extend(&vec![0; FREE + MIDDLE]).unwrap();
                body
            })
            .collect();
        let mut body = budget.body(FREE + MIDDLE);
        assert_eq!(body.extend(&vec![0; FREE + MIDDLE]), Err(BudgetExhausted));
        drop(hoard);
        assert_eq!(body.extend(&vec![0; FREE + MIDDLE]), Ok(()));
    }

    #[test]
    fn nothing_is_reserved_on_the_client_s_word() {
        let budget = Arc::new(BodyBudget::new(1 << 40));
        let mut body = budget.body(1 << 40);
        body.extend(b"x").unwrap();
        assert_eq!(body.missing(), (1 << 40) - 1);
        assert!(body.bytes.capacity() <= FREE);
        assert_eq!(body.take(), b"x");
    }
}
