//! `kubectl rolecall adopt`: which bindings that somebody made are covered by Rolecall's, computed from what was read; no client, no clock. How it looks
//! is in `adopt_text`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::RoleBinding;
use serde::Serialize;

use crate::access::binding::{Observed, SubjectRef};
use crate::access::names::{self, Installation};
use crate::access::policy::AccessPolicy;
use crate::api::mapping::RoleRef;
use crate::api::names as labels;

/// What the keys of labels and annotations begin with by which others mark what they manage, and who they are.
const MARKS: [(&str, &str); 8] = [
    ("meta.helm.sh/", "Helm"),
    ("argocd.argoproj.io/", "Argo CD"),
    // how Argo CD marks what it tracks by label
    ("app.kubernetes.io/instance", "an application"),
    ("kustomize.toolkit.fluxcd.io/", "Flux"),
    ("helm.toolkit.fluxcd.io/", "Flux"),
    ("olm.", "the Operator Lifecycle Manager"),
    ("rbac.authorization.kubernetes.io/", "Kubernetes"),
    ("kubernetes.io/bootstrapping", "Kubernetes"),
];

/// Everything that is shown.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// Each binding that somebody made and of which ours cover something; what is to be removed comes first.
    pub bindings: Vec<Found>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// One binding that somebody made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The namespace that it is in; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// `ClusterRole/view`.
    pub role: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The subjects that hold the same by ours, such as `User oidc:ada@example.com`.
    pub covered: Vec<String>,
    /// The others.
    pub uncovered: Vec<String>,
    /// By which of ours.
    pub by: BTreeSet<Covering>,
    /// What became of it, if it was to be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What becomes of a binding that somebody made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Verdict {
    /// Every subject holds the same by ours: it is removed.
    Covered,
    /// Some subjects do, others not: it stays.
    Partly,
    /// It stays, whoever holds what: somebody else manages it, or the access policy protects the namespace.
    Skipped,
}

/// A binding of ours that covers something of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Covering {
    /// The mapping that it belongs to.
    pub mapping: String,
    /// The namespace that it is in; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What became of a binding that was to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is deleted.
    Removed,
    /// Somebody else deleted it meanwhile.
    Gone,
    /// It stands, as far as is known; and why.
    Failed(String),
}

/// Namespace, role, and the subject's kind and name.
type Hold<'a> = (&'a str, &'a RoleRef, &'a str, &'a str);
/// The bindings of ours by what they grant to whom.
type Holders<'a> = BTreeMap<Hold<'a>, Vec<&'a Observed>>;

/// What of these bindings somebody made, and what of it ours cover. Ours are those of these journals; a ClusterRoleBinding comes as `wide` makes it.
pub fn adoption(bindings: &[RoleBinding], journals: &[String], policy: &AccessPolicy) -> Adoption {
    let seen: Vec<(&RoleBinding, Observed)> = bindings.iter().filter_map(|object| Some((object, Observed::of(object)?))).collect();
    let says_ours = |one: &Observed| one.labels.get(labels::MANAGED_BY).is_some_and(|by| by == labels::MANAGED_BY_VALUE);
    let mut holders = Holders::new();
    for (_, one) in seen.iter().filter(|(_, one)| is_ours(one, journals) && will_stay(one)) {
        let Some(role) = &one.role else { continue };
        for subject in one.subjects.iter() {
            let hold = (one.namespace.as_str(), role, subject.kind.as_str(), subject.name.as_str());
            holders.entry(hold).or_default().push(one);
        }
    }
    let others = seen.iter().filter(|(_, one)| !says_ours(one));
    let mut bindings: Vec<Found> = others.filter_map(|(object, one)| found(object, one, &holders, policy)).collect();
    bindings.sort_by(|a, b| (a.verdict, &a.namespace, &a.name).cmp(&(b.verdict, &b.namespace, &b.name)));
    Adoption {
        bindings,
        notes: Vec::new(),
    }
}

/// Whether it is still as it was shown, and covered: by what was read of it and of ours in this moment.
///
/// # Errors
/// Why it must not be removed, for people.
pub fn still(shown: &Found, now: &[RoleBinding], journals: &[String], policy: &AccessPolicy) -> Result<(), String> {
    let now = adoption(now, journals, policy);
    let same = |one: &&Found| one.namespace == shown.namespace && one.name == shown.name;
    let Some(now) = now.bindings.iter().find(same) else {
        return Err("Rolecall's bindings do not cover it any more".to_owned());
    };
    if now.uid != shown.uid || now.resource_version != shown.resource_version {
        return Err("it was changed since it was shown".to_owned());
    }
    match now.verdict {
        Verdict::Covered => Ok(()),
        Verdict::Partly => Err(format!("not covered any more: {}", now.uncovered.join(", "))),
        Verdict::Skipped => Err(now.why.clone().unwrap_or_default()),
    }
}

/// Nothing if ours cover nothing of it.
fn found(object: &RoleBinding, one: &Observed, holders: &Holders<'_>, policy: &AccessPolicy) -> Option<Found> {
    let role = one.role.as_ref()?;
    let mut by = BTreeSet::new();
    let (mut covered, mut uncovered) = (Vec::new(), Vec::new());
    for subject in one.subjects.iter() {
        let can = matches!(subject.kind.as_str(), "User" | "Group");
        // what is granted in the whole cluster is granted in each namespace
        let places = [one.namespace.as_str(), ""].into_iter().filter(|_| can);
        let holding: Vec<&Observed> = places
            .filter_map(|place| holders.get(&(place, role, subject.kind.as_str(), subject.name.as_str())))
            .flatten()
            .copied()
            .collect();
        let list = if holding.is_empty() { &mut uncovered } else { &mut covered };
        list.push(named(subject));
        by.extend(holding.into_iter().map(Covering::of));
    }
    if covered.is_empty() {
        return None;
    }
    let why = reason_to_stay(object, one, policy);
    let verdict = match (&why, uncovered.is_empty()) {
        (Some(_), _) => Verdict::Skipped,
        (None, true) => Verdict::Covered,
        (None, false) => Verdict::Partly,
    };
    Some(Found {
        namespace: one.namespace.clone(),
        name: one.name.clone(),
        uid: one.uid.clone(),
        resource_version: one.resource_version.clone(),
        role: format!("{}/{}", role.kind.as_str(), role.name),
        verdict,
        why,
        covered,
        uncovered,
        by,
        outcome: None,
    })
}

/// Whether it is Rolecall's, by the labels, a journal that was read, and the name that its contents yield.
fn is_ours(one: &Observed, journals: &[String]) -> bool {
    let label = |name: &str| one.labels.get(name).cloned().unwrap_or_default();
    let installation = Installation {
        class: label(labels::CLASS),
        journal: label(labels::JOURNAL),
        predecessors: Vec::new(),
    };
    journals.contains(&installation.journal) && names::identify(one, &installation).is_some()
}

/// Whether nobody but Rolecall is about to end it.
fn will_stay(one: &Observed) -> bool {
    !one.deleting && !one.tampered
}

/// Why it is not ours to remove, whatever ours cover.
fn reason_to_stay(object: &RoleBinding, one: &Observed, policy: &AccessPolicy) -> Option<String> {
    let meta = &object.metadata;
    if !one.namespace.is_empty() && policy.namespace(&one.namespace).is_err() {
        return Some(format!("the access policy protects the namespace {}", one.namespace));
    }
    if one.name.starts_with("system:") {
        return Some("its name begins with \"system:\", which is Kubernetes' own".to_owned());
    }
    if one.deleting {
        return Some("it is being deleted".to_owned());
    }
    if let Some(owner) = meta.owner_references.iter().flatten().next() {
        return Some(format!("the {} {} owns it", owner.kind, owner.name));
    }
    if let Some(finalizer) = meta.finalizers.iter().flatten().next() {
        return Some(format!("somebody waits for its end (finalizer {finalizer})"));
    }
    if let Some(manager) = one.labels.get(labels::MANAGED_BY) {
        let who = if manager.is_empty() { "somebody" } else { manager };
        return Some(format!("{who} manages it ({})", labels::MANAGED_BY));
    }
    let mut keys = meta.labels.iter().chain(&meta.annotations).flat_map(|keys| keys.keys());
    keys.find_map(|key| {
        let (_, who) = MARKS.iter().find(|(mark, _)| key.starts_with(*mark))?;
        Some(format!("{who} manages it ({key})"))
    })
}

fn named(subject: &SubjectRef) -> String {
    match &subject.namespace {
        Some(namespace) => format!("{} {namespace}/{}", subject.kind, subject.name),
        None => format!("{} {}", subject.kind, subject.name),
    }
}

impl Covering {
    fn of(one: &Observed) -> Self {
        Self {
            mapping: one.mapping.clone().unwrap_or_default(),
            namespace: one.namespace.clone(),
            name: one.name.clone(),
        }
    }
}

impl Found {
    /// `RoleBinding/<namespace>/<name>` or `ClusterRoleBinding/<name>`.
    pub fn object(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("ClusterRoleBinding/{}", self.name),
            namespace => format!("RoleBinding/{namespace}/{}", self.name),
        }
    }
}

impl Adoption {
    /// How many are to be removed.
    pub fn removable(&self) -> usize {
        self.bindings.iter().filter(|one| one.verdict == Verdict::Covered).count()
    }

    /// Whether one of them could not be removed.
    pub fn failed(&self) -> bool {
        self.bindings.iter().any(|one| matches!(one.outcome, Some(Outcome::Failed(_))))
    }
}
