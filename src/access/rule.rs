//! One rule of a mapping, compiled: a role or an expression with its closed list, and where it is granted. What a group yields by it is in `yields`.

use std::collections::BTreeSet;

use super::creation::Creation;
use super::expression::{Expression, Variable};
use super::mapping::each_once;
use super::policy::Refusal;
use super::yields::is_label;
use crate::api::mapping::{GrantedRole, Namespaces, RoleKind, RoleRef};
use crate::api::selector::Selector;

/// What an expression may read of a group.
pub const GROUP_FIELDS: [&str; 3] = ["id", "displayName", "externalId"];

/// One role and where it is granted.
#[derive(Clone, Debug)]
pub struct GrantRule {
    /// The role.
    pub role: Role,
    /// Where.
    pub place: Place,
    /// How missing namespaces are made; none: they are waited for.
    pub create: Option<Creation>,
}

/// The role of a rule.
#[derive(Clone, Debug)]
pub enum Role {
    /// The same for every group.
    Named(RoleRef),
    /// What an expression yields for each group, of a closed list.
    Yielded {
        /// The kind.
        kind: RoleKind,
        /// Yields its name.
        expression: Expression,
        /// The only names that it may yield.
        one_of: Vec<String>,
    },
}

/// Where a role is granted.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the mapping's own namespace.
    Own,
    /// In namespaces by name.
    Names(BTreeSet<String>),
    /// In namespaces by label.
    Labels(Selector),
    /// In the namespace that an expression yields for each group.
    Yielded(Expression),
    /// In the whole cluster.
    Everywhere,
}

impl Place {
    /// Where, for people.
    pub fn text(&self) -> String {
        match self {
            Self::Own => "in the mapping's namespace".to_owned(),
            Self::Names(names) => {
                let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
                let more = if names.len() > shown.len() { " and others" } else { "" };
                format!("in {}{more}", shown.join(" and "))
            }
            Self::Labels(_) => "in the selected namespaces".to_owned(),
            Self::Yielded(_) => "in its own namespace".to_owned(),
            Self::Everywhere => "in the whole cluster".to_owned(),
        }
    }
}

impl GrantRule {
    /// Compiles the rule at that position of `spec.grants`. `captures`: what the mapping's pattern captures.
    pub fn of(i: usize, role: &GrantedRole, namespaces: Option<&Namespaces>, captures: &[String]) -> Result<Self, Refusal> {
        let place = match namespaces {
            None => Place::Own,
            Some(namespaces) => place(i, namespaces, captures)?,
        };
        let create = namespaces.and_then(|namespaces| namespaces.create.as_ref());
        let create = create.map(|create| match &place {
            Place::Yielded(_) => Creation::of(i, create, true, captures),
            Place::Names(_) => Creation::of(i, create, false, captures),
            Place::Own | Place::Labels(_) | Place::Everywhere => Err(Refusal::new(
                "InvalidSpec",
                format!("spec.grants[{i}].namespaces.create: it needs names or expression, which say which namespaces to make"),
            )),
        });
        if matches!(place, Place::Everywhere) && role.kind != RoleKind::ClusterRole {
            return Err(Refusal::new(
                "InvalidSpec",
                format!("spec.grants[{i}]: only a ClusterRole can be granted in the whole cluster (all)"),
            ));
        }
        Ok(Self {
            role: Role::of(i, role, captures)?,
            place,
            create: create.transpose()?,
        })
    }

    /// Whether each group may yield something else.
    pub fn is_by_group(&self) -> bool {
        matches!(self.role, Role::Yielded { .. }) || matches!(self.place, Place::Yielded(_))
    }
}

impl Role {
    fn of(i: usize, role: &GrantedRole, captures: &[String]) -> Result<Self, Refusal> {
        match role {
            GrantedRole {
                kind,
                name: Some(name),
                expression: None,
                one_of: None,
            } => Ok(Self::Named(RoleRef {
                kind: *kind,
                name: name.clone(),
            })),
            GrantedRole {
                kind,
                name: None,
                expression: Some(text),
                one_of: Some(one_of),
            } if !one_of.is_empty() => Ok(Self::Yielded {
                kind: *kind,
                expression: expression(&format!("spec.grants[{i}].roleRef.expression"), text, captures)?,
                one_of: each_once(one_of),
            }),
            _ => Err(Refusal::new(
                "InvalidSpec",
                format!("spec.grants[{i}].roleRef: either name is set, or expression and oneOf"),
            )),
        }
    }

    /// Every role that the rule can grant.
    pub fn all(&self) -> Vec<RoleRef> {
        match self {
            Self::Named(role) => vec![role.clone()],
            Self::Yielded { kind, one_of, .. } => {
                let named = |name: &String| RoleRef {
                    kind: *kind,
                    name: name.clone(),
                };
                one_of.iter().map(named).collect()
            }
        }
    }
}

fn place(i: usize, namespaces: &Namespaces, captures: &[String]) -> Result<Place, Refusal> {
    let field = format!("spec.grants[{i}].namespaces");
    if let Some(name) = namespaces.names.iter().flatten().find(|name| !is_label(name)) {
        let message =
            format!("{field}.names: {name:?} is no name of a namespace: at most 63 lower case letters, digits and '-' (RFC 1123)");
        return Err(Refusal::new("InvalidSpec", message));
    }
    match (&namespaces.names, &namespaces.selector, &namespaces.expression, namespaces.all) {
        (Some(names), None, None, false) => Ok(Place::Names(names.iter().cloned().collect())),
        (None, Some(selector), None, false) => Ok(Place::Labels(selector.clone())),
        (None, None, Some(text), false) => Ok(Place::Yielded(expression(&format!("{field}.expression"), text, captures)?)),
        (None, None, None, true) => Ok(Place::Everywhere),
        _ => Err(Refusal::new(
            "InvalidSpec",
            format!("{field}: exactly one of names, selector, expression and all must be set"),
        )),
    }
}

/// Compiles an expression over a group.
pub(super) fn expression(field: &str, text: &str, captures: &[String]) -> Result<Expression, Refusal> {
    let (group, source) = (GROUP_FIELDS.map(str::to_owned), ["name".to_owned()]);
    let closed = |name, fields| Variable {
        name,
        fields: Some(fields),
    };
    let variables = [closed("group", &group), closed("match", captures), closed("source", &source)];
    Expression::over(text, &variables).map_err(|error| Refusal::new("InvalidExpression", format!("{field} at {error}")))
}
