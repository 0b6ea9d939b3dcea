//! A Sigstore bundle with a key (SCHEMES.md, section 3).
