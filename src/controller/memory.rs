//! What a controller process has known of the journals, over all its terms: what is proved against after a loss, and what is counted.

use std::collections::BTreeMap;

use super::metrics::Metrics;
use crate::journal::{Known, Position};

/// What this process has known of the journals, over all its terms: after an etcd restore nobody else may know it.
#[derive(Default)]
pub struct Memory {
    journals: std::sync::Mutex<BTreeMap<&'static str, Known>>,
    /// What is counted and shown.
    pub metrics: Metrics,
}

impl Memory {
    /// Takes note of where a journal was seen; whoever knows less of it does not overwrite more. One that was made anew is another one: that its loss was
    /// accepted is seen when it is opened.
    pub fn remember(&self, journal: &'static str, at: &Position) {
        let known = Known {
            id: at.id.to_string(),
            uid: Some(at.uid.to_string()),
            index: at.index,
            head: Some(at.head.to_string()),
        };
        let mut all = self.journals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.get(journal).is_none_or(|had| had.uid != known.uid || had.index < known.index) {
            all.insert(journal, known);
        }
    }

    /// What is known of one journal.
    pub fn of(&self, journal: &str) -> Option<Known> {
        self.journals
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(journal)
            .cloned()
    }
}
