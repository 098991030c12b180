use serde_json::{Value, json};

use super::world::{World, cluster_role_mapping, key_of, role_mapping};
use crate::access::gate::{Circumstances, Hold};
use crate::access::members::MemberFilter;
use crate::access::targets::usable_sources;
use crate::access::why::Cause;
use crate::api::mapping::Members;
use crate::api::source::ScimSourceSpec;

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";

fn spec(filter: &str) -> Value {
    json!({"sources": ["okta"], "groups": {"names": ["devs"]}, "members": {"filter": filter},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]})
}

fn cause(world: &World, user: &str) -> Option<Cause> {
    let plan = world.plan(&key_of(&world.mapping, "view", "team-a"));
    let name = format!("oidc:{user}");
    plan.removals.into_iter().find(|r| r.subject.name == name).map(|r| r.why.cause)
}

#[test]
fn of_a_group_those_whom_the_filter_selects_and_as_soon_as_it_does() {
    let filter = format!(
        "{DEPARTMENT} ne \"Contractors\" and (userType eq \"employee\" or emails[type eq \"work\" and value ew \"@corp.example\"])"
    );
    let mut world = World::new(role_mapping("team-a", "devs", spec(&filter)));
    let [ada, bob, cy, dee] = ["ada", "bob", "cy", "dee"].map(|name| world.user("okta", name));
    let inner = world.group("okta", "inner", &[dee]);
    world.group("okta", "devs", &[ada, bob, cy, inner]);
    let department = |name: &str| json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": name}});
    let with = |mut value: Value, more: Value| {
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    world.change("okta", ada, with(department("Research"), json!({"userType": "Employee"})), &[], &[]);
    // a work address of another place, and another address of this one: no element is both
    let mails = json!({"emails": [{"type": "work", "value": "bob@else.example"}, {"type": "home", "value": "bob@corp.example"}]});
    world.change("okta", bob, with(department("Research"), mails), &[], &[]);
    world.change("okta", cy, json!({"userType": "Employee"}), &[], &[]); // no department: `ne` is false
    world.change(
        "okta",
        dee,
        with(department("contractors"), json!({"userType": "Employee"})),
        &[],
        &[],
    );
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);

    world.change(
        "okta",
        bob,
        json!({"emails": [{"type": "work", "value": "bob@corp.example"}]}),
        &[],
        &[],
    );
    world.change("okta", dee, department("Research"), &[], &[]);
    world.change("okta", ada, json!({"userType": null}), &[], &[]);
    let at = world.index;
    world.evaluate();
    assert!(matches!(cause(&world, "ada"), Some(Cause::NotSelected(event)) if event.index == at));
    world.settle();
    assert_eq!(world.short(), ["team-a/view:bob", "team-a/view:dee"]);
    assert_eq!(world.recorded(), world.access());
}

#[test]
fn who_is_disabled_goes_and_who_is_not_selected_waits_when_something_holds() {
    let mut world = World::new(role_mapping("team-a", "devs", spec("title eq \"Dev\"")));
    let [ada, bob, cy] = ["ada", "bob", "cy"].map(|name| world.user("okta", name));
    world.group("okta", "devs", &[ada, bob, cy]);
    for user in [ada, bob] {
        world.change("okta", user, json!({"title": "Dev"}), &[], &[]);
    }
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    world.circumstances.holds.insert(Hold::Planned);
    world.change("okta", ada, json!({"title": "Ops"}), &[], &[]);
    world.change("okta", cy, json!({"title": "Dev"}), &[], &[]);
    world.change("okta", bob, json!({"active": false}), &[], &[]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);
    let gated = world.gated(&key_of(&world.mapping, "view", "team-a"));
    assert_eq!((gated.held_adds.len(), gated.held_removals.len()), (1, 1));
    world.circumstances = Circumstances::default();
    world.settle();
    assert_eq!(world.short(), ["team-a/view:cy"]);
}

#[test]
fn what_no_filter_may_read() {
    for (filter, says) in [
        ("groups eq \"x\"", "not by groups"),
        ("groups[value eq \"x\"]", "not by groups"),
        ("meta.created gt \"2026-01-01T00:00:00Z\"", "not by meta"),
        ("id eq \"x\"", "not by id"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:id eq \"x\"", "not by"),
        ("schemas co \"x\"", "not by schemas"),
        ("active eq true", "not by active"),
        ("urn:x:2.0:User:end gt \"2026-01-01T00:00:00Z\"", "has no order"),
        ("not (title pr and urn:x:2.0:User:keys[at le 5])", "has no order"),
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr",
            "no attribute of a user",
        ),
        ("members eq \"x\"", "members"),
        ("userType eq Employee", "double quotes"),
        ("userType eq", "spec.members.filter"),
        ("", "spec.members.filter"),
    ] {
        let refusal = MemberFilter::of(Some(&Members { filter: filter.to_owned() })).unwrap_err();
        assert_eq!(refusal.reason, "InvalidFilter", "{filter}");
        assert!(refusal.message.contains(says), "{filter}: {}", refusal.message);
    }
    assert_eq!(MemberFilter::of(None), Ok(None));
}

#[test]
fn a_namespace_filters_by_what_the_source_lets_it() {
    let mapping = |filter: &str| role_mapping("team-a", "devs", spec(filter));
    let check = |filter: &str, mappable: &[&str], good: bool| {
        let source = ScimSourceSpec {
            allowed_namespaces: Some(serde_json::from_value(json!({"selector": {}})).unwrap()),
            mappable_attributes: mappable.iter().map(|path| (*path).to_owned()).collect(),
            ..ScimSourceSpec::default()
        };
        let world = World::new(mapping(filter));
        let (usable, refusals) = usable_sources(&world.mapping, &world.namespaces, |_| Some(&source));
        assert_eq!(
            (usable.len(), refusals.len()),
            (usize::from(good), usize::from(!good)),
            "{filter} by {mappable:?}"
        );
        assert!(
            refusals
                .iter()
                .all(|r| r.reason == "AttributeNotMappable" && r.message.contains("mappableAttributes"))
        );
        let cluster = cluster_role_mapping("devs", {
            let mut spec = spec(filter);
            spec["grants"][0]["namespaces"] = json!({"names": ["team-a"]});
            spec
        });
        assert_eq!(
            usable_sources(&cluster, &world.namespaces, |_| Some(&source)).0.len(),
            1,
            "a ClusterRoleMapping may"
        );
    };
    check("userType eq \"x\"", &["userType"], true);
    check("USERTYPE eq \"x\"", &["urn:ietf:params:scim:schemas:core:2.0:User:usertype"], true);
    check("userType eq \"x\"", &[], false);
    check("userType eq \"x\" and title pr", &["userType"], false);
    check("not (title pr) or userType pr", &["userType"], false);
    check("department eq \"x\"", &[DEPARTMENT], true);
    check(&format!("{DEPARTMENT} eq \"x\""), &["department"], true);
    check("department eq \"x\"", &["urn:example:2.0:User:department"], false);
    check("name.familyName eq \"x\"", &["name"], true);
    check("name.familyName eq \"x\"", &["name.familyName"], true);
    check("name.givenName eq \"x\"", &["name.familyName"], false);
    check("emails[type eq \"work\"]", &["emails.type"], false);
    check("emails[type eq \"work\"]", &["emails"], true);
    check("urn:example:2.0:X:badge pr", &["urn:example:2.0:X:badge"], true);
    check("urn:example:2.0:X:badge pr", &["urn:example:2"], false);
    // what is no attribute opens none of another schema
    check(
        "title pr",
        &["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:title"],
        false,
    );
    check(
        "displayName pr",
        &["urn:ietf:params:scim:schemas:core:2.0:Group:displayName"],
        false,
    );
    check("title pr", &["urn:ietf:params:scim:schemas:core:2.0:User", "", "title.x.y"], false);
}

#[test]
fn a_mapping_ends_at_its_time() {
    let mut object = spec("userName pr");
    object["notAfter"] = json!("2026-12-01T10:00:00Z");
    let at = |time: &str| role_mapping("team-a", "devs", object.clone()).at(time.parse().unwrap());
    assert!(!at("2026-12-01T09:59:59.999Z").expired);
    let mut world = World::new(at("2026-11-26T00:00:00Z"));
    let [ada, bob] = ["ada", "bob"].map(|name| world.user("okta", name));
    let devs = world.group("okta", "devs", &[ada, bob]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    world.mapping = at("2026-12-01T10:00:00Z");
    assert!(world.mapping.expired);
    world.evaluate();
    assert_eq!(cause(&world, "ada"), Some(Cause::Expired));
    // that the time is over is known also when the source cannot be read
    world.sources.insert("okta".into(), crate::access::desired::SourceState::Frozen);
    assert_eq!(cause(&world, "ada"), Some(Cause::Expired));
    world.sources.insert("okta".into(), crate::access::desired::SourceState::Live);
    // an admin who suspended it keeps what is there, but not for whom the provider disables
    world.circumstances.holds.insert(Hold::MappingSuspended);
    world.change("okta", bob, json!({"active": false}), &[], &[]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);
    world.circumstances = Circumstances::default();
    world.run();
    assert_eq!(world.short(), Vec::<String>::new());
    let cy = world.user("okta", "cy");
    world.change("okta", devs, json!({}), &[cy], &[]);
    assert_eq!(world.run(), [], "nothing more is granted");
    // the admin gives it more time
    object["notAfter"] = json!("2027-01-01T00:00:00Z");
    world.mapping = role_mapping("team-a", "devs", object.clone()).at("2026-12-01T10:00:00Z".parse().unwrap());
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:cy"]);
    object["notAfter"] = json!("tomorrow");
    let wrong: crate::api::RoleMapping = serde_json::from_value(json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "RoleMapping",
        "metadata": {"namespace": "a", "name": "b"}, "spec": object}))
    .unwrap();
    let refusal = crate::access::mapping::Mapping::of_role_mapping(&wrong).unwrap_err();
    assert!(refusal.message.contains("spec.notAfter"), "{refusal}");
}
