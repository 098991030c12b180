//! The two folds as states of a journal: the one place where directory, ledger and journal meet. Nothing else lives here.

use crate::access::ledger::{Event as AccessEvent, Ledger};
use crate::directory::{Directory, Event as DirectoryEvent};
use crate::journal::{Stamp, State};

impl State for Directory {
    type Event = DirectoryEvent;

    fn apply(&mut self, stamp: &Stamp, event: &DirectoryEvent) {
        Directory::apply(self, stamp.index, stamp.ordinal, stamp.time, event);
    }
}

impl State for Ledger {
    type Event = AccessEvent;

    fn apply(&mut self, stamp: &Stamp, event: &AccessEvent) {
        Ledger::apply(self, stamp.index, stamp.time, event);
    }
}
