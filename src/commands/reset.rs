//! `portreeve check --reset`: forgets what is stored of a repository, when its owner has deliberately made it anew or
//! what is stored is damaged. The next question trusts by the pins, or by the first root that it sees.

use super::{ExitStatus, complain, gun_of, print};
use crate::config::Config;
use crate::schemes::notary::store::reset;

/// Resets repositories by their names in trust data; a plain image name is taken for its normalised form.
pub(super) fn run(config: &Config, names: &[String]) -> ExitStatus {
    let Some(cache) = &config.trust.cache else {
        return complain("there is no trust.cache in the configuration, and no --cache DIR: nothing is stored");
    };
    let mut status = ExitStatus::Allowed;
    for name in names {
        let gun = match gun_of(name) {
            Ok(gun) => gun,
            Err(why) => {
                status = status.worse(complain(&why));
                continue;
            }
        };
        let configured: Vec<_> = config.trust.servers.for_host(gun.host()).and_then(Result::ok).into_iter().collect();
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
