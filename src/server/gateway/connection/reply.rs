//! The way of a response back to its connection.

use std::sync::Arc;

use super::Connection;
use crate::server::request::{RelayError, RelayResponse, Reply};

/// Where the response to a request goes.
pub(super) struct Response {
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) number: u64,
}

impl Reply for Response {
    fn reply(mut self: Box<Self>, response: Result<RelayResponse, RelayError>) {
        if let Some(connection) = self.connection.take() {
            connection.respond(self.number, response);
        }
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.respond(self.number, Err(RelayError::Unreadable("it was dropped")));
        }
    }
}
