//! A simple-signing payload (SCHEMES.md, section 2).
