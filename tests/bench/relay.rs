//! A line with a delay: a TCP relay on loopback that forwards each byte half a round trip later, and counts the turns,
//! which are the sequential round trips.
//!
//! TCP's own handshake is with the relay and is not delayed. On a real line it costs one more round trip.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Relay {
    port: u16,
    turns: Arc<AtomicU64>,
}

impl Relay {
    /// Runs until the process ends.
    pub(crate) fn start(target: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let turns = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&turns);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                // Did the client send last?
                let asking = Arc::new(AtomicBool::new(false));
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                let (turns, was_asking) = (Arc::clone(&counted), Arc::clone(&asking));
                line(from_client, server, round_trip / 2, move || {
                    if !was_asking.swap(true, Ordering::SeqCst) {
                        turns.fetch_add(1, Ordering::SeqCst);
                    }
                });
                line(from_server, client, round_trip / 2, move || asking.store(false, Ordering::SeqCst));
            }
        });
        Self { port, turns }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The number of times that a client sent something after the server had.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }
}

/// One direction. Later bytes do not wait for earlier ones: the line is long, not slow.
fn line(mut from: TcpStream, mut to: TcpStream, delay: Duration, said: impl Fn() + Send + 'static) {
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(read) = from.read(&mut chunk)
            && read > 0
        {
            said();
            if under_way.send((Instant::now() + delay, chunk[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in arriving {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write); // the other side may be closed
    });
}
