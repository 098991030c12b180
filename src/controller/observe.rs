//! What the cluster shows: one watch a kind, fed into plain maps. Nothing is decided and nothing is written here.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher::Config};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::ops::pace::Pace;

/// The objects of one kind as last seen, by `namespace/name`, or `name` where there is no namespace.
#[derive(Clone, Debug)]
pub struct Kept<V> {
    items: BTreeMap<String, V>,
    building: Option<BTreeMap<String, V>>,
    complete: bool,
}

impl<V> Default for Kept<V> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            building: None,
            complete: false,
        }
    }
}

impl<V: PartialEq> Kept<V> {
    /// Whether one whole list has arrived since the start.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// All objects, by key.
    pub fn items(&self) -> &BTreeMap<String, V> {
        &self.items
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.items.get(key)
    }

    /// Takes an event in; the keys whose value changed, came or went.
    pub fn feed<K: Resource>(&mut self, event: Event<K>, mut convert: impl FnMut(K) -> V) -> Vec<String> {
        match event {
            Event::Init => {
                self.building = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = key_of(&object);
                if let Some(building) = &mut self.building {
                    building.insert(key, convert(object));
                }
                Vec::new()
            }
            Event::InitDone => {
                let new = self.building.take().unwrap_or_default();
                let mut changed: Vec<String> = self.items.keys().filter(|key| !new.contains_key(*key)).cloned().collect();
                changed.extend(
                    new.iter()
                        .filter(|(key, value)| self.items.get(*key) != Some(value))
                        .map(|(key, _)| key.clone()),
                );
                self.items = new;
                self.complete = true;
                changed
            }
            Event::Apply(object) => self.put(key_of(&object), convert(object)),
            Event::Delete(object) => {
                let key = key_of(&object);
                self.items.remove(&key).map(|_| key).into_iter().collect()
            }
        }
    }

    /// Sets one object: an answer to our own write is seen before the watch tells it.
    pub fn put(&mut self, key: String, value: V) -> Vec<String> {
        if self.items.get(&key) == Some(&value) {
            return Vec::new();
        }
        self.items.insert(key.clone(), value);
        vec![key]
    }

    /// Removes one object.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        self.items.remove(key)
    }
}

impl<V: PartialEq + Resource> Kept<V> {
    /// Takes in what the answer to a write of ours shows, unless the watch showed something newer, or that the object is gone. Whether anything differs.
    pub fn answered(&mut self, key: String, value: V) -> bool {
        let Some(shown) = self.items.get(&key) else { return false };
        let version = |of: &V| of.meta().resource_version.clone().unwrap_or_default();
        if shown.meta().uid != value.meta().uid || newer(&version(shown), &version(&value)) {
            return false;
        }
        !self.put(key, value).is_empty()
    }
}

/// resourceVersions are compared only for one object, where they are numbers that grow (KEP-5504); anything else counts as newer.
pub fn newer(had: &str, found: &str) -> bool {
    matches!((had.parse::<u64>(), found.parse::<u64>()), (Ok(had), Ok(found)) if had > found)
}

/// `namespace/name`, or `name`.
pub fn key_of<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// Watches one kind for ever and sends every event. A watch that fails starts anew, within a second or two; what was seen stays.
pub async fn watch<K, C>(api: Api<K>, config: Config, wrap: fn(Event<K>) -> C, send: mpsc::Sender<C>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    C: Send,
{
    let mut events = watcher::watcher(api, config).backoff(Pace::new()).boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if send.send(wrap(event)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "a watch ended; it starts anew"),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::RoleBinding;
    use serde_json::json;

    use super::*;

    fn binding(uid: &str, version: &str, name: &str) -> RoleBinding {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        let object = json!({"metadata": {"namespace": "a", "name": "b", "uid": uid, "resourceVersion": version}, "roleRef": role});
        serde_json::from_value(object).expect("a binding")
    }

    /// What an answer shows is news only of an object that is there still, and was not shown newer.
    #[test]
    fn an_answer_is_no_newer_than_the_watch_by_being_read_later() {
        for (shown, answer, news) in [
            (Some(("1", "10", "x")), ("1", "11", "y"), true),
            (Some(("1", "10", "x")), ("1", "10", "x"), false),
            (Some(("1", "12", "x")), ("1", "11", "y"), false),
            (Some(("2", "12", "x")), ("1", "11", "y"), false),
            (None, ("1", "11", "y"), false),
        ] {
            let mut kept: Kept<RoleBinding> = Kept::default();
            if let Some((uid, version, role)) = shown {
                kept.feed(Event::Apply(binding(uid, version, role)), |object| object);
            }
            let (uid, version, role) = answer;
            assert_eq!(
                kept.answered("a/b".to_owned(), binding(uid, version, role)),
                news,
                "{shown:?} {answer:?}"
            );
            let now = kept.get("a/b").map(|object| object.role_ref.name.as_str());
            assert_eq!(now, if news { Some(role) } else { shown.map(|(.., role)| role) });
            // the watch tells the same, in vain: whoever read the answer has to act on it
            if news {
                assert!(kept.feed(Event::Apply(binding(uid, version, role)), |object| object).is_empty());
            }
        }
    }
}
