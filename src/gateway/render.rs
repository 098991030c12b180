//! Resources as they are answered: attributes, meta, a user's groups, a group's members. Members are written one by one, never gathered. Pure.

use roaring::RoaringBitmap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::judge::resource_kind;
use super::members::element;
use crate::directory::{Resource, Source};
use crate::scim::filter::Related;
use crate::scim::{Projection, ResourceKind, resource};

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
    map: Map<String, Value>,
    members: Option<(&'a RoaringBitmap, &'a Projection)>,
}

/// The version of a resource, as a weak entity tag: two answers of one version may differ in `groups`.
pub(super) fn etag(resource: &Resource) -> String {
    format!("W/\"{}.{}\"", resource.version.0, resource.version.1)
}

impl<'a> View<'a> {
    /// The URL of a resource.
    pub(super) fn location(&self, resource: &Resource) -> String {
        format!("{}{}/{}", self.base, resource_kind(resource.kind).endpoint(), resource.id)
    }

    /// Attributes, id and meta: what filters need of most resources.
    pub(super) fn bare(&self, resource: &Resource) -> Map<String, Value> {
        let meta = resource::Meta {
            id: &resource.id.to_string(),
            created: &format!("{:.3}", resource.created),
            last_modified: &format!("{:.3}", resource.modified),
            location: &self.location(resource),
            version: Some(&etag(resource)),
        };
        resource::render(resource_kind(resource.kind), &meta, &resource.attributes.to_map())
    }

    /// What the projection leaves of a resource.
    pub(super) fn resource(self, resource: &'a Resource, projection: &'a Projection) -> Rendered<'a> {
        let kind = resource_kind(resource.kind);
        let mut map = self.bare(resource);
        let relation = kind.relation();
        let wanted = projection.wants(relation);
        if wanted && kind == ResourceKind::User {
            let groups = self.groups(resource.n);
            if !groups.is_empty() {
                map.insert(relation.to_owned(), Value::Array(groups));
            }
        }
        let members = (wanted && kind == ResourceKind::Group).then(|| (self.source.members(resource.n), projection));
        Rendered {
            view: self,
            map: projection.apply(kind, map),
            members,
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
        self.members.map_or(0, |(members, _)| members.len())
    }
}

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.map {
            map.serialize_entry(key, value)?;
        }
        if let Some((members, projection)) = self.members {
            map.serialize_entry(
                "members",
                &Members {
                    view: self.view,
                    members,
                    projection,
                },
            )?;
        }
        map.end()
    }
}

struct Members<'a> {
    view: View<'a>,
    members: &'a RoaringBitmap,
    projection: &'a Projection,
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.projection.is_all();
        let project = |member: Value| {
            if all {
                return Some(member);
            }
            let mut group = Map::new();
            group.insert("members".to_owned(), Value::Array(vec![member]));
            let left = self.projection.apply(ResourceKind::Group, group).shift_remove("members")?;
            left.as_array()?.first().cloned()
        };
        serializer.collect_seq(self.members.iter().filter_map(|n| project(self.view.member(n)?)))
    }
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
