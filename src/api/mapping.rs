//! `RoleMapping` and `ClusterRoleMapping`: which groups get which roles, where.

#![allow(
    clippy::duplicated_attributes,
    reason = "each column has its type; the lint counts them as one attribute"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::selector::Selector;
use super::source::{GroupStatus, is_zero, unobserved};

/// Grants roles in its own namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "rolecall.dev", version = "v1alpha1", kind = "RoleMapping", namespaced, status = "MappingStatus", derive = "PartialEq",
    shortname = "rmap", category = "rolecall",
    doc = "Grants roles, in this namespace, to the members of groups of an identity provider. Its author must hold the verb `bind` on every role that it names, in this namespace.",
    validation = kube::core::Rule::new("size(self.metadata.name) <= 63").message("the name is part of labels: at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Held", type_ = "string", json_path = ".status.conditions[?(@.type==\"Held\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)").message("class is immutable: make a new object instead"))]
#[x_kube(validation = kube::core::Rule::new("!has(self.members) || !has(self.subjects) || self.subjects == 'User'").message("members needs subjects: User: what is granted to a group, its members have, whoever they are"))]
pub struct RoleMappingSpec {
    /// Which installation acts on this mapping, when several share a cluster: its `--class`. Absent: the one without a class. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub class: Option<String>,
    /// The ScimSources whose groups are meant. Each must allow this namespace (`spec.allowedNamespaces`).
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub sources: Vec<String>,
    /// Which groups.
    pub groups: Groups,
    /// Which of their members; absent: all of them. Each attribute that the filter reads must be in `spec.mappableAttributes` of every source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Members>,
    /// What their members get.
    #[schemars(length(min = 1, max = 24))]
    pub grants: Vec<Grant>,
    /// `User`, `Group` or `Both`. `User` names each member, and takes access away at once. `Group` names the group itself, as the login says it (`spec.subject.group` of the source): for clusters whose login carries groups; whoever leaves the group has access until their token expires. `Both` is for going over from one to the other.
    #[serde(default)]
    pub subjects: Subjects,
    /// `Enforce` or `Plan`. In `Plan` nobody is granted anything new, and nobody loses anything but whom the provider disables or deletes: the condition `Held` says how much would change. The first step in a cluster that already has bindings.
    #[serde(default)]
    pub mode: Mode,
    /// When this mapping ends, to the second (RFC 3339): then what it granted is taken away, and nothing more is granted. It is a removal like one by an editor: `suspend` and `mode: Plan` hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub not_after: Option<String>,
    /// How many of the people who hold something by this mapping may lose something within an hour; what goes beyond waits, in the condition `Held`, until it is approved (`kubectl rolecall approve`). Absent: 10 people, and 10 percent. The end of the mapping itself, by deletion or `notAfter`, is never held by it, nor whom the provider disables or deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Holds every new grant of this mapping. A person whom the provider disables or deletes loses access all the same.
    #[serde(default)]
    pub suspend: bool,
}

/// Grants roles in namespaces that it selects.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "rolecall.dev", version = "v1alpha1", kind = "ClusterRoleMapping", status = "MappingStatus", derive = "PartialEq",
    shortname = "crmap", category = "rolecall",
    doc = "Grants roles, in the namespaces that each grant selects, to the members of groups of an identity provider. Its author must hold the verb `bind` on every role that it names, in every namespace.",
    validation = kube::core::Rule::new("size(self.metadata.name) <= 63").message("the name is part of labels: at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Held", type_ = "string", json_path = ".status.conditions[?(@.type==\"Held\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)").message("class is immutable: make a new object instead"))]
#[x_kube(validation = kube::core::Rule::new("!has(self.members) || !has(self.subjects) || self.subjects == 'User'").message("members needs subjects: User: what is granted to a group, its members have, whoever they are"))]
pub struct ClusterRoleMappingSpec {
    /// Which installation acts on this mapping, when several share a cluster: its `--class`. Absent: the one without a class. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub class: Option<String>,
    /// The ScimSources whose groups are meant.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub sources: Vec<String>,
    /// Which groups.
    pub groups: Groups,
    /// Which of their members; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Members>,
    /// What their members get, and where.
    #[schemars(length(min = 1, max = 24))]
    pub grants: Vec<ClusterGrant>,
    /// `User`, `Group` or `Both`. `User` names each member, and takes access away at once. `Group` names the group itself, as the login says it (`spec.subject.group` of the source): for clusters whose login carries groups; whoever leaves the group has access until their token expires. `Both` is for going over from one to the other.
    #[serde(default)]
    pub subjects: Subjects,
    /// `Enforce` or `Plan`. In `Plan` nobody is granted anything new, and nobody loses anything but whom the provider disables or deletes: the condition `Held` says how much would change. The first step in a cluster that already has bindings.
    #[serde(default)]
    pub mode: Mode,
    /// When this mapping ends, to the second (RFC 3339): then what it granted is taken away, and nothing more is granted. It is a removal like one by an editor: `suspend` and `mode: Plan` hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub not_after: Option<String>,
    /// How many of the people who hold something by this mapping may lose something within an hour; what goes beyond waits, in the condition `Held`, until it is approved (`kubectl rolecall approve`). Absent: 10 people, and 10 percent. The end of the mapping itself, by deletion or `notAfter`, is never held by it, nor whom the provider disables or deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Holds every new grant of this mapping. A person whom the provider disables or deletes loses access all the same.
    #[serde(default)]
    pub suspend: bool,
}

/// Which groups of the sources are meant: exactly one of `names`, `externalIds`, `filter` and `pattern`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("[has(self.names), has(self.externalIds), has(self.filter), has(self.pattern)].filter(x, x).size() == 1").message("exactly one of names, externalIds, filter and pattern must be set"))]
pub struct Groups {
    /// Groups by displayName. Not safe against renames at the provider: prefer `externalIds`, or `filter: 'id eq "..."'`, for privileged roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 1024)))]
    pub names: Option<Vec<String>>,
    /// Groups by the provider's own id; a rename changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 1024)))]
    pub external_ids: Option<Vec<String>>,
    /// Groups by a SCIM filter (RFC 7644 §3.4.2.2) over displayName, externalId and id, for example `displayName sw "k8s-"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub filter: Option<String>,
    /// Groups by a regular expression over displayName (RE2 syntax), which must match the whole name: it begins with `^` and ends with `$`. What its named groups capture is `match` in the expressions of the grants: `^k8s-(?<team>[a-z0-9-]+)-(?<role>view|edit)$`. Whoever can name a group at the provider chooses what is captured: grant privileged roles by `externalIds` or `filter: 'id eq "..."'` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub pattern: Option<String>,
    /// `Grant` or `Approve`. With `Approve` each group, those of the beginning too, grants nothing new until somebody approved it (`kubectl rolecall approve`), and again when what the expressions yield for it is something else, as after a rename. Nobody loses anything by that.
    #[serde(default)]
    pub new_groups: NewGroups,
}

/// What a group that nobody approved does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NewGroups {
    /// It grants.
    #[default]
    Grant,
    /// What it would grant waits for an approval.
    Approve,
}

/// Which members of the groups are meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    /// A SCIM filter (RFC 7644 §3.4.2.2) over the user's attributes, such as `userType eq "Employee"`. A comparison with an attribute that the user does not have is false, with `ne` too. Only active users are ever meant; nobody has to say so.
    #[schemars(length(min = 1, max = 2048))]
    pub filter: String,
}

/// Whom a mapping grants to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Subjects {
    /// The members of the groups, each by name.
    #[default]
    User,
    /// The groups.
    Group,
    /// Both.
    Both,
}

/// Whether a mapping acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It grants and takes away.
    #[default]
    Enforce,
    /// It only says what it would do.
    Plan,
}

/// One role, granted in the mapping's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The role.
    pub role_ref: GrantedRole,
}

/// One role, granted in the selected namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("!has(self.namespaces.all) || !self.namespaces.all || self.roleRef.kind == 'ClusterRole'").message("only a ClusterRole can be granted in the whole cluster (all)"))]
pub struct ClusterGrant {
    /// The role.
    pub role_ref: GrantedRole,
    /// Where it is granted.
    pub namespaces: Namespaces,
}

/// The role that is granted: by `name`, or one for each group, by `expression` and the closed list of what it may yield.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.name) != has(self.expression)").message("exactly one of name and expression must be set"))]
#[x_kube(validation = kube::core::Rule::new("has(self.expression) == has(self.oneOf)").message("an expression has a closed list, oneOf, of the roles that it may yield; a name has none"))]
pub struct GrantedRole {
    /// `ClusterRole` or `Role`.
    pub kind: RoleKind,
    /// The role's name. It must be on the access policy's list (Helm value `accessPolicy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// CEL over `group` (`id`, `displayName`, `externalId`), `match` (what `groups.pattern` captured) and `source` (`name`), which yields the role's name for each group: `match.role`. A group for which it yields what is not in `oneOf` is granted nothing by this grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expression: Option<String>,
    /// The only roles that `expression` may yield. Each must be on the access policy's list, and the mapping's author must hold the verb `bind` on each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 24), inner(length(min = 1, max = 253)))]
    pub one_of: Option<Vec<String>>,
}

/// The role that is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRef {
    /// `ClusterRole` or `Role`.
    pub kind: RoleKind,
    /// The role's name. It must be on the access policy's list (Helm value `accessPolicy`).
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The kinds of role that a binding may refer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RoleKind {
    /// A ClusterRole, granted in a namespace.
    #[default]
    ClusterRole,
    /// A Role of that namespace.
    Role,
}

impl RoleKind {
    /// The kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterRole => "ClusterRole",
            Self::Role => "Role",
        }
    }
}

/// Where a grant applies: exactly one of `names`, `selector`, `expression` and `all`. Protected namespaces are never among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("[has(self.names), has(self.selector), has(self.expression), has(self.all) && self.all].filter(x, x).size() == 1").message("exactly one of names, selector, expression and all must be set"))]
#[x_kube(validation = kube::core::Rule::new("!has(self.create) || has(self.names) || has(self.expression)").message("create needs names or expression: they say which namespaces to make"))]
pub struct Namespaces {
    /// Namespaces by name; those that do not exist yet get the grant when they appear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1, max = 63)))]
    pub names: Option<Vec<String>>,
    /// Namespaces by label, those that appear later too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// One namespace for each group: CEL over `group` (`id`, `displayName`, `externalId`), `match` (what `groups.pattern` captured) and `source` (`name`), such as `'team-' + match.team`. One that does not exist yet gets the grant when it appears; what is no name of a namespace, or a protected one, is granted nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expression: Option<String>,
    /// The whole cluster, by a ClusterRoleBinding: protected namespaces too, and what is in no namespace. Only for ClusterRoles of the access policy's own list for it (Helm value `accessPolicy.clusterWideRoles`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Makes those of the namespaces that do not exist. Rolecall never deletes one: one that it made and that no mapping covers any more gets the label `rolecall.dev/unused`. Its author must be allowed to create namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<CreateNamespaces>,
}

/// How a namespace is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateNamespaces {
    /// Its labels. Pod Security labels (`pod-security.kubernetes.io/...`) only with the levels that the access policy allows (Helm value `accessPolicy.podSecurityLevels`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// Labels by CEL, as `namespaces.expression`: `{team: match.team}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub label_expressions: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// What is known of a mapping. Written by the controller only; never a person's data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MappingStatus {
    /// The generation of the spec that this status speaks of; -1 until a controller has looked.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, and what needs attention, such as `Held` or `AmbiguousGroup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// `Enforce`, `Plan`, `Suspended`, or `Ended` after `notAfter`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub mode: String,
    /// One line for people: roles, namespaces, people, groups unmatched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub summary: String,
    /// How many people are meant: granted something, unless something holds it.
    #[serde(default)]
    pub people: i64,
    /// In how many namespaces; what is granted in the whole cluster is not among them.
    #[serde(default)]
    pub namespaces: i64,
    /// How many bindings of this mapping there are.
    #[serde(default)]
    pub bindings: i64,
    /// How many of the groups that the spec names were not found.
    #[serde(default)]
    pub unmatched_groups: i64,
    /// How many of the selected groups are granted nothing by some grant, as an expression yields nothing for them that may be granted: see the condition `Degraded`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_groups: i64,
    /// How many of the selected groups have no members.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub empty_groups: i64,
    /// How many removals wait until somebody approves them: one for each person and binding.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_removals: i64,
    /// How many groups wait until somebody approves them (`newGroups: Approve`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_groups: i64,
    /// The newest record of what waits: the annotation `rolecall.dev/approve` with this number releases all of it, and nothing that comes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_index: Option<i64>,
    /// When the access that this mapping gives last changed, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_change_time: Option<String>,
    /// The newest of the annotations `rolecall.dev/requestedAt` and `reconcile.fluxcd.io/requestedAt` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
    /// The groups that are mapped, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub groups: Vec<GroupStatus>,
}
