use serde_json::{Value, json};

use super::world::World;
use super::yields::{TEAMS, compiled, role};
use crate::access::diff::Replacement;
use crate::access::policy::Refusal;

#[test]
fn the_whole_cluster_is_granted_only_by_its_own_list() {
    let wide = |role: Value| {
        let mapping = compiled(
            json!({"sources": ["okta"], "groups": {"pattern": TEAMS}, "grants": [{"roleRef": role, "namespaces": {"all": true}}]}),
        );
        let mapping = mapping.expect("compiles");
        let mut world = World::new(mapping);
        let ada = world.user("okta", "ada");
        world.group("okta", "k8s-a-view", &[ada]);
        world.group("okta", "k8s-a-edit", &[ada]);
        world.run();
        let (targets, _) = world.now();
        let places: Vec<String> = world.access().into_iter().map(|(ns, role, _)| format!("{ns}:{role}")).collect();
        (
            places,
            targets.refusals.first().map(|refusal| refusal.message.clone()).unwrap_or_default(),
        )
    };
    let (places, refusal) = wide(json!({"kind": "ClusterRole", "name": "view"}));
    assert_eq!((places, refusal.as_str()), (vec![":view".to_owned()], ""));
    // edit may be granted in namespaces, and in these only
    let (places, refusal) = wide(json!({"kind": "ClusterRole", "name": "edit"}));
    assert_eq!(places, [""; 0]);
    assert_eq!(
        refusal,
        "\"edit\" is not in accessPolicy.clusterWideRoles (Helm value); allowed: view"
    );
    let (places, refusal) = wide(role());
    assert_eq!(places, [":view"]);
    assert!(refusal.contains("\"edit\" is not in accessPolicy.clusterWideRoles"), "{refusal}");
    let role = json!({"kind": "Role", "name": "deployer"});
    let refused =
        compiled(json!({"sources": ["okta"], "groups": {"pattern": TEAMS}, "grants": [{"roleRef": role, "namespaces": {"all": true}}]}));
    assert!(
        refused
            .expect_err("refused")
            .message
            .contains("only a ClusterRole can be granted in the whole cluster")
    );
}

#[test]
fn namespaces_are_made_as_the_mapping_says_and_the_policy_allows() {
    let made = |place: Value, names: &[&str]| {
        let grants = json!([{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": place}]);
        let mapping = compiled(json!({"sources": ["okta"], "groups": {"pattern": TEAMS}, "grants": grants}))?;
        let mut world = World::new(mapping.clone());
        for name in names {
            world.group("okta", name, &[]);
        }
        world.evaluate();
        let (targets, _) = world.now();
        let shown: Vec<String> = targets
            .made
            .iter()
            .map(|(name, made)| format!("{name} {:?}", made.labels))
            .collect();
        let refusals = targets.refusals.iter().chain(targets.refused.values());
        Ok::<_, Refusal>((shown, refusals.map(|refusal| refusal.reason).collect::<Vec<_>>()))
    };
    let by_team = |create: Value| json!({"expression": "'team-' + match.team", "create": create});
    let groups = ["k8s-a-view", "k8s-a-edit", "k8s-new-view"];
    for (place, groups, shown, refused) in [
        (
            by_team(json!({"labels": {"a": "b"}, "labelExpressions": {"corp.example/team": "match.team"}})),
            &groups[..],
            &[
                r#"team-a {"a": "b", "corp.example/team": "a"}"#,
                r#"team-new {"a": "b", "corp.example/team": "new"}"#,
            ][..],
            &[][..],
        ),
        (
            json!({"names": ["x", "kube-y"], "create": {}}),
            &[],
            &["x {}"],
            &["NamespaceProtected"],
        ),
        (
            by_team(json!({"labelExpressions": {"name": "group.displayName + '!'"}})),
            &groups[..1],
            &[],
            &["LabelNotValid"],
        ),
        (
            by_team(
                json!({"labels": {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}}),
            ),
            &groups[2..],
            &[r#"team-new {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}"#],
            &[],
        ),
        (
            by_team(json!({"labels": {"pod-security.kubernetes.io/enforce": "privileged"}})),
            &groups,
            &[],
            &["LabelNotAllowed"],
        ),
        (
            by_team(json!({"labelExpressions": {"pod-security.kubernetes.io/enforce": "match.team"}})),
            &groups,
            &[],
            &["LabelNotAllowed"],
        ),
    ] {
        let found = made(place.clone(), groups).expect("compiles");
        assert_eq!(
            (found.0, found.1),
            (shown.iter().map(|s| (*s).to_owned()).collect(), refused.to_vec()),
            "{place}"
        );
    }
    for (create, message) in [
        (
            json!({"labels": {"rolecall.dev/class": "x"}}),
            "no label that a namespace may be given",
        ),
        (
            json!({"labels": {"kubernetes.io/metadata.name": "x"}}),
            "no label that a namespace may be given",
        ),
        (
            json!({"labels": {"app.kubernetes.io/managed-by": "x"}}),
            "no label that a namespace may be given",
        ),
        (json!({"labels": {"a b": "x"}}), "no label that a namespace may be given"),
        (json!({"labels": {"a": "x y"}}), "no value for the label a"),
        (
            json!({"annotations": {"rolecall.dev/approve": "1"}}),
            "no annotation that a namespace may be given",
        ),
        (
            json!({"labels": {"a": "x"}, "labelExpressions": {"a": "match.team"}}),
            "is in labels and in labelExpressions",
        ),
        (
            json!({"labelExpressions": {"a": "match.tema"}}),
            "create.labelExpressions[a] at 1:6: match has no tema",
        ),
    ] {
        let refusal = made(by_team(create.clone()), &[]).expect_err("refused");
        assert!(refusal.message.contains(message), "{create}: {}", refusal.message);
    }
    let refusal = made(json!({"selector": {}, "create": {}}), &[]).expect_err("refused");
    assert!(refusal.message.contains("it needs names or expression"), "{}", refusal.message);
}

#[test]
fn from_the_whole_cluster_to_namespaces_and_back_without_a_gap_and_counted_where_it_is_a_loss() {
    let role = |name: &str| json!({"kind": "ClusterRole", "name": name});
    let of = |grants: Value| compiled(json!({"sources": ["okta"], "groups": {"names": ["devs"]}, "grants": grants})).expect("compiles");
    let wide = || json!([{"roleRef": role("view"), "namespaces": {"all": true}}]);
    let narrow = || json!([{"roleRef": role("view"), "namespaces": {"names": ["team-a", "team-b"]}}]);
    for (before, after, least) in [(wide(), narrow(), 1), (narrow(), wide(), 1)] {
        let mut world = World::new(of(before));
        let ada = world.user("okta", "ada");
        world.group("okta", "devs", &[ada]);
        world.run();
        world.edit(of(after));
        world.evaluated = -1;
        world.evaluate();
        // in team-a and team-b, by whichever of the two
        let may = |w: &World| {
            ["team-a", "team-b"]
                .iter()
                .all(|ns| w.access().iter().any(|(at, ..)| at == ns || at.is_empty()))
        };
        world.settle_with(|w| assert!(may(w), "{:?}", w.access()));
        assert!(world.access().len() >= least);
        world.at_rest();
    }
    // edit goes from a namespace, and view of the whole cluster is no equal of it
    let mut world = World::new(of(
        json!([{"roleRef": role("view"), "namespaces": {"all": true}}, {"roleRef": role("edit"), "namespaces": {"names": ["team-a"]}}]),
    ));
    let ada = world.user("okta", "ada");
    world.group("okta", "devs", &[ada]);
    world.run();
    world.edit(of(wide()));
    world.evaluated = -1;
    world.evaluate();
    let lost: Vec<Replacement> = world
        .keys()
        .into_iter()
        .flat_map(|key| world.plan(&key).removals)
        .map(|r| r.replacement)
        .collect();
    assert_eq!(
        lost,
        [Replacement::Elsewhere {
            pending: false,
            stands: false
        }]
    );
}
