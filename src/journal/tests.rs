//! The suite in memory, and the losses that need etcd in one's hands.

use std::sync::Arc;

use super::suite::{MemoryBed, Scale, run};

#[tokio::test(start_paused = true)]
async fn the_suite_in_memory() {
    let mut failures = Vec::new();
    for seed in 0..5 {
        let scale = Scale {
            writers: 8,
            events: 25,
            seed,
        };
        failures.extend(run(Arc::new(MemoryBed::default()), scale, "").await.failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
