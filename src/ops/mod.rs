//! What every process needs to run: a client, logs, a Lease, a clean end. Uses nothing of ours, and knows nothing of access.

pub mod client;
pub mod fetch;
pub mod lease;
pub mod metrics;
pub mod pace;
pub mod pages;
pub mod ready;
pub mod selfcheck;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
