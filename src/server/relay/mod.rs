//! The relay to tiny_http and back. Only this folder uses tiny_http.
//!
//! A [`Loopback`] is one tiny_http server with a fixed number of private streams. A stream carries the head of one request at
//! a time: [`Loopback::send`] writes it, and tiny_http parses it. A worker takes it from tiny_http by [`Loopback::receive`],
//! and answers by [`Loopback::respond`], which reads back the head of tiny_http's response. Bodies do not travel: the body of
//! a request waits in the slot of its stream, and the body of a response goes to the client beside its head. So a stream
//! never has more bytes than its buffer, and no write to it waits.
//!
//! A request that arrives at tiny_http without the loopback's secret is foreign. It is never answered.

mod exchange;
mod loopback;
mod opening;

pub(super) use self::exchange::reason_phrase;
pub(super) use self::loopback::{Loopback, Received};
pub(super) use self::opening::{Opening, STREAMS};
