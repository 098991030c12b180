//! `Journal` and `Segment`: the small mutable root and the immutable pieces that it points at. People read them, nobody edits them.

#![allow(
    clippy::duplicated_attributes,
    reason = "each column has its type; the lint counts them as one attribute"
)]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// The root of one journal. It is changed only by compare-and-swap, and the API server refuses a fork or a step back.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "rolecall.dev",
    version = "v1alpha1",
    kind = "Journal",
    namespaced,
    doc = "The root of one of Rolecall's two journals, `directory` (what the identity providers said) and `access` (what was granted, and why). Written by Rolecall only: do not edit, and do not delete.",
    printcolumn(name = "Index", type_ = "integer", json_path = ".spec.index"),
    printcolumn(name = "Parent", type_ = "string", json_path = ".spec.parent", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self == oldSelf || (self.id == oldSelf.id && self.index > oldSelf.index && self.previous == oldSelf.head)").message("does not follow the head: a journal is only ever appended to"))]
#[x_kube(validation = kube::core::Rule::new("has(self.predecessors) == has(oldSelf.predecessors) && (!has(self.predecessors) || self.predecessors == oldSelf.predecessors)").message("what a journal follows on is said when it is made"))]
pub struct JournalSpec {
    /// The id of the installation, the same for both journals: a UUID.
    #[schemars(length(max = 64))]
    pub id: String,
    /// The format of the batches; a reader that does not know it stops there and says so.
    pub format: i32,
    /// The number of the newest batch; 0 when there is none yet.
    pub index: i64,
    /// SHA-256, in hex, over the previous head, the newest batches, `parent` and `checkpoint`.
    #[schemars(length(max = 64))]
    pub head: String,
    /// The head before the newest swap; empty in a new journal.
    #[schemars(length(max = 64))]
    pub previous: String,
    /// The newest segment, or empty.
    #[schemars(length(max = 128))]
    pub parent: String,
    /// The newest checkpoint, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub checkpoint: String,
    /// The UIDs of the Journal objects whose loss somebody accepted, and that this one follows; `unknown` where nobody knew it. The newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)))]
    pub predecessors: Vec<String>,
    /// The newest batches that are in no segment yet, oldest first, each as JSON text; about 4 KiB in all.
    #[schemars(length(max = 256), inner(length(max = 8192)))]
    pub tail: Vec<String>,
}

/// A run of whole batches that left the root's tail. Written once.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "rolecall.dev",
    version = "v1alpha1",
    kind = "Segment",
    namespaced,
    doc = "A piece of one of Rolecall's journals: a run of whole batches, compressed. Written once, by Rolecall only; `kubectl rolecall` reads it. Do not delete.",
    printcolumn(name = "First", type_ = "integer", json_path = ".spec.first"),
    printcolumn(name = "Last", type_ = "integer", json_path = ".spec.last"),
    printcolumn(name = "Parent", type_ = "string", json_path = ".spec.parent", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self == oldSelf").message("a segment is written once"))]
pub struct SegmentSpec {
    /// The root's index that this segment was made for; only the swap that follows exactly this index may name it.
    pub base: i64,
    /// The number of the first batch inside.
    pub first: i64,
    /// The number of the last batch inside.
    pub last: i64,
    /// The segment before this one, or empty.
    #[schemars(length(max = 128))]
    pub parent: String,
    /// The batches as JSON lines, zstd-compressed, in base64; at most 512 KiB.
    #[schemars(length(max = 700_000))]
    pub data: String,
}
