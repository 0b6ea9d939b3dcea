//! Lower bounds, with the same crates on the same machine.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::signer::Key;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server that does nothing but TLS: it reads requests of a known length and writes a known response. It runs until
/// the process ends.
pub(crate) struct Echo {
    port: u16,
}

impl Echo {
    pub(crate) fn start((chain, key): (String, String), request: &[u8], body: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<[u8]> =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes().into();
        let length = request.len();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    let mut request = vec![0; length];
                    // A connection ends with an error.
                    while tls.read_exact(&mut request).is_ok() && tls.write_all(&answer).is_ok() && tls.flush().is_ok()
                    {
                    }
                });
            }
        });
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// One check of a P-256 signature over a kilobyte, by ring.
pub(crate) fn signature_check() -> Duration {
    let (key, message) = (Key::p256(), [7; 1024]);
    let (spki, signature) = (key.public(), key.sign_bytes(&message));
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &spki[spki.len() - 65..]);
    let best = (0..200).map(|_| {
        let begin = Instant::now();
        black_box(public.verify(&message, &signature)).unwrap();
        begin.elapsed()
    });
    best.min().unwrap()
}
