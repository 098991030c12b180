//! The one integration test binary: everything that needs a real API server. One control plane is shared by all tests, which are told
//! apart by release, namespace and class; tests that break their cluster start their own.

mod adopt;
mod at_rest;
mod budget;
mod chart;
mod client;
mod cluster;
mod conformance;
mod cookbook;
mod docs;
mod ends;
mod faults;
mod fencing;
mod gateway;
mod gateway_faults;
mod harness;
mod install;
mod issuer;
mod journal;
mod journey;
mod kit;
mod loss;
mod lost_writes;
mod mapping;
mod places;
mod plugin;
mod policies;
mod provider;
mod proxy;
mod scenes;
mod subjects;
mod system;
mod teams;
mod testers;
mod tidy;
mod webhook;
