//! Random words for names that no other process has or can guess. A process ID is not unique: two containers may have the
//! same one, and share a directory.

use std::io;

use ring::rand::{SecureRandom as _, SystemRandom};

/// 128 random bits, in hex.
pub(crate) fn word() -> io::Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_word_comes_twice() {
        let (one, other) = (super::word().unwrap(), super::word().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (32, 32));
    }
}
