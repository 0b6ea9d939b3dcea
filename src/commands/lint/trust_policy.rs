//! Notation's own `trustpolicy.json`, for people who move: each of its policies as a policy of Portreeve, or why it is none.
//!
//! What is printed is then checked as a policy file is. Nothing is ever let in that Notation would not let in.

use std::path::Path;

use crate::base::files::read_text_capped;
use crate::commands::check::snippet;
use crate::policy::{Checked, check_manifests};
use crate::schemes::notation::Rule;
use crate::yaml::tree::MAX_TEXT;
use portreeve_verify::notation::{PolicyEffect, TrustPolicy};
use portreeve_verify::text::printable;

/// What the files amount to.
#[derive(Default)]
pub(super) struct Imported {
    /// Is there such a file?
    pub(super) is_any: bool,
    /// The policies, in YAML.
    pub(super) text: String,
    /// What is done in another way, a line each.
    pub(super) notes: Vec<String>,
    /// What is not taken over, a line each.
    pub(super) problems: Vec<String>,
}

impl Imported {
    /// Takes the file if it is a trust policy of Notation's, and adds its policies to those that are checked.
    pub(super) fn take(&mut self, path: &Path, checked: &mut Checked) -> bool {
        let Some(json) = read_text_capped(path, MAX_TEXT).ok().filter(|text| is_trust_policy(text)) else {
            return false;
        };
        self.is_any = true;
        checked.files += 1;
        let file = printable(&path.to_string_lossy(), 300);
        match TrustPolicy::read(json.as_bytes()) {
            Ok(policies) => {
                let mut text = String::new();
                for policy in policies {
                    let policy = match policy {
                        Ok(policy) => policy,
                        Err(error) => {
                            self.problems.push([&file, ": ", &error.to_string()].concat());
                            continue;
                        }
                    };
                    let name = [&file, ": the policy \"", &printable(&policy.name, 100), "\""].concat();
                    match self.write(&mut text, &policy, &name) {
                        Ok(()) => {}
                        Err(why) => self.problems.push([&name, ": ", &why].concat()),
                    }
                }
                // Places are those of the text that is printed.
                check_manifests(&text, Path::new(&[&file, ", as printed"].concat()), checked);
                self.text.push_str(if self.text.is_empty() { "" } else { "---\n" });
                self.text.push_str(&text);
            }
            Err(error) => self.problems.push([&file, ": ", &error.to_string()].concat()),
        }
        true
    }

    fn write(&mut self, text: &mut String, policy: &TrustPolicy, name: &str) -> Result<(), String> {
        const SKIP: &str = "its level is \"skip\", which verifies nothing: it is not taken over, and the other policies decide on \
                            these images; to let them in unchecked, write an entry without a policy";
        let mode = match policy.effect {
            PolicyEffect::Enforce => "",
            PolicyEffect::Warn(why) => {
                self.notes.push([name, ": ", why, "; here it warns, and denies nothing (mode: warn)"].concat());
                "        mode: warn\n"
            }
            PolicyEffect::Refused => return Err(SKIP.to_owned()),
        };
        let rule = Rule::under(&policy.trust_stores, &policy.trusted_identities, policy.skips_revocation)?;
        let rule = Rule { after_cert_expiry_only: policy.after_cert_expiry_only, ..rule };
        text.push_str(if text.is_empty() { "" } else { "---\n" });
        text.push_str(&snippet::begin(&policy.name, None));
        for scope in &policy.registry_scopes {
            snippet::entry(text, scope);
            text.push_str(mode);
            snippet::notation(text, &rule, &[]);
        }
        Ok(())
    }
}

/// Is it meant to be one? It may be damaged.
fn is_trust_policy(text: &str) -> bool {
    text.trim_start().starts_with('{') && text.contains("\"trustPolicies\"") && !text.contains("\"apiVersion\"")
}

#[cfg(test)]
mod tests;
