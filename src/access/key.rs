//! What everything is keyed by: mappings and bindings. Names of objects are computed in `names`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::shard::Prefix;
use crate::api::mapping::RoleRef;

/// The two kinds of mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MappingKind {
    /// Grants in its own namespace.
    RoleMapping,
    /// Grants in selected namespaces.
    ClusterRoleMapping,
}

impl MappingKind {
    /// The kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoleMapping => "RoleMapping",
            Self::ClusterRoleMapping => "ClusterRoleMapping",
        }
    }
}

/// One mapping. Written `RoleMapping/<namespace>/<name>` or `ClusterRoleMapping/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MappingKey {
    /// Which kind.
    pub kind: MappingKind,
    /// Its namespace; empty for a ClusterRoleMapping.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl MappingKey {
    /// The key of a RoleMapping.
    pub fn role_mapping(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: MappingKind::RoleMapping,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of a ClusterRoleMapping.
    pub fn cluster_role_mapping(name: impl Into<String>) -> Self {
        Self {
            kind: MappingKind::ClusterRoleMapping,
            namespace: String::new(),
            name: name.into(),
        }
    }
}

impl fmt::Display for MappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            MappingKind::RoleMapping => write!(f, "RoleMapping/{}/{}", self.namespace, self.name),
            MappingKind::ClusterRoleMapping => write!(f, "ClusterRoleMapping/{}", self.name),
        }
    }
}

/// A text that is no mapping's key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither RoleMapping/<namespace>/<name> nor ClusterRoleMapping/<name>")]
pub struct NoMappingKey(String);

impl FromStr for MappingKey {
    type Err = NoMappingKey;

    fn from_str(text: &str) -> Result<Self, NoMappingKey> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["RoleMapping", namespace, name] if !namespace.is_empty() && !name.is_empty() => Ok(Self::role_mapping(*namespace, *name)),
            ["ClusterRoleMapping", name] if !name.is_empty() => Ok(Self::cluster_role_mapping(*name)),
            _ => Err(NoMappingKey(text.chars().take(200).collect())),
        }
    }
}

impl TryFrom<String> for MappingKey {
    type Error = NoMappingKey;

    fn try_from(text: String) -> Result<Self, NoMappingKey> {
        text.parse()
    }
}

impl From<MappingKey> for String {
    fn from(key: MappingKey) -> Self {
        key.to_string()
    }
}

/// One binding that a mapping has, or is to have. Everything that is written is keyed by this. What differs most is compared first: of 150,000 bindings of
/// one mapping the owner tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingKey {
    /// The namespace that it is in; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// The role that it grants.
    pub role: RoleRef,
    /// Which part of the mapping's people it holds.
    pub prefix: Prefix,
    /// The mapping that it belongs to.
    pub owner: MappingKey,
}

impl fmt::Display for BindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.namespace.as_str() {
            "" => "in the whole cluster".to_owned(),
            namespace => format!("in namespace {namespace}"),
        };
        write!(
            f,
            "{} {} {place} for {}, part {}",
            self.role.kind.as_str(),
            self.role.name,
            self.owner,
            self.prefix
        )
    }
}
