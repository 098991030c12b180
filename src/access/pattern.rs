//! A pattern over the names of groups, with what it captures. Which group counts when several bear a name is in `select`.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::policy::Refusal;

/// The longest pattern, in bytes.
const PATTERN_MAX: usize = 1024;

/// An anchored regular expression with named captures, compiled. It takes time that grows with the name alone.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    whole: Regex,
    captures: Vec<String>,
}

impl Pattern {
    /// Compiles `spec.groups.pattern`. One that could match a part of a name is refused: it would mean more groups than it seems to.
    pub fn compile(text: &str) -> Result<Self, Refusal> {
        let wrong = |what: String| Refusal::new("InvalidPattern", format!("spec.groups.pattern {text:?}: {what}"));
        if text.len() > PATTERN_MAX {
            return Err(wrong(format!("it has {} bytes; at most {PATTERN_MAX}", text.len())));
        }
        if !text.starts_with('^') || !text.ends_with('$') || text.ends_with("\\$") {
            return Err(wrong("it must match the whole name: begin it with ^ and end it with $".to_owned()));
        }
        // as a whole, alternatives too: ^a|b$ means no name that only begins with a
        let whole = RegexBuilder::new(&format!(r"\A(?:{text})\z"))
            // it is run over every group of a source
            .size_limit(1 << 16)
            .dfa_size_limit(1 << 20)
            .nest_limit(32)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let captures = whole.capture_names().flatten().map(str::to_owned).collect();
        Ok(Self {
            text: text.to_owned(),
            whole,
            captures,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names of its captures, in their order.
    pub fn captures(&self) -> &[String] {
        &self.captures
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.whole.is_match(name)
    }

    /// What it captures of the name; what took no part in the match is not there. `None` when it does not match.
    pub fn captured(&self, name: &str) -> Option<Map<String, Value>> {
        let found = self.whole.captures(name)?;
        let part = |capture: &String| Some((capture.clone(), Value::from(found.name(capture)?.as_str())));
        Some(self.captures.iter().filter_map(part).collect())
    }
}
