//! Google, Entra and Okta, by servers that answer in the shapes of their documentation: <https://developers.google.com/workspace/admin/directory/reference/rest/v1>,
//! <https://learn.microsoft.com/graph/delta-query-overview>, <https://developer.okta.com/docs/api/openapi/okta-management>. Nobody here has seen the real ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::fake::{Fake, faults, pass, picture};
use super::*;
use crate::api::poll;
use crate::gateway::upstream::Upstream;
use crate::gateway::upstream::entra::Entra;
use crate::gateway::upstream::google::Google;
use crate::gateway::upstream::okta::Okta;
use crate::gateway::upstream::poller::make;

/// How many are on a page.
const PAGE: usize = 4;

/// A company, as its own directory has it.
#[derive(Default)]
struct Company {
    /// By id: name, and whether disabled.
    users: BTreeMap<String, (String, bool)>,
    /// By id: name, and the ids of members.
    groups: BTreeMap<String, (String, BTreeSet<String>)>,
    deleted: BTreeSet<String>,
    /// For deltas.
    log: Vec<Logged>,
    /// A delta from before this is not known any more.
    forgotten: usize,
}

/// What changed, its id, and for a group who came or went.
type Logged = (Kind, String, Vec<(String, bool)>);

type Shared = Arc<Mutex<Company>>;

impl Company {
    fn new() -> Shared {
        let mut company = Self::default();
        for k in 0..11 {
            company.users.insert(format!("u{k:02}"), (format!("user{k}@corp.example"), k == 3));
        }
        let everybody: BTreeSet<String> = company.users.keys().cloned().collect();
        company.groups.insert("g0".to_owned(), ("all".to_owned(), everybody));
        let some = ["u01", "u02", "u05"].map(str::to_owned).into();
        company.groups.insert("g1".to_owned(), ("some".to_owned(), some));
        for k in 2..7 {
            company
                .groups
                .insert(format!("g{k}"), (format!("team{k}"), [format!("u0{k}")].into()));
        }
        Arc::new(Mutex::new(company))
    }

    fn picture(&self) -> BTreeMap<String, (bool, BTreeSet<String>)> {
        let users = self
            .users
            .values()
            .map(|(name, disabled)| (name.clone(), (!disabled, BTreeSet::new())));
        let name = |id: &String| {
            self.users
                .get(id)
                .or(None)
                .map_or_else(|| self.groups[id].0.clone(), |(name, _)| name.clone())
        };
        let groups = self
            .groups
            .values()
            .map(|(group, members)| (group.clone(), (false, members.iter().map(name).collect())));
        users.chain(groups).collect()
    }

    fn disable(&mut self, user: &str) {
        self.users.get_mut(user).unwrap().1 = true;
        self.log.push((Kind::User, user.to_owned(), Vec::new()));
    }

    fn delete(&mut self, user: &str) {
        self.users.remove(user);
        self.deleted.insert(user.to_owned());
        self.log.push((Kind::User, user.to_owned(), Vec::new()));
        for group in self.groups.keys().cloned().collect::<Vec<_>>() {
            if self.groups[&group].1.contains(user) {
                self.member(&group, user, false);
            }
        }
    }

    fn member(&mut self, group: &str, user: &str, comes: bool) {
        let members = &mut self.groups.get_mut(group).unwrap().1;
        _ = if comes {
            members.insert(user.to_owned())
        } else {
            members.remove(user)
        };
        self.log.push((Kind::Group, group.to_owned(), vec![(user.to_owned(), comes)]));
    }
}

fn locked(company: &Shared) -> std::sync::MutexGuard<'_, Company> {
    company.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A page of a list, and where the next one begins.
fn cut<T: Clone>(all: &[T], from: usize) -> (Vec<T>, Option<usize>) {
    let end = (from + PAGE).min(all.len());
    (all[from.min(end)..end].to_vec(), (end < all.len()).then_some(end))
}

type Asked = Query<HashMap<String, String>>;

fn from(query: &Asked, name: &str) -> usize {
    query.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

// === Google ===

fn google(company: &Shared) -> Router {
    fn answer(kind: &str, list: Vec<Value>, from: usize) -> Response {
        let (list, next) = cut(&list, from);
        let mut body = json!({"kind": format!("admin#directory#{kind}"), "etag": "\"e\""});
        if !list.is_empty() {
            body[kind] = json!(list);
        }
        if let Some(next) = next {
            body["nextPageToken"] = json!(next.to_string());
        }
        axum::Json(body).into_response()
    }
    let (users, groups, members) = (company.clone(), company.clone(), company.clone());
    Router::new()
        .route("/admin/directory/v1/users", get(move |query: Asked| async move {
            let company = locked(&users);
            let user = |(id, (name, disabled)): (&String, &(String, bool))| json!({
                "kind": "admin#directory#user", "id": id, "primaryEmail": name, "suspended": disabled, "archived": false,
                "name": {"givenName": "G", "familyName": "F", "fullName": "G F"}, "orgUnitPath": "/", "isMailboxSetup": true,
            });
            let list = match query.contains_key("showDeleted") {
                true => company.deleted.iter().map(|id| json!({"id": id, "primaryEmail": "x@corp.example", "deletionTime": "2026-11-20T10:00:00.000Z"})).collect(),
                false => company.users.iter().map(user).collect(),
            };
            answer("users", list, from(&query, "pageToken"))
        }))
        .route("/admin/directory/v1/groups", get(move |query: Asked| async move {
            let company = locked(&groups);
            let group = |(id, (name, members)): (&String, &(String, BTreeSet<String>))| json!({
                "kind": "admin#directory#group", "id": id, "email": name, "name": name, "directMembersCount": members.iter().filter(|id| !id.starts_with('g')).count().to_string(),
            });
            answer("groups", company.groups.iter().map(group).collect(), from(&query, "pageToken"))
        }))
        .route("/admin/directory/v1/groups/{id}/members", get(move |Path(id): Path<String>, query: Asked| async move {
            let company = locked(&members);
            let Some((_, members)) = company.groups.get(&id) else { return http::StatusCode::NOT_FOUND.into_response() };
            let member = |id: &String| json!({"kind": "admin#directory#member", "id": id, "role": "MEMBER", "type": if id.starts_with('g') { "GROUP" } else { "USER" }});
            answer("members", members.iter().map(member).collect(), from(&query, "pageToken"))
        }))
}

// === Okta ===

fn okta(company: &Shared) -> Router {
    fn answer(request: &Request, list: Vec<Value>, from: usize) -> Response {
        let (list, next) = cut(&list, from);
        let host = request.headers()["host"].to_str().unwrap();
        let path = request.uri().path();
        let query: String = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.starts_with("after="))
            .collect::<Vec<_>>()
            .join("&");
        let own = format!("<https://{host}{path}?{query}>; rel=\"self\"");
        let next = next.map(|next| format!("<https://{host}{path}?{query}&after={next}>; rel=\"next\""));
        let links: Vec<(&str, String)> = std::iter::once(own).chain(next).map(|link| ("link", link)).collect();
        let mut answer = axum::Json(list).into_response();
        for (name, value) in links {
            answer.headers_mut().append(name, value.parse().unwrap());
        }
        answer
    }
    fn user(id: &str, name: &str, status: &str) -> Value {
        json!({"id": id, "status": status, "profile": {"login": name, "email": name, "firstName": "F", "lastName": "L"}})
    }
    let (users, groups, members) = (company.clone(), company.clone(), company.clone());
    Router::new()
        .route("/api/v1/users", get(move |query: Asked, request: Request| async move {
            let company = locked(&users);
            let left = query.get("search").is_some_and(|search| search.contains("DEPROVISIONED"));
            let shown = |(id, (name, disabled)): (&String, &(String, bool))| (*disabled == left).then(|| user(id, name, if left { "DEPROVISIONED" } else { "ACTIVE" }));
            answer(&request, company.users.iter().filter_map(shown).collect(), from(&query, "after"))
        }))
        .route("/api/v1/groups", get(move |query: Asked, request: Request| async move {
            let company = locked(&groups);
            let group = |(id, (name, members)): (&String, &(String, BTreeSet<String>))| json!({
                "id": id, "type": "OKTA_GROUP", "profile": {"name": name, "description": null}, "_embedded": {"stats": {"usersCount": members.len()}},
            });
            answer(&request, company.groups.iter().map(group).collect(), from(&query, "after"))
        }))
        .route("/api/v1/groups/{id}/users", get(move |Path(id): Path<String>, query: Asked, request: Request| async move {
            let company = locked(&members);
            let Some((_, members)) = company.groups.get(&id) else { return http::StatusCode::NOT_FOUND.into_response() };
            answer(&request, members.iter().map(|id| user(id, "x@corp.example", "ACTIVE")).collect(), from(&query, "after"))
        }))
}

// === Entra ===

fn entra(company: &Shared) -> Router {
    fn answer(request: &Request, list: Vec<Value>, from: usize, version: usize, extra: &str) -> Response {
        let (list, next) = cut(&list, from);
        let at = format!("https://{}{}", request.headers()["host"].to_str().unwrap(), request.uri().path());
        let mut body = json!({"@odata.context": "c", "value": list});
        match next {
            Some(next) => body["@odata.nextLink"] = json!(format!("{at}?$skiptoken={next}{extra}")),
            None => body["@odata.deltaLink"] = json!(format!("{at}?$deltatoken={version}")),
        }
        axum::Json(body).into_response()
    }
    fn expired() -> Response {
        (
            http::StatusCode::GONE,
            axum::Json(json!({"error": {"code": "syncStateNotFound", "message": "m"}})),
        )
            .into_response()
    }
    fn user(id: &str, (name, disabled): &(String, bool)) -> Value {
        json!({"id": id, "userPrincipalName": name, "displayName": "D", "accountEnabled": !disabled, "mail": null, "jobTitle": null})
    }
    fn delta(members: &[(String, bool)]) -> Value {
        let one = |(id, comes): &(String, bool)| {
            let kind = if id.starts_with('g') {
                "#microsoft.graph.group"
            } else {
                "#microsoft.graph.user"
            };
            match comes {
                true => json!({"@odata.type": kind, "id": id}),
                false => json!({"@odata.type": kind, "id": id, "@removed": {"reason": "deleted"}}),
            }
        };
        members.iter().map(one).collect()
    }
    let shared = [company.clone(), company.clone(), company.clone(), company.clone()];
    let [users, groups, one, other] = shared;
    Router::new()
        .route(
            "/v1.0/users/delta",
            get(move |query: Asked, request: Request| async move {
                let company = locked(&users);
                let version = company.log.len();
                let Some(since) = query.get("$deltatoken").map(|_| from(&query, "$deltatoken")) else {
                    let list = company.users.iter().map(|(id, of)| user(id, of)).collect();
                    return answer(&request, list, from(&query, "$skiptoken"), version, "");
                };
                if since < company.forgotten {
                    return expired();
                }
                let changed: BTreeSet<&String> = company.log[since..]
                    .iter()
                    .filter(|(kind, ..)| *kind == Kind::User)
                    .map(|(_, id, _)| id)
                    .collect();
                let shown = |id: &&String| match company.users.get(*id) {
                    // only what changed
                    Some((_, disabled)) => json!({"id": id, "accountEnabled": !disabled}),
                    None => json!({"id": id, "@removed": {"reason": "changed"}}),
                };
                answer(&request, changed.iter().map(shown).collect(), 0, version, "")
            }),
        )
        .route(
            "/v1.0/groups/delta",
            get(move |query: Asked, request: Request| async move {
                let company = locked(&groups);
                let version = company.log.len();
                let Some(since) = query.get("$deltatoken").map(|_| from(&query, "$deltatoken")) else {
                    // the members of a group may come in two parts
                    let parts = |(id, (name, members)): (&String, &(String, BTreeSet<String>))| {
                        let all: Vec<(String, bool)> = members.iter().map(|id| (id.clone(), true)).collect();
                        let part = |part: &[(String, bool)]| json!({"id": id, "displayName": name, "members@delta": delta(part)});
                        match all.is_empty() {
                            true => vec![json!({"id": id, "displayName": name})],
                            false => all.chunks(6).map(part).collect::<Vec<_>>(),
                        }
                    };
                    let list = company.groups.iter().flat_map(parts).collect();
                    return answer(&request, list, from(&query, "$skiptoken"), version, "");
                };
                if since < company.forgotten {
                    return expired();
                }
                let changed = company.log[since..].iter().filter(|(kind, ..)| *kind == Kind::Group);
                let list = changed
                    .map(|(_, id, members)| json!({"id": id, "members@delta": delta(members)}))
                    .collect();
                answer(&request, list, 0, version, "")
            }),
        )
        .route(
            "/v1.0/users/{id}",
            get(move |Path(id): Path<String>| async move {
                let company = locked(&one);
                company.users.get(&id).map_or_else(
                    || http::StatusCode::NOT_FOUND.into_response(),
                    |of| axum::Json(user(&id, of)).into_response(),
                )
            }),
        )
        .route(
            "/v1.0/groups/{id}",
            get(move |Path(id): Path<String>| async move {
                let company = locked(&other);
                let group = company.groups.get(&id).map(|(name, _)| json!({"id": id, "displayName": name}));
                group.map_or_else(
                    || http::StatusCode::NOT_FOUND.into_response(),
                    |group| axum::Json(group).into_response(),
                )
            }),
        )
}

// === all of them ===

/// A vendor: its name, its company, the server, and who asks it.
async fn vendors() -> Vec<(&'static str, Shared, Fake, Box<dyn Upstream>)> {
    let mut all: Vec<(&'static str, Shared, Fake, Box<dyn Upstream>)> = Vec::new();
    for name in ["Google", "Okta", "Entra"] {
        let company = Company::new();
        if name != "Okta" {
            // groups in groups
            locked(&company).member("g2", "g3", true);
        }
        let router = match name {
            "Google" => google(&company),
            "Okta" => okta(&company),
            _ => entra(&company),
        };
        let fake = Fake::start(router).await;
        let http = fake.http("/");
        let upstream: Box<dyn Upstream> = match name {
            "Google" => Box::new(Google::over(
                http,
                &poll::GoogleWorkspace {
                    customer: "my_customer".to_owned(),
                    ..Default::default()
                },
            )),
            "Okta" => Box::new(Okta::over(http, &poll::Okta::default())),
            _ => Box::new(Entra::over(http, &poll::Entra::default())),
        };
        all.push((name, company, fake, upstream));
    }
    all
}

#[tokio::test]
async fn what_a_vendor_has_is_here_and_who_leaves_is_not() {
    for (name, company, _fake, upstream) in vendors().await {
        let mut world = World::new().await;
        assert_eq!(pass(&mut world, &*upstream).await, Ok(()), "{name}");
        assert_eq!(picture(&world), locked(&company).picture(), "{name}");
        let index = world.index();
        assert_eq!(pass(&mut world, &*upstream).await, Ok(()), "{name}");
        assert_eq!(world.index(), index + 2, "{name}: the second pass changes nothing");

        // disabled at once; who left a group where its list shows that nobody is missing, else after the second pass that does not have the person
        locked(&company).disable("u05");
        locked(&company).member("g1", "u02", false);
        locked(&company).member("g4", "u09", true);
        assert_eq!(pass(&mut world, &*upstream).await, Ok(()), "{name}");
        assert!(!picture(&world)["user5@corp.example"].0, "{name}");
        assert_eq!(world.members("some").contains("user2@corp.example"), name != "Okta", "{name}");
        assert_eq!(pass(&mut world, &*upstream).await, Ok(()), "{name}");
        assert_eq!(picture(&world), locked(&company).picture(), "{name}");

        // deleted: where the vendor says so after one pass, else after the second
        locked(&company).delete("u07");
        let gone = |world: &World| !world.names(Kind::User).contains("user7@corp.example");
        assert_eq!(pass(&mut world, &*upstream).await, Ok(()), "{name}");
        assert_eq!(gone(&world), name == "Google", "{name}");
        assert_eq!(
            world.memory.doubts(),
            name != "Google",
            "{name}: the next pass has to ask for everything"
        );
        assert_eq!(pass(&mut world, &*upstream).await, Ok(()), "{name}");
        assert_eq!(picture(&world), locked(&company).picture(), "{name}");
        assert!(!world.memory.doubts(), "{name}");
    }
}

#[tokio::test]
async fn nothing_is_lost_by_any_fault_on_any_answer_of_a_vendor() {
    for (name, company, fake, upstream) in vendors().await {
        let (tried, failed) = faults(&fake, &*upstream, name).await;
        println!("{name}: {tried} of {tried} faulty passes took nothing from anybody; {failed} of them did not come to a good end");
        assert!(failed > 0 && failed < tried, "{name}");
        assert_eq!(locked(&company).users.len(), 11);
    }
}

#[tokio::test]
async fn what_changed_is_enough_and_a_forgotten_token_says_so() {
    let (_, company, fake, upstream) = vendors().await.pop().unwrap();
    let mut world = World::new().await;
    let mut intake = world.open(true).await;
    let says = std::time::Duration::from_secs(20);
    let token = make(&*upstream, None, &mut intake, says).await.unwrap();
    assert_eq!(world.end(intake).await, None);
    locked(&company).disable("u05");
    locked(&company).member("g1", "u02", false);
    locked(&company).member("g4", "u09", true);
    locked(&company).delete("u07");
    locked(&company)
        .users
        .insert("u99".to_owned(), ("new@corp.example".to_owned(), false));
    locked(&company).log.push((Kind::User, "u99".to_owned(), Vec::new()));
    locked(&company).member("g1", "u99", true);
    fake.spoil(None);
    let mut intake = world.open(false).await;
    let next = make(&*upstream, token.as_deref(), &mut intake, says).await.unwrap();
    assert_eq!(world.end(intake).await, None);
    assert_eq!(picture(&world), locked(&company).picture());
    let users = locked(&company).users.len();
    assert!(fake.answers() < users, "{} answers for {users} users", fake.answers());
    let expired = {
        let mut company = locked(&company);
        company.disable("u01");
        company.forgotten = company.log.len();
        next
    };
    let mut intake = world.open(false).await;
    let failure = make(&*upstream, expired.as_deref(), &mut intake, says).await.unwrap_err();
    assert_eq!(failure.reason, "DeltaExpired");
}

#[tokio::test]
async fn a_quota_that_google_answers_403_for_is_waited_for() {
    let company = Company::new();
    let (times, served) = (Arc::new(Mutex::new(0)), google(&company));
    let limited = served.layer(axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        *times += 1;
        let limited = *times % 3 == 1;
        async move {
            match limited {
                true => {
                    let error = json!({"error": {"code": 403, "errors": [{"domain": "usageLimits", "reason": "rateLimitExceeded"}]}});
                    (http::StatusCode::FORBIDDEN, axum::Json(error)).into_response()
                }
                false => next.run(request).await,
            }
        }
    }));
    let fake = Fake::start(limited).await;
    let spec = poll::GoogleWorkspace {
        customer: "my_customer".to_owned(),
        ..Default::default()
    };
    let mut world = World::new().await;
    assert_eq!(pass(&mut world, &Google::over(fake.http("/"), &spec)).await, Ok(()));
    assert_eq!(picture(&world), locked(&company).picture());
}
