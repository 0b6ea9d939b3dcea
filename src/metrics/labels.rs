//! The words that labels are made of. Each is an enum of this file or a fixed word of the source, so that nothing which
//! a tenant or a server writes can ever become a label.

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

/// The labels of one series: at most three, unused ones empty. One type for all metrics keeps the executable small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Labels([(&'static str, &'static str); 3]);

impl Labels {
    /// No label at all.
    pub(super) const NONE: Self = Self([("", ""); 3]);

    pub(super) fn one(name: &'static str, value: &'static str) -> Self {
        Self([(name, value), ("", ""), ("", "")])
    }

    pub(super) fn two(first: (&'static str, &'static str), second: (&'static str, &'static str)) -> Self {
        Self([first, second, ("", "")])
    }

    pub(super) fn three(all: [(&'static str, &'static str); 3]) -> Self {
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
        /// Let in.
        Allowed => "allowed",
        /// Denied, for whatever reason.
        Denied => "denied",
        /// No decision: the body was no AdmissionReview, or a bug was contained.
        Error => "error",
    }
}

words! {
    /// What was found of one image.
    Verdict {
        /// Signed as policy asks.
        Verified => "verified",
        /// The trust data says no.
        Rejected => "rejected",
        /// Nobody could say.
        Unavailable => "unavailable",
        /// Policy asks for nothing.
        Unchecked => "unchecked",
        /// Not looked at: a trusted controller's child, a mirror pod, nothing new.
        Exempt => "exempt",
    }
}

words! {
    /// Whose policies decided on an image.
    Scope {
        /// ImagePolicies of the workload's namespace.
        Namespace => "namespace",
        /// ClusterImagePolicies.
        Cluster => "cluster",
        /// None: there is no policy, or it was not a matter of policy.
        Nobody => "none",
    }
}

words! {
    /// A part of an admission, to see where its time goes.
    Phase {
        /// Waiting for a worker.
        Queue => "queue",
        /// Reading the AdmissionReview.
        Read => "read",
        /// Finding the policy of one image.
        Policy => "policy",
        /// Collecting signers' keys and credentials for one image.
        Credentials => "credentials",
        /// The question to the trust service for one image, with all waiting.
        Trust => "trust",
        /// One request to a trust server or token service.
        Request => "request",
        /// Verifying what one refresh fetched.
        Verify => "verify",
        /// Writing patch and answer.
        Answer => "answer",
    }
}

words! {
    /// Where the trust data for a verdict came from.
    Source {
        /// Memory, within `trust.refreshAfter`.
        Remembered => "remembered",
        /// A refresh made for this very question.
        Refreshed => "refreshed",
        /// A refresh that another question was making at the time.
        Shared => "shared",
        /// Stored data stood in for a server that is away.
        StoodIn => "stood_in",
        /// Nowhere: the server did not answer, and nothing could stand in.
        Nowhere => "nowhere",
    }
}

words! {
    /// Who is asked over HTTP.
    Peer {
        /// A trust server.
        TrustServer => "trust_server",
        /// A token service.
        TokenService => "token_service",
        /// The Kubernetes API server, for credentials.
        KubernetesApi => "kubernetes_api",
    }
}

words! {
    /// How a request to a trust server or token service ended.
    RequestOutcome {
        /// 200, with a whole body.
        Ok => "ok",
        /// 404.
        NotFound => "not_found",
        /// 401 or 403. A server that wants a token says so once for each repository and hour.
        Unauthorized => "unauthorized",
        /// 5xx.
        ServerError => "server_error",
        /// Another status, a redirect for instance.
        OtherStatus => "other_status",
        /// No whole answer by the deadline.
        Timeout => "timeout",
        /// The host's name is not known.
        HostNotFound => "host_not_found",
        /// The connection was refused, or failed otherwise.
        Unreachable => "unreachable",
        /// The connection ended before the answer did.
        Disconnected => "disconnected",
        /// The certificate was not accepted.
        Certificate => "certificate",
        /// TLS failed in another way.
        Tls => "tls",
        /// The proxy would not connect us.
        Proxy => "proxy",
        /// The body was too large, had no length or was compressed.
        Body => "body",
        /// It was not HTTP as it should be.
        Protocol => "protocol",
    }
}

words! {
    /// What a request is doing in here.
    InHand {
        /// It waits for a worker.
        Queued => "queued",
        /// A worker is deciding it.
        Deciding => "deciding",
    }
}

words! {
    /// Which limit was run into.
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
        /// The answer was not ready by the end of Kubernetes' longest timeout.
        RelayTime => "relay_time",
        /// `limits.queue`.
        Queue => "queue",
        /// No worker was free before the client had given up.
        QueueTime => "queue_time",
        /// `limits.drainTime`.
        DrainTime => "drain_time",
    }
}

words! {
    /// What was read again.
    What {
        /// The serving certificate, its key and the client CA.
        Certificate => "certificate",
        /// Policies.
        Policies => "policies",
        /// Registry credentials.
        Credentials => "credentials",
        /// The CA bundle for trust servers.
        TrustCa => "trust_ca",
        /// Verified trust data that an earlier process, or another one, has stored.
        StoredTrust => "stored_trust",
    }
}

words! {
    /// Why a server was not asked.
    NotAsked {
        /// It does not answer, which is tried in pauses.
        Down => "down",
        /// Too many requests wait for it already, and it is slow or says nothing.
        Crowded => "crowded",
    }
}

words! {
    /// A listener.
    Listener {
        /// The TLS one.
        Tls => "tls",
        /// The plain one for metrics and probes.
        Plain => "plain",
    }
}

words! {
    /// Did a re-read take effect?
    ReloadResult {
        /// It did.
        Ok => "ok",
        /// It did not; what was in force stays in force.
        Failed => "failed",
    }
}

words! {
    /// A role of trust data.
    Role {
        /// The root, or its certificates.
        Root => "root",
        /// The timestamp.
        Timestamp => "timestamp",
        /// The snapshot.
        Snapshot => "snapshot",
        /// The top-level targets.
        Targets => "targets",
        /// `targets/releases`.
        Releases => "releases",
        /// A signer's role.
        Delegation => "delegation",
    }
}
