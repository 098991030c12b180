//! The access journal's pen: records of what was done, kept until they are durable. A journal that cannot be appended stops no revocation.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::access::ledger::{Event, Ledger};
use crate::journal::{Error, Journal, Verdict};

/// The append under way, and what it carries.
type Append = JoinHandle<(Vec<Event>, Result<(), Error>)>;

/// Records that wait, and the append under way.
pub struct Recorder {
    journal: Journal<Ledger>,
    waiting: Vec<Event>,
    since: Option<Instant>,
    urgent: bool,
    flying: Option<Append>,
    not_before: Option<Instant>,
}

impl Recorder {
    /// A pen for this journal.
    pub fn new(journal: Journal<Ledger>) -> Self {
        Self {
            journal,
            waiting: Vec::new(),
            since: None,
            urgent: false,
            flying: None,
            not_before: None,
        }
    }

    /// A record that may wait for the next append, at most a second: the outcome of an intent.
    pub fn soon(&mut self, event: Event) {
        self.since.get_or_insert_with(Instant::now);
        self.waiting.push(event);
    }

    /// A record that goes at once: a removal, or something that others wait for.
    pub fn now(&mut self, event: Event) {
        self.urgent = true;
        self.soon(event);
    }

    /// What waits goes with an append that is made anyway.
    pub fn take(&mut self) -> Vec<Event> {
        self.since = None;
        self.urgent = false;
        std::mem::take(&mut self.waiting)
    }

    /// What could not be appended waits again, before what came after it.
    pub fn put_back(&mut self, mut events: Vec<Event>) {
        if !events.is_empty() {
            events.append(&mut self.waiting);
            self.waiting = events;
            self.since.get_or_insert_with(Instant::now);
            self.not_before = Some(Instant::now() + Duration::from_millis(200));
        }
    }

    /// Whether every record is durable.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_none()
    }

    /// When to look again.
    pub fn next(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.flying.is_none())?;
        let at = if self.urgent { since } else { since + Duration::from_secs(1) };
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// Begins an append if one is due.
    pub fn flush(&mut self) {
        if self.next().is_none_or(|at| at > Instant::now()) {
            return;
        }
        let events = self.take();
        let journal = self.journal.clone();
        self.flying = Some(tokio::spawn(async move {
            let copy = events.clone();
            let result = journal.submit(move |_, _| Verdict::Append(copy.clone(), ())).await;
            (events, result)
        }));
    }

    /// Waits for the append under way, if there is one; for ever if there is none.
    pub async fn flushed(&mut self) -> Result<(), Error> {
        let Some(flying) = &mut self.flying else {
            return std::future::pending().await;
        };
        let ended = flying.await;
        self.flying = None;
        match ended {
            Ok((_, Ok(()))) => Ok(()),
            // It may have been written all the same: a record twice is harmless, a record never is not.
            Ok((events, Err(error))) => {
                self.put_back(events);
                Err(error)
            }
            Err(_) => Err(Error::Closed),
        }
    }
}
