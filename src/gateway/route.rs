//! What a URL means, and how a request says what it sends and wants. Pure.

use http::{HeaderMap, Method, Uri, header};
use percent_encoding::percent_decode_str;

use crate::scim::{ResourceKind, ScimError};

/// The media type of SCIM.
pub(super) const SCIM: &str = "application/scim+json";
/// The other media type that is spoken.
pub(super) const JSON: &str = "application/json";
/// Asks for [`SCIM`].
const SUFFIX: &str = ".scim";
/// Where every source is.
const ROOT: &str = "/scim/v2/";

/// What a URL is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/ServiceProviderConfig`
    Config,
    /// `/Schemas`, or one of them.
    Schemas(Option<String>),
    /// `/ResourceTypes`, or one of them.
    ResourceTypes(Option<String>),
    /// `/Users`, `/Groups`
    All(ResourceKind),
    /// The base URL itself: all users and groups.
    Everything,
    /// `/.search` under any of them.
    Search(&'static [ResourceKind]),
    /// One user or group.
    One(ResourceKind, String),
    /// `/Bulk`
    Bulk,
    /// `/Me`: a provisioning client is no user.
    Me,
    /// Another version of the protocol.
    OtherVersion,
    /// Nothing.
    Unknown,
}

/// The source and the route; `None` when the path is none of SCIM's.
pub(super) fn parse(path: &str) -> Option<(&str, Route)> {
    let rest = path.strip_prefix(ROOT)?;
    let (source, rest) = rest.split_once('/').unwrap_or((rest, ""));
    // The version may stand before the endpoint too (RFC 7644 §3.13).
    let rest = rest.strip_prefix("v2/").unwrap_or(rest).trim_end_matches('/');
    // A client may ask for SCIM's media type by a suffix (RFC 7644 §3.8).
    let mut segments = rest.strip_suffix(SUFFIX).unwrap_or(rest).split('/');
    let first = segments.next().unwrap_or_default();
    let second = segments
        .next()
        .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
    let route = match (first, second, segments.next()) {
        (version, Some(_), _) if is_version(version) => Route::OtherVersion,
        (_, _, Some(_)) => Route::Unknown,
        ("", None, _) => Route::Everything,
        (".search", None, _) => Route::Search(&ResourceKind::ALL),
        ("Users", Some(id), _) if id == ".search" => Route::Search(&[ResourceKind::User]),
        ("Groups", Some(id), _) if id == ".search" => Route::Search(&[ResourceKind::Group]),
        ("Users", None, _) => Route::All(ResourceKind::User),
        ("Users", Some(id), _) => Route::One(ResourceKind::User, id),
        ("Groups", None, _) => Route::All(ResourceKind::Group),
        ("Groups", Some(id), _) => Route::One(ResourceKind::Group, id),
        ("ServiceProviderConfig" | "ServiceProviderConfigs", None, _) => Route::Config,
        ("Schemas", urn, _) => Route::Schemas(urn),
        ("ResourceTypes", name, _) => Route::ResourceTypes(name),
        ("Me", _, _) => Route::Me,
        ("Bulk", None, _) => Route::Bulk,
        _ => Route::Unknown,
    };
    Some((source, route))
}

/// The answer to a path that is none of SCIM's: another version of the protocol is told so.
pub(super) fn elsewhere(path: &str) -> ScimError {
    match path.strip_prefix("/scim/").and_then(|rest| rest.split('/').next()) {
        Some(version) if is_version(version) && version != "v2" => other_version(),
        _ => ScimError::new(404, "nothing is here; sources are under /scim/v2/<source>"),
    }
}

/// 400 `invalidVers`.
pub(super) fn other_version() -> ScimError {
    ScimError::invalid_version("only SCIM 2.0 is served, under /scim/v2/<source>")
}

/// `v1`, `v2.1`
fn is_version(text: &str) -> bool {
    let digits = text.strip_prefix('v').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

impl Route {
    /// Readable without a token.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Route::Config | Route::Schemas(_) | Route::ResourceTypes(_))
    }

    /// The methods that it has.
    pub(super) fn allows(&self) -> &'static [Method] {
        match self {
            Route::Config | Route::Schemas(_) | Route::ResourceTypes(_) => &[Method::GET, Method::HEAD],
            Route::All(_) => &[Method::GET, Method::HEAD, Method::POST],
            Route::Everything => &[Method::GET, Method::HEAD],
            Route::Search(_) | Route::Bulk => &[Method::POST],
            Route::One(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE],
            Route::Me | Route::OtherVersion | Route::Unknown => &[],
        }
    }

    /// For metrics: a closed set.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Route::All(kind) | Route::One(kind, _) => kind.name(),
            Route::Config | Route::Schemas(_) | Route::ResourceTypes(_) => "discovery",
            Route::Search([one]) => one.name(),
            Route::Everything | Route::Search(_) => "all",
            Route::Bulk => "Bulk",
            Route::Me | Route::OtherVersion | Route::Unknown => "other",
        }
    }
}

/// The media type of the answer: plain JSON only for who asks for it and not for SCIM's own.
pub(super) fn answer_type(path: &str, headers: &HeaderMap) -> &'static str {
    if path.ends_with(SUFFIX) {
        return SCIM;
    }
    let accepts = |wanted: &str| {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|range| essence(range).eq_ignore_ascii_case(wanted))
    };
    if accepts(JSON) && !accepts(SCIM) { JSON } else { SCIM }
}

/// 415, unless the body is JSON as it stands. No Content-Type is taken for JSON.
pub(super) fn check_body_type(headers: &HeaderMap) -> Result<(), ScimError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(encoding) = text(header::CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(ScimError::new(415, "Content-Encoding is not supported: send the body as it is"));
    }
    match text(header::CONTENT_TYPE).map(essence) {
        None => Ok(()),
        Some(essence) if essence.eq_ignore_ascii_case(SCIM) || essence.eq_ignore_ascii_case(JSON) => Ok(()),
        Some(_) => Err(ScimError::new(415, format!("Content-Type is {SCIM} or {JSON}"))),
    }
}

fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// The source's base URL: under the public URL if there is one, else under the host that the client named.
pub(super) fn base(public_url: &str, tls: bool, uri: &Uri, headers: &HeaderMap, source: &str) -> String {
    let host = uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| headers.get(header::HOST).and_then(|value| value.to_str().ok()));
    match (public_url.trim_end_matches('/'), host) {
        ("", Some(host)) => format!("{}://{host}{ROOT}{source}", if tls { "https" } else { "http" }),
        (public_url, _) => format!("{public_url}{ROOT}{source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path: &str, expected: Option<(&str, Route)>| assert_eq!(parse(path), expected, "{path}");
        let users = Route::All(ResourceKind::User);
        check("/scim/v2/okta/Users", Some(("okta", users.clone())));
        check("/scim/v2/okta/Users/", Some(("okta", users)));
        check(
            "/scim/v2/okta/Groups/a%20b",
            Some(("okta", Route::One(ResourceKind::Group, "a b".into()))),
        );
        check("/scim/v2/okta/Users/x/y", Some(("okta", Route::Unknown)));
        check("/scim/v2/okta/users", Some(("okta", Route::Unknown)));
        check("/scim/v2/okta", Some(("okta", Route::Everything)));
        check("/scim/v2/okta/", Some(("okta", Route::Everything)));
        check("/scim/v2//Users", Some(("", Route::All(ResourceKind::User))));
        check("/scim/v2/okta/v2/Users", Some(("okta", Route::All(ResourceKind::User))));
        check("/scim/v2/okta/v1/Users", Some(("okta", Route::OtherVersion)));
        check("/scim/v2/okta/Me", Some(("okta", Route::Me)));
        check("/scim/v2/okta/Bulk", Some(("okta", Route::Bulk)));
        check("/scim/v2/okta/.search", Some(("okta", Route::Search(&ResourceKind::ALL))));
        check("/scim/v2/okta/Users/.search", Some(("okta", Route::Search(&[ResourceKind::User]))));
        check(
            "/scim/v2/okta/Users/x.scim",
            Some(("okta", Route::One(ResourceKind::User, "x".into()))),
        );
        check("/scim/v2/okta/Schemas/urn:x", Some(("okta", Route::Schemas(Some("urn:x".into())))));
        check("/healthz", None);
        assert_eq!(elsewhere("/scim/v1/okta/Users").scim_type, Some("invalidVers"));
        assert_eq!(elsewhere("/scim/vault").status, 404);
        assert_eq!(elsewhere("/").status, 404);
    }

    #[test]
    fn media_types() {
        let headers = |name: header::HeaderName, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        assert_eq!(answer_type("/Users", &HeaderMap::new()), SCIM);
        assert_eq!(answer_type("/Users", &headers(header::ACCEPT, "application/json")), JSON);
        assert_eq!(
            answer_type(
                "/Users",
                &headers(header::ACCEPT, "application/scim+json; charset=utf-8, application/json")
            ),
            SCIM
        );
        assert_eq!(answer_type("/Users", &headers(header::ACCEPT, "*/*")), SCIM);
        let check = |value: &str, good: bool| assert_eq!(check_body_type(&headers(header::CONTENT_TYPE, value)).is_ok(), good, "{value}");
        check("application/json", true);
        check("application/scim+json; charset=utf-8", true);
        check("APPLICATION/JSON", true);
        check("text/plain", false);
        check("", false);
        assert_eq!(check_body_type(&headers(header::CONTENT_ENCODING, "gzip")).unwrap_err().status, 415);
    }

    #[test]
    fn base_urls() {
        let headers = HeaderMap::from_iter([(header::HOST, "h:1".parse().unwrap())]);
        let uri: Uri = "/scim/v2/okta/Users".parse().unwrap();
        assert_eq!(base("", true, &uri, &headers, "okta"), "https://h:1/scim/v2/okta");
        assert_eq!(base("https://p/", true, &uri, &headers, "okta"), "https://p/scim/v2/okta");
        assert_eq!(base("", false, &uri, &HeaderMap::new(), "okta"), "/scim/v2/okta");
    }
}
