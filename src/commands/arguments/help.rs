//! The commands and their options: one table, from which the command line is read, the help is printed, and a misspelled word
//! gets its suggestion.

use crate::base::text::nearest;

/// A command, as `help` shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandHelp {
    /// Its name.
    pub(super) name: &'static str,
    /// What it does, in one line.
    does: &'static str,
    /// Its forms, one a line, without `portreeve`.
    usage: &'static [&'static str],
    /// What its exit statuses mean.
    ends: &'static str,
}

/// An option, as `help` shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OptionHelp {
    /// Its name, without the two dashes.
    pub(super) name: &'static str,
    /// The letter of its short form.
    short: Option<char>,
    /// What its value is; empty if it has none.
    pub(super) value: &'static str,
    /// The commands that take it.
    pub(super) of: &'static [&'static str],
    /// What it does.
    does: &'static str,
}

const DECIDES: &str = "0 allowed, 1 denied, 2 bad input or configuration, 3 undecided: no server could be asked";

pub(super) const COMMANDS: &[CommandHelp] = &[
    CommandHelp {
        name: "serve",
        does: "the webhook",
        usage: &["serve [OPTION…]"],
        ends: "0 stopped by a signal, 2 bad configuration, or an address that cannot be used",
    },
    CommandHelp {
        name: "review",
        does: "decide as the webhook would, on manifests, AdmissionReviews, or what a cluster runs",
        usage: &["review [OPTION…] FILE|DIR|-…", "review --cluster [OPTION…]"],
        ends: DECIDES,
    },
    CommandHelp {
        name: "check",
        does: "which policy applies to an image, the digest, who signed, when it expires, what to pin",
        usage: &[
            "check [OPTION…] IMAGE…",
            "check --key FILE|--trusted-root FILE|--signatures [OPTION…] IMAGE…",
            "check --reset [OPTION…] NAME…",
        ],
        ends: DECIDES,
    },
    CommandHelp {
        name: "export",
        does: "write verified trust data, or images' signatures, for a site without a server",
        usage: &[
            "export --gun NAME [OPTION…] DIR",
            "export --image IMAGE… --key FILE|--trusted-root FILE|--trust-store NAME [OPTION…] DIR",
        ],
        ends: "0 written, 1 not verified, 2 bad input or configuration, 3 no server could be asked",
    },
    CommandHelp {
        name: "doctor",
        does: "what will stop working, and when: certificates, policies, servers, trust data, clock",
        usage: &["doctor [OPTION…]"],
        ends: "0 nothing is wrong, 1 something is wrong, 2 bad configuration, 3 something could not be asked",
    },
    CommandHelp {
        name: "lint",
        does: "check policy files, ConfigMap manifests, or a configuration",
        usage: &["lint [OPTION…] FILE|DIR|-…", "lint --config FILE"],
        ends: "0 nothing is wrong, 2 something is wrong",
    },
    CommandHelp { name: "version", does: "print the version", usage: &["version"], ends: "0" },
    CommandHelp { name: "help", does: "print this, or the help of a command", usage: &["help [COMMAND]"], ends: "0" },
];

const ENGINES: &[&str] = &["serve", "review", "check", "export", "doctor"];

pub(super) const OPTIONS: &[OptionHelp] = &[
    takes(
        "config",
        "FILE",
        &["serve", "review", "check", "export", "doctor", "lint"],
        "the configuration, or a directory of files",
    ),
    takes("policies", "DIR", &["serve"], "a directory of policies, instead of the configured ones; repeatable"),
    takes(
        "policies",
        "PATH",
        &["review", "check", "doctor"],
        "policies instead of the configured ones: a file or directory, as for lint; repeatable",
    ),
    takes("trust-ca", "FILE", ENGINES, "PEM certificates added to the built-in roots"),
    takes("cache", "DIR", ENGINES, "where verified trust data is stored"),
    takes("timeout", "TIME", &["review", "check", "export"], "how long each may take, such as 10s"),
    takes("timeout", "TIME", &["doctor"], "how long all servers may take together, such as 15s"),
    OptionHelp {
        short: Some('n'),
        ..takes(
            "namespace",
            "NS",
            &["review"],
            "the namespace of manifests that name none; with --cluster, the only one",
        )
    },
    OptionHelp { short: Some('n'), ..takes("namespace", "NS", &["check"], "the namespace whose policies apply") },
    OptionHelp { short: Some('o'), ..takes("output", "FORMAT", &["review"], "text or json") },
    OptionHelp { short: Some('o'), ..takes("output", "FORMAT", &["check"], "text or json") },
    OptionHelp { short: Some('o'), ..takes("output", "FORMAT", &["doctor"], "text or json") },
    flag("cluster", &["review"], "review what the cluster runs, as the Kubernetes API has it"),
    takes("webhooks", "FILE", &["review"], "webhook configurations, whose exempt namespaces are skipped; repeatable"),
    takes("summary", "FILE", &["review"], "write the summary to a file as well"),
    flag(
        "kubernetes-credentials",
        &["serve", "review", "check", "doctor"],
        "read pull secrets and signerSecrets from the Kubernetes API",
    ),
    flag(
        "compare-children",
        &["serve", "review"],
        "verify images of a controller's pod that its owner's template does not have",
    ),
    takes("key", "FILE", &["check"], "the image's cosign signatures by this public key; no policy is read"),
    flag("digest", &["check"], "print each image with its digest, to be committed, and nothing else"),
    flag("signatures", &["check"], "all cosign signatures of the image; no policy is read"),
    takes(
        "trusted-root",
        "FILE",
        &["check", "export"],
        "cosign signatures by certificates under this trusted_root.json, or logged ones by --key",
    ),
    takes("issuer", "URL", &["check", "export"], "with --trusted-root and --subject: only by this identity"),
    takes("subject", "NAME", &["check", "export"], "the other half of that identity"),
    takes("trust-store", "NAME", &["check"], "its Notation signatures under this store (ca:plant); repeatable"),
    takes("identity", "SUBJECT", &["check"], "with --trust-store: only by this signer; repeatable"),
    flag("reset", &["check"], "remove the stored trust data of these repositories"),
    takes("gun", "NAME", &["export"], "the repository whose trust data is written"),
    takes("server", "URL", &["export"], "its trust server, instead of the configured one"),
    takes("signer", "NAME", &["export"], "a delegation that must be in it; repeatable"),
    takes("root-key", "ID", &["export"], "a key that its root must have; repeatable"),
    flag("flat", &["export"], "names of files for a ConfigMap"),
    takes("image", "IMAGE", &["export"], "an image whose signatures are written; repeatable"),
    takes("key", "FILE", &["export"], "a public key that signed the images; repeatable"),
    takes("trust-store", "NAME", &["export"], "write Notation signatures under this store (ca:plant); repeatable"),
    takes("identity", "SUBJECT", &["export"], "with --trust-store: only by this signer; repeatable"),
];

/// An option with a value.
const fn takes(name: &'static str, value: &'static str, of: &'static [&'static str], does: &'static str) -> OptionHelp {
    OptionHelp { name, short: None, value, of, does }
}

/// An option without a value.
const fn flag(name: &'static str, of: &'static [&'static str], does: &'static str) -> OptionHelp {
    takes(name, "", of, does)
}

impl OptionHelp {
    fn belongs_to(&self, command: &CommandHelp) -> bool {
        self.of.contains(&command.name)
    }
}

impl CommandHelp {
    /// The command of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name)
    }

    /// The name of the option of this command that was typed, be it the long or the short form.
    pub(super) fn option(&self, long: Option<&str>, short: Option<char>) -> Option<&'static str> {
        let is_it = |option: &&OptionHelp| {
            option.belongs_to(self) && (Some(option.name) == long || (short.is_some() && option.short == short))
        };
        OPTIONS.iter().find(is_it).map(|option| option.name)
    }

    /// The option of this command that was probably meant.
    pub(super) fn meant(&self, typed: &str) -> Option<&'static str> {
        let of_command = OPTIONS.iter().filter(|option| option.belongs_to(self)).map(|option| option.name);
        nearest(typed, of_command.chain(["help"]))
    }

    /// The other commands that have an option of this name.
    pub(super) fn others_with(name: &str) -> impl Iterator<Item = &'static str> {
        OPTIONS.iter().filter(move |option| option.name == name).flat_map(|option| option.of).copied()
    }

    /// The help of this command.
    pub(super) fn text(&self) -> String {
        let mut text = [self.name, ": ", self.does, "\n\n"].concat();
        for (index, form) in self.usage.iter().enumerate() {
            text.push_str(if index == 0 { "usage: portreeve " } else { "       portreeve " });
            text.push_str(form);
            text.push('\n');
        }
        let mut is_first = true;
        for option in OPTIONS.iter().filter(|option| option.belongs_to(self)) {
            if std::mem::take(&mut is_first) {
                text.push_str("\noptions:\n");
            }
            let mut name = [if option.short.is_some() { "" } else { "    " }, "--", option.name].concat();
            if let Some(short) = option.short {
                name.insert_str(0, ", ");
                name.insert(0, short);
                name.insert(0, '-');
            }
            if !option.value.is_empty() {
                name.push(' ');
                name.push_str(option.value);
            }
            row(&mut text, &name, option.does);
        }
        text.push_str("\nexit status: ");
        text.push_str(self.ends);
        text
    }
}

/// The help that has all commands.
pub(super) fn overview() -> String {
    let mut text = "usage: portreeve COMMAND [OPTION…]\n\n".to_owned();
    for command in COMMANDS {
        row(&mut text, command.name, command.does);
    }
    text.push_str("\nportreeve help COMMAND has its options. docs/commands.md has more.");
    text
}

/// A name and its meaning; on two lines if the name is long.
fn row(text: &mut String, name: &str, does: &str) {
    const WIDTH: usize = 24;
    text.push_str("  ");
    text.push_str(name);
    let width = name.chars().count();
    if width > WIDTH {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', WIDTH + 4));
    } else {
        text.extend(std::iter::repeat_n(' ', WIDTH + 2 - width));
    }
    text.push_str(does);
    text.push('\n');
}
