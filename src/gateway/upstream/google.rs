//! Asks Google Workspace, by the Directory API (`admin/directory/v1`). What becomes of the answers is not known here.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::assertion::Signer;
use super::http::{Credential, Http, TIMEOUTS, Tokens};
use super::vault::Vault;
use super::{Entry, Failure, Kind, Members, Page, Pages, Proof, Said, Upstream};
use crate::api::poll::{GoogleGroupName, GoogleWorkspace};

const SCOPES: &str = "https://www.googleapis.com/auth/admin.directory.user.readonly https://www.googleapis.com/auth/admin.directory.group.readonly https://www.googleapis.com/auth/admin.directory.group.member.readonly";
/// How many groups are asked for at once: 2,400 requests a minute are what a customer has.
const AT_ONCE: usize = 4;
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// Where what SCIM has no word for is kept.
const DIRECTORY: &str = "urn:google:params:scim:schemas:directory:2.0:User";

/// A customer's directory.
pub(super) struct Google {
    http: Http,
    spec: GoogleWorkspace,
}

/// Where it is.
pub(super) struct Endpoints {
    pub(super) api: String,
    pub(super) token: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            api: "https://admin.googleapis.com".to_owned(),
            token: "https://oauth2.googleapis.com/token".to_owned(),
        }
    }
}

impl Google {
    /// With the credential that the spec names.
    pub(super) async fn new(spec: &GoogleWorkspace, vault: &Vault, endpoints: Endpoints, pause: Duration) -> Result<Self, Failure> {
        let (api, token) = (vault.url(&endpoints.api)?, vault.url(&endpoints.token)?);
        let session = vault.fetcher.session(None, None, TIMEOUTS);
        let client = session.map_err(|why| Failure::new("BadCredential", why))?;
        let tokens = match &spec.key_secret_key_ref {
            None => Tokens::of_metadata_server(&format!("?scopes={}", SCOPES.replace(' ', ",")))?,
            Some(at) => {
                let key = vault.text(at, &[&token, &api]).await?;
                let (signer, claims) = delegated(&key, &token, spec.admin.as_deref().unwrap_or_default())?;
                let form = move || {
                    Ok(vec![
                        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                        ("assertion", signer.sign(claims.clone())?),
                    ])
                };
                Tokens::new(client.clone(), token, None, Box::new(form))
            }
        };
        Ok(Self::over(Http::new(client, api, Credential::Token(Box::new(tokens)), pause), spec))
    }

    /// Over a connection that is there.
    pub(super) fn over(http: Http, spec: &GoogleWorkspace) -> Self {
        Self {
            http: http.with_quota(is_quota),
            spec: spec.clone(),
        }
    }

    /// One page of a list, and the token of the next one; none if what it is about is not there.
    async fn page(
        &self,
        path: &str,
        query: &[(&str, &str)],
        name: &str,
        token: Option<&str>,
    ) -> Result<Option<(Vec<Value>, Option<String>)>, Failure> {
        let mut query = query.to_vec();
        query.extend(token.map(|token| ("pageToken", token)));
        let answer = self.http.get(&self.http.url(path, &query), &[]).await?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            status => {
                return Err(Failure::new(
                    "Refused",
                    format!("{} answered {status} to GET {path}", self.http.host()),
                ));
            }
        }
        let kind = answer.body["kind"].as_str().unwrap_or_default();
        if kind != format!("admin#directory#{name}") {
            return Err(Failure::new(
                "BadAnswer",
                format!("{} answered with something that is no list of {name}", self.http.host()),
            ));
        }
        let list = answer.body[name].as_array().cloned().unwrap_or_default();
        let next = answer.body["nextPageToken"].as_str().filter(|token| !token.is_empty());
        Ok(Some((list, next.map(str::to_owned))))
    }

    fn gone(&self, what: &str) -> Failure {
        Failure::new(
            "Refused",
            format!(
                "{} answered 404: it has no {what} for customer {:?}",
                self.http.host(),
                self.spec.customer
            ),
        )
    }

    async fn users(&self, pages: &Pages) -> Result<(), Failure> {
        let path = "/admin/directory/v1/users";
        let fields = self.spec.custom_schemas.join(",");
        let mut query = vec![
            ("customer", self.spec.customer.as_str()),
            ("maxResults", "500"),
            ("orderBy", "email"),
        ];
        match fields.is_empty() {
            true => query.push(("projection", "basic")),
            false => query.extend([("projection", "custom"), ("customFieldMask", fields.as_str())]),
        }
        query.extend(self.spec.user_query.as_deref().map(|text| ("query", text)));
        let mut token = None;
        loop {
            let (list, next) = self
                .page(path, &query, "users", token.as_deref())
                .await?
                .ok_or_else(|| self.gone("users"))?;
            pages
                .send(Page::Users(list.iter().map(|user| self.user(user)).collect::<Result<_, _>>()?))
                .await?;
            token = next;
            if token.is_none() {
                break;
            }
        }
        // whom it says to have deleted, for 20 days: a word that no list's end has to prove
        let query = [
            ("customer", self.spec.customer.as_str()),
            ("maxResults", "500"),
            ("showDeleted", "true"),
        ];
        loop {
            let (list, next) = self
                .page(path, &query, "users", token.as_deref())
                .await?
                .ok_or_else(|| self.gone("users"))?;
            for user in list.iter().filter(|user| user["deletionTime"].is_string()) {
                pages.send(Page::Gone(Kind::User, id(user)?)).await?;
            }
            token = next;
            if token.is_none() {
                // there is no total: that somebody is not in the list is not yet proof
                return pages.send(Page::UsersEnd(Proof::Ended)).await;
            }
        }
    }

    async fn groups(&self, pages: &Pages) -> Result<(), Failure> {
        let mut query = vec![("customer", self.spec.customer.as_str()), ("maxResults", "200")];
        query.extend(self.spec.group_query.as_deref().map(|text| ("query", text)));
        let mut token: Option<String> = None;
        loop {
            let page = self.page("/admin/directory/v1/groups", &query, "groups", token.as_deref()).await?;
            let (list, next) = page.ok_or_else(|| self.gone("groups"))?;
            pages
                .send(Page::Groups(list.iter().map(|group| self.group(group)).collect::<Result<_, _>>()?))
                .await?;
            let asked = list.into_iter().map(|group| async move { self.members(&group).await });
            let found: Vec<Option<Members>> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
            pages.send(Page::Members(found.into_iter().flatten().collect())).await?;
            token = next;
            if token.is_none() {
                return pages.send(Page::GroupsEnd(Proof::Ended)).await;
            }
        }
    }

    /// The direct members of a group; nested groups are members.
    async fn members(&self, group: &Value) -> Result<Option<Members>, Failure> {
        let id = id(group)?;
        let path = format!("/admin/directory/v1/groups/{id}/members");
        let (mut keys, mut token) = (Vec::new(), None::<String>);
        loop {
            let page = self.page(&path, &[("maxResults", "200")], "members", token.as_deref()).await?;
            // it went in the meantime: the next pass will miss it
            let Some((list, next)) = page else { return Ok(None) };
            // `CUSTOMER` stands for everybody of the customer, and is nobody
            let people = list.iter().filter(|member| member["type"] != "CUSTOMER");
            keys.extend(people.filter_map(|member| member["id"].as_str().map(str::to_owned)));
            token = next;
            if token.is_none() {
                break;
            }
        }
        // `directMembersCount` is of users only: a list that lacks one person and has one group agrees with it, and so does one that lacks a group
        let said = Said::Whole { keys, proven: false };
        Ok(Some(Members { group: id, said }))
    }

    fn user(&self, user: &Value) -> Result<Entry, Failure> {
        let key = id(user)?;
        let of = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let first = |list: &Value| {
            of(list)
                .into_iter()
                .find(|one| one["primary"] == true)
                .or(of(list).into_iter().next())
                .unwrap_or_default()
        };
        let aliases = of(&user["aliases"]).into_iter().filter(|_| self.spec.aliases);
        let mut emails = vec![json!({"value": user["primaryEmail"], "type": "work", "primary": true})];
        emails.extend(aliases.map(|alias| json!({"value": alias, "type": "other"})));
        let work = first(&user["organizations"]);
        let number = of(&user["externalIds"])
            .into_iter()
            .find(|one| one["type"] == "organization")
            .unwrap_or_default();
        let mut body = json!({
            "externalId": key,
            "userName": user["primaryEmail"],
            "displayName": user["name"]["fullName"],
            "name": {"givenName": user["name"]["givenName"], "familyName": user["name"]["familyName"], "formatted": user["name"]["fullName"]},
            "active": user["suspended"] != true && user["archived"] != true,
            "emails": emails,
            "title": work["title"],
            ENTERPRISE: {"department": work["department"], "costCenter": work["costCenter"], "employeeNumber": number["value"]},
            DIRECTORY: {"orgUnitPath": user["orgUnitPath"]},
        });
        for (schema, fields) in user["customSchemas"].as_object().into_iter().flatten() {
            body[format!("urn:google:params:scim:schemas:{schema}:2.0:User")] = flat(fields);
        }
        Ok(Entry { key, body })
    }

    fn group(&self, group: &Value) -> Result<Entry, Failure> {
        let key = id(group)?;
        let name = match self.spec.group_name {
            GoogleGroupName::Email => &group["email"],
            GoogleGroupName::Name => &group["name"],
        };
        let body = json!({"externalId": key, "displayName": name});
        Ok(Entry { key, body })
    }
}

#[async_trait]
impl Upstream for Google {
    /// The Directory API does not say what changed: everything is asked for each time.
    async fn fetch(&self, _: Option<&str>, pages: &Pages) -> Result<Option<String>, Failure> {
        self.users(pages).await?;
        self.groups(pages).await?;
        Ok(None)
    }
}

/// Who signs, and what: in the name of an admin (domain-wide delegation).
fn delegated(key: &str, token: &Url, admin: &str) -> Result<(Signer, Value), Failure> {
    let bad = |what: &str| {
        Failure::new(
            "BadCredential",
            format!("the service account's key {what}: create a key of type JSON, and put the whole file into the Secret"),
        )
    };
    let key: Value = serde_json::from_str(key).map_err(|_| bad("is no JSON"))?;
    let text = |name: &str| key[name].as_str().ok_or_else(|| bad(&format!("has no {name:?}")));
    let signer = Signer::new(text("private_key")?.as_bytes(), key["private_key_id"].as_str())?;
    let claims = json!({"iss": text("client_email")?, "scope": SCOPES, "aud": token.as_str(), "sub": admin});
    Ok((signer, claims))
}

/// A 403 that means the same as 429 (Directory API, "Limits and quotas").
fn is_quota(status: u16, body: &Value) -> bool {
    let reasons = body["error"]["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["reason"].as_str());
    status == 403 && { reasons }.any(|reason| ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"].contains(&reason))
}

/// A custom field with several values is a list of objects with one `value` each.
fn flat(fields: &Value) -> Value {
    let one = |value: &Value| match value.as_array() {
        Some(list) => list.iter().map(|one| one.get("value").unwrap_or(one).clone()).collect(),
        None => value.clone(),
    };
    let fields = fields.as_object().into_iter().flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), one(value))).collect::<Map<_, _>>())
}

fn id(object: &Value) -> Result<String, Failure> {
    let id = object["id"]
        .as_str()
        .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()));
    id.map(str::to_owned)
        .ok_or_else(|| Failure::new("BadAnswer", "the directory answered with an object that has no id"))
}
