//! What a controller process has known of the journals, over all its terms: what is proved against after a loss, and shown as a metric.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::journal::{Known, Position};
use crate::ops::metrics::Page;

/// What this process has known of the journals, over all its terms: after an etcd restore nobody else may know it.
#[derive(Default)]
pub struct Memory {
    journals: std::sync::Mutex<BTreeMap<&'static str, Known>>,
    /// What was found in the cluster, for the page of metrics.
    pub findings: Findings,
}

/// What a finding is about, and what it is.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Finding {
    object: String,
    reason: &'static str,
}

impl Finding {
    /// About this source or mapping.
    pub fn of(object: &str, reason: &'static str) -> Self {
        Self {
            object: object.to_owned(),
            reason,
        }
    }
}

/// `rolecall_findings{object,reason}`.
#[derive(Clone, Default)]
pub struct Findings(Family<Finding, Gauge>);

impl Findings {
    /// On this page.
    pub fn register(&self, page: &mut Page) {
        let help = "What stands in the cluster and should be looked at: bindings of others that name disabled people or mapped groups, and roles whose rules changed";
        page.register("findings", help, Family::clone(&self.0));
    }

    /// Shows these, and no others any more.
    pub fn show(&self, all: impl IntoIterator<Item = (Finding, usize)>) {
        self.0.clear();
        for (finding, n) in all {
            self.0.get_or_create(&finding).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }
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
