//! 10,000 requests with names and filters of somebody hostile. The bench asks them too.

use serde_json::{Value, json};

const PIECES: [&str; 37] = [
    "system:masters",
    "system:serviceaccount:kube-system:default",
    "\u{202e}nimda",
    "admin\u{0}",
    "a\r\nX-Evil: 1",
    "' or '1'='1",
    "${jndi:x}",
    "{{7*7}}",
    "../../etc",
    "%00",
    "*",
    "\"",
    "\\",
    "\u{feff}",
    "ｓｙｓｔｅｍ：masters",
    "e\u{301}",
    "𝕊",
    "[",
    "]",
    "(",
    ")",
    " and ",
    " or ",
    " eq ",
    " not ",
    ".",
    ":",
    "urn:",
    "members",
    "value",
    "userName",
    "true",
    "null",
    "1e999",
    "-",
    "\u{7f}",
    "🦀",
];

/// Method, path under the source's base, body.
pub fn requests() -> impl Iterator<Item = (&'static str, String, Option<Value>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % n
    };
    (0..10_000).map(move |n| {
        let text: String = (0..=next(6)).map(|_| PIECES[next(PIECES.len())]).collect();
        let percent = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        match n % 4 {
            0 => ("POST", "/Users".to_owned(), Some(json!({"userName": text, "displayName": text}))),
            1 => ("POST", "/Groups".to_owned(), Some(json!({"displayName": text, "externalId": text}))),
            2 => ("GET", format!("/Users?filter={}", percent(&text)), None),
            _ => (
                "GET",
                format!("/Groups?filter={}", percent(&format!("displayName eq {}", json!(text)))),
                None,
            ),
        }
    })
}
