//! Many admissions at the same moment, each on a new connection, as kube-apiserver opens them when a cluster starts.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, is_allowed, request_with};
use crate::floor::Echo;
use crate::plant::{image, plant, repository};
use crate::site::Site;
use crate::table::{self, ratio, time};
use crate::webhook::{Webhook, mebibytes};

const NUMBERS: [usize; 4] = [116, 250, 500, 1_000];
/// kube-apiserver's default timeout for a webhook. An answer after it is of no use.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After the clients have gone.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Between two requests of the client that was there before the burst.
const PAUSE: Duration = Duration::from_millis(5);
const STACK: usize = 256 << 10;
/// EMFILE of Linux. Clients and TLS alone are in one process, with a descriptor for each end of each connection.
const TOO_MANY_FILES: i32 = 24;

/// What became of the requests of a burst.
pub(crate) struct Burst {
    /// Allowed within the timeout.
    pub(crate) answered: usize,
    /// Answered with another status than 200.
    refused: usize,
    /// Without an answer: the connection was closed, or could not be opened.
    cut: usize,
    /// Allowed after the timeout.
    late: usize,
    median: Duration,
    /// The last answer.
    pub(crate) worst: Duration,
}

/// The memory of the webhook, in KiB.
pub(crate) struct Memory {
    pub(crate) most: u64,
    /// When all are answered, and every connection that was not closed is still open.
    pub(crate) open: u64,
    pub(crate) settled: u64,
}

pub(crate) fn print() {
    let (_trust_server, site) = plant(&repository("plant/plc"));
    let rows = NUMBERS.map(|number| {
        let (burst, memory, kept) = measure(&site, number);
        let floor = floor(&site, number);
        vec![
            number.to_string(),
            burst.answered.to_string(),
            burst.refused.to_string(),
            burst.cut.to_string(),
            burst.late.to_string(),
            time(burst.median),
            time(burst.worst),
            time(kept),
            mebibytes(memory.most),
            mebibytes(memory.open),
            mebibytes(memory.settled),
            time(floor.median),
            time(floor.worst),
            ratio(burst.worst.as_secs_f64(), floor.worst.as_secs_f64()),
        ]
    });
    let head = [
        "at once",
        "answered",
        "refused",
        "cut",
        "late",
        "median",
        "the last",
        "worst on a kept connection",
        "most memory",
        "all open",
        "settled",
        "TLS alone, median",
        "its last",
        "the last to TLS alone",
    ];
    table::print("Warm admissions at once, each on a connection of its own, timeout 10 s", &head, &rows);
}

/// A burst on a webhook that has just started, with its memory and the worst answer on a connection that is older.
pub(crate) fn measure(site: &Site, number: usize) -> (Burst, Memory, Duration) {
    let webhook = Webhook::start(site);
    let request = request();
    let mut kept = webhook.connect();
    kept.admit(&request);
    let is_over = AtomicBool::new(false);
    let mut open = 0;
    let (burst, worst) = thread::scope(|scope| {
        let kept = scope.spawn(|| {
            let mut worst = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let answer = kept.ask(&request);
                worst = worst.max(begin.elapsed());
                if answer.is_none() {
                    kept = webhook.connect(); // the time of the next answer has the handshake in it
                }
                thread::sleep(PAUSE);
            }
            worst
        });
        let burst = run(number, &request, || webhook.try_connect(), || open = webhook.memory().resident);
        is_over.store(true, Ordering::Relaxed);
        (burst, kept.join().unwrap())
    });
    thread::sleep(SETTLED_AFTER);
    let memory = webhook.memory();
    (burst, Memory { most: memory.most, open, settled: memory.resident }, worst)
}

/// The same against TLS alone.
pub(crate) fn floor(site: &Site, number: usize) -> Burst {
    let request = request();
    let body = {
        let webhook = Webhook::start(site);
        webhook.connect().ask(&request).unwrap().1
    };
    let echo = Echo::start(site.certificate(), &request, &body);
    run(number, &request, || Client::try_connect(echo.port(), site.client_config()), || ())
}

fn request() -> Vec<u8> {
    request_with(&[image("plant/plc")], "", TIMEOUT.as_secs())
}

/// Opens all connections, and then makes all handshakes and requests at once. `at_end` runs when each has its answer, and all
/// connections are still open.
fn run(number: usize, request: &[u8], connect: impl Fn() -> io::Result<Client>, at_end: impl FnOnce()) -> Burst {
    let connect = |_| {
        let client = connect();
        let error = client.as_ref().err().and_then(io::Error::raw_os_error);
        assert_ne!(error, Some(TOO_MANY_FILES), "raise the limit of open files: ulimit -n 4096");
        client.ok()
    };
    let clients: Vec<Option<Client>> = (0..number).map(connect).collect();
    let [start, answered, end] = [(); 3].map(|()| Barrier::new(number + 1));
    let outcomes = Mutex::new(Vec::new());
    let begin = thread::scope(|scope| {
        let (start, answered, end, outcomes) = (&start, &answered, &end, &outcomes);
        for mut client in clients {
            let ask = move || {
                start.wait();
                let answer = client.as_mut().and_then(|client| client.ask(request));
                let status = answer.as_ref().map(|(status, _)| *status);
                outcomes.lock().unwrap().push((Instant::now(), status, is_allowed(&answer)));
                answered.wait();
                end.wait();
            };
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, ask).unwrap();
        }
        let begin = Instant::now();
        start.wait();
        answered.wait();
        at_end();
        end.wait();
        begin
    });
    // All times begin with the burst: a client that runs late has waited as well.
    let outcomes: Vec<_> = outcomes.into_inner().unwrap();
    let outcomes = outcomes.into_iter().map(|(ended, status, allowed)| (ended.duration_since(begin), status, allowed));
    let outcomes: Vec<(Duration, Option<u16>, bool)> = outcomes.collect();
    let mut times: Vec<_> = outcomes.iter().filter(|(_, status, _)| status.is_some()).map(|(took, ..)| *took).collect();
    times.sort();
    let all = |is: &dyn Fn(Duration, Option<u16>, bool) -> bool| {
        outcomes.iter().filter(|(took, status, allowed)| is(*took, *status, *allowed)).count()
    };
    Burst {
        answered: all(&|took, _, allowed| allowed && took <= TIMEOUT),
        refused: all(&|_, status, allowed| status.is_some() && !allowed),
        cut: all(&|_, status, _| status.is_none()),
        late: all(&|took, _, allowed| allowed && took > TIMEOUT),
        median: times.get(times.len() / 2).copied().unwrap_or_default(),
        worst: times.last().copied().unwrap_or_default(),
    }
}
