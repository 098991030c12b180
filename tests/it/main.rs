//! The one integration test binary: everything that needs a real API server. One control plane is shared by all tests, which are told
//! apart by release, namespace and class; tests that break their cluster start their own.

mod cluster;
mod harness;
mod install;
mod policies;
mod proxy;
mod system;
mod webhook;
