//! Tests of access/, by module; helpers that several of them use.

mod budget;
mod cause;
mod deletion;
mod diff;
mod evaluated;
mod expression;
mod gate;
mod inherited;
mod ledger;
mod members;
mod names;
mod newcomers;
mod people;
mod places;
mod policy;
mod random;
mod select;
mod shard;
mod status;
mod status_source;
mod subjects;
mod survey;
mod targets;
mod usernames;
mod world;
mod yields;
