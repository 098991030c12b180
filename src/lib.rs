//! Rolecall makes Kubernetes access follow the company directory.
pub mod access;
pub mod api;
pub mod cli;
pub mod controller;
pub mod directory;
pub mod gateway;
pub mod journal;
pub mod ops;
pub mod scim;
