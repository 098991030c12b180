//! A filter compiled for one resource type, and its judgement. Case, types and where an attribute lies come from the schema; nothing is parsed here.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::{Filter, Literal, Op};
use crate::scim::coerce::flag;
use crate::scim::error::{ScimError, excerpt};
use crate::scim::fold;
use crate::scim::path::AttrPath;
use crate::scim::schema::{self, Attribute, Extensions, Known, ResourceKind, Type, known};
use crate::scim::tolerance::{Seen, Tolerance};

/// The elements of `members` or `groups`, for resources whose map does not hold them.
pub trait Related {
    /// Whether `id` is the `value` of one of them.
    fn contains(&self, id: &str) -> bool;
    /// Whether `test` holds for any element; asked lazily.
    fn any(&self, test: &mut dyn FnMut(&Value) -> bool) -> bool;
}

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Matcher {
    root: Node,
    absent_ne: bool,
    seen: Seen,
}

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Present(Target),
    Compare(Target, Op, Operand),
    Element(Target, Box<Node>),
}

#[derive(Clone, Debug)]
struct Target {
    container: Option<String>,
    name: String,
    sub: Option<String>,
    /// It is the resource type's `members` or `groups`.
    related: bool,
    /// No schema knows it: names are compared without case, and a complex value stands for its `value`.
    unknown: bool,
}

#[derive(Clone, Debug)]
enum Operand {
    Null,
    Bool(bool),
    Number(Number),
    Exact(String),
    /// A resource's URL: by its endpoint and id, whatever stands before (RFC 7643 §2.4).
    Place(String),
    Folded(String),
    Time(Timestamp, String),
    /// For attributes that no schema knows: text without case, and "true" for true.
    Loose(String),
}

enum Context<'a> {
    Resource(&'a Map<String, Value>, Option<&'a dyn Related>),
    Element(&'a Value),
}

impl Filter {
    /// Compiles the filter for resources of one kind. 400 `invalidFilter` for an attribute that the kind does not have (one of an extension that we do
    /// not know is allowed), for an operator or literal that does not fit the type, and for a complex attribute without `value` compared bare.
    pub fn compile(&self, kind: ResourceKind) -> Result<Matcher, ScimError> {
        self.matcher(kind, false, None, &schema::NONE)
    }

    /// Compiles the filter for a query over these kinds, by the extensions of a source too: an attribute that only the other kind has counts as having
    /// no value.
    pub fn compile_for(&self, kind: ResourceKind, kinds: &[ResourceKind], extensions: &Extensions) -> Result<Matcher, ScimError> {
        self.matcher(kind, kinds.len() > 1, None, extensions)
    }

    /// Compiles a value filter for the elements of `attribute`: what stands in the brackets of `emails[...]`.
    pub fn compile_element(&self, attribute: Option<&'static Attribute>) -> Result<Matcher, ScimError> {
        self.matcher(ResourceKind::User, false, Some(attribute.map(Known::Published)), &schema::NONE)
    }

    fn matcher<'a>(
        &self,
        kind: ResourceKind,
        lenient: bool,
        element: Option<Option<Known<'a>>>,
        extensions: &'a Extensions,
    ) -> Result<Matcher, ScimError> {
        let seen = Seen::default();
        let compiler = Compiler {
            kind,
            lenient,
            element,
            extensions,
            seen: &seen,
        };
        Ok(Matcher {
            root: compiler.node(self)?,
            absent_ne: true,
            seen,
        })
    }
}

impl Matcher {
    /// From now on a comparison with an absent attribute is false, `ne` too: as mappings have it.
    pub fn absent_is_false(mut self) -> Matcher {
        self.absent_ne = false;
        self
    }

    /// What the filter has that is not the RFC's.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether a resource matches; `members` or `groups` are looked for in its map.
    pub fn matches(&self, resource: &Map<String, Value>) -> bool {
        self.judge(&self.root, &Context::Resource(resource, None))
    }

    /// Whether a resource matches whose `members` or `groups` are elsewhere.
    pub fn matches_with(&self, resource: &Map<String, Value>, related: &dyn Related) -> bool {
        self.judge(&self.root, &Context::Resource(resource, Some(related)))
    }

    /// Whether one element matches, for a matcher of [`Filter::compile_element`].
    pub fn matches_element(&self, element: &Value) -> bool {
        self.judge(&self.root, &Context::Element(element))
    }

    fn judge(&self, node: &Node, context: &Context) -> bool {
        match node {
            Node::All(parts) => parts.iter().all(|part| self.judge(part, context)),
            Node::Any(parts) => parts.iter().any(|part| self.judge(part, context)),
            Node::Not(inner) => !self.judge(inner, context),
            Node::Present(target) => target.any(context, false, &mut |value| !is_empty(value)),
            Node::Element(target, inner) => target.any(context, false, &mut |element| self.judge(inner, &Context::Element(element))),
            Node::Compare(target, op, operand) => self.compare(target, *op, operand, context),
        }
    }

    fn compare(&self, target: &Target, op: Op, operand: &Operand, context: &Context) -> bool {
        // Membership is answered by the index and not by a walk over 500,000 members.
        if let (Context::Resource(_, Some(related)), Op::Eq, Operand::Exact(id), Some("value")) =
            (context, op, operand, target.sub.as_deref())
            && target.related
        {
            return related.contains(id);
        }
        let mut seen = false;
        let found = target.any(context, true, &mut |value| {
            if is_empty(value) && !matches!(value, Value::String(_)) {
                return false;
            }
            seen = true;
            match operand {
                Operand::Null => op == Op::Ne,
                _ => holds(op, value, operand),
            }
        });
        match (operand, op) {
            (Operand::Null, Op::Eq) => !seen,
            (_, Op::Ne) => found || (!seen && self.absent_ne && !matches!(operand, Operand::Null)),
            _ => found,
        }
    }
}

impl Target {
    /// Whether `test` holds for any value here. `bare`: a complex value of an unknown attribute stands for its `value`.
    fn any(&self, context: &Context, bare: bool, test: &mut dyn FnMut(&Value) -> bool) -> bool {
        match context {
            Context::Resource(_, Some(related)) if self.related => related.any(&mut |element| self.leaves(element, bare, test)),
            Context::Resource(resource, _) => {
                let map = match self.container.as_deref() {
                    None => Some(*resource),
                    Some(urn) => get(resource, urn).and_then(Value::as_object),
                };
                match map {
                    // A path that is a URN alone means the extension's object itself.
                    Some(map) if self.name.is_empty() => map.values().any(&mut *test),
                    Some(map) => get(map, &self.name).is_some_and(|value| self.leaves(value, bare, test)),
                    None => false,
                }
            }
            Context::Element(Value::Object(map)) => get(map, &self.name).is_some_and(|value| self.leaves(value, bare, test)),
            Context::Element(value) => self.name == "value" && test(value),
        }
    }

    fn leaves(&self, value: &Value, bare: bool, test: &mut dyn FnMut(&Value) -> bool) -> bool {
        match (value, self.sub.as_deref()) {
            (Value::Array(elements), _) => elements.iter().any(|element| self.leaves(element, bare, test)),
            (Value::Object(map), Some(sub)) => get(map, sub).is_some_and(|leaf| each(leaf, test)),
            (Value::Object(map), None) if bare && self.unknown => get(map, "value").is_some_and(|leaf| each(leaf, test)),
            (leaf, None) => test(leaf),
            (_, Some(_)) => false,
        }
    }
}

fn each(value: &Value, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(test),
        leaf => test(leaf),
    }
}

/// By its name, else by its name in another case: only attributes that no schema knows are stored as they were written.
pub(crate) fn get<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name)
        .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn holds(op: Op, value: &Value, operand: &Operand) -> bool {
    match (value, operand) {
        (Value::String(text), Operand::Exact(literal)) => text_holds(op, text, literal),
        (Value::String(text), Operand::Place(literal)) => match op {
            Op::Eq | Op::Ne => text_holds(op, place(text), place(literal)),
            _ => text_holds(op, text, literal),
        },
        (Value::String(text), Operand::Folded(literal) | Operand::Loose(literal)) => text_holds(op, &fold(text), literal),
        (Value::String(text), Operand::Time(time, raw)) => match op.searches() {
            true => text_holds(op, text, raw),
            false => instant(text).map_or(op == Op::Ne, |found| ordered(op, found.cmp(time))),
        },
        (Value::Bool(flag), Operand::Bool(literal)) => !op.orders() && !op.searches() && (flag == literal) == (op == Op::Eq),
        (Value::Bool(flag), Operand::Loose(literal)) => match (op, literal.as_str()) {
            (Op::Eq, "true" | "false") => *flag == (literal == "true"),
            (Op::Ne, "true" | "false") => *flag != (literal == "true"),
            _ => op == Op::Ne,
        },
        (Value::Number(number), Operand::Number(literal)) => numbers(number, literal).map_or(op == Op::Ne, |order| ordered(op, order)),
        // Values of different types are not identical.
        _ => op == Op::Ne,
    }
}

/// `Users/x` of any URL of that resource.
fn place(url: &str) -> &str {
    let mut slashes = url.rmatch_indices('/').skip(1);
    slashes.next().map_or(url.trim_start_matches('/'), |(at, _)| &url[at + 1..])
}

fn text_holds(op: Op, text: &str, literal: &str) -> bool {
    match op {
        Op::Co => text.contains(literal),
        Op::Sw => text.starts_with(literal),
        Op::Ew => text.ends_with(literal),
        _ => ordered(op, text.cmp(literal)),
    }
}

fn ordered(op: Op, order: Ordering) -> bool {
    match op {
        Op::Eq => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Co | Op::Sw | Op::Ew => false,
    }
}

fn numbers(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// An xsd:dateTime; without a zone it is UTC.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    if !text.contains(['T', 't']) {
        return None;
    }
    text.parse().ok().or_else(|| {
        Some(
            text.parse::<jiff::civil::DateTime>()
                .ok()?
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp(),
        )
    })
}

#[derive(Clone, Copy)]
struct Compiler<'a> {
    kind: ResourceKind,
    lenient: bool,
    /// Inside brackets: the attribute before them, if a schema knows it.
    element: Option<Option<Known<'a>>>,
    extensions: &'a Extensions,
    seen: &'a Seen,
}

impl<'a> Compiler<'a> {
    fn node(&self, filter: &Filter) -> Result<Node, ScimError> {
        let all = |parts: &[Filter]| parts.iter().map(|part| self.node(part)).collect::<Result<Vec<Node>, ScimError>>();
        Ok(match filter {
            Filter::And(parts) => Node::All(all(parts)?),
            Filter::Or(parts) => Node::Any(all(parts)?),
            Filter::Not(inner) => Node::Not(Box::new(self.node(inner)?)),
            Filter::Present(path) => Node::Present(self.target(path)?.0),
            Filter::Compare(path, op, literal) => {
                let (mut target, mut attribute) = self.target(path)?;
                if let Some(complex) = attribute.filter(|attribute| attribute.kind() == Type::Complex)
                    && *literal != Literal::Null
                {
                    // Figure 2 of the RFC compares `emails` itself, and Entra `manager` and `members`: their `value` is meant.
                    self.seen.note(Tolerance::BareComplex);
                    let value = complex.part("value");
                    target.sub = Some(
                        value
                            .ok_or_else(|| refuse(path, "is complex: name one of its sub-attributes"))?
                            .name()
                            .to_owned(),
                    );
                    attribute = value;
                }
                match operand(path, attribute, *op, literal, self.seen)? {
                    Operand::Bool(false) if *op == Op::Eq && attribute.is_some_and(|attribute| attribute.name() == "primary") => {
                        self.not_primary(target)
                    }
                    operand => Node::Compare(target, *op, operand),
                }
            }
            Filter::Element(path, inner) => {
                let (target, attribute) = self.target(path)?;
                if attribute.is_some_and(|attribute| attribute.kind() != Type::Complex && !attribute.multi()) {
                    return Err(refuse(path, "has no elements to choose from"));
                }
                let inside = Compiler {
                    element: Some(attribute),
                    ..*self
                };
                Node::Element(target, Box::new(inside.node(inner)?))
            }
        })
    }

    /// An element that does not say whether it is the primary one is not (RFC 7643 §2.4).
    fn not_primary(&self, target: Target) -> Node {
        let no = |target: Target| Node::Not(Box::new(Node::Compare(target, Op::Eq, Operand::Bool(true))));
        match (self.element, target.sub.clone()) {
            (None, Some(name)) => {
                let part = Target {
                    container: None,
                    name,
                    sub: None,
                    related: false,
                    unknown: false,
                };
                Node::Element(Target { sub: None, ..target }, Box::new(no(part)))
            }
            _ => no(target),
        }
    }

    fn target(&self, path: &AttrPath) -> Result<(Target, Option<Known<'a>>), ScimError> {
        let plain = |name: &str| Target {
            container: None,
            name: name.to_owned(),
            sub: path.sub.clone(),
            related: false,
            unknown: true,
        };
        match self.element {
            // what nobody declared is kept, and can be asked for
            Some(Some(attribute @ Known::Declared(_))) if attribute.kind() == Type::Complex && attribute.part(&path.name).is_none() => {
                match path.urn.is_some() || path.sub.is_some() {
                    true => Err(refuse(path, "is no sub-attribute")),
                    false => Ok((plain(&path.name), None)),
                }
            }
            Some(Some(attribute)) => {
                let part = match attribute.kind() {
                    Type::Complex => attribute.part(&path.name).filter(|_| path.urn.is_none() && path.sub.is_none()),
                    _ => Some(attribute).filter(|_| path.urn.is_none() && path.sub.is_none() && path.name.eq_ignore_ascii_case("value")),
                };
                let part = part.ok_or_else(|| refuse(path, &format!("is not a sub-attribute of \"{}\"", attribute.name())))?;
                let name = if attribute.kind() == Type::Complex { part.name() } else { "value" };
                Ok((
                    Target {
                        unknown: false,
                        ..plain(name)
                    },
                    Some(part),
                ))
            }
            Some(None) if path.urn.is_some() => Err(refuse(path, "has a schema's name inside brackets")),
            Some(None) => Ok((plain(&path.name), None)),
            None => match schema::resolve(self.kind, path) {
                Ok(place) => {
                    if place.container.is_some() && path.urn.is_none() {
                        self.seen.note(Tolerance::NoUrn);
                    }
                    let (attribute, part) = known(self.kind, path, &place, self.extensions);
                    let target = Target {
                        container: place.container.map(str::to_owned),
                        name: attribute.map_or(path.name.as_str(), Known::name).to_owned(),
                        sub: part.map_or(path.sub.as_deref(), |part| Some(part.name())).map(str::to_owned),
                        related: place.container.is_none()
                            && place.attribute.is_some_and(|attribute| attribute.name == self.kind.relation()),
                        unknown: attribute.is_none(),
                    };
                    // of a part that nobody declared nothing is known
                    Ok((target, if path.sub.is_some() { part } else { attribute }))
                }
                // The other kind has it: here it has no value.
                Err(_) if self.lenient && schema::resolve(self.kind.other(), path).is_ok() => Ok((plain(&path.name), None)),
                Err(unknown) => Err(ScimError::invalid_filter(unknown)),
            },
        }
    }
}

fn operand(path: &AttrPath, attribute: Option<Known>, op: Op, literal: &Literal, seen: &Seen) -> Result<Operand, ScimError> {
    if let Literal::Bare(text) = literal {
        seen.note(Tolerance::BareLiteral);
        return operand(path, attribute, op, &Literal::String(text.clone()), seen);
    }
    if *literal == Literal::Null {
        return match op {
            Op::Eq | Op::Ne => Ok(Operand::Null),
            _ => Err(refuse(path, &format!("cannot be compared with null by \"{}\"", op.as_str()))),
        };
    }
    let Some(attribute) = attribute else {
        return Ok(match literal {
            Literal::Null => Operand::Null,
            Literal::Bool(flag) => Operand::Bool(*flag),
            Literal::Number(number) => Operand::Number(number.clone()),
            Literal::String(text) | Literal::Bare(text) => Operand::Loose(fold(text)),
        });
    };
    let unfit = || {
        refuse(
            path,
            &format!("cannot be compared with {} by \"{}\"", excerpt(&literal.to_string()), op.as_str()),
        )
    };
    match (attribute.kind(), literal) {
        (Type::Boolean, _) if op.orders() || op.searches() => Err(unfit()),
        (Type::Binary, _) if op.orders() => Err(unfit()),
        (Type::Boolean, Literal::Bool(flag)) => Ok(Operand::Bool(*flag)),
        // Entra writes `primary eq "True"`.
        (Type::Boolean, Literal::String(text)) => {
            let flag = flag(text).ok_or_else(unfit)?;
            seen.note(Tolerance::BooleanText);
            Ok(Operand::Bool(flag))
        }
        (Type::Decimal | Type::Integer, Literal::Number(number)) if !op.searches() => Ok(Operand::Number(number.clone())),
        (Type::DateTime, Literal::String(text)) => match instant(text) {
            Some(time) => Ok(Operand::Time(time, text.clone())),
            None if op.searches() => Ok(Operand::Exact(text.clone())),
            None => Err(unfit()),
        },
        (Type::String, Literal::String(text)) if !attribute.case_exact() => Ok(Operand::Folded(fold(text))),
        (Type::Reference, Literal::String(text)) if attribute.name() == "$ref" => Ok(Operand::Place(text.clone())),
        (Type::String | Type::Reference | Type::Binary, Literal::String(text)) => Ok(Operand::Exact(text.clone())),
        _ => Err(unfit()),
    }
}

fn refuse(path: &AttrPath, why: &str) -> ScimError {
    ScimError::invalid_filter(format!("\"{}\" {why}", excerpt(&path.to_string())))
}
