//! Checks of single values. An error names the file and the key, with what was found and what was expected.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::schema::{
    ApiSection, LimitsSection, RegistriesSection, Size, TlsSection, TrustSection, WhenUnavailableWord,
};
use super::{ConfigError, TrustConfig, TrustLimits};
use crate::base::text::{byte_size, duration};
use crate::http::url::PlainHttp;
use crate::kube::api::{ApiSettings, ApiUrl};
use crate::registry::oci::places::Registries;
use crate::schemes::WhenUnavailable;
use crate::schemes::notary::servers::TrustServers;
use crate::server::settings::{Limits, Settings, TlsFiles};
use portreeve_verify::tuf::FirstUse;

/// Checks the values of one configuration file.
pub(super) struct Checker<'a> {
    /// The file, for errors.
    pub(super) file: &'a Path,
}

impl Checker<'_> {
    pub(super) fn wrong(&self, key: &'static str, found: impl Into<String>, expected: &'static str) -> ConfigError {
        ConfigError::Value { file: self.file.to_owned(), key, found: found.into(), expected }
    }

    pub(super) fn address(&self, key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
        text.parse().map_err(|_| self.wrong(key, text, "an address and port such as 0.0.0.0:8000 or [::]:8000"))
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        text: Option<String>,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(text) = text else { return Ok(default) };
        duration(&text).ok_or_else(|| self.wrong(key, text, "a duration such as 30s, 5m or 24h"))
    }

    pub(super) fn time_limit(
        &self,
        key: &'static str,
        text: Option<String>,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        let limit = self.duration(key, text, default)?;
        if limit.is_zero() {
            return Err(self.wrong(key, "0s", "a duration above zero: no wait is unlimited"));
        }
        Ok(limit)
    }

    pub(super) fn count(
        &self,
        key: &'static str,
        count: Option<usize>,
        default: usize,
        most: usize,
    ) -> Result<usize, ConfigError> {
        let count = count.unwrap_or(default);
        if count == 0 || count > most {
            return Err(self.wrong(key, count.to_string(), "a number from 1 to 65536 (workers: to 1024)"));
        }
        Ok(count)
    }

    pub(super) fn bytes(&self, key: &'static str, text: Option<Size>, default: usize) -> Result<usize, ConfigError> {
        let (text, bytes) = match text {
            None => return Ok(default),
            Some(Size::Bytes(bytes)) => (bytes.to_string(), Some(bytes)),
            Some(Size::Text(text)) => (text.clone(), byte_size(&text)),
        };
        bytes
            .filter(|bytes| (1024..=1 << 30).contains(bytes))
            .ok_or_else(|| self.wrong(key, text, "a size from 1KiB to 1GiB such as 64KiB or 8MiB"))
    }

    pub(super) fn server(
        &self,
        listen: Option<&str>,
        metrics_listen: Option<&str>,
        tls: TlsSection,
        limits: Limits,
    ) -> Result<Settings, ConfigError> {
        Ok(Settings {
            listen: self.address("listen", listen.unwrap_or("0.0.0.0:8000"))?,
            metrics_listen: match metrics_listen.unwrap_or("0.0.0.0:8080") {
                "" => None,
                text => Some(self.address("metricsListen", text)?),
            },
            tls: TlsFiles {
                certificate: tls.certificate.unwrap_or_else(|| "/etc/certs/tls.crt".into()),
                key: tls.key.unwrap_or_else(|| "/etc/certs/tls.key".into()),
                client_ca: unless_empty(tls.client_ca),
            },
            limits,
        })
    }

    pub(super) fn trust(&self, trust: TrustSection, limits: TrustLimits) -> Result<TrustConfig, ConfigError> {
        let plain_http = match trust.allow_plain_http.unwrap_or(false) {
            true => PlainHttp::DangerouslyAllowed,
            false => PlainHttp::Refused,
        };
        let servers = TrustServers::new(trust.servers.unwrap_or_default(), plain_http)
            .map_err(|source| ConfigError::Servers { file: self.file.to_owned(), source })?;
        let max_stale = self.duration("trust.maxStale", trust.max_stale, Duration::ZERO)?;
        let when_unavailable = match trust.when_unavailable.unwrap_or(WhenUnavailableWord::Deny) {
            WhenUnavailableWord::UseCached if max_stale.is_zero() => {
                let expected = "how old stored data may be, such as 24h, with useCached";
                return Err(self.wrong("trust.maxStale", "0s", expected));
            }
            WhenUnavailableWord::UseCached => WhenUnavailable::UseCached { max_stale },
            WhenUnavailableWord::Deny => WhenUnavailable::Deny,
        };
        Ok(TrustConfig {
            ca: trust.ca.unwrap_or_else(|| "/etc/certs/ca.pem".into()),
            servers,
            cache: unless_empty(trust.cache),
            refresh_after: self.duration("trust.refreshAfter", trust.refresh_after, Duration::from_secs(30))?,
            when_unavailable,
            first_use: match trust.require_pinned_roots.unwrap_or(false) {
                true => FirstUse::Forbidden,
                false => FirstUse::Allowed,
            },
            plain_http,
            limits,
        })
    }

    pub(super) fn registries(
        &self,
        section: RegistriesSection,
        plain_http: PlainHttp,
    ) -> Result<Registries, ConfigError> {
        let (endpoints, signatures) = (section.endpoints.unwrap_or_default(), section.signatures.unwrap_or_default());
        Registries::new(endpoints, signatures, plain_http)
            .map_err(|source| ConfigError::Registries { file: self.file.to_owned(), source })
    }

    pub(super) fn api(&self, api: ApiSection) -> Result<ApiSettings, ConfigError> {
        let default = ApiSettings::default();
        let server = api.server.filter(|url| !url.is_empty());
        let server = match server.as_deref().map(|url| (url, ApiUrl::parse(url))) {
            Some((url, None)) => {
                return Err(self.wrong("credentials.api.server", url, "an address such as https://10.96.0.1:443"));
            }
            Some((_, known)) => known,
            None => None,
        };
        Ok(ApiSettings { server, token: api.token.unwrap_or(default.token), ca: api.ca.unwrap_or(default.ca) })
    }

    /// The limits of the server, and those of trust data.
    pub(super) fn limits(&self, limits: LimitsSection) -> Result<(Limits, TrustLimits), ConfigError> {
        let (default, trust) = (Limits::default(), TrustLimits::default());
        let server = Limits {
            connections: self.count("limits.connections", limits.connections, default.connections, 65_536)?,
            workers: self.count("limits.workers", limits.workers, default.workers, 1024)?,
            queue: self.count("limits.queue", limits.queue, default.queue, 65_536)?,
            head_bytes: self.bytes("limits.headBytes", limits.head_bytes, default.head_bytes)?,
            request_bytes: self.bytes("limits.requestBytes", limits.request_bytes, default.request_bytes)?,
            body_memory: self.bytes("limits.bodyMemory", limits.body_memory, default.body_memory)?,
            handshake_time: self.time_limit("limits.handshakeTime", limits.handshake_time, default.handshake_time)?,
            head_time: self.time_limit("limits.headTime", limits.head_time, default.head_time)?,
            request_time: self.time_limit("limits.requestTime", limits.request_time, default.request_time)?,
            answer_time: self.time_limit("limits.answerTime", limits.answer_time, default.answer_time)?,
            idle_time: self.time_limit("limits.idleTime", limits.idle_time, default.idle_time)?,
            admission_time: self.time_limit("limits.admissionTime", limits.admission_time, default.admission_time)?,
            shutdown_delay: self.duration("limits.shutdownDelay", limits.shutdown_delay, default.shutdown_delay)?,
            drain_time: self.time_limit("limits.drainTime", limits.drain_time, default.drain_time)?,
        };
        let trust = TrustLimits {
            memory: self.bytes("limits.trustMemory", limits.trust_memory, trust.memory)?,
            verify_memory: self.bytes("limits.verifyMemory", limits.verify_memory, trust.verify_memory)?,
            cache: self.bytes("limits.trustCache", limits.trust_cache, trust.cache)?,
        };
        Ok((server, trust))
    }
}

/// A path; `""` in the file means none.
fn unless_empty(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}
