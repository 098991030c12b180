//! The judgement of a compiled expression over its variables. Every step and every byte costs fuel; when it is used up, the answer is an error.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::NoName;
use super::compile::{Loop, Node};
use super::functions;
use super::value::Value;

/// What one evaluation over a user may use: steps and bytes together. A usual one takes some 50; the worst take some 10 ms.
pub(super) const FUEL: usize = 1 << 18;
/// The same over a group, of which there may be many for one mapping, and whose input is small.
pub(super) const FUEL_SMALL: usize = 1 << 13;

/// What is left.
pub(super) struct Fuel(usize);

impl Fuel {
    pub(super) fn burn(&mut self, amount: usize) -> Result<(), Fault> {
        match self.0.checked_sub(amount) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Fault::Spent)
            }
        }
    }

    pub(super) fn left(&self) -> usize {
        self.0
    }
}

/// Why there is no value. CEL lets `||` and `&&` swallow an error; used-up fuel nothing swallows.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Spent,
    Failed(Rc<str>),
}

impl Fault {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into().into())
    }
}

type Outcome<'a> = Result<Value<'a>, Fault>;

struct Scope<'a, 's> {
    name: &'s str,
    value: Outcome<'a>,
    outer: Option<&'s Scope<'a, 's>>,
}

/// Evaluates the tree over the values of its variables; and what is left of the fuel.
pub(super) fn run<'a>(root: &Node, variables: &[(&str, &'a Map<String, Json>)], fuel: usize) -> (Result<Value<'a>, NoName>, usize) {
    let mut left = Fuel(fuel);
    let value = bind(root, variables, None, &mut left).map_err(|fault| match fault {
        Fault::Spent => NoName::TooMuchWork,
        Fault::Failed(message) => NoName::Failed(message.to_string()),
    });
    (value, left.0)
}

fn bind<'a>(root: &Node, left: &[(&str, &'a Map<String, Json>)], outer: Option<&Scope<'a, '_>>, fuel: &mut Fuel) -> Outcome<'a> {
    match (left.split_first(), outer) {
        (Some(((name, value), left)), _) => {
            let scope = Scope {
                name,
                value: Ok(Value::Object(value)),
                outer,
            };
            bind(root, left, Some(&scope), fuel)
        }
        (None, Some(scope)) => eval(root, scope, fuel),
        (None, None) => Err(Fault::failed("there is nothing to read")),
    }
}

fn eval<'a>(node: &Node, scope: &Scope<'a, '_>, fuel: &mut Fuel) -> Outcome<'a> {
    fuel.burn(1)?;
    Ok(match node {
        Node::Null => Value::Null,
        Node::Bool(b) => Value::Bool(*b),
        Node::Int(i) => Value::Int(*i),
        Node::Double(d) => Value::Double(*d),
        Node::Text(text) => {
            fuel.burn(text.len())?;
            Value::text(text.as_str())
        }
        Node::Variable(name) => return variable(name, scope, fuel),
        Node::List(list) => Value::List(list.iter().map(|n| eval(n, scope, fuel)).collect::<Result<_, _>>()?),
        Node::Select { of, field, test } => {
            let of = eval(of, scope, fuel)?;
            return select(of, field, *test);
        }
        Node::Index { of, at, optional } => {
            let of = eval(of, scope, fuel)?;
            let at = eval(at, scope, fuel)?;
            return index(of, &at, *optional);
        }
        Node::If(parts) => match eval(&parts[0], scope, fuel)? {
            Value::Bool(true) => return eval(&parts[1], scope, fuel),
            Value::Bool(false) => return eval(&parts[2], scope, fuel),
            other => {
                return Err(Fault::failed(format!(
                    "the condition before ? is {}, not a bool",
                    other.type_name()
                )));
            }
        },
        Node::And(parts) => return logic(parts, false, scope, fuel),
        Node::Or(parts) => return logic(parts, true, scope, fuel),
        Node::NotFalse(inner) => match eval(inner, scope, fuel) {
            Ok(Value::Bool(b)) => Value::Bool(b),
            Err(Fault::Spent) => return Err(Fault::Spent),
            _ => Value::Bool(true),
        },
        Node::Call { function, target, args } => {
            let mut values = Vec::with_capacity(args.len() + 1);
            for part in target.iter().map(AsRef::as_ref).chain(args) {
                values.push(eval(part, scope, fuel)?);
            }
            return functions::call(*function, &values, fuel);
        }
        Node::Matches { target, pattern } => match eval(target, scope, fuel)? {
            Value::Text(text) => {
                fuel.burn(text.len().saturating_mul(4))?;
                Value::Bool(pattern.is_match(&text))
            }
            other => return Err(Fault::failed(format!("matches cannot be applied to {}", other.type_name()))),
        },
        Node::Loop(l) => return run_loop(l, scope, fuel),
    })
}

fn variable<'a>(name: &str, scope: &Scope<'a, '_>, fuel: &mut Fuel) -> Outcome<'a> {
    let mut at = Some(scope);
    while let Some(scope) = at {
        if scope.name == name {
            // a text that was made here is copied with its variable
            if let Ok(Value::Text(std::borrow::Cow::Owned(text))) = &scope.value {
                fuel.burn(text.len())?;
            }
            return scope.value.clone();
        }
        at = scope.outer;
    }
    Err(Fault::failed(format!("{name} is not known")))
}

fn select<'a>(of: Value<'a>, field: &str, test: bool) -> Outcome<'a> {
    match of {
        Value::Object(map) if test => Ok(Value::Bool(map.contains_key(field))),
        Value::Object(map) => map
            .get(field)
            .map(Value::from_json)
            .ok_or_else(|| Fault::failed(format!("no such attribute: {field}"))),
        // an optional's fields are optional
        Value::Optional(None) => Ok(if test { Value::Bool(false) } else { Value::Optional(None) }),
        Value::Optional(Some(inner)) if test => select(*inner, field, true),
        Value::Optional(Some(inner)) => index(*inner, &Value::text(field), true),
        other => Err(Fault::failed(format!("{} has no attribute {field}", other.type_name()))),
    }
}

fn index<'a>(of: Value<'a>, at: &Value<'a>, optional: bool) -> Outcome<'a> {
    let (of, optional) = match of {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => (*inner, true),
        other => (other, optional),
    };
    let found = match (&of, at) {
        (Value::Object(map), Value::Text(key)) => map.get(key.as_ref()).map(Value::from_json),
        (Value::List(_) | Value::Array(_), Value::Int(i)) => usize::try_from(*i).ok().and_then(|i| of.element(i)),
        _ => return Err(Fault::failed(format!("{} cannot be indexed by {}", of.type_name(), at.type_name()))),
    };
    match (found, optional) {
        (found, true) => Ok(Value::Optional(found.map(Box::new))),
        (Some(found), false) => Ok(found),
        (None, false) => Err(Fault::failed(match at {
            Value::Text(key) => format!("no such attribute: {key}"),
            Value::Int(i) => format!("the list has no element {i}"),
            _ => "no such element".to_owned(),
        })),
    }
}

/// `&&` and `||`: one operand that settles it is enough, even beside an error.
fn logic<'a>(parts: &[Node; 2], settles: bool, scope: &Scope<'a, '_>, fuel: &mut Fuel) -> Outcome<'a> {
    let mut fault = None;
    for part in parts {
        match eval(part, scope, fuel) {
            Ok(Value::Bool(b)) if b == settles => return Ok(Value::Bool(settles)),
            Ok(Value::Bool(_)) => {}
            Ok(other) => fault = fault.or_else(|| Some(Fault::failed(format!("&& and || want bools, not {}", other.type_name())))),
            Err(Fault::Spent) => return Err(Fault::Spent),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    match fault {
        Some(fault) => Err(fault),
        None => Ok(Value::Bool(!settles)),
    }
}

fn run_loop<'a>(l: &Loop, scope: &Scope<'a, '_>, fuel: &mut Fuel) -> Outcome<'a> {
    let range = eval(&l.range, scope, fuel)?;
    let keys: Option<Vec<&'a str>> = match &range {
        Value::Object(map) => Some(map.keys().map(String::as_str).collect()),
        _ => None,
    };
    let Some(count) = keys.as_ref().map(Vec::len).or_else(|| range.elements()) else {
        return Err(Fault::failed(format!("a loop wants a list, not {}", range.type_name())));
    };
    let mut accumulated = eval(&l.start, scope, fuel);
    for i in 0..count {
        let item = match &keys {
            Some(keys) => keys.get(i).map(|key| Value::Text((*key).into())),
            None => range.element(i),
        };
        let Some(item) = item else { break };
        let outer = Scope {
            name: &l.result,
            value: accumulated,
            outer: Some(scope),
        };
        let inner = Scope {
            name: &l.variable,
            value: Ok(item),
            outer: Some(&outer),
        };
        match eval(&l.condition, &inner, fuel)? {
            Value::Bool(true) => {}
            _ => {
                accumulated = outer.value;
                break;
            }
        }
        let step = eval(&l.step, &inner, fuel);
        if matches!(step, Err(Fault::Spent)) {
            return step;
        }
        accumulated = step;
    }
    let end = Scope {
        name: &l.result,
        value: accumulated,
        outer: Some(scope),
    };
    eval(&l.end, &end, fuel)
}
