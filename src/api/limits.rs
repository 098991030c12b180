//! `spec.limits`: how many people may lose access within an hour before the rest waits for a human.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The budget for removals within an hour. Only when *both* numbers are exceeded, what goes beyond is held until it is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.removalsPerHour >= 0 && self.removalPercent >= 0 && self.removalPercent <= 100").message("removalsPerHour must be at least 0, and removalPercent from 0 to 100"))]
pub struct Limits {
    /// How many people may lose something within an hour; default 10. 0 leaves the percentage alone in force.
    #[serde(default = "ten")]
    pub removals_per_hour: i64,
    /// How many of a hundred people who hold something may lose something within an hour; default 10. 100 holds nothing.
    #[serde(default = "ten_percent")]
    pub removal_percent: i64,
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
        // a negative number, which the CRD refuses, allows nobody
        let whole = |n: i64| usize::try_from(n).unwrap_or_default();
        let percent = people.saturating_mul(whole(self.removal_percent)) / 100;
        percent.max(whole(self.removals_per_hour))
    }
}

fn ten() -> i64 {
    10
}

fn ten_percent() -> i64 {
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
