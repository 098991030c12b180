//! Rolecall makes Kubernetes access follow the company directory.
pub mod api;
pub mod directory;
pub mod ops;
pub mod scim;
