use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::access::expression::{Expression, NoName};

fn user() -> Map<String, Value> {
    let user = json!({
        "userName": "Ada@Corp.Example",
        "externalId": "00u1",
        "active": true,
        "age": 36,
        "score": 1.5,
        "nothing": null,
        "name": {"givenName": "Ada", "familyName": "Lovelace"},
        "emails": [{"value": "ada@home.example", "type": "home"}, {"value": "ada@corp.example", "type": "work", "primary": true}],
        "roles": ["admin", "dev"],
        "größe": "änderung",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Engines"},
    });
    user.as_object().expect("an object").clone()
}

fn evaluate(text: &str) -> Result<String, String> {
    let expression = Expression::compile(text).map_err(|e| format!("compile {e}"))?;
    expression.evaluate(&user()).map_err(|e| e.to_string())
}

#[test]
fn expressions_yield_usernames() {
    for (text, expected) in [
        ("'oidc:' + user.userName", "oidc:Ada@Corp.Example"),
        ("'oidc:' + user.userName.lowerAscii()", "oidc:ada@corp.example"),
        ("user.userName.upperAscii()", "ADA@CORP.EXAMPLE"),
        ("user.userName.split('@')[0]", "Ada"),
        ("user.userName.split('@', 2)[1]", "Corp.Example"),
        ("user.userName.substring(4)", "Corp.Example"),
        ("user.userName.substring(0, 3)", "Ada"),
        ("user['größe'].substring(0, 1)", "ä"),
        ("user['größe'].upperAscii()", "äNDERUNG"),
        ("user.userName.replace('@', '-')", "Ada-Corp.Example"),
        ("user.userName.replace('a', 'x', 1)", "Adx@Corp.Example"),
        ("'  x '.trim()", "x"),
        ("user.roles.join('+')", "admin+dev"),
        ("user.emails.filter(e, has(e.primary) && e.primary)[0].value", "ada@corp.example"),
        ("user.emails.map(e, e.value).join(',')", "ada@home.example,ada@corp.example"),
        ("user.emails.exists(e, e.type == 'work') ? 'w' : 'h'", "w"),
        (
            "user['urn:ietf:params:scim:schemas:extension:enterprise:2.0:User'].department",
            "Engines",
        ),
        ("has(user.nickName) ? user.nickName : user.userName", "Ada@Corp.Example"),
        ("user.?nickName.orValue(user.userName)", "Ada@Corp.Example"),
        ("user.?name.givenName.orValue('?')", "Ada"),
        ("user.?name.?nick.orValue('?')", "?"),
        ("user[?'externalId'].orValue('?')", "00u1"),
        ("'admin' in user.roles ? 'a' : 'b'", "a"),
        ("'userName' in user ? 'a' : 'b'", "a"),
        ("string(user.age)", "36"),
        ("user.userName.matches('^[A-Z]') ? 'm' : 'n'", "m"),
        ("user.active && user.age >= 18 ? 'adult' : 'child'", "adult"),
        (
            "user.userName.startsWith('Ada') && user.userName.endsWith('Example') ? 'y' : 'n'",
            "y",
        ),
        ("string(user.userName.indexOf('@')) + string(user.userName.lastIndexOf('a'))", "311"),
        ("string(size('äöü')) + string('abc'.size())", "33"),
        ("user.missing == 'x' || true ? 'swallowed' : ''", "swallowed"),
        ("[1, 2.0, 'x'].exists(v, v == 'x') ? 'y' : 'n'", "y"),
        ("user.nothing == null ? 'null' : 'some'", "null"),
        ("user.userName.charAt(0)", "A"),
    ] {
        assert_eq!(evaluate(text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn who_yields_nothing_has_no_username() {
    for (text, says) in [
        ("user.nickName", "no such attribute: nickName"),
        ("user.name.nick", "no such attribute: nick"),
        ("user.userName.nick", "a string has no attribute nick"),
        ("user.age", "an int, not a string"),
        ("user.active", "a bool, not a string"),
        ("user.roles", "a list, not a string"),
        ("user", "a map, not a string"),
        ("user.nothing", "null, not a string"),
        ("user.?userName", "an optional, not a string"),
        ("''", "an empty string"),
        ("user.userName.substring(99)", "out of range"),
        ("user.userName.substring(3, 2)", "out of range"),
        ("user.userName.substring(-1)", "out of range"),
        ("user.roles[5]", "no element 5"),
        ("user.userName + user.age", "cannot be applied"),
        ("user.userName < 1 ? 'a' : 'b'", "cannot be applied"),
        ("user.age ? 'a' : 'b'", "not a bool"),
        ("string(9223372036854775807 + user.age)", "overflow"),
        (
            "user.roles.map(r, user.userName).join('').replace('', user.userName).replace('', user.userName)",
            "more than 1024",
        ),
    ] {
        let error = evaluate(text).expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn what_does_not_compile_says_where() {
    for (text, line, column, says) in [
        ("", 1, 1, "empty"),
        ("user.", 1, 6, ""),
        ("'oidc:' +", 1, 10, ""),
        ("claims.sub", 1, 1, "\"claims\" is not known here; there is `user`"),
        ("'a' +\n  claim.sub", 2, 3, "\"claim\""),
        ("user.userName.lowerASCII()", 1, 25, "lowerASCII"),
        ("lowerAscii(user.userName)", 1, 11, "not known as a function"),
        ("user.userName.matches(user.pattern)", 1, 27, "written out"),
        ("user.userName.matches('(')", 1, 23, "the pattern"),
        ("user.userName.matches('(a{1000}){1000}')", 1, 23, "the pattern"),
        ("{'a': 1}['a']", 1, 1, "of no use"),
        ("b'abc'", 1, 1, "of no use"),
        ("user.a.map(x, user.b.map(y, user.c.map(z, z)))", 1, 0, "nest"),
    ] {
        let error = Expression::compile(text).expect_err(text);
        assert!(error.message.contains(says), "{text}: {error}");
        assert_eq!(error.line, line, "{text}: {error}");
        if column > 0 {
            assert_eq!(error.column, column, "{text}: {error}");
        }
    }
    assert!(Expression::compile(&format!("'{}'", "a".repeat(1022))).is_ok());
    assert!(Expression::compile(&format!("'{}'", "a".repeat(1023))).is_err());
}

#[test]
fn what_an_expression_reads() {
    for (text, expected) in [
        ("'oidc:' + user.userName", Some(&["userName"][..])),
        ("user.?nickName.orValue(user['userName'])", Some(&["nickName", "userName"])),
        ("user.emails.filter(e, e.primary)[0].value", Some(&["emails"])),
        ("has(user.externalId) ? user.externalId : 'x'", Some(&["externalId"])),
        ("'x'", Some(&[])),
        ("user[user.key]", None),
        ("size(user) > 1 ? 'a' : 'b'", None),
        ("user.exists(k, k == 'a') ? 'a' : 'b'", None),
        ("user.emails.exists(user, user == 'a') ? 'a' : 'b'", None),
    ] {
        let expression = Expression::compile(text).expect(text);
        let reads = expression.reads().map(|r| r.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(reads.as_deref(), expected, "{text}");
    }
}

#[test]
fn examples_are_checked() {
    let expression = Expression::compile("'oidc:' + user.userName").expect("compiles");
    let (good, lacks) = (user(), Map::new());
    assert_eq!(expression.check([(&good, "oidc:Ada@Corp.Example")]), Vec::<String>::new());
    let wrong = expression.check([(&good, "oidc:Ada@Corp.Example"), (&good, "ada"), (&lacks, "oidc:x")]);
    assert_eq!(wrong.len(), 2);
    assert!(
        wrong[0].starts_with("example 2: yields \"oidc:Ada@Corp.Example\", but \"ada\""),
        "{}",
        wrong[0]
    );
    assert!(wrong[1].contains("no such attribute: userName"), "{}", wrong[1]);
}

#[test]
fn nothing_grows_without_limit() {
    let mut big = user();
    big.insert("userName".to_owned(), Value::from("a".repeat(60_000)));
    let mut many = user();
    many.insert("roles".to_owned(), Value::from(vec!["a"; 10_000]));
    for text in [
        "user.userName.replace('', user.userName)",
        "[user.userName].map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a)[0]",
        "user.roles.map(x, user.roles.map(y, y)).map(x, x)[0][0]",
        "user.roles.map(x, user.roles.exists(y, y == 'b') ? 'a' : 'b')[0]",
        "user.roles.exists(x, user.roles.exists(y, user.userName == y)) || true ? 'a' : 'b'",
        "user.userName.split('').join(user.userName)",
    ] {
        let expression = Expression::compile(text).expect(text);
        for user in [&big, &many] {
            let started = std::time::Instant::now();
            let _ = expression.evaluate(user);
            assert!(started.elapsed().as_millis() < 500, "{text}: {:?}", started.elapsed());
        }
    }
    let expression = Expression::compile("user.roles.map(x, user.roles.map(y, y))[0][0]").expect("compiles");
    assert_eq!(expression.evaluate(&many), Err(NoName::TooMuchWork));
    let expression = Expression::compile("user.roles.exists(x, user.roles.exists(y, y == 'b')) || true ? 'a' : 'b'").expect("compiles");
    assert_eq!(
        expression.evaluate(&many),
        Err(NoName::TooMuchWork),
        "used-up fuel is not swallowed by ||"
    );
    big.insert("more".to_owned(), Value::from("a".repeat(6_000)));
    let name = Expression::compile("'x'").expect("compiles");
    assert_eq!(name.evaluate(&big), Err(NoName::InputTooLarge));
    assert_eq!(
        name.evaluate_json(&serde_json::to_string(&big).expect("text")),
        Err(NoName::InputTooLarge)
    );
}

#[test]
fn deep_and_long_expressions_are_refused_and_not_a_crash() {
    let deep = [
        ("(".repeat(500), ")".repeat(500)),
        ("[".repeat(500), "]".repeat(500)),
        ("!".repeat(1000), String::new()),
        ("-".repeat(1000), "1".to_owned()),
        ("- ".repeat(500), "1".to_owned()),
        ("user".to_owned(), ".a".repeat(500)),
        ("user".to_owned(), "[0]".repeat(300)),
        ("user".to_owned(), ".trim()".repeat(140)),
        ("'a'".to_owned(), "+'a'".repeat(250)),
        ("true".to_owned(), "&&true".repeat(160)),
        ("true".to_owned(), "?1:true".repeat(140)),
        ("1".to_owned(), "<1".repeat(500)),
        ("{".repeat(500), "}".repeat(500)),
        ("\"".to_owned(), "\\".repeat(900)),
        ("user.a[?".repeat(100), "]".repeat(100)),
        ("a(".repeat(300), ")".repeat(300)),
        (String::new(), "?".repeat(1000)),
        (String::new(), "}".repeat(1000)),
        (String::new(), "\u{1f600}".repeat(250)),
    ];
    for (before, after) in deep {
        for middle in ["", "user.userName", "'a'"] {
            let _ = Expression::compile(&format!("{before}{middle}{after}"));
        }
    }
}

/// What the `cel` crate makes of the same expression, with its own evaluator and strings extension.
fn oracle(text: &str, user: &Map<String, Value>) -> Option<Result<String, ()>> {
    let mut env = cel::Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("the strings extension");
    let env = Arc::new(env);
    let program = env.compile(text).ok()?;
    let mut context = cel::Context::with_env(env);
    let user = cel::to_value(Value::Object(user.clone())).expect("a value");
    context.add_variable_from_value("user", user);
    Some(match program.execute(&context) {
        Ok(cel::Value::String(text)) => Ok(text.to_string()),
        _ => Err(()),
    })
}

fn text_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("user.userName".to_owned()),
        Just("user.name.givenName".to_owned()),
        Just("user.externalId".to_owned()),
        Just("user.nickName".to_owned()),
        Just("user['größe']".to_owned()),
        Just("user.roles[0]".to_owned()),
        Just("user.roles[7]".to_owned()),
        Just("'a@b.c'".to_owned()),
        Just("''".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let number = prop_oneof![Just(-1_i64), Just(0), Just(1), Just(3), Just(40)];
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} + {b})")),
            inner.clone().prop_map(|a| format!("{a}.lowerAscii()")),
            inner.clone().prop_map(|a| format!("{a}.trim()")),
            (inner.clone(), inner.clone(), number.clone()).prop_map(|(a, b, n)| format!("{a}.replace({b}, 'x', {n})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("{a}.replace({b}, {c})")),
            (inner.clone(), number.clone()).prop_map(|(a, n)| format!("{a}.substring({n})")),
            (inner.clone(), number.clone(), number.clone()).prop_map(|(a, n, m)| format!("{a}.substring({n}, {m})")),
            (inner.clone(), number.clone()).prop_map(|(a, n)| format!("{a}.charAt({n})")),
            (inner.clone(), inner.clone(), number.clone()).prop_map(|(a, b, n)| format!("{a}.split({b}, {n}).join('|')")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}.split({b})[0]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("string({a}.indexOf({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("string({a}.lastIndexOf({b}))")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} == {b} || {c}.startsWith('A') ? {b} : {c})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} < {b} && {c}.contains('a') ? {a} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(user.roles.exists(r, r == {a}) ? {a} : {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(user.roles.all(r, r != {a}) ? {a} : {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}].filter(v, size(v) > 3).join('/')")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}].map(v, v + 'x').join('/')")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}.matches('^[a-z@.]+$') ? {a} : {b})")),
            inner.clone().prop_map(|a| format!("user.?nickName.orValue({a})")),
            inner.clone().prop_map(|a| format!("(has(user.nickName) ? user.nickName : {a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a} in user.roles ? {a} : {b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn agrees_with_the_cel_crate(text in text_expression()) {
        let Ok(expression) = Expression::compile(&text) else {
            prop_assume!(text.len() > 256);
            return Ok(());
        };
        let expected = oracle(&text, &user()).expect("both compile");
        match (expression.evaluate(&user()), expected) {
            (Ok(found), Ok(expected)) => prop_assert_eq!(found, expected, "{}", text),
            (Err(NoName::Empty), Ok(expected)) => prop_assert_eq!("", expected, "{}", text),
            (Err(NoName::OutputTooLong), Ok(expected)) => prop_assert!(expected.len() > 1024, "{}", text),
            (Err(NoName::TooMuchWork), Ok(_)) | (Err(_), Err(())) => {}
            (found, expected) => prop_assert!(false, "{}: {:?}, but the crate says {:?}", text, found, expected),
        }
    }

    #[test]
    fn any_text_compiles_or_is_refused(text in "[ -~äß'\"\\\\.()\\[\\]{}?:!+*-]{0,60}") {
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.evaluate(&user());
        }
    }

    #[test]
    fn any_pieces_compile_or_are_refused(pieces in proptest::collection::vec(prop_oneof![
        Just("user"), Just("."), Just("userName"), Just("'"), Just("("), Just(")"), Just("["), Just("]"), Just("?"), Just(":"), Just("+"), Just("has"),
        Just("map"), Just("x"), Just(","), Just("matches"), Just("in"), Just("&&"), Just("||"), Just("!"), Just("-"), Just("1"), Just("{"), Just("}"), Just("\n"), Just("`"),
    ], 0..40)) {
        let text = pieces.concat();
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.evaluate(&user());
        }
    }
}
