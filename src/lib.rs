//! Rolecall makes Kubernetes access follow the company directory. In go the requests of identity providers (SCIM 2.0), ScimSources and
//! mappings; out come RoleBindings, statuses, and a record of why.
//!
//! ```text
//!  Okta, Entra, any SCIM client --push--> gateway --append--> directory journal --watch--> controller --write--> RoleBindings
//!  Google, Graph, SCIM services <--poll--    ^               (Kubernetes API)                |
//!                                            '-- directory = fold of the journal            '--append--> access journal
//! ```
//!
//! In reading order. Values, without client, clock, file or randomness:
//! - [`scim`]: the protocol: schemas, filters, paths, PATCH, bodies, errors.
//! - [`api`]: the CRDs, conditions, labels and annotations.
//! - [`directory`]: who is in which group: events and their fold.
//! - [`access`]: from directory to access: people, places, plan, gate, ledger, and what a status says.
//!
//! Edges:
//! - [`journal`]: one root changed by compare-and-swap, immutable segments; group commit, proofs, loss.
//! - `folds`: directory and ledger as states of a journal.
//! - [`ops`]: client, Lease, logs, the end of a process.
//! - [`gateway`]: SCIM over HTTP, judged by the directory as of its append. It cannot grant.
//! - [`controller`]: watches, proves, records, writes. It serves health and metrics only.
//! - [`cli`]: the plugin's verbs.
//!
//! What must never happen, and the test that tries (`tests/it` unless a module is named):
//! 1. A grant that no directory state justifies: `journey`, `access::tests::diff`.
//! 2. A grant proved before a revocation was acknowledged: `lost_writes`, `gateway_faults::a_gateway_that_lags_...`.
//! 3. A foreign object changed or deleted: `journey::a_cluster_mapping_...`, `policies::cage`.
//! 4. A subject of the API server's own: `journey::what_must_not_be_granted_...`, `access::tests::policy`, `policies::cage`.
//! 5. A role outside the access policy, or that the author may not bind: `journey`, `policies::authors`.
//! 6. One source touching what another's data caused: `journey::two_sources_...`.
//! 7. A revocation because input is incomplete, missing or rolled back: `loss`, `gateway::upstream::tests`.
//! 8. A grant without its record before, a removal without its record after: `at_rest::every_write_of_a_binding_has_its_records`.
//! 9. A write at rest other than Lease renewals: `at_rest::at_rest_...`.
//! 10. A secret in a log, event, status or journal: `gateway`.
//!
//! Who may import whom is held by `tidy`. Entry points: [`gateway::main`], [`controller::main`], [`cli::run`].
pub mod access;
pub mod api;
pub mod cli;
pub mod controller;
pub mod directory;
mod folds;
pub mod gateway;
pub mod journal;
pub mod ops;
pub mod scim;
