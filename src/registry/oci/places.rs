//! Where an image and its signatures are read: `registries.endpoints` and `registries.signatures` of the configuration.
//!
//! An image is at its own registry, or at the endpoint that the configuration names for that registry. Its signatures are
//! beside it, unless the configuration names another place for them. A place comes with the name whose credentials it may see:
//! an image's credentials go to its registry and to the endpoint of that registry, and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::http::url::{HttpUrl, MAX_URL, PlainHttp, ServerUrl, UrlError};
use portreeve_verify::image::{Reference, check_path, normal_host, normal_path, one_spelling};
use portreeve_verify::text::printable;

/// How the URL of a directory begins.
const FILE: &str = "file://";
const ENDPOINTS: &str = "endpoints";
const SIGNATURES: &str = "signatures";

/// The registries of the configuration.
#[derive(Clone, Debug)]
pub struct Registries {
    /// By host, in one spelling.
    endpoints: Vec<(String, Endpoint)>,
    /// By prefix of an image's repository. A prefix ends in `/`, or is a whole repository.
    signatures: Vec<(String, SignaturePlace)>,
}

/// Where a registry's repositories are.
#[derive(Clone, Debug)]
struct Endpoint {
    url: ServerUrl,
    /// What comes before a repository's name there; empty, or with a slash at its end.
    prefix: String,
}

/// Where the signatures of some images are.
#[derive(Clone, Debug)]
enum SignaturePlace {
    Layout(PathBuf),
    Repository {
        /// The registry's URL, unless there is an endpoint for its host.
        url: ServerUrl,
        host: String,
        /// With a slash at its end, or empty: what the prefix leaves of the image's name is appended.
        path: String,
    },
}

impl Registries {
    /// The default of `registries.endpoints`.
    pub const DEFAULT_ENDPOINTS: [(&str, &str); 1] = [("docker.io", "https://registry-1.docker.io")];

    /// Checks every entry, so that a mistake is reported at start. `endpoints`: registry host → URL. `signatures`: prefix of an
    /// image's name → URL of the place with the signatures, `https://…` or `file:///…`.
    pub fn new(
        endpoints: BTreeMap<String, String>,
        signatures: BTreeMap<String, String>,
        plain_http: PlainHttp,
    ) -> Result<Self, RegistriesError> {
        let mut registries = Self { endpoints: Vec::new(), signatures: Vec::new() };
        for (key, url) in endpoints {
            registries.add_endpoint(&key, &url, plain_http).map_err(|why| why.of(ENDPOINTS, key))?;
        }
        for (host, url) in Self::DEFAULT_ENDPOINTS {
            if registries.endpoint(host).is_none() {
                registries.add_endpoint(host, url, plain_http).map_err(|why| why.of(ENDPOINTS, host.to_owned()))?;
            }
        }
        for (key, url) in signatures {
            registries.add_signatures(&key, &url, plain_http).map_err(|why| why.of(SIGNATURES, key))?;
        }
        Ok(registries)
    }

    fn add_endpoint(&mut self, key: &str, url: &str, plain_http: PlainHttp) -> Result<(), Mistake> {
        let host = normal_host(key).map_err(|_| {
            Mistake::Other("is not a registry's host: write a host such as docker.io or registry.local:9001")
        })?;
        let host = one_spelling(&host).into_owned();
        if self.endpoint(&host).is_some() {
            return Err(TWICE);
        }
        self.endpoints.push((host, Endpoint::parse(url, plain_http)?));
        Ok(())
    }

    fn add_signatures(&mut self, key: &str, url: &str, plain_http: PlainHttp) -> Result<(), Mistake> {
        let prefix = prefix(key).ok_or(Mistake::Other(
            "is not the beginning of an image's name: write the registry's host and a slash, such as registry.local:9001/ \
             or registry.local:9001/plant/, or a whole repository, such as registry.local:9001/plant/plc",
        ))?;
        if self.signatures.iter().any(|(known, _)| *known == prefix) {
            return Err(TWICE);
        }
        let place = SignaturePlace::parse(url, plain_http)?;
        if let SignaturePlace::Repository { path, .. } = &place
            && !prefix.ends_with('/')
            && is_open(path)
        {
            return Err(Mistake::Other(
                "is a whole repository, and its URL ends in a slash: end both in a slash, or neither",
            ));
        }
        self.signatures.push((prefix, place));
        Ok(())
    }

    /// The endpoints of the configuration, without the defaults: host and URL.
    pub(crate) fn configured_endpoints(&self) -> impl Iterator<Item = (&str, &ServerUrl)> {
        let named = self.endpoints.iter().map(|(host, endpoint)| (host.as_str(), &endpoint.url));
        named.filter(|(host, url)| !Self::DEFAULT_ENDPOINTS.contains(&(host, url.as_str())))
    }

    /// The prefixes of images' names whose signatures have a place of their own.
    pub(crate) fn signature_prefixes(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(prefix, _)| prefix.as_str())
    }

    /// The directories with signatures that it names.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &Path> {
        self.signatures.iter().filter_map(|(_, place)| match place {
            SignaturePlace::Layout(directory) => Some(directory.as_path()),
            SignaturePlace::Repository { .. } => None,
        })
    }

    fn endpoint(&self, host: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|(known, _)| known == host).map(|(_, endpoint)| endpoint)
    }

    /// Where the image is: there its tag is resolved. A layout, if one is configured for its name.
    pub(crate) fn image_place(&self, image: &Reference) -> Place {
        match self.signatures(image) {
            Some((_, SignaturePlace::Layout(directory))) => layout(directory, image),
            _ => self.at(image.host(), image.path(), None),
        }
    }

    /// Where its signatures are; the same place as the image's if nothing else is configured.
    pub(crate) fn signature_place(&self, image: &Reference) -> Place {
        match self.signatures(image) {
            None => self.image_place(image),
            Some((_, SignaturePlace::Layout(directory))) => layout(directory, image),
            Some((prefix, SignaturePlace::Repository { url, host, path })) => {
                let rest = if is_open(path) { image.repository().strip_prefix(prefix) } else { None };
                self.at(host, &format!("{path}{}", rest.unwrap_or_default()), Some(url))
            }
        }
    }

    /// The entry with the longest prefix of the image's name. A prefix that does not end in a slash is the whole name.
    fn signatures(&self, image: &Reference) -> Option<(&str, &SignaturePlace)> {
        let name = image.repository();
        let matching = self.signatures.iter().filter(|(prefix, _)| match prefix.ends_with('/') {
            true => name.starts_with(prefix.as_str()),
            false => name == prefix,
        });
        matching.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, place)| (prefix.as_str(), place))
    }

    /// A repository of this host: at the host's endpoint, else at this URL, else at the host itself.
    fn at(&self, host: &str, path: &str, url: Option<&ServerUrl>) -> Place {
        let path = normal_path(host, path);
        let credentials = [host, "/", &path].concat();
        let (url, repository) = match (self.endpoint(host), url) {
            (Some(Endpoint { url, prefix }), _) => (url.clone(), [prefix.as_str(), &path].concat()),
            (None, Some(url)) => (url.clone(), path.into_owned()),
            (None, None) => (ServerUrl::of_registry(host), path.into_owned()),
        };
        Place::Registry { url, repository, credentials }
    }
}

fn layout(directory: &Path, image: &Reference) -> Place {
    Place::Layout { directory: directory.to_owned(), repository: image.repository().to_owned() }
}

/// Is something to be appended to this path?
fn is_open(path: &str) -> bool {
    path.is_empty() || path.ends_with('/')
}

/// The beginning of an image's name, with its host in one spelling.
fn prefix(key: &str) -> Option<String> {
    let (host, path) = key.split_once('/')?;
    let host = normal_host(host).ok()?;
    let host = one_spelling(&host);
    if path.is_empty() {
        return Some(format!("{host}/"));
    }
    if let Some(parent) = path.strip_suffix('/') {
        check_path(parent).ok()?;
        return Some(format!("{host}/{path}"));
    }
    check_path(path).ok()?;
    Some(format!("{host}/{}", normal_path(&host, path)))
}

impl Endpoint {
    /// A registry's URL. A path of its API in it, as containerd writes mirrors (`https://harbor.local/v2/hub-proxy`), is what
    /// comes before every repository's name.
    fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, Mistake> {
        let url = ServerUrl::parse(url, plain_http)?;
        let parsed = HttpUrl::parse(url.as_str(), plain_http)?;
        let path = format!("{}/", parsed.path);
        let Some((base, prefix)) = path.split_once("/v2/") else { return Ok(Self { url, prefix: String::new() }) };
        if let Some(prefix) = prefix.strip_suffix('/') {
            check_path(prefix)
                .map_err(|_| Mistake::Other("has a URL with something after /v2/ that no repository has"))?;
        }
        Ok(Self {
            url: ServerUrl::parse(&format!("{}{base}", parsed.origin()), plain_http)?,
            prefix: prefix.to_owned(),
        })
    }
}

impl SignaturePlace {
    fn parse(url: &str, plain_http: PlainHttp) -> Result<Self, Mistake> {
        if url.get(..FILE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(FILE)) {
            return directory(url).map(Self::Layout).ok_or(Mistake::Other(
                "needs the absolute path of a directory, such as file:///media/stick/layout, in which nothing is escaped",
            ));
        }
        let server = ServerUrl::parse(url, plain_http)?;
        let parsed = HttpUrl::parse(server.as_str(), plain_http)?;
        let origin = parsed.origin();
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        let host = normal_host(authority)
            .map_err(|_| Mistake::Other("has a URL whose host cannot be a registry's in an image's name"))?;
        let host = one_spelling(&host).into_owned();
        let mut path = parsed.path.strip_prefix('/').unwrap_or_default().to_owned();
        let is_whole = !url.ends_with('/');
        let is_repository = check_path(&path).is_ok() && path != "v2" && !path.starts_with("v2/");
        if !is_repository && (is_whole || !path.is_empty()) {
            return Err(Mistake::Other(
                "has a URL that names no repository: write https://, the registry's host and a repository without /v2, or a \
                 slash at its end, so that the rest of the image's name is appended",
            ));
        }
        if !is_whole && !path.is_empty() {
            path.push('/');
        }
        Ok(Self::Repository { url: ServerUrl::parse(&origin, plain_http)?, host, path })
    }
}

/// The directory of a `file://` URL. The path that is shown is the path that is opened, so nothing in it is unescaped.
fn directory(url: &str) -> Option<PathBuf> {
    let path = url.get(FILE.len()..)?.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~!&'()+,;=:@".contains(c);
    let fits = url.len() <= MAX_URL
        && path.starts_with('/')
        && path.chars().all(plain)
        && !path.contains("//")
        && !path.split('/').any(|component| matches!(component, "." | ".."));
    fits.then(|| PathBuf::from(path))
}

/// A repository, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// At a registry.
    Registry {
        /// The registry's URL.
        url: ServerUrl,
        /// The repository's name there: `library/nginx`.
        repository: String,
        /// The name whose credentials may be sent there: `docker.io/library/nginx`.
        credentials: String,
    },
    /// In an OCI image layout.
    Layout {
        /// Its directory.
        directory: PathBuf,
        /// The image's repository, in one spelling: `registry.local:9001/plant/plc`.
        repository: String,
    },
}

impl Place {
    /// The name whose credentials may be sent there.
    pub(crate) fn credentials(&self) -> &str {
        match self {
            Self::Registry { credentials: name, .. } | Self::Layout { repository: name, .. } => name,
        }
    }
}

/// For logs and messages: the registry's URL, or the layout's.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { url, .. } => f.write_str(url.as_str()),
            Self::Layout { directory, .. } => write!(f, "file://{}", directory.display()),
        }
    }
}

/// An entry that cannot be used.
#[derive(Debug)]
pub struct RegistriesError {
    /// `endpoints` or `signatures`.
    map: &'static str,
    /// The key.
    key: String,
    why: Mistake,
}

/// What is wrong with an entry.
#[derive(Debug)]
enum Mistake {
    /// Its value is not a URL that can be used.
    Url(UrlError),
    /// Something else, as it follows the key.
    Other(&'static str),
}

const TWICE: Mistake =
    Mistake::Other("stands there twice: a registry is the same with and without its default port, 443");

impl Mistake {
    fn of(self, map: &'static str, key: String) -> RegistriesError {
        RegistriesError { map, key, why: self }
    }
}

impl From<UrlError> for Mistake {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for RegistriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, key, why } = self;
        write!(f, "{map}: \"{}\"", printable(key, 120))?;
        match why {
            Mistake::Url(error) => write!(f, ": {error}"),
            Mistake::Other(why) => write!(f, " {why}"),
        }
    }
}

impl std::error::Error for RegistriesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Mistake::Url(error) => Some(error),
            Mistake::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
