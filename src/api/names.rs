//! Every label and annotation of ours, once. `docs/labels.md` lists them for users; a test holds the two together.

/// Label (Kubernetes' own): who manages an object; ours have the value [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on every object that Rolecall writes.
pub const MANAGED_BY_VALUE: &str = "rolecall";
/// Label: the class of the controller that wrote the object; empty for the default class.
pub const CLASS: &str = "rolecall.dev/class";
/// Label: a hash of the owning mapping's kind, namespace and name (16 hex digits).
pub const OWNER: &str = "rolecall.dev/owner";
/// Label: the id of the installation's journal; an object of another journal is not ours.
pub const JOURNAL: &str = "rolecall.dev/journal";
/// Label: which part of the mapping's people the binding holds, as a prefix of bits; `all` when there is one part only.
pub const SHARD: &str = "rolecall.dev/shard";
/// Annotation: the owning mapping, readable: `RoleMapping/<namespace>/<name>` or `ClusterRoleMapping/<name>`.
pub const MAPPING: &str = "rolecall.dev/mapping";
/// Annotation: `<holderIdentity>/<leaseTransitions>` of the controller that wrote the object; the fence compares it with the Lease.
pub const TERM: &str = "rolecall.dev/term";
/// Annotation: `<index>/<n>`, the record in the access journal that came before this write.
pub const OP: &str = "rolecall.dev/op";
/// Annotation, on a mapping or a source, by an admin with the verb `approve`: releases what is held there, up to the record of this number.
pub const APPROVE: &str = "rolecall.dev/approve";
/// Annotation, on a source, by an admin with the verb `approve`: accepts that a journal is lost for ever, by what the source's condition shows.
pub const ACCEPT_JOURNAL_LOSS: &str = "rolecall.dev/accept-journal-loss";
/// Annotation, on a mapping or a source: any text; another one than before asks for a look at everything of it now. Echoed in
/// `status.lastHandledReconcileAt`.
pub const REQUESTED_AT: &str = "rolecall.dev/requestedAt";
/// Annotation: the same, as Flux writes it.
pub const FLUX_REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// Label, `true` on a namespace that Rolecall made and that no mapping covers any more: Rolecall never deletes one.
pub const UNUSED: &str = "rolecall.dev/unused";

/// The token by which somebody asks for a look at everything of an object, at most 256 bytes of it; of two the later one, as both are times.
pub fn requested(annotations: Option<&std::collections::BTreeMap<String, String>>) -> Option<String> {
    let of = |key: &str| annotations?.get(key).filter(|token| !token.is_empty());
    let token = of(REQUESTED_AT).max(of(FLUX_REQUESTED_AT))?;
    let end = (0..=token.len().min(256)).rev().find(|end| token.is_char_boundary(*end));
    Some(token[..end.unwrap_or_default()].to_owned())
}

/// The longest name of a ScimSource, RoleMapping or ClusterRoleMapping that the CRDs accept.
pub const NAME_MAX: usize = 63;
