//! A small world for tests: a directory, a mapping, a cluster of bindings and a ledger, and an engine as simple as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::access::binding::{Observed, SubjectRef};
use crate::access::budget::Spending;
use crate::access::cells::Cells;
use crate::access::desired::{SourceState, Sources};
use crate::access::diff::{Plan, Removal, diff};
use crate::access::expression::Expression;
use crate::access::gate::{Circumstances, Gated, Op, gate};
use crate::access::key::{BindingKey, MappingKey};
use crate::access::ledger::{Action, BindingId, Event, Grantee, Ledger, Outcome, reasons};
use crate::access::mapping::Mapping;
use crate::access::names::{self, Installation};
use crate::access::policy::AccessPolicy;
use crate::access::select::Selected;
use crate::access::targets::{NamespaceInfo, Namespaces, Targets};
use crate::access::usernames::Usernames;
use crate::access::yields::Yields;
use crate::api::limits::Limits;
use crate::api::mapping::{ClusterRoleMapping, RoleMapping};
use crate::api::names as labels;
use crate::directory::{self, Directory, Kind};

pub fn id(n: u64) -> Uuid {
    Uuid::from_u64_pair(0x00de_adbe_ef00_4000, 0x8000_0000_0000_0000 | n)
}

pub fn role_mapping(namespace: &str, name: &str, spec: Value) -> Mapping {
    let object = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "RoleMapping", "metadata": {"namespace": namespace, "name": name, "uid": "u1", "generation": 1}, "spec": spec});
    let object: RoleMapping = serde_json::from_value(object).expect("a RoleMapping");
    Mapping::of_role_mapping(&object).expect("compiles")
}

pub fn cluster_role_mapping(name: &str, spec: Value) -> Mapping {
    let object = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": name, "uid": "u1", "generation": 1}, "spec": spec});
    let object: ClusterRoleMapping = serde_json::from_value(object).expect("a ClusterRoleMapping");
    Mapping::of_cluster_role_mapping(&object).expect("compiles")
}

/// What was written to the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub id: BindingId,
    pub op: Op,
}

pub struct World {
    pub directory: Directory,
    pub index: i64,
    pub evaluated: i64,
    pub expressions: BTreeMap<String, Expression>,
    pub usernames: Usernames,
    pub group_names: Usernames,
    pub mapping: Mapping,
    pub state: &'static str,
    pub selected: Selected,
    pub yields: Yields,
    pub targets: Targets,
    pub cells: Cells,
    pub namespaces: Namespaces,
    pub policy: Option<AccessPolicy>,
    pub sources: Sources,
    pub installation: Installation,
    pub cluster: BTreeMap<BindingId, Observed>,
    pub ledger: Ledger,
    pub access_index: i64,
    pub journal: Vec<Event>,
    pub circumstances: Circumstances,
    /// Of the mapping; none: the budget holds nothing.
    pub limits: Option<Limits>,
    pub source_limits: BTreeMap<Arc<str>, Limits>,
    pub spending: Spending,
    /// Seconds that passed without an event.
    pub later: i64,
    pub patient: bool,
    pub versions: u64,
}

impl World {
    pub fn new(mapping: Mapping) -> Self {
        let policy = "clusterRoles: [view, edit, admin]\nroles: [deployer]\nclusterWideRoles: [view]\npodSecurityLevels: [restricted]\nusernamePrefixes: ['oidc:']\ngroupPrefixes: ['okta:']\nprotectedNamespaces: ['kube-*']";
        let mut world = Self {
            directory: Directory::default(),
            index: 0,
            evaluated: 0,
            expressions: BTreeMap::new(),
            usernames: Usernames::default(),
            group_names: Usernames::groups(),
            mapping,
            state: "live",
            selected: Selected::default(),
            yields: Yields::default(),
            targets: Targets::default(),
            cells: Cells::default(),
            namespaces: Namespaces::new(),
            policy: Some(AccessPolicy::parse(policy).expect("a policy")),
            sources: Sources::new(),
            installation: Installation {
                class: String::new(),
                journal: "j1".to_owned(),
                predecessors: Vec::new(),
            },
            cluster: BTreeMap::new(),
            ledger: Ledger::default(),
            access_index: 0,
            journal: Vec::new(),
            circumstances: Circumstances::default(),
            limits: None,
            source_limits: BTreeMap::new(),
            spending: Spending::default(),
            later: 0,
            patient: true,
            versions: 0,
        };
        for source in ["okta", "entra"] {
            world.source(source, "'oidc:' + user.userName");
        }
        for namespace in ["team-a", "team-b"] {
            world.namespace(namespace, &[("team", "yes")]);
        }
        world
    }

    pub fn time(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + self.index + self.later).expect("a time")
    }

    pub fn source(&mut self, name: &str, expression: &str) {
        self.event(directory::Event::SourceSeen {
            source: name.to_owned(),
            uid: format!("uid-{name}"),
        });
        self.expressions
            .insert(name.to_owned(), Expression::compile(expression).expect("compiles"));
        self.sources.insert(name.into(), SourceState::Live);
    }

    pub fn namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let info = NamespaceInfo {
            name: name.to_owned(),
            labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            terminating: false,
        };
        self.namespaces.insert(name.to_owned(), Arc::new(info));
    }

    pub fn event(&mut self, event: directory::Event) {
        self.index += 1;
        let time = self.time();
        self.directory.apply(self.index, 0, time, &event);
    }

    fn create(&mut self, source: &str, kind: Kind, attributes: Value, members: &[u32]) -> u32 {
        let n = self.directory.source(source).map_or(0, directory::Source::next_n);
        let salt = u64::from(source.as_bytes()[0]) << 32;
        self.event(directory::Event::Created {
            source: source.to_owned(),
            kind,
            id: id(salt | u64::from(n)),
            n,
            attributes: attributes.as_object().expect("an object").clone(),
            members: members.to_vec(),
            request: format!("req-{n}"),
        });
        n
    }

    pub fn user(&mut self, source: &str, name: &str) -> u32 {
        self.create(source, Kind::User, json!({"userName": name, "active": true}), &[])
    }

    pub fn group(&mut self, source: &str, name: &str, members: &[u32]) -> u32 {
        self.create(source, Kind::Group, json!({"displayName": name}), members)
    }

    pub fn group_with(&mut self, source: &str, attributes: Value) -> u32 {
        self.create(source, Kind::Group, attributes, &[])
    }

    pub fn change(&mut self, source: &str, n: u32, merge: Value, add: &[u32], remove: &[u32]) {
        self.event(directory::Event::Changed {
            source: source.to_owned(),
            n,
            merge: merge.as_object().cloned().unwrap_or_else(Map::new),
            add: add.to_vec(),
            remove: remove.to_vec(),
            request: "req-change".to_owned(),
        });
    }

    pub fn delete(&mut self, source: &str, n: u32) {
        self.event(directory::Event::Deleted {
            source: source.to_owned(),
            n,
            request: "req-delete".to_owned(),
        });
    }

    pub fn seen(&self, key: &BindingKey) -> Option<&Observed> {
        self.cluster.get(&BindingId::of(key, &self.installation.class))
    }

    pub fn keys(&self) -> BTreeSet<BindingKey> {
        let seen: Vec<BindingKey> = self
            .cluster
            .values()
            .filter_map(|o| names::identify(o, &self.installation))
            .collect();
        self.with_view(|view| view.keys(seen))
    }

    pub fn plan(&self, key: &BindingKey) -> Plan {
        self.with_view(|view| diff(view, key, &|key| self.seen(key), self.patient))
    }

    pub fn gated(&self, key: &BindingKey) -> Gated {
        gate(self.plan(key), &self.circumstances, &mut self.budget())
    }

    pub fn record(&mut self, event: Event) {
        let time = self.time();
        self.ledger.apply(self.access_index, time, &event);
        self.journal.push(event);
    }

    fn removed(&mut self, id: &BindingId, removals: &[Removal], whole: bool) {
        if removals.is_empty() {
            return;
        }
        let mut usernames: Vec<String> = removals.iter().map(|r| r.subject.name.clone()).collect();
        usernames.sort();
        let spent = self.spend(removals);
        self.record(Event::Removed {
            binding: id.clone(),
            usernames,
            whole,
            why: reasons(removals.iter().map(|r| (r.subject.name.as_str(), &r.why))),
            spent,
        });
    }

    /// Looks at one binding once, and does what may be done.
    pub fn look(&mut self, key: &BindingKey) -> Option<Written> {
        let plan = self.plan(key);
        let gated = gate(plan, &self.circumstances, &mut self.budget());
        let id = BindingId::of(key, &self.installation.class);
        self.access_index += 1;
        self.record_holds(&id, &gated);
        let whole = !self.cluster.contains_key(&id);
        self.removed(&id, &gated.records, whole);
        let op = gated.op;
        self.execute(key, &id, &op).then_some(Written { id, op })
    }

    pub fn execute(&mut self, key: &BindingKey, id: &BindingId, op: &Op) -> bool {
        let adds: Vec<Grantee> = match op {
            Op::Create { adds, .. } | Op::Put { adds, .. } => adds.iter().map(|add| add.grantee.clone()).collect(),
            _ => Vec::new(),
        };
        let intent = (self.access_index, 0);
        if op.grants() {
            let (Op::Create { adds: all, .. } | Op::Put { adds: all, .. }) = op else {
                return false;
            };
            let why = reasons(all.iter().map(|add| (&*add.grantee.username, &add.why)));
            self.record(Event::Intent {
                op: 0,
                binding: id.clone(),
                owner: key.owner.clone(),
                role: key.role.clone(),
                shard: key.prefix,
                action: if matches!(op, Op::Create { .. }) {
                    Action::Create
                } else {
                    Action::Update
                },
                adds,
                why,
            });
        }
        self.versions += 1;
        let version = self.versions.to_string();
        match op {
            Op::Nothing | Op::Wait => return false,
            Op::Create { subjects, .. } => {
                assert!(!self.cluster.contains_key(id), "a POST of what stands");
                let observed = Observed {
                    namespace: id.namespace.clone(),
                    name: id.name.clone(),
                    uid: format!("uid-{version}"),
                    resource_version: version,
                    labels: names::binding_labels(key, &self.installation).into(),
                    mapping: Some(key.owner.to_string()),
                    op: Some(format!("{}/0", self.access_index)),
                    term: None,
                    role: Some(key.role.clone()),
                    subjects: subjects.clone().into(),
                    deleting: false,
                    tampered: false,
                };
                self.cluster.insert(id.clone(), observed);
            }
            Op::Put {
                uid,
                resource_version,
                subjects,
                ..
            } => {
                let stands = self.cluster.get_mut(id).expect("a PUT of what stands");
                assert_eq!((&stands.uid, &stands.resource_version), (uid, resource_version));
                let unique: BTreeSet<&SubjectRef> = subjects.iter().collect();
                assert_eq!(unique.len(), subjects.len(), "a subject twice");
                stands.subjects = subjects.clone().into();
                stands.resource_version = version;
                stands.labels = names::binding_labels(key, &self.installation).into();
                stands.mapping = Some(key.owner.to_string());
                stands.tampered = false;
            }
            Op::Delete { uid, resource_version, .. } => {
                let stands = self.cluster.remove(id).expect("a DELETE of what stands");
                assert_eq!((&stands.uid, &stands.resource_version), (uid, resource_version));
            }
        }
        if op.grants() {
            let uid = self.cluster.get(id).map(|o| o.uid.clone()).unwrap_or_default();
            self.record(Event::Outcome {
                intent,
                result: Outcome::Done { uid },
            });
        }
        match op {
            Op::Put { removals, .. } => self.removed(id, removals, false),
            Op::Delete { removals, .. } => self.removed(id, removals, true),
            _ => {}
        }
        true
    }

    /// Works until nothing is left to do; what was written, in order. `check` sees the world after each write.
    pub fn settle_with(&mut self, mut check: impl FnMut(&Self)) -> Vec<Written> {
        let mut written = Vec::new();
        for _ in 0..50 {
            let mut ops: Vec<(u8, BindingKey)> = self.keys().into_iter().map(|key| (self.gated(&key).op.priority(), key)).collect();
            ops.sort();
            let mut quiet = true;
            for (_, key) in ops {
                if let Some(done) = self.look(&key) {
                    written.push(done);
                    quiet = false;
                    check(self);
                }
            }
            if quiet {
                return written;
            }
        }
        panic!("it does not come to rest: {:?}", written.iter().rev().take(6).collect::<Vec<_>>());
    }

    pub fn settle(&mut self) -> Vec<Written> {
        self.settle_with(|_| {})
    }

    /// Evaluates and settles.
    pub fn run(&mut self) -> Vec<Written> {
        self.evaluate();
        self.settle()
    }

    /// Who holds what: namespace, role, username.
    pub fn access(&self) -> BTreeSet<(String, String, String)> {
        let mut access = BTreeSet::new();
        for observed in self.cluster.values() {
            let role = observed.role.as_ref().map(|r| r.name.clone()).unwrap_or_default();
            access.extend(
                observed
                    .subjects
                    .iter()
                    .map(|s| (observed.namespace.clone(), role.clone(), s.name.clone())),
            );
        }
        access
    }

    /// The same in short: `team-a/view:ada`, without `oidc:`.
    pub fn short(&self) -> Vec<String> {
        self.access()
            .into_iter()
            .map(|(ns, role, name)| format!("{ns}/{role}:{}", name.trim_start_matches("oidc:")))
            .collect()
    }

    /// What the ledger says of the same.
    pub fn recorded(&self) -> BTreeSet<(String, String, String)> {
        let mut access = BTreeSet::new();
        for (id, binding) in self.ledger.bindings() {
            access.extend(
                binding
                    .subjects
                    .keys()
                    .map(|name| (id.namespace.clone(), binding.key.role.name.clone(), name.to_string())),
            );
        }
        access
    }

    pub fn at_rest(&self) {
        for key in self.keys() {
            let gated = self.gated(&key);
            assert_eq!(gated.op, Op::Nothing, "{key}");
            assert_eq!(gated.records, Vec::new(), "{key}");
        }
    }

    /// Somebody else's hand.
    pub fn tamper(&mut self, change: impl FnOnce(&mut Observed)) -> BindingId {
        let (id, observed) = self.cluster.iter_mut().next().expect("a binding");
        change(observed);
        self.versions += 1;
        observed.resource_version = self.versions.to_string();
        id.clone()
    }

    pub fn foreign(&mut self, key: &BindingKey) {
        let id = BindingId::of(key, &self.installation.class);
        let observed = Observed {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            uid: "foreign".to_owned(),
            resource_version: "1".to_owned(),
            labels: std::sync::Arc::new([(labels::MANAGED_BY.to_owned(), "Helm".to_owned())].into()),
            role: Some(key.role.clone()),
            subjects: vec![SubjectRef::user("oidc:eve")].into(),
            ..Observed::default()
        };
        self.cluster.insert(id, observed);
    }
}

pub fn view_of_team_a() -> Value {
    json!({"sources": ["okta", "entra"], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]})
}

pub fn key_of(mapping: &Mapping, role: &str, namespace: &str) -> BindingKey {
    BindingKey {
        owner: mapping.key.clone(),
        role: crate::api::mapping::RoleRef {
            kind: crate::api::mapping::RoleKind::ClusterRole,
            name: role.to_owned(),
        },
        namespace: namespace.to_owned(),
        prefix: crate::access::shard::Prefix::ALL,
    }
}

pub fn mapping_key() -> MappingKey {
    MappingKey::role_mapping("team-a", "devs")
}
