//! From directory to access, as values: who is to hold which role where, what differs from that, what of it may pass, and what was granted. No client, no clock, no files, no randomness.
//!
//! ```text
//!  mappings + Directory + namespaces + policy --desired--> Desired --diff(observed, ledger)--> Plan --gate--> Gated { op, record, held }
//! ```

pub mod policy;
pub mod username;
pub mod diff;
pub mod gate;
pub mod ledger;
pub mod why;
