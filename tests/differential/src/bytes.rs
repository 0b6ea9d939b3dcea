//! Changes of bytes that have no structure here.

use crate::random::Random;

/// Bytes that mean something to readers of JSON, of CBOR or of DER.
const INTERESTING: [u8; 16] =
    [0, 1, 0x7f, 0x80, 0xff, 0x30, 0x31, 0x5f, 0x9f, 0xbf, 0xf6, 0xf7, b'"', b'\\', b'\n', b' '];

/// With one to three changes.
pub fn changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if changed.is_empty() {
            break;
        }
        let at = random.below(changed.len());
        match random.below(8) {
            0 => drop(changed.remove(at)),
            1 => changed.insert(at, changed[at]),
            2 => changed.insert(at, random.pick(&INTERESTING)),
            3 => changed[at] = random.pick(&INTERESTING),
            4 => {
                let end = (at + 1 + random.below(32)).min(changed.len());
                let taken = changed[at..end].to_vec();
                let to = random.below(changed.len() + 1);
                changed.splice(to..to, taken);
            }
            5 if random.once_in(4) => changed.truncate(at),
            _ => changed[at] ^= 1 << random.below(8),
        }
    }
    changed
}
