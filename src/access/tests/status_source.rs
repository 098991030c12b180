use super::status::{leak, now, shown, world};
use super::world::World;
use crate::access::ledger::Tally;
use crate::access::policy::Refusal;
use crate::access::status::{Loss, SourceReport, source_status};
use crate::api::push::{Push, Token};
use crate::api::source::{JournalRef, ScimSourceStatus};
use crate::directory::{Event, FailingToken, Source};

pub fn source(world: &World, old: &ScimSourceStatus, change: impl FnOnce(&mut SourceReport<'_>)) -> ScimSourceStatus {
    let journal = JournalRef {
        id: "j1".to_owned(),
        uid: "u1".to_owned(),
        index: 7,
        head: "h7".to_owned(),
    };
    let tokens = ["old", "new"].map(|name| Token {
        name: name.to_owned(),
        ..Token::default()
    });
    let push = Push {
        tokens: tokens.into(),
        jwt: None,
    };
    let mut report = SourceReport {
        name: "okta",
        generation: 4,
        suspend: false,
        invalid: None,
        push: Some(&push),
        poll: None,
        source: world.directory.source("okta"),
        conflicts: 0,
        nameless: 0,
        reasons: &[],
        waiting: Tally::default(),
        requested: Some("2026-11-26T10:00:00Z"),
        mass: None,
        url: "https://scim.example/scim/v2/okta",
        unmanaged: None,
        loss: None,
        unproved: None,
        journal: Some(&journal),
    };
    change(&mut report);
    source_status(&report, old, &now())
}

#[test]
fn tokens_that_cannot_be_used() {
    let failing = |name: &str| FailingToken {
        name: name.to_owned(),
        why: format!("no Secret \"{name}\""),
    };
    let check = |tokens: &[&str], expected: &[&str], says: &str| {
        let mut world = world();
        world.event(Event::TokensSeen {
            source: "okta".to_owned(),
            failing: tokens.iter().map(|name| failing(name)).collect(),
        });
        let status = source(&world, &ScimSourceStatus::default(), |_| {});
        assert_eq!(shown(&status.conditions), expected, "{tokens:?}");
        assert!(
            status.conditions.iter().any(|c| c.message.contains(says)),
            "{:?}",
            status.conditions
        );
        assert_eq!(
            status.last_event_time.as_deref(),
            Some("2023-11-14T22:13:00Z"),
            "the provider said nothing"
        );
    };
    check(&[], &["Ready=True/Succeeded"], "3 users");
    check(
        &["old"],
        &["Ready=True/Succeeded", "Degraded=True/TokenUnusable"],
        "old: no Secret \"old\"",
    );
    check(
        &["old", "new"],
        &["Ready=False/NoUsableToken", "Reconciling=True/ProgressingWithRetry"],
        "old: no Secret \"old\"; new: no Secret \"new\"; what was granted stays",
    );
}

#[test]
fn a_source() {
    let world = world();
    let old = ScimSourceStatus::default();
    let status = source(&world, &old, |_| {});
    assert_eq!(shown(&status.conditions), ["Ready=True/Succeeded"]);
    assert_eq!((status.users, status.active_users, status.groups), (3, 3, 2));
    assert_eq!(status.summary, "3 users, 3 active, 2 groups");
    assert_eq!(
        status.largest_groups.iter().map(|g| g.display_name.as_str()).collect::<Vec<_>>(),
        ["devs", "ops"]
    );
    assert_eq!(status.last_event_time.as_deref(), Some("2023-11-14T22:13:00Z"), "to the minute");
    assert!(
        !serde_json::to_string(&status).expect("JSON").contains("person"),
        "no person's data"
    );

    let unseen = source(&world, &old, |r| r.source = None);
    assert_eq!(
        shown(&unseen.conditions),
        ["Ready=Unknown/Progressing", "Reconciling=True/Progressing"]
    );
    let empty = source(&world, &old, |r| r.source = Some(Source::empty()));
    assert_eq!(shown(&empty.conditions), ["Ready=True/Succeeded"]);
    assert!(empty.summary.contains("https://scim.example/scim/v2/okta"), "{}", empty.summary);

    let invalid = Refusal::new("InvalidExpression", "1:3: what is wrong");
    let status = source(&world, &old, |r| r.invalid = Some(leak(invalid)));
    assert_eq!(
        shown(&status.conditions),
        ["Ready=False/InvalidExpression", "Stalled=True/InvalidExpression"]
    );
    let status = source(&world, &old, |r| r.unproved = Some("timeout"));
    assert_eq!(
        shown(&status.conditions),
        ["Ready=False/DirectoryUnproved", "Reconciling=True/ProgressingWithRetry"]
    );
    let status = source(&world, &old, |r| {
        r.conflicts = 1;
        r.nameless = 2;
        r.reasons = leak(["no such attribute: nickName".into()]);
        r.suspend = true;
    });
    assert_eq!(
        shown(&status.conditions),
        [
            "Ready=True/Suspended",
            "UsernameConflict=True/SameUsername",
            "Degraded=True/NoUsername"
        ]
    );
    assert_eq!(status.mode, "Suspended");
}

#[test]
fn a_lost_journal_leaves_the_last_known_numbers_and_the_reference() {
    let world = world();
    let before = source(&world, &ScimSourceStatus::default(), |_| {});
    for (rolled_back, kind) in [(false, "JournalLost"), (true, "JournalRolledBack")] {
        let loss = Loss {
            rolled_back,
            message: "the Journal directory is gone; restore it".to_owned(),
            token: "directory-1".to_owned(),
            advice: "or accept it".to_owned(),
        };
        let after = source(&world, &before, |r| {
            r.loss = Some(leak(loss));
            r.source = None;
            r.journal = Some(leak(JournalRef::default()));
        });
        assert_eq!(
            shown(&after.conditions),
            [
                format!("Ready=False/{kind}"),
                format!("Stalled=True/{kind}"),
                format!("{kind}=True/{kind}")
            ]
        );
        assert_eq!((after.users, after.journal.clone()), (3, before.journal.clone()));
    }
}

#[test]
fn the_hundred_largest_groups() {
    let mut world = world();
    let users: Vec<u32> = (0..130).map(|i| world.user("okta", &format!("m{i}"))).collect();
    for i in 0..130 {
        world.group("okta", &format!("n{i}"), &users[..i]);
    }
    let groups = source(&world, &ScimSourceStatus::default(), |_| {}).largest_groups;
    assert_eq!(groups.len(), 100);
    assert!(groups.is_sorted_by(|a, b| a.members >= b.members));
    assert_eq!((groups[0].members, groups[99].members), (129, 30));
}
