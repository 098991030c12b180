//! The directory as the state of a journal: the one place that knows journals.

use super::{Directory, Event};
use crate::journal::{Stamp, State};

impl State for Directory {
    type Event = Event;

    fn apply(&mut self, stamp: &Stamp, event: &Event) {
        Directory::apply(self, stamp.index, stamp.ordinal, stamp.time, event);
    }
}
