//! The one canonical form by which names are compared. Nothing here knows attributes.

use unicode_normalization::UnicodeNormalization;

/// The canonical key of a name that is compared without regard to case: NFKC and lower case, character by character, so that a prefix of a name
/// is a prefix of its key. Uniqueness of `userName`, its lookup and filters all use it: what one calls equal, the others do too.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Lower case can undo NFKC (İ), and NFKC can undo lower case: a second round settles both.
    let once: String = text.nfkc().flat_map(lower).collect();
    once.nfkc().flat_map(lower).nfkc().collect()
}

fn lower(c: char) -> impl Iterator<Item = char> {
    // The final sigma is the same letter; str::to_lowercase would choose by its neighbours.
    c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c })
}

#[cfg(test)]
mod tests {
    use super::fold;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_equal() {
        for (a, b) in [
            ("Ada@Example.COM", "ada@example.com"),
            ("ÅSA", "a\u{30a}sa"),
            ("ＡＤＡ", "ada"),
            ("ΑΣ", "ας"),
            ("İ", "i\u{307}"),
            ("ﬁ", "FI"),
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        for (a, b) in [("ada", "adа" /* Cyrillic */), ("a b", "ab"), ("", " ")] {
            assert_ne!(fold(a), fold(b), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            prop_assert_eq!(fold(&fold(&text)), fold(&text));
        }
    }
}
