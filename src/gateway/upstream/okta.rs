//! Asks Okta, by its API (`api/v1`). What becomes of the answers is not known here.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use reqwest::Url;
use reqwest::header::LINK;
use serde_json::{Value, json};

use super::assertion::Signer;
use super::http::{Answer, Credential, Http, TIMEOUTS, Tokens, header};
use super::vault::Vault;
use super::{Entry, Failure, Members, Page, Pages, Proof, Said, Upstream};
use crate::api::poll::Okta as Spec;

const SCOPES: &str = "okta.users.read okta.groups.read";
/// How many groups are asked for at once: an organization has some 500 such requests a minute for all its clients.
const AT_ONCE: usize = 3;
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const LEFT: &str = "status eq \"DEPROVISIONED\"";

/// An organization's directory.
pub(super) struct Okta {
    http: Http,
    spec: Spec,
}

impl Okta {
    /// With the credential that the spec names.
    pub(super) async fn new(spec: &Spec, vault: &Vault, pause: Duration) -> Result<Self, Failure> {
        let base = vault.url(&spec.url)?;
        let session = vault.fetcher.session(None, None, TIMEOUTS);
        let client = session.map_err(|why| Failure::new("BadCredential", why))?;
        let credential = match (&spec.api_token_secret_key_ref, &spec.oauth2) {
            (Some(at), _) => Credential::Header(header(&format!("SSWS {}", vault.text(at, &[&base]).await?))?),
            (None, Some(oauth2)) => {
                let url = vault.url(&format!("{}/oauth2/v1/token", spec.url.trim_end_matches('/')))?;
                let pem = vault.bytes(&oauth2.private_key_secret_key_ref, &[&base]).await?;
                let signer = Signer::new(&pem, oauth2.key_id.as_deref())?;
                let claims = json!({"iss": oauth2.client_id, "sub": oauth2.client_id, "aud": url.as_str()});
                let form = move || {
                    Ok(vec![
                        ("grant_type", "client_credentials".to_owned()),
                        ("scope", SCOPES.to_owned()),
                        (
                            "client_assertion_type",
                            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
                        ),
                        ("client_assertion", signer.sign(claims.clone())?),
                    ])
                };
                Credential::Token(Box::new(Tokens::new(client.clone(), url, None, Box::new(form))))
            }
            (None, None) => {
                return Err(Failure::new(
                    "NoCredential",
                    "spec.poll.okta has neither apiTokenSecretKeyRef nor oauth2",
                ));
            }
        };
        Ok(Self::over(Http::new(client, base, credential, pause), spec))
    }

    /// Over a connection that is there.
    pub(super) fn over(http: Http, spec: &Spec) -> Self {
        Self { http, spec: spec.clone() }
    }

    /// One page of a list, and the next one; none if what it is about is not there.
    async fn page(&self, url: &Url) -> Result<Option<(Vec<Value>, Option<Url>)>, Failure> {
        let answer = self.http.get(url, &[]).await?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            status => {
                return Err(Failure::new(
                    "Refused",
                    format!("{} answered {status} to GET {}", self.http.host(), url.path()),
                ));
            }
        }
        let next = next(&answer).map(|next| self.http.named(&next)).transpose()?;
        match answer.body {
            Value::Array(list) => Ok(Some((list, next))),
            _ => Err(Failure::new(
                "BadAnswer",
                format!("{} answered with something that is no list", self.http.host()),
            )),
        }
    }

    fn none(&self) -> Failure {
        Failure::new(
            "Refused",
            format!("{} answered 404: is spec.poll.okta.url the organization's URL?", self.http.host()),
        )
    }

    async fn users(&self, pages: &Pages) -> Result<(), Failure> {
        // a search has those who left too; the list of all has not, and they are asked for: that they are gone is said so
        let searches = match &self.spec.user_search {
            Some(search) => vec![Some(search.as_str())],
            None => vec![None, Some(LEFT)],
        };
        for search in searches {
            let mut query = vec![("limit", "200")];
            query.extend(search.map(|search| ("search", search)));
            let mut at = Some(self.http.url("/api/v1/users", &query));
            while let Some(url) = at {
                let (list, next) = self.page(&url).await?.ok_or_else(|| self.none())?;
                pages.send(Page::Users(list.iter().map(user).collect::<Result<_, _>>()?)).await?;
                at = next;
            }
        }
        // there is no total: that somebody is not in the list is not yet proof
        pages.send(Page::UsersEnd(Proof::Ended)).await
    }

    async fn groups(&self, pages: &Pages) -> Result<(), Failure> {
        let mut query = vec![("limit", "200"), ("expand", "stats")];
        query.extend(self.spec.group_search.as_deref().map(|search| ("search", search)));
        let mut at = Some(self.http.url("/api/v1/groups", &query));
        while let Some(url) = at {
            let (list, next) = self.page(&url).await?.ok_or_else(|| self.none())?;
            pages.send(Page::Groups(list.iter().map(group).collect::<Result<_, _>>()?)).await?;
            let asked = list.into_iter().map(|group| async move { self.members(&group).await });
            let found: Vec<Option<Members>> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
            pages.send(Page::Members(found.into_iter().flatten().collect())).await?;
            at = next;
        }
        pages.send(Page::GroupsEnd(Proof::Ended)).await
    }

    /// The members of a group; Okta has no groups in groups.
    async fn members(&self, group: &Value) -> Result<Option<Members>, Failure> {
        let id = id(group)?;
        let (mut keys, mut at) = (
            Vec::new(),
            Some(self.http.url(&format!("/api/v1/groups/{id}/users"), &[("limit", "1000")])),
        );
        while let Some(url) = at {
            // it went in the meantime: the next pass will miss it
            let Some((list, next)) = self.page(&url).await? else {
                return Ok(None);
            };
            for user in &list {
                keys.push(self::id(user)?);
            }
            at = next;
        }
        let told = group["_embedded"]["stats"]["usersCount"].as_u64();
        let said = Said::Whole {
            proven: told == Some(keys.len() as u64),
            keys,
        };
        Ok(Some(Members { group: id, said }))
    }
}

#[async_trait]
impl Upstream for Okta {
    /// Everything is asked for each time: a list of what was updated would not have who left a group.
    async fn fetch(&self, _: Option<&str>, pages: &Pages) -> Result<Option<String>, Failure> {
        self.users(pages).await?;
        self.groups(pages).await?;
        Ok(None)
    }
}

fn user(user: &Value) -> Result<Entry, Failure> {
    let key = id(user)?;
    let profile = &user["profile"];
    // who is locked out, or has not logged in yet, is a member of staff all the same
    let active = !matches!(user["status"].as_str(), Some("SUSPENDED" | "DEPROVISIONED"));
    let mail = profile["email"]
        .as_str()
        .map(|mail| json!([{"value": mail, "type": "work", "primary": true}]));
    let body = json!({
        "externalId": key,
        "userName": profile["login"],
        "displayName": profile["displayName"],
        "nickName": profile["nickName"],
        "name": {"givenName": profile["firstName"], "familyName": profile["lastName"]},
        "active": active,
        "emails": mail,
        "title": profile["title"],
        "userType": profile["userType"],
        ENTERPRISE: {
            "department": profile["department"], "employeeNumber": profile["employeeNumber"], "organization": profile["organization"],
            "costCenter": profile["costCenter"], "division": profile["division"],
        },
    });
    Ok(Entry { key, body })
}

fn group(group: &Value) -> Result<Entry, Failure> {
    let key = id(group)?;
    let body = json!({"externalId": key, "displayName": group["profile"]["name"]});
    Ok(Entry { key, body })
}

/// The URL of the next page (RFC 8288): `<https://...>; rel="next"`.
fn next(answer: &Answer) -> Option<String> {
    let links = answer.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = links
        .flat_map(|text| text.split(", <"))
        .find(|link| link.contains("rel=\"next\""))?;
    let (url, _) = next.trim_start_matches('<').split_once('>')?;
    Some(url.to_owned())
}

fn id(object: &Value) -> Result<String, Failure> {
    let id = object["id"]
        .as_str()
        .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    id.map(str::to_owned)
        .ok_or_else(|| Failure::new("BadAnswer", "the directory answered with an object that has no id"))
}
