//! Asks a SCIM 2.0 service provider (RFC 7644). What becomes of the answers is not known here.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, DATE, HeaderName, HeaderValue};
use serde_json::Value;

use super::http::{Answer, Credential, Http, TIMEOUTS, Tokens, bearer, header};
use super::vault::Vault;
use super::{Entry, Failure, Members, Page, Pages, Proof, Said, Upstream};
use crate::api::poll::{self, Auth, Paging};

/// How many groups are asked for at once.
const AT_ONCE: usize = 4;
/// How often a list is read again that changed while it was read.
const WALKS: usize = 3;
/// A service's clock, and what it was doing when it said the time, may differ by so much.
const OVERLAP: Duration = Duration::from_secs(60);

/// A service provider.
pub(super) struct Scim {
    http: Http,
    spec: poll::Scim,
}

/// How lists are had from this service.
#[derive(Clone, Copy, Debug)]
struct Manner {
    cursor: bool,
    count: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct List<'a> {
    path: &'a str,
    filter: Option<&'a str>,
    excluded: Option<&'a str>,
    attributes: Option<&'a str>,
}

impl Scim {
    /// With the credentials that the spec names.
    pub(super) async fn new(spec: &poll::Scim, vault: &Vault, pause: Duration) -> Result<Self, Failure> {
        let base = vault.url(&spec.url)?;
        let authorities = match &spec.ca_secret_key_ref {
            Some(at) => Some(vault.authorities(at).await?),
            None => None,
        };
        let identity = match &spec.auth.client_certificate {
            Some(at) => {
                let (mut pem, key) = vault.pair(at, &[&base]).await?;
                pem.push(b'\n');
                pem.extend(key);
                Some(pem)
            }
            None => None,
        };
        let session = vault.fetcher.session(authorities.as_deref(), identity.as_deref(), TIMEOUTS);
        let client = session.map_err(|why| Failure::new("BadCredential", format!("the certificates cannot be used: {why}")))?;
        let credential = match &spec.auth {
            Auth { bearer: Some(at), .. } => Credential::Header(bearer(&vault.text(at, &[&base]).await?)?),
            Auth { basic: Some(basic), .. } => {
                let password = vault.text(&basic.secret_key_ref, &[&base]).await?;
                let both = BASE64_STANDARD.encode(format!("{}:{password}", basic.username));
                Credential::Header(header(&format!("Basic {both}"))?)
            }
            Auth { oauth2: Some(oauth2), .. } => {
                let url = vault.url(&oauth2.token_url)?;
                let secret = vault.text(&oauth2.secret_key_ref, &[&url, &base]).await?;
                let mut form = vec![("grant_type", "client_credentials".to_owned())];
                if !oauth2.scopes.is_empty() {
                    form.push(("scope", oauth2.scopes.join(" ")));
                }
                form.extend(oauth2.audience.clone().map(|audience| ("audience", audience)));
                let basic = Some((oauth2.client_id.clone(), secret));
                Credential::Token(Box::new(Tokens::new(
                    client.clone(),
                    url,
                    basic,
                    Box::new(move || Ok(form.clone())),
                )))
            }
            _ => Credential::None,
        };
        Ok(Self::over(Http::new(client, base, credential, pause), spec))
    }

    /// Over a connection that is there.
    pub(super) fn over(http: Http, spec: &poll::Scim) -> Self {
        Self { http, spec: spec.clone() }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
        const TYPES: (HeaderName, HeaderValue) = (ACCEPT, HeaderValue::from_static("application/scim+json, application/json;q=0.9"));
        self.http.get(&self.http.url(path, query), &[TYPES]).await
    }

    /// What the service says that it can (RFC 7643 §5, RFC 9865 §3). One that says nothing is asked as all can be. With what is by its clock.
    async fn manner(&self) -> Result<(Manner, Option<jiff::Timestamp>), Failure> {
        let answer = self.get("/ServiceProviderConfig", &[]).await?;
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        let now = date
            .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
            .map(|time| time.timestamp());
        let said = &answer.body;
        let cursor = match self.spec.paging {
            Paging::Cursor => true,
            Paging::Index => false,
            Paging::Auto => said["pagination"]["cursor"] == Value::Bool(true),
        };
        let wanted = usize::try_from(self.spec.page_size).unwrap_or(100).max(1);
        let most = [&said["pagination"]["maxPageSize"], &said["filter"]["maxResults"]];
        let most = most.into_iter().filter_map(Value::as_u64).filter(|most| *most > 0).min();
        let count = most
            .and_then(|most| usize::try_from(most).ok())
            .map_or(wanted, |most| wanted.min(most));
        Ok((Manner { cursor, count }, now))
    }

    fn walk<'a>(&'a self, manner: Manner, list: List<'a>) -> Walk<'a> {
        Walk {
            scim: self,
            manner,
            list,
            walks: 1,
            place: Place::default(),
            ended: None,
        }
    }

    /// The resources of a list's page. Some services write the name as they like.
    fn page(&self, body: &Value) -> Result<Vec<Entry>, Failure> {
        let bad = |what: &str| Failure::new("BadAnswer", format!("{} answered with {what}", self.http.host()));
        let object = body.as_object().ok_or_else(|| bad("something that is no ListResponse"))?;
        let named = object.iter().find(|(name, _)| name.eq_ignore_ascii_case("Resources"));
        let list = match named {
            Some((_, Value::Array(list))) => list.as_slice(),
            // RFC 7644 §3.4.2: with no results there need be none
            None | Some((_, Value::Null)) if object.get("totalResults").and_then(Value::as_u64) == Some(0) => &[],
            _ => return Err(bad("something that is no ListResponse")),
        };
        let entry = |body: &Value| {
            let key = body["id"]
                .as_str()
                .filter(|id| !id.is_empty())
                .ok_or_else(|| bad("a resource that has no id"))?;
            Ok(Entry {
                key: key.to_owned(),
                body: body.clone(),
            })
        };
        list.iter().map(entry).collect()
    }

    fn refused(&self, path: &str, answer: &Answer) -> Failure {
        let kind = answer.body["scimType"].as_str().filter(|kind| kind.len() < 64).unwrap_or_default();
        let what = format!("{} answered GET {path} with {} {kind}", self.http.host(), answer.status);
        Failure::new("Refused", what.trim_end())
    }

    /// The members of groups whose list did not have them.
    async fn members(&self, manner: Manner, groups: Vec<String>) -> Result<Vec<Members>, Failure> {
        let asked = groups.into_iter().map(|group| async move {
            let said = match self.spec.members {
                poll::Members::ByUser => self.by_user(manner, &group).await?,
                poll::Members::Listed | poll::Members::PerGroup => self.of_group(&group).await?,
            };
            Ok::<_, Failure>(said.map(|said| Members { group, said }))
        });
        let found: Vec<Option<Members>> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn of_group(&self, group: &str) -> Result<Option<Said>, Failure> {
        let path = format!("/Groups/{}", encoded(group));
        let answer = self.get(&path, &[("attributes", "id,displayName,members")]).await?;
        match answer.status {
            200 if answer.body["id"].as_str() == Some(group) => {
                let keys = listed(&answer.body);
                // many leave out what is empty, and some leave out what they do not want to tell
                let proven = keys.is_some();
                let keys = keys.unwrap_or_default();
                Ok(Some(Said::Whole { keys, proven }))
            }
            200 => Err(Failure::new(
                "BadAnswer",
                format!("{} answered with another group than was asked for", self.http.host()),
            )),
            404 => Ok(None), // it went in the meantime; the next pass will miss it
            _ => Err(self.refused("/Groups/{id}", &answer)),
        }
    }

    async fn by_user(&self, manner: Manner, group: &str) -> Result<Option<Said>, Failure> {
        let filter = format!("groups.value eq {}", Value::from(group));
        let list = List {
            path: "/Users",
            filter: Some(&filter),
            excluded: None,
            attributes: Some("id"),
        };
        let (mut keys, mut walk) = (Vec::new(), self.walk(manner, list));
        while let Some(page) = walk.next().await? {
            keys.extend(page.into_iter().map(|entry| entry.key));
        }
        let proof = walk.proof();
        match proof {
            Proof::Complete | Proof::Ended => Ok(Some(Said::Whole {
                proven: proof == Proof::Complete && !keys.is_empty(),
                keys,
            })),
            Proof::Broken(why) => Err(Failure::new("Incomplete", format!("the members of a group: {why}"))),
        }
    }
}

#[async_trait]
impl Upstream for Scim {
    async fn fetch(&self, since: Option<&str>, pages: &Pages) -> Result<Option<String>, Failure> {
        let (manner, now) = self.manner().await?;
        let both = |filter: &Option<String>| match (filter, since) {
            (Some(filter), Some(since)) => Some(format!("({filter}) and meta.lastModified ge {}", Value::from(since))),
            (None, Some(since)) => Some(format!("meta.lastModified ge {}", Value::from(since))),
            (filter, None) => filter.clone(),
        };
        let filter = both(&self.spec.user_filter);
        let users = List {
            path: "/Users",
            filter: filter.as_deref(),
            excluded: Some("groups"),
            attributes: None,
        };
        let mut walk = self.walk(manner, users);
        while let Some(page) = walk.next().await? {
            pages.send(Page::Users(page)).await?;
        }
        pages.send(Page::UsersEnd(walk.proof())).await?;

        let filter = both(&self.spec.group_filter);
        let listed_with = self.spec.members == poll::Members::Listed;
        let groups = List {
            path: "/Groups",
            filter: filter.as_deref(),
            excluded: (!listed_with).then_some("members"),
            attributes: None,
        };
        let mut walk = self.walk(manner, groups);
        while let Some(page) = walk.next().await? {
            let (mut said, mut ask) = (Vec::new(), Vec::new());
            for entry in &page {
                match listed(&entry.body).filter(|_| listed_with) {
                    Some(keys) => said.push(Members {
                        group: entry.key.clone(),
                        said: Said::Whole { keys, proven: true },
                    }),
                    None => ask.push(entry.key.clone()),
                }
            }
            pages.send(Page::Groups(page)).await?;
            said.extend(self.members(manner, ask).await?);
            if !said.is_empty() {
                pages.send(Page::Members(said)).await?;
            }
        }
        pages.send(Page::GroupsEnd(walk.proof())).await?;
        let token = now.filter(|_| self.spec.incremental).and_then(|now| now.checked_sub(OVERLAP).ok());
        Ok(token.map(|token| token.to_string()))
    }
}

/// A list that is read page by page, from the beginning again if it changed meanwhile.
struct Walk<'a> {
    scim: &'a Scim,
    manner: Manner,
    list: List<'a>,
    /// How often it was begun.
    walks: usize,
    place: Place,
    ended: Option<Proof>,
}

/// How far a walk is.
#[derive(Default)]
struct Place {
    ids: HashSet<String>,
    total: Option<u64>,
    begun: bool,
    /// By cursors: the next one, and those that came.
    cursor: String,
    cursors: HashSet<String>,
    /// By index: how many are behind, and the last one if it is asked for again.
    behind: usize,
    last: Option<String>,
}

impl Place {
    /// What the end says: as many as the total, or without a total that nothing more comes.
    fn end(&self) -> Proof {
        let came = self.ids.len();
        match self.total {
            None => Proof::Ended,
            Some(total) if total == came as u64 => Proof::Complete,
            Some(total) => Proof::Broken(format!("{came} came, and the service says that there are {total}")),
        }
    }
}

impl Walk<'_> {
    /// The next page; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let (page, end) = match self.manner.cursor {
            true => self.by_cursor().await?,
            false => self.by_index().await?,
        };
        match end {
            Some(Proof::Broken(_)) if self.walks < WALKS => (self.walks, self.place) = (self.walks + 1, Place::default()),
            end => self.ended = end,
        }
        Ok(Some(page))
    }

    /// What the end says of what was not in the list.
    fn proof(self) -> Proof {
        self.ended.unwrap_or_else(|| Proof::Broken("the list did not end".to_owned()))
    }

    /// RFC 9865.
    async fn by_cursor(&mut self) -> Result<(Vec<Entry>, Option<Proof>), Failure> {
        let (place, count) = (&mut self.place, self.manner.count.to_string());
        let mut query = self.list.query();
        query.extend([("cursor", place.cursor.as_str()), ("count", count.as_str())]);
        let answer = self.scim.get(self.list.path, &query).await?;
        if answer.status != 200 {
            let kind = answer.body["scimType"].as_str().unwrap_or_default();
            let lapsed = ["expiredCursor", "invalidCursor"].iter().any(|one| kind.eq_ignore_ascii_case(one)) && place.begun;
            return match lapsed {
                true => Ok((Vec::new(), broken("the cursor ended while the list was read: ask for larger pages"))),
                false => Err(self.scim.refused(self.list.path, &answer)),
            };
        }
        let page = self.scim.page(&answer.body)?;
        place.begun = true;
        place.total = answer.body["totalResults"].as_u64().or(place.total);
        place.ids.extend(page.iter().map(|entry| entry.key.clone()));
        let end = match answer.body["nextCursor"].as_str() {
            None | Some("") => Some(place.end()),
            Some(next) if !place.cursors.insert(next.to_owned()) => broken("the cursor came a second time"),
            Some(next) => {
                next.clone_into(&mut place.cursor);
                None
            }
        };
        Ok((page, end))
    }

    /// RFC 7644 §3.4.2.4. Each page but the first begins with the last resource of the one before: a list that moved while it was read is noticed.
    async fn by_index(&mut self) -> Result<(Vec<Entry>, Option<Proof>), Failure> {
        let place = &mut self.place;
        let (from, count) = ((place.behind + 1).to_string(), self.manner.count.to_string());
        let mut query = self.list.query();
        query.extend([("startIndex", from.as_str()), ("count", count.as_str())]);
        let answer = self.scim.get(self.list.path, &query).await?;
        if answer.status != 200 {
            return Err(self.scim.refused(self.list.path, &answer));
        }
        let page = self.scim.page(&answer.body)?;
        let total = answer.body["totalResults"].as_u64();
        let moved = place.last.is_some() && page.first().map(|entry| &entry.key) != place.last.as_ref();
        let other = place.begun && place.total != total;
        let before = place.ids.len();
        (place.begun, place.total) = (true, total);
        place.ids.extend(page.iter().map(|entry| entry.key.clone()));
        let all = total.is_some_and(|total| place.ids.len() as u64 >= total);
        let end = if moved || other {
            broken("the list changed while it was read")
        } else if all || place.ids.len() == before {
            Some(place.end())
        } else {
            let overlaps = page.len() > 1;
            place.behind += page.len() - usize::from(overlaps);
            place.last = page.last().filter(|_| overlaps).map(|entry| entry.key.clone());
            None
        };
        Ok((page, end))
    }
}

fn broken(why: &str) -> Option<Proof> {
    Some(Proof::Broken(why.to_owned()))
}

impl List<'_> {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let given = [
            ("filter", self.filter),
            ("excludedAttributes", self.excluded),
            ("attributes", self.attributes),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The ids of a group's members; none if the resource does not speak of members.
fn listed(body: &Value) -> Option<Vec<String>> {
    let members = body.get("members")?.as_array()?;
    Some(
        members
            .iter()
            .filter_map(|member| member["value"].as_str().map(str::to_owned))
            .collect(),
    )
}

fn encoded(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}
