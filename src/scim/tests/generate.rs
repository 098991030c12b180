//! Texts of the grammar of RFC 7644 §3.4.2.2 with what they mean, and texts a few characters away from it.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::differential::{Attr, Form};
use crate::scim::schema;

const NAMES: [&str; 16] = [
    "a",
    "b",
    "userName",
    "emails",
    "x509Certificates",
    "A-b_9",
    "and",
    "or",
    "nota",
    "prx",
    "eqs",
    "trueX",
    "e1",
    "Value",
    "i",
    "null-",
];
const URNS: [&str; 8] = [
    schema::USER_URN,
    schema::GROUP_URN,
    schema::ENTERPRISE_URN,
    "urn:ietf:params:scim:schemas:core:2.0:User:x",
    "urn:example:badge:1.0.2",
    "urn:x",
    "a.b-c:",
    "urn:ietf:params:scim:schemas:core:2.0",
];
const OPS: [&str; 9] = ["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"];
/// As they may be written, and what they are.
const LITERALS: [(&str, &str); 22] = [
    ("null", "null"),
    ("true", "true"),
    ("false", "false"),
    ("0", "0"),
    ("-0", "-0.0"),
    ("17", "17"),
    ("-3", "-3"),
    ("1.50", "1.5"),
    ("1e2", "100.0"),
    ("-2.5E-1", "-0.25"),
    ("18446744073709551615", "18446744073709551615"),
    ("\"\"", "\"\""),
    ("\"x\"", "\"x\""),
    ("\"a and (b] or \"", "\"a and (b] or \""),
    ("\"\\\"\"", "\"\\\"\""),
    ("\"\\\\\"", "\"\\\\\""),
    ("\"\\/\\u0041\\t\"", "\"/A\\t\""),
    ("\"\\ud83d\\ude00\"", "\"😀\""),
    ("\"ä€😀\"", "\"ä€😀\""),
    ("\"O'Malley\"", "\"O'Malley\""),
    ("\"not ($ref pr)\"", "\"not ($ref pr)\""),
    ("\"2011-05-13T04:42:34Z\"", "\"2011-05-13T04:42:34Z\""),
];

/// What the bytes decide, one after the other; when they are used up, and in the simplest failing case, zero.
struct Style<'a>(std::slice::Iter<'a, u8>);

impl Style<'_> {
    fn pick(&mut self, n: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % n)
    }

    fn case(&mut self, word: &str) -> String {
        match self.pick(4) {
            0 | 1 => word.to_owned(),
            2 => word.to_uppercase(),
            _ => word
                .chars()
                .take(1)
                .flat_map(char::to_uppercase)
                .chain(word.chars().skip(1))
                .collect(),
        }
    }

    /// At least one space, seldom more.
    fn gap(&mut self) -> &'static str {
        if self.pick(8) == 7 { "   " } else { " " }
    }
}

fn attribute(style: &mut Style, attr: &Attr) -> String {
    let mut text = String::new();
    if let Some(urn) = &attr.urn {
        let spelled = URNS.into_iter().find(|one| one.eq_ignore_ascii_case(urn)).unwrap();
        text += &if style.pick(4) == 3 {
            spelled.to_uppercase()
        } else {
            spelled.to_owned()
        };
        text.push(':');
    }
    text += &attr.name;
    text.extend(attr.sub.iter().map(|sub| format!(".{sub}")));
    text
}

fn print(style: &mut Style, form: &Form, out: &mut String) {
    match form {
        Form::And(parts) => join(style, parts, "and", out, |part| matches!(part, Form::Or(_))),
        Form::Or(parts) => join(style, parts, "or", out, |_| false),
        Form::Not(inner) => {
            *out += &style.case("not");
            *out += style.gap();
            group(style, inner, ('(', ')'), out);
        }
        Form::Present(attr) => {
            *out += &attribute(style, attr);
            *out += style.gap();
            *out += &style.case("pr");
        }
        Form::Compare(attr, op, literal) => {
            *out += &attribute(style, attr);
            *out += style.gap();
            *out += &style.case(op);
            *out += style.gap();
            let ways: Vec<&str> = LITERALS.iter().filter(|(_, is)| is == literal).map(|(way, _)| *way).collect();
            *out += ways[usize::from(style.pick(ways.len() as u8))];
        }
        Form::Element(attr, inner) => {
            *out += &attribute(style, attr);
            group(style, inner, ('[', ']'), out);
        }
    }
}

fn group(style: &mut Style, inner: &Form, around: (char, char), out: &mut String) {
    out.push(around.0);
    print(style, inner, out);
    out.push(around.1);
}

fn join(style: &mut Style, parts: &[Form], word: &str, out: &mut String, needs: impl Fn(&Form) -> bool) {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            *out += style.gap();
            *out += &style.case(word);
            *out += style.gap();
        }
        match needs(part) || style.pick(6) == 5 {
            true => group(style, part, ('(', ')'), out),
            false => print(style, part, out),
        }
    }
}

fn attr(subs: bool) -> impl Strategy<Value = Attr> {
    let urn = prop_oneof![6 => Just(None), 2 => select(&URNS[..]).prop_map(|urn| Some(urn.to_lowercase()))];
    let sub = prop_oneof![4 => Just(None), 1 => select(&NAMES[..]).prop_map(|sub| Some(sub.to_owned()))];
    (urn, select(&NAMES[..]), sub).prop_map(move |(urn, name, sub)| Attr {
        urn,
        name: name.to_owned(),
        sub: sub.filter(|_| subs),
    })
}

fn tree(inside: bool) -> BoxedStrategy<Form> {
    let compare = (attr(true), select(&OPS[..]), select(&LITERALS[..]));
    let leaf = prop_oneof![
        1 => attr(true).prop_map(Form::Present),
        2 => compare.prop_map(|(attr, op, (_, is))| Form::Compare(attr, op.to_owned(), is.to_owned())),
    ];
    let leaf = match inside {
        true => leaf.boxed(),
        false => prop_oneof![
            3 => leaf,
            1 => (attr(false), tree(true)).prop_map(|(attr, inner)| Form::Element(attr, Box::new(inner))),
        ]
        .boxed(),
    };
    let size: Range<usize> = 2..4;
    leaf.prop_recursive(if inside { 2 } else { 4 }, 12, 3, move |inner| {
        prop_oneof![
            2 => vec(inner.clone(), size.clone()).prop_map(Form::and),
            2 => vec(inner.clone(), size.clone()).prop_map(Form::or),
            1 => inner.prop_map(|inner| Form::Not(Box::new(inner))),
        ]
    })
    .boxed()
}

fn style() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..48)
}

/// A filter of the grammar, and what it means.
pub(super) fn filter() -> impl Strategy<Value = (String, Form)> {
    (tree(false), style()).prop_map(|(form, style)| {
        let mut text = String::new();
        print(&mut Style(style.iter()), &form, &mut text);
        (text, form)
    })
}

/// A path of the grammar, and what it means.
pub(super) fn path() -> impl Strategy<Value = (String, (Attr, Option<Form>))> {
    let valued = (attr(false), tree(true), proptest::option::of(select(&NAMES[..])));
    let of = prop_oneof![
        1 => attr(true).prop_map(|attr| (attr, None)),
        2 => valued.prop_map(|(attr, form, sub)| (Attr { sub: sub.map(str::to_owned), ..attr }, Some(form))),
    ];
    (of, style()).prop_map(|((attr, form), style)| {
        let mut style = Style(style.iter());
        let before = Attr {
            sub: attr.sub.clone().filter(|_| form.is_none()),
            ..attr.clone()
        };
        let mut text = attribute(&mut style, &before);
        if let Some(form) = &form {
            group(&mut style, form, ('[', ']'), &mut text);
            text.extend(attr.sub.iter().map(|sub| format!(".{sub}")));
        }
        (text, (attr, form))
    })
}

const WORDS: [&str; 44] = [
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\u{a0}",
    "(",
    ")",
    "[",
    "]",
    ".",
    ":",
    "\"",
    "\\",
    "$",
    "_",
    "-",
    "+",
    "%",
    "%41",
    "/",
    "é",
    "😀",
    "0",
    "1",
    "e",
    "and",
    "or",
    "not",
    "not(",
    " and(",
    "pr",
    "EQ",
    "xx",
    "true",
    "null ",
    "False",
    "$ref",
    "_x",
    ".a",
    "a:",
    "urn:x:",
    schema::USER_URN,
    " pr",
];

/// One change: where, how much goes, and what comes in.
type Change = (u8, Index, u8, &'static str);

fn change(text: &str, (kind, at, length, word): Change) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = at.index(chars.len() + 1);
    let end = (at + usize::from(length % 3) + 1).min(chars.len());
    match kind % 4 {
        0 => drop(chars.drain(at..end)),
        1 => drop(chars.splice(at..at, word.chars())),
        2 => drop(chars.splice(at..end, word.chars())),
        _ => {
            let mut words: Vec<&str> = text.split(' ').collect();
            let (one, other) = (at % words.len(), usize::from(length) % words.len());
            words.swap(one, other);
            return words.join(" ");
        }
    }
    chars.into_iter().collect()
}

/// Such a text with one to three changes.
pub(super) fn mutated(texts: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let changes = vec((any::<u8>(), any::<Index>(), any::<u8>(), select(&WORDS[..])), 1..4);
    (texts, changes).prop_map(|(text, changes)| changes.into_iter().fold(text, |text, one| change(&text, one)))
}
