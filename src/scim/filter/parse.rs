//! The reader of filters and PATCH paths: recursive descent over the grammar of RFC 7644 §3.4.2.2, one pass, bounded in bytes, depth and terms.
//!
//! More than the grammar, because clients send it: several spaces, spaces inside brackets, `not(`, `$ref`, and a word for a string.

use std::fmt;

use super::{Filter, Literal, MAX_BYTES, MAX_DEPTH, MAX_TERMS, Op};
use crate::scim::error::{ScimError, excerpt};
use crate::scim::path::{AttrPath, Path};

/// Where reading stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Bytes from the start.
    pub offset: usize,
    /// What was expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.message)
    }
}

/// Reads a whole filter.
pub(crate) fn filter(text: &str) -> Result<Filter, Fault> {
    let mut reader = Reader::new(text)?;
    let filter = reader.any(false)?;
    reader.spaces();
    match reader.rest().chars().next() {
        None => Ok(filter),
        Some(c) => Err(reader.fault(format!("expected \"and\", \"or\" or the end, found {c:?}"))),
    }
}

/// Reads a whole PATCH path.
pub(crate) fn path(text: &str) -> Result<Path, ScimError> {
    let bad_path = |fault: Fault| ScimError::invalid_path(format!("path \"{}\" {fault}", excerpt(text)));
    let bad_filter = |fault: Fault| ScimError::invalid_filter(format!("path \"{}\" {fault}", excerpt(text)));
    let mut reader = Reader::new(text).map_err(bad_path)?;
    let mut attr = reader.attr().map_err(bad_path)?;
    if !reader.take('[') {
        return reader.finish().map_err(bad_path).map(|()| Path { attr, filter: None });
    }
    if attr.sub.is_some() || attr.name.is_empty() {
        return Err(bad_path(
            reader.fault("brackets follow an attribute, not a sub-attribute or a schema".into()),
        ));
    }
    let filter = reader.any(true).map_err(bad_filter)?;
    reader.spaces();
    if !reader.take(']') {
        return Err(bad_filter(reader.fault("expected \"]\"".into())));
    }
    if reader.take('.') {
        let at = reader.at;
        let sub = reader.attr().map_err(bad_path)?;
        if sub.urn.is_some() || sub.sub.is_some() {
            return Err(bad_path(Fault {
                offset: at,
                message: "expected one sub-attribute".into(),
            }));
        }
        attr.sub = Some(sub.name);
    }
    reader.finish().map_err(bad_path)?;
    Ok(Path {
        attr,
        filter: Some(filter),
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    terms: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Result<Reader<'a>, Fault> {
        match text.len() > MAX_BYTES {
            true => Err(Fault {
                offset: MAX_BYTES,
                message: format!("longer than {MAX_BYTES} bytes"),
            }),
            false => Ok(Reader {
                text,
                at: 0,
                depth: 0,
                terms: 0,
            }),
        }
    }

    fn fault(&self, message: String) -> Fault {
        Fault { offset: self.at, message }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips spaces; how many there were.
    fn spaces(&mut self) -> usize {
        let count = self.rest().bytes().take_while(|b| *b == b' ').count();
        self.at += count;
        count
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn finish(&self) -> Result<(), Fault> {
        match self.rest().chars().next() {
            None => Ok(()),
            Some(c) => Err(self.fault(format!("expected the end, found {c:?}"))),
        }
    }

    fn down(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.fault(format!("nested deeper than {MAX_DEPTH}"))),
            false => Ok(()),
        }
    }

    /// One or more `or`.
    fn any(&mut self, inside: bool) -> Result<Filter, Fault> {
        let mut parts = Vec::new();
        loop {
            match self.all(inside)? {
                Filter::Or(inner) => parts.extend(inner),
                part => parts.push(part),
            }
            if !self.word("or") {
                return Ok(one_or(parts, Filter::Or));
            }
        }
    }

    /// One or more `and`, which binds closer.
    fn all(&mut self, inside: bool) -> Result<Filter, Fault> {
        let mut parts = Vec::new();
        loop {
            match self.one(inside)? {
                Filter::And(inner) => parts.extend(inner),
                part => parts.push(part),
            }
            if !self.word("and") {
                return Ok(one_or(parts, Filter::And));
            }
        }
    }

    /// Takes a space and the word, if both are there.
    fn word(&mut self, word: &str) -> bool {
        let start = self.at;
        let before = self.spaces();
        let rest = self.rest();
        let found = before > 0 && rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        if found && (rest.len() == word.len() || rest[word.len()..].starts_with([' ', '('])) {
            self.at += word.len();
            return true;
        }
        self.at = start;
        false
    }

    fn one(&mut self, inside: bool) -> Result<Filter, Fault> {
        self.spaces();
        if self.rest().starts_with('(') {
            return self.group(inside);
        }
        if self.rest().get(..3).is_some_and(|head| head.eq_ignore_ascii_case("not"))
            && self.rest()[3..].trim_start_matches(' ').starts_with('(')
        {
            self.at += 3;
            self.spaces();
            return Ok(Filter::Not(Box::new(self.group(inside)?)));
        }
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(self.fault(format!("more than {MAX_TERMS} comparisons")));
        }
        let start = self.at;
        let attr = self.attr()?;
        if self.rest().starts_with('[') {
            if inside {
                return Err(self.fault("brackets do not nest".into()));
            }
            if attr.sub.is_some() || attr.name.is_empty() {
                return Err(Fault {
                    offset: start,
                    message: "brackets follow an attribute, not a sub-attribute or a schema".into(),
                });
            }
            self.down()?;
            self.at += 1;
            let inner = self.any(true)?;
            self.spaces();
            if !self.take(']') {
                return Err(self.fault("expected \"and\", \"or\" or \"]\"".into()));
            }
            self.depth -= 1;
            return Ok(Filter::Element(attr, Box::new(inner)));
        }
        if self.spaces() == 0 {
            return Err(self.fault("expected an operator".into()));
        }
        let length = self.rest().find(|c: char| !c.is_alphanumeric()).unwrap_or(self.rest().len());
        let name = &self.rest()[..length];
        if name.eq_ignore_ascii_case("pr") {
            self.at += length;
            return Ok(Filter::Present(attr));
        }
        let Some(op) = Op::read(name) else {
            let known = "eq, ne, co, sw, ew, pr, gt, ge, lt, le";
            let found = if name.is_empty() {
                "expected an operator".to_owned()
            } else {
                format!("unknown operator \"{}\"", excerpt(name))
            };
            return Err(self.fault(format!("{found}: one of {known}")));
        };
        self.at += length;
        if self.spaces() == 0 {
            return Err(self.fault("expected a space and a value".into()));
        }
        Ok(Filter::Compare(attr, op, self.literal()?))
    }

    fn group(&mut self, inside: bool) -> Result<Filter, Fault> {
        self.down()?;
        self.at += 1;
        let inner = self.any(inside)?;
        self.spaces();
        if !self.take(')') {
            return Err(self.fault("expected \"and\", \"or\" or \")\"".into()));
        }
        self.depth -= 1;
        Ok(inner)
    }

    fn attr(&mut self) -> Result<AttrPath, Fault> {
        let length = self.rest().find([' ', '(', ')', '[', ']', '"']).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.fault("expected an attribute".into()));
        }
        let attr = AttrPath::read(&self.rest()[..length]).map_err(|message| self.fault(message))?;
        self.at += length;
        Ok(attr)
    }

    fn literal(&mut self) -> Result<Literal, Fault> {
        let rest = self.rest();
        if let Some(text) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = text.bytes().position(|b| match (b, escaped) {
                (b'\\', false) => {
                    escaped = true;
                    false
                }
                (b'"', false) => true,
                _ => {
                    escaped = false;
                    false
                }
            });
            let length = end.map(|end| end + 2).ok_or_else(|| self.fault("the string does not end".into()))?;
            let text = serde_json::from_str(&rest[..length]).map_err(|_| self.fault("not a JSON string".into()))?;
            self.at += length;
            return Ok(Literal::String(text));
        }
        let length = rest.find([' ', '(', ')', '[', ']', '"']).unwrap_or(rest.len());
        let literal = match &rest[..length] {
            "null" => Literal::Null,
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && !is_word(number) => {
                Literal::Number(serde_json::from_str(number).map_err(|_| self.fault("not a number".into()))?)
            }
            word if is_word(word) => Literal::Bare(word.to_owned()),
            _ => return Err(self.fault("expected a value: a string in double quotes, a number, true, false or null".into())),
        };
        self.at += length;
        Ok(literal)
    }
}

/// What some clients write without quotes: names, addresses and ids. No number, and no null in another case.
pub(crate) fn is_word(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-@+".contains(&b);
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(inside)
        && !text.bytes().all(|b| b"0123456789+-.eE".contains(&b))
        && !text.eq_ignore_ascii_case("null")
}

fn one_or(mut parts: Vec<Filter>, many: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            many(parts)
        }
    }
}
