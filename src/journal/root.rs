//! The root's own encodings, pure: the format's number, the head, the first root of a journal, the names of segments.

use std::fmt::Write;

use ring::digest::{Context, SHA256};

use crate::api::JournalSpec;

/// The format that this release reads and writes.
pub const FORMAT: i32 = 1;

/// The hash of one swap, fed piece by piece: so a reader hashes a large swap without holding it.
pub struct Hasher(Context);

impl Hasher {
    /// Begins with the head before the swap.
    pub fn new(previous: &str) -> Self {
        let mut hasher = Self(Context::new(&SHA256));
        hasher.line(previous);
        hasher
    }

    /// One batch of the swap, in order.
    pub fn line(&mut self, text: &str) {
        self.0.update(text.as_bytes());
        self.0.update(b"\n");
    }

    /// Ends with the root's `parent` and `checkpoint` after the swap.
    pub fn finish(mut self, parent: &str, checkpoint: &str) -> String {
        self.line(parent);
        self.line(checkpoint);
        hex(self.0.finish().as_ref())
    }
}

/// The head after a swap: SHA-256 over the previous head, the bytes of the swap's batches, `parent` and `checkpoint`, each
/// followed by a newline. None of them can hold one, so nothing else has these bytes; and a person can check a head by hand:
/// `printf '%s\n' "$previous" "$batch" "$parent" "$checkpoint" | sha256sum`.
pub fn head<'a>(previous: &str, batches: impl IntoIterator<Item = &'a str>, parent: &str, checkpoint: &str) -> String {
    let mut hasher = Hasher::new(previous);
    for batch in batches {
        hasher.line(batch);
    }
    hasher.finish(parent, checkpoint)
}

/// The head of a journal that holds nothing yet: it names the installation and the journal, so no two chains begin alike.
pub fn genesis(id: &str, name: &str) -> String {
    head("", [format!("{id}/{name}").as_str()], "", "")
}

/// The first root of a journal.
pub fn first(id: &str, name: &str) -> JournalSpec {
    JournalSpec {
        id: id.to_owned(),
        format: FORMAT,
        index: 0,
        head: genesis(id, name),
        ..JournalSpec::default()
    }
}

/// The name of the segment that ends with the batch `last` and is made for the swap `nonce`.
pub fn segment_name(journal: &str, last: i64, nonce: &str) -> String {
    format!("{journal}-{last}-{nonce}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_sha256sum_says() {
        // printf '%s\n' abc '{"index":1}' p '' | sha256sum
        let expected = "ca3b993dfbdccc90c84beef40be6603a656142a56b0c6fdaa72d39edecab93ea";
        assert_eq!(head("abc", ["{\"index\":1}"], "p", ""), expected);
    }

    #[test]
    fn every_part_counts() {
        let base = head("a", ["b", "c"], "p", "k");
        for other in [
            head("x", ["b", "c"], "p", "k"),
            head("a", ["b"], "p", "k"),
            head("a", ["c", "b"], "p", "k"),
            head("a", ["bc"], "p", "k"),
            head("a", ["b", "c"], "q", "k"),
            head("a", ["b", "c"], "p", ""),
            head("a", ["b"], "c", "p"),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(genesis("id", "directory"), genesis("id", "access"));
    }
}
