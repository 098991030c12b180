//! What is done instead of a write that takes access away and that Kubernetes refuses: a pure function. Whether it was refused is the controller's to know.

use super::diff::{Class, Plan, Removal, Replacement};
use super::gate::{Op, without};
use super::why::Cause;

/// A revoking PUT that Kubernetes refused becomes a DELETE: who could have stayed goes too, and is granted it again when one looks next. Whose removal is
/// held would not be granted anything again: for them it is done only when somebody has to go whom the provider disabled or deleted.
pub fn deletion_instead(op: &Op, before: &Plan) -> Option<Op> {
    let Op::Put {
        uid,
        resource_version,
        removals,
        adds,
        ..
    } = op
    else {
        return None;
    };
    let base = before.base.as_ref()?;
    if removals.is_empty() || !adds.is_empty() || base.uid != *uid || base.resource_version != *resource_version {
        return None;
    }
    let mut all = removals.clone();
    let why = &removals.first()?.why;
    let said = removals.iter().any(|removal| removal.class == Class::Said);
    for subject in without(&base.subjects, removals) {
        let due = before.removals.iter().find(|removal| removal.subject == subject);
        match due {
            // another person's name now, or one that is to be in another binding: it is held only for a moment
            Some(held) if held.replacement != Replacement::None => {}
            Some(_) if !said => return None,
            Some(held) => {
                all.push(held.clone());
                continue;
            }
            None => {}
        }
        let mut why = why.clone();
        (why.cause, why.group, why.source) = (Cause::Rewritten, None, String::new());
        all.push(Removal {
            subject,
            grantee: None,
            class: Class::Replaced,
            why,
            replacement: Replacement::Here,
            counted: false,
        });
    }
    Some(Op::Delete {
        uid: uid.clone(),
        resource_version: resource_version.clone(),
        removals: all,
    })
}
