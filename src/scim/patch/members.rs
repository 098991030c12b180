//! Operations on a group's members, made into calls on [`Members`]. A list of members is never built here.

use serde_json::Value;

use super::OpKind;
use crate::scim::Members;
use crate::scim::error::{ScimError, excerpt};
use crate::scim::filter::{Filter, Op};
use crate::scim::path::Path;
use crate::scim::tolerance::{Seen, Tolerance};

pub(super) fn edit(op: OpKind, path: &Path, value: Option<&Value>, members: &mut dyn Members, seen: &Seen) -> Result<(), ScimError> {
    let sub = path.attr.sub.as_deref();
    if sub.is_some_and(|sub| path.filter.is_some() || !sub.eq_ignore_ascii_case("value")) {
        return Err(ScimError::mutability(
            "a member's parts cannot be changed: remove the member and add another",
        ));
    }
    match (op, &path.filter) {
        (OpKind::Remove, Some(filter)) => match ids(filter) {
            Some(wanted) => {
                wanted.iter().for_each(|id| members.remove(id));
                Ok(())
            }
            None => {
                filter.compile_element(crate::scim::schema::find(crate::scim::ResourceKind::Group, "members"))?;
                members.remove_where(filter)
            }
        },
        // With a list only those in it go: an empty list is nobody.
        (OpKind::Remove, None) => match value {
            None | Some(Value::Null) => {
                members.clear();
                Ok(())
            }
            Some(value) => {
                seen.note(Tolerance::RemoveValues);
                read(value)?.into_iter().for_each(|id| members.remove(id));
                Ok(())
            }
        },
        (OpKind::Add | OpKind::Replace, Some(filter)) => match ids(filter) {
            Some(wanted) if wanted.iter().all(|id| members.contains(id)) => {
                match read(value.unwrap_or(&Value::Null))?.iter().all(|id| wanted.contains(id)) {
                    true => Ok(()),
                    false => Err(ScimError::mutability(
                        "a member's value cannot be changed: remove the member and add another",
                    )),
                }
            }
            _ => Err(ScimError::no_target(format!("{path} matches no member"))),
        },
        (OpKind::Add, None) => add(value, members),
        (OpKind::Replace, None) => {
            // Read before anything is taken out: a value that cannot be read changes nothing.
            read(value.unwrap_or(&Value::Null))?;
            members.clear();
            add(value, members)
        }
    }
}

fn add(value: Option<&Value>, members: &mut dyn Members) -> Result<(), ScimError> {
    read(value.unwrap_or(&Value::Null))?.into_iter().try_for_each(|id| members.add(id))
}

/// The ids in `[{"value": "..."}]`; also of one object, and of bare strings.
pub(crate) fn read(value: &Value) -> Result<Vec<&str>, ScimError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(read_one).collect(),
        one => Ok(vec![read_one(one)?]),
    }
}

fn read_one(member: &Value) -> Result<&str, ScimError> {
    let id = match member {
        Value::String(id) => Some(id.as_str()),
        Value::Object(map) => crate::scim::filter::get_attribute(map, "value").and_then(Value::as_str),
        _ => None,
    };
    id.filter(|id| !id.is_empty()).ok_or_else(|| {
        let found = excerpt(&member.to_string());
        ScimError::invalid_value(format!(
            "members: expected an object with the member's id as \"value\", found {found}"
        ))
    })
}

/// The ids that a filter names: `value eq "a"`, or several with `or`.
fn ids(filter: &Filter) -> Option<Vec<&str>> {
    match filter {
        Filter::Compare(path, Op::Eq, literal) if path.urn.is_none() && path.sub.is_none() && path.name.eq_ignore_ascii_case("value") => {
            Some(vec![literal.text()?])
        }
        Filter::Or(parts) => parts.iter().map(ids).collect::<Option<Vec<_>>>().map(|lists| lists.concat()),
        _ => None,
    }
}
