//! What the roles that mappings grant permitted when they were seen first. Nothing is decided by it.

use std::sync::Arc;

use imbl::OrdMap;

use super::{Ledger, RoleSeen};
use crate::access::key::MappingKey;
use crate::api::mapping::RoleRef;

/// By mapping: as of which generation and request, and the digest of each role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles(OrdMap<MappingKey, (Arc<str>, Digests)>);

type Digests = OrdMap<(String, RoleRef), Arc<str>>;

impl Roles {
    /// Roles are seen; what was seen before of the same generation stays.
    pub(super) fn see(&mut self, mapping: &MappingKey, seen: &str, roles: &[RoleSeen]) {
        let known = self.0.entry(mapping.clone()).or_default();
        if *known.0 != *seen {
            *known = (seen.into(), OrdMap::new());
        }
        for role in roles {
            let at = (role.namespace.clone(), role.role.clone());
            known.1.entry(at).or_insert_with(|| role.rules.as_str().into());
        }
    }

    pub(super) fn end(&mut self, mapping: &MappingKey) {
        self.0.remove(mapping);
    }
}

impl Ledger {
    /// What the role permitted when the mapping, as of that generation and request, was first seen to grant it.
    pub fn role_seen(&self, mapping: &MappingKey, seen: &str, role: &(String, RoleRef)) -> Option<&Arc<str>> {
        let known = self.roles.0.get(mapping).filter(|known| *known.0 == *seen)?;
        known.1.get(role)
    }
}
