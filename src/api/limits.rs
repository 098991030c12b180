//! `spec.limits`: how many people may lose access within an hour before the rest waits for a human.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The budget for removals within an hour. Only when *both* numbers are exceeded, what goes beyond is held until it is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How many people may lose something within an hour; default 10. 0 leaves the percentage alone in force.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub removals_per_hour: u32,
    /// How many of a hundred people who hold something may lose something within an hour; default 10. 100 holds nothing.
    #[serde(default = "ten_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub removal_percent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            removals_per_hour: ten(),
            removal_percent: ten_percent(),
        }
    }
}

impl Limits {
    /// How many people may lose something, of so many.
    pub fn allowed(self, people: usize) -> usize {
        let whole = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let percent = people.saturating_mul(whole(self.removal_percent)) / 100;
        percent.max(whole(self.removals_per_hour))
    }
}

fn ten() -> u32 {
    10
}

fn ten_percent() -> u32 {
    10
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn both_have_to_be_exceeded() {
        let limits = |removals_per_hour, removal_percent| Limits {
            removals_per_hour,
            removal_percent,
        };
        let table = [
            (Limits::default(), 0, 10),
            (Limits::default(), 99, 10),
            (Limits::default(), 200, 20),
            (Limits::default(), 209, 20),
            (limits(0, 10), 9, 0),
            (limits(0, 10), 10, 1),
            (limits(3, 0), 100_000, 3),
            (limits(0, 100), 7, 7),
            (limits(0, 0), 7, 0),
        ];
        for (limits, people, allowed) in table {
            assert_eq!(limits.allowed(people), allowed, "{limits:?} of {people}");
        }
    }
}
