//! What a policy can require of Notation's signatures: the fields of `policy.notation`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::schemes::UnavailableRule;
use portreeve_verify::notation::Identity;
use portreeve_verify::text::printable;

/// A rule. It has a trust store with anchors and an identity.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `trustStores`, each once.
    pub stores: Vec<StoreName>,
    /// `trustedIdentities`.
    pub identities: Vec<Identity>,
    /// The same as they are written.
    pub identity_texts: Vec<String>,
    /// `verifyTimestamp: afterCertExpiry`: is a time stamp needed only where a certificate is no longer in date?
    pub after_cert_expiry_only: bool,
    /// `revocation: skip`: is revocation not looked at?
    pub skips_revocation: bool,
    /// `metadata`: what each signature must have signed besides the image.
    pub metadata: BTreeMap<String, String>,
    /// `whenUnavailable`. Without it, the configuration decides.
    pub when_unavailable: Option<UnavailableRule>,
    /// `maxStale`. Without it, the limit of the configuration applies.
    pub max_stale: Option<Duration>,
}

/// A trust store of the site: `ca:plant`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreName {
    /// Its type.
    pub kind: StoreKind,
    /// Its name.
    pub name: String,
}

/// The type of a trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Certificates under which signers' certificates are issued.
    Ca,
    /// Certificates of services that sign, and that say when.
    SigningAuthority,
    /// Certificates of time stamp authorities.
    Tsa,
}

impl Rule {
    /// A rule that asks for a signature under these stores by one of these identities, or by anybody that they know, and for
    /// nothing else. The texts are as in a policy. Revocation is looked at or not.
    pub fn under(stores: &[String], identities: &[String], skips_revocation: bool) -> Result<Self, String> {
        let any = ["*".to_owned()];
        let texts = if identities.is_empty() { &any } else { identities };
        let store = |text: &String| {
            let known = StoreName::parse(text);
            known.ok_or_else(|| {
                format!("\"{}\" is no trust store: write its type and its name, as ca:plant", printable(text, 200))
            })
        };
        let identity = |text: &String| {
            let read = Identity::parse(text);
            read.map_err(|error| format!("the identity \"{}\" cannot be used: {error}", printable(text, 200)))
        };
        Ok(Self {
            stores: stores.iter().map(store).collect::<Result<_, _>>()?,
            identities: texts.iter().map(identity).collect::<Result<_, _>>()?,
            identity_texts: texts.to_vec(),
            after_cert_expiry_only: false,
            skips_revocation,
            metadata: BTreeMap::new(),
            when_unavailable: None,
            max_stale: None,
        })
    }
}

impl StoreKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ca, Self::SigningAuthority, Self::Tsa];

    /// Its word in a policy, and the name of its directory.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }
}

impl StoreName {
    /// Reads `ca:plant`; `None` if it is no name of a store.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, name) = text.split_once(':')?;
        let kind = StoreKind::ALL.into_iter().find(|kind| kind.word() == word)?;
        Self::is_name(name).then(|| Self { kind, name: name.to_owned() })
    }

    /// Can a store have this name? It is the name of a directory.
    pub fn is_name(name: &str) -> bool {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        (1..=128).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.name)
    }
}
