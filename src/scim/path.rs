//! Attribute paths and PATCH paths (RFC 7644 §3.5.2, §3.10): `a`, `a.b`, `a[f]`, `a[f].b`, each with a URN before it. Where a path leads is the schema's business.

use std::fmt;

use super::error::ScimError;
use super::filter::{Filter, parse};
use super::schema;

/// An attribute path: `userName`, `name.givenName`, `urn:...:User:manager.value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttrPath {
    /// The schema's URN before the attribute. One of ours is spelled as we spell it.
    pub urn: Option<String>,
    /// The attribute, as it was written. Empty only when the path is the URN of one of our schemas and nothing more.
    pub name: String,
    /// The sub-attribute, as it was written.
    pub sub: Option<String>,
}

/// What a PATCH operation is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The attribute, and the sub-attribute after the value filter if there is one.
    pub attr: AttrPath,
    /// The value filter in brackets.
    pub filter: Option<Filter>,
}

impl AttrPath {
    /// Reads an attribute path. The error says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<AttrPath, String> {
        let wrong = |part: &str, what: &str| format!("\"{}\" is not {what}", super::error::excerpt(part));
        // Only a schema that is known may stand alone: it looks like an attribute of another.
        if let Some(urn) = schema::known_urn(text) {
            return Ok(AttrPath {
                urn: Some(urn.to_owned()),
                name: String::new(),
                sub: None,
            });
        }
        let (urn, rest) = match text.rsplit_once(':') {
            Some((urn, rest)) => (Some(urn), rest),
            None => (None, text),
        };
        if let Some(urn) = urn.filter(|urn| !is_uri(urn)) {
            return Err(wrong(urn, "the URI of a schema"));
        }
        let (name, sub) = match rest.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (rest, None),
        };
        for part in [Some(name), sub].into_iter().flatten() {
            if !is_name(part) {
                return Err(wrong(part, "an attribute name"));
            }
        }
        Ok(AttrPath {
            urn: urn.map(|urn| schema::known_urn(urn).unwrap_or(urn).to_owned()),
            name: name.to_owned(),
            sub: sub.map(str::to_owned),
        })
    }

    /// Reads an attribute path, as `attributes` and `excludedAttributes` have them.
    pub fn parse(text: &str) -> Result<AttrPath, ScimError> {
        AttrPath::read(text).map_err(ScimError::invalid_path)
    }
}

/// A URI as RFC 3986 has it: a scheme, a colon, and what may stand behind it. Its parts are not told apart.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let hex = |part: &str| part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'*+,;=%".contains(c))
        && rest.split('%').skip(1).all(hex)
}

/// ATTRNAME, and `$ref`, which the RFC uses and its grammar forgets.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '$' || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '$' | '-' | '_'))
}

impl Path {
    /// Reads a PATCH path. A fault in the brackets is `invalidFilter`, any other `invalidPath`; both say where.
    pub fn parse(text: &str) -> Result<Path, ScimError> {
        parse::path(text)
    }
}

impl fmt::Display for AttrPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(urn) = &self.urn {
            write!(f, "{urn}")?;
            if !self.name.is_empty() {
                write!(f, ":")?;
            }
        }
        write!(f, "{}", self.name)?;
        match &self.sub {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.filter {
            None => write!(f, "{}", self.attr),
            Some(filter) => {
                let bare = AttrPath {
                    sub: None,
                    ..self.attr.clone()
                };
                write!(f, "{bare}[{filter}]")?;
                match &self.attr.sub {
                    Some(sub) => write!(f, ".{sub}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// URN, attribute, filter, sub-attribute.
    type Parts<'a> = (Option<&'a str>, &'a str, Option<&'a str>, Option<&'a str>);

    fn check(text: &str, expected: Result<Parts, &str>) {
        let parsed = Path::parse(text);
        match (&parsed, expected) {
            (Ok(path), Ok((urn, name, filter, sub))) => {
                let filter_text = path.filter.as_ref().map(|f| f.to_string());
                let got = (
                    path.attr.urn.as_deref(),
                    path.attr.name.as_str(),
                    filter_text.as_deref(),
                    path.attr.sub.as_deref(),
                );
                assert_eq!(got, (urn, name, filter, sub), "{text}");
                assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(path), "{text}");
            }
            (Err(error), Err(scim_type)) => assert_eq!(error.scim_type, Some(scim_type), "{text}: {error}"),
            _ => panic!("{text}: {parsed:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn paths() {
        let enterprise = Some(schema::ENTERPRISE_URN);
        check("userName", Ok((None, "userName", None, None)));
        check("name.givenName", Ok((None, "name", None, Some("givenName"))));
        check("members.$ref", Ok((None, "members", None, Some("$ref"))));
        check("emails[type eq \"work\"]", Ok((None, "emails", Some("type eq \"work\""), None)));
        check(
            "emails[type eq \"work\"].value",
            Ok((None, "emails", Some("type eq \"work\""), Some("value"))),
        );
        check(
            "emails[ type EQ \"a]b\" ].value",
            Ok((None, "emails", Some("type eq \"a]b\""), Some("value"))),
        );
        check(
            "urn:ietf:params:scim:schemas:core:2.0:User:userName",
            Ok((Some(schema::USER_URN), "userName", None, None)),
        );
        check(
            "URN:IETF:params:scim:schemas:core:2.0:user:name.givenName",
            Ok((Some(schema::USER_URN), "name", None, Some("givenName"))),
        );
        check(
            "urn:ietf:params:scim:schemas:core:2.0:User:emails[type eq \"work\"].value",
            Ok((Some(schema::USER_URN), "emails", Some("type eq \"work\""), Some("value"))),
        );
        check(
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
            Ok((enterprise, "manager", None, Some("value"))),
        );
        check(
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            Ok((enterprise, "", None, None)),
        );
        check(
            "urn:example:badge:2.0:User:number",
            Ok((Some("urn:example:badge:2.0:User"), "number", None, None)),
        );
        // Behind a schema of ours stands one of its attributes; what has a colon more is another schema, which begins like ours.
        check(
            "urn:ietf:params:scim:schemas:core:2.0:User:x:a.b",
            Ok((Some("urn:ietf:params:scim:schemas:core:2.0:User:x"), "a", None, Some("b"))),
        );
        check(
            "https://a.example/%41?b=1:c",
            Ok((Some("https://a.example/%41?b=1"), "c", None, None)),
        );
        for bad in [
            "",
            " ",
            "1a",
            "a.b.c",
            "a.",
            ".a",
            "a b",
            "a..b",
            "emails]",
            "emails[type eq \"x\"]value",
            "emails[type eq \"x\"].a.b",
            "a.b[c pr]",
            "ä",
            ":",
            "a:",
            "urn:example:badge:2.0:User:",
            "urn:ietf:params:scim:schemas:core:2.0:User:",
            "foo:a",
            ":a",
            "1:x:a",
            "urn:é:a",
            "urn:%4g:a",
        ] {
            check(bad, Err("invalidPath"));
        }
        for bad in [
            "emails[",
            "emails[]",
            "emails[type eq]",
            "emails[type eq \"x\"",
            "emails[type xx \"x\"]",
            "emails[a[b pr]]",
        ] {
            check(bad, Err("invalidFilter"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = Path::parse(&text);
        }

        #[test]
        fn text_of_the_grammar_is_read_or_refused(text in "[a-z:.$\\[\\]() \"0-9é-]{0,60}") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
            }
        }
    }
}
