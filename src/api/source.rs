//! `ScimSource`: one identity provider, and how its people appear to the API server.

#![allow(
    clippy::duplicated_attributes,
    reason = "each column has its type; the lint counts them as one attribute"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::poll::Poll;
use super::push::{Push, Token};
use super::selector::Selector;

/// One identity provider.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "rolecall.dev", version = "v1alpha1", kind = "ScimSource", status = "ScimSourceStatus", derive = "PartialEq",
    shortname = "scimsrc", category = "rolecall",
    doc = "One identity provider (Okta, Entra ID, Google Workspace, any SCIM 2.0 service) that pushes its users and groups, or is polled for them. One that pushes is served under `/scim/v2/<name>`; `status.url` says so. It grants nothing by itself: RoleMapping and ClusterRoleMapping do.",
    validation = kube::core::Rule::new("size(self.metadata.name) <= 63").message("the name is part of a URL and of labels: at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Users", type_ = "integer", json_path = ".status.users"),
    printcolumn(name = "Groups", type_ = "integer", json_path = ".status.groups"),
    printcolumn(name = "Last-Event", type_ = "date", json_path = ".status.lastEventTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.push) != has(self.poll)").message("exactly one of push and poll"))]
#[x_kube(validation = kube::core::Rule::new("has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)").message("class is immutable: make a new object instead"))]
pub struct ScimSourceSpec {
    /// Which installation serves this source, when several share a cluster: the `--class` of its gateway and controller. Absent: the one without a class. It cannot be changed: make a new source instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub class: Option<String>,
    /// The provider pushes SCIM 2.0 to Rolecall's gateway. Exactly one of `push` and `poll`; from one to the other nobody's access changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
    /// The gateway asks the directory again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Box<Poll>>,
    /// How this provider's people appear to the API server.
    pub subject: Subject,
    /// Which of the provider's groups count here, as a SCIM filter over `displayName`, `externalId` and `id`, such as `displayName sw "k8s-"`. The others are stored and listed, and grant nothing: no mapping finds them, and a group that counts does not hold their members either. Absent: all groups count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub known_groups: Option<String>,
    /// Extension schemas that the provider's resources use beside the enterprise extension. They are published under `/Schemas` and `/ResourceTypes` to who has a token of this source, and values of another type are refused. What is not declared is kept all the same, and told in the condition `SchemaDrift`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub schema: Vec<ExtensionSchema>,
    /// Which namespaces' RoleMappings may use this source. Absent: none (ClusterRoleMappings always may). An empty `selector` means every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Attributes of users that RoleMappings may filter members by, as full paths: `userType`, `name.familyName`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department`. Absent: none, as such a filter tells who has which value. ClusterRoleMappings may use any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub mappable_attributes: Vec<String>,
    /// How many of this source's people who hold something may lose something within an hour, by all mappings together; what goes beyond waits, in the condition `Held`, until it is approved (`kubectl rolecall approve`). Absent: 10 people, and 10 percent. Whom the provider disables or deletes is never held; more of them than this raise the condition `MassDeprovision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Holds every new grant from this source. Pushes are still taken and recorded, and a person whom the provider disables or deletes loses access all the same.
    #[serde(default)]
    pub suspend: bool,
}

impl ScimSourceSpec {
    /// The bearer tokens that a provider may push with.
    pub fn tokens(&self) -> &[Token] {
        self.push.as_ref().map_or(&[], |push| &push.tokens)
    }
}

/// How the provider's people appear to the API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// CEL over `user` (the SCIM attributes): the username exactly as the API server sees it after login, with the prefix that its OIDC configuration adds, for example `'oidc:' + user.userName`. It must yield a string; whoever yields none is granted nothing.
    #[schemars(length(min = 1, max = 1024))]
    pub username: String,
    /// CEL over `group` (the SCIM attributes): a group exactly as the login names it, with the prefix that the API server's OIDC configuration adds, for example `'okta:' + group.displayName`. Only for mappings with `subjects: Group` or `Both`, in clusters whose login carries groups. The API server compares names only: a second group of the same name has what this one has, so let it yield an id for a role that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub group: Option<String>,
    /// Users and the usernames that the expression must yield for them. They are checked at every reconcile; a wrong one stalls the source and grants nothing new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub examples: Vec<Example>,
}

/// A user and the username expected for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// SCIM attributes of an example user.
    #[schemars(schema_with = "any_object")]
    pub user: serde_json::Map<String, serde_json::Value>,
    /// The username that the expression must yield.
    #[schemars(length(max = 1024))]
    pub expect: String,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "maxProperties": 32})
}

/// An extension schema (RFC 7643 §3.3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("!self.id.lowerAscii().startsWith('urn:ietf:params:scim:')").message("a schema of the RFCs is there by itself, and is not declared"))]
pub struct ExtensionSchema {
    /// The URN: the key of the extension's object in a resource.
    #[schemars(
        length(min = 5, max = 256),
        pattern(r"^[uU][rR][nN]:[A-Za-z0-9][-A-Za-z0-9]*:[-A-Za-z0-9._:]*[-A-Za-z0-9_]$")
    )]
    pub id: String,
    /// A name for people.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// What it is for.
    #[schemars(length(min = 1, max = 512))]
    pub description: String,
    /// What it extends.
    #[serde(default)]
    pub resource_type: ExtendedType,
    /// Every resource of that type is expected to have it. One without it is taken all the same, and told in the condition `SchemaDrift`.
    #[serde(default)]
    pub required: bool,
    /// Its attributes.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub attributes: Vec<ExtensionAttribute>,
}

/// What an extension extends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum ExtendedType {
    #[default]
    User,
    Group,
}

/// An attribute of an extension (RFC 7643 §7).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionAttribute {
    /// Its name.
    #[schemars(length(min = 1, max = 128), pattern(r"^[A-Za-z$][-A-Za-z0-9_$]*$"))]
    pub name: String,
    /// Its data type.
    #[serde(default, rename = "type")]
    pub type_: AttributeType,
    /// Whether it is a list.
    #[serde(default)]
    pub multi_valued: bool,
    /// Every resource with the extension is expected to have it. One without it is taken all the same, and told in the condition `SchemaDrift`.
    #[serde(default)]
    pub required: bool,
    /// Whether case matters when its strings are compared, as clients are told.
    #[serde(default)]
    pub case_exact: bool,
    /// Suggested values; others are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 256)))]
    pub canonical_values: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub description: String,
    /// For `complex`: its parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sub_attributes: Vec<SubAttribute>,
}

/// A part of a complex attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubAttribute {
    /// Its name.
    #[schemars(length(min = 1, max = 128), pattern(r"^[A-Za-z$][-A-Za-z0-9_$]*$"))]
    pub name: String,
    /// Its data type; not `complex`.
    #[serde(default, rename = "type")]
    pub type_: SimpleType,
    /// Whether it is a list.
    #[serde(default)]
    pub multi_valued: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub description: String,
}

/// A data type (RFC 7643 §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum AttributeType {
    #[default]
    String,
    Boolean,
    Decimal,
    Integer,
    DateTime,
    Binary,
    Reference,
    Complex,
}

/// A data type other than `complex`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum SimpleType {
    #[default]
    String,
    Boolean,
    Decimal,
    Integer,
    DateTime,
    Binary,
    Reference,
}

/// Which namespaces' RoleMappings may use the source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Selects namespaces by label. Empty: every namespace.
    pub selector: Selector,
}

/// The passes over a directory that is polled. Times are to the minute, and the last pass may be a few minutes newer than it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PollStatus {
    /// How the last pass ended: `Complete`; `Unproven`, when something may have been missing, so that nothing was taken away because of that; or `Failed`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub last_outcome: String,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_pass_time: Option<String>,
    /// When a pass over everything last came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_full_pass_time: Option<String>,
    /// About when the next pass begins; absent while one goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub next_pass_time: Option<String>,
    /// How many users the pass that goes on, or else the last one, has had.
    #[serde(default)]
    pub users: i64,
    /// How many groups.
    #[serde(default)]
    pub groups: i64,
    /// How many pages.
    #[serde(default)]
    pub pages: i64,
}

/// What is known of a source. Written by the controller only; never a person's data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScimSourceStatus {
    /// The generation of the spec that this status speaks of; -1 until a controller has looked.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, and what needs attention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where the provider pushes to: its SCIM base URL. Absent if it is polled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub url: String,
    /// `Push`, `Poll` or `Suspended`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub mode: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub summary: String,
    /// How many users the directory holds of this source, disabled ones included.
    #[serde(default)]
    pub users: i64,
    /// How many of them are active.
    #[serde(default)]
    pub active_users: i64,
    /// How many groups the directory holds of this source.
    #[serde(default)]
    pub groups: i64,
    /// How many of them count for nothing, because `knownGroups` does not select them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ignored_groups: i64,
    /// How many removals from its people wait until somebody approves them: one for each person and binding.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_removals: i64,
    /// The newest record of what waits: the annotation `rolecall.dev/approve` with this number releases all of it, and nothing that comes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_index: Option<i64>,
    /// When the provider last changed something, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_event_time: Option<String>,
    /// The passes over a directory that is polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollStatus>,
    /// The newest of the annotations `rolecall.dev/requestedAt` and `reconcile.fluxcd.io/requestedAt` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
    /// The largest groups, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub largest_groups: Vec<GroupStatus>,
    /// The bearer tokens of the spec, and when each was last used; those of `jwt` as one of that name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tokens: Vec<TokenStatus>,
    /// What the provider's requests need beyond RFC 7643 and 7644, and how many requests did; counted about once an hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tolerances: Vec<ToleranceStatus>,
    /// Attributes of the provider's requests that are not what the schema says, the most frequent first; counted about once an hour. Never a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub drift: Vec<DriftStatus>,
    /// By what the loss of a journal is accepted: the value for the annotation `rolecall.dev/accept-journal-loss`. Absent while none is lost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub journal_loss: String,
    /// The journal that this source's data is in: what a loss is recognised by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalRef>,
}

/// A bearer token as a status shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// Its name in `spec.push.tokens`.
    #[schemars(length(max = 63))]
    pub name: String,
    /// When it was last used, to the hour (RFC 3339). Absent: never, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_used: Option<String>,
    /// When it stops being accepted, as the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub not_after: Option<String>,
}

/// Something that the provider's requests need beyond the RFCs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToleranceStatus {
    /// Its name, as in the metric `rolecall_scim_tolerated_total`; docs/conformance.md says what each is.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How many requests needed it.
    pub requests: i64,
}

/// An attribute that is not what the schema says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// `UnknownAttribute` (kept and returned all the same), `WrongType` (refused), `MissingAttribute` (refused if the RFC requires it, taken if only `spec.schema` does), or `MissingExtension` (a PUT left it out).
    #[serde(rename = "type")]
    #[schemars(length(max = 63))]
    pub type_: String,
    /// Its path.
    #[schemars(length(max = 256))]
    pub attribute: String,
    /// How many requests had it.
    pub requests: i64,
}

/// One group as a status shows it: no person's data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// The source that the group is of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub source: String,
    /// The group's name at the provider.
    #[schemars(length(max = 1024))]
    pub display_name: String,
    /// The provider's own id, if it sends one: the best thing to map by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub external_id: Option<String>,
    /// Rolecall's id of the group; for providers that send no externalId, map by `filter: 'id eq "..."'`.
    #[schemars(length(max = 64))]
    pub id: String,
    /// How many direct members it has.
    pub members: i64,
}

/// A position in a journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JournalRef {
    /// The journal's id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// The UID of the Journal object.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// An index that it had reached; written at most once a minute.
    pub index: i64,
    /// The head at that index: a history that was written on after etcd was put back has another one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub head: String,
}

pub(super) fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// The value of `observedGeneration` before anybody has looked.
pub fn unobserved() -> i64 {
    -1
}
