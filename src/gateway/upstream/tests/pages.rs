//! What each page does to the directory, and what the end of a list does.

use super::*;

fn people(names: &[&str]) -> Page {
    Page::Users(names.iter().map(|name| user(&format!("u-{name}"), name)).collect())
}

fn simple(names: &[&str], proof: Proof) -> Vec<Page> {
    vec![
        people(names),
        Page::UsersEnd(proof.clone()),
        Page::Groups(vec![group("g-1", "eng")]),
        Page::Members(vec![whole(
            "g-1",
            &names
                .iter()
                .map(|n| format!("u-{n}"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            true,
        )]),
        Page::GroupsEnd(proof),
    ]
}

#[tokio::test]
async fn a_pass_over_what_is_the_same_changes_nothing() {
    let mut world = World::new().await;
    assert_eq!(world.pass(simple(&["ada", "bob"], Proof::Complete)).await, None);
    assert_eq!(
        (world.names(Kind::User), world.members("eng")),
        (set(&["ada", "bob"]), set(&["ada", "bob"]))
    );
    let (before, index) = (world.ids(Kind::User), world.index());
    assert_eq!(world.pass(simple(&["ada", "bob"], Proof::Complete)).await, None);
    assert_eq!(world.ids(Kind::User), before);
    assert_eq!(world.index(), index + 2, "that it was opened, and that it ended");
    let counts = world.look(|source| source.poll().pass.as_ref().unwrap().counts);
    assert_eq!((counts.users, counts.groups, counts.pages), (2, 1, 5));
}

#[tokio::test]
async fn every_event_names_its_pass() {
    let mut world = World::new().await;
    world.pass(simple(&["ada"], Proof::Complete)).await;
    let request = world.look(|source| source.users().next().unwrap().request.to_string());
    assert_eq!(request, "poll/1");
}

#[tokio::test]
async fn from_push_to_poll_everybody_keeps_the_id() {
    let mut world = World::new().await;
    let ada = world
        .push(
            Kind::User,
            json!({"userName": "Ada", "externalId": "u-ada", "title": "Countess"}),
            &[],
        )
        .await;
    let bob = world
        .push(Kind::User, json!({"userName": "bob", "externalId": "of-the-push"}), &[])
        .await;
    world.push(Kind::User, json!({"userName": "leaver"}), &[]).await;
    world.push(Kind::Group, json!({"displayName": "eng"}), &[ada, bob]).await;
    let (people, groups) = (world.ids(Kind::User), world.ids(Kind::Group));
    assert!(world.look(|source| source.poll().pushed));
    assert_eq!(world.pass(simple(&["ada", "bob"], Proof::Complete)).await, None);
    let now = world.ids(Kind::User);
    assert_eq!(
        (now["ada"], now["bob"]),
        (people["Ada"], people["bob"]),
        "by externalId, and by name"
    );
    assert_eq!(world.ids(Kind::Group), groups);
    assert_eq!(
        (world.names(Kind::User), world.members("eng")),
        (set(&["ada", "bob"]), set(&["ada", "bob"]))
    );
    assert!(world.look(|source| !source.poll().pushed && source.is_missed(2)));
    // and what the directory does not send stays no longer
    assert!(world.look(|source| source.get(0).unwrap().attributes.get("title").is_none()));
}

#[tokio::test]
async fn a_name_that_comes_back_with_another_id_is_somebody_else() {
    let mut world = World::new().await;
    world.pass(simple(&["ada"], Proof::Complete)).await;
    let before = world.ids(Kind::User);
    let next = vec![
        Page::Users(vec![user("u-2", "ada")]),
        Page::UsersEnd(Proof::Complete),
        Page::Groups(vec![group("g-1", "eng")]),
        Page::GroupsEnd(Proof::Complete),
    ];
    world.pass(next).await;
    assert_ne!(world.ids(Kind::User), before);
    assert_eq!((world.names(Kind::User), world.members("eng")), (set(&["ada"]), set(&[])));
}

#[tokio::test]
async fn who_is_renamed_stays_who_it_is() {
    let mut world = World::new().await;
    world.pass(simple(&["ada", "bob"], Proof::Complete)).await;
    let before = world.ids(Kind::User);
    // each takes the other's name
    let mut pages = simple(&["ada", "bob"], Proof::Complete);
    pages[0] = Page::Users(vec![user("u-ada", "bob"), user("u-bob", "ada")]);
    world.pass(pages).await;
    let now = world.ids(Kind::User);
    assert_eq!((now["bob"], now["ada"]), (before["ada"], before["bob"]));
}

#[tokio::test]
async fn who_is_missing_is_gone_only_if_the_list_shows_it() {
    for (proof, after) in [
        (Proof::Complete, [true, true]),
        (Proof::Ended, [false, true]),
        (Proof::Broken("short".to_owned()), [false, false]),
    ] {
        let mut world = World::new().await;
        world.pass(simple(&["ada", "bob", "eve"], Proof::Complete)).await;
        for gone in after {
            let mut pages = simple(&["ada", "bob"], proof.clone());
            // nobody says that eve is not in the group any more
            pages.remove(3);
            let wrong = world.pass(pages).await;
            assert_eq!(wrong.is_some(), matches!(proof, Proof::Broken(_)), "{proof:?}");
            assert_eq!(!world.names(Kind::User).contains("eve"), gone, "{proof:?}");
            assert_eq!(!world.members("eng").contains("eve"), gone, "{proof:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_list_proves_nothing_at_first() {
    let mut world = World::new().await;
    world.pass(simple(&["ada", "bob"], Proof::Complete)).await;
    let empty = || {
        vec![
            Page::Users(Vec::new()),
            Page::UsersEnd(Proof::Complete),
            Page::GroupsEnd(Proof::Complete),
        ]
    };
    world.pass(empty()).await;
    assert_eq!(
        (world.names(Kind::User), world.members("eng")),
        (set(&["ada", "bob"]), set(&["ada", "bob"]))
    );
    world.pass(empty()).await;
    assert_eq!((world.names(Kind::User), world.names(Kind::Group)), (set(&[]), set(&[])));
}

#[tokio::test]
async fn who_comes_back_in_between_was_not_missed_twice() {
    let mut world = World::new().await;
    for names in [["ada", "bob"].as_slice(), &["ada"], &["ada", "bob"], &["ada"]] {
        world.pass(simple(names, Proof::Ended)).await;
    }
    assert_eq!(world.names(Kind::User), set(&["ada", "bob"]));
}

#[tokio::test]
async fn who_cannot_be_read_is_not_gone() {
    let mut world = World::new().await;
    world.pass(simple(&["ada", "bob"], Proof::Complete)).await;
    let mut pages = simple(&["ada", "bob"], Proof::Complete);
    let wrong = Entry {
        key: "u-bob".to_owned(),
        body: json!({"id": "u-bob", "userName": 17}),
    };
    pages[0] = Page::Users(vec![user("u-ada", "ada"), wrong]);
    let said = world.pass(pages).await.unwrap();
    assert_eq!(said, "users: 1 could not be read, and the gateway's log says why");
    assert_eq!(
        (world.names(Kind::User), world.members("eng")),
        (set(&["ada", "bob"]), set(&["ada", "bob"]))
    );
}

#[tokio::test]
async fn who_is_disabled_is_disabled_whatever_the_list_lacks() {
    let mut world = World::new().await;
    world.pass(simple(&["ada", "bob"], Proof::Complete)).await;
    let disabled = Entry {
        key: "u-ada".to_owned(),
        body: json!({"id": "u-ada", "userName": "ada", "active": false}),
    };
    let mut intake = world.open(true).await;
    intake.take(Page::Users(vec![disabled])).await.unwrap();
    assert_eq!(world.look(|source| source.active_count()), 1, "at once, in the middle of the pass");
    drop(intake);
    assert_eq!(world.names(Kind::User), set(&["ada", "bob"]));
}

#[tokio::test]
async fn members_leave_when_their_list_shows_it() {
    let lists = |keys: &[&str], proven, users: Proof| {
        vec![
            people(&["ada", "bob"]),
            Page::UsersEnd(users),
            Page::Groups(vec![group("g-1", "eng"), group("g-2", "ops")]),
            Page::Members(vec![whole("g-1", keys, proven), whole("g-2", &["u-bob"], true)]),
            Page::GroupsEnd(Proof::Complete),
        ]
    };
    let both = ["u-ada", "u-bob"];
    // (list, proven, users' proof, after one pass, after two)
    for (keys, proven, users, once, twice) in [
        (["u-ada"].as_slice(), true, Proof::Complete, ["ada"].as_slice(), ["ada"].as_slice()),
        (&["u-ada"], false, Proof::Complete, &["ada", "bob"], &["ada"]),
        (&[], false, Proof::Complete, &["ada", "bob"], &[]),
        (&[], true, Proof::Complete, &[], &[]),
        // whom nobody knows: a contact, a device, or one whom the list of users lacks
        (&["u-ada", "u-eve"], true, Proof::Complete, &["ada"], &["ada"]),
        (&["u-ada", "u-eve"], true, Proof::Ended, &["ada", "bob"], &["ada"]),
        (
            &["u-ada", "u-eve"],
            true,
            Proof::Broken("short".to_owned()),
            &["ada", "bob"],
            &["ada", "bob"],
        ),
        (&["u-ada"], true, Proof::Broken("short".to_owned()), &["ada"], &["ada"]),
        (&["g-2", "u-ada"], true, Proof::Complete, &["ada", "ops"], &["ada", "ops"]),
    ] {
        let mut world = World::new().await;
        world.pass(lists(&both, true, Proof::Complete)).await;
        assert_eq!(world.members("eng"), set(&["ada", "bob"]));
        for expected in [once, twice] {
            world.pass(lists(keys, proven, users.clone())).await;
            assert_eq!(world.members("eng"), set(expected), "{keys:?} {proven} {users:?}");
            assert_eq!(world.members("ops"), set(&["bob"]));
        }
    }
}

#[tokio::test]
async fn nested_groups_are_members_although_they_come_later() {
    let pages = || {
        vec![
            people(&["ada"]),
            Page::UsersEnd(Proof::Complete),
            Page::Groups(vec![group("g-1", "all")]),
            Page::Members(vec![whole("g-1", &["g-2", "u-ada"], true)]),
            Page::Groups(vec![group("g-2", "eng")]),
            Page::Members(vec![whole("g-2", &["u-ada"], true)]),
            Page::GroupsEnd(Proof::Complete),
        ]
    };
    let mut world = World::new().await;
    world.pass(pages()).await;
    assert_eq!(world.members("all"), set(&["ada", "eng"]));
    let index = world.index();
    world.pass(pages()).await;
    assert_eq!(world.index(), index + 2, "no member left to come again");
}

#[tokio::test]
async fn what_changed_takes_nobody_away_who_is_not_named() {
    let mut world = World::new().await;
    world.pass(simple(&["ada", "bob", "eve"], Proof::Complete)).await;
    let mut intake = world.open(false).await;
    let said = Said::Changed {
        add: vec!["u-new".to_owned()],
        remove: vec!["u-bob".to_owned()],
    };
    let group = "g-1".to_owned();
    for page in [
        Page::Users(vec![user("u-new", "new")]),
        Page::Gone(Kind::User, "u-eve".to_owned()),
        Page::UsersEnd(Proof::Complete),
        Page::Members(vec![Members { group, said }]),
        Page::GroupsEnd(Proof::Complete),
    ] {
        intake.take(page).await.unwrap();
    }
    assert_eq!(world.end(intake).await, None);
    assert_eq!(world.names(Kind::User), set(&["ada", "bob", "new"]));
    assert_eq!(world.members("eng"), set(&["ada", "new"]));
    assert!(world.look(|source| !source.is_missed(2)), "the provider said that eve is gone");
}

#[tokio::test]
async fn of_a_superseded_pass_nothing_is_written_any_more() {
    let mut world = World::new().await;
    world.pass(simple(&["ada", "bob"], Proof::Complete)).await;
    let mut old = world.open(true).await;
    old.take(people(&["ada"])).await.unwrap();
    let mut new = world.open(true).await;
    let index = world.index();
    let late = [
        people(&["mallory"]),
        Page::UsersEnd(Proof::Complete),
        Page::Gone(Kind::User, "u-ada".to_owned()),
        Page::Groups(vec![group("g-9", "late")]),
    ];
    for page in late {
        assert_eq!(old.take(page).await, Err(Failure::superseded()));
    }
    assert_eq!(old.say().await, Err(Failure::superseded()));
    assert_eq!((world.index(), world.names(Kind::User)), (index, set(&["ada", "bob"])));
    for page in simple(&["ada"], Proof::Complete) {
        new.take(page).await.unwrap();
    }
    assert_eq!(world.end(new).await, None);
    assert_eq!(world.names(Kind::User), set(&["ada"]));
}

#[tokio::test]
async fn of_one_who_comes_twice_the_last_word_counts() {
    let mut world = World::new().await;
    let left = Entry {
        key: "u-ada".to_owned(),
        body: json!({"id": "u-ada", "userName": "ada", "active": false}),
    };
    let mut pages = simple(&["ada", "bob"], Proof::Ended);
    pages.insert(1, Page::Users(vec![left.clone()]));
    assert_eq!(world.pass(pages).await, None);
    let active = |world: &World| world.look(|source| source.active().len());
    assert_eq!((world.names(Kind::User), active(&world)), (set(&["ada", "bob"]), 1), "in two pages");
    let counts = world.look(|source| source.poll().pass.as_ref().unwrap().counts);
    assert_eq!((counts.users, counts.groups), (2, 1));
    let twice = vec![
        Page::Users(vec![left, user("u-bob", "bob"), user("u-ada", "ada")]),
        Page::UsersEnd(Proof::Ended),
        Page::GroupsEnd(Proof::Ended),
    ];
    assert_eq!(world.pass(twice).await, None);
    assert_eq!((world.names(Kind::User), active(&world)), (set(&["ada", "bob"]), 2), "in one page");
}
