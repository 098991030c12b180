//! Asks Microsoft Entra ID, by Microsoft Graph's delta queries. What becomes of the answers is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::assertion::Signer;
use super::http::{Answer, Credential, Form, Http, TIMEOUTS, Tokens};
use super::poller::EXPIRED;
use super::vault::Vault;
use super::{Entry, Failure, Kind, Members, Page, Pages, Proof, Said, Upstream};
use crate::api::poll::{Entra as Spec, EntraCloud, EntraExternalId};

const USER: &str = "id,userPrincipalName,displayName,givenName,surname,mail,mailNickname,accountEnabled,jobTitle,department,companyName,employeeId,userType,usageLocation";
const GROUP: &str = "id,displayName,description,mailNickname";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// How many lists of members are handed over at once.
const LISTS: usize = 256;

/// A tenant's directory.
pub(super) struct Entra {
    http: Http,
    spec: Spec,
}

/// Where it is.
pub(super) struct Endpoints {
    pub(super) graph: String,
    pub(super) login: String,
}

impl Endpoints {
    /// Those of a cloud.
    pub(super) fn of(cloud: EntraCloud) -> Self {
        let (graph, login) = match cloud {
            EntraCloud::Global => ("https://graph.microsoft.com", "https://login.microsoftonline.com"),
            EntraCloud::USGovernment => ("https://graph.microsoft.us", "https://login.microsoftonline.us"),
            EntraCloud::China => ("https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
        };
        Self {
            graph: graph.to_owned(),
            login: login.to_owned(),
        }
    }
}

/// Where the delta of users and that of groups go on.
#[derive(Debug, Deserialize, Serialize)]
struct Since {
    users: String,
    groups: String,
}

impl Entra {
    /// With the credential that the spec names.
    pub(super) async fn new(spec: &Spec, vault: &Vault, endpoints: Endpoints, pause: Duration) -> Result<Self, Failure> {
        let graph = vault.url(&endpoints.graph)?;
        let token = vault.url(&format!("{}/{}/oauth2/v2.0/token", endpoints.login, spec.tenant_id))?;
        let session = vault.fetcher.session(None, None, TIMEOUTS);
        let client = session.map_err(|why| Failure::new("BadCredential", why))?;
        let mut form = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", spec.client_id.clone()),
            ("scope", format!("{}/.default", endpoints.graph)),
        ];
        let form: Form = match (&spec.client_secret_key_ref, &spec.certificate) {
            (Some(at), _) => {
                form.push(("client_secret", vault.text(at, &[&token, &graph]).await?));
                Box::new(move || Ok(form.clone()))
            }
            (None, Some(at)) => {
                let (certificate, key) = vault.pair(at, &[&token, &graph]).await?;
                let signer = Signer::with_certificate(&key, &certificate)?;
                let claims = json!({"iss": spec.client_id, "sub": spec.client_id, "aud": token.as_str()});
                Box::new(move || Ok(asserted(&form, signer.sign(claims.clone())?)))
            }
            // read each time: it is renewed every hour
            (None, None) => Box::new(move || Ok(asserted(&form, federated()?))),
        };
        let tokens = Tokens::new(client.clone(), token, None, form);
        Ok(Self::over(
            Http::new(client, graph, Credential::Token(Box::new(tokens)), pause),
            spec,
        ))
    }

    /// Over a connection that is there.
    pub(super) fn over(http: Http, spec: &Spec) -> Self {
        Self { http, spec: spec.clone() }
    }

    async fn get(&self, url: &Url) -> Result<Answer, Failure> {
        self.http.get(url, &[]).await
    }

    /// One page of a delta: its objects, and where it goes on (`Ok`) or where the next delta begins (`Err`).
    async fn delta(&self, url: &Url) -> Result<(Vec<Value>, Result<Url, String>), Failure> {
        let mut answer = self.get(url).await?;
        let code = answer.body["error"]["code"].as_str().unwrap_or_default();
        if answer.status == 410
            || ["syncStateNotFound", "resyncRequired"]
                .iter()
                .any(|one| code.eq_ignore_ascii_case(one))
        {
            return Err(Failure::new(
                EXPIRED,
                "Graph does not know any more what changed since the last pass: everything is asked for next",
            ));
        }
        if answer.status != 200 {
            return Err(Failure::new(
                "Refused",
                format!("{} answered {} to a delta query", self.http.host(), answer.status),
            ));
        }
        let bad = || {
            Failure::new(
                "BadAnswer",
                format!("{} answered with something that is no delta", self.http.host()),
            )
        };
        let Value::Array(list) = answer.body["value"].take() else {
            return Err(bad());
        };
        match (answer.body["@odata.nextLink"].as_str(), answer.body["@odata.deltaLink"].as_str()) {
            (Some(next), _) => Ok((list, Ok(self.http.named(next)?))),
            (None, Some(delta)) => Ok((list, Err(self.http.named(delta)?.to_string()))),
            (None, None) => Err(bad()),
        }
    }

    fn first(&self, since: Option<&str>, path: &str, select: &str) -> Result<Url, Failure> {
        match since {
            Some(link) => self.http.named(link),
            None => Ok(self.http.url(path, &[("$select", select)])),
        }
    }

    /// The users; where the next delta begins.
    async fn users(&self, since: Option<&str>, pages: &Pages) -> Result<String, Failure> {
        let mut url = self.first(since, "/v1.0/users/delta", USER)?;
        loop {
            let (list, next) = self.delta(&url).await?;
            let mut users = Vec::new();
            for object in list {
                let key = id(&object)?;
                match (object.get("@removed"), object["userPrincipalName"].is_string()) {
                    (Some(_), _) => pages.send(Page::Gone(Kind::User, key)).await?,
                    (None, true) if since.is_none() => users.push(self.user(key, &object)),
                    // what changed may be all that is said
                    _ => users.extend(self.whole("users", &key, USER).await?.map(|object| self.user(key, &object))),
                }
            }
            pages.send(Page::Users(users)).await?;
            match next {
                Ok(next) => url = next,
                Err(delta) => {
                    // there is no total: that somebody is not in the list is not yet proof
                    pages.send(Page::UsersEnd(Proof::Ended)).await?;
                    return Ok(delta);
                }
            }
        }
    }

    /// The groups and their members, as pages; where the next delta begins.
    async fn groups(&self, since: Option<&str>) -> Result<(Vec<Page>, String), Failure> {
        let mut url = self.first(since, "/v1.0/groups/delta", &format!("{GROUP},members"))?;
        // of a first delta the members of one group may come in several pages, and are whole at its end only
        let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut pages = Vec::new();
        loop {
            let (list, next) = self.delta(&url).await?;
            let (mut groups, mut changed) = (Vec::new(), Vec::new());
            for object in list {
                let key = id(&object)?;
                if object.get("@removed").is_some() {
                    lists.remove(&key);
                    pages.push(Page::Gone(Kind::Group, key));
                    continue;
                }
                let (add, remove) = members(&object)?;
                match since {
                    None => {
                        // the same group again may say that somebody left in the meantime: the next delta does not say it again
                        let again = lists.contains_key(&key);
                        let keys = lists.entry(key.clone()).or_default();
                        keys.extend(add);
                        keys.retain(|one| !remove.contains(one));
                        if !again {
                            groups.push(group(key, &object));
                        }
                    }
                    Some(_) => {
                        let Some(object) = self.whole("groups", &key, GROUP).await? else {
                            continue;
                        };
                        groups.push(group(key.clone(), &object));
                        changed.push(Members {
                            group: key,
                            said: Said::Changed {
                                add: add.into_iter().collect(),
                                remove: remove.into_iter().collect(),
                            },
                        });
                    }
                }
            }
            pages.push(Page::Groups(groups));
            if !changed.is_empty() {
                pages.push(Page::Members(changed));
            }
            match next {
                Ok(next) => url = next,
                Err(delta) => {
                    let mut whole = lists.into_iter().map(|(group, keys)| Members {
                        group,
                        said: Said::Whole {
                            keys: keys.into_iter().collect(),
                            proven: false,
                        },
                    });
                    loop {
                        let part: Vec<Members> = whole.by_ref().take(LISTS).collect();
                        if part.is_empty() {
                            break;
                        }
                        pages.push(Page::Members(part));
                    }
                    pages.push(Page::GroupsEnd(Proof::Ended));
                    return Ok((pages, delta));
                }
            }
        }
    }

    /// The whole object; none if it is not there any more.
    async fn whole(&self, path: &str, key: &str, select: &str) -> Result<Option<Value>, Failure> {
        let url = self.http.url(&format!("/v1.0/{path}/{key}"), &[("$select", select)]);
        let answer = self.get(&url).await?;
        match answer.status {
            200 if answer.body["id"] == *key => Ok(Some(answer.body)),
            404 => Ok(None),
            status => Err(Failure::new(
                "Refused",
                format!("{} answered {status} to GET /v1.0/{path}/{{id}}", self.http.host()),
            )),
        }
    }

    fn user(&self, key: String, user: &Value) -> Entry {
        let external = match self.spec.external_id {
            EntraExternalId::ObjectId => json!(key),
            EntraExternalId::MailNickname => user["mailNickname"].clone(),
        };
        let mail = user["mail"]
            .as_str()
            .map(|mail| json!([{"value": mail, "type": "work", "primary": true}]));
        let body = json!({
            "externalId": external,
            "userName": user["userPrincipalName"],
            "displayName": user["displayName"],
            "name": {"givenName": user["givenName"], "familyName": user["surname"]},
            "active": user["accountEnabled"] != false,
            "emails": mail,
            "title": user["jobTitle"],
            "userType": user["userType"],
            ENTERPRISE: {"department": user["department"], "employeeNumber": user["employeeId"], "organization": user["companyName"]},
        });
        Entry { key, body }
    }
}

#[async_trait]
impl Upstream for Entra {
    async fn fetch(&self, since: Option<&str>, pages: &Pages) -> Result<Option<String>, Failure> {
        let since: Option<Since> = since.and_then(|text| serde_json::from_str(text).ok());
        // groups are asked for first, and handed over last: whoever came and was put into a group in between is known when the group is read; the other way round that
        // membership would be lost, as no later delta says it again
        let (held, groups) = self.groups(since.as_ref().map(|since| &*since.groups)).await?;
        let users = self.users(since.as_ref().map(|since| &*since.users), pages).await?;
        for page in held {
            pages.send(page).await?;
        }
        Ok(serde_json::to_string(&Since { users, groups }).ok())
    }
}

fn group(key: String, group: &Value) -> Entry {
    let body = json!({"externalId": key, "displayName": group["displayName"]});
    Entry { key, body }
}

/// Who came and who went, of people and groups: devices and applications are nobody here. Of what is said twice the last word counts.
fn members(object: &Value) -> Result<(BTreeSet<String>, BTreeSet<String>), Failure> {
    let (mut add, mut remove) = (BTreeSet::new(), BTreeSet::new());
    for member in object["members@delta"].as_array().into_iter().flatten() {
        let (key, kind) = (id(member)?, member["@odata.type"].as_str().unwrap_or("#microsoft.graph.user"));
        match (kind, member.get("@removed")) {
            (_, Some(_)) => {
                add.remove(&key);
                remove.insert(key);
            }
            ("#microsoft.graph.user" | "#microsoft.graph.group", None) => {
                remove.remove(&key);
                add.insert(key);
            }
            _ => {}
        }
    }
    Ok((add, remove))
}

fn asserted(form: &[(&'static str, String)], assertion: String) -> Vec<(&'static str, String)> {
    let mut form = form.to_vec();
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
    form.extend([("client_assertion_type", kind), ("client_assertion", assertion)]);
    form
}

/// The token that Azure Workload Identity mounts into the pod, where its webhook says.
fn federated() -> Result<String, Failure> {
    let failed = |what: String| {
        Failure::new(
            "NoCredential",
            format!("workload identity: {what}; label the gateway's pods azure.workload.identity/use=true"),
        )
    };
    let path = std::env::var("AZURE_FEDERATED_TOKEN_FILE").map_err(|_| failed("AZURE_FEDERATED_TOKEN_FILE is not set".to_owned()))?;
    let token = std::fs::read_to_string(&path).map_err(|error| failed(format!("{path}: {error}")))?;
    Ok(token.trim().to_owned())
}

/// Object ids are UUIDs: nothing else becomes a part of a URL.
fn id(object: &Value) -> Result<String, Failure> {
    let id = object["id"]
        .as_str()
        .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    id.map(str::to_owned)
        .ok_or_else(|| Failure::new("BadAnswer", "the directory answered with an object that has no id"))
}
