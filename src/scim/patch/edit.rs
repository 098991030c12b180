//! One operation on one attribute of an object. Which object and whether it may be changed was decided before.

use serde_json::{Map, Value};

use super::OpKind;
use crate::scim::coerce::{self, From, MAX_VALUES, is_primary, is_unassigned, strip};
use crate::scim::error::ScimError;
use crate::scim::filter::{Filter, Literal, Matcher, Op, get_attribute};
use crate::scim::fold;
use crate::scim::path::Path;
use crate::scim::schema::{Attribute, Place, Type};
use crate::scim::tolerance::{Drift, Seen, Tolerance};

/// What is edited.
pub(super) struct Target<'a> {
    path: &'a Path,
    attribute: Option<&'static Attribute>,
    part: Option<&'static Attribute>,
    matcher: Option<Matcher>,
    seen: &'a Seen,
}

impl<'a> Target<'a> {
    pub(super) fn new(path: &'a Path, place: &Place, seen: &'a Seen) -> Result<Target<'a>, ScimError> {
        if let Some(attribute) = place
            .attribute
            .filter(|attribute| path.filter.is_some() && attribute.kind != Type::Complex && !attribute.multi)
        {
            return Err(ScimError::invalid_path(format!(
                "{} has no elements to choose from",
                attribute.name
            )));
        }
        let matcher = path
            .filter
            .as_ref()
            .map(|filter| filter.compile_element(place.attribute))
            .transpose()?
            .inspect(|matcher| seen.also(matcher.seen()));
        Ok(Target {
            path,
            attribute: place.attribute,
            part: place.part,
            matcher,
            seen,
        })
    }

    fn required(&self) -> bool {
        self.attribute.is_some_and(|attribute| attribute.required)
    }

    /// The key under which the attribute is stored, or is to be.
    fn key(&self, map: &Map<String, Value>) -> String {
        let name = self.attribute.map_or(self.path.attr.name.as_str(), |attribute| attribute.name);
        super::existing_key(map, name).unwrap_or_else(|| name.to_owned())
    }

    fn sub_key(&self, element: &Map<String, Value>) -> Option<String> {
        let name = self.part.map_or(self.path.attr.sub.as_deref()?, |part| part.name);
        Some(super::existing_key(element, name).unwrap_or_else(|| name.to_owned()))
    }

    fn coerce_whole(&self, value: &Value) -> Result<Option<Value>, ScimError> {
        match self.attribute {
            Some(attribute) => coerce::attribute(attribute, value, From::Patch, self.seen),
            None => Ok(strip(value)),
        }
    }

    fn coerce_part(&self, value: &Value) -> Result<Option<Value>, ScimError> {
        match (self.attribute, self.part) {
            (Some(attribute), Some(part)) => {
                coerce::part(attribute, part, value, self.seen).inspect_err(|_| self.seen.drift(Drift::WrongType, attribute.name))
            }
            _ => Ok(strip(value)),
        }
    }

    fn coerce_element(&self, value: &Value) -> Result<Option<Value>, ScimError> {
        let value = match value {
            Value::Array(list) if list.len() == 1 => &list[0],
            other => other,
        };
        match self.attribute {
            Some(attribute) => {
                coerce::element(attribute, value.clone(), self.seen).inspect_err(|_| self.seen.drift(Drift::WrongType, attribute.name))
            }
            None => Ok(strip(value)),
        }
    }

    fn no_target(&self) -> ScimError {
        ScimError::no_target(format!("{} matches nothing", self.path))
    }
}

pub(super) fn edit(map: &mut Map<String, Value>, target: &Target, op: OpKind, value: Option<&Value>) -> Result<(), ScimError> {
    let key = target.key(map);
    let null = Value::Null;
    let given = value.unwrap_or(&null);
    if op == OpKind::Remove && target.required() {
        return Err(ScimError::mutability(format!("{} is required", target.path)));
    }
    // Taken, not copied: ten thousand operations on a long list shall cost ten thousand edits. On an error the whole object is dropped.
    let old = map.get_mut(&key).map(Value::take);
    let new = match (&target.matcher, &target.path.attr.sub, op) {
        (Some(matcher), ..) => elements(old, target, matcher, op, given)?,
        (None, Some(_), _) => part(old, target, op, given)?,
        (None, None, OpKind::Remove) => remove(old, target, given)?,
        (None, None, _) => whole(old, target, op, given)?,
    };
    match new.filter(|new| !is_unassigned(new)) {
        Some(new) => map.insert(key, new),
        None if target.required() => return Err(ScimError::invalid_value(format!("{} is required", target.path))),
        None => map.shift_remove(&key),
    };
    Ok(())
}

/// add and replace of `a`.
fn whole(old: Option<Value>, target: &Target, op: OpKind, given: &Value) -> Result<Option<Value>, ScimError> {
    let new = target.coerce_whole(given)?;
    let multi = target
        .attribute
        .map_or_else(|| old.as_ref().is_some_and(Value::is_array), |attribute| attribute.multi);
    match (op, new) {
        // Nothing is added to a list; anything else is unassigned.
        (OpKind::Add, None) if multi => Ok(old),
        (_, None)
            if target.attribute.is_some_and(|a| a.kind == Type::Complex && !a.multi)
                && given.as_object().is_some_and(|map| !map.is_empty()) =>
        {
            Ok(merge_object(old, Map::new(), given))
        }
        (_, None) => Ok(None),
        (OpKind::Add, Some(new)) if multi => {
            let mut list = as_list(old);
            let mut touched = Vec::new();
            match new {
                Value::Array(values) => values
                    .into_iter()
                    .for_each(|value| touched.push(join(&mut list, value, target.attribute))),
                value => touched.push(join(&mut list, value, target.attribute)),
            }
            settle_primary(&mut list, &touched);
            bounded(list, target).map(Some)
        }
        (_, Some(Value::Object(new))) if !multi => Ok(merge_object(old, new, given)),
        (_, new) => Ok(new),
    }
}

/// The given parts of a complex value; those given as null go, the rest stays as it is (RFC 7644 §3.5.2.3).
fn merge_object(old: Option<Value>, new: Map<String, Value>, given: &Value) -> Option<Value> {
    let mut merged = match old {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let given = match given {
        Value::Array(list) => list.first().unwrap_or(given),
        _ => given,
    };
    for (key, _) in given.as_object().into_iter().flatten().filter(|(_, value)| is_unassigned(value)) {
        if let Some(key) = super::existing_key(&merged, key) {
            merged.shift_remove(&key);
        }
    }
    for (key, value) in new {
        let key = super::existing_key(&merged, &key).unwrap_or(key);
        merged.insert(key, value);
    }
    (!merged.is_empty()).then_some(Value::Object(merged))
}

/// remove of `a`; with a list of values, of those values.
fn remove(old: Option<Value>, target: &Target, given: &Value) -> Result<Option<Value>, ScimError> {
    let Some(Value::Array(mut list)) = old else { return Ok(None) };
    let listed = match given {
        Value::Null => return Ok(None),
        Value::Array(listed) => listed.as_slice(),
        one => std::slice::from_ref(one),
    };
    target.seen.note(Tolerance::RemoveValues);
    if listed.len() > MAX_VALUES {
        return Err(ScimError::invalid_value(format!("{}: more than {MAX_VALUES} values", target.path)));
    }
    list.retain(|element| !listed.iter().any(|given| is_listed(element, given, target.attribute)));
    Ok(Some(Value::Array(list)))
}

/// Whether `given` names this element: by the parts that say which one it is.
fn is_listed(element: &Value, given: &Value, attribute: Option<&Attribute>) -> bool {
    match (element, given) {
        (Value::Object(element), Value::Object(given)) => {
            let mut named = given
                .iter()
                .filter(|(key, value)| !value.is_null() && !["primary", "display", "$ref"].contains(&key.as_str()))
                .peekable();
            named.peek().is_some()
                && named.all(|(key, value)| get_attribute(element, key).is_some_and(|part| same(part, value, attribute, key)))
        }
        (Value::Object(element), given) => get_attribute(element, "value").is_some_and(|part| same(part, given, attribute, "value")),
        (element, given) => same(element, given, attribute, ""),
    }
}

fn same(a: &Value, b: &Value, attribute: Option<&Attribute>, part: &str) -> bool {
    let exact = attribute.is_some_and(|attribute| attribute.part(part).map_or(attribute.case_exact, |part| part.case_exact));
    match (a, b) {
        (Value::String(a), Value::String(b)) if a.is_ascii() && b.is_ascii() => a == b || (!exact && a.eq_ignore_ascii_case(b)),
        (Value::String(a), Value::String(b)) if !exact => fold(a) == fold(b),
        _ => a == b,
    }
}

/// `a.b`: of the one value, or of each.
fn part(old: Option<Value>, target: &Target, op: OpKind, given: &Value) -> Result<Option<Value>, ScimError> {
    let value = if op == OpKind::Remove { None } else { target.coerce_part(given)? };
    let multi = target.attribute.is_some_and(|attribute| attribute.multi);
    match old {
        None if value.is_none() => Ok(None),
        None => {
            let mut element = Map::new();
            set_part(&mut element, target, value);
            Ok(Some(if multi {
                Value::Array(vec![element.into()])
            } else {
                element.into()
            }))
        }
        Some(Value::Object(mut map)) => {
            set_part(&mut map, target, value);
            Ok(Some(Value::Object(map)))
        }
        Some(Value::Array(mut list)) => {
            list.iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|element| set_part(element, target, value.clone()));
            let touched: Vec<usize> = (0..list.len()).collect();
            settle_primary(&mut list, &touched);
            Ok(without_empty(list))
        }
        Some(_) => Err(ScimError::invalid_path(format!("{} has no sub-attributes", target.path.attr.name))),
    }
}

fn set_part(element: &mut Map<String, Value>, target: &Target, value: Option<Value>) {
    let Some(key) = target.sub_key(element) else { return };
    match value {
        Some(value) => element.insert(key, value),
        None => element.shift_remove(&key),
    };
}

/// `a[f]` and `a[f].b`.
fn elements(old: Option<Value>, target: &Target, matcher: &Matcher, op: OpKind, given: &Value) -> Result<Option<Value>, ScimError> {
    let single = old.as_ref().is_some_and(Value::is_object) || target.attribute.is_some_and(|attribute| !attribute.multi);
    let mut list = as_list(old);
    let mut touched: Vec<usize> = (0..list.len()).filter(|i| matcher.matches_element(&list[*i])).collect();
    let sub = target.path.attr.sub.is_some();
    if op == OpKind::Remove || given.is_null() {
        // Null for what is not there is nothing.
        match sub {
            true => touched.iter().for_each(|i| {
                if let Some(element) = list[*i].as_object_mut() {
                    set_part(element, target, None)
                }
            }),
            false => touched.iter().for_each(|i| list[*i] = Value::Null),
        }
        return Ok(unlist(without_empty(list), single));
    }
    let terms = target.path.filter.as_ref().and_then(|filter| terms(filter, target));
    if touched.is_empty() {
        // Entra's way to set a value: the element comes into being as its filter says. Only where the filter says what it is, not which value it has.
        let element = terms
            .clone()
            .filter(|_| !single && (sub || op == OpKind::Add))
            .ok_or_else(|| target.no_target())?;
        target.seen.note(Tolerance::MadeElement);
        touched.push(list.len());
        list.push(Value::Object(element));
    }
    let new = if sub {
        target.coerce_part(given)?
    } else {
        target.coerce_element(given)?
    };
    for i in &touched {
        match (&mut list[*i], &new) {
            (Value::Object(element), new) if sub => set_part(element, target, new.clone()),
            (Value::Object(element), Some(Value::Object(new))) => {
                if op == OpKind::Replace {
                    // What chose the element stays true of it.
                    *element = terms.clone().unwrap_or_default();
                }
                element.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (element, Some(new)) if !sub && !new.is_object() => *element = new.clone(),
            _ => return Err(ScimError::invalid_value(format!("{}: expected an object", target.path))),
        }
    }
    settle_primary(&mut list, &touched);
    Ok(unlist(Some(bounded(list, target)?), single))
}

/// The parts that a filter of `eq`, joined by `and`, gives a new element; none if it says anything else, or names `value` or the part that is set.
fn terms(filter: &Filter, target: &Target) -> Option<Map<String, Value>> {
    match filter {
        Filter::And(parts) => {
            let maps = parts.iter().map(|part| terms(part, target)).collect::<Option<Vec<_>>>()?;
            Some(maps.into_iter().flatten().collect())
        }
        Filter::Compare(path, Op::Eq, literal) => {
            let part = target.attribute.and_then(|attribute| attribute.part(&path.name));
            let name = part.map_or(path.name.as_str(), |part| part.name);
            let set = target.path.attr.sub.as_deref().is_some_and(|sub| sub.eq_ignore_ascii_case(name));
            if set || name == "value" || path.sub.is_some() {
                return None;
            }
            let value = match literal {
                Literal::Null => return None,
                Literal::Bool(flag) => Value::Bool(*flag),
                Literal::Number(number) => Value::Number(number.clone()),
                Literal::String(text) | Literal::Bare(text) => Value::from(text.as_str()),
            };
            let value = match (target.attribute, part) {
                (Some(attribute), Some(part)) => coerce::part(attribute, part, &value, target.seen).ok()??,
                _ => value,
            };
            Some(Map::from_iter([(name.to_owned(), value)]))
        }
        _ => None,
    }
}

/// Adds a value to a list, or to the element of the same value and type: nothing is there twice. Gives the element's place.
fn join(list: &mut Vec<Value>, value: Value, attribute: Option<&Attribute>) -> usize {
    let found = list.iter().position(|element| match (element, &value) {
        (Value::Object(old), Value::Object(new)) => match (get_attribute(old, "value"), get_attribute(new, "value")) {
            (Some(a), Some(b)) => {
                let kind = |map: &Map<String, Value>| get_attribute(map, "type").cloned().unwrap_or(Value::Null);
                same(a, b, attribute, "value") && same(&kind(old), &kind(new), attribute, "type")
            }
            _ => old == new,
        },
        (old, new) => same(old, new, attribute, ""),
    });
    match (found, value) {
        (Some(i), Value::Object(new)) => {
            if let Some(old) = list[i].as_object_mut() {
                old.extend(new);
            }
            i
        }
        (Some(i), _) => i,
        (None, value) => {
            list.push(value);
            list.len() - 1
        }
    }
}

/// At most one element is primary: the one that this operation made so, and the last of several.
fn settle_primary(list: &mut [Value], touched: &[usize]) {
    if list.iter().filter(|element| is_primary(element)).count() < 2 {
        return;
    }
    let Some(winner) = touched.iter().rev().find(|i| is_primary(&list[**i])).copied() else {
        return;
    };
    for (i, element) in list.iter_mut().enumerate() {
        if i != winner && is_primary(element) {
            element["primary"] = Value::Bool(false);
        }
    }
}

fn as_list(value: Option<Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    }
}

fn unlist(value: Option<Value>, single: bool) -> Option<Value> {
    match value {
        Some(Value::Array(mut list)) if single => list.pop(),
        other => other,
    }
}

fn without_empty(mut list: Vec<Value>) -> Option<Value> {
    list.retain(|element| !is_unassigned(element));
    (!list.is_empty()).then_some(Value::Array(list))
}

fn bounded(list: Vec<Value>, target: &Target) -> Result<Value, ScimError> {
    match list.len() > MAX_VALUES {
        true => Err(ScimError::invalid_value(format!(
            "{}: more than {MAX_VALUES} values",
            target.path.attr.name
        ))),
        false => Ok(Value::Array(list)),
    }
}
