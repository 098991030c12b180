//! The situations in which a source or a mapping can be, each as the whole object, and what `kubectl wait`, Helm 4, kstatus and Argo CD are to make of it.

use std::collections::BTreeSet;

use rolecall::access::diff::conflict;
use rolecall::access::gate::Hold;
use rolecall::access::key::{BindingKey, MappingKey};
use rolecall::access::ledger::{BindingId, Tally};
use rolecall::access::policy::Refusal;
use rolecall::access::shard::Prefix;
use rolecall::access::status::{Failure, Held, Loss, MappingReport, SourceReport};
use rolecall::api::mapping::{MappingStatus, RoleKind, RoleRef};
use rolecall::api::source::ScimSourceStatus;
use rolecall::directory::{Event, FailingToken, Kind, Source};
use rolecall::journal;
use serde_json::{Value, json};

use super::world::{World, object};

/// What the four say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    pub kubectl: &'static str,
    pub helm: &'static str,
    pub kstatus: &'static str,
    pub argo: &'static str,
}

const fn expect(kubectl: &'static str, helm: &'static str, kstatus: &'static str, argo: &'static str) -> Expect {
    Expect {
        kubectl,
        helm,
        kstatus,
        argo,
    }
}

const HEALTHY: Expect = expect("met", "done", "Current", "Healthy");
const SUSPENDED: Expect = expect("met", "done", "Current", "Suspended");
const PROGRESSING: Expect = expect("waits", "waits", "InProgress", "Progressing");
const RETRIED: Expect = expect("waits", "waits", "InProgress", "Degraded");
const STALLED: Expect = expect("waits", "fails", "Failed", "Degraded");
/// `kubectl wait` looks at the condition only, which stays.
const GOING: Expect = expect("met", "waits", "Terminating", "Progressing");

/// One of them.
pub struct Situation {
    /// Which, among those of its kind: the name of its file, too.
    pub name: &'static str,
    pub expect: Expect,
    pub object: Value,
}

impl Situation {
    /// Its kind.
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().expect("a kind")
    }

    /// Both.
    pub fn title(&self) -> String {
        format!("{}: {}", self.kind(), self.name.replace('-', " "))
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn source_spec() -> Value {
    let token = |name: &str| json!({"name": name, "secretKeyRef": {"name": "okta-token", "key": name}});
    json!({
        "push": {"tokens": [token("2026-q4"), token("2027-q1")]},
        "subject": {"username": "'oidc:' + user.userName",
            "examples": [{"user": {"userName": "ada@corp.example"}, "expect": "oidc:ada@corp.example"}]},
        "allowedNamespaces": {"selector": {}},
    })
}

fn view_of_backend() -> Value {
    json!({"sources": ["okta"], "groups": {"names": ["Backend"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]})
}

fn edit_of_payments() -> Value {
    json!({"sources": ["okta"], "groups": {"externalIds": ["8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "edit"}, "namespaces": {"selector": {"matchLabels": {"team": "payments"}}}},
    ]})
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

fn held(adds: usize, removals: usize, hold: Hold) -> &'static Held {
    leak(Held {
        adds,
        removals,
        holds: BTreeSet::from([hold]),
    })
}

fn failure(refusal: Refusal, human: bool) -> &'static [Failure] {
    leak([Failure { refusal, human }])
}

fn world() -> World {
    World::new(&object("ScimSource", 1, source_spec()))
}

/// The status of an object that nobody has looked at, as the API server gives it by the defaults of the CRD.
fn of_nobody<S: serde::de::DeserializeOwned>() -> S {
    serde_json::from_value(json!({})).expect("defaults")
}

fn situation(name: &'static str, expect: Expect, mut object: Value, status: Value) -> Situation {
    object["status"] = status;
    Situation { name, expect, object }
}

/// A source that a small company pushes to.
fn source(name: &'static str, expect: Expect, spec: Value, change: impl FnOnce(&mut SourceReport<'_>)) -> Situation {
    let object = object("ScimSource", 1, spec);
    let status = world().source(&object, change);
    situation(name, expect, object, status)
}

fn role_mapping(name: &'static str, expect: Expect, spec: Value, change: impl FnOnce(&mut MappingReport<'_>)) -> Situation {
    let object = object("RoleMapping", 1, spec);
    let status = world().mapping(&object, change);
    situation(name, expect, object, status)
}

fn cluster_role_mapping(name: &'static str, expect: Expect, spec: Value, change: impl FnOnce(&mut MappingReport<'_>)) -> Situation {
    let object = object("ClusterRoleMapping", 1, spec);
    let status = world().mapping(&object, change);
    situation(name, expect, object, status)
}

/// All of them.
pub fn all() -> Vec<Situation> {
    let mut all = sources();
    all.extend(role_mappings());
    all.extend(cluster_role_mappings());
    all
}

fn sources() -> Vec<Situation> {
    let suspended = || with(source_spec(), "suspend", json!(true));
    let wrong = json!({"username": "'oidc:' + user.nick name"});
    let unusable = |names: &[&str]| {
        let mut world = world();
        let failing = names.iter().map(|name| FailingToken {
            name: (*name).to_owned(),
            why: format!("the Secret okta-token has no key {name:?}"),
        });
        world.event(Event::TokensSeen {
            source: "okta".to_owned(),
            failing: failing.collect(),
        });
        let object = object("ScimSource", 1, source_spec());
        let status = world.source(&object, |_| {});
        (object, status)
    };
    let (object_of_one, one) = unusable(&["2026-q4"]);
    let (object_of_none, none) = unusable(&["2026-q4", "2027-q1"]);
    let unseen = object("ScimSource", 1, source_spec());
    let lost = |loss: journal::Loss| {
        leak(Loss {
            rolled_back: false,
            message: format!("journal access: {loss} Nothing is granted; whom a provider disables or deletes loses access all the same"),
            token: "access-4c1f0e2d9b7a".to_owned(),
            advice: "If it cannot be restored: accept the loss.".to_owned(),
        })
    };
    let waiting = Tally {
        removals: 12,
        groups: 0,
        newest: 4711,
    };
    vec![
        situation("never-looked-at", PROGRESSING, unseen, json!(of_nobody::<ScimSourceStatus>())),
        source("no-gateway-has-it-yet", PROGRESSING, source_spec(), |report| report.source = None),
        source("nothing-pushed-yet", HEALTHY, source_spec(), |report| {
            report.source = Some(Source::empty());
        }),
        source("applied", HEALTHY, source_spec(), |_| {}),
        situation("one-of-two-tokens-unusable", HEALTHY, object_of_one, one),
        situation("no-usable-token", RETRIED, object_of_none, none),
        source("wrong-expression", STALLED, with(source_spec(), "subject", wrong), |_| {}),
        source("journal-lost", STALLED, source_spec(), |report| {
            report.loss = Some(lost(journal::Loss::Gone));
        }),
        source("suspended-and-journal-lost", STALLED, suspended(), |report| {
            report.loss = Some(lost(journal::Loss::Gone));
        }),
        source("suspended", SUSPENDED, suspended(), |_| {}),
        source("removals-held", SUSPENDED, source_spec(), |report| report.waiting = waiting),
    ]
}

fn role_mappings() -> Vec<Situation> {
    let spec = view_of_backend;
    let unseen = object("RoleMapping", 1, spec());
    let key = BindingKey {
        owner: MappingKey::role_mapping("backend", "backend-view"),
        role: RoleRef {
            kind: RoleKind::ClusterRole,
            name: "view".to_owned(),
        },
        namespace: "backend".to_owned(),
        prefix: Prefix::ALL,
    };
    let in_the_way = conflict(&key, &BindingId::of(&key, ""));
    let refused = Refusal::new(
        "WriteRefused",
        format!("{key}: rolebindings.rbac.authorization.k8s.io: the server is currently unable to handle the request"),
    );
    let admin = json!([{"roleRef": {"kind": "ClusterRole", "name": "admin"}}]);
    let waiting = Tally {
        removals: 12,
        groups: 0,
        newest: 4711,
    };
    // Generation 2 is being written; of generation 3 nobody knows yet.
    let second = object("RoleMapping", 2, spec());
    let working = world().mapping(&second, |report| report.pending = 1);
    let mut third = second.clone();
    third["metadata"]["generation"] = json!(3);
    let applied = world().mapping(&second, |_| {});
    // A deletion that does not end at once is another generation, which the controller looks at.
    let mut going = object("RoleMapping", 2, spec());
    let still = world().mapping(&going, |_| {});
    going["metadata"]["deletionTimestamp"] = json!("2026-11-26T10:05:00Z");
    going["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    going["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    vec![
        situation("never-looked-at", PROGRESSING, unseen, json!(of_nobody::<MappingStatus>())),
        situation("being-applied", PROGRESSING, second, working),
        situation("edited-and-not-looked-at", PROGRESSING, third, applied),
        role_mapping("applied", HEALTHY, spec(), |_| {}),
        role_mapping("tried-again", RETRIED, spec(), |report| report.failures = failure(refused, false)),
        role_mapping("source-missing", RETRIED, with(spec(), "sources", json!(["entra"])), |report| {
            report.missing_sources = leak(["entra".to_owned()]);
        }),
        role_mapping("source-not-ready", RETRIED, spec(), |report| {
            report.stalled_sources = leak(["okta".to_owned()]);
        }),
        role_mapping("role-not-allowed", STALLED, with(spec(), "grants", admin), |_| {}),
        role_mapping("another-binding-in-the-way", STALLED, spec(), |report| {
            report.failures = failure(in_the_way, true);
        }),
        role_mapping("suspended", SUSPENDED, with(spec(), "suspend", json!(true)), |_| {}),
        role_mapping(
            "suspended-and-something-waits",
            SUSPENDED,
            with(spec(), "suspend", json!(true)),
            |report| {
                report.held = held(2, 1, Hold::MappingSuspended);
                report.holds = leak(BTreeSet::from([Hold::MappingSuspended]));
            },
        ),
        role_mapping(
            "a-plan-that-would-change-something",
            SUSPENDED,
            with(spec(), "mode", json!("Plan")),
            |report| {
                report.held = held(2, 0, Hold::Planned);
                report.holds = leak(BTreeSet::from([Hold::Planned]));
            },
        ),
        role_mapping(
            "a-plan-that-would-change-nothing",
            HEALTHY,
            with(spec(), "mode", json!("Plan")),
            |report| report.holds = leak(BTreeSet::from([Hold::Planned])),
        ),
        role_mapping("removals-held", SUSPENDED, spec(), |report| {
            report.held = held(0, 12, Hold::Budget);
            report.waiting = waiting;
        }),
        role_mapping("ended", HEALTHY, with(spec(), "notAfter", json!("2026-11-26T09:30:00Z")), |_| {}),
        situation("being-deleted", GOING, going, still),
    ]
}

fn cluster_role_mappings() -> Vec<Situation> {
    let spec = edit_of_payments;
    let approving = with(
        spec(),
        "groups",
        json!({"externalIds": ["8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159"], "newGroups": "Approve"}),
    );
    let unseen = object("ClusterRoleMapping", 1, spec());
    let waiting = Tally {
        removals: 0,
        groups: 1,
        newest: 815,
    };
    let by_name = object("ClusterRoleMapping", 1, with(spec(), "groups", json!({"names": ["Payments"]})));
    let mut twice = world();
    twice.created(5, Kind::Group, json!({"displayName": "Payments"}), &[]);
    let ambiguous = twice.mapping(&by_name, |_| {});
    vec![
        situation("never-looked-at", PROGRESSING, unseen, json!(of_nobody::<MappingStatus>())),
        cluster_role_mapping("being-applied", PROGRESSING, spec(), |report| report.pending = 2),
        cluster_role_mapping("applied", HEALTHY, spec(), |_| {}),
        situation("two-groups-of-one-name", HEALTHY, by_name, ambiguous),
        cluster_role_mapping("policy-missing", RETRIED, spec(), |report| {
            report.held = held(1, 0, Hold::PolicyMissing);
            report.holds = leak(BTreeSet::from([Hold::PolicyMissing]));
        }),
        cluster_role_mapping(
            "wrong-filter",
            STALLED,
            with(spec(), "groups", json!({"filter": "displayName sw"})),
            |_| {},
        ),
        cluster_role_mapping("suspended", SUSPENDED, with(spec(), "suspend", json!(true)), |_| {}),
        cluster_role_mapping("source-suspended", SUSPENDED, spec(), |report| {
            report.held = held(1, 0, Hold::SourceSuspended);
        }),
        cluster_role_mapping("new-group-held", SUSPENDED, approving, |report| {
            report.held = held(1, 0, Hold::NewGroup);
            report.waiting = waiting;
        }),
    ]
}
