//! The specs of the random histories, and what each of them means, written down once more without any of the machinery.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{World, cluster_role_mapping};
use crate::access::mapping::Mapping;
use crate::access::select::Group;
use crate::directory::Kind;

/// Which members: those of whom `userType` says so; one who has none is neither.
const FILTERS: [&str; 3] = ["", "userType eq \"Employee\"", "userType ne \"Employee\""];

/// A mapping: which roles, which groups, which members.
pub fn mapping((roles, groups, filter): (u8, u8, u8)) -> Mapping {
    let labels = json!({"selector": {"matchLabels": {"team": "yes"}}});
    let by_name = "group.displayName == 'g0' ? 'team-a' : group.displayName == 'g4' ? 'kube-x' : 'team-b'";
    let even = "['0', '2', '4'].exists(n, group.displayName.endsWith(n)) ? 'view' : 'edit'";
    let role = |name: &str| json!({"kind": "ClusterRole", "name": name});
    let either = json!({"kind": "ClusterRole", "expression": even, "oneOf": ["view", "edit"]});
    let all = |roles: &[&str]| {
        let grants: Vec<_> = roles
            .iter()
            .map(|name| json!({"roleRef": role(name), "namespaces": labels}))
            .collect();
        json!(grants)
    };
    let grants = match roles {
        0 => all(&["view"]),
        1 => all(&["edit"]),
        2 => all(&["view", "edit"]),
        3 => all(&["admin", "view"]),
        4 => json!([{"roleRef": either, "namespaces": labels}]),
        5 => json!([{"roleRef": role("view"), "namespaces": {"expression": by_name}}]),
        7 => json!([{"roleRef": role("view"), "namespaces": {"all": true}}, {"roleRef": role("edit"), "namespaces": labels}]),
        _ => {
            json!([{"roleRef": either, "namespaces": {"expression": by_name}}, {"roleRef": role("view"), "namespaces": {"names": ["team-a"]}}])
        }
    };
    let (approve, groups) = (groups >= 5, groups % 5);
    let groups = [
        json!({"names": ["g0", "g1"]}),
        json!({"names": ["g2"]}),
        json!({"filter": "displayName sw \"g\""}),
        json!({"filter": "displayName eq \"g1\" or displayName eq \"g3\""}),
        json!({"pattern": "^g[0-3]$|^g4$"}),
    ][usize::from(groups)]
    .clone();
    let mut spec = json!({"sources": ["okta", "entra"], "groups": groups, "grants": grants});
    if approve {
        spec["groups"]["newGroups"] = json!("Approve");
    }
    if filter > 2 {
        spec["subjects"] = json!(["Group", "Both"][usize::from(filter - 3)]);
    } else if filter > 0 {
        spec["members"] = json!({"filter": FILTERS[usize::from(filter)]});
    }
    cluster_role_mapping("teams", spec)
}

/// Where the members of a group of that name get which roles by the spec, in a cluster with these namespaces: written down once more, without expressions.
fn granted(roles: u8, group: &str, labelled: &[&str]) -> Vec<(String, &'static str)> {
    let all = |roles: &[&'static str]| {
        labelled
            .iter()
            .flat_map(|ns| roles.iter().map(|role| (ns.to_string(), *role)))
            .collect()
    };
    let place = match group {
        "g0" => vec!["team-a"],
        "g4" => vec![],
        _ => vec!["team-b"],
    };
    let role = if ["g0", "g2", "g4"].contains(&group) { "view" } else { "edit" };
    let there = |role| place.iter().map(|ns| (ns.to_string(), role)).collect::<Vec<_>>();
    match roles {
        0 => all(&["view"]),
        1 => all(&["edit"]),
        2 => all(&["view", "edit"]),
        3 => all(&["admin", "view"]),
        4 => all(&[role]),
        5 => there("view"),
        7 => all(&["edit"]).into_iter().chain([(String::new(), "view")]).collect(),
        _ => there(role).into_iter().chain([("team-a".to_owned(), "view")]).collect(),
    }
}

/// What is to be, without any of the machinery: every active member of a counting group whom the filter selects, in every covered namespace.
pub fn expected(world: &World, spec: (u8, u8, u8)) -> BTreeSet<(String, String, String)> {
    expected_through(world, spec, &world.selected.groups)
}

/// The same through these groups alone.
pub fn expected_through(world: &World, (roles, _, filter): (u8, u8, u8), groups: &[Group]) -> BTreeSet<(String, String, String)> {
    let mut access = BTreeSet::new();
    if world.mapping.expired {
        return access;
    }
    let labelled = world.namespaces.values().filter(|ns| ns.labels["team"] == "yes");
    let labelled: Vec<&str> = labelled.map(|ns| ns.name.as_str()).collect();
    for (source, group) in groups {
        let Some(of) = world.directory.source(source) else { continue };
        let mut names = BTreeSet::new();
        let (mut looked, mut inside) = (BTreeSet::new(), vec![*group]);
        while let Some(n) = inside.pop() {
            let Some(one) = of.get(n).filter(|_| looked.insert(n)) else {
                continue;
            };
            if one.kind == Kind::Group {
                inside.extend(of.members(n));
                continue;
            }
            let user = one.attributes.to_map();
            let kind = user.get("userType").and_then(serde_json::Value::as_str);
            let meant = [true, kind == Some("Employee"), kind.is_some_and(|kind| kind != "Employee")]
                [usize::from(if filter > 2 { 0 } else { filter })];
            if one.active && meant {
                names.extend(world.usernames.effective(source, n).map(ToString::to_string));
            }
        }
        // 3: the groups themselves, 4: both
        if filter == 3 {
            names.clear();
        }
        if filter > 2 {
            names.extend(world.group_names.effective(source, *group).map(ToString::to_string));
        }
        let name = of.get(*group).map(|group| group.name.to_string()).unwrap_or_default();
        for (ns, role) in granted(roles, &name, &labelled) {
            access.extend(names.iter().map(|name| (ns.clone(), role.to_owned(), name.clone())));
        }
    }
    access
}
