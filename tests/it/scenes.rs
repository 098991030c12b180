//! What a mapping leans on goes before a revocation: its role is not in the access policy any more, or is not there at all. The access goes all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::Cluster;
use crate::install::Install;
use crate::kit::{Version, Versions, bindings, denied_everywhere, records, until_everywhere};
use crate::system::{Process, Provider, System, until};

/// One installation with ClusterRoles of its own, and three namespaces in which its mappings grant them.
struct Scene<'a> {
    system: System<'a>,
    name: &'static str,
    /// The access policy as the chart renders it. The controller reads a copy: in a pod, the kubelet brings a change up to a minute after RBAC has it.
    rendered: PathBuf,
    okta: Provider,
    places: Vec<String>,
    _gateway: Process,
    _controller: Process,
}

fn install<'a>(name: &'a str, roles: &[&str]) -> Install<'a> {
    Install::new(name).value(&format!("accessPolicy.clusterRoles={}", json!(roles)))
}

fn user(name: &str) -> String {
    format!("oidc:{name}@corp.example")
}

impl Scene<'_> {
    async fn new(name: &'static str, roles: &[&str]) -> Self {
        let mut system = System::with(Cluster::shared(), install(name, roles)).await;
        let rendered = system.installed.access_policy.clone();
        system.installed.access_policy = rendered.with_extension("mounted");
        bring(&rendered);
        for role in roles {
            create_role(&system, role);
        }
        let controller = system.controller();
        let gateway = system.gateway().await;
        let places: Vec<String> = ["a", "b", "c"].map(|place| format!("{name}-{place}")).to_vec();
        for place in &places {
            system.namespace(place, json!({"scene": name})).await;
        }
        let okta = system.source(&gateway.url, &format!("{name}-okta")).await;
        Self {
            system,
            name,
            rendered,
            okta,
            places,
            _gateway: gateway,
            _controller: controller,
        }
    }

    /// A group of these people that a mapping of the same name grants the role in all places; the ids of the group and of the first of them.
    async fn group(&self, group: &str, role: &str, people: [&str; 2]) -> (String, String) {
        let mut ids = Vec::new();
        for person in people {
            ids.push(self.okta.user(&format!("{person}@corp.example")).await);
        }
        let members: Vec<&str> = ids.iter().map(String::as_str).collect();
        let id = self.okta.group(group, &members).await;
        let spec = json!({"sources": [format!("{}-okta", self.name)], "groups": {"names": [group]}, "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"selector": {"matchLabels": {"scene": self.name}}}},
        ]});
        let mapping = self.system.mapping("ClusterRoleMapping", None, &self.mapping(group), spec);
        self.system.apply(&mapping);
        self.everywhere(&people, true).await;
        (id, ids.swap_remove(0))
    }

    fn mapping(&self, group: &str) -> String {
        format!("{}-{group}", self.name)
    }

    /// `helm upgrade` with these roles: RBAC and the admission policies have them at once, the controller's file has not.
    async fn upgrade(&self, roles: &[&str]) {
        install(self.name, roles).put(self.system.cluster).await;
        tokio::time::sleep(Duration::from_secs(2)).await; // the API server looks at its policies once a second
    }

    async fn everywhere(&self, people: &[&str], allowed: bool) {
        for person in people {
            until_everywhere(&self.system, &user(person), &self.places, allowed).await;
        }
    }

    /// Waits until a mapping is ready, or says why not; the message.
    async fn says(&self, group: &str, condition: &str, reason: &str) -> String {
        let name = self.mapping(group);
        self.system
            .until_condition("clusterrolemapping", None, &name, condition, "True", reason)
            .await
    }

    /// The bindings of a mapping as they stand.
    async fn standing(&self, group: &str) -> Vec<(String, String, BTreeSet<String>)> {
        let of = format!("ClusterRoleMapping/{}", self.mapping(group));
        let all = bindings(&self.system).await.into_iter();
        let ours = all.filter(|b| b.mapping.as_ref() == Some(&of));
        let mut found: Vec<_> = ours.map(|b| (b.namespace, b.uid, b.subjects)).collect();
        found.sort();
        found
    }

    /// Versions of a mapping's bindings.
    fn of(&self, group: &str, versions: &[Version]) -> usize {
        let of = format!("ClusterRoleMapping/{}", self.mapping(group));
        versions.iter().filter(|v| v.mapping.as_ref() == Some(&of)).count()
    }

    /// To how many bindings the API server answered the controller's verb with that code.
    fn answered(&self, since: jiff::Timestamp, verb: &str, code: u64) -> usize {
        let found: BTreeSet<(String, String)> = self.answers(since, verb, code).into_iter().collect();
        found.len()
    }

    fn answers(&self, since: jiff::Timestamp, verb: &str, code: u64) -> Vec<(String, String)> {
        let installed = &self.system.installed;
        let controller = format!("system:serviceaccount:{}:{}-controller", installed.namespace, installed.fullname);
        let all = self
            .system
            .cluster
            .audit(since)
            .into_iter()
            .filter(|w| w.user == controller && !w.dry_run);
        let ours = all.filter(|w| w.resource == "rolebindings" && w.verb == verb && w.code == code);
        ours.map(|w| (w.namespace, w.name)).collect()
    }

    /// Waits until no binding of ours holds any of them.
    async fn held_nowhere(&self, people: &[&str]) {
        let gone = until(Duration::from_secs(20), || async {
            let all = bindings(&self.system).await;
            !people.iter().any(|person| all.iter().any(|b| b.holds(&user(person))))
        });
        assert!(gone.await.is_ok(), "{people:?} are still held\n{}", self.system.explain());
    }

    /// In how many places the access journal says of these people that this was why they lost something.
    async fn recorded(&self, people: &[&str], cause: &str) -> usize {
        let all = records(&self.system.admin, &self.system.installed.namespace, "access").await;
        let mut found = BTreeSet::new();
        for event in all.iter().map(|r| &r.event).filter(|e| e["e"] == "removed") {
            for why in event["why"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|w| w["why"]["cause"]["c"] == cause)
            {
                for name in why["usernames"].as_array().into_iter().flatten() {
                    found.insert((name.to_string(), event["binding"]["namespace"].to_string()));
                }
            }
        }
        let of = |person: &&str| {
            let user = json!(user(person)).to_string();
            found.iter().filter(|(name, _)| *name == user).count()
        };
        people.iter().map(of).sum()
    }

    /// Waits for the records, which follow the removals.
    async fn until_recorded(&self, expected: &[(&[&str], &str)]) -> usize {
        let mut sum = 0;
        for (people, cause) in expected {
            let all = people.len() * self.places.len();
            let seen = until(Duration::from_secs(10), || async { self.recorded(people, cause).await == all });
            let seen = seen.await.is_ok();
            assert!(
                seen,
                "{people:?}: {} of {all} are recorded as {cause}",
                self.recorded(people, cause).await
            );
            sum += all;
        }
        sum
    }
}

fn create_role(system: &System<'_>, role: &str) {
    system
        .cluster
        .kubectl(&["create", "clusterrole", role, "--verb=list", "--resource=pods"])
        .expect_ok();
}

/// As the kubelet does it: the new file stands in one step.
fn bring(rendered: &Path) {
    let new = rendered.with_extension("new");
    fs::copy(rendered, &new).expect("a file");
    fs::rename(new, rendered.with_extension("mounted")).expect("a file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_policy_shrinks_before_a_revocation() {
    let (lent, kept) = ("narrowed-lent", "narrowed-kept");
    let scene = Scene::new("narrowed", &[lent, kept]).await;
    let (_, ada) = scene.group("disabled", lent, ["ada", "cy"]).await;
    let (leaves, bob) = scene.group("leaves", lent, ["bob", "dee"]).await;
    scene.group("still", lent, ["fay", "gil"]).await;
    scene.group("kept", kept, ["hal", "ida"]).await;
    let (still, untouched) = (scene.standing("still").await, scene.standing("kept").await);
    assert_eq!((still.len(), untouched.len()), (3, 3));
    let versions = Versions::of(&scene.system).await;
    let begun = Instant::now();

    // RBAC and the cage have the new list, the controller's file the old one: a PUT that shrinks is refused.
    let since = jiff::Timestamp::now();
    scene.upgrade(&[kept]).await;
    scene.okta.active(&ada, false).await;
    scene.okta.remove(&leaves, &bob).await;
    scene.everywhere(&["ada", "bob"], false).await;
    scene.held_nowhere(&["ada", "bob"]).await;
    let (refused, deleted) = (scene.answered(since, "update", 403), scene.answered(since, "delete", 200));
    assert_eq!(
        (refused, deleted),
        (6, 6),
        "each PUT was refused, and became a DELETE\n{}",
        scene.system.explain()
    );
    println!("policy shrunk: 6 of 6 revocations that Kubernetes refused became a DELETE");
    // Who could have stayed cannot be granted it again, and the mapping says so.
    for group in ["disabled", "leaves"] {
        let message = scene.says(group, "Stalled", "WriteRefused").await;
        assert!(
            message.contains(lent) && message.contains("list it in accessPolicy (Helm value)"),
            "{message}"
        );
    }
    assert!(!scene.system.may(&user("cy"), "list", &scene.places[0]).await);
    // It is tried again now and then (also whenever somebody changes a role, as other tests do), not in a loop: that would be hundreds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let tries = scene.answers(since, "create", 403).len();
    assert!((6..=60).contains(&tries), "{tries} POSTs were refused");
    // Nobody else lost anything because of the list.
    scene.everywhere(&["fay", "gil", "hal", "ida"], true).await;
    assert_eq!(
        (scene.standing("still").await, scene.standing("kept").await),
        (still, untouched.clone())
    );
    let seen = versions.since(begun);
    assert_eq!((scene.of("still", &seen), scene.of("kept", &seen)), (0, 0), "{seen:#?}");

    // The file comes: no role outside the access policy, and the mappings say which list it is.
    bring(&scene.rendered);
    scene.everywhere(&["fay", "gil", "cy", "dee"], false).await;
    for group in ["disabled", "leaves", "still"] {
        let message = scene.says(group, "Stalled", "RoleNotAllowed").await;
        let tells = message.contains("\"narrowed-lent\" is not in accessPolicy.clusterRoles") && message.contains("allowed: narrowed-kept");
        assert!(tells, "{message}");
    }
    scene.held_nowhere(&["ada", "bob", "cy", "dee", "fay", "gil"]).await;
    scene.everywhere(&["hal", "ida"], true).await;
    assert_eq!(scene.standing("kept").await, untouched, "what is still listed was not touched");
    println!("policy shrunk: 6 of 6 accesses by the role that is still listed are untouched");

    // The list has it again: who was revoked meanwhile stays out, the others are back.
    scene.upgrade(&[lent, kept]).await;
    bring(&scene.rendered);
    scene.everywhere(&["cy", "dee", "fay", "gil", "hal", "ida"], true).await;
    let denied = denied_everywhere(&scene.system, &user("ada"), &scene.places, Duration::from_secs(1)).await
        + denied_everywhere(&scene.system, &user("bob"), &scene.places, Duration::from_secs(1)).await;
    assert_eq!(denied, 6, "{}", scene.system.explain());
    println!("policy shrunk and back: {denied} of 6 revocations hold, 18 of 18 others have their access");
    for group in ["disabled", "leaves", "still", "kept"] {
        scene.says(group, "Ready", "").await;
    }
    let recorded = scene
        .until_recorded(&[
            (&["ada"], "disabled"),
            (&["bob"], "leftGroups"),
            (&["cy", "dee"], "rewritten"),
            (&["fay", "gil"], "notAllowed"),
        ])
        .await;
    println!("policy shrunk: {recorded} of 18 removals are recorded with their cause");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_role_is_deleted_before_a_revocation() {
    let (listed, unlisted) = ("gone-listed", "gone-unlisted");
    let scene = Scene::new("gone", &[listed, unlisted]).await;
    let mut who = BTreeMap::new();
    for (group, role, people) in [
        ("listed-disabled", listed, ["ada", "bob"]),
        ("listed-leaves", listed, ["cy", "dee"]),
        ("unlisted-disabled", unlisted, ["eve", "fay"]),
        ("unlisted-leaves", unlisted, ["gil", "hal"]),
    ] {
        who.insert(group, scene.group(group, role, people).await);
    }
    let (revoked, stay) = (["ada", "cy", "eve", "gil"], ["bob", "dee", "fay", "hal"]);
    let before = [scene.standing("listed-disabled").await, scene.standing("listed-leaves").await];

    // Both roles are deleted; one of them is not even listed any more, so that a PUT needs a `bind` that is not there: 404, which names the binding.
    let since = jiff::Timestamp::now();
    scene
        .system
        .cluster
        .kubectl(&["delete", "clusterrole", listed, unlisted])
        .expect_ok();
    scene.upgrade(&[listed]).await;
    scene.everywhere(&revoked, false).await;
    scene.everywhere(&stay, false).await;
    for group in ["listed-disabled", "listed-leaves", "unlisted-disabled", "unlisted-leaves"] {
        let message = scene.says(group, "Stalled", "RoleNotFound").await;
        assert!(message.contains(scene.name) && message.contains("create it"), "{message}");
    }
    for (group, (id, person)) in &who {
        match group.ends_with("disabled") {
            true => scene.okta.active(person, false).await,
            false => scene.okta.remove(id, person).await,
        }
    }
    // Nobody has anything without the role, so it is the bindings themselves that tell.
    scene.held_nowhere(&revoked).await;
    let after = [scene.standing("listed-disabled").await, scene.standing("listed-leaves").await];
    for (before, after, left) in [(&before[0], &after[0], "bob"), (&before[1], &after[1], "dee")] {
        let left: Vec<_> = before
            .iter()
            .map(|(place, uid, _)| (place.clone(), uid.clone(), BTreeSet::from([user(left)])))
            .collect();
        assert_eq!(*after, left, "only who was revoked is out");
    }
    let (refused, deleted) = (scene.answered(since, "update", 404), scene.answered(since, "delete", 200));
    assert_eq!(
        (refused, deleted),
        (6, 6),
        "each PUT was refused, and became a DELETE\n{}",
        scene.system.explain()
    );
    println!("role deleted: 12 of 12 bindings hold nobody who was revoked, 6 of 6 that could not shrink were deleted");
    // What may stay cannot be granted again yet. It is tried again now and then, not in a loop.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let tries = scene.answers(since, "create", 404).len() + scene.answers(since, "create", 403).len();
    assert!((6..=60).contains(&tries), "{tries} POSTs were refused\n{}", scene.system.explain());

    // The roles are made again, and the list has both.
    scene.upgrade(&[listed, unlisted]).await;
    for role in [listed, unlisted] {
        create_role(&scene.system, role);
    }
    scene.everywhere(&stay, true).await;
    let mut denied = 0;
    for person in revoked {
        denied += denied_everywhere(&scene.system, &user(person), &scene.places, Duration::from_secs(1)).await;
    }
    assert_eq!(denied, 12, "{}", scene.system.explain());
    println!("role deleted and made again: {denied} of 12 revocations hold, 12 of 12 others have their access");
    for group in who.keys() {
        scene.says(group, "Ready", "").await;
    }
    let expected: [(&[&str], &str); 3] = [
        (&["ada", "eve"], "disabled"),
        (&["cy", "gil"], "leftGroups"),
        (&["fay", "hal"], "rewritten"),
    ];
    let recorded = scene.until_recorded(&expected).await;
    println!("role deleted: {recorded} of 18 removals are recorded with their cause");
}
