//! The product as its users run it: the real executable, over real sockets, against a real Notary server whose
//! repositories the real Notary client has signed. Nothing here links against the product.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may end with a panic")]

// Tests.
mod access;
mod attack;
mod check;
mod cluster;
mod commands;
mod contract;
mod cosign;
mod disk;
mod docs;
mod doctor;
mod forgery;
mod handovers;
mod hostile;
mod hosts;
mod image;
mod keyless;
mod layers;
mod log;
mod manifests;
mod memory;
mod metrics;
mod neighbours;
mod owners;
mod pages;
mod pull_secrets;
mod reviewing;
mod round_trips;
mod running;
mod scarcity;
mod serve;
mod silence;
mod smuggling;
mod store;
mod walk;
mod words;

// What the tests share.
mod https;
mod mount;
mod notary;
mod notation;
mod pki;
mod plant;
mod process;
mod producers;
mod product;
mod registries;
mod remade;
mod review;
mod sigstore;
mod stage;
mod token;
