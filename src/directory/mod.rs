//! The directory as values: events and their fold. No client, no clock, no files.

pub mod event;

pub use event::{Event, Kind};
