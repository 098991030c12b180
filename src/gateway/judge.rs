//! What a SCIM write means for the directory as it is: events, nothing, or a refusal. Pure: no client, no clock, no randomness; it may be asked
//! several times for one request, each time with a newer directory.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::members::{Edit, Named};
use super::tokens::Served;
use crate::directory::{Directory, Event, FailingToken, Kind, Resource, Source, merge};
use crate::scim::patch::Op;
use crate::scim::{Body, ResourceKind, ScimError, fold, patch, resource};

/// How many members one event names: with eleven characters each it stays below what a batch may hold.
const MEMBERS_AN_EVENT: usize = 30_000;

/// Who asks, and where.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The source's name.
    pub(super) source: Arc<str>,
    /// The UID of its ScimSource.
    pub(super) uid: Arc<str>,
    /// The request's id, for the record.
    pub(super) request: Arc<str>,
    /// `/Users` or `/Groups`.
    pub(super) kind: ResourceKind,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// POST, with an id for the new resource.
    Create { id: Uuid, body: Body, members: Named },
    /// PUT.
    Replace { id: String, body: Body, members: Named },
    /// PATCH.
    Patch { id: String, ops: Vec<Op> },
    /// DELETE.
    Delete { id: String },
}

/// The judgement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judged {
    /// These events make it so.
    Change(Vec<Event>, Done),
    /// It is so already.
    Same(Done),
    /// It must not be.
    Refused(ScimError),
}

/// What is to be answered when it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The resource of this number is new.
    Created(u32),
    /// The resource of this number is as asked.
    Is(u32),
    /// It is gone.
    Deleted,
}

/// Judges a request by a directory.
pub(super) fn judge(directory: &Directory, asked: &Asked, write: &Write) -> Judged {
    let mut directory = Cow::Borrowed(directory);
    let mut events = Vec::new();
    if directory.source(&asked.source).is_none_or(|source| *source.uid() != *asked.uid) {
        let seen = Event::SourceSeen {
            source: asked.source.to_string(),
            uid: asked.uid.to_string(),
        };
        // Seen in a copy: what follows is judged as if it stood in the journal already.
        directory.to_mut().apply(0, 0, Timestamp::UNIX_EPOCH, &seen);
        events.push(seen);
    }
    let Some(source) = directory.source(&asked.source) else {
        return Judged::Refused(ScimError::new(500, "the source is not there"));
    };
    let at = At { asked, source };
    let judged = match write {
        Write::Create { id, body, members } => at.create(*id, body, members),
        Write::Replace { id, body, members } => at.replace(id, body, members),
        Write::Patch { id, ops } => at.patch(id, ops),
        Write::Delete { id } => at.delete(id),
    };
    match judged {
        Ok((more, done)) if more.is_empty() => Judged::Same(done),
        Ok((more, done)) => {
            events.extend(more);
            Judged::Change(events, done)
        }
        Err(error) => Judged::Refused(error),
    }
}

/// The event that records another UID of a known source, if the directory knows another one.
pub(super) fn seen(directory: &Directory, source: &str, uid: &str) -> Option<Event> {
    directory
        .source(source)
        .filter(|known| known.uid() != uid)
        .map(|_| Event::SourceSeen {
            source: source.to_owned(),
            uid: uid.to_owned(),
        })
}

/// The events that record that a source is served, and which of its tokens cannot be used, if the directory says otherwise.
pub(super) fn tokens(directory: &Directory, served: &Served) -> Vec<Event> {
    let known = directory.source(&served.name);
    let seen = known.is_none().then(|| Event::SourceSeen {
        source: served.name.to_string(),
        uid: served.uid.to_string(),
    });
    let before = known.map_or(&[] as &[FailingToken], Source::failing_tokens);
    let tokens = (before != served.failing).then(|| Event::TokensSeen {
        source: served.name.to_string(),
        failing: served.failing.clone(),
    });
    seen.into_iter().chain(tokens).collect()
}

type Found = Result<(Vec<Event>, Done), ScimError>;

struct At<'a> {
    asked: &'a Asked,
    source: &'a Source,
}

impl At<'_> {
    fn create(&self, id: Uuid, body: &Body, members: &Named) -> Found {
        self.check_unique(None, &body.attributes)?;
        let n = self.source.next_n();
        let members: Vec<u32> = match self.asked.kind {
            ResourceKind::User => Vec::new(),
            ResourceKind::Group => members.find(self.source)?.iter().collect(),
        };
        let first = members.len().min(MEMBERS_AN_EVENT);
        let mut events = vec![Event::Created {
            source: self.asked.source.to_string(),
            kind: kind(self.asked.kind),
            id,
            n,
            attributes: body.attributes.clone(),
            members: members[..first].to_vec(),
            request: self.asked.request.to_string(),
        }];
        events.extend(self.changed(n, Map::new(), &members[first..], &[]));
        Ok((events, Done::Created(n)))
    }

    fn replace(&self, id: &str, body: &Body, members: &Named) -> Found {
        let resource = self.find(id)?;
        let old = resource.attributes.to_map();
        // Read once more over what is there now: what a PUT leaves out may stay.
        let new = resource::replace(self.asked.kind, &old, &Value::Object(body.attributes.clone()))?.attributes;
        self.check_unique(Some(resource), &new)?;
        let mut edit = Edit::new(self.source, resource.n);
        if body.members.is_some() {
            edit.set(members.find(self.source)?);
        }
        Ok(self.change(resource, &old, &new, edit))
    }

    fn patch(&self, id: &str, ops: &[Op]) -> Found {
        let resource = self.find(id)?;
        let old = resource.attributes.to_map();
        let mut edit = Edit::new(self.source, resource.n);
        let new = patch::apply(self.asked.kind, id, &old, ops, &mut edit)?;
        self.check_unique(Some(resource), &new)?;
        Ok(self.change(resource, &old, &new, edit))
    }

    fn delete(&self, id: &str) -> Found {
        let event = Event::Deleted {
            source: self.asked.source.to_string(),
            n: self.find(id)?.n,
            request: self.asked.request.to_string(),
        };
        Ok((vec![event], Done::Deleted))
    }

    fn change(&self, resource: &Resource, old: &Map<String, Value>, new: &Map<String, Value>, edit: Edit) -> (Vec<Event>, Done) {
        let (add, remove) = edit.difference();
        let (add, remove): (Vec<u32>, Vec<u32>) = (add.iter().collect(), remove.iter().collect());
        (self.changed(resource.n, merge::diff(old, new), &add, &remove), Done::Is(resource.n))
    }

    /// The change in as many events as it needs; none if nothing changes.
    fn changed(&self, n: u32, patch: Map<String, Value>, add: &[u32], remove: &[u32]) -> Vec<Event> {
        let event = |merge: Map<String, Value>, add: &[u32], remove: &[u32]| Event::Changed {
            source: self.asked.source.to_string(),
            n,
            merge,
            add: add.to_vec(),
            remove: remove.to_vec(),
            request: self.asked.request.to_string(),
        };
        if patch.is_empty() && add.is_empty() && remove.is_empty() {
            return Vec::new();
        }
        if add.len() + remove.len() <= MEMBERS_AN_EVENT {
            return vec![event(patch, add, remove)];
        }
        let mut events = Vec::new();
        if !patch.is_empty() {
            events.push(event(patch, &[], &[]));
        }
        events.extend(remove.chunks(MEMBERS_AN_EVENT).map(|part| event(Map::new(), &[], part)));
        events.extend(add.chunks(MEMBERS_AN_EVENT).map(|part| event(Map::new(), part, &[])));
        events
    }

    fn find(&self, id: &str) -> Result<&Resource, ScimError> {
        find(self.source, self.asked.kind, id).map(AsRef::as_ref)
    }

    /// A userName belongs to one user. A group's displayName is a label, but the same externalId beside it means that a creation came twice.
    fn check_unique(&self, of: Option<&Resource>, attributes: &Map<String, Value>) -> Result<(), ScimError> {
        let text = |name: &str| attributes.get(name).and_then(Value::as_str);
        let other = |n: &u32| of.is_none_or(|resource| resource.n != *n);
        match self.asked.kind {
            ResourceKind::User => {
                let Some(name) = text("userName") else { return Ok(()) };
                match self.source.user_by_name(&fold(name)).filter(other) {
                    Some(_) => Err(ScimError::uniqueness(format!("userName \"{name}\" is taken by another user"))),
                    None => Ok(()),
                }
            }
            ResourceKind::Group => {
                let (Some(name), Some(external_id)) = (text("displayName"), text("externalId")) else {
                    return Ok(());
                };
                let folded = fold(name);
                let mut twins = self
                    .source
                    .groups_by_folded_name(&folded)
                    .filter(other)
                    .filter_map(|n| self.source.get(n));
                match twins.any(|twin| twin.external_id.as_deref() == Some(external_id)) {
                    true => Err(ScimError::uniqueness(format!(
                        "another group has the displayName \"{name}\" and the externalId \"{external_id}\""
                    ))),
                    false => Ok(()),
                }
            }
        }
    }
}

/// The resource of that kind and id, or 404.
pub(super) fn find<'a>(source: &'a Source, of: ResourceKind, id: &str) -> Result<&'a Arc<Resource>, ScimError> {
    let found = parse_id(id).and_then(|id| source.by_id(&id)).filter(|found| found.kind == kind(of));
    found.ok_or_else(|| ScimError::not_found(of.endpoint(), id))
}

/// The id, if it is written as we write it: an id has one spelling.
pub(super) fn parse_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut buffer = Uuid::encode_buffer();
    (*id.hyphenated().encode_lower(&mut buffer) == *text).then_some(id)
}

/// The directory's word for it.
pub(super) fn kind(kind: ResourceKind) -> Kind {
    match kind {
        ResourceKind::User => Kind::User,
        ResourceKind::Group => Kind::Group,
    }
}

/// SCIM's word for it.
pub(super) fn resource_kind(kind: Kind) -> ResourceKind {
    match kind {
        Kind::User => ResourceKind::User,
        Kind::Group => ResourceKind::Group,
    }
}
