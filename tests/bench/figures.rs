//! The figures that are compared: a line for each, with its name, unit and value.

use std::fmt;
use std::time::Duration;
use std::{fs, thread};

use crate::burst;
use crate::callgrind;
use crate::client::request;
use crate::cold;
use crate::disk::{self, Disk};
use crate::growth;
use crate::load::{Connections, median};
use crate::plant::{Scheme, Source, apps, image, plant, repository};
use crate::silence::{self, Crowd, Silence};
use crate::site::executable;
use crate::storm;
use crate::table::{count, time};
use crate::warm::{self, Case};
use crate::webhook::{Webhook, mebibytes};

const STARTS: u64 = 5;
const WARM: usize = 2_000;
const COUNTED: u32 = 100;

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds.
    Time,
    /// KiB.
    Memory,
    Number,
    /// A number whose tenths and hundredths count.
    Ratio,
}

impl Unit {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Time, "time"), (Self::Memory, "memory"), (Self::Number, "number"), (Self::Ratio, "ratio")];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(unit, known)| (known == name).then_some(unit))
    }

    /// For people.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures are small and not negative")]
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Time => time(Duration::from_secs_f64(value)),
            Self::Memory => mebibytes(value.round() as u64),
            Self::Number => count(value.round() as u64),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::ALL.iter().find(|(unit, _)| unit == self).map_or(Ok(()), |(_, name)| f.write_str(name))
    }
}

/// What depends on the machine and its load.
pub(crate) fn print() {
    footprint();
    warm();
    bursts();
    storms();
    let [_, second] = silence::questions(Silence::AfterTcp);
    duration("a lone question to a silent server, the second", second);
    duration("100 wait for a silent server: worst answer to others", Crowd::run().worst_of_others());
    first_admissions();
    cold_admissions();
}

fn line(name: &str, unit: Unit, value: f64) {
    println!("{name}\t{unit}\t{value}");
}

fn duration(name: &str, value: Duration) {
    line(name, Unit::Time, value.as_secs_f64());
}

fn memory(name: &str, kibibytes: u64) {
    line(name, Unit::Memory, kibibytes as f64);
}

fn number(name: &str, value: u64) {
    line(name, Unit::Number, value as f64);
}

fn footprint() {
    let (_trust_server, site) = plant(&repository("plant/plc"));
    number("executable, bytes", fs::metadata(executable()).unwrap().len());
    duration("exec to ready", median((0..STARTS).map(|_| Webhook::start(&site).ready_after)));
    let webhook = Webhook::start(&site);
    thread::sleep(Duration::from_secs(1));
    memory("resident, idle", webhook.memory().resident);
    let (mut client, request) = (webhook.connect(), request(&[image("plant/plc")]));
    (0..WARM).for_each(|_| client.admit(&request));
    memory("resident, after 2,000 admissions", webhook.memory().resident);
}

fn warm() {
    let cases = Case::all();
    for (case, connections, clients) in [
        (0, Connections::Kept, 1),
        (0, Connections::Kept, 8),
        (0, Connections::New, 1),
        (0, Connections::New, 8),
        (1, Connections::Kept, 1),
        (1, Connections::Kept, 8),
    ] {
        let case = &cases[case];
        let measured = warm::measure(case, connections, clients);
        let kept = if connections == Connections::Kept { "kept" } else { "new" };
        let of = |what: &str| format!("{}, {clients} on {kept}: {what}", case.name);
        duration(&of("p50"), measured.load.quantile(500));
        duration(&of("p99"), measured.load.quantile(990));
        line(&of("admissions a second"), Unit::Number, measured.load.per_second());
        duration(&of("CPU of each"), measured.cpu);
        if let Some(switches) = measured.switches {
            line(&of("context switches of each"), Unit::Ratio, switches);
        }
        duration(&of("p50 of TLS alone"), measured.floor.quantile(500));
        line(&of("p50 to TLS alone"), Unit::Ratio, measured.to_floor());
    }
}

fn bursts() {
    let (_trust_server, site) = plant(&repository("plant/plc"));
    for at_once in [500, 1_000] {
        let (burst, used, kept) = burst::measure(&site, at_once);
        let of = |what: &str| format!("burst of {}: {what}", count(at_once as u64));
        number(&of("answered"), burst.answered as u64);
        duration(&of("the last answer"), burst.worst);
        duration(&of("worst on a kept connection"), kept);
        memory(&of("most memory"), used.most);
        memory(&of("memory with all open"), used.open);
        memory(&of("memory 5 s later"), used.settled);
        duration(&of("the last of TLS alone"), burst::floor(&site, at_once).worst);
    }
}

fn storms() {
    for scheme in Scheme::ALL {
        let (_source, site) = storm::prepared(scheme);
        let of = |what: &str| format!("storm, {}: {what}", scheme.name());
        let storm = storm::run(&site);
        duration(&of("total"), storm.took);
        duration(&of("worst"), storm.worst());
        memory(&of("most memory"), storm.most);
    }
}

fn first_admissions() {
    let (_source, mut site) = Source::with_site(Scheme::Notary, &apps(2 * disk::NUMBER));
    for (what, disk) in
        [("nothing is stored", Disk::Nothing), ("stored", Disk::Plain), ("each sync 200 ms", Disk::Slow)]
    {
        if !disk.needs_strace() || disk::is_strace_there() {
            let first = disk::measure(&mut site, disk);
            duration(&format!("first admission of a repository, {what}: median"), first.median());
            duration(&format!("first admission of a repository, {what}: 10 at once"), first.at_once);
        }
    }
}

fn cold_admissions() {
    for scheme in Scheme::ALL {
        let (source, key) = Source::start(scheme, &cold::REPOSITORIES.map(str::to_owned));
        let cold = cold::with_token(&source, &key, Duration::from_millis(50), 3);
        for (case, what) in ["first contact", "another repository"].into_iter().enumerate() {
            let (time, chain) = cold.median(case);
            duration(&format!("{} at 50 ms, {what}", scheme.name()), time);
            number(&format!("{} at 50 ms, {what}: requests in a row", scheme.name()), chain.requests.into());
        }
    }
}

/// What does not differ from run to run.
pub(crate) fn instructions() {
    if !callgrind::is_there() {
        return;
    }
    let cases = Case::all();
    for case in [&cases[0], &cases[1], &cases[3]] {
        let kept = warm::instructions(&case.site, &case.request, COUNTED, true);
        number(&format!("{}: instructions on a kept connection", case.name), kept);
    }
    let new = warm::instructions(&cases[0].site, &cases[0].request, COUNTED / 4, false);
    number(&format!("{}: instructions on a new connection", cases[0].name), new);
    let (_trust_server, site) = growth::many_images();
    number("instructions of each image beyond the first", growth::further_image(&site, 16));
}
