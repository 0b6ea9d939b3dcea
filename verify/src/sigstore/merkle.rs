//! The tree of a log (RFC 6962 §2.1): is a leaf in the tree that has this root?

use ring::digest::{Context, SHA256};

/// The hash of a leaf or of an inner node.
pub(super) type Hash = [u8; 32];

/// The most hashes of a proof: a tree has fewer than 2^64 leaves.
pub(super) const MAX_PROOF: usize = 64;

/// The hash of a leaf.
pub(super) fn leaf(entry: &[u8]) -> Hash {
    hash(&[&[0], entry])
}

/// The root of a tree of `size` leaves, whose leaf number `index` has this hash (RFC 9162 §2.1.3.2). `None` if the proof has
/// not exactly the hashes that such a tree needs.
pub(super) fn root(mut index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    let mut last = size.checked_sub(1).filter(|last| index <= *last)?;
    let mut found = leaf;
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            found = hash(&[&[1], sibling, &found]);
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            found = hash(&[&[1], &found, sibling]);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    (last == 0).then_some(found)
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().unwrap_or_default() // SHA-256 has 32 bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| leaf(&index.to_be_bytes())).collect()
    }

    /// The root of these leaves as RFC 6962 §2.1 defines it.
    fn tree(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hash(&[]),
            [only] => *only,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                hash(&[&[1], &tree(left), &tree(right)])
            }
        }
    }

    /// The proof for a leaf as RFC 6962 §2.1.1 defines it.
    fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(middle);
        let (mut path, other) =
            if index < middle { (path(index, left), tree(right)) } else { (path(index - middle, right), tree(left)) };
        path.push(other);
        path
    }

    #[test]
    fn every_leaf_of_every_small_tree_and_nothing_else() {
        for size in 1..40_u64 {
            let leaves = leaves(size);
            let root_of_all = tree(&leaves);
            for (at, leaf) in leaves.iter().enumerate() {
                let index = u64::try_from(at).unwrap();
                let proof = path(at, &leaves);
                assert_eq!(root(index, size, *leaf, &proof), Some(root_of_all), "{index} of {size}");
                // Another place, another size, or another proof is another tree or none.
                for (other, its_size) in [(index + 1, size), (index ^ 1, size), (index, size + 1), (index, size * 2)] {
                    // One shape of a tree may serve several sizes: the checkpoint says which.
                    if (other, its_size) != (index, size) && its_size == size {
                        assert_ne!(root(other, its_size, *leaf, &proof), Some(root_of_all), "{other} of {its_size}");
                    }
                }
                let mut longer = proof.clone();
                longer.push([7; 32]);
                assert_eq!(root(index, size, *leaf, &longer), None);
                for cut in 0..proof.len() {
                    let mut shorter = proof.clone();
                    shorter.remove(cut);
                    assert_ne!(root(index, size, *leaf, &shorter), Some(root_of_all));
                    let mut changed = proof.clone();
                    changed[cut][0] ^= 1;
                    assert_ne!(root(index, size, *leaf, &changed), Some(root_of_all));
                }
            }
            assert_eq!(root(size, size, leaves[0], &[]), None);
        }
        assert_eq!(root(0, 0, leaf(b""), &[]), None);
        assert_eq!(root(u64::MAX - 1, u64::MAX, leaf(b""), &[[0; 32]; 3]), None);
    }

    #[test]
    fn a_leaf_is_no_node() {
        let (one, two) = (leaf(b"1"), leaf(b"2"));
        assert_ne!(leaf(&[one, two].concat()), hash(&[&[1], &one, &two]));
    }
}
