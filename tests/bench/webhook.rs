//! The measured executable while it runs.
//!
//! `PORTREEVE=/path/to/portreeve` in the environment names another executable than cargo's, for instance a static
//! build. Linux only: it reads `/proc`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::callgrind::Counter;
use crate::client::{Client, PATIENCE};
use crate::site::{Site, executable};

/// A running webhook, killed on drop.
pub(crate) struct Webhook<'s> {
    site: &'s Site,
    child: Child,
    port: u16,
    /// From exec to ready.
    pub(crate) ready_after: Duration,
}

impl<'s> Webhook<'s> {
    pub(crate) fn start(site: &'s Site) -> Self {
        let mut command = Command::new(executable());
        command.env_clear();
        Self::launch(site, command)
    }

    /// Under callgrind, not yet counted.
    pub(crate) fn start_counted(site: &'s Site, counter: &Counter) -> Self {
        Self::launch(site, counter.command(executable()))
    }

    /// By a command that starts the executable in its own process, and to which the arguments are added.
    pub(crate) fn start_by(site: &'s Site, command: Command) -> Self {
        Self::launch(site, command)
    }

    fn launch(site: &'s Site, mut command: Command) -> Self {
        let [port, plain_port] = [(), ()].map(|()| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.local_addr().unwrap().port()
        });
        command.args(["serve", "--config"]).arg(site.write_config(port, plain_port));
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut webhook = Self { site, child, port, ready_after: Duration::ZERO };
        while !is_ready(plain_port) {
            assert!(begin.elapsed() < 2 * PATIENCE, "the webhook does not become ready");
            thread::sleep(Duration::from_micros(200));
        }
        webhook.ready_after = begin.elapsed();
        webhook
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port, self.site.client_config())
    }

    /// The same, as a client that may be refused.
    pub(crate) fn try_connect(&self) -> std::io::Result<Client> {
        Client::try_connect(self.port, self.site.client_config())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// User and system time of all threads, to a hundredth of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// How often its threads have slept. Threads that have ended are not counted, and connections have a thread each in
    /// some versions: the difference of two figures holds while connections are kept.
    pub(crate) fn switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
        let of = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok().and_then(of)).sum()
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
        };
        Memory {
            resident: value("VmRSS"),
            most: value("VmHWM"),
            anonymous: value("RssAnon"),
            threads: value("Threads"),
        }
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// Memory in KiB, and threads.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) most: u64,
    pub(crate) anonymous: u64,
    pub(crate) threads: u64,
}

impl Memory {
    /// The cells of a table: resident, the most so far, anonymous, threads.
    pub(crate) fn cells(self) -> [String; 4] {
        let [resident, most, anonymous] = [self.resident, self.most, self.anonymous].map(mebibytes);
        [resident, most, anonymous, self.threads.to_string()]
    }
}

/// KiB as `7.3 MiB`.
pub(crate) fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
}

fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let request = b"GET /health/readiness HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let _ = stream.set_read_timeout(Some(PATIENCE));
    stream.write_all(request).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}
