//! A write that was lost on its way must not give access back when it arrives: held before the API server by a proxy, or behind the fence by
//! a slow webhook; of a living leader, or of one whose term is over. Twenty at once each, in twenty namespaces.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::Cluster;
use crate::kit::{self, Versions, denied_everywhere, until_everywhere, until_led, until_other_term};
use crate::proxy::{Action, Asked, Proxy};
use crate::system::{Process, Provider, System, until};
use crate::webhook::{Review, Webhook};

const PLACES: usize = 20;
const DEADLINE: Duration = Duration::from_millis(700);
/// How long access is looked for after the write was let go.
const LOOK: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The binding does not stand yet, and every repetition of the POST is held too.
    Post,
    /// Only the first POST is held: its repetition comes through, and the access that it gave is revoked.
    FirstPost,
    /// The binding stands.
    Put,
    /// The binding stands, and is deleted while the PUT is held.
    PutOfDeleted,
}

impl Change {
    fn is_post(self) -> bool {
        matches!(self, Self::Post | Self::FirstPost)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Living,
    Old,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Proxy,
    Webhook,
}

/// One installation: a controller behind a proxy, one source, twenty namespaces.
struct Scene<'a> {
    system: System<'a>,
    proxy: Proxy,
    leader: Process,
    okta: Provider,
    places: Vec<String>,
    _gateway: Process,
}

/// The persons and the mapping of one case; ada is to lose access, bob had it all along.
struct Case {
    change: Change,
    name: String,
    user: String,
    ada: String,
    group: String,
    bob: Option<String>,
}

impl<'a> Scene<'a> {
    async fn new(name: &str) -> Scene<'a> {
        let system = System::install(Cluster::shared(), name).await;
        let proxy = Proxy::before(system.cluster).await;
        let kubeconfig: PathBuf = proxy.kubeconfig(system.cluster, name, &system.installed.controller_token);
        let deadline = format!("--write-deadline={}ms", DEADLINE.as_millis());
        let leader = system.controller_with(&[&deadline], Some(&kubeconfig));
        let mut places = Vec::new();
        for n in 0..PLACES {
            let place = format!("{name}-{n}");
            system.namespace(&place, json!({"lost": name})).await;
            places.push(place);
        }
        let gateway = system.gateway().await;
        let okta = system.source(&gateway.url, &format!("{name}-okta")).await;
        Self {
            system,
            proxy,
            leader,
            okta,
            places,
            _gateway: gateway,
        }
    }

    /// Two persons, a group and a mapping of it to all places; bob is in it, and has access, unless the binding is not to stand.
    async fn case(&self, change: Change, leader: Leader) -> Case {
        let class = &self.system.installed.class;
        let name = format!("{class}-{change:?}-{leader:?}").to_lowercase();
        let ada = self.okta.user(&format!("ada@{name}.example")).await;
        let bob = match change.is_post() {
            true => None,
            false => Some(self.okta.user(&format!("bob@{name}.example")).await),
        };
        let group = self.okta.group(&name, &bob.as_deref().into_iter().collect::<Vec<_>>()).await;
        let spec = json!({"sources": [format!("{class}-okta")], "groups": {"names": [name]}, "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"selector": {"matchLabels": {"lost": class}}}},
        ]});
        self.system.apply(&self.system.mapping("ClusterRoleMapping", None, &name, spec));
        if bob.is_some() {
            until_everywhere(&self.system, &format!("oidc:bob@{name}.example"), &self.places, true).await;
        } else {
            self.system
                .until_condition("clusterrolemapping", None, &name, "Ready", "True", "")
                .await;
        }
        Case {
            change,
            user: format!("oidc:ada@{name}.example"),
            name,
            ada,
            group,
            bob,
        }
    }

    /// Whether a write gives the subject of this case access.
    fn grants(case: &Case) -> impl Fn(&Asked) -> bool + Send + Sync + 'static {
        let (change, subject) = (case.change, format!("\"{}\"", case.user));
        let method = if change.is_post() { "POST" } else { "PUT" };
        let first = Mutex::new(BTreeSet::new());
        move |asked| {
            let grants = asked.is(method, "/rolebindings") && asked.says(&subject) && !asked.dry();
            grants && (change != Change::FirstPost || first.lock().expect("no panic").insert(asked.path.clone()))
        }
    }

    /// The same for the webhook.
    fn reviewed(case: &Case) -> impl Fn(&Review) -> bool + Send + Sync + 'static {
        let (change, subject) = (case.change, format!("\"{}\"", case.user));
        let first = Mutex::new(BTreeSet::new());
        move |review| {
            let grants = review.operation == "CREATE" && review.object["subjects"].to_string().contains(&subject) && !review.dry;
            grants && (change != Change::FirstPost || first.lock().expect("no panic").insert(review.namespace.clone()))
        }
    }

    /// What is revoked is gone, and the binding too where the case wants that.
    async fn revoke(&self, case: &Case) {
        self.okta.active(&case.ada, false).await;
        if let (Change::PutOfDeleted, Some(bob)) = (case.change, &case.bob) {
            self.okta.active(bob, false).await;
        }
    }

    async fn deleted(&self, case: &Case) {
        let mapping = format!("ClusterRoleMapping/{}", case.name);
        let left = || async {
            let all = kit::bindings(&self.system).await;
            all.into_iter()
                .filter(|b| b.mapping.as_deref() == Some(&mapping))
                .collect::<Vec<_>>()
        };
        let _ = until(Duration::from_secs(2), || async { left().await.is_empty() }).await;
        // Empty ones that the controller keeps are deleted by hand: the PUT must not bring them back.
        for binding in left().await {
            self.system
                .cluster
                .kubectl(&["delete", "rolebinding", "-n", &binding.namespace, &binding.name])
                .expect_ok();
        }
    }

    /// The new leader has made the names stand that the old one's POSTs would create.
    async fn stands(&self, case: &Case) {
        let mapping = format!("ClusterRoleMapping/{}", case.name);
        let begun = Instant::now();
        let all = until(Duration::from_secs(15), || async {
            let all = kit::bindings(&self.system).await;
            all.iter().filter(|b| b.mapping.as_deref() == Some(&mapping)).count() == PLACES
        });
        assert!(all.await.is_ok(), "the names of lost POSTs do not stand\n{}", self.system.explain());
        println!(
            "{} ms after the Lease changed the names of lost POSTs stood",
            begun.elapsed().as_millis()
        );
    }

    /// One case from beginning to end: in how many places no access came back.
    async fn run(&mut self, change: Change, leader: Leader, holder: Holder) -> usize {
        let case = self.case(change, leader).await;
        let user = case.user.as_str();
        let term = until_led(&self.system).await;
        let standby = (leader == Leader::Old).then(|| self.system.controller());
        let selector = json!({"matchLabels": {"lost": self.system.installed.class}});
        let rule = (holder == Holder::Proxy).then(|| self.proxy.rule(Action::Hold, Self::grants(&case)));
        let hook = match holder {
            Holder::Proxy => None,
            Holder::Webhook => {
                let hold = Duration::from_secs(25);
                let hook = Webhook::start(self.system.cluster, &case.name, selector, "Ignore", hold, Self::reviewed(&case)).await;
                hook.acts_in(&self.places[0]).await;
                Some(hook)
            }
        };
        // The grant is on its way, everywhere.
        self.okta.add(&case.group, &case.ada).await;
        let held = || {
            let at_proxy = rule.iter().flat_map(|r| r.taken()).map(|p| p.asked.path.clone());
            let at_hook = hook.iter().flat_map(|h| h.held()).map(|r| r.namespace);
            at_proxy.chain(at_hook).collect::<BTreeSet<_>>().len()
        };
        let all = until(Duration::from_secs(15), || async { held() == PLACES }).await;
        assert!(
            all.is_ok(),
            "{change:?}: {} of {PLACES} writes are held at once\n{}",
            held(),
            self.system.explain()
        );
        if change == Change::FirstPost {
            until_everywhere(&self.system, user, &self.places, true).await;
        }
        match leader {
            Leader::Living => {
                self.revoke(&case).await;
                tokio::time::sleep(DEADLINE * 3).await;
            }
            Leader::Old => {
                self.leader.signal("STOP");
                self.revoke(&case).await;
                until_other_term(&self.system, &term).await;
                match (change, holder) {
                    // The fence is passed already: the write is harmless from when its name stands.
                    (Change::Post, Holder::Webhook) => self.stands(&case).await,
                    _ => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        }
        if change == Change::PutOfDeleted {
            self.deleted(&case).await;
        }
        if change == Change::FirstPost {
            until_everywhere(&self.system, user, &self.places, false).await;
        }
        // It arrives now.
        let versions = Versions::of(&self.system).await;
        let released = Instant::now();
        if let Some(rule) = &rule {
            let late = rule.released(Duration::from_secs(10)).await;
            let done: Vec<_> = late.iter().filter(|p| p.done()).map(|p| (&p.asked.path, p.status)).collect();
            assert!(
                done.is_empty(),
                "{change:?} of the {leader:?} leader: {} late writes were done: {done:?}",
                done.len()
            );
        }
        if let Some(hook) = &hook {
            hook.release();
        }
        let denied = denied_everywhere(&self.system, user, &self.places, LOOK).await;
        let back: BTreeSet<String> = versions
            .since(released)
            .into_iter()
            .filter(|v| v.holds(user))
            .map(|v| v.namespace)
            .collect();
        assert!(
            back.is_empty(),
            "{change:?} of the {leader:?} leader: access came back in {back:?}\n{}",
            self.system.explain()
        );
        let late: Vec<_> = self
            .proxy
            .writes()
            .into_iter()
            .filter(|p| p.asked.says(user) && p.asked.path.contains("/rolebindings"))
            .collect();
        let late: Vec<_> = late
            .into_iter()
            .filter(|p| p.done() && p.answered.is_some_and(|at| at >= released))
            .collect();
        assert!(
            late.is_empty(),
            "{change:?} of the {leader:?} leader: {} writes were done late",
            late.len()
        );
        if leader == Leader::Old {
            self.leader.signal("CONT");
        }
        if let Some(mut standby) = standby {
            // The one behind the proxy leads again.
            let term = kit::lease(&self.system).await;
            standby.signal("TERM");
            assert!(standby.ended(Duration::from_secs(10)), "{}", standby.log());
            until_other_term(&self.system, &term).await;
        }
        println!("{change:?}, {leader:?} leader, held by the {holder:?}: {denied} of {PLACES}");
        denied
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_a_living_leader_comes_back() {
    let _machine = kit::MACHINE.read().await;
    let mut scene = Scene::new("lost-living").await;
    for change in [Change::Post, Change::FirstPost, Change::Put, Change::PutOfDeleted] {
        assert_eq!(scene.run(change, Leader::Living, Holder::Proxy).await, PLACES, "{change:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_an_old_leader_comes_back() {
    let _machine = kit::MACHINE.read().await;
    let mut scene = Scene::new("lost-old").await;
    for change in [Change::Post, Change::FirstPost, Change::Put, Change::PutOfDeleted] {
        assert_eq!(scene.run(change, Leader::Old, Holder::Proxy).await, PLACES, "{change:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_post_held_behind_the_fence_comes_back() {
    let _machine = kit::MACHINE.read().await;
    let mut scene = Scene::new("lost-hook").await;
    for (change, leader) in [
        (Change::Post, Leader::Living),
        (Change::FirstPost, Leader::Living),
        (Change::Post, Leader::Old),
    ] {
        assert_eq!(
            scene.run(change, leader, Holder::Webhook).await,
            PLACES,
            "{change:?} of the {leader:?} leader"
        );
    }
}
