//! From directory to access, as values: who is to hold which role where, what differs from that, what of it may pass, and what was granted. No client, no clock, no files, no randomness.
//!
//! ```text
//!  mappings + Directory + namespaces + policy --desired--> Desired --diff(observed, ledger)--> Plan --gate--> Gated { op, record, held }
//! ```

pub mod binding;
pub mod budget;
mod cause;
pub mod cells;
pub mod creation;
pub mod deletion;
pub mod desired;
pub mod diff;
pub mod expression;
pub mod gate;
pub mod key;
pub mod ledger;
pub mod mapping;
pub mod members;
pub mod names;
pub mod newcomers;
pub mod pattern;
pub mod people;
pub mod policy;
mod replace;
pub mod rewrite;
pub mod rule;
pub mod select;
pub mod shard;
pub mod source;
pub mod status;
pub mod survey;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod usernames;
pub mod why;
pub mod yields;
