//! A journal is lost for ever, and somebody accepts that: whoever still has the right keeps it without a gap, and nothing goes that nobody said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::system::{Process, Provider, System, may, until};

const LONG: Duration = Duration::from_secs(60);

fn name(person: &str) -> String {
    format!("oidc:{person}@accepted.example")
}

/// The same people with the same groups, as a provider sends them that starts anew.
async fn push(okta: &Provider, active: &[&str], members: &[&str]) -> (Vec<String>, String) {
    let mut ids = Vec::new();
    for person in active {
        ids.push(okta.user(&format!("{person}@accepted.example")).await);
    }
    let of = |person: &&str| &*ids[active.iter().position(|a| a == person).expect("a person")];
    let members: Vec<&str> = members.iter().map(of).collect();
    let group = okta.group("Backend", &members).await;
    (ids, group)
}

struct Scene<'a> {
    system: System<'a>,
    source: String,
    place: String,
    mapping: String,
}

impl Scene<'_> {
    /// With a controller, a gateway, the provider, and a mapping of its group.
    async fn started(of: &str) -> (Scene<'static>, Process, Process, Provider) {
        let system = System::install(Cluster::shared(), of).await;
        let (source, place, mapping) = (format!("{of}-okta"), format!("{of}-a"), format!("{of}-team"));
        system.namespace(&place, json!({})).await;
        let controller = system.controller();
        let gateway = system.gateway().await;
        let okta = system.source(&gateway.url, &source).await;
        let grants = json!([{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}}]);
        let spec = json!({"sources": [source], "groups": {"names": ["Backend"]}, "grants": grants});
        system.apply(&system.mapping("ClusterRoleMapping", None, &mapping, spec));
        let scene = Scene {
            system,
            source,
            place,
            mapping,
        };
        (scene, controller, gateway, okta)
    }

    async fn until_may(&self, person: &str, allowed: bool) {
        self.system.until_may(&name(person), "list", &self.place, allowed).await;
    }

    async fn may(&self, person: &str) -> bool {
        self.system.may(&name(person), "list", &self.place).await
    }

    fn annotate(&self, what: &str) {
        let said = format!("rolecall.dev/accept-journal-loss={what}");
        self.system
            .cluster
            .kubectl(&["annotate", "scimsource", &self.source, "--overwrite", &said])
            .expect_ok();
    }

    /// What the source shows of the loss.
    async fn token(&self) -> String {
        let shows = || async { !self.system.status("scimsource", None, &self.source)["journalLoss"].is_null() };
        assert!(until(LONG, shows).await.is_ok(), "{}", self.system.explain());
        let status = self.system.status("scimsource", None, &self.source);
        let token = status["journalLoss"].as_str().expect("a token").to_owned();
        assert!(
            status["conditions"].to_string().contains(&token),
            "the condition says it, too: {status:#}"
        );
        token
    }

    fn delete(&self, journals: &[&str]) {
        let namespace = &self.system.installed.namespace;
        let what = [&["delete", "-n", namespace, "journals.rolecall.dev"], journals].concat();
        self.system.cluster.kubectl(&what).expect_ok();
    }

    /// Asks all the time whether these people may; how often they were asked, and how often denied.
    fn watch(&self, people: &'static [&'static str]) -> (Arc<AtomicBool>, tokio::task::JoinHandle<(usize, usize)>) {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, place, stopped) = (self.system.admin.clone(), self.place.clone(), stop.clone());
        let asking = tokio::spawn(async move {
            let (mut asked, mut denied) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                for person in people {
                    asked += 1;
                    denied += usize::from(!may(&client, &name(person), "list", &place).await);
                }
            }
            (asked, denied)
        });
        (stop, asking)
    }

    async fn held(&self, removals: i64) -> Value {
        let told = || self.system.status("clusterrolemapping", None, &self.mapping)["heldRemovals"].as_i64();
        let so = || async { told().unwrap_or_default() == removals };
        let found = until(LONG, so).await;
        let status = self.system.status("clusterrolemapping", None, &self.mapping);
        let all = crate::kit::records(&self.system.admin, &self.system.installed.namespace, "access").await;
        let all: Vec<String> = all.iter().map(|record| format!("{record:?}")).collect();
        assert!(
            found.is_ok(),
            "{removals} are held: {status:#}\n{}\n{}",
            self.system.explain(),
            all.join("\n")
        );
        status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_pushed_again_and_who_still_has_the_right_has_it_all_the_time() {
    let (scene, _controller, gateway, okta) = Scene::started("accepted").await;
    let everybody = ["ada", "bob", "carol", "dora", "eve"];
    let (before, _) = push(&okta, &everybody, &everybody).await;
    for person in everybody {
        scene.until_may(person, true).await;
    }
    let (stop, watching) = scene.watch(&["ada", "bob", "dora"]);
    // what was approved once means a record of the journal that is lost now
    let mapping = scene.mapping.clone();
    let approved = ["annotate", "clusterrolemapping", &mapping, "rolecall.dev/approve=1000000"];
    scene.system.cluster.kubectl(&approved).expect_ok();
    scene.delete(&["directory"]);
    let token = scene.token().await;

    // What is not shown is not accepted, and nothing goes meanwhile.
    scene.annotate("directory-000000000000");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let listed = || {
        scene
            .system
            .cluster
            .kubectl(&["get", "-n", "accepted", "journals.rolecall.dev", "-o", "name"])
            .expect_ok()
    };
    assert!(!listed().contains("directory"), "{}", listed());
    for person in everybody {
        assert!(scene.may(person).await, "{person} keeps what stands");
    }
    scene.annotate(&token);
    let answers = || async { okta.try_get("/Users?count=0").await.is_ok_and(|(code, _)| code == 200) };
    assert!(
        until(LONG, answers).await.is_ok(),
        "the gateway goes on: {}\n{}",
        gateway.log(),
        scene.system.explain()
    );
    let gone = scene.system.status("scimsource", None, &scene.source);
    assert!(
        until(LONG, || async {
            scene.system.status("scimsource", None, &scene.source)["journalLoss"].is_null()
        })
        .await
        .is_ok(),
        "{gone:#}"
    );
    let (_, told) = okta.try_get(&format!("/Users/{}", before[0])).await.expect("an answer");
    assert_eq!(told["status"], "404", "an id of before means nobody: {told}");

    // The provider pushes everybody again: carol is disabled by now, dora and eve are in no group.
    let (ids, group) = push(&okta, &["bob", "ada", "dora", "carol", "fay"], &["ada", "bob", "fay", "carol"]).await;
    assert!(ids.iter().all(|id| !before.contains(id)), "new ids");
    scene.until_may("fay", true).await;
    okta.active(&ids[3], false).await;
    scene.until_may("carol", false).await;
    let status = scene.held(2).await;
    assert!(status["conditions"].to_string().contains("JournalLossAccepted"), "{status:#}");
    assert!(
        scene.may("dora").await && scene.may("eve").await,
        "what nobody claims is kept until it is approved"
    );
    let (code, holds) = scene.system.plugin(&["holds", &format!("clusterrolemapping/{}", scene.mapping)]);
    assert!(
        code == 0 && holds.contains(&name("dora")) && holds.contains(&name("eve")) && !holds.contains(&name("ada")),
        "{holds}"
    );
    // who is known again goes as everybody does
    okta.remove(&group, &ids[4]).await;
    scene.until_may("fay", false).await;

    stop.store(true, Ordering::Relaxed);
    let (asked, denied) = watching.await.expect("the watcher");
    assert!(asked > 50 && denied == 0, "{denied} of {asked}");
    let (code, text) = scene
        .system
        .plugin(&["approve", "--yes", &format!("clusterrolemapping/{}", scene.mapping)]);
    assert_eq!(code, 0, "{text}");
    for person in ["dora", "eve"] {
        scene.until_may(person, false).await;
    }
    assert!(scene.may("ada").await && scene.may("bob").await);
    scene.held(0).await;
    println!("{asked} reviews of people who kept the right: {denied} denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_journals_are_gone_and_a_disabled_one_who_is_pushed_as_such_goes_at_once() {
    let (scene, controller, gateway, okta) = Scene::started("accepted-both").await;
    push(&okta, &["gail", "hank", "ida"], &["gail", "hank", "ida"]).await;
    for person in ["gail", "hank", "ida"] {
        scene.until_may(person, true).await;
    }
    let (stop, watching) = scene.watch(&["gail", "ida"]);
    // nobody who knew the journals is left
    drop((controller, gateway));
    scene.delete(&["directory", "access"]);
    let _controller = scene.system.controller();
    let token = scene.token().await;
    scene.annotate(&token);
    let gateway = scene.system.gateway().await;
    let okta = okta.at(&gateway);
    scene.held(3).await;
    let hank = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "hank@accepted.example", "active": false});
    okta.send("POST", "/Users", Some(hank), &[201]).await;
    scene.until_may("hank", false).await;
    push(&okta, &["gail"], &["gail"]).await;
    scene.held(1).await;
    // of a mapping that is deleted everything goes, as of any other
    stop.store(true, Ordering::Relaxed);
    assert_eq!(watching.await.expect("the watcher").1, 0, "nobody else loses anything");
    scene
        .system
        .cluster
        .kubectl(&["delete", "clusterrolemapping", &scene.mapping])
        .expect_ok();
    for person in ["gail", "ida"] {
        scene.until_may(person, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_journal_is_lost_and_the_directory_knows_who_they_are() {
    let (scene, _controller, _gateway, okta) = Scene::started("accepted-access").await;
    let (ids, group) = push(&okta, &["jane", "kim", "leo"], &["jane", "kim"]).await;
    for person in ["jane", "kim"] {
        scene.until_may(person, true).await;
    }
    let (stop, watching) = scene.watch(&["jane", "kim"]);
    scene.delete(&["access"]);
    let token = scene.token().await;
    // what was shown once stays shown: an admin takes some time to type it
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(scene.token().await, token);
    okta.remove(&group, &ids[1]).await;
    okta.add(&group, &ids[2]).await;
    scene.annotate(&token);
    scene.until_may("leo", true).await;
    scene.held(1).await;
    assert!(
        scene.may("kim").await,
        "who left while nobody recorded it is kept until it is approved"
    );
    stop.store(true, Ordering::Relaxed);
    assert_eq!(watching.await.expect("the watcher").1, 0, "without a gap");
    // whom the directory knows is known again: jane goes like anybody
    okta.remove(&group, &ids[0]).await;
    scene.until_may("jane", false).await;
    let (code, text) = scene
        .system
        .plugin(&["approve", "--yes", &format!("clusterrolemapping/{}", scene.mapping)]);
    assert_eq!(code, 0, "{text}");
    scene.until_may("kim", false).await;
    assert!(scene.may("leo").await);
}
