//! Images and their signatures at a registry (OCI distribution specification 1.1), or in an OCI image layout on the disk.

pub(crate) mod layout;
mod link;
pub mod places;
mod remote;
pub(crate) mod repository;
