//! Directories that are polled: one trait for all kinds, and what becomes of a pass. No SCIM is served here.
//!
//! ```text
//!  schedule: when, and who --> poller: one pass --> Upstream (scim, google, entra, okta) --http--> the directory
//!                                  '--> intake: pages --> pass: events --> Journal::submit
//! ```
//!
//! Pure: `pass`. A pass is opened in the journal by number, and each of its pages is judged by the directory as of its append: of a pass that another replica has
//! superseded nothing is written any more, however late it wakes. Objects are published as they come; what is missing is judged at the end of a list, and only
//! if nothing speaks against the list.

mod assertion;
mod entra;
mod google;
mod http;
mod intake;
mod okta;
mod pass;
pub(super) mod poller;
mod schedule;
mod scim;
#[cfg(test)]
mod tests;
mod vault;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;

/// A directory that can be asked.
#[async_trait]
pub(super) trait Upstream: Send + Sync {
    /// Asks for everything, or for what changed since a token, and hands it over page by page: users, then [`Page::UsersEnd`], then groups and their members, then
    /// [`Page::GroupsEnd`]. The token for the next time, if the directory can say what changes.
    async fn fetch(&self, since: Option<&str>, pages: &Pages) -> Result<Option<String>, Failure>;
}

/// What a directory says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Page {
    /// Users.
    Users(Vec<Entry>),
    /// The list of users ended.
    UsersEnd(Proof),
    /// Groups, without their members.
    Groups(Vec<Entry>),
    /// Members of groups that came before.
    Members(Vec<Members>),
    /// The list of groups, and all lists of members, ended.
    GroupsEnd(Proof),
    /// It says that this one was deleted.
    Gone(Kind, String),
}

pub(super) use crate::directory::Kind;

/// A user or group as it is upstream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its id upstream.
    pub(super) key: String,
    /// As a SCIM resource (RFC 7643), however the directory writes it. Without `externalId` its id upstream is taken.
    pub(super) body: Value,
}

/// The members of a group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Members {
    /// The group's id upstream.
    pub(super) group: String,
    /// Who.
    pub(super) said: Said,
}

/// What is said of a group's members, by their ids upstream.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// These, and nobody else; whether something shows that none is missing.
    Whole { keys: Vec<String>, proven: bool },
    /// These came and these went.
    Changed { add: Vec<String>, remove: Vec<String> },
}

/// What the end of a list says of what was not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is gone.
    Complete,
    /// It is gone if the next pass does not have it either.
    Ended,
    /// Nothing: something was missing, and why.
    Broken(String),
}

/// Why a pass did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    /// One word in CamelCase, for the condition.
    pub(super) reason: &'static str,
    /// What is wrong and what to do, for people; no person's data, no secret.
    pub(super) message: String,
    /// When to try again, if the directory says so.
    pub(super) after: Option<std::time::Duration>,
}

impl Failure {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            after: None,
        }
    }

    /// Nobody wants the rest of the pass any more.
    pub(super) fn superseded() -> Self {
        Self::new("Superseded", "another replica has opened a newer pass")
    }
}

/// Where pages go.
#[derive(Clone, Debug)]
pub(super) struct Pages(mpsc::Sender<Page>);

impl Pages {
    /// Waits while too many are under way.
    pub(super) async fn send(&self, page: Page) -> Result<(), Failure> {
        self.0.send(page).await.map_err(|_| Failure::superseded())
    }
}

/// A way for pages, with room for so many.
pub(super) fn pages(room: usize) -> (Pages, mpsc::Receiver<Page>) {
    let (sender, receiver) = mpsc::channel(room);
    (Pages(sender), receiver)
}
