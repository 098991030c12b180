//! Who may write which mapping: every author x roles x kind of mapping x field, made and changed. What is expected follows from a table of rights.

use futures::StreamExt;
use kube::Client;
use serde_json::{Value, json};

use super::authors::{OTHER, TEAM, mapping, mappings, people};
use super::{Cases, Expect, Passes, Refused, lay_out, send};
use crate::cluster::{Cluster, Who};
use crate::install::Install;

const AT_ONCE: usize = 8;

/// Somebody, and what they may: where they write mappings, and what they may bind where. The place "" is everywhere.
struct Author {
    name: &'static str,
    writes: &'static [&'static str],
    binds: &'static [(&'static str, &'static str)],
    makes_namespaces: bool,
}

const AUTHORS: [Author; 7] = [
    author("nobody", &[], &[]),
    author("writer", &[""], &[]),
    author(
        "mapper",
        &[TEAM],
        &[(TEAM, "ClusterRole/view"), (TEAM, "ClusterRole/edit"), (TEAM, "Role/deployer")],
    ),
    author(
        "head-mapper",
        &[""],
        &[("", "ClusterRole/view"), ("", "ClusterRole/edit"), ("", "Role/deployer")],
    ),
    author("bind-view", &[""], &[(TEAM, "ClusterRole/view")]),
    author("team-admin", &[TEAM], &[]),
    Author {
        name: "boss",
        writes: &[""],
        binds: &[("", "")],
        makes_namespaces: true,
    },
];

const fn author(name: &'static str, writes: &'static [&'static str], binds: &'static [(&'static str, &'static str)]) -> Author {
    Author {
        name,
        writes,
        binds,
        makes_namespaces: false,
    }
}

impl Author {
    fn writes(&self, place: &str) -> bool {
        self.writes.iter().any(|at| at.is_empty() || *at == place)
    }

    fn binds(&self, place: &str, role: &str) -> bool {
        let of = |(at, one): &(&str, &str)| (at.is_empty() || *at == place) && (one.is_empty() || *one == role);
        self.binds.iter().any(of)
    }

    fn expected(&self, place: &str, roles: &[&str], field: &str) -> Expect {
        if !self.writes(place) {
            return Refused(403, "cannot");
        }
        // the CRD's own rules come before the policies
        if field == "changed class" {
            return Refused(422, "class is immutable");
        }
        if field == "all" && roles.iter().any(|role| role.starts_with("Role/")) {
            return Refused(422, "only a ClusterRole can be granted in the whole cluster");
        }
        let unbound = roles.iter().any(|role| !self.binds(place, role));
        match (unbound, field.starts_with("create") && !self.makes_namespaces) {
            (true, true) => Refused(422, "needs the verb"),
            (true, false) => Refused(422, "needs the verb bind on"),
            (false, true) => Refused(422, "needs the verb create on namespaces"),
            (false, false) => Passes,
        }
    }
}

const ROLES: [&[&str]; 8] = [
    &["ClusterRole/view"],
    &["ClusterRole/edit"],
    &["Role/deployer"],
    &["ClusterRole/admin"],
    &["ClusterRole/cluster-admin"],
    &["Role/view"],
    &["ClusterRole/view", "Role/deployer"],
    &["ClusterRole/view", "ClusterRole/admin"],
];

/// One field of a spec, set.
type Field = (&'static str, fn(&mut Value));

const FIELDS: [Field; 13] = [
    ("externalIds", |spec| spec["groups"] = json!({"externalIds": ["1"]})),
    ("filter", |spec| spec["groups"] = json!({"filter": "displayName sw \"a\""})),
    ("pattern", |spec| spec["groups"] = json!({"pattern": "^k8s-(?<team>[a-z]+)$"})),
    ("newGroups", |spec| spec["groups"] = json!({"names": ["a"], "newGroups": "Approve"})),
    ("members", |spec| spec["members"] = json!({"filter": "userType eq \"Employee\""})),
    ("subjects: Group", |spec| spec["subjects"] = json!("Group")),
    ("subjects: Both", |spec| spec["subjects"] = json!("Both")),
    ("mode", |spec| spec["mode"] = json!("Plan")),
    ("suspend", |spec| spec["suspend"] = json!(true)),
    ("notAfter", |spec| spec["notAfter"] = json!("2099-01-01T00:00:00Z")),
    ("limits", |spec| {
        spec["limits"] = json!({"removalsPerHour": 1000, "removalPercent": 100})
    }),
    ("another class", |spec| spec["class"] = json!("authors-other")),
    ("role by expression", |spec| {
        grants(spec, |grant| {
            let name = grant["roleRef"]["name"].clone();
            grant["roleRef"] = json!({"kind": grant["roleRef"]["kind"], "expression": "group.displayName", "oneOf": [name]});
        });
    }),
];

/// Those of a ClusterRoleMapping alone.
const WIDE_FIELDS: [Field; 5] = [
    ("selector", |spec| {
        places(spec, json!({"selector": {"matchLabels": {"team": "yes"}}}))
    }),
    ("all", |spec| places(spec, json!({"all": true}))),
    ("expression", |spec| places(spec, json!({"expression": "group.displayName"}))),
    ("create", |spec| {
        places(
            spec,
            json!({"expression": "group.displayName", "create": {"labels": {"team": "yes"}}}),
        )
    }),
    ("create with expressions", |spec| {
        places(
            spec,
            json!({"names": [TEAM], "create": {"labelExpressions": {"team": "group.displayName"}}}),
        );
    }),
];

fn grants(spec: &mut Value, change: impl Fn(&mut Value)) {
    spec["grants"].as_array_mut().expect("grants").iter_mut().for_each(change);
}

fn places(spec: &mut Value, namespaces: Value) {
    grants(spec, |grant| grant["namespaces"] = namespaces.clone());
}

/// One request, and what is expected of it.
struct Attempt {
    client: Client,
    case: String,
    method: &'static str,
    path: String,
    body: Value,
    expected: Expect,
}

/// On a cluster of its own: each installation's policies judge the mappings of every class, and the shared cluster has dozens of installations.
#[tokio::test]
async fn every_author_role_kind_and_field() {
    let cluster = Cluster::own();
    let mut install = Install::new("authors");
    install.crds = true;
    let installed = install.on(&cluster).await;
    let admin = cluster.admin().await;
    people(&admin, &installed).await;
    let mut cases = Cases::default();
    all(&mut cases, &cluster, &admin).await;
    cases.finish("authors x roles x kinds x fields");
}

/// Tries all of it; nothing is stored.
async fn all(cases: &mut Cases, cluster: &Cluster, admin: &Client) {
    let mut attempts = Vec::new();
    let mut clients = Vec::new();
    for author in &AUTHORS {
        clients.push((author, cluster.client(&Who::user(author.name)).await));
    }
    for place in [TEAM, OTHER, ""] {
        let wide: &[Field] = if place.is_empty() { &WIDE_FIELDS } else { &[] };
        for (n, roles) in ROLES.iter().enumerate() {
            let stored = lay_out(admin, &mappings(place), mapping(&format!("authors-matrix-{n}"), place, roles)).await;
            let path = format!("{}/authors-matrix-{n}?dryRun=All", mappings(place));
            for (author, client) in &clients {
                let mut attempt = |what: &str, method, path: &str, body, expected| {
                    attempts.push(Attempt {
                        client: client.clone(),
                        case: format!("{} in {place:?}, {roles:?}: {what}", author.name),
                        method,
                        path: path.to_owned(),
                        body,
                        expected,
                    });
                };
                let made = format!("{}?dryRun=All", mappings(place));
                attempt("made", "POST", &made, mapping("a", place, roles), author.expected(place, roles, ""));
                for (field, set) in FIELDS.iter().chain(wide) {
                    let expected = author.expected(place, roles, field);
                    let mut new = mapping("a", place, roles);
                    set(&mut new["spec"]);
                    attempt(&format!("made with {field}"), "POST", &made, new, expected);
                    let mut changed = stored.clone();
                    set(&mut changed["spec"]);
                    let expected = match *field {
                        "another class" => author.expected(place, roles, "changed class"),
                        _ => expected,
                    };
                    attempt(&format!("changed: {field}"), "PUT", &path, changed, expected);
                }
                // what does not touch the spec, and its end, is a matter of RBAC alone
                let free = if author.writes(place) { Passes } else { Refused(403, "cannot") };
                attempt("labelled", "PATCH", &path, json!({"metadata": {"labels": {"a": "b"}}}), free);
                attempt("deleted", "DELETE", &path, json!(null), free);
            }
        }
    }
    let sent = attempts.into_iter().map(|attempt| async move {
        let said = send(&attempt.client, attempt.method, &attempt.path, attempt.body).await;
        (attempt.case, said, attempt.expected)
    });
    let mut sent = futures::stream::iter(sent).buffer_unordered(AT_ONCE);
    while let Some((case, said, expected)) = sent.next().await {
        cases.check(&case, &said, expected);
    }
}
