//! `spec.poll` of a `ScimSource`: a directory that is asked, because it does not push or cannot reach the cluster.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::push::SecretKeyRef;

/// A directory that is asked again and again: exactly one of `scim`, `googleWorkspace`, `entra` and `okta`.
///
/// Only https is spoken, to public addresses, unless the gateway's `--allow-network` says more; redirects are not followed. A Secret is used for the host only that it was first used for:
/// for another host it has to be written anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("[has(self.scim), has(self.googleWorkspace), has(self.entra), has(self.okta)].filter(x, x).size() == 1").message("exactly one of scim, googleWorkspace, entra and okta"))]
pub struct Poll {
    /// How long after the end of one pass the next one begins, such as `90s`, `5m` or `1h`: at least 10s, at most 24h. A tenth more or less, so that sources do not ask all at once.
    #[serde(default = "five_minutes")]
    #[schemars(length(min = 2, max = 16), pattern(r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub interval: String,
    /// How often everything is asked for, of a directory that can say what changed; in between only changes are. At least `interval`, at most 168h.
    #[serde(default = "a_day")]
    #[schemars(length(min = 2, max = 16), pattern(r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub full_interval: String,
    /// A SCIM 2.0 service provider (RFC 7644).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scim: Option<Box<Scim>>,
    /// Google Workspace, by its Directory API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google_workspace: Option<Box<GoogleWorkspace>>,
    /// Microsoft Entra ID, by Microsoft Graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entra: Option<Box<Entra>>,
    /// Okta, by its API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub okta: Option<Box<Okta>>,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn a_day() -> String {
    "24h".to_owned()
}

impl Poll {
    /// From the end of a pass to the next one.
    ///
    /// # Errors
    /// What is wrong with it, for the admin.
    pub fn every(&self) -> Result<Duration, String> {
        read("interval", &self.interval, Duration::from_secs(10), Duration::from_secs(24 * 3600))
    }

    /// From one full pass to the next one.
    ///
    /// # Errors
    /// What is wrong with it, for the admin.
    pub fn full_every(&self) -> Result<Duration, String> {
        read("fullInterval", &self.full_interval, self.every()?, Duration::from_secs(168 * 3600))
    }

    /// What kind of directory is asked, as the status says it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self {
                google_workspace: Some(_), ..
            } => "Google Workspace",
            Self { entra: Some(_), .. } => "Entra ID",
            Self { okta: Some(_), .. } => "Okta",
            _ => "SCIM",
        }
    }
}

fn read(field: &str, text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let span: Result<jiff::SignedDuration, _> = text.parse();
    let span = span.ok().and_then(|span| Duration::try_from(span).ok());
    let span = span.filter(|span| (least..=most).contains(span));
    span.ok_or_else(|| format!("spec.poll.{field} {text:?} is no duration from {least:?} to {most:?}, such as 5m"))
}

/// A SCIM 2.0 service provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.pageSize >= 1 && self.pageSize <= 1000").message("pageSize is from 1 to 1000"))]
pub struct Scim {
    /// Its base URL: `/Users` and `/Groups` are below it.
    #[schemars(length(max = 2048), pattern(r"^https://[^\s@?#]+$"))]
    pub url: String,
    /// How Rolecall proves who it is.
    pub auth: Auth,
    /// Certificates of authorities that are trusted for it beside the system's, as PEM, in a key of a Secret in Rolecall's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_key_ref: Option<SecretKeyRef>,
    /// A SCIM filter for the users that are asked for. Who is not selected is gone, and loses what was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub user_filter: Option<String>,
    /// A SCIM filter for the groups that are asked for, such as `displayName sw "k8s-"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub group_filter: Option<String>,
    /// How the members of groups are had.
    #[serde(default)]
    pub members: Members,
    /// How lists are read page by page. `Auto`: by cursors (RFC 9865) if the service's configuration says that it has them.
    #[serde(default)]
    pub paging: Paging,
    /// How many resources a page is asked to have. The service may give fewer.
    #[serde(default = "hundred")]
    pub page_size: i32,
    /// Ask only for what changed since the last pass, by `meta.lastModified`, and for everything every `fullInterval`. Only for services whose filter can do it, and whose groups are modified when a member comes or goes.
    #[serde(default)]
    pub incremental: bool,
}

fn hundred() -> i32 {
    100
}

/// How the members of groups are had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Members {
    /// A list of groups has them (`attributes=members` is not needed).
    #[default]
    Listed,
    /// A list does not have them, or only some: each group is asked for by its id, with `attributes=members`.
    PerGroup,
    /// Groups do not tell them at all (Entra ID, AWS IAM Identity Center): for each group the users are asked for, with the filter `groups.value eq`.
    ByUser,
}

/// How lists are read page by page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Paging {
    #[default]
    Auto,
    Index,
    Cursor,
}

/// How Rolecall proves who it is: one of `bearer`, `basic` and `oauth2`, or a `clientCertificate`, alone or beside one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("[has(self.bearer), has(self.basic), has(self.oauth2)].filter(x, x).size() <= 1").message("at most one of bearer, basic and oauth2"))]
#[x_kube(validation = kube::core::Rule::new("has(self.bearer) || has(self.basic) || has(self.oauth2) || has(self.clientCertificate)").message("one of bearer, basic, oauth2 and clientCertificate"))]
pub struct Auth {
    /// A token, sent as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretKeyRef>,
    /// A name and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A token that is asked for (OAuth 2 client credentials, RFC 6749 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// A Secret of type `kubernetes.io/tls` in Rolecall's own namespace, with a certificate and its key for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<SecretRef>,
}

/// A name and a password (RFC 7617).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// The name.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// Where the password is.
    pub secret_key_ref: SecretKeyRef,
}

/// OAuth 2 client credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// Where tokens are asked for.
    #[schemars(length(max = 2048), pattern(r"^https://[^\s@]+$"))]
    pub token_url: String,
    /// The client's id.
    #[schemars(length(min = 1, max = 256))]
    pub client_id: String,
    /// Where the client's secret is.
    pub secret_key_ref: SecretKeyRef,
    /// The scopes that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub scopes: Vec<String>,
    /// The parameter `audience`, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,
}

/// A Secret in Rolecall's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Google Workspace, by the Directory API (`admin/directory/v1`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.keySecretKeyRef) != (has(self.metadataServer) && self.metadataServer)").message("exactly one of keySecretKeyRef and metadataServer: true"))]
#[x_kube(validation = kube::core::Rule::new("!has(self.keySecretKeyRef) || has(self.admin)").message("with keySecretKeyRef the admin is needed in whose name the service account asks"))]
pub struct GoogleWorkspace {
    /// The customer's id, such as `C01abcdef`.
    #[serde(default = "my_customer")]
    #[schemars(length(min = 1, max = 64))]
    pub customer: String,
    /// The service account's key as JSON, in a key of a Secret. It needs domain-wide delegation for `admin.directory.user.readonly`, `admin.directory.group.readonly` and `admin.directory.group.member.readonly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_key_ref: Option<SecretKeyRef>,
    /// The address of an admin in whose name the service account asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 256))]
    pub admin: Option<String>,
    /// Take the service account of the pod (Workload Identity) from the metadata server of Google Cloud; it needs an admin role of its own in Google Workspace.
    #[serde(default)]
    pub metadata_server: bool,
    /// Which users are asked for, as the Directory API's `query`, such as `orgUnitPath='/Engineering'`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub user_query: Option<String>,
    /// Which groups are asked for, as the Directory API's `query`, such as `email:k8s-*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub group_query: Option<String>,
    /// What a group's `displayName` is.
    #[serde(default)]
    pub group_name: GoogleGroupName,
    /// Keep the users' aliases among their `emails`.
    #[serde(default)]
    pub aliases: bool,
    /// Custom schemas whose fields are kept, as attributes of `urn:google:params:scim:schemas:<schema>:2.0:User`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub custom_schemas: Vec<String>,
}

fn my_customer() -> String {
    "my_customer".to_owned()
}

/// What a Google group's `displayName` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GoogleGroupName {
    /// Its address: nobody else can have it.
    #[default]
    Email,
    /// Its name, which its managers may change.
    Name,
}

/// Microsoft Entra ID, by Microsoft Graph (`v1.0`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("[has(self.clientSecretKeyRef), has(self.certificate), has(self.workloadIdentity) && self.workloadIdentity].filter(x, x).size() == 1").message("exactly one of clientSecretKeyRef, certificate and workloadIdentity: true"))]
pub struct Entra {
    /// The tenant's id.
    #[schemars(length(min = 1, max = 256), pattern(r"^[A-Za-z0-9.-]+$"))]
    pub tenant_id: String,
    /// The application's (client) id. It needs the application permissions `User.Read.All` and `GroupMember.Read.All`.
    #[schemars(length(min = 1, max = 64), pattern(r"^[A-Za-z0-9-]+$"))]
    pub client_id: String,
    /// Where the client's secret is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_key_ref: Option<SecretKeyRef>,
    /// A Secret of type `kubernetes.io/tls` whose certificate the application has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SecretRef>,
    /// Take the token that Azure Workload Identity mounts into the pod (`AZURE_FEDERATED_TOKEN_FILE`).
    #[serde(default)]
    pub workload_identity: bool,
    /// Which cloud the tenant is in.
    #[serde(default)]
    pub cloud: EntraCloud,
    /// What the `externalId` of users is: the one of the push that this poll follows or precedes.
    #[serde(default)]
    pub external_id: EntraExternalId,
}

/// A cloud of Microsoft's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum EntraCloud {
    #[default]
    Global,
    USGovernment,
    China,
}

/// What the `externalId` of users is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EntraExternalId {
    /// The user's object id.
    #[default]
    ObjectId,
    /// `mailNickname`, as Entra's provisioning sends it unless its mapping was changed.
    MailNickname,
}

/// Okta, by its API (`api/v1`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.apiTokenSecretKeyRef) != has(self.oauth2)").message("exactly one of apiTokenSecretKeyRef and oauth2"))]
pub struct Okta {
    /// The organization's URL, such as `https://example.okta.com`.
    #[schemars(length(max = 2048), pattern(r"^https://[^\s@?#/]+/?$"))]
    pub url: String,
    /// Where an API token of a read-only admin is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token_secret_key_ref: Option<SecretKeyRef>,
    /// A service application with a key of its own (private key JWT, RFC 7523), with the scopes `okta.users.read` and `okta.groups.read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OktaOAuth2>,
    /// Which users are asked for, as the API's `search`, such as `profile.department eq "Engineering"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub user_search: Option<String>,
    /// Which groups are asked for, as the API's `search`, such as `profile.name sw "k8s-"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub group_search: Option<String>,
}

/// A service application of Okta's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OktaOAuth2 {
    /// The application's client id.
    #[schemars(length(min = 1, max = 64))]
    pub client_id: String,
    /// The id of the key (`kid`), where the application has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub key_id: Option<String>,
    /// Where the private key is, as PEM (PKCS #8, RSA).
    pub private_key_secret_key_ref: SecretKeyRef,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_durations_within_bounds() {
        let every = |interval: &str, full: &str| {
            let poll = Poll {
                interval: interval.to_owned(),
                full_interval: full.to_owned(),
                ..Poll::default()
            };
            (poll.every().ok().map(|d| d.as_secs()), poll.full_every().ok().map(|d| d.as_secs()))
        };
        assert_eq!(every("5m", "24h"), (Some(300), Some(86_400)));
        assert_eq!(every("1h30m", "2h"), (Some(5_400), Some(7_200)));
        assert_eq!(every("10s", "5s"), (Some(10), None));
        for wrong in ["", "5", "9s", "25h", "-5m", "five"] {
            assert_eq!(every(wrong, "24h"), (None, None), "{wrong}");
        }
    }
}
