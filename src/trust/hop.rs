//! The way to a proxy. ureq waits for a proxy's answer to CONNECT one read after another and gives each the whole time, so
//! a proxy that sends a byte now and then would hold a worker for hours. A connection that will be tunnelled through has
//! one moment by which that answer must have come.

use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::time::{Duration as Wait, Instant};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};

/// Puts a limit on connections that are not tunnelled themselves. Stands last in the chain.
#[derive(Debug)]
pub(super) struct HopConnector;

impl<In: Transport> Connector<In> for HopConnector {
    type Out = Either<In, Hop<In>>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if details.config.proxy().is_some() {
            return Ok(Some(Either::A(transport))); // through the tunnel; the hop before it has its limit
        }
        let limit = match ((details.current_time)(), details.timeout.after) {
            (Instant::Exact(now), Wait::Exact(wait)) => now.checked_add(wait),
            _ => None,
        };
        Ok(Some(Either::B(Hop { transport, limit, heard: false })))
    }
}

/// A connection whose first answer must have come by a moment.
#[derive(Debug)]
pub(super) struct Hop<T> {
    transport: T,
    limit: Option<std::time::Instant>,
    heard: bool,
}

impl<T: Transport> Transport for Hop<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // Whoever speaks again has read the first answer to its end.
        if self.heard {
            self.limit = None;
        }
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        if let Some(limit) = self.limit {
            let left = limit.saturating_duration_since(std::time::Instant::now());
            if left == Duration::ZERO {
                return Err(Error::Timeout(timeout.reason));
            }
            timeout.after = match timeout.after {
                Wait::Exact(wait) => Wait::Exact(wait.min(left)),
                Wait::NotHappening => Wait::Exact(left),
            };
        }
        self.heard = true;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
