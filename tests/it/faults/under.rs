//! How faults begin and end, in the proxy and in the cluster itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::model::{NAMED, TEAMS};
use super::plan::{Fault, Random};
use super::scene::{NAME, RBAC, Scene};
use crate::proxy::{Asked, Rule};
use crate::system::until;

/// How long the API server may take until a right or a quota acts.
const ACTS: Duration = Duration::from_secs(40);

/// A watch that failed begins again after a second or more; it may not at all, when nothing was there to be cut.
const MET: Duration = Duration::from_secs(3);

/// The faults that are not lifted yet.
#[derive(Default)]
pub struct Under {
    requests: Vec<Rule>,
    watches: Vec<Rule>,
    away: Option<Instant>,
    unbound: Option<Vec<PolicyRule>>,
    quota: Option<&'static str>,
}

impl Scene {
    /// A fault begins.
    pub async fn begin(&self, fault: &Fault, under: &mut Under) {
        match fault {
            Fault::Requests {
                target,
                action,
                skip,
                percent,
                times,
                seed,
            } => {
                let (target, percent) = (*target, *percent);
                let state = Mutex::new((*skip, Random::new(*seed)));
                under.requests.push(self.proxy.rule_for(*times, action.clone(), move |asked| {
                    if !target.holds(asked) {
                        return false;
                    }
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    let skipped = state.0 > 0;
                    state.0 = state.0.saturating_sub(1);
                    !skipped && state.1.below(100) < percent
                }));
            }
            Fault::Gap { action, times } => {
                under.watches.push(self.proxy.rule_for(*times, action.clone(), Asked::watches));
                self.proxy.cut();
            }
            Fault::Away(lasts) => {
                self.proxy.away(true);
                under.away = Some(Instant::now() + *lasts);
            }
            Fault::Unbound => under.unbound = Some(self.bind(None).await),
            Fault::Quota(place) => {
                let hard = json!({"count/rolebindings.rbac.authorization.k8s.io": "0"});
                let quota = json!({"metadata": {"name": NAME}, "spec": {"hard": hard}});
                let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
                let created = self.quotas(place).create(&PostParams::default(), &quota).await;
                assert!(created.is_ok(), "{created:?}");
                self.until_takes(place, false).await;
                under.quota = Some(*place);
            }
        }
    }

    /// Ends what lasts for a time only, when that is over.
    pub fn elapse(&self, under: &mut Under) {
        if under.away.is_some_and(|end| Instant::now() >= end) {
            under.away = None;
            self.proxy.away(false);
        }
    }

    /// Ends every fault; those of watches when the watches that were cut have begun again, and met them.
    pub async fn lift(&self, mut under: Under) {
        under.requests.clear();
        if let Some(end) = under.away.take() {
            tokio::time::sleep_until(end.into()).await;
            self.proxy.away(false);
        }
        let refused = under.unbound.is_some() || under.quota.is_some();
        if let Some(rules) = under.unbound.take() {
            self.bind(Some(rules)).await;
        }
        if let Some(place) = under.quota.take() {
            let gone = self.quotas(place).delete(NAME, &DeleteParams::default()).await;
            assert!(gone.is_ok(), "{gone:?}");
            self.until_takes(place, true).await;
        }
        if refused {
            // What Kubernetes refused is tried again after half a minute, or when somebody asks.
            let token = jiff::Timestamp::now().to_string();
            for mapping in [NAMED, TEAMS] {
                let ask = json!({"metadata": {"annotations": {"rolecall.dev/requestedAt": token}}});
                self.merge(mapping, ask).await;
            }
        }
        let met = || async { under.watches.iter().all(Rule::used_up) };
        let _ = until(MET, met).await;
    }

    fn quotas(&self, place: &str) -> Api<ResourceQuota> {
        Api::namespaced(self.system.admin.clone(), place)
    }

    /// Waits until the API server takes new RoleBindings there, or does not.
    async fn until_takes(&self, place: &str, takes: bool) {
        let role = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"});
        let probe: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "faults-probe"}, "roleRef": role})).expect("a binding");
        let probe = &probe;
        let dry = &PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let acts = until(
            ACTS,
            || async move { self.bindings_in(place).create(dry, probe).await.is_ok() == takes },
        );
        assert!(acts.await.is_ok(), "{place}: it never takes RoleBindings={takes}");
    }

    /// Withdraws every `bind` of the controller, or gives these rules back, and waits until that acts; the rules before.
    async fn bind(&self, rules: Option<Vec<PolicyRule>>) -> Vec<PolicyRule> {
        let name = format!("{}-controller", self.system.installed.fullname);
        let api: Api<ClusterRole> = Api::all(self.system.admin.clone());
        let mut role = api.get(&name).await.expect("the controller's ClusterRole");
        let before = role.rules.take().unwrap_or_default();
        let binds = rules.is_some();
        role.rules = Some(rules.unwrap_or_else(|| {
            let mut without = before.clone();
            without.retain(|rule| !rule.verbs.iter().any(|verb| verb == "bind"));
            without
        }));
        api.replace(&name, &PostParams::default(), &role).await.expect("an answer");
        let acts = until(ACTS, || async move { self.binds().await == binds });
        assert!(acts.await.is_ok(), "the controller's bind is never {binds}");
        before
    }

    async fn binds(&self) -> bool {
        let installed = &self.system.installed;
        let text = |text: &str| Some(text.to_owned());
        let api: Api<SubjectAccessReview> = Api::all(self.system.admin.clone());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!(
                    "system:serviceaccount:{}:{}-controller",
                    installed.namespace, installed.fullname
                )),
                resource_attributes: Some(ResourceAttributes {
                    group: text(RBAC),
                    resource: text("clusterroles"),
                    name: text("view"),
                    verb: text("bind"),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await.expect("an answer");
        answer.status.is_some_and(|status| status.allowed)
    }
}
