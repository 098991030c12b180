//! Our reader of filters and paths beside the one of `scim_v2`, an LALR(1) grammar generated from the ABNF: they accept the same, and mean the same by it,
//! but for the rows of `rows`.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scim_v2::filter as other;

use super::generate;
use super::rows::{Case, How, ROWS};
use crate::scim::filter::{Filter, Literal, parse};
use crate::scim::path::{AttrPath, Path};

/// A filter as either reader means it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    And(Vec<Form>),
    Or(Vec<Form>),
    Not(Box<Form>),
    Present(Attr),
    Compare(Attr, String, String),
    Element(Attr, Box<Form>),
}

/// An attribute path as either reader means it. The case of a URN does not count: a schema's URI is compared without.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attr {
    pub(super) urn: Option<String>,
    pub(super) name: String,
    pub(super) sub: Option<String>,
}

/// What a text means; nothing if it is refused.
type Meaning = Option<(Option<Attr>, Option<Form>)>;

impl Form {
    pub(super) fn and(parts: Vec<Form>) -> Form {
        let flat = parts.into_iter().flat_map(|part| match part {
            Form::And(inner) => inner,
            part => vec![part],
        });
        Form::And(flat.collect())
    }

    pub(super) fn or(parts: Vec<Form>) -> Form {
        let flat = parts.into_iter().flat_map(|part| match part {
            Form::Or(inner) => inner,
            part => vec![part],
        });
        Form::Or(flat.collect())
    }

    fn of_ours(filter: &Filter) -> Form {
        match filter {
            Filter::And(parts) => Form::And(parts.iter().map(Form::of_ours).collect()),
            Filter::Or(parts) => Form::Or(parts.iter().map(Form::of_ours).collect()),
            Filter::Not(inner) => Form::Not(Box::new(Form::of_ours(inner))),
            Filter::Present(path) => Form::Present(Attr::of_ours(path)),
            Filter::Compare(path, op, literal) => {
                let literal = match literal {
                    Literal::Bare(word) => Literal::String(word.clone()),
                    other => other.clone(),
                };
                Form::Compare(Attr::of_ours(path), op.as_str().into(), literal.to_string())
            }
            Filter::Element(path, inner) => Form::Element(Attr::of_ours(path), Box::new(Form::of_ours(inner))),
        }
    }

    fn of_theirs(filter: &other::Filter) -> Form {
        match filter {
            other::Filter::And(parts) => Form::And(parts.iter().map(Form::of_theirs).collect()),
            other::Filter::Or(parts) => Form::Or(parts.iter().map(Form::of_theirs).collect()),
            other::Filter::Not(inner) => Form::Not(Box::new(Form::of_theirs(inner))),
            other::Filter::Attr(term) => Form::of_term(term),
            other::Filter::ValuePath(path) => Form::Element(Attr::of_theirs(&path.attr), Box::new(Form::of_value(&path.filter))),
        }
    }

    fn of_value(filter: &other::ValFilter) -> Form {
        match filter {
            other::ValFilter::And(parts) => Form::And(parts.iter().map(Form::of_value).collect()),
            other::ValFilter::Or(parts) => Form::Or(parts.iter().map(Form::of_value).collect()),
            other::ValFilter::Not(inner) => Form::Not(Box::new(Form::of_value(inner))),
            other::ValFilter::Attr(term) => Form::of_term(term),
        }
    }

    fn of_term(term: &other::AttrExp) -> Form {
        match term {
            other::AttrExp::Present(path) => Form::Present(Attr::of_theirs(path)),
            other::AttrExp::Comparison(path, op, value) => Form::Compare(Attr::of_theirs(path), op.to_string(), value.to_string()),
        }
    }
}

impl Attr {
    fn new(urn: Option<&str>, name: &str, sub: Option<&str>) -> Attr {
        Attr {
            urn: urn.map(super::rows::uri),
            name: super::rows::name(name),
            sub: sub.map(super::rows::name),
        }
    }

    fn of_ours(path: &AttrPath) -> Attr {
        Attr::new(path.urn.as_deref(), &path.name, path.sub.as_deref())
    }

    fn of_theirs(path: &other::AttrPath) -> Attr {
        Attr::new(path.uri.as_deref(), &path.name, path.sub_attr.as_deref())
    }
}

fn ours(text: &str, case: Case) -> Meaning {
    match case {
        Case::Filter => Some((None, Some(Form::of_ours(&parse::filter(text).ok()?)))),
        Case::Path => {
            let path = Path::parse(text).ok()?;
            Some((Some(Attr::of_ours(&path.attr)), path.filter.as_ref().map(Form::of_ours)))
        }
    }
}

fn theirs(text: &str, case: Case) -> Meaning {
    match case {
        Case::Filter => Some((None, Some(Form::of_theirs(&text.parse().ok()?)))),
        Case::Path => match text.parse().ok()? {
            other::PatchPath::Attr(path) => Some((Some(Attr::of_theirs(&path)), None)),
            other::PatchPath::Value(path) => {
                let whole = Attr::new(path.attr.uri.as_deref(), &path.attr.name, path.sub_attr.as_deref());
                // Never of ours: a sub-attribute before the brackets shall not look like one behind them.
                let name = path.attr.sub_attr.iter().fold(whole.name, |name, sub| format!("{name}.{sub}"));
                Some((Some(Attr { name, ..whole }), Some(Form::of_value(&path.filter))))
            }
        },
    }
}

/// The rows that explain how the two differ about this text; none if they do not.
fn judge(text: &str, case: Case) -> Result<Vec<&'static str>, String> {
    let meant = ours(text, case);
    if meant == theirs(text, case) {
        return Ok(Vec::new());
    }
    let (mut mine, mut other, mut used) = (text.to_owned(), text.to_owned(), Vec::new());
    for row in &ROWS {
        let before = (mine.clone(), other.clone());
        match row.how {
            How::Read(rewrite) => other = rewrite(&other, case),
            How::Refuse(rewrite) if meant.is_none() => mine = rewrite(&mine, case),
            How::RefuseBoth(rewrite) if meant.is_none() => {
                mine = rewrite(&mine, case);
                other = rewrite(&other, case);
            }
            How::Refuse(_) | How::RefuseBoth(_) => {}
            How::Bound(beyond) => {
                if beyond(text) && meant.is_none() && theirs(&other, case).is_some() {
                    used.push(row.name);
                    return Ok(used);
                }
            }
            How::TheirBound(beyond) => {
                if beyond(text) && meant.is_some() && theirs(&other, case).is_none() {
                    used.push(row.name);
                    return Ok(used);
                }
            }
        }
        if before != (mine.clone(), other.clone()) {
            used.push(row.name);
        }
    }
    let (a, b) = (ours(&mine, case), theirs(&other, case));
    match a == b {
        true => Ok(used),
        false => Err(format!(
            "{case:?} {text:?}\n  ours   {mine:?}: {a:?}\n  theirs {other:?}: {b:?}\n  rows {used:?}"
        )),
    }
}

/// Times what proptest makes by itself, which is 256: `PROPTEST_CASES` makes it more.
const FROM_GRAMMAR: u32 = 16;
const OFF_GRAMMAR: u32 = 40;

/// The same texts each time: a test that fails by chance names no commit.
fn each<S: Strategy>(times: u32, texts: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut config = Config::default();
    config.cases *= times;
    config.failure_persistence = None;
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    if let Err(failed) = runner.run(&texts, check) {
        panic!("{failed}");
    }
}

#[test]
fn each_row_is_a_difference_and_explains_its_example() {
    for row in &ROWS {
        for (case, example) in row.examples {
            let example = example();
            assert_eq!(judge(&example, *case), Ok(vec![row.name]), "{}: {example}", row.name);
            let read = matches!(row.how, How::Read(_) | How::TheirBound(_));
            assert_eq!(ours(&example, *case).is_some(), read, "{}: {example}", row.name);
        }
        assert!(row.why.contains("RFC"), "{}: a reason", row.name);
    }
}

#[test]
fn filters_of_the_grammar_are_read_by_both_as_they_are_meant() {
    each(FROM_GRAMMAR, generate::filter(), |(text, form)| {
        let meant = Some((None, Some(form)));
        prop_assert_eq!(ours(&text, Case::Filter), meant.clone(), "{}", text);
        prop_assert_eq!(theirs(&text, Case::Filter), meant, "{}", text);
        Ok(())
    });
}

#[test]
fn paths_of_the_grammar_are_read_by_both_as_they_are_meant() {
    each(FROM_GRAMMAR, generate::path(), |(text, (attr, form))| {
        let meant = Some((Some(attr), form));
        prop_assert_eq!(ours(&text, Case::Path), meant.clone(), "{}", text);
        prop_assert_eq!(theirs(&text, Case::Path), meant, "{}", text);
        Ok(())
    });
}

#[test]
fn filters_that_are_off_the_grammar_are_refused_by_both_or_a_row_says_why() {
    let texts = generate::mutated(generate::filter().prop_map(|(text, _)| text));
    each(OFF_GRAMMAR, texts, |text| {
        judge(&text, Case::Filter).map(drop).map_err(TestCaseError::fail)
    });
}

#[test]
fn paths_that_are_off_the_grammar_are_refused_by_both_or_a_row_says_why() {
    let texts = generate::mutated(generate::path().prop_map(|(text, _)| text));
    each(OFF_GRAMMAR, texts, |text| {
        judge(&text, Case::Path).map(drop).map_err(TestCaseError::fail)
    });
}
