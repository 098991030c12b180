//! The service against a small reference model: rounds of requests in flight side by side must end as if they had come one by one, in some order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct User {
    name: String,
    title: Option<String>,
    active: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, (String, BTreeSet<String>)>,
}

/// Users and groups by a number, which is taken modulo those that there are; one more is nobody.
#[derive(Clone, Debug)]
enum Step {
    CreateUser(usize),
    CreateGroup(Vec<usize>),
    Title(usize, usize),
    Active(usize, bool),
    Rename(usize, usize),
    Put(usize, usize, Option<bool>),
    DeleteUser(usize),
    Add(usize, Vec<usize>),
    Remove(usize, Vec<usize>),
    Set(usize, Vec<usize>),
    DeleteGroup(usize),
    Bulk(usize, usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(0usize..8, 0..4);
    prop_oneof![
        4 => (0usize..6).prop_map(Step::CreateUser),
        2 => some().prop_map(Step::CreateGroup),
        2 => (0usize..8, 0usize..3).prop_map(|(n, title)| Step::Title(n, title)),
        2 => (0usize..8, any::<bool>()).prop_map(|(n, active)| Step::Active(n, active)),
        2 => (0usize..8, 0usize..6).prop_map(|(n, name)| Step::Rename(n, name)),
        2 => (0usize..8, 0usize..6, any::<Option<bool>>()).prop_map(|(n, name, active)| Step::Put(n, name, active)),
        1 => (0usize..8).prop_map(Step::DeleteUser),
        3 => (0usize..4, some()).prop_map(|(n, members)| Step::Add(n, members)),
        3 => (0usize..4, some()).prop_map(|(n, members)| Step::Remove(n, members)),
        1 => (0usize..4, some()).prop_map(|(n, members)| Step::Set(n, members)),
        1 => (0usize..4).prop_map(Step::DeleteGroup),
        1 => (0usize..6, 0usize..8, 0usize..4).prop_map(|(name, user, group)| Step::Bulk(name, user, group)),
    ]
}

fn name(n: usize) -> String {
    format!("user-{n}")
}

/// The model after a request, and the status; the id is what the service gave to what it made.
type Does = Box<dyn Fn(&mut Model, Option<&str>) -> u16>;

/// A request with ids in the place of numbers, and how the model answers it.
struct Asked {
    method: &'static str,
    path: String,
    body: Option<Value>,
    does: Does,
}

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn ask(step: &Step, model: &Model) -> Asked {
    let users: Vec<&String> = model.users.keys().collect();
    let groups: Vec<&String> = model.groups.keys().collect();
    let pick = |ids: &[&String], n: usize| ids.get(n % (ids.len() + 1)).map_or(NOBODY.to_owned(), |id| (*id).clone());
    let members = |list: &[usize]| list.iter().map(|n| pick(&users, *n)).collect::<Vec<_>>();
    let values = |ids: &[String]| ids.iter().map(|id| json!({"value": id})).collect::<Value>();
    let patch = |op: Value| Some(json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [op]}));
    let asked = |method, path: String, body, does: Does| Asked { method, path, body, does };
    let of_user = |id: &str| format!("/Users/{id}");
    let of_group = |id: &str| format!("/Groups/{id}");
    match step.clone() {
        Step::CreateUser(n) => asked(
            "POST",
            "/Users".into(),
            Some(json!({"userName": name(n)})),
            Box::new(move |model, made| model.create(&name(n), made)),
        ),
        Step::CreateGroup(list) => {
            let ids = members(&list);
            let body = json!({"displayName": "group", "members": values(&ids)});
            asked(
                "POST",
                "/Groups".into(),
                Some(body),
                Box::new(move |model, made| match model.all_known(&ids) {
                    true => {
                        let made = made.unwrap_or_default().to_owned();
                        model.groups.insert(made, ("group".into(), ids.iter().cloned().collect()));
                        201
                    }
                    false => 400,
                }),
            )
        }
        Step::Title(n, title) => {
            let id = pick(&users, n);
            let title = (title > 0).then(|| format!("title-{title}"));
            let op = json!({"op": "replace", "path": "title", "value": title});
            asked(
                "PATCH",
                of_user(&id),
                patch(op),
                Box::new(move |model, _| model.user(&id, |user| user.title = title.clone())),
            )
        }
        Step::Active(n, active) => {
            let id = pick(&users, n);
            let op = json!({"op": "replace", "value": {"active": active}});
            asked(
                "PATCH",
                of_user(&id),
                patch(op),
                Box::new(move |model, _| model.user(&id, |user| user.active = active)),
            )
        }
        Step::Rename(n, to) => {
            let id = pick(&users, n);
            let op = json!({"op": "replace", "path": "userName", "value": name(to)});
            asked(
                "PATCH",
                of_user(&id),
                patch(op),
                Box::new(move |model, _| model.rename(&id, &name(to), |_| ())),
            )
        }
        Step::Put(n, to, active) => {
            let id = pick(&users, n);
            let mut body = json!({"userName": name(to)});
            if let Some(active) = active {
                body["active"] = active.into();
            }
            let change = move |user: &mut User| {
                user.title = None;
                user.active = active.unwrap_or(user.active);
            };
            asked(
                "PUT",
                of_user(&id),
                Some(body),
                Box::new(move |model, _| model.rename(&id, &name(to), change)),
            )
        }
        Step::DeleteUser(n) => {
            let id = pick(&users, n);
            asked("DELETE", of_user(&id), None, Box::new(move |model, _| model.delete_user(&id)))
        }
        Step::Add(n, list) => {
            let (id, ids) = (pick(&groups, n), members(&list));
            let op = json!({"op": "add", "path": "members", "value": values(&ids)});
            asked(
                "PATCH",
                of_group(&id),
                patch(op),
                Box::new(move |model, _| model.members(&id, &ids, |now, ids| now.extend(ids))),
            )
        }
        Step::Remove(n, list) => {
            let (id, ids) = (pick(&groups, n), members(&list));
            let op = json!({"op": "remove", "path": "members", "value": values(&ids)});
            asked(
                "PATCH",
                of_group(&id),
                patch(op),
                Box::new(move |model, _| model.members(&id, &[], |now, _| now.retain(|member| !ids.contains(member)))),
            )
        }
        Step::Set(n, list) => {
            let (id, ids) = (pick(&groups, n), members(&list));
            let body = json!({"displayName": "group", "members": values(&ids)});
            asked(
                "PUT",
                of_group(&id),
                Some(body),
                Box::new(move |model, _| model.members(&id, &ids, |now, ids| *now = ids)),
            )
        }
        Step::DeleteGroup(n) => {
            let id = pick(&groups, n);
            asked(
                "DELETE",
                of_group(&id),
                None,
                Box::new(move |model, _| if model.groups.remove(&id).is_some() { 204 } else { 404 }),
            )
        }
        // A user is made and put into a group, and another one disabled: what of it can be done is done, all at one moment.
        Step::Bulk(n, user, group) => {
            let (user, group) = (pick(&users, user), pick(&groups, group));
            let body = json!({"Operations": [
                {"method": "POST", "path": "/Users", "bulkId": "a", "data": {"userName": name(n)}},
                {"method": "PATCH", "path": of_user(&user), "data": patch(json!({"op": "replace", "path": "active", "value": false}))},
                {"method": "PATCH", "path": of_group(&group), "data": patch(json!({"op": "add", "path": "members", "value": [{"value": "bulkId:a"}]}))},
            ]});
            asked(
                "POST",
                "/Bulk".into(),
                Some(body),
                Box::new(move |model, made| {
                    let made_one = model.create(&name(n), made) == 201;
                    model.user(&user, |user| user.active = false);
                    if made_one {
                        model.members(&group, &[made.unwrap_or_default().to_owned()], |now, ids| now.extend(ids));
                    }
                    200
                }),
            )
        }
    }
}

impl Model {
    fn all_known(&self, ids: &[String]) -> bool {
        ids.iter().all(|id| self.users.contains_key(id))
    }

    fn create(&mut self, name: &str, made: Option<&str>) -> u16 {
        if self.users.values().any(|user| user.name == name) {
            return 409;
        }
        let user = User {
            name: name.to_owned(),
            title: None,
            active: true,
        };
        self.users.insert(made.unwrap_or_default().to_owned(), user);
        201
    }

    fn user(&mut self, id: &str, change: impl Fn(&mut User)) -> u16 {
        match self.users.get_mut(id) {
            Some(user) => {
                change(user);
                200
            }
            None => 404,
        }
    }

    fn rename(&mut self, id: &str, to: &str, change: impl Fn(&mut User)) -> u16 {
        if self.users.contains_key(id) && self.users.iter().any(|(other, user)| other != id && user.name == to) {
            return 409;
        }
        self.user(id, |user| {
            user.name = to.to_owned();
            change(user);
        })
    }

    fn delete_user(&mut self, id: &str) -> u16 {
        if self.users.remove(id).is_none() {
            return 404;
        }
        for (_, members) in self.groups.values_mut() {
            members.remove(id);
        }
        204
    }

    fn members(&mut self, id: &str, named: &[String], change: impl Fn(&mut BTreeSet<String>, BTreeSet<String>)) -> u16 {
        let known = self.all_known(named);
        match self.groups.get_mut(id) {
            None => 404,
            Some(_) if !known => 400,
            Some((_, members)) => {
                change(members, named.iter().cloned().collect());
                200
            }
        }
    }
}

/// What the service shows.
async fn shown(okta: &Client) -> Model {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut model = Model::default();
    for user in okta.get("/Users?count=1000").await.body["Resources"].as_array().unwrap() {
        let shown = User {
            name: text(&user["userName"]),
            title: user["title"].as_str().map(str::to_owned),
            active: user["active"] != json!(false),
        };
        model.users.insert(text(&user["id"]), shown);
    }
    for group in okta.get("/Groups?count=1000").await.body["Resources"].as_array().unwrap() {
        let members = group["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| text(&member["value"]))
            .collect();
        model.groups.insert(text(&group["id"]), (text(&group["displayName"]), members));
    }
    model
}

/// Whether some order of the requests, one by one, gives these answers and this end.
fn explains(before: &Model, asked: &[Asked], answers: &[(u16, Option<String>)], after: &Model, done: &mut Vec<usize>) -> bool {
    if done.len() == asked.len() {
        return before == after;
    }
    for i in 0..asked.len() {
        if done.contains(&i) {
            continue;
        }
        let mut next = before.clone();
        let (status, made) = &answers[i];
        if (asked[i].does)(&mut next, made.as_deref()) != *status {
            continue;
        }
        done.push(i);
        if explains(&next, asked, answers, after, done) {
            return true;
        }
        done.pop();
    }
    false
}

async fn run(rounds: Vec<Vec<Step>>) {
    let okta = Client::new().await;
    let mut model = Model::default();
    for round in rounds {
        let asked: Vec<Asked> = round.iter().map(|step| ask(step, &model)).collect();
        let sent = asked
            .iter()
            .map(|asked| okta.send(okta.request(asked.method, &asked.path, asked.body.as_ref())));
        let got = futures::future::join_all(sent).await;
        let made = |got: &Got| {
            let location = &got.body["Operations"][0]["location"];
            let made = location.as_str().and_then(|url| url.rsplit('/').next()).or(got.body["id"].as_str());
            made.map(str::to_owned)
        };
        let answers: Vec<(u16, Option<String>)> = got.iter().map(|got| (got.status, made(got))).collect();
        let after = shown(&okta).await;
        assert!(
            explains(&model, &asked, &answers, &after, &mut Vec::new()),
            "no order explains it: {round:?}\n{answers:?}\nbefore {model:?}\nafter {after:?}"
        );
        model = after;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn requests_in_flight_end_as_if_one_by_one(rounds in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..14)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(rounds));
    }
}
