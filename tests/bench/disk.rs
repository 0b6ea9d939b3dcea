//! A slow disk: the first admission of a repository, which stores what it has verified.
//!
//! `strace` delays each sync. It runs beside the executable, and the executable waits in the system call.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portreeve_test_support::temp::TempDir;

use crate::client::request;
use crate::plant::{Scheme, Source, apps, image};
use crate::site::Site;
use crate::table::{self, time};
use crate::webhook::Webhook;

/// Repositories that are asked for one after another, and as many at once.
pub(crate) const NUMBER: usize = 10;
/// The delay of a sync.
const DELAY: Duration = Duration::from_millis(200);

/// What is stored, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// The lower bound: `trust.cache` is empty.
    Nothing,
    Plain,
    /// `strace` looks at each sync and does not delay it.
    Watched,
    Slow,
}

impl Disk {
    const ALL: [Self; 4] = [Self::Nothing, Self::Plain, Self::Watched, Self::Slow];

    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing is stored".to_owned(),
            Self::Plain => "with trust.cache".to_owned(),
            Self::Watched => "the same, under strace".to_owned(),
            Self::Slow => format!("the same, each sync {} longer", time(DELAY)),
        }
    }

    pub(crate) fn needs_strace(self) -> bool {
        matches!(self, Self::Watched | Self::Slow)
    }

    /// The command that starts the executable, and that notes each sync in this file.
    fn command(self, executable: &Path, log: &Path) -> Command {
        let mut command = Command::new(if self.needs_strace() { Path::new("strace") } else { executable });
        if self.needs_strace() {
            // The tracer is a process of its own (-D), so the webhook keeps the place of the child.
            command.args(["-D", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o"]).arg(log);
            if self == Self::Slow {
                command.args(["-e", &format!("inject=fsync,fdatasync:delay_enter={}", DELAY.as_micros())]);
            }
            command.arg(executable);
        }
        command
    }
}

/// Is strace installed? Without it the rows that need it are left out.
pub(crate) fn is_strace_there() -> bool {
    let mut command = Command::new("strace");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The first admissions of repositories.
pub(crate) struct First {
    /// Each alone, sorted.
    times: Vec<Duration>,
    /// As many others at once, until the last answer.
    pub(crate) at_once: Duration,
    /// The number of syncs a second after the last answer, where they are counted.
    syncs: Option<usize>,
}

impl First {
    pub(crate) fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }
}

pub(crate) fn print() {
    let mut rows = Vec::new();
    for scheme in Scheme::ALL {
        let (_source, mut site) = Source::with_site(scheme, &apps(2 * NUMBER));
        for disk in Disk::ALL.into_iter().filter(|disk| !disk.needs_strace() || is_strace_there()) {
            let first = measure(&mut site, disk);
            rows.push(vec![
                scheme.name().to_owned(),
                disk.name(),
                time(first.median()),
                time(first.times[NUMBER - 1]),
                time(first.at_once),
                first.syncs.map(|number| number.to_string()).unwrap_or_default(),
            ]);
        }
    }
    let one = format!("median of {NUMBER}, one after another");
    let all = format!("{NUMBER} others at once, the last");
    let head = ["signatures", "the disk", &one, "worst", &all, "syncs, a second later"];
    table::print("First admissions of a repository, by the disk", &head, &rows);
    if !is_strace_there() {
        println!("\nstrace is not installed, so no sync was delayed.");
    }
}

/// Begins with an empty store.
pub(crate) fn measure(site: &mut Site, disk: Disk) -> First {
    if disk == Disk::Nothing {
        site.store_nothing()
    } else {
        site.store()
    }
    site.empty_store();
    let scratch = TempDir::new();
    let log = scratch.path().join("syncs");
    let webhook = Webhook::start_by(site, disk.command(&crate::site::executable(), &log));
    let mut client = webhook.connect();
    client.ask(&request(&["elsewhere.local/nothing:v1".to_owned()])).unwrap(); // the handshake is not measured
    let paths = apps(2 * NUMBER);
    let mut times: Vec<_> = paths[..NUMBER]
        .iter()
        .map(|path| {
            let request = request(&[image(path)]);
            let begin = Instant::now();
            client.admit(&request);
            begin.elapsed()
        })
        .collect();
    times.sort();
    let mut clients: Vec<_> = paths[NUMBER..].iter().map(|path| (webhook.connect(), request(&[image(path)]))).collect();
    for (client, _) in &mut clients {
        client.ask(&request(&["elsewhere.local/nothing:v1".to_owned()])).unwrap();
    }
    let begin = Instant::now();
    thread::scope(|scope| {
        for (client, request) in &mut clients {
            scope.spawn(|| client.admit(request));
        }
    });
    let at_once = begin.elapsed();
    First { times, at_once, syncs: disk.needs_strace().then(|| syncs(&log)) }
}

/// The number of syncs so far, and of those that begin within a second.
fn syncs(log: &Path) -> usize {
    thread::sleep(Duration::from_secs(1));
    fs::read_to_string(log).unwrap_or_default().lines().filter(|line| line.contains("sync(")).count()
}
