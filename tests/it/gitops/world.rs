//! A small company in memory, and the statuses that the controller's own functions give its sources and mappings. No cluster.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rolecall::access::cells::{Aim, Basis, Cells};
use rolecall::access::desired::Live;
use rolecall::access::expression::Expression;
use rolecall::access::gate::Hold;
use rolecall::access::ledger::Tally;
use rolecall::access::mapping::Mapping;
use rolecall::access::policy::{AccessPolicy, Refusal};
use rolecall::access::select::select;
use rolecall::access::source::CompiledSource;
use rolecall::access::status::{Held, MappingReport, SourceReport, mapping_status, source_status};
use rolecall::access::targets::{NamespaceInfo, Namespaces, targets, usable_sources};
use rolecall::access::usernames::Usernames;
use rolecall::access::yields::Yields;
use rolecall::api::mapping::{ClusterRoleMapping, MappingStatus, Mode, RoleMapping};
use rolecall::api::source::{JournalRef, ScimSource, ScimSourceStatus};
use rolecall::directory::{Directory, Event, Kind};
use serde_json::{Value, json};
use uuid::Uuid;

/// When everything here happens.
pub const NOW: &str = "2026-11-26T10:00:00Z";

pub fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// An object as an API server shows it: every field with a default has it.
pub fn object(kind: &str, generation: i64, spec: Value) -> Value {
    let (name, namespace) = match kind {
        "ScimSource" => ("okta", None),
        "RoleMapping" => ("backend-view", Some("backend")),
        _ => ("payments-edit", None),
    };
    let mut object = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "generation": generation, "creationTimestamp": "2026-11-26T09:00:00Z", "resourceVersion": "4096",
            "uid": format!("7a1b5c1e-0000-4000-8000-{:012x}", kind.len())},
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let typed = match kind {
        "ScimSource" => serde_json::from_value::<ScimSource>(object).map(|typed| json!(typed)),
        "RoleMapping" => serde_json::from_value::<RoleMapping>(object).map(|typed| json!(typed)),
        _ => serde_json::from_value::<ClusterRoleMapping>(object).map(|typed| json!(typed)),
    };
    typed.expect("a valid object")
}

pub struct World {
    pub directory: Directory,
    index: i64,
    namespaces: Namespaces,
    pub policy: AccessPolicy,
    source: ScimSource,
}

impl World {
    /// Okta pushed three people, a group of two, a group of nobody, and the group of the payments team.
    pub fn new(source: &Value) -> Self {
        let mut world = Self {
            directory: Directory::default(),
            index: 0,
            namespaces: Namespaces::new(),
            policy: AccessPolicy::parse("clusterRoles: [view, edit]\nusernamePrefixes: ['oidc:']\nprotectedNamespaces: ['kube-*']")
                .expect("a policy"),
            source: serde_json::from_value(source.clone()).expect("a ScimSource"),
        };
        for (name, labels) in [
            ("backend", json!({})),
            ("payments", json!({"team": "payments"})),
            ("payments-test", json!({"team": "payments"})),
        ] {
            let info = NamespaceInfo {
                name: name.to_owned(),
                labels: serde_json::from_value(labels).expect("labels"),
                terminating: false,
            };
            world.namespaces.insert(name.to_owned(), Arc::new(info));
        }
        world.event(Event::SourceSeen {
            source: "okta".to_owned(),
            uid: "1".to_owned(),
        });
        for (n, name) in (0..).zip(["ada", "grace", "linus"]) {
            world.created(
                n,
                Kind::User,
                json!({"userName": format!("{name}@corp.example"), "active": true}),
                &[],
            );
        }
        world.created(3, Kind::Group, json!({"displayName": "Backend"}), &[0, 1]);
        world.created(
            4,
            Kind::Group,
            json!({"displayName": "Payments", "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159"}),
            &[2],
        );
        world
    }

    pub fn event(&mut self, event: Event) {
        self.index += 1;
        self.directory.apply(self.index, 0, now(), &event);
    }

    pub fn created(&mut self, n: u32, kind: Kind, attributes: Value, members: &[u32]) {
        self.event(Event::Created {
            source: "okta".to_owned(),
            kind,
            id: Uuid::from_u64_pair(0x00de_adbe_ef00_4000, 0x8000_0000_0000_0000 | u64::from(n)),
            n,
            attributes: attributes.as_object().cloned().unwrap_or_default(),
            members: members.to_vec(),
            request: format!("request-{n}"),
        });
    }

    /// A mapping's status.
    pub fn mapping(&self, object: &Value, change: impl FnOnce(&mut MappingReport<'_>)) -> Value {
        let compiled = match object["kind"].as_str() {
            Some("RoleMapping") => Mapping::of_role_mapping(&serde_json::from_value(object.clone()).expect("a RoleMapping")),
            _ => Mapping::of_cluster_role_mapping(&serde_json::from_value(object.clone()).expect("a ClusterRoleMapping")),
        };
        let mapping = match compiled {
            Ok(mapping) => mapping.at(now()),
            Err(refusal) => return status(self.report(object, Err(&refusal)), change),
        };
        let spec_of = |name: &str| (name == "okta").then_some(&self.source.spec);
        let (usable, source_refusals) = usable_sources(&mapping, &self.namespaces, spec_of);
        let selected = select(&mapping, &usable, &self.directory);
        let yields = Yields::default().of(&mapping, &selected, &self.directory).expect("not too costly");
        let targets = targets(&mapping, &selected, &yields, &self.namespaces, Some(&self.policy));
        let mut usernames = Usernames::default();
        let username = Expression::compile(&self.source.spec.subject.username).expect("an expression");
        usernames.update(&self.directory, "okta", &username, None);
        let basis = Basis {
            owner: &mapping.key,
            directory: &self.directory,
            usernames: &usernames,
            group_names: &Usernames::groups(),
        };
        let aim = Aim {
            selected: &selected,
            targets: &targets,
            everyone: mapping.is_for_everyone(),
            kinds: &mapping.subjects,
        };
        let cells = Cells::compute(&basis, aim, &|_, _| BTreeSet::new());
        let live = Live {
            mapping: &mapping,
            usable: &usable,
            selected: &selected,
            cells: &cells,
            targets: &targets,
        };
        let mut report = self.report(object, Ok(live));
        report.source_refusals = &source_refusals;
        report.bindings = if mapping.expired { 0 } else { targets.iter().count() };
        status(report, change)
    }

    fn report<'a>(&'a self, object: &Value, live: Result<Live<'a>, &'a Refusal>) -> MappingReport<'a> {
        static NOTHING: LazyLock<(Held, BTreeSet<Hold>)> = LazyLock::new(Default::default);
        MappingReport {
            generation: object["metadata"]["generation"].as_i64().expect("a generation"),
            suspend: object["spec"]["suspend"] == true,
            mode: if object["spec"]["mode"] == "Plan" {
                Mode::Plan
            } else {
                Mode::Enforce
            },
            live,
            directory: &self.directory,
            source_refusals: &[],
            missing_sources: &[],
            stalled_sources: &[],
            refused_people: 0,
            held: &NOTHING.0,
            waiting: Tally::default(),
            requested: None,
            holds: &NOTHING.1,
            failures: &[],
            pending: 0,
            bindings: 0,
            namespaces: &self.namespaces,
            changed_roles: &[],
            last_change: Some(now()),
        }
    }

    /// A source's status.
    pub fn source(&self, object: &Value, change: impl FnOnce(&mut SourceReport<'_>)) -> Value {
        let source: ScimSource = serde_json::from_value(object.clone()).expect("a ScimSource");
        let invalid: Option<Refusal> = CompiledSource::of(&source).err();
        let journal = JournalRef {
            id: "3f0c8a52-6d0e-4f6b-9a55-0d2c7c1e9b11".to_owned(),
            uid: "0b0e6d0e-55a1-4a53-8f52-5d6a3f1c2e77".to_owned(),
            index: self.index,
            head: "9f2feb0f1ef425b292f2f94bcfd5d4f2f1a6a4a3ab5e1a4c6f3d6f9b1a0c2d3e".to_owned(),
        };
        let mut report = SourceReport {
            name: "okta",
            generation: source.metadata.generation.unwrap_or_default(),
            suspend: source.spec.suspend,
            invalid: invalid.as_ref(),
            push: source.spec.push.as_ref(),
            poll: source.spec.poll.as_deref(),
            source: self.directory.source("okta"),
            conflicts: 0,
            nameless: 0,
            reasons: &[],
            waiting: Tally::default(),
            requested: None,
            mass: None,
            url: "https://rolecall.example.com/scim/v2/okta",
            unmanaged: None,
            loss: None,
            unproved: None,
            journal: Some(&journal),
        };
        change(&mut report);
        let before = ScimSourceStatus {
            journal: Some(journal.clone()),
            ..ScimSourceStatus::default()
        };
        json!(source_status(&report, &before, &Time(now())))
    }
}

fn status<'a>(mut report: MappingReport<'a>, change: impl FnOnce(&mut MappingReport<'a>)) -> Value {
    change(&mut report);
    json!(mapping_status(&report, &MappingStatus::default(), &Time(now())))
}
