use serde_json::json;

use super::world::{World, role_mapping, view_of_team_a};
use crate::access::expression::Expression;

fn world() -> World {
    World::new(role_mapping("team-a", "devs", view_of_team_a()))
}

fn names(world: &World) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in ["okta", "entra"] {
        let Some(directory) = world.directory.source(source) else {
            continue;
        };
        for user in directory.users() {
            if let Some(name) = world.usernames.effective(source, user.n) {
                found.push((format!("{source}/{}", user.n), name.to_string()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn of_several_users_that_yield_one_name_the_one_who_has_borne_it_longest_has_it() {
    let mut world = world();
    let first = world.user("okta", "ada");
    let second = world.user("entra", "ada");
    world.evaluate();
    assert_eq!(names(&world), [(format!("okta/{first}"), "oidc:ada".to_owned())]);
    assert_eq!((world.usernames.conflicts("okta"), world.usernames.conflicts("entra")), (0, 1));
    assert_eq!(
        world.usernames.holder("oidc:ada").map(|(s, n)| (s.to_string(), n)),
        Some(("okta".to_owned(), first))
    );
    assert_eq!(world.usernames.yielded("entra", second).map(|n| &**n), Some("oidc:ada"));

    // who has it is disabled: the next in line gets it, and gives it back
    world.change("okta", first, json!({"active": false}), &[], &[]);
    world.evaluate();
    assert_eq!(names(&world), [(format!("entra/{second}"), "oidc:ada".to_owned())]);
    assert_eq!(world.usernames.conflicts("entra"), 0);
    world.change("okta", first, json!({"active": true}), &[], &[]);
    world.evaluate();
    assert_eq!(names(&world), [(format!("okta/{first}"), "oidc:ada".to_owned())]);

    // renamed away and back: now the other has borne it longer
    world.change("okta", first, json!({"userName": "x"}), &[], &[]);
    world.change("okta", first, json!({"userName": "ada"}), &[], &[]);
    world.evaluate();
    assert_eq!(names(&world), [(format!("entra/{second}"), "oidc:ada".to_owned())]);
    assert_eq!(world.usernames.conflicts("okta"), 1);

    // an attribute that the expression does not read gives nobody away
    world.change("entra", second, json!({"title": "Countess"}), &[], &[]);
    world.evaluate();
    assert_eq!(names(&world), [(format!("entra/{second}"), "oidc:ada".to_owned())]);
}

#[test]
fn a_change_names_everybody_whom_it_concerns() {
    let mut world = world();
    let first = world.user("okta", "ada");
    let second = world.user("entra", "ada");
    world.evaluate();
    world.delete("okta", first);
    let expression = world.expressions["okta"].clone();
    let changed = world.usernames.update(&world.directory, "okta", &expression, Some(&[first]));
    let mut changed: Vec<(String, u32)> = changed.into_iter().map(|(s, n)| (s.to_string(), n)).collect();
    changed.sort();
    assert_eq!(changed, [("entra".to_owned(), second), ("okta".to_owned(), first)]);
    assert_eq!(
        world.usernames.update(&world.directory, "okta", &expression, Some(&[first])),
        Vec::new()
    );
}

#[test]
fn another_expression_and_the_end_of_a_source() {
    let mut world = world();
    let ada = world.user("okta", "ada");
    let other = world.user("entra", "ada");
    world.evaluate();
    let expression = Expression::compile("'corp/' + user.userName").expect("compiles");
    let changed = world.usernames.update(&world.directory, "okta", &expression, None);
    assert_eq!(changed.len(), 2, "ada has another name, and the other one gets hers");
    assert_eq!(
        names(&world),
        [
            (format!("entra/{other}"), "oidc:ada".to_owned()),
            (format!("okta/{ada}"), "corp/ada".to_owned())
        ]
    );
    assert_eq!(world.usernames.forget("okta").len(), 1);
    assert_eq!(names(&world).len(), 1);
    assert_eq!(world.usernames.forget("okta").len(), 0);
}

#[test]
fn who_yields_no_username_is_counted_with_the_reason() {
    let mut world = world();
    let ada = world.user("okta", "ada");
    world.user("okta", "bob");
    world
        .expressions
        .insert("okta".to_owned(), Expression::compile("user.nickName").expect("compiles"));
    world.evaluate();
    assert_eq!((world.usernames.nameless("okta"), names(&world).len()), (2, 0));
    assert_eq!(
        world.usernames.reasons("okta").iter().map(|r| &**r).collect::<Vec<_>>(),
        ["no such attribute: nickName"]
    );
    world.change("okta", ada, json!({"nickName": "a"}), &[], &[]);
    world.evaluate();
    assert_eq!((world.usernames.nameless("okta"), names(&world).len()), (1, 1));
    world.change("okta", ada, json!({"active": false}), &[], &[]);
    world.evaluate();
    assert_eq!((world.usernames.nameless("okta"), names(&world).len()), (1, 0));
}
