//! From text to a bounded tree: what the `cel` crate parses, less what a name has no use for. Nothing is evaluated here.

use std::collections::BTreeSet;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::parser::Parser;
use regex::{Regex, RegexBuilder};

use super::EXPRESSION_MAX;
use super::functions::Function;

/// The most nodes of the tree, with the macros (`exists`, `map`, ...) expanded.
const NODES_MAX: usize = 512;
/// How deep the tree may be.
const DEPTH_MAX: usize = 64;
/// How deep loops (`exists`, `map`, ...) may nest.
const LOOPS_MAX: usize = 2;
/// How many dots, brackets and signs may follow each other: the parser recurses over them.
const PARSER_DEPTH: u16 = 32;

/// An expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct CompileError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong, and what would do.
    pub message: String,
}

/// What an expression may read.
#[derive(Clone, Copy, Debug)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its fields, when no others can be there; `None`: they are known only when there is a value.
    pub fields: Option<&'a [String]>,
}

/// One step of the expression.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Variable(String),
    List(Vec<Node>),
    /// `a.b`, or `has(a.b)`.
    Select {
        of: Box<Node>,
        field: String,
        test: bool,
    },
    /// `a[b]`; `optional` for `a.?b` and `a[?b]`.
    Index {
        of: Box<Node>,
        at: Box<Node>,
        optional: bool,
    },
    If(Box<[Node; 3]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    NotFalse(Box<Node>),
    Call {
        function: Function,
        target: Option<Box<Node>>,
        args: Vec<Node>,
    },
    /// `target.matches('literal')`, with the pattern compiled.
    Matches {
        target: Box<Node>,
        pattern: Box<Regex>,
    },
    Loop(Box<Loop>),
}

/// What a macro such as `exists` expands to.
#[derive(Debug)]
pub(super) struct Loop {
    pub range: Node,
    pub variable: String,
    pub result: String,
    pub start: Node,
    pub condition: Node,
    pub step: Node,
    pub end: Node,
}

/// Compiles an expression over these variables.
pub(super) fn compile(text: &str, variables: &[Variable<'_>]) -> Result<Node, CompileError> {
    let whole = |message: String| CompileError {
        line: 1,
        column: 1,
        message,
    };
    if text.len() > EXPRESSION_MAX {
        return Err(whole(format!("the expression has {} bytes; at most {EXPRESSION_MAX}", text.len())));
    }
    if text.trim().is_empty() {
        return Err(whole("the expression is empty".to_owned()));
    }
    nesting(text)?;
    let parser = Parser::new()
        .enable_optional_syntax(true)
        .max_recursion_depth(PARSER_DEPTH)
        .error_recovery_limit(4);
    let (expr, source) = parser.parse_with_source_info(text).map_err(|errors| parse_error(text, &errors))?;
    let mut compiler = Compiler {
        text,
        source,
        nodes: 0,
        variables,
        scope: variables.iter().map(|variable| variable.name.to_owned()).collect(),
    };
    let root = compiler.node(&expr, 0, 0)?;
    match never_text(&root) {
        None => Ok(root),
        Some(kind) => Err(whole(format!("the expression yields {kind}, not a string"))),
    }
}

/// The parser goes one call deeper for each of these, so they are counted before it sees them.
fn nesting(text: &str) -> Result<(), CompileError> {
    let (mut run, mut open) = (0, 0_usize);
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '!' | '-' | '?' => run += 1,
            c if c.is_whitespace() => {}
            _ => run = 0,
        }
        if open > usize::from(PARSER_DEPTH) || run > usize::from(PARSER_DEPTH) {
            return Err(at(text, i, "the expression nests too deep".to_owned()));
        }
    }
    Ok(())
}

fn at(text: &str, byte: usize, message: String) -> CompileError {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    CompileError { line, column, message }
}

fn parse_error(text: &str, errors: &cel::ParseErrors) -> CompileError {
    let Some(first) = errors.errors.first() else {
        return at(text, 0, "it is not CEL".to_owned());
    };
    CompileError {
        line: usize::try_from(first.pos.0).unwrap_or(1).max(1),
        column: usize::try_from(first.pos.1).unwrap_or(1).max(1),
        message: first.msg.chars().take(300).collect(),
    }
}

struct Compiler<'a> {
    text: &'a str,
    source: SourceInfo,
    nodes: usize,
    variables: &'a [Variable<'a>],
    scope: Vec<String>,
}

impl Compiler<'_> {
    fn error(&self, expr: &IdedExpr, message: impl Into<String>) -> CompileError {
        // the offsets count characters
        let chars = self.source.offset_for(expr.id).map_or(0, |(start, _)| start as usize);
        let byte = self.text.char_indices().nth(chars).map_or(self.text.len(), |(i, _)| i);
        at(self.text, byte, message.into())
    }

    fn boxed(&mut self, expr: &IdedExpr, depth: usize, loops: usize) -> Result<Box<Node>, CompileError> {
        self.node(expr, depth, loops).map(Box::new)
    }

    fn node(&mut self, expr: &IdedExpr, depth: usize, loops: usize) -> Result<Node, CompileError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.error(expr, "the expression has too many parts"));
        }
        if depth > DEPTH_MAX {
            return Err(self.error(expr, "the expression nests too deep"));
        }
        let depth = depth + 1;
        Ok(match &expr.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Null => Node::Null,
                LiteralValue::Boolean(b) => Node::Bool(*b.inner()),
                LiteralValue::Int(i) => Node::Int(*i.inner()),
                LiteralValue::Double(d) => Node::Double(*d.inner()),
                LiteralValue::String(s) => Node::Text(s.inner().to_owned()),
                LiteralValue::Bytes(_) | LiteralValue::UInt(_) => {
                    return Err(self.error(expr, "bytes and uint are of no use here"));
                }
            },
            Expr::Ident(name) if self.scope.contains(name) => Node::Variable(name.clone()),
            Expr::Ident(name) => {
                let there: Vec<String> = self.variables.iter().map(|v| format!("`{}`", v.name)).collect();
                let verb = if there.len() == 1 { "is" } else { "are" };
                return Err(self.error(expr, format!("{name:?} is not known here; there {verb} {}", there.join(", "))));
            }
            Expr::List(list) if list.optional_indices.is_empty() => {
                let elements = list.elements.iter().map(|e| self.node(e, depth, loops)).collect::<Result<_, _>>()?;
                Node::List(elements)
            }
            Expr::Select(select) => {
                self.field(expr, &select.operand, &select.field)?;
                Node::Select {
                    of: self.boxed(&select.operand, depth, loops)?,
                    field: select.field.clone(),
                    test: select.test,
                }
            }
            Expr::Call(call) => self.call(expr, call, depth, loops)?,
            Expr::Comprehension(c) if c.iter_var2.is_none() => {
                if loops >= LOOPS_MAX {
                    return Err(self.error(expr, "loops may nest only once"));
                }
                let range = self.node(&c.iter_range, depth, loops)?;
                let start = self.node(&c.accu_init, depth, loops)?;
                self.scope.extend([c.accu_var.clone(), c.iter_var.clone()]);
                let condition = self.node(&c.loop_cond, depth, loops + 1)?;
                let step = self.node(&c.loop_step, depth, loops + 1)?;
                self.scope.pop();
                let end = self.node(&c.result, depth, loops)?;
                self.scope.pop();
                Node::Loop(Box::new(Loop {
                    range,
                    variable: c.iter_var.clone(),
                    result: c.accu_var.clone(),
                    start,
                    condition,
                    step,
                    end,
                }))
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::List(_) | Expr::Unspecified => {
                return Err(self.error(expr, "maps and messages are of no use here"));
            }
        })
    }

    /// A field of a variable whose fields are known now must be one of them.
    fn field(&self, expr: &IdedExpr, of: &IdedExpr, field: &str) -> Result<(), CompileError> {
        let Expr::Ident(name) = &of.expr else { return Ok(()) };
        let hidden = self.scope.iter().filter(|known| *known == name).count() > 1;
        let variable = self.variables.iter().find(|variable| variable.name == name && !hidden);
        match variable.and_then(|variable| variable.fields) {
            Some(fields) if !fields.iter().any(|known| known == field) => {
                let there = if fields.is_empty() { "none".to_owned() } else { fields.join(", ") };
                Err(self.error(expr, format!("{name} has no {field}; there are: {there}")))
            }
            _ => Ok(()),
        }
    }

    fn call(&mut self, expr: &IdedExpr, call: &cel::common::ast::CallExpr, depth: usize, loops: usize) -> Result<Node, CompileError> {
        let name = call.func_name.as_str();
        if call.target.is_none() {
            match (name, call.args.as_slice()) {
                (operators::CONDITIONAL, [a, b, c]) => {
                    let parts = [
                        self.node(a, depth, loops)?,
                        self.node(b, depth, loops)?,
                        self.node(c, depth, loops)?,
                    ];
                    return Ok(Node::If(Box::new(parts)));
                }
                (operators::LOGICAL_AND, [a, b]) => {
                    return Ok(Node::And(Box::new([self.node(a, depth, loops)?, self.node(b, depth, loops)?])));
                }
                (operators::LOGICAL_OR, [a, b]) => {
                    return Ok(Node::Or(Box::new([self.node(a, depth, loops)?, self.node(b, depth, loops)?])));
                }
                (operators::NOT_STRICTLY_FALSE, [a]) => return Ok(Node::NotFalse(self.boxed(a, depth, loops)?)),
                (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [of, at]) => {
                    if let Expr::Literal(LiteralValue::String(field)) = &at.expr {
                        self.field(expr, of, field.inner())?;
                    }
                    return Ok(Node::Index {
                        of: self.boxed(of, depth, loops)?,
                        at: self.boxed(at, depth, loops)?,
                        optional: name != operators::INDEX,
                    });
                }
                _ => {}
            }
        }
        if name == "matches" {
            return self.matches(expr, call, depth, loops);
        }
        let count = call.args.len();
        let Some(function) = Function::find(name, call.target.is_some(), count) else {
            let shape = if call.target.is_some() {
                "as a member function"
            } else {
                "as a function"
            };
            let known = Function::names();
            return Err(self.error(
                expr,
                format!("{name:?} with {count} arguments is not known {shape}; there are {known}"),
            ));
        };
        let target = call.target.as_deref().map(|t| self.boxed(t, depth, loops)).transpose()?;
        let args = call.args.iter().map(|a| self.node(a, depth, loops)).collect::<Result<_, _>>()?;
        Ok(Node::Call { function, target, args })
    }

    /// A pattern that data could choose would have no bound that is known now: it must stand there as text.
    fn matches(&mut self, expr: &IdedExpr, call: &cel::common::ast::CallExpr, depth: usize, loops: usize) -> Result<Node, CompileError> {
        let (target, pattern) = match (call.target.as_deref(), call.args.as_slice()) {
            (Some(target), [pattern]) | (None, [target, pattern]) => (target, pattern),
            _ => return Err(self.error(expr, "matches has a text and one pattern")),
        };
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            return Err(self.error(pattern, "the pattern of matches must be written out as a string"));
        };
        let compiled = RegexBuilder::new(text.inner())
            .size_limit(1 << 18)
            .dfa_size_limit(1 << 20)
            .nest_limit(32)
            .build()
            .map_err(|e| self.error(pattern, format!("the pattern: {e}")))?;
        Ok(Node::Matches {
            target: self.boxed(target, depth, loops)?,
            pattern: Box::new(compiled),
        })
    }
}

/// What the tree yields, if that is certainly no text.
fn never_text(node: &Node) -> Option<&'static str> {
    match node {
        Node::Null => Some("null"),
        Node::Int(_) | Node::Double(_) => Some("a number"),
        Node::Bool(_) | Node::Select { test: true, .. } | Node::And(_) | Node::Or(_) | Node::NotFalse(_) | Node::Matches { .. } => {
            Some("a bool")
        }
        Node::List(_) => Some("a list"),
        Node::Index { optional: true, .. } => Some("an optional"),
        Node::If(parts) => never_text(&parts[1]).and(never_text(&parts[2])),
        Node::Call { function, .. } => function.never_text(),
        Node::Loop(l) => match &l.end {
            Node::Variable(name) if *name == l.result => never_text(&l.start),
            end => never_text(end),
        },
        Node::Text(_) | Node::Variable(_) | Node::Select { .. } | Node::Index { .. } => None,
    }
}

/// The attributes of a variable that the tree reads; `None` if it uses it as a whole or by a name that is computed.
pub(super) fn reads(root: &Node, of: &str) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    collect(root, of, &mut found).then_some(found)
}

fn collect(node: &Node, variable: &str, found: &mut BTreeSet<String>) -> bool {
    match node {
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Double(_) | Node::Text(_) => true,
        Node::Variable(name) => name != variable,
        Node::List(list) => list.iter().all(|n| collect(n, variable, found)),
        Node::Select { of, field, .. } => match &**of {
            Node::Variable(name) if name == variable => {
                found.insert(field.clone());
                true
            }
            of => collect(of, variable, found),
        },
        Node::Index { of, at, .. } => match (&**of, &**at) {
            (Node::Variable(name), Node::Text(field)) if name == variable => {
                found.insert(field.clone());
                true
            }
            (of, at) => collect(of, variable, found) && collect(at, variable, found),
        },
        Node::If(parts) => parts.iter().all(|n| collect(n, variable, found)),
        Node::And(parts) | Node::Or(parts) => parts.iter().all(|n| collect(n, variable, found)),
        Node::NotFalse(inner) => collect(inner, variable, found),
        Node::Call { target, args, .. } => {
            target.iter().all(|n| collect(n, variable, found)) && args.iter().all(|n| collect(n, variable, found))
        }
        Node::Matches { target, .. } => collect(target, variable, found),
        Node::Loop(l) => {
            // a loop variable of the same name hides it; then nothing is known
            l.variable != variable
                && [&l.range, &l.start, &l.condition, &l.step, &l.end]
                    .into_iter()
                    .all(|n| collect(n, variable, found))
        }
    }
}
