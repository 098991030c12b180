//! CEL, compiled and judged within bounds: a source's username over `user`, a mapping's roles and namespaces over `group`, `match` and `source`. Who bears which name is in `usernames`, what groups yield in `yields`.
//!
//! The `cel` crate parses; [`eval`] judges, because an evaluator that cannot be stopped must not read what an identity provider sends: in the crate
//! `replace` and `+` in a `map` grow without limit. A test compares the two on what both know.

mod compile;
mod eval;
mod functions;
mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use compile::Node;
pub use compile::{CompileError, Variable};

/// The longest expression, in bytes.
pub const EXPRESSION_MAX: usize = 1024;
/// The most attributes of a user that are looked at, as JSON text in bytes.
pub const INPUT_MAX: usize = 64 * 1024;
/// The longest text that an expression may yield, in bytes.
pub const OUTPUT_MAX: usize = 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    root: Arc<Node>,
    /// What it is over, when that is one variable.
    variable: &'static str,
    reads: Option<Arc<BTreeSet<String>>>,
}

/// Why an expression yields nothing: then nothing is granted by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    /// The attributes are larger than [`INPUT_MAX`].
    #[error("the attributes are larger than 64 KiB")]
    InputTooLarge,
    /// The expression took too many steps, or made too long texts.
    #[error("the expression does too much work")]
    TooMuchWork,
    /// The result is no text.
    #[error("the expression yields {0}, not a string")]
    NotAString(&'static str),
    /// The result is empty.
    #[error("the expression yields an empty string")]
    Empty,
    /// The result is longer than [`OUTPUT_MAX`].
    #[error("the expression yields more than 1024 bytes")]
    OutputTooLong,
    /// An error that the expression ran into, such as an attribute that the user does not have.
    #[error("{0}")]
    Failed(String),
}

impl Expression {
    /// Compiles an expression over `user`. The error says where and what.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        Self::over_one(text, "user")
    }

    /// Compiles an expression over `group`, with whatever attributes it has.
    pub fn group(text: &str) -> Result<Self, CompileError> {
        Self::over_one(text, "group")
    }

    fn over_one(text: &str, name: &'static str) -> Result<Self, CompileError> {
        let mut expression = Self::over(text, &[Variable { name, fields: None }])?;
        expression.reads = compile::reads(&expression.root, name).map(Arc::new);
        expression.variable = name;
        Ok(expression)
    }

    /// Compiles an expression over these variables.
    pub fn over(text: &str, variables: &[Variable<'_>]) -> Result<Self, CompileError> {
        let root = compile::compile(text, variables)?;
        Ok(Self {
            text: text.into(),
            root: Arc::new(root),
            variable: "",
            reads: None,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The top-level attributes of the user that the expression reads. `None`: it could be any.
    pub fn reads(&self) -> Option<&BTreeSet<String>> {
        self.reads.as_deref()
    }

    /// The username of a user with these attributes. Bounded in time and memory, whatever the attributes are.
    pub fn evaluate(&self, user: &Map<String, Json>) -> Result<String, NoName> {
        if !value::fits(user, INPUT_MAX) {
            return Err(NoName::InputTooLarge);
        }
        self.run(user)
    }

    /// The same from the attributes as JSON text.
    pub fn evaluate_json(&self, user: &str) -> Result<String, NoName> {
        if user.len() > INPUT_MAX {
            return Err(NoName::InputTooLarge);
        }
        let user: Map<String, Json> = serde_json::from_str(user).map_err(|e| NoName::Failed(format!("the user's attributes: {e}")))?;
        self.run(&user)
    }

    fn run(&self, user: &Map<String, Json>) -> Result<String, NoName> {
        Self::text_of(eval::run(&self.root, &[(self.variable, user)], eval::FUEL).0?)
    }

    /// What the expression yields for these values of its variables, which are small: bounded to a small part of what one over a user may cost, and to
    /// what is left of `fuel`, of which it takes what it used.
    pub fn yields(&self, variables: &[(&str, &Map<String, Json>)], fuel: &mut usize) -> Result<String, NoName> {
        let given = eval::FUEL_SMALL.min(*fuel);
        let (value, left) = eval::run(&self.root, variables, given);
        *fuel -= given - left.min(given);
        Self::text_of(value?)
    }

    fn text_of(value: value::Value<'_>) -> Result<String, NoName> {
        match value {
            value::Value::Text(text) if text.is_empty() => Err(NoName::Empty),
            value::Value::Text(text) if text.len() > OUTPUT_MAX => Err(NoName::OutputTooLong),
            value::Value::Text(text) => Ok(text.to_string()),
            other => Err(NoName::NotAString(other.type_name())),
        }
    }

    /// What is wrong with the examples of a source; empty is good.
    pub fn check<'a>(&self, examples: impl IntoIterator<Item = (&'a Map<String, Json>, &'a str)>) -> Vec<String> {
        let wrong = |(i, (user, expect)): (usize, (&Map<String, Json>, &str))| {
            let found = match self.evaluate(user) {
                Ok(name) if name == expect => return None,
                Ok(name) => format!("yields {name:?}"),
                Err(error) => format!("yields no username ({error})"),
            };
            Some(format!("example {}: {found}, but {expect:?} is expected", i + 1))
        };
        examples.into_iter().enumerate().filter_map(wrong).collect()
    }
}
