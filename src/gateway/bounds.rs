//! How much JSON a body may hold, counted before anything is built of it: a byte of `[[[[` costs a hundred as a value. Pure.

use crate::scim::ScimError;

/// How deep objects and lists nest.
const MAX_DEPTH: usize = 32;
/// How many values, keys included.
const MAX_VALUES: usize = 4_000_000;

/// 400 or 413 for a body that is out of bounds. Whether it is JSON is for the parser to say.
pub(super) fn check(body: &[u8]) -> Result<(), ScimError> {
    let (mut depth, mut values) = (0usize, 1usize);
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                depth += 1;
                values += 1;
                if depth > MAX_DEPTH {
                    return Err(ScimError::invalid_syntax(format!("the body nests deeper than {MAX_DEPTH}")));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' => values += 1,
            _ => {}
        }
    }
    match values > MAX_VALUES {
        true => Err(ScimError::new(413, format!("the body holds more than {MAX_VALUES} values"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let check = |body: String, status: u16| assert_eq!(check(body.as_bytes()).map_or_else(|e| e.status, |()| 200), status);
        check(String::new(), 200);
        check(format!("{}{}", "[".repeat(32), "]".repeat(32)), 200);
        check(format!("{}{}", "[".repeat(33), "]".repeat(33)), 400);
        check("[[],".repeat(33), 400);
        check("[],".repeat(100), 200);
        check(format!("\"{}\"", "[".repeat(100)), 200);
        check(format!("\"\\\"{}\"", "[".repeat(100)), 200);
        check("\"open".into(), 200);
        check("0,".repeat(MAX_VALUES), 413);
        check(format!("\"{}\"", ",".repeat(MAX_VALUES)), 200);
    }
}
