//! The CRD types, conditions, labels and annotations: what an admin writes and reads. No client, no clock, no decisions.

pub mod conditions;
pub mod crds;
pub mod journal;
pub mod limits;
pub mod mapping;
pub mod names;
pub mod poll;
pub mod push;
pub mod selector;
pub mod source;

pub use journal::{Journal, JournalSpec, Segment, SegmentSpec};
pub use mapping::{ClusterRoleMapping, ClusterRoleMappingSpec, MappingStatus, RoleMapping, RoleMappingSpec};
pub use source::{ScimSource, ScimSourceSpec, ScimSourceStatus};

/// The API group of every kind of ours.
pub const GROUP: &str = "rolecall.dev";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
