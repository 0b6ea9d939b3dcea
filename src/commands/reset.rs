//! `portreeve check --reset`: removes the stored data of a repository. This is needed after its owner has deleted the
//! repository and made it again, or when the stored data is damaged. The next query trusts the pinned roots, or the first root that it sees.
//! Evidence of cosign signatures is not touched: it is verified at every use, and binds nothing.

use super::{ExitStatus, complain, gun_of, print};
use crate::config::Config;
use crate::schemes::notary::store::reset;
use portreeve_verify::text::printable;

/// Removes the stored data of repositories. Image names are normalised first.
pub(super) fn run(config: &Config, names: &[String]) -> ExitStatus {
    let Some(cache) = &config.trust.cache else {
        return complain("there is no trust.cache in the configuration, and no --cache DIR: nothing is stored");
    };
    if !cache.is_dir() {
        return complain(&format!(
            "the directory {} does not exist; nothing was reset",
            printable(&cache.display().to_string(), 400)
        ));
    }
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
            Ok(servers) if servers.is_empty() => {
                print(&format!("there is no stored trust data of {gun}; evidence of cosign signatures needs no reset"))
            }
            Ok(servers) => print(&format!("removed the stored trust data of {gun} ({})", servers.join(", "))),
            Err(error) => {
                status = status.worse(complain(&format!("{gun}: {error}")));
                continue;
            }
        };
    }
    status
}
