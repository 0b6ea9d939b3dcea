//! TLS for ureq, from a rustls configuration of our own: ureq's builder takes either Mozilla's roots or the operator's, and
//! Portreeve trusts both. The handshake has the time that connecting left over ([`connect_deadline`]).

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::peer_certificates::PeerCertificates;
use super::{connect_deadline, url};

/// Wraps connections to https URLs in TLS. Leaves other connections as they are.
pub(crate) struct TlsConnector {
    config: Arc<ClientConfig>,
    peers: Arc<PeerCertificates>,
}

impl TlsConnector {
    /// A connector that notes when the certificates of its peers end.
    pub(crate) fn new(config: Arc<ClientConfig>, peers: Arc<PeerCertificates>) -> Self {
        Self { config, peers }
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let name = ServerName::try_from(url::host(details.uri))
            .map_err(|_| Error::Tls("the host is not a name that a certificate can have"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name.to_owned()).map_err(Error::Rustls)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(connect_deadline::remaining(details));
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(tls_error)?;
        }
        self.peers.note(details.uri, connection.peer_certificates().unwrap_or_default());
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// Takes rustls' own error out of the I/O error that wraps it.
fn tls_error(error: std::io::Error) -> Error {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if !is_tls {
        return Error::from(error);
    }
    match error.into_inner().map(|inner| inner.downcast::<rustls::Error>()) {
        Some(Ok(inner)) => Error::Rustls(*inner),
        Some(Err(other)) => Error::Other(other),
        None => Error::Tls("the handshake failed"),
    }
}

/// A TLS connection, as ureq reads and writes it.
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).ok_or(Error::Tls("more output than the buffer holds"))?;
        self.stream.write_all(output).map_err(tls_error)?;
        self.stream.flush().map_err(tls_error)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(tls_error)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
