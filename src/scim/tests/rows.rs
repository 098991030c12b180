//! The known differences between our reader and `scim_v2`'s: what each is, the sentence that decides it, and how to undo it, so that nothing else hides
//! behind it.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::scim::filter::parse::is_word;
use crate::scim::filter::{MAX_BYTES, MAX_DEPTH, MAX_TERMS};
use crate::scim::schema;

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Case {
    Filter,
    Path,
}

type Example = (Case, fn() -> String);
type Rewrite = fn(&str, Case) -> String;

/// How the two differ.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// We read it, and as they read what is rewritten so.
    Read(Rewrite),
    /// We refuse it, and they read it as both read what is rewritten so.
    Refuse(Rewrite),
    /// We refuse it, and they do not; both read what is rewritten so alike.
    RefuseBoth(Rewrite),
    /// We refuse what is so large.
    Bound(fn(&str) -> bool),
    /// They refuse what is so large.
    TheirBound(fn(&str) -> bool),
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    /// Texts that differ for this row alone.
    pub(super) examples: &'static [Example],
    pub(super) how: How,
}

/// In the order in which they are undone.
pub(super) const ROWS: [Row; 16] = [
    Row {
        name: "a word without quotes",
        why: "RFC 7644 §3.4.2.2: `compValue = false / null / true / number / string`, JSON's; Entra's samples have `externalId eq jyoung`, which has no other meaning.",
        examples: &[
            (Case::Filter, || "externalId eq jyoung".into()),
            (Case::Filter, || "a eq True and b sw J.Young+x@corp.example".into()),
            (Case::Path, || "emails[type eq work].value".into()),
            (Case::Path, || "members[value eq 2819c223-7f76-453a-919d-413861904646]".into()),
        ],
        how: How::Read(|text, _| bare(text, quoted)),
    },
    Row {
        name: "white space that is no space",
        why: "RFC 7644 §3.4.2.2: `attrExp = (attrPath SP \"pr\") / ...`, and SP is one character (RFC 5234 B.1). They take a tab or a line for it.",
        examples: &[
            (Case::Filter, || "a\teq 1".into()),
            (Case::Filter, || "a pr\nor b pr".into()),
            (Case::Filter, || "\u{a0}a pr".into()),
            (Case::Path, || "a[b\tpr]".into()),
        ],
        how: How::Refuse(|text, _| bare(text, |text| text.replace(char::is_whitespace, " "))),
    },
    Row {
        name: "space where two parts touch",
        why: "RFC 7644 §3.4.2.2: `valuePath = attrPath \"[\" valFilter \"]\"`; §3.5.2: `PATH = attrPath / valuePath [subAttr]`. They skip space between all tokens.",
        examples: &[
            (Case::Filter, || "a [b pr]".into()),
            (Case::Path, || " a".into()),
            (Case::Path, || "a ".into()),
            (Case::Path, || "a [b pr]".into()),
            (Case::Path, || "a[b pr] .c".into()),
            (Case::Path, || "a[b pr]. c".into()),
        ],
        how: How::Refuse(|text, case| {
            bare(text, |text| {
                let text = sub(r"([\w$:.-]) +\[", text, |c| format!("{}[", &c[1]));
                match case {
                    Case::Filter => text,
                    Case::Path => sub(r"\] *\. *", text.trim_matches(' '), |_| "].".to_owned()),
                }
            })
        }),
    },
    Row {
        name: "brackets behind a sub-attribute",
        why: "RFC 7644 §3.4.2.2: \"a valid filter expression based upon sub-attributes of the parent attribute\", and RFC 7643 §2.3.8: a sub-attribute has none.",
        examples: &[
            (Case::Filter, || "a.b[c pr]".into()),
            (Case::Path, || "a.b[c pr]".into()),
            (Case::Path, || "a.b[c pr].d".into()),
        ],
        how: How::RefuseBoth(|text, _| bare(text, |text| sub(r"\.[A-Za-z$_][\w$-]*\[", text, |_| "[".to_owned()))),
    },
    Row {
        name: "brackets behind a schema",
        why: "RFC 7644 §3.4.2.2: \"expressions MUST be applied to the same value of a parent attribute\", and a schema is none. They read its last part as an attribute.",
        examples: &[
            (Case::Filter, || format!("{}[a pr]", schema::USER_URN)),
            (Case::Path, || format!("{}[a pr]", schema::ENTERPRISE_URN)),
        ],
        how: How::RefuseBoth(|text, _| {
            bare(text, |text| {
                tokens(text, |token, next| own(token, next == Some('[')).map(|urn| format!("{urn}:x")))
            })
        }),
    },
    Row {
        name: "a schema alone",
        why: "RFC 7644 §3.10: attributes are \"prefixed with a URI\", so in our schemas' own URIs the last part is no attribute; Entra's PATCH paths name them.",
        examples: &[
            (Case::Path, || schema::ENTERPRISE_URN.into()),
            (Case::Filter, || format!("{} pr", schema::ENTERPRISE_URN.to_lowercase())),
        ],
        how: How::Read(|text, _| {
            bare(text, |text| {
                tokens(text, |token, _| own(token, true).map(|urn| format!("{urn}:{ALONE}")))
            })
        }),
    },
    Row {
        name: "URIs with other characters",
        why: "RFC 7644 §3.4.2.2: \"'URI' is defined per Appendix A of [RFC3986]\". They take letters, digits, and -_.: only.",
        examples: &[
            (Case::Path, || "http://example.com/scim%20user?v=2#x:a.b".into()),
            (Case::Filter, || "urn:x:~a:b pr".into()),
            (Case::Filter, || "a[svn+x:y:b pr]".into()),
        ],
        how: How::Read(|text, _| {
            bare(text, |text| {
                tokens(text, |token, _| {
                    let (urn, rest) = token.rsplit_once(':')?;
                    let urn = sub("%[0-9A-Fa-f]{2}", urn, |c| format!("Z{}", &c[0][1..]));
                    Some(format!("{}:{rest}", urn.replace(|c| c != '%' && is_uri(c), "Z")))
                })
            })
        }),
    },
    Row {
        name: "names with $ or _ in front",
        why: "RFC 7643 §2.1 has $ in nameChar, and §2.4 defines \"$ref\", which RFC 7644's ATTRNAME forgets; RFC 7644 §3.3: what a POST may store, a path must reach.",
        examples: &[
            (Case::Filter, || "members.$ref eq \"x\"".into()),
            (Case::Filter, || "_a pr".into()),
            (Case::Path, || "members[$ref eq \"x\"].a$b".into()),
            (Case::Path, || "urn:x:_a._b".into()),
        ],
        how: How::Read(|text, _| {
            bare(text, |text| {
                tokens(text, |token, _| {
                    let (urn, rest) = token
                        .rsplit_once(':')
                        .map_or(("", token), |(urn, rest)| (&token[..urn.len() + 1], rest));
                    let parts: Vec<String> = rest.split('.').map(plain).collect();
                    Some(format!("{urn}{}", parts.join(".")))
                })
            })
        }),
    },
    Row {
        name: "not( without a space",
        why: "RFC 7644 §3.4.2.2: `*1\"not\" \"(\" FILTER \")\"` has none; its examples have one. Both are read.",
        examples: &[
            (Case::Filter, || "not(a pr)".into()),
            (Case::Filter, || "a pr or NOT(not(a[Not(b pr)]))".into()),
            (Case::Path, || "a[not(b pr)]".into()),
        ],
        how: How::Read(|text, _| bare(text, |text| tokens(text, |token, next| spaced(token, next, &["not"])))),
    },
    Row {
        name: "and( and or( without a space",
        why: "RFC 7644 §3.4.2.2: `logExp = FILTER SP (\"and\" / \"or\") SP FILTER`; what clients send without the second one has no other meaning.",
        examples: &[
            (Case::Filter, || "a pr and(b pr or(c pr))".into()),
            (Case::Path, || "a[b pr OR(c pr)]".into()),
        ],
        how: How::Read(|text, _| bare(text, |text| tokens(text, |token, next| spaced(token, next, &["and", "or"])))),
    },
    Row {
        name: "space before an attribute that is called like an operator",
        why: "RFC 7644 §3.4.2.2: ATTRNAME excludes no word. They read \" and \" as the operator wherever it stands.",
        examples: &[
            (Case::Filter, || "( and pr)".into()),
            (Case::Filter, || "( prx eq 1)".into()),
            (Case::Path, || "a[ pr eq 1]".into()),
        ],
        how: How::Read(|text, _| bare(text, |text| sub(r"([(\[]) +", text, |c| c[1].to_owned()))),
    },
    Row {
        name: "attributes called true, false, null or not",
        why: "RFC 7644 §3.4.2.2: ATTRNAME excludes no word. They read these as literals and as the operator.",
        examples: &[
            (Case::Filter, || "true eq true".into()),
            (Case::Filter, || "a pr and NOT eq 1".into()),
            (Case::Filter, || "null[not pr]".into()),
            (Case::Path, || "false".into()),
            (Case::Path, || "null[a pr].true".into()),
        ],
        how: How::Read(|text, case| {
            bare(text, |text| {
                let text = sub(r"(^|[ (\[])(true|false|null)\[", text, |c| {
                    format!("{}{}{}[", &c[1], KEYWORD, &c[2])
                });
                let term = r"(^|[ (\[])(true|false|null|(?i:not))( +(?i:eq|ne|co|sw|ew|pr|gt|ge|lt|le)(?:[ )\]]|$))";
                let text = sub(term, &text, |c| format!("{}{}{}{}", &c[1], KEYWORD, &c[2], &c[3]));
                match case {
                    Case::Filter => text,
                    Case::Path => sub(r"(^|\]\.)(true|false|null)$", &text, |c| format!("{}{}{}", &c[1], KEYWORD, &c[2])),
                }
            })
        }),
    },
    Row {
        name: "more bytes than we read",
        why: "RFC 7644 §3.12, `tooMany` and 413: a provider bounds what it does for one request.",
        examples: &[
            (Case::Filter, || format!("a eq \"{}\"", "x".repeat(MAX_BYTES))),
            (Case::Path, || "a".repeat(MAX_BYTES + 1)),
        ],
        how: How::Bound(|text| text.len() > MAX_BYTES),
    },
    Row {
        name: "deeper than we read",
        why: "RFC 7644 §3.4.2.2: \"Nested expressions MAY be used\", without a depth; ours is 32, theirs 64.",
        examples: &[
            (Case::Filter, || {
                format!("{}a pr{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1))
            }),
            (Case::Path, || {
                format!("a[{}a pr{}]", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1))
            }),
        ],
        how: How::Bound(|text| nesting(text) > MAX_DEPTH),
    },
    Row {
        name: "more comparisons than we read",
        why: "RFC 7644 §3.4.2.2: \"Multiple expressions MAY be combined\", without a number; ours is 256, theirs 1024.",
        examples: &[(Case::Filter, || vec!["a pr"; MAX_TERMS + 1].join(" or "))],
        how: How::Bound(|text| Regex::new("(?i) (eq|ne|co|sw|ew|pr|gt|ge|lt|le)").is_ok_and(|op| op.find_iter(text).count() > MAX_TERMS)),
    },
    Row {
        name: "deeper than they read",
        why: "RFC 7644 §3.4.2.2 has no depth. They count `not` and `and` in one pair of parentheses as two of 64.",
        examples: &[(Case::Filter, || {
            format!("{}a pr{}", "a pr and not (".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH))
        })],
        how: How::TheirBound(|text| nesting(text) >= MAX_DEPTH),
    },
];

/// The name that a schema alone gets, for the reader that wants one.
const ALONE: &str = "Zalone";
/// What stands before a name that is their keyword.
const KEYWORD: &str = "Zword";

/// Where two URIs are compared: without case, and without the characters that only one reader takes.
pub(super) fn uri(urn: &str) -> String {
    urn.to_lowercase().replace(|c| c == '%' || is_uri(c), "z")
}

/// Where two names are compared: as the rows write them.
pub(super) fn name(name: &str) -> String {
    match name {
        "" => ALONE.to_owned(),
        "true" | "false" | "null" => format!("{KEYWORD}{name}"),
        _ if name.eq_ignore_ascii_case("not") => format!("{KEYWORD}{name}"),
        _ => plain(name),
    }
}

fn plain(name: &str) -> String {
    let name = if name.starts_with('_') {
        Cow::from(format!("Zu{name}"))
    } else {
        Cow::from(name)
    };
    name.replace('$', "Zd")
}

/// A character of a URI that is none of theirs.
fn is_uri(c: char) -> bool {
    "~/?#@!$&'*+,;=".contains(c)
}

fn nesting(text: &str) -> usize {
    text.matches(['(', '[']).count()
}

/// Our schema's URN, if this is one and may stand so.
fn own(token: &str, stands: bool) -> Option<&str> {
    schema::known_urn(token).filter(|_| stands).map(|_| token)
}

/// The word with a space behind it, where a parenthesis stands.
fn spaced(token: &str, next: Option<char>, words: &[&str]) -> Option<String> {
    let found = next == Some('(') && words.iter().any(|word| word.eq_ignore_ascii_case(token));
    found.then(|| format!("{token} "))
}

/// Rewrites all but the strings.
fn bare(text: &str, rewrite: impl Fn(&str) -> String) -> String {
    static STRINGS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(?s:[^"\\]|\\.)*("|$)"#).unwrap());
    let strings: Vec<&str> = STRINGS.find_iter(text).map(|found| found.as_str()).collect();
    let mut strings = strings.into_iter();
    let bare = rewrite(&STRINGS.replace_all(text, "\u{e000}"));
    bare.chars().fold(String::new(), |mut out, c| {
        match (c, if c == '\u{e000}' { strings.next() } else { None }) {
            (_, Some(string)) => out.push_str(string),
            (c, None) => out.push(c),
        }
        out
    })
}

/// Rewrites what may be an attribute path, given what stands behind it.
fn tokens(text: &str, rewrite: impl Fn(&str, Option<char>) -> Option<String>) -> String {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new("[^\\s()\\[\\]\"\u{e000}]+").unwrap());
    let rewritten = TOKEN.replace_all(text, |c: &Captures| {
        let token = &c[0];
        let next = c.get(0).and_then(|found| text[found.end()..].chars().next());
        rewrite(token, next).unwrap_or_else(|| token.to_owned())
    });
    rewritten.into_owned()
}

/// Quotes the words that stand where a value is to stand.
fn quoted(text: &str) -> String {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new("[^\\s()\\[\\]\"\u{e000}]+|[()\\[\\]\u{e000}]").unwrap());
    let is = |token: &str, words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(token));
    let mut expected = "attribute";
    let rewritten = TOKEN.replace_all(text, |c: &Captures| {
        let token = &c[0];
        let behind = c.get(0).map_or("", |found| text[found.end()..].trim_start());
        let mut out = token.to_owned();
        expected = match (token, expected) {
            ("(" | "[", _) => "attribute",
            (")" | "]" | "\u{e000}", _) => "and",
            (_, "attribute") if is(token, &["not"]) && behind.starts_with('(') => "attribute",
            (_, "attribute") => "operator",
            (_, "operator") if is(token, &["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]) => "value",
            (_, "operator") if is(token, &["pr"]) => "and",
            (_, "value") => {
                if is_word(token) && token != "true" && token != "false" {
                    out = format!("\"{token}\"");
                }
                "and"
            }
            _ => "attribute",
        };
        out
    });
    rewritten.into_owned()
}

fn sub(pattern: &str, text: &str, with: impl Fn(&Captures) -> String) -> String {
    Regex::new(pattern).unwrap().replace_all(text, |c: &Captures| with(c)).into_owned()
}
