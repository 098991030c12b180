//! A RoleBinding or ClusterRoleBinding as it was seen, reduced to what decides. What is to be written is in `gate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};

use super::shard::SubjectKind;
use crate::api::mapping::{RoleKind, RoleRef};
use crate::api::names as labels;

/// A subject of a binding, whoever put it there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectRef {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The namespace, of a ServiceAccount.
    pub namespace: Option<String>,
}

impl SubjectRef {
    /// A user.
    pub fn user(name: impl Into<String>) -> Self {
        Self {
            kind: "User".to_owned(),
            name: name.into(),
            namespace: None,
        }
    }

    /// The name, if it is of that kind.
    pub fn name_of(&self, kind: SubjectKind) -> Option<&str> {
        (self.kind == kind.as_str()).then_some(self.name.as_str())
    }

    /// The username, if it is a user.
    pub fn username(&self) -> Option<&str> {
        (self.kind == "User").then_some(self.name.as_str())
    }
}

/// A RoleBinding as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The namespace that it is in; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its labels; shared, for most bindings of a mapping have the same.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The annotation `rolecall.dev/mapping`.
    pub mapping: Option<String>,
    /// The annotation `rolecall.dev/op`.
    pub op: Option<String>,
    /// The annotation `rolecall.dev/term`.
    pub term: Option<String>,
    /// The role that it refers to; `None` if it is of a kind that we never write.
    pub role: Option<RoleRef>,
    /// Its subjects, each once, in its order; shared, for a group's roles often have the same.
    pub subjects: Arc<Vec<SubjectRef>>,
    /// It has a deletionTimestamp: it grants until its finalizers are gone.
    pub deleting: bool,
    /// It has a finalizer or an owner, none of which is ours: a DELETE would not end it, or somebody else's would.
    pub tampered: bool,
}

/// A ClusterRoleBinding as one that is in the namespace without a name: nothing else tells them apart here.
pub fn wide(object: ClusterRoleBinding) -> RoleBinding {
    let mut metadata = object.metadata;
    metadata.namespace = Some(String::new());
    RoleBinding {
        metadata,
        role_ref: object.role_ref,
        subjects: object.subjects,
    }
}

impl Observed {
    /// What of an object decides. An object without name, namespace, UID or resourceVersion does not come from an API server: `None`.
    pub fn of(object: &RoleBinding) -> Option<Self> {
        let meta = &object.metadata;
        let annotation = |name: &str| meta.annotations.as_ref()?.get(name).cloned();
        let kind = match object.role_ref.kind.as_str() {
            "ClusterRole" => Some(RoleKind::ClusterRole),
            "Role" => Some(RoleKind::Role),
            _ => None,
        };
        let mut subjects: Vec<SubjectRef> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for subject in object.subjects.iter().flatten() {
            let subject = SubjectRef {
                kind: subject.kind.clone(),
                name: subject.name.clone(),
                namespace: subject.namespace.clone().filter(|n| !n.is_empty()),
            };
            if seen.insert(subject.clone()) {
                subjects.push(subject);
            }
        }
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            resource_version: meta.resource_version.clone()?,
            labels: Arc::new(meta.labels.clone().unwrap_or_default()),
            mapping: annotation(labels::MAPPING),
            op: annotation(labels::OP),
            term: annotation(labels::TERM),
            role: kind.map(|kind| RoleRef {
                kind,
                name: object.role_ref.name.clone(),
            }),
            subjects: Arc::new(subjects),
            deleting: meta.deletion_timestamp.is_some(),
            tampered: meta.finalizers.as_ref().is_some_and(|f| !f.is_empty())
                || meta.owner_references.as_ref().is_some_and(|o| !o.is_empty()),
        })
    }

    /// Whether it grants its role to that subject.
    pub fn has(&self, subject: &SubjectRef) -> bool {
        self.subjects.contains(subject)
    }

    /// Whether it grants its role to the user or group of that name.
    pub fn holds_of(&self, kind: SubjectKind, name: &str) -> bool {
        self.subjects.iter().any(|s| s.name_of(kind) == Some(name))
    }

    /// Whether it grants its role to that user.
    pub fn holds(&self, username: &str) -> bool {
        self.subjects.iter().any(|s| s.username() == Some(username))
    }
}
