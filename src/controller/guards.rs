//! Which of our guards stand: the access policy's file, and the admission policies in the API server. It reads; the gate decides.

use std::path::Path;

use super::engine::Engine;
use super::world::World;
use crate::access::key::{BindingKey, MappingKey};
use crate::access::policy::AccessPolicy;

/// The admission policies without which nothing new is granted, by what follows the chart's full name.
pub const POLICIES: [&str; 9] = [
    "fence",
    "cage-ours",
    "cage-grants",
    "cage-namespaces",
    "cage-specs",
    "cage-journals",
    "authors",
    "source-authors",
    "approvers",
];

/// The names of the admission policies of ours that are missing, bound to nothing, bound without `Deny`, or changed so that they fail open.
pub fn missing(world: &World, fullname: &str) -> Vec<String> {
    POLICIES
        .iter()
        .map(|suffix| format!("{fullname}-{suffix}"))
        .filter(|name| {
            let policy = world.policies.get(name).and_then(|p| p.spec.as_ref());
            let closed = policy.is_some_and(|spec| {
                spec.failure_policy.as_deref() == Some("Fail") && spec.validations.as_ref().is_some_and(|v| !v.is_empty())
            });
            let bound = world.policy_bindings.items().values().filter_map(|b| b.spec.as_ref()).any(|spec| {
                spec.policy_name.as_ref() == Some(name)
                    && spec
                        .validation_actions
                        .as_ref()
                        .is_some_and(|actions| actions.iter().any(|a| a == "Deny"))
                    && spec.match_resources.is_none()
            });
            !(closed && bound)
        })
        .collect()
}

/// The text of the access policy's file, or why there is none.
///
/// # Errors
/// When the file is missing, unreadable or larger than 1 MiB.
pub fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?.len();
    if size > 1 << 20 {
        return Err(format!("{}: larger than 1 MiB", path.display()));
    }
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

impl Engine {
    /// The file of the access policy, and the admission policies: what changed of them changes every mapping.
    pub(super) fn look_at_guards(&mut self, again: bool) {
        let text = read(&self.args.access_policy);
        let missing = missing(&self.world, &self.args.fullname);
        if text == self.policy_text && missing == self.missing && !(again && self.policy.is_none()) {
            return;
        }
        let changed = text != self.policy_text;
        self.policy_text = text.clone();
        if missing != self.missing && !missing.is_empty() {
            tracing::warn!(
                missing = missing.join(", "),
                "admission policies are missing: nothing new is granted"
            );
        }
        self.missing = missing;
        match text.and_then(|text| AccessPolicy::parse(&text).map_err(|error| error.to_string())) {
            Ok(policy) => self.policy = Some(policy),
            Err(error) => {
                tracing::warn!(error, "no access policy: nothing new is granted");
                self.policy_text = Err(error);
                self.policy = None;
            }
        }
        let owners: Vec<MappingKey> = self.owners.keys().cloned().collect();
        for owner in owners {
            if changed {
                self.evaluate(&owner);
            } else {
                let held: Vec<BindingKey> = self.owners.get(&owner).into_iter().flat_map(|o| o.held.keys().cloned()).collect();
                held.into_iter().for_each(|key| self.queue.add(key));
            }
        }
        self.statuses_soon();
    }
}
