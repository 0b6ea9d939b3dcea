//! The servers and directories that policies and the configuration name, and what each is asked about.

use std::path::PathBuf;

use super::policies::site_first;
use crate::config::Config;
use crate::http::url::ServerUrl;
use crate::policy::{Pattern, PolicySet, Rule};
use crate::registry::oci::places::Place;
use crate::schemes::notary::TrustServer;
use crate::schemes::{Check, notary};
use portreeve_verify::image::Reference;
use portreeve_verify::tuf::Gun;

/// The most servers that are asked, and the most questions to one of them.
const MAX_SERVERS: usize = 64;
const MAX_QUESTIONS: usize = 16;
/// The name of a repository that is asked for where no real one is known.
const EXAMPLE: &str = "portreeve-doctor";

/// The kind of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    TrustServer,
    Registry,
}

/// A server.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) url: ServerUrl,
    /// The first policy or key that names it, and how many more there are.
    pub(super) named_by: String,
    pub(super) more: usize,
    /// Do only policies of namespaces name it?
    pub(super) is_delegated: bool,
    pub(super) questions: Vec<Question>,
}

/// A repository that a server is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Its name on the server.
    pub(super) repository: String,
    /// The name whose credentials are sent, and another one whose credentials are tried first.
    pub(super) credentials: String,
    pub(super) mirror: Option<String>,
    /// Has a namespace's own policy named the server? Then it is sent no mounted credentials.
    pub(super) is_stranger: bool,
    /// Is it the name of a repository, or an example of the names that a pattern matches?
    pub(super) is_real: bool,
}

/// A directory with trust data or signatures.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) named_by: String,
}

/// All that is named.
#[derive(Debug, Default)]
pub(super) struct Servers {
    pub(super) targets: Vec<Target>,
    pub(super) directories: Vec<Directory>,
    /// How many servers are not asked, because there are too many.
    pub(super) left_out: usize,
    /// Registries for which no trust server is known, each with the policy that needs one.
    pub(super) without_server: Vec<(String, String)>,
}

impl Servers {
    /// Those of the configuration, and those of policies. `stored` has the server and the GUN of stored trust data.
    pub(super) fn named(config: &Config, policies: Option<&PolicySet>, stored: &[(String, String)]) -> Self {
        let mut servers = Self::default();
        let rules = || policies.into_iter().flat_map(site_first);
        servers.add_rules(config, rules().take_while(|rule| !rule.is_delegated));
        servers.add_configured(config);
        servers.add_rules(config, rules().skip_while(|rule| !rule.is_delegated));
        for target in servers.targets.iter_mut().filter(|target| target.kind == Kind::TrustServer) {
            target.ask_about_stored(stored);
        }
        servers
    }

    fn add_rules<'a>(&mut self, config: &Config, rules: impl Iterator<Item = &'a Rule>) {
        for rule in rules {
            let Ok(pattern) = Pattern::parse(&rule.pattern) else { continue };
            let example = example(&pattern);
            for check in rule.signed().iter().flat_map(|signed| signed.any_of.iter().flatten()) {
                match check {
                    Check::NotaryV1(notary) => self.add_notary(config, rule, notary, example.as_ref()),
                    Check::Cosign(_) | Check::Notation(_) => {
                        if let Some((image, is_real)) = &example {
                            self.add_places(config, image, *is_real, &rule.policy_name());
                        }
                    }
                }
            }
        }
    }

    /// Those that the configuration names.
    fn add_configured(&mut self, config: &Config) {
        for (host, server) in config.trust.servers.configured() {
            let image = Reference::parse(&format!("{host}/{EXAMPLE}")).ok();
            let question = image.and_then(|image| Gun::of(&image).ok()).map(|gun| Question::of(gun.as_str(), false));
            self.add_server(server, &format!("trust.servers, {host}"), false, question);
        }
        let keys =
            config.registries.configured_endpoints().map(|(host, _)| (format!("{host}/"), "registries.endpoints"));
        let prefixes =
            config.registries.signature_prefixes().map(|prefix| (prefix.to_owned(), "registries.signatures"));
        for (prefix, key) in keys.chain(prefixes) {
            let is_real = !prefix.ends_with('/');
            let name = if is_real { prefix.clone() } else { [&prefix, EXAMPLE].concat() };
            if let Ok(image) = Reference::parse(&name) {
                self.add_places(config, &image, is_real, &format!("{key}, {}", prefix.trim_end_matches('/')));
            }
        }
    }

    fn add_notary(&mut self, config: &Config, rule: &Rule, check: &notary::Rule, example: Option<&(Reference, bool)>) {
        let named_by = rule.policy_name();
        let Some((image, is_real)) = example else {
            // The pattern names no registry: the server's repositories are not known.
            if let Some(server) = &check.server {
                self.add_server(server, &named_by, rule.is_delegated, None);
            }
            return;
        };
        let signed = check.remap.as_ref().map_or_else(|| Ok(image.clone()), |remap| remap.signed(image));
        let Some(gun) = signed.ok().and_then(|signed| Gun::of(&signed).ok()) else { return };
        let configured = |host: &str| config.trust.servers.for_host(host).and_then(Result::ok);
        let Some(server) = check.server.clone().or_else(|| configured(gun.host())) else {
            let entry = (gun.host().to_owned(), named_by);
            if self.without_server.len() < MAX_SERVERS && !self.without_server.contains(&entry) {
                self.without_server.push(entry);
            }
            return;
        };
        // As the scheme has it: a server that was found by the signed name sees no credentials of the mirror, and one that a
        // namespace's people name sees no mounted ones.
        let is_configured = configured(gun.host()).is_some_and(|own| own == server);
        let is_stranger = rule.is_delegated && check.server.is_some() && !is_configured;
        let may_see = (check.server.is_some() && (is_stranger || !rule.is_delegated))
            || image.host() == gun.host()
            || configured(image.host()).is_some_and(|own| own == server);
        let mirror = may_see.then(|| image.repository().to_owned()).filter(|mirror| mirror != gun.as_str());
        let question = Question { mirror, is_stranger, ..Question::of(gun.as_str(), *is_real) };
        self.add_server(&server, &named_by, is_stranger, Some(question));
    }

    /// The places of an image and of its signatures.
    fn add_places(&mut self, config: &Config, image: &Reference, is_real: bool, named_by: &str) {
        let registries = &config.registries;
        for place in [registries.image_place(image), registries.signature_place(image)] {
            match place {
                Place::Layout { directory, .. } => self.add_directory(directory, named_by),
                Place::Registry { url, repository, credentials } => {
                    let question = Question { repository, credentials, mirror: None, is_stranger: false, is_real };
                    self.add(Kind::Registry, &url, named_by, false, Some(question));
                }
            }
        }
    }

    fn add_server(&mut self, server: &TrustServer, named_by: &str, is_delegated: bool, question: Option<Question>) {
        match (server.directory(), server.remote()) {
            (Some(directory), _) => self.add_directory(directory.to_owned(), named_by),
            (None, Some(url)) => self.add(Kind::TrustServer, url, named_by, is_delegated, question),
            (None, None) => {}
        }
    }

    fn add_directory(&mut self, path: PathBuf, named_by: &str) {
        if self.directories.len() < MAX_SERVERS && !self.directories.iter().any(|known| known.path == path) {
            self.directories.push(Directory { path, named_by: named_by.to_owned() });
        }
    }

    fn add(&mut self, kind: Kind, url: &ServerUrl, named_by: &str, is_delegated: bool, question: Option<Question>) {
        let known = self.targets.iter().position(|target| target.kind == kind && target.url == *url);
        let at = match known {
            Some(at) => at,
            None if self.targets.len() >= MAX_SERVERS => {
                self.left_out += 1;
                return;
            }
            None => {
                let (url, named_by) = (url.clone(), named_by.to_owned());
                self.targets.push(Target { kind, url, named_by, more: 0, is_delegated, questions: Vec::new() });
                self.targets.len() - 1
            }
        };
        let Some(target) = self.targets.get_mut(at) else { return };
        target.is_delegated &= is_delegated;
        target.more += usize::from(known.is_some() && target.named_by != named_by);
        if let Some(question) = question
            && target.questions.len() < MAX_QUESTIONS
            && !target.questions.contains(&question)
        {
            target.questions.push(question);
        }
    }
}

impl Target {
    /// Asks about repositories of which trust data is stored, where only an example is known.
    fn ask_about_stored(&mut self, stored: &[(String, String)]) {
        let guns = || stored.iter().filter(|(server, _)| server == self.url.as_str()).map(|(_, gun)| gun);
        if self.questions.is_empty() {
            self.questions = guns()
                .take(MAX_QUESTIONS)
                .map(|gun| Question { is_stranger: self.is_delegated, ..Question::of(gun, true) })
                .collect();
            return;
        }
        let is_example = |question: &&mut Question| !question.is_real && question.mirror.is_none();
        for question in self.questions.iter_mut().filter(is_example) {
            let folder = question.repository.strip_suffix(EXAMPLE).unwrap_or(&question.repository);
            let real = stored.iter().find(|(server, gun)| server == self.url.as_str() && gun.starts_with(folder));
            if let Some((_, gun)) = real {
                *question = Question { is_stranger: question.is_stranger, ..Question::of(gun, true) };
            }
        }
    }
}

impl Question {
    fn of(repository: &str, is_real: bool) -> Self {
        Self {
            repository: repository.to_owned(),
            credentials: repository.to_owned(),
            mirror: None,
            is_stranger: false,
            is_real,
        }
    }
}

/// An image that a pattern matches, and whether its name is the pattern's. `None` where the pattern names no registry.
fn example(pattern: &Pattern) -> Option<(Reference, bool)> {
    let host = pattern.exact_host()?;
    if let Some(path) = pattern.exact_path() {
        return Some((Reference::parse(&format!("{host}/{path}")).ok()?, true));
    }
    let text = pattern.to_string();
    let path = text.strip_prefix(host)?.strip_prefix('/')?;
    let before_star = path.split('*').next().unwrap_or_default();
    let folder = before_star.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    Some((Reference::parse(&format!("{host}/{folder}{EXAMPLE}")).ok()?, false))
}

#[cfg(test)]
mod tests;
