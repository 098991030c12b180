//! The functions of the expressions, with the meaning that they have in the API server's CEL. Each says what it costs before it does it.

use super::eval::{Fault, Fuel};
use super::value::Value;

macro_rules! functions {
    ($($args:pat => $variant:ident, $name:literal, $member:literal;)*) => {
        /// A function or operator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($variant,)* }

        impl Function {
            /// By name, whether it is called on a target, and the number of arguments.
            pub(super) fn find(name: &str, member: bool, args: usize) -> Option<Self> {
                match (name, member, args) {
                    $(($name, $member, $args) => Some(Self::$variant),)*
                    _ => None,
                }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The names that people write, each once.
            pub(super) fn names() -> String {
                let mut names: Vec<&str> = [$($name,)* "matches"].into_iter().filter(|n| n.starts_with(|c: char| c.is_ascii_alphabetic())).collect();
                names.sort_unstable();
                names.dedup();
                names.join(", ")
            }
        }
    };
}

functions! {
    2 => Add, "_+_", false;
    2 => Subtract, "_-_", false;
    1 => Negate, "-_", false;
    2 => Equal, "_==_", false;
    2 => NotEqual, "_!=_", false;
    2 => Less, "_<_", false;
    2 => LessEqual, "_<=_", false;
    2 => Greater, "_>_", false;
    2 => GreaterEqual, "_>=_", false;
    1 => Not, "!_", false;
    2 => In, "@in", false;
    1 => Size, "size", false;
    0 => SizeOf, "size", true;
    1 => Text, "string", false;
    1 => Int, "int", false;
    1 => StartsWith, "startsWith", true;
    1 => EndsWith, "endsWith", true;
    1 => Contains, "contains", true;
    0 => LowerAscii, "lowerAscii", true;
    0 => UpperAscii, "upperAscii", true;
    0 => Trim, "trim", true;
    2 | 3 => Replace, "replace", true;
    1 | 2 => Split, "split", true;
    1 | 2 => Substring, "substring", true;
    1 => CharAt, "charAt", true;
    1 => IndexOf, "indexOf", true;
    1 => LastIndexOf, "lastIndexOf", true;
    0 | 1 => Join, "join", true;
    0 => HasValue, "hasValue", true;
    0 => ValueOf, "value", true;
    1 => OrValue, "orValue", true;
    1 => Or, "or", true;
}

impl Function {
    /// What it yields, if that is certainly no text.
    pub(super) fn never_text(self) -> Option<&'static str> {
        match self {
            Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual | Self::Not | Self::In => {
                Some("a bool")
            }
            Self::StartsWith | Self::EndsWith | Self::Contains | Self::HasValue => Some("a bool"),
            Self::Subtract | Self::Negate | Self::Size | Self::SizeOf | Self::Int | Self::IndexOf | Self::LastIndexOf => Some("a number"),
            Self::Split => Some("a list"),
            Self::Or => Some("an optional"),
            Self::Add | Self::Text | Self::LowerAscii | Self::UpperAscii | Self::Trim | Self::Replace | Self::Substring => None,
            Self::CharAt | Self::Join | Self::ValueOf | Self::OrValue => None,
        }
    }
}

/// Calls a function; `args` begins with the target, if there is one.
pub(super) fn call<'a>(function: Function, args: &[Value<'a>], fuel: &mut Fuel) -> Result<Value<'a>, Fault> {
    use Function as F;
    use Value as V;
    let wrong = || Err(Fault::failed(format!("{} cannot be applied to {}", function.name(), types(args))));
    Ok(match (function, args) {
        (F::Add, [V::Int(a), V::Int(b)]) => V::Int(a.checked_add(*b).ok_or_else(overflow)?),
        (F::Add, [V::Double(a), V::Double(b)]) => V::Double(a + b),
        (F::Add, [V::Text(a), V::Text(b)]) => {
            fuel.burn(a.len() + b.len())?;
            V::text(format!("{a}{b}"))
        }
        (F::Add, [a, b]) => match (a.elements(), b.elements()) {
            (Some(n), Some(m)) => {
                // a shared list copies the piece that it grows at
                fuel.burn(if matches!(a, V::List(_)) { 64 + m } else { n + m })?;
                let mut list = match a {
                    V::List(list) => list.clone(),
                    _ => (0..n).filter_map(|i| a.element(i)).collect(),
                };
                list.extend((0..m).filter_map(|i| b.element(i)));
                V::List(list)
            }
            _ => return wrong(),
        },
        (F::Subtract, [V::Int(a), V::Int(b)]) => V::Int(a.checked_sub(*b).ok_or_else(overflow)?),
        (F::Subtract, [V::Double(a), V::Double(b)]) => V::Double(a - b),
        (F::Negate, [V::Int(a)]) => V::Int(a.checked_neg().ok_or_else(overflow)?),
        (F::Negate, [V::Double(a)]) => V::Double(-a),
        (F::Equal, [a, b]) => V::Bool(equal(a, b, fuel)?),
        (F::NotEqual, [a, b]) => V::Bool(!equal(a, b, fuel)?),
        (F::Less | F::LessEqual | F::Greater | F::GreaterEqual, [a, b]) => {
            fuel.burn(a.weight(fuel.left()).min(b.weight(fuel.left())))?;
            // NaN is neither less nor greater; what has no order at all is an error
            let order = match (a, b) {
                (V::Double(x), V::Double(y)) if x.is_nan() || y.is_nan() => return Ok(V::Bool(false)),
                _ => a.compare(b),
            };
            let Some(order) = order else { return wrong() };
            V::Bool(match function {
                F::Less => order.is_lt(),
                F::LessEqual => order.is_le(),
                F::Greater => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        (F::Not, [V::Bool(b)]) => V::Bool(!b),
        (F::In, [key, V::Object(map)]) => match key {
            V::Text(key) => V::Bool(map.contains_key(key.as_ref())),
            _ => V::Bool(false),
        },
        (F::In, [item, list]) => {
            let Some(n) = list.elements() else { return wrong() };
            let mut found = false;
            for i in 0..n {
                if let Some(element) = list.element(i)
                    && equal(item, &element, fuel)?
                {
                    found = true;
                    break;
                }
            }
            V::Bool(found)
        }
        (F::Size | F::SizeOf, [value]) => {
            let size = match value {
                V::Text(text) => {
                    fuel.burn(text.len())?;
                    text.chars().count()
                }
                V::Object(map) => map.len(),
                other => match other.elements() {
                    Some(n) => n,
                    None => return wrong(),
                },
            };
            V::Int(index(size))
        }
        (F::Text, [value]) => match value {
            V::Text(_) => value.clone(),
            V::Int(i) => V::text(i.to_string()),
            V::Bool(b) => V::text(b.to_string()),
            _ => return wrong(),
        },
        (F::Int, [value]) => match value {
            V::Int(_) => value.clone(),
            V::Text(text) => V::Int(text.parse().map_err(|_| Fault::failed("int: the text is no number"))?),
            _ => return wrong(),
        },
        (F::HasValue, [V::Optional(inner)]) => V::Bool(inner.is_some()),
        (F::ValueOf, [V::Optional(inner)]) => match inner {
            Some(inner) => (**inner).clone(),
            None => return Err(Fault::failed("value() of an optional without one")),
        },
        (F::OrValue, [V::Optional(inner), other]) => inner.as_deref().unwrap_or(other).clone(),
        (F::Or, [first @ V::Optional(inner), other @ V::Optional(_)]) => (if inner.is_some() { first } else { other }).clone(),
        (F::Join, [list, rest @ ..]) => {
            let separator = match rest {
                [] => "",
                [V::Text(text)] => text,
                _ => return wrong(),
            };
            let Some(n) = list.elements() else { return wrong() };
            let mut joined = String::new();
            for i in 0..n {
                let Some(V::Text(part)) = list.element(i) else { return wrong() };
                fuel.burn(part.len() + separator.len() + 1)?;
                if i > 0 {
                    joined.push_str(separator);
                }
                joined.push_str(&part);
            }
            V::text(joined)
        }
        (_, [V::Text(text), rest @ ..]) => return of_text(function, text, rest, fuel),
        _ => return wrong(),
    })
}

fn of_text<'a>(function: Function, text: &str, args: &[Value<'a>], fuel: &mut Fuel) -> Result<Value<'a>, Fault> {
    use Function as F;
    use Value as V;
    fuel.burn(text.len())?;
    Ok(match (function, args) {
        (F::StartsWith, [V::Text(other)]) => V::Bool(text.starts_with(other.as_ref())),
        (F::EndsWith, [V::Text(other)]) => V::Bool(text.ends_with(other.as_ref())),
        (F::Contains, [V::Text(other)]) => V::Bool(text.contains(other.as_ref())),
        (F::LowerAscii, []) => V::text(text.to_ascii_lowercase()),
        (F::UpperAscii, []) => V::text(text.to_ascii_uppercase()),
        (F::Trim, []) => V::text(text.trim()),
        (F::Replace, [V::Text(from), V::Text(to), limit @ ..]) => {
            let limit = match limit {
                [] => usize::MAX,
                [V::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => return Err(Fault::failed("replace: the limit is no int")),
            };
            fuel.burn(text.matches(from.as_ref()).take(limit).count().saturating_mul(to.len() + 1))?;
            V::text(text.replacen(from.as_ref(), to, limit))
        }
        (F::Split, [V::Text(separator), limit @ ..]) => {
            let limit = match limit {
                [] => usize::MAX,
                [V::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => return Err(Fault::failed("split: the limit is no int")),
            };
            let mut parts = imbl::Vector::new();
            for part in split(text, separator, limit) {
                fuel.burn(4)?;
                parts.push_back(V::text(part));
            }
            V::List(parts)
        }
        (F::Substring, [V::Int(start), end @ ..]) => {
            let count = index(text.chars().count());
            let end = match end {
                [] => count,
                [V::Int(end)] => *end,
                _ => return Err(Fault::failed("substring: the end is no int")),
            };
            if *start < 0 || *start > end || end > count {
                return Err(Fault::failed(format!(
                    "substring: {start} to {end} is out of range, the text has {count} characters"
                )));
            }
            let (skip, take) = (place(*start), place(end - start));
            V::text(text.chars().skip(skip).take(take).collect::<String>())
        }
        (F::CharAt, [V::Int(at)]) => {
            let count = index(text.chars().count());
            if *at < 0 || *at > count {
                return Err(Fault::failed(format!(
                    "charAt: {at} is out of range, the text has {count} characters"
                )));
            }
            V::text(text.chars().nth(place(*at)).map(String::from).unwrap_or_default())
        }
        (F::IndexOf, [V::Text(other)]) => V::Int(text.find(other.as_ref()).map_or(-1, |i| index(text[..i].chars().count()))),
        (F::LastIndexOf, [V::Text(other)]) => V::Int(text.rfind(other.as_ref()).map_or(-1, |i| index(text[..i].chars().count()))),
        _ => {
            let given = types(args);
            return Err(Fault::failed(format!(
                "{} of a string cannot be applied to ({given})",
                function.name()
            )));
        }
    })
}

/// Go's SplitN: an empty separator splits between characters, the last part holds the rest.
fn split<'t>(text: &'t str, separator: &str, limit: usize) -> Box<dyn Iterator<Item = &'t str> + 't> {
    if limit == 0 || (separator.is_empty() && text.is_empty()) {
        return Box::new(std::iter::empty());
    }
    if !separator.is_empty() {
        let separator = separator.to_owned();
        let mut rest = Some(text);
        let mut left = limit;
        return Box::new(std::iter::from_fn(move || {
            let whole = rest.take()?;
            left -= 1;
            if left > 0
                && let Some((part, after)) = whole.split_once(separator.as_str())
            {
                rest = Some(after);
                return Some(part);
            }
            Some(whole)
        }));
    }
    let mut rest = text;
    let mut left = limit;
    Box::new(std::iter::from_fn(move || {
        let c = rest.chars().next()?;
        left -= 1;
        let (part, after) = if left == 0 { (rest, "") } else { rest.split_at(c.len_utf8()) };
        rest = after;
        Some(part)
    }))
}

fn equal<'a>(a: &Value<'a>, b: &Value<'a>, fuel: &mut Fuel) -> Result<bool, Fault> {
    let left = fuel.left();
    fuel.burn(1 + a.weight(left).min(b.weight(left)))?;
    Ok(a.equals(b))
}

fn overflow() -> Fault {
    Fault::failed("integer overflow")
}

fn index(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn place(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn types(args: &[Value<'_>]) -> String {
    args.iter().map(Value::type_name).collect::<Vec<_>>().join(", ")
}
