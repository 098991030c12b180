//! SCIM 2.0 (RFC 7643, 7644) as values: schema, filter, path, patch, resource, query. No client, no clock, no files, no randomness: ids and times come in.
//!
//! A group's members never stand in its attributes: PATCH and PUT speak of them through [`Members`], so that one member more in a group of
//! 500,000 costs what it costs in a group of ten.

pub mod bulk;
mod coerce;
pub mod error;
pub mod filter;
mod fold;
pub mod patch;
pub mod path;
pub mod query;
pub mod resource;
pub mod schema;
pub mod sort;
#[cfg(test)]
mod tests;
pub mod tolerance;

pub use error::ScimError;
pub use filter::{Filter, Matcher};
pub use fold::fold;
pub use path::{AttrPath, Path};
pub use query::ListQuery;
pub use resource::{Body, Projection};
pub use schema::ResourceKind;
pub use tolerance::{Drift, Seen};

/// Who is in a group, as PATCH and PUT see it. An error anywhere means that the whole request failed: whoever implements this drops what the
/// request had changed so far (the other half of "atomic" is [`patch::apply`], which returns new attributes and leaves the old alone).
pub trait Members {
    /// Takes `id` in; a member that is already there stays one. An unknown id is 400 `invalidValue` and names it ([`ScimError::unknown_member`]).
    fn add(&mut self, id: &str) -> Result<(), ScimError>;
    /// Takes `id` out; an id that is no member changes nothing.
    fn remove(&mut self, id: &str);
    /// Takes everybody out.
    fn clear(&mut self);
    /// Whether `id` is a member.
    fn contains(&self, id: &str) -> bool;
    /// Takes out every member that the value filter selects: `type eq "User"` of `members[type eq "User"]`. Removals by id never come this way.
    /// Use [`Filter::compile_element`] with `schema::find(ResourceKind::Group, "members")`.
    fn remove_where(&mut self, filter: &Filter) -> Result<(), ScimError>;
}
