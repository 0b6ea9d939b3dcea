//! A line with a delay: a TCP relay on loopback that forwards each byte half a round trip later, and counts the round
//! trips that follow one another.
//!
//! TCP's own handshake is with the relay and is not delayed. On a real line it costs one more round trip.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The first byte of a record of TLS in which a handshake begins.
const HANDSHAKE: u8 = 0x16;

pub(crate) struct Relay {
    port: u16,
    answered: Arc<Mutex<Chain>>,
}

/// The length of the longest chain of round trips, each of which began after the answer to the one before it had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chain {
    /// All of them.
    pub(crate) turns: u32,
    /// Those that are requests. The others begin a TLS handshake.
    pub(crate) requests: u32,
}

impl Chain {
    fn max(self, other: Self) -> Self {
        Self { turns: self.turns.max(other.turns), requests: self.requests.max(other.requests) }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { turns: self.turns - before.turns, requests: self.requests - before.requests }
    }
}

impl Relay {
    /// Runs until the process ends.
    pub(crate) fn start(target: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answered = Arc::new(Mutex::new(Chain::default()));
        let counted = Arc::clone(&answered);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                // The round trip that is under way on this connection.
                let under_way = Arc::new(Mutex::new(None::<Chain>));
                let (answered, begun) = (Arc::clone(&counted), Arc::clone(&under_way));
                let asks = move |bytes: &[u8]| {
                    let before = *answered.lock().unwrap();
                    begun.lock().unwrap().get_or_insert_with(|| Chain {
                        turns: before.turns + 1,
                        requests: before.requests + u32::from(bytes[0] != HANDSHAKE),
                    });
                };
                let answered = Arc::clone(&counted);
                let answers = move |_: &[u8]| {
                    if let Some(chain) = under_way.lock().unwrap().take() {
                        let mut answered = answered.lock().unwrap();
                        *answered = answered.max(chain);
                    }
                };
                line(from_client, server, round_trip / 2, asks, |_| ());
                line(from_server, client, round_trip / 2, |_| (), answers);
            }
        });
        Self { port, answered }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The longest chain so far. The difference of two is the chain between them, if nothing was under way.
    pub(crate) fn chain(&self) -> Chain {
        *self.answered.lock().unwrap()
    }
}

/// One direction. Later bytes do not wait for earlier ones: the line is long, not slow.
fn line(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    enters: impl Fn(&[u8]) + Send + 'static,
    leaves: impl Fn(&[u8]) + Send + 'static,
) {
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(read) = from.read(&mut chunk)
            && read > 0
        {
            enters(&chunk[..read]);
            if under_way.send((Instant::now() + delay, chunk[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in arriving {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            leaves(&bytes);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write); // the other side may be closed
    });
}
