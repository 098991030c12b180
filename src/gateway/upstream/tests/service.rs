//! A real SCIM service as upstream: our own gateway, behind TLS, whose k-th answer may be spoilt.

use super::fake::{Fake, TOKEN, faults, pass, picture};
use super::*;
use crate::api::poll::{self, Paging};
use crate::gateway::upstream::poller::make;
use crate::gateway::upstream::scim::Scim;
use crate::gateway::{Gateway, Settings, router, tokens::Sources};

/// The service, and its administrator's view.
struct Service {
    admin: World,
    fake: Fake,
}

impl Service {
    async fn start(max_page: u64) -> Self {
        let admin = World::new().await;
        let settings = Settings {
            max_page,
            default_page: max_page,
            ..Settings::default()
        };
        let gateway = Arc::new(Gateway::new(settings, Sources::one(SOURCE, "uid-1", TOKEN)).unwrap());
        gateway.use_journal(Some(admin.journal.clone()));
        Self {
            admin,
            fake: Fake::start(router(gateway)).await,
        }
    }

    fn client(&self, spec: &poll::Scim) -> Scim {
        Scim::over(self.fake.http(&format!("/scim/v2/{SOURCE}")), spec)
    }

    /// People and teams: everybody is in the first one, some in others, and the last holds the others.
    async fn fill(&self, people: usize, teams: usize) {
        let mut users = Vec::new();
        for k in 0..people {
            let body = json!({"userName": format!("user{k}"), "externalId": format!("x{k}"), "displayName": format!("User {k}"), "active": k % 7 != 3});
            users.push(self.admin.push(Kind::User, body, &[]).await);
        }
        let mut groups = Vec::new();
        for k in 0..teams {
            let members: Vec<u32> = match k {
                0 => users.clone(),
                k if k + 1 == teams => groups.clone(),
                k => users.iter().copied().filter(|n| (*n as usize).is_multiple_of(k + 1)).collect(),
            };
            groups.push(
                self.admin
                    .push(Kind::Group, json!({"displayName": format!("team{k}")}), &members)
                    .await,
            );
        }
    }
}

fn specs() -> Vec<poll::Scim> {
    let spec = |paging, members| poll::Scim {
        paging,
        members,
        page_size: 7,
        ..poll::Scim::default()
    };
    vec![
        spec(Paging::Index, poll::Members::Listed),
        spec(Paging::Auto, poll::Members::Listed),
        spec(Paging::Cursor, poll::Members::PerGroup),
        spec(Paging::Index, poll::Members::ByUser),
    ]
}

#[tokio::test]
async fn what_a_service_has_is_here_after_a_pass() {
    let service = Service::start(10).await;
    service.fill(25, 4).await;
    for spec in specs() {
        let mut world = World::new().await;
        assert_eq!(pass(&mut world, &service.client(&spec)).await, Ok(()), "{spec:?}");
        let mut expected = picture(&service.admin);
        if spec.members == poll::Members::ByUser {
            // a user's `groups` has those too that hold a group of the user's
            expected.get_mut("team3").unwrap().1 = expected["team0"].1.clone();
        }
        assert_eq!(picture(&world), expected, "{spec:?}");
        let index = world.index();
        assert_eq!(pass(&mut world, &service.client(&spec)).await, Ok(()));
        assert_eq!(world.index(), index + 2, "{spec:?}: the second pass changes nothing");
    }
}

#[tokio::test]
async fn nothing_is_lost_by_any_fault_on_any_answer() {
    let service = Service::start(10).await;
    service.fill(17, 3).await;
    let (mut tried, mut failed) = (0, 0);
    for spec in specs() {
        let (more, bad) = faults(&service.fake, &service.client(&spec), &format!("{spec:?}")).await;
        (tried, failed) = (tried + more, failed + bad);
    }
    println!("SCIM: {tried} of {tried} faulty passes took nothing from anybody; {failed} of them did not come to a good end");
    assert!(failed > 0 && failed < tried);
}

#[tokio::test]
async fn who_leaves_upstream_leaves_here_and_only_who_does() {
    let service = Service::start(10).await;
    service.fill(23, 3).await;
    for spec in specs() {
        let scim = service.client(&spec);
        let mut world = World::new().await;
        assert_eq!(pass(&mut world, &scim).await, Ok(()));
        let leaver = service.admin.look(|source| source.users().nth(5).unwrap().clone());
        let member = service
            .admin
            .look(|source| source.members(source.groups_by_name("team0").next().unwrap()).max().unwrap());
        let group = service.admin.look(|source| source.groups_by_name("team0").next().unwrap());
        service
            .admin
            .append(vec![
                Event::Deleted {
                    source: SOURCE.to_owned(),
                    n: leaver.n,
                    request: "r".to_owned(),
                },
                Event::Changed {
                    source: SOURCE.to_owned(),
                    n: group,
                    merge: serde_json::Map::new(),
                    add: Vec::new(),
                    remove: vec![member],
                    request: "r".to_owned(),
                },
            ])
            .await;
        assert_eq!(pass(&mut world, &scim).await, Ok(()));
        assert!(!world.names(Kind::User).contains(&*leaver.name), "{spec:?}");
        let (here, there) = (world.members("team0"), service.admin.members("team0"));
        assert_eq!(here, there, "{spec:?}");
    }
}

#[tokio::test]
async fn a_list_that_moves_while_it_is_read_is_noticed() {
    // the first page is read, then somebody before it goes: what came after is one place further up
    let service = Service::start(10).await;
    service.fill(21, 1).await;
    let spec = poll::Scim {
        page_size: 7,
        paging: Paging::Index,
        ..poll::Scim::default()
    };
    let mut world = World::new().await;
    assert_eq!(pass(&mut world, &service.client(&spec)).await, Ok(()));
    let (sender, mut receiver) = crate::gateway::upstream::pages(1);
    let scim = service.client(&spec);
    let asks = tokio::spawn(async move { crate::gateway::upstream::Upstream::fetch(&scim, None, &sender).await });
    let mut intake = world.open(true).await;
    let mut first = true;
    while let Some(page) = receiver.recv().await {
        if std::mem::take(&mut first) {
            let n = service.admin.look(|source| source.users().next().unwrap().n);
            let event = Event::Deleted {
                source: SOURCE.to_owned(),
                n,
                request: "r".to_owned(),
            };
            service.admin.append(vec![event]).await;
        }
        intake.take(page).await.unwrap();
    }
    assert!(asks.await.unwrap().is_ok());
    world.end(intake).await;
    let lost: Vec<String> = service
        .admin
        .names(Kind::User)
        .difference(&world.names(Kind::User))
        .cloned()
        .collect();
    assert_eq!(lost, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_modified_is_asked_for_by_the_services_own_clock() {
    let service = Service::start(10).await;
    service.fill(12, 3).await;
    let spec = poll::Scim {
        page_size: 7,
        incremental: true,
        ..poll::Scim::default()
    };
    let scim = service.client(&spec);
    let mut world = World::new().await;
    let says = std::time::Duration::from_secs(20);
    let mut intake = world.open(true).await;
    let token = make(&scim, None, &mut intake, says).await.unwrap().expect("a token");
    assert_eq!(world.end(intake).await, None);
    let (user, group) = service
        .admin
        .look(|source| (source.users().next().unwrap().n, source.groups_by_name("team0").next().unwrap()));
    let changed = |n: u32, merge: Value, remove: Vec<u32>| Event::Changed {
        source: SOURCE.to_owned(),
        n,
        merge: merge.as_object().cloned().unwrap_or_default(),
        add: Vec::new(),
        remove,
        request: "r".to_owned(),
    };
    let events = vec![
        changed(user, json!({"active": false}), Vec::new()),
        changed(group, json!({}), vec![user]),
    ];
    service.admin.append(events).await;
    let mut intake = world.open(false).await;
    let next = make(&scim, Some(&token), &mut intake, says).await.unwrap();
    assert_eq!(world.end(intake).await, None);
    assert_eq!(picture(&world), picture(&service.admin));
    assert!(next.is_some_and(|next| next >= token));
    // of a service that nothing changed in for long, nothing comes
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let mut intake = world.open(false).await;
    make(&scim, Some(&later), &mut intake, says).await.unwrap();
    assert_eq!((intake.counts().users, intake.counts().groups), (0, 0));
    assert_eq!(world.end(intake).await, None);
    assert_eq!(picture(&world), picture(&service.admin), "and nobody is taken to be gone");
}
