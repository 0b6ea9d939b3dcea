//! What Portreeve's tests and its quickstart share: an in-process TUF signer, a trust server that can be made to
//! misbehave, and certificates made on the spot. It knows nothing of the product's own types, so that a mistake
//! in the product cannot hide itself here.

pub mod certificates;
pub mod signer;
pub mod trust_server;
