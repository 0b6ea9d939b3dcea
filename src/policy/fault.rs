//! What can be wrong with a policy, in words: each text is here once.

use std::{fmt, io};

use super::Place;
use super::pattern::PatternError;
use crate::schemes::notary::trust_server::TrustServerError;
use crate::yaml::tree::TreeFault;
use portreeve_verify::notation::IdentityError;
use portreeve_verify::sigstore::{self, SigstoreKeyError};
use portreeve_verify::text::printable;
use portreeve_verify::tuf::{PinError, SignerKeyError};

/// A fault in a policy. The texts that it quotes are untrusted. `Display` is safe to print.
#[derive(Debug)]
pub enum Fault {
    /// A file or directory cannot be read.
    Io(io::Error),
    /// It is neither a regular file nor a directory.
    NotAFile,
    /// A directory has no file.
    NoFiles,
    /// A directory has the file by which kustomize or Helm knows a source of manifests.
    Source {
        /// The file.
        file: &'static str,
    },
    /// No file has a policy.
    NoPolicies,
    /// The files of a namespace's own ConfigMap have no policy.
    NoOwnPolicies,
    /// A policy is in a namespace's own ConfigMap, and is not one of this namespace.
    Foreign {
        /// The policy.
        policy: String,
        /// The namespace that the ConfigMap belongs to.
        namespace: String,
    },
    /// A policy in a namespace's own ConfigMap names a directory.
    DelegatedDirectory,
    /// It is in the directory of the namespaces' own policies, and is no directory with the name of a namespace.
    NotANamespace,
    /// The name of a key begins with a dot: a mounted file of that name is skipped.
    PassedOver,
    /// Too many files in the policy directories.
    TooManyFiles {
        /// The most files.
        limit: usize,
    },
    /// A file, or the text of one key of a ConfigMap, is too large.
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// All files together are too large.
    TooLargeTogether {
        /// The most bytes.
        limit: usize,
    },
    /// Directories are nested too deeply.
    TooDeep {
        /// The most levels.
        limit: usize,
    },
    /// The text is not UTF-8.
    NotUtf8,
    /// The value is not base64.
    NotBase64,
    /// It is not YAML, or uses a part of YAML that is not supported.
    Yaml {
        /// The message of the parser.
        message: String,
    },
    /// It has more values than are read.
    TooMuch,
    /// A mapping has a key twice.
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value has the wrong type.
    Type {
        /// The field.
        field: String,
        /// The type that it must have.
        expected: &'static str,
        /// The type that it has.
        actual: &'static str,
    },
    /// A document is no mapping.
    NotAPolicy {
        /// The type that it has.
        actual: &'static str,
    },
    /// A field is unknown.
    Unknown {
        /// As written.
        field: String,
        /// The mapping that has it.
        inside: &'static str,
        /// The field that was probably intended.
        suggestion: Option<&'static str>,
    },
    /// A known field is in the wrong mapping, usually because of its indentation.
    Misplaced {
        /// The field.
        field: String,
        /// The mapping that has it.
        inside: &'static str,
        /// The mapping that it belongs in.
        belongs: &'static str,
    },
    /// A field is missing or empty.
    Missing {
        /// The field.
        field: &'static str,
        /// The mapping that it is missing from.
        inside: &'static str,
    },
    /// A field has a value that is not allowed.
    Value {
        /// The field.
        field: &'static str,
        /// As written.
        found: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// A document is neither a policy nor, where one is allowed, a ConfigMap.
    Kind {
        /// `apiVersion` as written.
        api_version: String,
        /// `kind` as written.
        kind: String,
    },
    /// Kubernetes does not allow such a name.
    Name {
        /// The field.
        field: &'static str,
        /// As written.
        found: String,
    },
    /// A ClusterImagePolicy has a namespace.
    NamespaceForbidden,
    /// A field asks for a check, and `enabled` is not true.
    NotEnabled {
        /// The field.
        field: &'static str,
    },
    /// `trust` has no `enabled`.
    NoSwitch,
    /// A list or mapping of what is required is empty.
    EmptyList {
        /// The list.
        field: &'static str,
    },
    /// A list or mapping has too many entries.
    TooManyEntries {
        /// The list.
        field: &'static str,
        /// The most entries.
        limit: usize,
    },
    /// An element of `anyOf` asks for no check.
    NoCheck,
    /// A field is beside a denial, and could only weaken it or have no effect.
    BesideDenial {
        /// The field.
        field: &'static str,
    },
    /// There are too many rules.
    TooManyRules {
        /// The most rules.
        limit: usize,
    },
    /// There are too many signers' keys.
    TooManyKeys {
        /// The most keys.
        limit: usize,
    },
    /// A denial's message is too long.
    LongMessage {
        /// The most characters.
        limit: usize,
    },
    /// A field asks for a check that Portreeve cannot make.
    Unsupported {
        /// The field.
        field: String,
    },
    /// A field of `cosign` is about identities and logs, and the policy asks for neither.
    NoIdentity {
        /// The field.
        field: &'static str,
    },
    /// A signer has a key and an identity.
    KeyAndIdentity,
    /// The pattern could never match an image.
    Pattern(PatternError),
    /// A signer cannot have such a name.
    SignerName {
        /// As written.
        found: String,
        /// The names that it can have.
        rule: &'static str,
    },
    /// A signer's key cannot be read.
    SignerKey(SignerKeyError),
    /// A signer's key cannot be used for cosign.
    SigstoreKey(SigstoreKeyError),
    /// A signer's identity cannot be used for cosign.
    SignerIdentity(sigstore::IdentityError),
    /// A signer of Notation's cannot be named so.
    Identity(IdentityError),
    /// Two signers have the same key or the same identity.
    KeyTwice {
        /// `key` or `identity`.
        what: &'static str,
        /// The second signer.
        name: String,
        /// The first signer.
        other: String,
        /// The line of the first entry.
        first: usize,
    },
    /// `threshold` can never be met, or is always met.
    Threshold {
        /// As written.
        found: String,
        /// The number of signers.
        signers: usize,
    },
    /// A signer is listed twice. Notary v1 allows it with the same key.
    SignerTwice {
        /// The signer.
        name: String,
        /// The line of the first entry.
        first: usize,
    },
    /// An entry of `roots` has none, or several, of its three fields.
    RootKinds {
        /// The number of these fields.
        found: usize,
    },
    /// A certificate in `roots` cannot be read.
    Pin(PinError),
    /// The trust server's URL cannot be used.
    Server(TrustServerError),
    /// A value is no duration.
    Duration {
        /// As written.
        found: String,
    },
    /// `maxStale` has no effect, because stored data is never used.
    StaleWithoutCached,
    /// `maxStale` is zero.
    StaleZero,
    /// A field of `remap` is no prefix of image names.
    RemapPrefix {
        /// The field.
        field: &'static str,
        /// As written.
        found: String,
    },
    /// A policy occurs twice with different rules.
    PolicyTwice {
        /// The policy.
        policy: String,
        /// The place of the first.
        first: Place,
    },
    /// A pattern occurs twice in a scope with different requirements.
    PatternTwice {
        /// As written.
        pattern: String,
        /// The policy that has it first.
        policy: String,
        /// The place of the first.
        first: Place,
    },
}

impl From<TreeFault> for Fault {
    fn from(fault: TreeFault) -> Self {
        match fault {
            TreeFault::TooLarge { limit } => Self::TooLarge { limit },
            TreeFault::TooMuch => Self::TooMuch,
            TreeFault::DuplicateKey { key } => Self::DuplicateKey { key },
            TreeFault::Syntax { message } => Self::Yaml { message },
        }
    }
}

impl Fault {
    /// What to do, or what was probably intended.
    pub fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::Unknown { field, .. } if field == "simpleStore" => {
                "it is where Portieris looks for simple signatures, which are not checked here"
            }
            Self::Unknown { suggestion: Some(known), .. } => return Some(format!("did you mean \"{known}\"?")),
            Self::Misplaced { field, inside: "policy.cosign", .. } if field == "enabled" => {
                "cosign is checked wherever it is written: only \"trust\" has a switch"
            }
            Self::Misplaced { belongs, .. } => {
                return Some(format!("it belongs under {belongs}: check the indentation"));
            }
            Self::Value { field: "trustedRoot", found, .. } if found.ends_with(".json") => {
                return Some(format!("write \"{}\"", printable(found.trim_end_matches(".json"), 120)));
            }
            Self::Value { expected, .. } => return Some(format!("it is {expected}")),
            Self::NotEnabled { field: "mode" } => {
                "set trust.enabled to true, or write \"cosign\" or \"notation\"; without any, these images are let in unchecked"
            }
            Self::NotEnabled { .. } => {
                "set trust.enabled to true; while it is not, trust data is not looked at, and images are let in unchecked if \
                 nothing else is asked for"
            }
            Self::NoSwitch => {
                "write \"enabled: true\", or \"enabled: false\" to look at no trust data: without another check these images are \
                 then let in unchecked"
            }
            Self::EmptyList { field: "roots" } => {
                "pin a root, or remove it: then the first root that is seen is trusted"
            }
            Self::EmptyList { field: "signers" } => {
                "name the signers, or remove it: then only signerSecrets name some, and in \"trust\" without them any signature \
                 is enough"
            }
            Self::EmptyList { field: "annotations" } => {
                "name the annotations, or remove it: then signatures without any are enough"
            }
            Self::EmptyList { field: "trustStores" | "trustedIdentities" } => {
                "name at least one: without one no signature could count"
            }
            Self::EmptyList { field: "metadata" } => {
                "name the metadata, or remove it: then signatures without any are enough"
            }
            Self::EmptyList { field: "signerSecrets" } => "name the Secrets that have the keys, or remove it",
            Self::EmptyList { .. } => {
                "list the alternatives: each is a mapping with \"trust\", \"cosign\" or \"notation\""
            }
            Self::NoCheck => {
                "write \"cosign\" or \"notation\", or \"trust\" with \"enabled: true\": otherwise every image would be let in unchecked"
            }
            Self::NoIdentity { field: "trustedRoot" } => {
                "identities and logs are verified by it: name signers with issuer and subject, or write \"transparencyLog: \
                 required\" to have the signatures of keys in a log; or remove it"
            }
            Self::NoIdentity { .. } => "it is about certificates: name signers with issuer and subject, or remove it",
            Self::KeyAndIdentity => "make two signers of it, or remove one of the two",
            Self::BesideDenial { .. } => {
                "to deny these images write the denial alone; to let some in, write a policy without it"
            }
            Self::TooManyRules { .. } | Self::TooManyKeys { .. } => {
                "write patterns with stars, or put the rules into several policies and ConfigMaps"
            }
            Self::LongMessage { .. } => "say in a line what to do instead",
            Self::Unsupported { .. } => {
                "only \"trust\", \"cosign\" and \"notation\" check images: if this field is removed and none is asked for, these images are \
                 let in unchecked; \"deny\" denies them"
            }
            Self::Missing { field: "signers", .. } => {
                "name each signer with its publicKey, or with its issuer and subject, or the Secrets that have the keys in \
                 signerSecrets"
            }
            Self::Missing { field: "issuer" | "subject", .. } => {
                "an identity has both an issuer and a subject: name both as the certificate has them, exactly or with \"*\" for a part"
            }
            Self::Missing { field: "trustedRoot", .. } => {
                "identities and logs are verified by a trusted_root.json: put it into the directory sigstore.trustedRoots of the \
                 configuration, and name it here without \".json\""
            }
            Self::Missing { field: "transparencyLog" | "certificateTransparency", .. } => {
                "write \"required\" or \"ignored\", or remove it"
            }
            Self::Missing { field: "threshold" | "sameRepository", .. } => "write its value, or remove it",
            Self::Missing { field: "trustStores", .. } => {
                "name the site's stores with the certificates that are trusted, such as [\"ca:plant\"]"
            }
            Self::Missing { field: "trustedIdentities", .. } => {
                "name the signers, such as [\"x509.subject: C=US, ST=WA, O=Plant\"]; [\"*\"] takes every signer that the trust \
                 stores know"
            }
            Self::Missing { field: "a trust store of the type tsa", .. } => "add one, such as \"tsa:plant\"",
            Self::Missing { inside: "policy.notation.trustStores", .. } => "add one, such as \"ca:plant\"",
            Self::Missing { field: "message", .. } => {
                "say why nothing under this pattern may run, and what to use instead"
            }
            Self::Missing { field: "namespace", .. } => "for all namespaces write a ClusterImagePolicy",
            Self::NamespaceForbidden => {
                "write an ImagePolicy for this namespace, or remove it to cover every namespace without an ImagePolicy"
            }
            Self::Kind { kind, .. } if kind.is_empty() => {
                "write apiVersion and kind, such as portreeve/v1 and ClusterImagePolicy; a configuration is checked by \
                 \"portreeve lint --config FILE\""
            }
            Self::Kind { .. } => {
                "a policy has kind ImagePolicy or ClusterImagePolicy and apiVersion portieris.cloud.ibm.com/v1, \
                 securityenforcement.admission.cloud.ibm.com/v1beta1 or portreeve/v1"
            }
            Self::Type { expected: "a string", actual: "a number" | "true or false", .. } => "put it in quotes",
            Self::Type { field, actual: "a mapping", .. } if field == "trustedIdentities" => {
                "write each identity in quotes, such as [\"x509.subject: C=US, ST=WA, O=Plant\"]"
            }
            Self::Type { expected: "true or false", .. } => "write true or false, without quotes",
            Self::Type { expected: "a number", actual: "a string", .. } => "write it without quotes",
            Self::SignerTwice { .. } => "give each key or identity a signer of its own, with another name",
            Self::KeyTwice { what: "key", .. } => {
                "a key counts once: list it once, or give the other signer a key of its own"
            }
            Self::KeyTwice { .. } => "an identity counts once: list it once",
            Self::RootKinds { .. } => "give each entry exactly one of certificate, keyId and ca",
            Self::Duration { .. } => "write it as 30m, 24h or 1h 30m",
            Self::StaleWithoutCached => "add \"whenUnavailable: useCached\", or remove it",
            Self::StaleZero => "to use no stored data, write \"whenUnavailable: deny\"",
            Self::RemapPrefix { .. } => "write a host and whole path components, ending in \"/\"",
            Self::Source { .. } => {
                "name the files that hold policies (site/policies.yaml): of a directory every file is read, and must hold policies"
            }
            Self::NoPolicies => "write one; to deny everything, write a ClusterImagePolicy with \"repositories: []\"",
            Self::SignerKey(SignerKeyError::Malformed) | Self::SigstoreKey(SigstoreKeyError::Damaged) => {
                "is \"…\" still in place of the key?"
            }
            Self::NoOwnPolicies => {
                "an ImagePolicy with an empty list of repositories denies everything; without any key, the ConfigMap leaves the \
                 namespace to the ClusterImagePolicies"
            }
            Self::Foreign { .. } => "its people may write only for their own namespace",
            Self::DelegatedDirectory => {
                "name a server, or leave trustServer out and have Portreeve's operators name the directory in trust.servers of \
                 the configuration"
            }
            Self::TooMuch => "repeat less by aliases; the site's policies may be in several ConfigMaps",
            Self::NotANamespace => "mount each ConfigMap as a directory with the name of its namespace",
            Self::PatternTwice { .. } => "keep the one that asks for what these images must have",
            Self::PassedOver => "call it policy.yaml, or the like",
            Self::PolicyTwice { .. } => "give each policy a name of its own",
            Self::Pattern(error) => return error.hint().map(str::to_owned),
            _ => return None,
        };
        Some(fixed.to_owned())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| format!("\"{}\"", printable(text, 120));
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile => f.write_str("is neither a regular file nor a directory"),
            Self::NoFiles => f.write_str("there is no policy file in this directory"),
            Self::Source { file } => write!(f, "this directory is no directory of policies: it has a {file}"),
            Self::NoPolicies | Self::NoOwnPolicies => f.write_str("there is no policy in these files"),
            Self::Foreign { policy, namespace } => {
                write!(f, "{policy} does not belong here: there are only ImagePolicies of namespace {namespace}")
            }
            Self::DelegatedDirectory => {
                f.write_str("\"trustServer\" of a namespace's own policy cannot be a directory")
            }
            Self::NotANamespace => f.write_str("is no directory with the name of a namespace"),
            Self::PassedOver => {
                f.write_str("its name begins with a dot, so that it would not be read once it is mounted")
            }
            Self::TooManyFiles { limit } => write!(f, "there are more than {limit} policy files"),
            Self::TooLarge { limit } => write!(f, "there are more than {limit} bytes"),
            Self::TooLargeTogether { limit } => write!(f, "all policy files together have more than {limit} bytes"),
            Self::TooDeep { limit } => write!(f, "directories stand more than {limit} levels deep"),
            Self::NotUtf8 => f.write_str("the text is not UTF-8"),
            Self::NotBase64 => f.write_str("the value is not base64"),
            Self::Yaml { message } => write!(f, "not readable as YAML or JSON: {}", printable(message, 300)),
            Self::TooMuch => f.write_str("there is too much in it to be read at once"),
            Self::DuplicateKey { key } => write!(f, "{} stands twice in one mapping", quoted(key)),
            Self::NotAPolicy { actual } => write!(f, "not a policy, but {actual}"),
            Self::Type { field, expected, actual } => {
                write!(f, "{} must be {expected}, and is {actual}", quoted(field))
            }
            Self::Unknown { field, inside, .. } => write!(f, "unknown field {} in {inside}", quoted(field)),
            Self::Misplaced { field, inside, .. } => write!(f, "{} does not belong in {inside}", quoted(field)),
            Self::Missing { field, inside } => write!(f, "\"{field}\" is missing from {inside}"),
            Self::Value { field, found, .. } => write!(f, "\"{field}\" cannot be {}", quoted(found)),
            Self::Kind { kind, .. } if kind.is_empty() => f.write_str("not a policy: the document has no kind"),
            Self::Kind { api_version, kind } => {
                write!(f, "not a policy: kind {}, apiVersion {}", quoted(kind), quoted(api_version))
            }
            Self::Name { field, found } => write!(
                f,
                "\"{field}\" cannot be {}: Kubernetes' names have lowercase letters, digits and '-', each part between \
                 two dots begins and ends with a letter or digit, and a namespace has no dot",
                quoted(found)
            ),
            Self::NamespaceForbidden => f.write_str("a ClusterImagePolicy has no namespace"),
            Self::BesideDenial { field } => {
                write!(f, "\"{field}\" stands beside a denial, under which no image may run")
            }
            Self::TooManyRules { limit } => write!(f, "there are more than {limit} rules"),
            Self::TooManyKeys { limit } => write!(f, "there are more than {limit} signers' keys"),
            Self::LongMessage { limit } => write!(f, "\"message\" has more than {limit} characters"),
            Self::NotEnabled { field } => {
                let what = if *field == "mode" { "no check is asked for" } else { "trust is not enabled" };
                write!(f, "\"{field}\" asks for a check while {what}")
            }
            Self::NoSwitch => f.write_str("\"enabled\" is missing from policy.trust"),
            Self::EmptyList { field } => write!(f, "\"{field}\" is empty"),
            Self::TooManyEntries { field, limit } => write!(f, "\"{field}\" has more than {limit} entries"),
            Self::NoCheck => f.write_str("an element of \"anyOf\" asks for no check"),
            Self::NoIdentity { field } => write!(f, "\"{field}\" has no effect on signatures of keys"),
            Self::KeyAndIdentity => f.write_str("the signer has both a key and an identity"),
            Self::Unsupported { field } => write!(f, "{} asks for a check that is not supported", quoted(field)),
            Self::Pattern(error) => error.fmt(f),
            Self::SignerName { found, rule } => write!(f, "a signer cannot be called {}: {rule}", quoted(found)),
            Self::SignerKey(error) => write!(f, "the signer's key cannot be read: {error}"),
            Self::SigstoreKey(error) => write!(f, "the signer's key cannot be used: {error}"),
            Self::SignerIdentity(error) => write!(f, "the signer's identity cannot be used: {error}"),
            Self::SignerTwice { name, first } => {
                write!(f, "signer {} stands twice, first on line {first}", quoted(name))
            }
            Self::Identity(error) => write!(f, "the trusted identity cannot be used: {error}"),
            Self::KeyTwice { what, name, other, first } => {
                write!(f, "signer {} has the {what} of signer {} on line {first}", quoted(name), quoted(other))
            }
            Self::Threshold { found, signers } => {
                write!(f, "\"threshold\" cannot be {}: it is from 1 to the number of signers, {signers}", quoted(found))
            }
            Self::RootKinds { found } => {
                write!(f, "an entry of \"roots\" has {found} of the fields certificate, keyId and ca")
            }
            Self::Pin(error) => write!(f, "the pinned certificate cannot be read: {error}"),
            Self::Server(error) => write!(f, "the trust server's URL cannot be used: {error}"),
            Self::Duration { found } => write!(f, "{} is no duration", quoted(found)),
            Self::StaleWithoutCached => f.write_str("\"maxStale\" has no effect where stored data is never used"),
            Self::StaleZero => f.write_str("\"maxStale\" must be above zero"),
            Self::RemapPrefix { field, found } => {
                write!(f, "\"{field}\" cannot be {}: it is no prefix of image names", quoted(found))
            }
            Self::PolicyTwice { policy, first } => write!(f, "{policy} stands twice, first in {first}"),
            Self::PatternTwice { pattern, policy, first } => write!(
                f,
                "pattern {} asks for something else than the same pattern in {policy}, {first}",
                quoted(pattern)
            ),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Pattern(error) => Some(error),
            Self::SignerKey(error) => Some(error),
            Self::SigstoreKey(error) => Some(error),
            Self::SignerIdentity(error) => Some(error),
            Self::Identity(error) => Some(error),
            Self::Pin(error) => Some(error),
            Self::Server(error) => Some(error),
            _ => None,
        }
    }
}
