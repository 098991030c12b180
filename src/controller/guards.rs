//! Which of our guards stand: the access policy's file, and the admission policies in the API server. It reads; the gate decides.

use std::path::Path;

use super::world::World;

/// The admission policies without which nothing new is granted, by what follows the chart's full name.
pub const POLICIES: [&str; 8] = [
    "fence",
    "cage-ours",
    "cage-grants",
    "cage-namespaces",
    "cage-specs",
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
