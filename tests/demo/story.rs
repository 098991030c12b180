//! What happens in the demo, as data: which requests of a provider make a scene, and who may do what after it. Nothing is sent from here.

use serde_json::{Value, json};

use crate::replay::Step;

/// One question to the API server: may this user do that there?
#[derive(Clone, Copy)]
pub struct Column {
    pub head: &'static str,
    pub verb: &'static str,
    pub namespace: &'static str,
    pub user: &'static str,
}

/// Some requests, and the answer to every question afterwards.
pub struct Scene {
    pub says: &'static str,
    pub part: Part,
    pub then: &'static [bool],
}

/// Which requests.
pub enum Part {
    /// Those of the file, up to the one of this name.
    UpTo(&'static str),
    /// One that the file lacks, in the same shape.
    Own(fn() -> Value),
}

/// A provider's story.
pub struct Story {
    pub name: &'static str,
    pub title: &'static str,
    pub columns: &'static [Column],
    pub scenes: Vec<Scene>,
}

use Part::{Own, UpTo};

const YES: bool = true;
const NO: bool = false;

fn scene(says: &'static str, part: Part, then: &'static [bool]) -> Scene {
    Scene { says, part, then }
}

/// Okta, whose group is mapped by name into one namespace.
pub fn okta() -> Story {
    Story {
        name: "okta",
        title: "Okta: its group Backend, by name, may view the namespace backend",
        columns: &[
            Column {
                head: "ada",
                verb: "list",
                namespace: "backend",
                user: "oidc:ada.okta@example.com",
            },
            Column {
                head: "grace",
                verb: "list",
                namespace: "backend",
                user: "oidc:grace.okta@example.com",
            },
            Column {
                head: "ada.king",
                verb: "list",
                namespace: "backend",
                user: "oidc:ada.king@example.com",
            },
        ],
        scenes: vec![
            scene("test probe; looks a user up", UpTo("lookup of an unknown user"), &[NO, NO, NO]),
            scene("creates ada and grace", UpTo("create a second user"), &[NO, NO, NO]),
            scene(
                "a duplicate is refused; updates; empty group",
                UpTo("rename sent with every membership change"),
                &[NO, NO, NO],
            ),
            scene("adds both to Backend", UpTo("membership: add two"), &[YES, YES, NO]),
            scene("removes grace", UpTo("membership: one out, one again in"), &[YES, NO, NO]),
            scene("pushes the whole group: both", UpTo("full push"), &[YES, YES, NO]),
            scene("changes ada's department", Own(okta_department), &[YES, YES, NO]),
            scene("changes ada's userName to ada.king", Own(okta_user_name), &[NO, YES, YES]),
            scene("and back", Own(okta_user_name_back), &[YES, YES, NO]),
            scene("renames the group to Platform", Own(okta_group_renamed), &[NO, NO, NO]),
            scene("and back", Own(okta_group_renamed_back), &[YES, YES, NO]),
            scene("pushes the whole group: ada", UpTo("full push without a path"), &[YES, NO, NO]),
            scene("pushes it empty", UpTo("empty push"), &[NO, NO, NO]),
            scene("replaces the group by PUT: both", UpTo("group by PUT"), &[YES, YES, NO]),
            scene(
                "deactivates grace (PATCH without a path)",
                UpTo("deactivate without a path"),
                &[YES, NO, NO],
            ),
            scene("password sync; reactivates grace (PUT)", UpTo("reactivate by PUT"), &[YES, YES, NO]),
            scene("deactivates ada (PUT)", UpTo("deactivate by PUT"), &[NO, YES, NO]),
            scene("unlinks the group (DELETE)", UpTo("unlink the group"), &[NO, NO, NO]),
            scene("asks for it: gone", UpTo("the group is gone"), &[NO, NO, NO]),
            scene("pushes it anew, with grace in it", Own(okta_group_anew), &[NO, YES, NO]),
        ],
    }
}

/// Entra, whose groups are mapped by its own id, and by a filter, into namespaces by label and by name.
pub fn entra() -> Story {
    Story {
        name: "entra",
        title: "Entra ID: its group, by id, may edit where team=payments; by a filter, view payments-audit",
        columns: &[
            Column {
                head: "joy edit",
                verb: "delete",
                namespace: "payments",
                user: "entra:jyoung@contoso.example",
            },
            Column {
                head: "joy audit",
                verb: "list",
                namespace: "payments-audit",
                user: "entra:jyoung@contoso.example",
            },
            Column {
                head: "boss edit",
                verb: "delete",
                namespace: "payments",
                user: "entra:boss@contoso.example",
            },
        ],
        scenes: vec![
            scene(
                "test connection; looks a user up",
                UpTo("an unknown parameter on every URL"),
                &[NO, NO, NO],
            ),
            scene("creates joy and boss, unmapped nulls", UpTo("create a manager"), &[NO, NO, NO]),
            scene("updates joy in 13 shapes of PATCH", UpTo("empty operations"), &[NO, NO, NO]),
            scene(
                "creates the group k8s-payments-edit",
                UpTo("group lookup without members"),
                &[NO, NO, NO],
            ),
            scene("adds joy", UpTo("add a member, $ref null"), &[YES, YES, NO]),
            scene("adds boss", UpTo("add another"), &[YES, YES, YES]),
            scene(
                "removes boss, by a list of values",
                UpTo("remove with a value list: only those"),
                &[YES, YES, NO],
            ),
            scene("adds an unknown member: refused", UpTo("an unknown member"), &[YES, YES, NO]),
            scene(
                "renames the group: mapped by id, it stays",
                UpTo("rename the group"),
                &[YES, YES, NO],
            ),
            scene("disables joy (\"False\", as a text)", UpTo("disable with a string"), &[NO, NO, NO]),
            scene("enables joy (\"True\")", UpTo("enable with a string"), &[YES, YES, NO]),
            scene("removes joy from the group", UpTo("with the flag: filtered removal"), &[NO, NO, NO]),
            scene("deletes joy", UpTo("delete again"), &[NO, NO, NO]),
            scene(
                "another person gets the old name: no access",
                UpTo("the name is free again"),
                &[NO, NO, NO],
            ),
            scene("adds that person to the group", Own(entra_member), &[YES, YES, NO]),
        ],
    }
}

impl Story {
    /// The scenes with their requests. Every request of the file is in exactly one, or this is an error.
    pub fn steps(&self, file: Vec<Step>) -> Result<Vec<Vec<Step>>, String> {
        let mut rest = file.into_iter();
        let mut scenes = Vec::new();
        for scene in &self.scenes {
            let mut steps = Vec::new();
            match scene.part {
                Own(step) => steps.push(Step(step())),
                UpTo(last) => loop {
                    let step = rest
                        .next()
                        .ok_or_else(|| format!("{}: the file has no step {last:?} here", self.name))?;
                    steps.push(step);
                    if steps.last().is_some_and(|s| s.name() == last) {
                        break;
                    }
                },
            }
            scenes.push(steps);
        }
        match rest.next() {
            Some(step) => Err(format!("{}: no scene has the step {:?}", self.name, step.name())),
            None => Ok(scenes),
        }
    }
}

// Okta updates a profile by PUT of the whole user; `groups` is no instruction.
fn okta_profile(name: &str, user_name: &str, department: &str) -> Value {
    json!({
        "name": name, "method": "PUT", "path": "/Users/{ada}", "status": [200], "expect": {"userName": user_name, "active": true},
        "body": {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
            "id": "{ada}", "userName": user_name, "name": {"givenName": "Ada", "familyName": "Lovelace"},
            "emails": [{"primary": true, "value": user_name, "type": "work"}],
            "externalId": "00u1ada", "active": true, "groups": [], "meta": {"resourceType": "User"},
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": department},
        },
    })
}

fn okta_department() -> Value {
    okta_profile("department", "ada.okta@example.com", "Platform")
}

fn okta_user_name() -> Value {
    okta_profile("userName", "ada.king@example.com", "Platform")
}

fn okta_user_name_back() -> Value {
    okta_profile("userName back", "ada.okta@example.com", "Platform")
}

fn okta_group(name: &str, display_name: &str) -> Value {
    let value = json!({"id": "{backend}", "displayName": display_name});
    json!({
        "name": name, "method": "PATCH", "path": "/Groups/{backend}", "status": [200, 204],
        "body": {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "value": value}]},
    })
}

fn okta_group_renamed() -> Value {
    okta_group("group renamed", "Platform")
}

fn okta_group_renamed_back() -> Value {
    okta_group("group renamed back", "Backend")
}

fn okta_group_anew() -> Value {
    json!({
        "name": "group anew", "method": "POST", "path": "/Groups", "status": [201], "expect": {"displayName": "Backend"},
        "body": {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Backend",
            "members": [{"value": "{grace}", "display": "grace.okta@example.com"}],
        },
    })
}

fn entra_member() -> Value {
    let member = json!([{"$ref": null, "value": "{joy2}"}]);
    json!({
        "name": "member", "method": "PATCH", "path": "/Groups/{pay}", "status": [200, 204],
        "body": {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "Add", "path": "members", "value": member}],
        },
    })
}
