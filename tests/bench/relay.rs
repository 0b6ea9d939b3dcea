//! A line with a delay: a TCP relay on loopback that hands every byte on half a round trip after it came, and counts the
//! turns, which are the round trips that somebody waited for one after another.
//!
//! TCP's own handshake is with the relay and is not delayed: on a real line it costs one round trip more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
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
                // Was it the client that sent last?
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

    /// How often a client spoke after the server had, so far.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }
}

/// One direction. What follows is not held up by what goes before: it is a long line, not a slow one.
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
        let _ = to.shutdown(Shutdown::Write); // the other side may be gone
    });
}
