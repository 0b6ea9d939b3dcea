//! The values of labels. Each is a variant of an enum in this file or a fixed word of the source, so that no text of a tenant
//! or of a server can become a label.

use std::hash::{Hash, Hasher};

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

/// The labels of one series: at most four, of which unused ones are empty. One type for all metrics keeps the executable
/// small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels([(&'static str, &'static str); 4]);

/// One number for the values: the hasher of the families is made for hostile keys, and these are fixed words. All series of a
/// family have the same names, and few have values of the same length that begin and end alike.
impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut number = 0_u64;
        for (_, value) in &self.0 {
            let bytes = value.as_bytes();
            if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
                let word = u64::from_le_bytes([*first, *last, 0, 0, 0, 0, 0, 0]) ^ ((bytes.len() as u64) << 16);
                number = number.wrapping_mul(31).wrapping_add(word);
            }
        }
        state.write_u64(number);
    }
}

impl Labels {
    /// No label.
    pub(super) const NONE: Self = Self([("", ""); 4]);

    pub(super) fn one(name: &'static str, value: &'static str) -> Self {
        Self([(name, value), ("", ""), ("", ""), ("", "")])
    }

    pub(super) fn two(first: (&'static str, &'static str), second: (&'static str, &'static str)) -> Self {
        Self([first, second, ("", ""), ("", "")])
    }

    pub(super) fn four(all: [(&'static str, &'static str); 4]) -> Self {
        Self(all)
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> std::fmt::Result {
        self.0.iter().filter(|(name, _)| !name.is_empty()).try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// Declares an enum whose variants are label values.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// An endpoint that decides.
    Endpoint {
        /// `POST /admit`: decides and patches.
        Admit => "admit",
        /// `POST /validate`: decides without a patch.
        Validate => "validate",
        /// `POST /validate-policy`: checks the policies in a ConfigMap.
        ValidatePolicy => "validate-policy",
    }
}

words! {
    /// How an admission ended.
    Outcome {
        /// It was allowed.
        Allowed => "allowed",
        /// It was denied.
        Denied => "denied",
        /// There is no decision: the body was no AdmissionReview, or a panic was contained.
        Error => "error",
    }
}

words! {
    /// The verdict on one image.
    Verdict {
        /// It is signed as the policy requires.
        Verified => "verified",
        /// The trust data or the policy says no.
        Rejected => "rejected",
        /// It could not be verified.
        Unavailable => "unavailable",
        /// The policy requires nothing.
        Unchecked => "unchecked",
        /// It was not evaluated: a trusted controller's child, a mirror pod, or nothing new.
        Exempt => "exempt",
    }
}

words! {
    /// The scope of the policy that decided on an image.
    Scope {
        /// ImagePolicies of the workload's namespace.
        Namespace => "namespace",
        /// ClusterImagePolicies.
        Cluster => "cluster",
        /// No policy decided.
        NoPolicy => "none",
    }
}

words! {
    /// A part of an admission whose time is measured.
    Phase {
        /// Waiting for a worker.
        Queue => "queue",
        /// Reading the AdmissionReview.
        Read => "read",
        /// Finding the policy of one image.
        Policy => "policy",
        /// Collecting the signers' keys for one image.
        Credentials => "credentials",
        /// Verifying one image, with all waiting.
        Trust => "trust",
        /// One request to a trust server or a token service.
        Request => "request",
        /// Verifying what one refresh fetched.
        Verify => "verify",
        /// Writing the patch and the response.
        Response => "answer",
    }
}

words! {
    /// Where the trust data or the signatures for a verdict came from.
    Source {
        /// Memory or the disk, and the server need not be asked: within `trust.refreshAfter`, or the image has a digest.
        Remembered => "remembered",
        /// A refresh that was made for this query.
        Refreshed => "refreshed",
        /// A refresh that another query was making at the time.
        Shared => "shared",
        /// Stored data, because the server is unavailable.
        Stale => "stood_in",
        /// Nowhere: the server is unavailable, and no stored data may be used.
        Nowhere => "nowhere",
    }
}

words! {
    /// The service to which an HTTP request goes.
    Peer {
        /// A trust server.
        TrustServer => "trust_server",
        /// A registry, or a storage that it redirects to.
        Registry => "registry",
        /// A token service.
        TokenService => "token_service",
        /// The Kubernetes API server.
        KubernetesApi => "kubernetes_api",
    }
}

words! {
    /// The outcome of a request to such a service.
    RequestOutcome {
        /// 200, with a complete body. From a registry also a redirect.
        Ok => "ok",
        /// 404. From a registry also 400, 405 and 406: it does not have the referrers API.
        NotFound => "not_found",
        /// 401 or 403. A server that requires a token answers so once for each repository and hour.
        Unauthorized => "unauthorized",
        /// 5xx.
        ServerError => "server_error",
        /// Another status, for example a redirect.
        OtherStatus => "other_status",
        /// There was no complete response by the deadline.
        Timeout => "timeout",
        /// The host name cannot be resolved.
        HostNotFound => "host_not_found",
        /// The connection was refused, or failed in another way.
        Unreachable => "unreachable",
        /// The connection ended before the response was complete.
        Disconnected => "disconnected",
        /// The certificate was not accepted.
        Certificate => "certificate",
        /// TLS failed in another way.
        Tls => "tls",
        /// The proxy refused the connection.
        Proxy => "proxy",
        /// The body was too large, had no length or was compressed.
        Body => "body",
        /// The response was not valid HTTP.
        Protocol => "protocol",
    }
}

words! {
    /// The state of an admission in progress.
    InProgress {
        /// It waits for a worker.
        Queued => "queued",
        /// A worker is deciding it.
        Deciding => "deciding",
    }
}

words! {
    /// The limit that was reached.
    Limit {
        /// `limits.connections`.
        Connections => "connections",
        /// The system gave no socket or thread for a connection.
        Accept => "accept",
        /// `limits.handshakeTime`.
        HandshakeTime => "handshake_time",
        /// `limits.headTime`.
        HeadTime => "head_time",
        /// `limits.headBytes`.
        HeadBytes => "head_bytes",
        /// `limits.requestBytes`.
        RequestBytes => "request_bytes",
        /// `limits.bodyMemory`.
        BodyMemory => "body_memory",
        /// `limits.verifyMemory`.
        VerifyMemory => "verify_memory",
        /// `limits.requestTime`.
        RequestTime => "request_time",
        /// `limits.idleTime`.
        IdleTime => "idle_time",
        /// `limits.answerTime`.
        AnswerTime => "answer_time",
        /// The response was not ready within the longest timeout of Kubernetes.
        RelayTime => "relay_time",
        /// `limits.queue`.
        Queue => "queue",
        /// No worker was free before the client gave up.
        QueueTime => "queue_time",
        /// `limits.drainTime`.
        DrainTime => "drain_time",
    }
}

words! {
    /// The files that were read again.
    Reloaded {
        /// The serving certificate, its key and the client CA.
        Certificate => "certificate",
        /// Policies.
        Policies => "policies",
        /// A namespace's own policies.
        NamespacePolicies => "namespace_policies",
        /// Registry credentials.
        Credentials => "credentials",
        /// The CA bundle for trust servers.
        TrustCa => "trust_ca",
        /// Verified trust data that another process has stored.
        StoredTrust => "stored_trust",
        /// Notation's trust stores and revocation lists.
        TrustStores => "trust_stores",
        /// Trusted roots of Sigstore.
        TrustedRoots => "trusted_roots",
    }
}

words! {
    /// Why no request was sent to a server.
    NotSent {
        /// The server does not respond, and is probed at intervals.
        CircuitOpen => "down",
        /// Too many requests wait for the server, which is slow or silent.
        BulkheadFull => "crowded",
    }
}

words! {
    /// A listener of the server.
    Listener {
        /// The TLS one.
        Tls => "tls",
        /// The plain one, for metrics and probes.
        Plain => "plain",
    }
}

words! {
    /// The result of reading files again.
    ReloadResult {
        /// They took effect.
        Ok => "ok",
        /// They could not be used. The last good state stays in force.
        Failed => "failed",
    }
}
