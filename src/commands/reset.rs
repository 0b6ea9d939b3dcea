//! `portreeve check --reset`: forgets what is stored of a repository, when its owner has deliberately made it anew or
//! what is stored is damaged. The next question trusts by the pins, or by the first root that it sees.

use super::{ExitStatus, complain, print};
use crate::config::Config;
use crate::image::Reference;
use crate::trust::{Gun, reset};

/// Resets repositories by their names in trust data; a plain image name is taken for its normalised form.
pub(super) fn run(config: &Config, names: &[String]) -> ExitStatus {
    let Some(cache) = &config.trust.cache else {
        return complain("there is no trust.cache in the configuration, and no --cache DIR: nothing is stored");
    };
    let mut status = ExitStatus::Allowed;
    for name in names {
        let normalised = Reference::parse(name).map_or_else(|_| name.clone(), |image| image.name().to_owned());
        let gun = match Gun::new(&normalised) {
            Ok(gun) => gun,
            Err(error) => {
                status = status.worse(complain(&error.to_string()));
                continue;
            }
        };
        let host = gun.as_str().split('/').next().unwrap_or_default();
        let configured: Vec<_> = config.trust.servers.for_host(host).and_then(Result::ok).into_iter().collect();
        match reset(cache.clone(), &gun, &configured) {
            Ok(servers) if servers.is_empty() => print(&format!("nothing is stored of {gun}")),
            Ok(servers) => print(&format!("forgot what was stored of {gun} ({})", servers.join(", "))),
            Err(error) => {
                status = status.worse(complain(&format!("{gun}: {error}")));
                continue;
            }
        };
    }
    status
}
