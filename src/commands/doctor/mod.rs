//! `portreeve doctor`: what will stop working, and when. It reads the files that the webhook reads, and asks the servers that the
//! webhook asks, all side by side until one deadline. It verifies no image, and changes nothing: the webhook's stored data
//! is read, and one file is written beside it and removed.

mod ask;
mod cache;
mod clock;
mod endings;
mod files;
mod finding;
mod limits;
mod output;
mod policies;
mod servers;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::ExitStatus;
use super::arguments::Output;
use super::setup;
use crate::base::clock::now;
use crate::base::context::Deadline;
use crate::base::side_by_side::{Slot, side_by_side};
use crate::config::{self, AskApi, Config};
use crate::keychain::MountedCredentials;
use crate::policy::PolicySet;
use crate::webhook::Engine;
use ask::{Asked, Asker};
use finding::{Findings, State, moment};
use servers::Servers;

/// How long all servers may take together.
pub(super) const TIME: Duration = Duration::from_secs(15);
/// The most servers that are asked at the same time. Each takes a thread, and the webhook's memory is shared.
const AT_ONCE: usize = 8;

/// The configuration that is read where none is named: in a pod, the one that the manifests mount.
pub(super) fn configuration() -> Option<&'static Path> {
    Some(Path::new(files::CONFIGURATION)).filter(|path| path.is_dir())
}

/// Looks at everything, and prints what was found. `given` are the policies of the command line; empty: those of the
/// configuration.
pub(super) fn run(config: &Config, given: &[PathBuf], output: Output, timeout: Duration) -> ExitStatus {
    let deadline = Deadline::after(timeout);
    let findings = examine(config, given, deadline);
    let text = match output {
        Output::Text => output::text(&findings).into_bytes(),
        Output::Json => output::json(&findings),
    };
    let _ = std::io::stdout().lock().write_all(&text); // a closed pipe is no error
    match findings.worst() {
        State::Wrong => ExitStatus::Denied,
        State::Unknown => ExitStatus::Undecided,
        State::Ok | State::Skipped | State::Note | State::Soon => ExitStatus::Allowed,
    }
}

fn examine(config: &Config, given: &[PathBuf], deadline: Deadline) -> Findings {
    let mut findings = Findings::new(moment(now().as_second()));
    files::serving_certificate(config, &mut findings);
    let has_ca = files::trust_ca(config, &mut findings);
    let policies = policies::load(config, given, &mut findings);
    let named: Vec<&Path> = policies.iter().flat_map(|policies| policies.directories()).collect();
    for note in config::notes(config, &named) {
        findings.add(State::Note, "configuration", "", &note.to_string(), "");
    }
    let credentials = MountedCredentials::new(Some(config.mounted_credentials.clone()));
    files::credentials(config, &credentials, &mut findings);
    let stored = cache::examine(config, deadline, &mut findings);
    let servers = Servers::named(config, policies.as_ref(), stored.as_deref().unwrap_or_default());
    for directory in &servers.directories {
        files::named_directory(directory, &mut findings);
    }
    let mut usable = config.clone();
    // A disk that does not answer is not waited for again, and no directory is made.
    usable.trust.cache = usable.trust.cache.filter(|cache| stored.is_some() && cache.exists());
    if !has_ca {
        usable.trust.ca = PathBuf::new(); // what ends is told all the same
    }
    let not_asked = match setup::standalone_engine(&usable) {
        Ok(engine) => {
            if let Some(policies) = policies {
                engine.policies().replace(policies);
            }
            let engine = Arc::new(engine);
            policies::trust(&engine, &mut findings);
            endings::examine(&usable, &engine, deadline, &mut findings);
            if has_ca {
                ask_all(config, &servers, &engine, &credentials, deadline, &mut findings);
            }
            !has_ca
        }
        Err(error) => {
            let action = "correct it: the webhook does not start so";
            findings.add(State::Wrong, "configuration", "", &error.to_string(), action);
            true
        }
    };
    if not_asked && !servers.targets.is_empty() {
        let found = format!("{} were not asked", servers.targets.len());
        findings.add(State::Unknown, "servers", "", &found, "correct first what is wrong");
    }
    limits::examine(config, &mut findings);
    files::left_out(&mut findings);
    findings
}

/// Runs a job on a thread of its own, and waits for it as long as this: a volume may not answer. One function for all jobs,
/// because a thread's code is there once for each type.
fn in_time(patience: Duration, job: Box<dyn FnOnce() + Send>) {
    let end = Deadline::after(patience);
    let Ok(thread) = thread::Builder::new().name("disk".to_owned()).spawn(job) else { return };
    while !thread.is_finished() && end.remaining().is_some() {
        thread::sleep(Duration::from_millis(2));
    }
}

/// What to do where no trust server is known.
pub(super) const NAME_SERVER: &str = "set trustServer in the policy, or trust.servers in the configuration";

/// Registries for which no trust server is known, each with the policy that needs one.
pub(super) fn without_server(config: &Config, policies: &PolicySet) -> Vec<(String, String)> {
    Servers::named(config, Some(policies), &[]).without_server
}

/// Asks all servers, and compares their clocks with this machine's.
fn ask_all(
    config: &Config,
    servers: &Servers,
    engine: &Engine,
    credentials: &MountedCredentials,
    deadline: Deadline,
    findings: &mut Findings,
) {
    for (host, policy) in &servers.without_server {
        findings.add(State::Wrong, "trust_server", host, &format!("none is known for it ({policy})"), NAME_SERVER);
    }
    let client = engine.evaluator().schemes.notary_v1.service.shared().client;
    let others = match config.ask_api {
        AskApi::Yes => "the pull secrets of pods count as well (credentials.kubernetes), and are not known here",
        AskApi::No if files::is_elsewhere(&config.mounted_credentials) => files::IN_THE_POD,
        AskApi::No => "",
    };
    let asker = Asker { client: &client, credentials, others, now: findings.now };
    let slots: Vec<Slot<Asked>> = servers.targets.iter().map(|_| Slot::new()).collect();
    let each = deadline.half();
    let limit = each.remaining().unwrap_or_default();
    side_by_side(servers.targets.len(), AT_ONCE, "doctor", &|number| {
        if let (Some(target), Some(slot)) = (servers.targets.get(number), slots.get(number)) {
            slot.put(asker.ask(target, deadline.at_most(limit)));
        }
    });
    let mut offsets = Vec::new();
    for Asked { findings: found, offset } in slots.iter().filter_map(Slot::take) {
        findings.list.extend(found.list);
        offsets.extend(offset);
    }
    let known: Vec<String> = servers.targets.iter().filter_map(|target| ask::address(target.url.as_str())).collect();
    for (server, end) in client.certificate_ends() {
        if !known.contains(&server) {
            findings.end("token_service", &server, "its certificate", moment(end), "renew it before it ends");
        }
    }
    if servers.left_out > 0 {
        let found = format!("{} more are named by policies, and were not asked", servers.left_out);
        findings.add(State::Unknown, "servers", "", &found, "");
    }
    clock::compare(&offsets, servers.targets.len(), findings);
}
