//! The memory that verified data takes: near enough for a budget, and never much less than the truth, whatever a server sends.
//! The length of a file is no measure: a delegation without keys is fifty bytes in a file, and three times as many in memory.

use std::mem::size_of;

/// An allocation of this many bytes, with the bytes that the allocator adds.
pub fn allocation(bytes: usize) -> u64 {
    if bytes == 0 { 0 } else { as_u64((bytes + 8).next_multiple_of(16)) }
}

/// An entry of an ordered map, whose list is half empty at worst.
pub fn map_entry<K, V>() -> u64 {
    2 * as_u64(size_of::<K>() + size_of::<V>())
}

/// A value itself, without what it points to.
pub fn inline_size<T>() -> u64 {
    as_u64(size_of::<T>())
}

/// A number of bytes as `u64`.
pub fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_never_smaller_than_what_is_in_it() {
        assert_eq!((allocation(0), allocation(1), allocation(8), allocation(9), allocation(24)), (0, 16, 16, 32, 32));
        assert_eq!((map_entry::<u64, u8>(), inline_size::<u32>()), (18, 4));
    }
}
