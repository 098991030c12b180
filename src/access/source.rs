//! A source, compiled: what can be wrong with its spec is found here, once. How it is served is the gateway's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::expression::Expression;
use super::mapping::GroupFilter;
use super::policy::Refusal;
use crate::api::limits::Limits;
use crate::api::source::{AllowedNamespaces, ScimSource};
use crate::directory::{Kind, Source};

/// A compiled source.
#[derive(Clone, Debug)]
pub struct CompiledSource {
    /// Its name.
    pub name: Arc<str>,
    /// The object's UID.
    pub uid: String,
    /// The generation of the spec.
    pub generation: i64,
    /// How its users appear to the API server.
    pub username: Expression,
    /// How its groups do; none: they are nobody there.
    pub group: Option<Expression>,
    /// Which namespaces' RoleMappings may use it.
    pub allowed: Option<AllowedNamespaces>,
    /// Holds new grants to its people.
    pub suspend: bool,
    /// How many of its people may lose something within an hour.
    pub limits: Limits,
}

impl CompiledSource {
    /// Compiles a source and checks its examples. One that fails is frozen: its people get nothing new, and lose nothing by it.
    pub fn of(object: &ScimSource) -> Result<Self, Refusal> {
        let meta = &object.metadata;
        let Some(name) = &meta.name else {
            return Err(Refusal::new("InvalidSpec", "the object has no name"));
        };
        let subject = &object.spec.subject;
        let username = Expression::compile(&subject.username).map_err(|error| {
            Refusal::new(
                "InvalidExpression",
                format!("spec.subject.username {:?}: {error}", subject.username),
            )
        })?;
        let wrong = username.check(subject.examples.iter().map(|example| (&example.user, example.expect.as_str())));
        if !wrong.is_empty() {
            let message = format!(
                "spec.subject.username does not yield what spec.subject.examples expect: {}; correct the one or the other, nothing new is granted until then",
                wrong.join("; ")
            );
            return Err(Refusal::new("ExampleMismatch", message));
        }
        let group = subject.group.as_deref().map(|text| {
            let wrong = |error| Refusal::new("InvalidExpression", format!("spec.subject.group {text:?}: {error}"));
            Expression::group(text).map_err(wrong)
        });
        let group = group.transpose()?;
        known_groups(object)?;
        if let Some(poll) = &object.spec.poll {
            poll.full_every().map_err(|why| Refusal::new("InvalidSpec", why))?;
        }
        Ok(Self {
            name: name.as_str().into(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            username,
            group,
            allowed: object.spec.allowed_namespaces.clone(),
            suspend: object.spec.suspend,
            limits: object.spec.limits.unwrap_or_default(),
        })
    }
}

/// The limits of those that can be read.
pub fn limits_of(sources: &BTreeMap<Arc<str>, Result<CompiledSource, Refusal>>) -> BTreeMap<Arc<str>, Limits> {
    let readable = sources.iter().filter_map(|(name, source)| Some((name, source.as_ref().ok()?)));
    readable.map(|(name, source)| (name.clone(), source.limits)).collect()
}

/// Which of the source's groups count; none: all. Apart from the rest of the spec: what is wrong there makes no group count that did not.
pub fn known_groups(object: &ScimSource) -> Result<Option<GroupFilter>, Refusal> {
    let text = object.spec.known_groups.as_deref();
    text.map(|text| GroupFilter::of("spec.knownGroups", text)).transpose()
}

/// Of these groups, those that count for nothing.
pub fn ignored(known: Option<&GroupFilter>, source: &Source, groups: impl Iterator<Item = u32>) -> RoaringBitmap {
    let Some(known) = known else {
        return RoaringBitmap::new();
    };
    let group = |n: &u32| source.get(*n).filter(|resource| resource.kind == Kind::Group);
    groups.filter(|n| group(n).is_some_and(|group| !known.matches(group))).collect()
}
