//! certs-gen
fn main() {}
