//! What a SCIM write means for the directory as it is: events, nothing, or a refusal. Pure: no client, no clock, no randomness; it may be asked
//! several times for one request, each time with a newer directory.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::members::{Edit, Named};
use super::tokens::Served;
use super::version::Condition;
use crate::directory::{Directory, Event, FailingToken, Kind, Resource, Source, merge};
use crate::scim::patch::{Active, Op};
use crate::scim::schema::Extensions;
use crate::scim::{Body, Drift, ResourceKind, ScimError, Seen, fold, patch, resource};

/// How many members one event names: with eleven characters each it stays below what a batch may hold.
pub(super) const MEMBERS_AN_EVENT: usize = 30_000;

/// Who asks, and where.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The source's name.
    pub(super) source: Arc<str>,
    /// The UID of its ScimSource.
    pub(super) uid: Arc<str>,
    /// The request's id, for the record.
    pub(super) request: Arc<str>,
    /// The extension schemas of the source.
    pub(super) extensions: Arc<Extensions>,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// `/Users` or `/Groups`.
    pub(super) kind: ResourceKind,
    /// What must hold of the version.
    pub(super) condition: Condition,
    /// What is asked.
    pub(super) write: Write,
    /// What it has that the schema or the RFC does not have.
    pub(super) seen: Seen,
    /// What it says of `active`: if it may be there to disable a user and is refused, that must not be overlooked.
    pub(super) active: Active,
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
    /// PUT or PATCH with a body that cannot be understood.
    Misunderstood { id: String, error: ScimError },
}

/// The judgement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judged {
    /// These events make it so.
    Change(Vec<Event>, Done),
    /// It is so already.
    Same(Done),
    /// It must not be; the events record that somebody is not disabled because of that.
    Refused(Vec<Event>, ScimError),
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
pub(super) fn judge(directory: &Directory, asked: &Asked, step: &Step) -> Judged {
    let mut ground = Ground::new(directory, asked);
    match ground.judge(step) {
        Ok((more, done)) if more.is_empty() => Judged::Same(done),
        Ok((more, done)) => {
            ground.events.extend(more);
            Judged::Change(ground.events, done)
        }
        Err((more, error)) => Judged::Refused(more, error),
    }
}

/// The directory that a request is judged by, with what the request changes besides: that its source is seen.
pub(super) struct Ground<'a> {
    directory: Cow<'a, Directory>,
    asked: &'a Asked,
    pub(super) events: Vec<Event>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(directory: &'a Directory, asked: &'a Asked) -> Self {
        let mut ground = Self {
            directory: Cow::Borrowed(directory),
            asked,
            events: Vec::new(),
        };
        if directory.source(&asked.source).is_none_or(|source| *source.uid() != *asked.uid) {
            ground.add(vec![Event::SourceSeen {
                source: asked.source.to_string(),
                uid: asked.uid.to_string(),
            }]);
        }
        ground
    }

    /// Makes it so in a copy: what follows is judged as if it stood in the journal already.
    pub(super) fn add(&mut self, events: Vec<Event>) {
        let directory = self.directory.to_mut();
        for event in &events {
            let ordinal = directory.next_ordinal(0);
            directory.apply(0, ordinal, Timestamp::UNIX_EPOCH, event);
        }
        self.events.extend(events);
    }

    pub(super) fn source(&self) -> &Source {
        self.directory.source(&self.asked.source).unwrap_or_else(|| Source::empty())
    }

    /// What the step means, and what it means that it is refused.
    pub(super) fn judge(&self, step: &Step) -> Result<(Vec<Event>, Done), (Vec<Event>, ScimError)> {
        let (source, request) = (self.asked.source.to_string(), self.asked.request.to_string());
        let client = self.source().client();
        let settles = |n: u32| {
            let enabled = self.source().get(n).is_some_and(|user| user.active);
            client.rejected.contains_key(&n) && (!enabled || step.active != Active::Unsaid)
        };
        match self.find(step) {
            Ok((events, Done::Is(n))) if events.is_empty() && settles(n) => {
                Ok((vec![Event::DeprovisionSettled { source, n, request }], Done::Is(n)))
            }
            Ok(found) => Ok(found),
            Err(error) => {
                let user = step
                    .user()
                    .filter(|_| step.active == Active::MayDisable && matches!(error.status, 400 | 408 | 409 | 413 | 415));
                let user = user.and_then(|id| find(self.source(), ResourceKind::User, id).ok());
                let news = user.filter(|user| user.active && !client.is_rejected(user.n));
                let event = news.map(|user| Event::DeprovisionRejected {
                    source,
                    n: user.n,
                    request,
                    reason: error.scim_type.map_or_else(|| error.status.to_string(), str::to_owned),
                });
                Err((event.into_iter().collect(), error))
            }
        }
    }

    fn find(&self, step: &Step) -> Found {
        let at = At {
            asked: self.asked,
            source: self.source(),
            kind: step.kind,
        };
        match &step.write {
            Write::Create { id, body, members } => at.create(*id, body, members, &step.seen),
            Write::Replace { id, body, members } => at.replace(at.find(id, &step.condition)?, body, members, &step.seen),
            Write::Patch { id, ops } => at.patch(at.find(id, &step.condition)?, ops, &step.seen),
            Write::Delete { id } => at.delete(at.find(id, &step.condition)?),
            Write::Misunderstood { id, error } => {
                at.find(id, &step.condition)?;
                Err(error.clone())
            }
        }
    }
}

impl Step {
    /// The id of the user that it is about, if it is about one that is there.
    fn user(&self) -> Option<&str> {
        match &self.write {
            Write::Create { .. } => None,
            Write::Replace { id, .. } | Write::Patch { id, .. } | Write::Delete { id } | Write::Misunderstood { id, .. } => {
                (self.kind == ResourceKind::User).then_some(id)
            }
        }
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

pub(super) type Found = Result<(Vec<Event>, Done), ScimError>;

struct At<'a> {
    asked: &'a Asked,
    source: &'a Source,
    kind: ResourceKind,
}

impl At<'_> {
    fn create(&self, id: Uuid, body: &Body, members: &Named, seen: &Seen) -> Found {
        let mut attributes = body.attributes.clone();
        self.hold(None, &mut attributes, seen)?;
        self.check_unique(None, &attributes)?;
        let n = self.source.next_n();
        let members: Vec<u32> = match self.kind {
            ResourceKind::User => Vec::new(),
            ResourceKind::Group => members.find(self.source)?.iter().collect(),
        };
        let first = members.len().min(MEMBERS_AN_EVENT);
        let mut events = vec![Event::Created {
            source: self.asked.source.to_string(),
            kind: kind(self.kind),
            id,
            n,
            attributes,
            members: members[..first].to_vec(),
            request: self.asked.request.to_string(),
        }];
        events.extend(changed(self.asked, n, Map::new(), &members[first..], &[]));
        Ok((events, Done::Created(n)))
    }

    fn replace(&self, resource: &Resource, body: &Body, members: &Named, seen: &Seen) -> Found {
        let old = resource.attributes.to_map();
        // Read once more over what is there now: what a PUT leaves out may stay.
        let mut new = resource::replace(self.kind, &old, &Value::Object(body.attributes.clone()))?.attributes;
        self.hold(Some(&old), &mut new, seen)?;
        self.check_unique(Some(resource), &new)?;
        for (urn, _) in old.iter().filter(|(key, value)| value.is_object() && key.contains(':')) {
            if !new.contains_key(urn) {
                seen.drift(Drift::MissingExtension, urn);
            }
        }
        let mut edit = Edit::new(self.source, resource.n);
        if body.members.is_some() {
            edit.set(members.find(self.source)?);
        }
        Ok(self.change(resource, &old, &new, edit))
    }

    fn patch(&self, resource: &Resource, ops: &[Op], seen: &Seen) -> Found {
        let old = resource.attributes.to_map();
        let mut edit = Edit::new(self.source, resource.n);
        let mut new = patch::apply(self.kind, &resource.id.to_string(), &old, ops, &mut edit, seen)?;
        self.hold(Some(&old), &mut new, seen)?;
        self.check_unique(Some(resource), &new)?;
        Ok(self.change(resource, &old, &new, edit))
    }

    fn delete(&self, resource: &Resource) -> Found {
        let event = Event::Deleted {
            source: self.asked.source.to_string(),
            n: resource.n,
            request: self.asked.request.to_string(),
        };
        Ok((vec![event], Done::Deleted))
    }

    /// Holds attributes to the extensions that the source declares. Who is disabled is disabled, and who is taken out of a group is, all the same: what
    /// an admin expects of a provider must not keep anybody's access.
    fn hold(&self, old: Option<&Map<String, Value>>, new: &mut Map<String, Value>, seen: &Seen) -> Result<(), ScimError> {
        let mut held = new.clone();
        match self.asked.extensions.check(self.kind, old, &mut held, seen) {
            Ok(()) => *new = held,
            Err(_) if new.get("active") == Some(&Value::Bool(false)) => {}
            Err(_) if self.kind == ResourceKind::Group && old.is_some() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn change(&self, resource: &Resource, old: &Map<String, Value>, new: &Map<String, Value>, edit: Edit) -> (Vec<Event>, Done) {
        let (add, remove) = edit.difference();
        let (add, remove): (Vec<u32>, Vec<u32>) = (add.iter().collect(), remove.iter().collect());
        (
            changed(self.asked, resource.n, merge::diff(old, new), &add, &remove),
            Done::Is(resource.n),
        )
    }

    fn find(&self, id: &str, condition: &Condition) -> Result<&Resource, ScimError> {
        let resource = find(self.source, self.kind, id)?;
        condition.check(self.source, resource)?;
        Ok(resource)
    }

    /// A userName belongs to one user. A group's displayName is a label, but the same externalId beside it means that a creation came twice.
    fn check_unique(&self, of: Option<&Resource>, attributes: &Map<String, Value>) -> Result<(), ScimError> {
        let text = |name: &str| attributes.get(name).and_then(Value::as_str);
        let other = |n: &u32| of.is_none_or(|resource| resource.n != *n);
        match self.kind {
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

/// The change in as many events as it needs; none if nothing changes.
pub(super) fn changed(asked: &Asked, n: u32, patch: Map<String, Value>, add: &[u32], remove: &[u32]) -> Vec<Event> {
    let event = |merge: Map<String, Value>, add: &[u32], remove: &[u32]| Event::Changed {
        source: asked.source.to_string(),
        n,
        merge,
        add: add.to_vec(),
        remove: remove.to_vec(),
        request: asked.request.to_string(),
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
