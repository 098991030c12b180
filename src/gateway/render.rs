//! Resources as they are answered: attributes, meta, a user's groups, a group's members. Pure.
//!
//! Attributes are kept as JSON text, and go into an answer as they are; members are written one by one, never gathered.

use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use super::judge::resource_kind;
use super::members::element;
use super::version::version;
use crate::directory::{Resource, Source};
use crate::scim::filter::Related;
use crate::scim::{Projection, ResourceKind};

/// One source as one client sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// What is there.
    pub(super) source: &'a Source,
    /// The source's base URL, without a slash at its end.
    pub(super) base: &'a str,
}

/// A resource ready to be written.
pub(super) struct Rendered<'a> {
    view: View<'a>,
    resource: &'a Resource,
    projection: &'a Projection,
    groups: bool,
    members: Option<&'a RoaringBitmap>,
    shows_display: bool,
}

impl<'a> View<'a> {
    /// The URL of a resource.
    pub(super) fn location(&self, resource: &Resource) -> String {
        format!("{}{}/{}", self.base, resource_kind(resource.kind).endpoint(), resource.id)
    }

    /// Attributes, id, and where it is asked for meta: what filters need of most resources.
    pub(super) fn bare(&self, resource: &Resource, meta: bool) -> Map<String, Value> {
        let mut map = resource.attributes.to_map();
        map.shift_insert(0, "id".to_owned(), resource.id.to_string().into());
        if meta {
            map.insert("meta".to_owned(), self.meta(resource));
        }
        map
    }

    /// The version of a resource: its entity tag.
    pub(super) fn version(&self, resource: &Resource) -> String {
        version(self.source, resource)
    }

    fn meta(&self, resource: &Resource) -> Value {
        json!({
            "resourceType": resource_kind(resource.kind).name(),
            "created": format!("{:.3}", resource.created),
            "lastModified": format!("{:.3}", resource.modified),
            "location": self.location(resource),
            "version": self.version(resource),
        })
    }

    /// What the projection leaves of a resource.
    pub(super) fn resource(self, resource: &'a Resource, projection: &'a Projection) -> Rendered<'a> {
        let kind = resource_kind(resource.kind);
        let wanted = projection.wants(kind.relation());
        Rendered {
            view: self,
            resource,
            projection,
            groups: wanted && kind == ResourceKind::User && !self.source.groups_of(resource.n).is_empty(),
            members: (wanted && kind == ResourceKind::Group).then(|| self.source.members(resource.n)),
            shows_display: projection.names("members", "display"),
        }
    }

    /// A user's groups, those that hold it through another one marked so.
    fn groups(&self, n: u32) -> Vec<Value> {
        let direct = self.source.groups_of(n);
        let all = self.source.ancestors(n);
        let render = |group: u32| {
            let resource = self.source.get(group)?;
            let how = if direct.contains(group) { "direct" } else { "indirect" };
            Some(json!({"value": resource.id.to_string(), "$ref": self.location(resource), "display": &*resource.name, "type": how}))
        };
        all.iter().filter_map(render).collect()
    }

    fn member(&self, n: u32) -> Option<Value> {
        let mut element = element(self.source, n)?;
        element["$ref"] = self.location(self.source.get(n)?).into();
        Some(element)
    }
}

impl Rendered<'_> {
    /// How many members it is going to be written with.
    pub(super) fn member_count(&self) -> u64 {
        self.members.map_or(0, RoaringBitmap::len)
    }

    /// Writes it as one JSON object.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut object = Object::begin(out);
        if self.projection.is_all() {
            object.member("id", &self.resource.id)?;
            object.inside(self.resource.attributes.json());
            object.member("meta", &self.view.meta(self.resource))?;
            if self.groups {
                object.member("groups", &self.view.groups(self.resource.n))?;
            }
        } else {
            let mut map = self.view.bare(self.resource, true);
            if self.groups {
                map.insert("groups".to_owned(), self.view.groups(self.resource.n).into());
            }
            for (key, value) in self.projection.apply(resource_kind(self.resource.kind), map) {
                object.member(&key, &value)?;
            }
        }
        if let Some(members) = self.members {
            object.key("members")?;
            list(object.out, members.iter().filter_map(|n| self.member(n)), |out, member| {
                serde_json::to_writer(out, &member)
            })?;
        }
        object.end();
        Ok(())
    }

    fn member(&self, n: u32) -> Option<Value> {
        let mut member = self.view.member(n)?;
        if !self.shows_display
            && let Some(member) = member.as_object_mut()
        {
            member.shift_remove("display");
        }
        if self.projection.is_all() {
            return Some(member);
        }
        let mut group = Map::new();
        group.insert("members".to_owned(), Value::Array(vec![member]));
        let left = self.projection.apply(ResourceKind::Group, group).shift_remove("members")?;
        left.as_array()?.first().cloned()
    }
}

/// A JSON object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Everything that another object's text holds.
    fn inside(&mut self, text: &str) {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
        if !inner.is_empty() {
            self.comma();
            self.out.extend_from_slice(inner.as_bytes());
        }
    }

    /// A name; its value is written next.
    pub(super) fn key(&mut self, name: &str) -> serde_json::Result<&mut Vec<u8>> {
        self.comma();
        serde_json::to_writer(&mut *self.out, name)?;
        self.out.push(b':');
        Ok(self.out)
    }

    pub(super) fn member(&mut self, name: &str, value: &impl serde::Serialize) -> serde_json::Result<()> {
        serde_json::to_writer(self.key(name)?, value)
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
    }
}

/// Writes a JSON list.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(b']');
    Ok(())
}

/// A group's members or a user's groups, for filters.
pub(super) struct Relation<'a> {
    pub(super) view: View<'a>,
    pub(super) resource: &'a Resource,
}

impl Related for Relation<'_> {
    fn contains(&self, id: &str) -> bool {
        let found = super::judge::parse_id(id).and_then(|id| self.view.source.by_id(&id));
        found.is_some_and(|other| match resource_kind(self.resource.kind) {
            ResourceKind::Group => self.view.source.members(self.resource.n).contains(other.n),
            ResourceKind::User => self.view.source.ancestors(self.resource.n).contains(other.n),
        })
    }

    fn any(&self, test: &mut dyn FnMut(&Value) -> bool) -> bool {
        match resource_kind(self.resource.kind) {
            ResourceKind::Group => {
                let members = self.view.source.members(self.resource.n);
                members.iter().filter_map(|n| self.view.member(n)).any(|member| test(&member))
            }
            ResourceKind::User => self.view.groups(self.resource.n).iter().any(test),
        }
    }
}
